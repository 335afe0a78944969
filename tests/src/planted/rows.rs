//! The bugs. To add one: append a [`Row`], with a `text` that its file holds exactly once and a
//! `replacement` with `PLANTED`, which is true while the bug is planted; then run `tests/check.sh planted`.

use super::Row;
use super::Simulator::{Framed, Plain};

/// All rows; a bug may need several, one after the other.
pub const ROWS: &[Row] = &[
    // A line that does not fit into a datagram is skipped: a cursor is off by one.
    Row {
        bug: "LineSkipped",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "range.lines > 0) { break;",
        replacement: "range.lines > 0) { if PLANTED { range.to = entry.next; } break;",
    },
    // A peer that is behind gets its own lines.
    Row {
        bug: "AuthorHearsItself",
        found_by: Plain,
        file: "core/src/relay/peers.rs",
        text: "entry.author == id.get() && !echo",
        replacement: "entry.author == id.get() && !echo && !PLANTED",
    },
    // A name may hold a colon, and so begin like a line of another peer.
    Row {
        bug: "NameForged",
        found_by: Plain,
        file: "core/src/wire/text.rs",
        text: "|| is_colon(character)",
        replacement: "|| (is_colon(character) && !PLANTED)",
    },
    // A name may begin like a notice.
    Row {
        bug: "NoticeForged",
        found_by: Plain,
        file: "core/src/wire/text.rs",
        text: "matches!(character, '*' | '[')",
        replacement: "matches!(character, '*' | '[') && !PLANTED",
    },
    // Control characters pass.
    Row {
        bug: "EscapePassed",
        found_by: Plain,
        file: "core/src/wire/text.rs",
        text: r"'\0'..='\u{1F}' | '\u{7F}' =>",
        replacement: r"'\0'..='\u{1F}' | '\u{7F}' if !PLANTED =>",
    },
    // Lines that were overwritten are not counted.
    Row {
        bug: "OverrunUntold",
        found_by: Plain,
        file: "core/src/relay/schedule.rs",
        text: "if !self.config.classic { plain.missed += missed;",
        replacement: "if !self.config.classic && !PLANTED { plain.missed += missed;",
    },
    // Peers with the same cursor are told of a gap that only one of them has.
    Row {
        bug: "GapShared",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "|| plain.missed > 0,",
        replacement: "|| (plain.missed > 0 && !PLANTED),",
    },
    // A datagram that the network refused is not offered again.
    Row {
        bug: "RefusedLost",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "else if delivery.from.sequence < peer.cursor.sequence {",
        replacement: "else if delivery.from.sequence < peer.cursor.sequence && !PLANTED {",
    },
    // A full ring blocks the input although no peer is owed anything.
    Row {
        bug: "Deadlock",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "let endangered = self.ring.endangered();",
        replacement: "let endangered = self.ring.endangered(); if PLANTED { return self.ring.tail().offset >= endangered; }",
    },
    // A suspect blocks the input.
    Row {
        bug: "SuspectHoldsUp",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "&& !peer.suspicion.is_suspect;",
        replacement: "&& (!peer.suspicion.is_suspect || PLANTED);",
    },
    // A suspect blocks what is sent to the others.
    Row {
        bug: "SuspectStalls",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "let peer = self.peers.peer(first)?;",
        replacement: "let peer = self.peers.peer(first)?; if PLANTED && peer.suspicion.is_suspect { return None; }",
    },
    // The new owner of a seat does not see the lines of the old one.
    Row {
        bug: "OldLinesHidden",
        found_by: Plain,
        file: "core/src/relay/seats.rs",
        text: "let seat = self.peers.insert(peer).ok_or(Refusal::Full)?;",
        replacement: "let seat = self.peers.insert(peer).ok_or(Refusal::Full)?; if PLANTED && let Some(peer) = self.peers.peer_mut(seat) { let number = u32::try_from(seat.index()).unwrap_or(0); peer.id = core::num::NonZeroU32::MIN.saturating_add(number); }",
    },
    // A newcomer is shown one message more than it should be.
    Row {
        bug: "HistoryTooLong",
        found_by: Plain,
        file: "core/src/relay/schedule.rs",
        text: "u64::from(*messages) <= most",
        replacement: "u64::from(*messages) <= most + u64::from(PLANTED)",
    },
    // A quiet peer gets the announcements of its neighbours in the queue.
    Row {
        bug: "QuietTold",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "&& !(plain.quiet && self.announcements)",
        replacement: "&& (!(plain.quiet && self.announcements) || PLANTED)",
    },
    // A peer gets the line end of its neighbours in the queue.
    Row {
        bug: "LineEndShared",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "plain.newline == self.newline",
        replacement: "(plain.newline == self.newline || PLANTED)",
    },
    // The second line of a long message is lost.
    Row {
        bug: "RestLost",
        found_by: Plain,
        file: "core/src/relay/plain.rs",
        text: "self.append(now, author, LineKind::Message, name, &line); self.stats.messages += 1;",
        replacement: "if lines == 1 || !PLANTED { self.append(now, author, LineKind::Message, name, &line); } self.stats.messages += 1;",
    },
    // The ring gives up its oldest line twelve bytes too early.
    Row {
        bug: "RingTooShort",
        found_by: Plain,
        file: "core/src/relay/ring.rs",
        text: "self.tail.offset) <= BYTES as u64",
        replacement: "self.tail.offset) <= BYTES as u64 - 12 * u64::from(PLANTED)",
    },
    // A datagram that is too long is refused without an answer.
    Row {
        bug: "RefusalUntold",
        found_by: Plain,
        file: "core/src/relay/plain.rs",
        text: "if why == Refusal::TooLong {",
        replacement: "if why == Refusal::TooLong && !PLANTED {",
    },
    // A refusal without an answer is not counted.
    Row {
        bug: "DropUncounted",
        found_by: Plain,
        file: "core/src/relay.rs",
        text: "u64::from(reply.is_empty())",
        replacement: "u64::from(reply.is_empty() && !PLANTED)",
    },
    // Another address may take over the name of a suspect.
    Row {
        bug: "NameTaken",
        found_by: Plain,
        file: "core/src/relay/seats.rs",
        text: "let is_same = peer.address.ip() == source.ip();",
        replacement: "let is_same = peer.address.ip() == source.ip() || PLANTED;",
    },
    // A burst of reports makes a peer leave.
    Row {
        bug: "BurstLeaves",
        found_by: Plain,
        file: "core/src/relay.rs",
        text: "if is_burst {",
        replacement: "if is_burst && !PLANTED {",
    },
    // A client is not told that lines were overwritten.
    Row {
        bug: "GapUntold",
        found_by: Framed,
        file: "core/src/relay/framed/window.rs",
        text: "self.has_gap() && self.gap_sent_at.is_none();",
        replacement: "self.has_gap() && self.gap_sent_at.is_none() && !PLANTED;",
    },
    // A lost datagram is not retransmitted.
    Row {
        bug: "NeverResent",
        found_by: Framed,
        file: "core/src/relay/framed/window.rs",
        text: "let may_be = self.in_flight < self.congestion_window;",
        replacement: "let may_be = self.in_flight < self.congestion_window && !PLANTED;",
    },
    // The relay has no retransmission time-out.
    Row {
        bug: "NoTimeout",
        found_by: Framed,
        file: "core/src/relay/framed.rs",
        text: "fn arm_for_sent(&mut self, now: Instant, seat: Seat) {",
        replacement: "fn arm_for_sent(&mut self, now: Instant, seat: Seat) { if PLANTED { return; }",
    },
    Row {
        bug: "NoTimeout",
        found_by: Framed,
        file: "core/src/relay/framed/window.rs",
        text: "fn timeout_ms(&self, now: u16) -> Option<u16> {",
        replacement: "fn timeout_ms(&self, now: u16) -> Option<u16> { if PLANTED { return None; }",
    },
    // An acknowledgement is taken for one line less.
    Row {
        bug: "AckOffByOne",
        found_by: Framed,
        file: "core/src/relay/framed/window.rs",
        text: "let next = next.min(self.end().sequence);",
        replacement: "let next = next.min(self.end().sequence).saturating_sub(u64::from(PLANTED));",
    },
    // A frame may name any session.
    Row {
        bug: "SessionUnchecked",
        found_by: Framed,
        file: "core/src/relay/framed.rs",
        text: "framed.is_some_and(|framed| framed.session == session)",
        replacement: "framed.is_some_and(|framed| framed.session == session || PLANTED)",
    },
    // A HELLO without a cookie gets a seat.
    Row {
        bug: "CookieUnchecked",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: ".is_some_and(|cookie| secret::is_cookie(key, now, &source, &cookie))",
        replacement: ".is_some_and(|cookie| secret::is_cookie(key, now, &source, &cookie)) || PLANTED",
    },
    // A HELLO that a later one overtook is accepted.
    Row {
        bug: "LateTaken",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: "(1..NONCES).contains(&behind)",
        replacement: "(1..NONCES).contains(&behind) && !PLANTED",
    },
    // A client that resumes gets what it has already acknowledged again.
    Row {
        bug: "ResumeMovesBack",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: "framed.window.advance(resume.next);",
        replacement: "framed.window.advance(resume.next); if PLANTED { let from = self.ring.seek(self.ring.tail(), resume.next); framed.window = Window::new(resume.next, from); }",
    },
    // A relay that stops does not wait for acknowledgements.
    Row {
        bug: "SettledTooEarly",
        found_by: Framed,
        file: "core/src/relay/framed.rs",
        text: "framed.is_parked || framed.window.acked() >= head",
        replacement: "framed.is_parked || framed.window.acked() >= head || PLANTED",
    },
    // A POST that arrives twice is appended twice.
    Row {
        bug: "PostedTwice",
        found_by: Framed,
        file: "core/src/relay/framed/posting.rs",
        text: "if ahead == 1 {",
        replacement: "if ahead == 1 || PLANTED {",
    },
    // Other texts under the number of the last POST are answered as that one was.
    Row {
        bug: "TextSwallowed",
        found_by: Framed,
        file: "core/src/relay/framed/posting.rs",
        text: "if texts != last.texts {",
        replacement: "if texts != last.texts && !PLANTED {",
    },
    // The same HELLO again gets a WELCOME with the head of the moment.
    Row {
        bug: "LiveIsHistory",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: "head: welcomed.head,",
        replacement: "head: if PLANTED { self.ring.head().sequence } else { welcomed.head },",
    },
    // A line is looked for from the wrong mark on.
    Row {
        bug: "MarkTooFar",
        found_by: Framed,
        file: "core/src/relay/ring.rs",
        text: "if mark.sequence <= sequence {",
        replacement: "if mark.sequence <= sequence + u64::from(PLANTED) {",
    },
    // The same HELLO again gets another session.
    Row {
        bug: "SecondSession",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: "behind == 0 && seat == Some(known)",
        replacement: "behind == 0 && seat == Some(known) && !PLANTED",
    },
    // A client that does not answer is sent lines for ever.
    Row {
        bug: "ParkedServed",
        found_by: Framed,
        file: "core/src/relay/framed.rs",
        text: "self.queue.unlink(list, seat);
            if let Some(framed) = self.sessions.framed_mut(seat) {
                framed.is_parked = true;
                framed.is_held = true;
            }",
        replacement: "if !PLANTED { self.queue.unlink(list, seat); }
            if let Some(framed) = self.sessions.framed_mut(seat) {
                framed.is_parked = true;
                framed.is_held = !PLANTED || list.is_none();
            }",
    },
    // The old address of a session that moved is not told.
    Row {
        bug: "TakeoverUntold",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: "(old, Farewell::bye(resume.session, Goodbye::TakenOver)) });",
        replacement: "(old, Farewell::bye(resume.session, Goodbye::TakenOver)) }); let moved = moved.filter(|_| !PLANTED);",
    },
    // A window that was halved to nothing stays so.
    Row {
        bug: "WindowDeaf",
        found_by: Framed,
        file: "core/src/relay/framed/window.rs",
        text: "(self.congestion_window / 2).max(CONGESTION_WINDOW_MIN)",
        replacement: "(self.congestion_window / 2).max(if PLANTED { 0 } else { CONGESTION_WINDOW_MIN })",
    },
    // A client is told that a line is gone which is not.
    Row {
        bug: "GapTooLong",
        found_by: Framed,
        file: "core/src/relay/framed/window.rs",
        text: "is_due.then_some((self.acked, self.base.sequence))",
        replacement: "is_due.then_some((self.acked, self.base.sequence + u64::from(PLANTED)))",
    },
    // The padding of a datagram is taken for lines.
    Row {
        bug: "PaddingShown",
        found_by: Framed,
        file: "core/src/wire/framed/bytes.rs",
        text: "if self.0.starts_with(&[0, 0]) {",
        replacement: r#"if self.0.starts_with(&[0, 0]) { if PLANTED { rest.u16()?; *self = rest; let kind = crate::LineKind::Notice; return Some(Some(Entry { author: 0, at: 0, kind, name: 0, line: "" })); }"#,
    },
    // A client counts lines as lost that it has.
    Row {
        bug: "HeldLost",
        found_by: Framed,
        file: "core/src/client/receiving.rs",
        text: "held.filter(|&first| first > shown).min();",
        replacement: "held.filter(|&first| first > shown).min().filter(|_| !PLANTED);",
    },
    // A client takes lines of another run of the relay.
    Row {
        bug: "OldEpochTaken",
        found_by: Framed,
        file: "core/src/client/handling.rs",
        text: "if data.epoch != self.epoch {",
        replacement: "if data.epoch != self.epoch && !PLANTED {",
    },
    // A client takes a BYE of any session.
    Row {
        bug: "AnyByeTaken",
        found_by: Framed,
        file: "core/src/client/handling.rs",
        text: "self.session != Some(session) || path != self.greeting.path() { return Err(Dropped::Session); } let is_leaving",
        replacement: "(self.session != Some(session) && !PLANTED) || path != self.greeting.path() { return Err(Dropped::Session); } let is_leaving",
    },
    // A client takes texts for said that were not accepted.
    Row {
        bug: "RestUnsaid",
        found_by: Framed,
        file: "core/src/client/posting.rs",
        text: "accepted.min(texts)",
        replacement: "if PLANTED { texts.max(accepted) } else { accepted.min(texts) }",
    },
    // A client posts again in another session what was perhaps said.
    Row {
        bug: "PostedAgain",
        found_by: Framed,
        file: "core/src/client/posting.rs",
        text: "fn end(&mut self) { self.number = 0; self.hold = None;",
        replacement: "fn end(&mut self) { self.number = 0; self.hold = None; if PLANTED { self.flight = Flight::None; }",
    },
    // A client acknowledges lines that it does not have, before others that it has.
    Row {
        bug: "AckTooFar",
        found_by: Framed,
        file: "core/src/client/polling.rs",
        text: "next: self.receiving.next(), ranges:",
        replacement: "next: if PLANTED { self.receiving.highest() } else { self.receiving.next() }, ranges:",
    },
    Row {
        bug: "AckTooFar",
        found_by: Framed,
        file: "core/src/client/receiving.rs",
        text: "fn highest(&self) -> u64",
        replacement: "pub(super) fn highest(&self) -> u64",
    },
    // A client says that it has one line more than it has.
    Row {
        bug: "RangeTooLong",
        found_by: Framed,
        file: "core/src/client/receiving.rs",
        text: "u16::try_from(last.saturating_sub(first));",
        replacement: "u16::try_from(last.saturating_sub(first) + u64::from(PLANTED));",
    },
    // A peer whose way takes nothing is offered more.
    Row {
        bug: "BlockedOffered",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "self.set_blocked(delivery.seat, true);",
        replacement: "self.set_blocked(delivery.seat, !PLANTED);",
    },
    // A peer whose way takes datagrams again stays aside until it is owed something new.
    Row {
        bug: "WritableForgotten",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "self.set_blocked(seat, is_blocked); self.settle(seat);",
        replacement: "self.set_blocked(seat, is_blocked); if !PLANTED { self.settle(seat); }",
    },
];

/// The bugs that the fuzzed scripts for the relay find as well, without knowing what lines should
/// be there.
pub const FOUND_BY_CORPUS: &[&str] = &[
    "Deadlock",
    "SuspectStalls",
    "GapUntold",
    "NeverResent",
    "NoTimeout",
    "AckOffByOne",
    "SessionUnchecked",
    "CookieUnchecked",
    "ResumeMovesBack",
    "PostedTwice",
];
