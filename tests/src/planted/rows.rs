//! The bugs. To add one, append a [`Row`] with a `text` that occurs exactly once in its file, and a
//! `replacement` that contains `PLANTED`, which is true while the bug is in effect. Then run
//! `tests/check.sh planted`.

use super::Row;
use super::Simulator::{Framed, Linked, Plain};

/// All rows. A bug may have several, which follow each other.
pub const ROWS: &[Row] = &[
    // A line that does not fit into a datagram is skipped: the cursor is one too far.
    Row {
        bug: "LineSkipped",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "range.lines > 0) { break;",
        replacement: "range.lines > 0) { if PLANTED { range.to = entry.next; } break;",
    },
    // A peer that is behind receives its own lines.
    Row {
        bug: "AuthorHearsItself",
        found_by: Plain,
        file: "core/src/relay/peers.rs",
        text: "entry.author == id.get() && !echo",
        replacement: "entry.author == id.get() && !echo && !PLANTED",
    },
    // A name may contain a colon, so that it looks like the start of another peer's line.
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
    // Control characters are not replaced.
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
    // A delivery that would block is not offered again.
    Row {
        bug: "RefusedLost",
        found_by: Plain,
        file: "core/src/relay/fanout/blocked.rs",
        text: "else if delivery.from.sequence < peer.cursor.sequence {",
        replacement: "else if delivery.from.sequence < peer.cursor.sequence && !PLANTED {",
    },
    // A full ring blocks the input although no peer is owed anything.
    Row {
        bug: "Deadlock",
        found_by: Plain,
        file: "core/src/relay/fanout/blocked.rs",
        text: "let endangered = self.ring.endangered();",
        replacement: "let endangered = self.ring.endangered(); if PLANTED { return self.ring.tail().offset >= endangered; }",
    },
    // A suspect blocks the input.
    Row {
        bug: "SuspectHoldsUp",
        found_by: Plain,
        file: "core/src/relay/fanout/blocked.rs",
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
    // The new peer at a seat does not receive the lines of the seat's former peer.
    Row {
        bug: "OldLinesHidden",
        found_by: Plain,
        file: "core/src/relay/seats.rs",
        text: "let seat = self.peers.insert(peer).ok_or(Refusal::Full)?;",
        replacement: "let seat = self.peers.insert(peer).ok_or(Refusal::Full)?; if PLANTED && let Some(peer) = self.peers.peer_mut(seat) { let number = u32::try_from(seat.index()).unwrap_or(0); peer.id = core::num::NonZeroU32::MIN.saturating_add(number); }",
    },
    // The history of a newcomer has one message too many.
    Row {
        bug: "HistoryTooLong",
        found_by: Plain,
        file: "core/src/relay/schedule.rs",
        text: "u64::from(*messages) <= most",
        replacement: "u64::from(*messages) <= most + u64::from(PLANTED)",
    },
    // A quiet peer receives announcements, because it shares a datagram with others.
    Row {
        bug: "QuietTold",
        found_by: Plain,
        file: "core/src/relay/fanout.rs",
        text: "&& !(plain.quiet && self.announcements)",
        replacement: "&& (!(plain.quiet && self.announcements) || PLANTED)",
    },
    // A peer receives the line end of others, because it shares a datagram with them.
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
        text: "self.append(now, author, LineKind::Message, name, &line); lines }",
        replacement: "if lines == 1 || !PLANTED { self.append(now, author, LineKind::Message, name, &line); } lines }",
    },
    // The ring overwrites its oldest line twelve bytes too early.
    Row {
        bug: "RingTooShort",
        found_by: Plain,
        file: "core/src/relay/ring.rs",
        text: "self.tail.offset) <= BYTES as u64",
        replacement: "self.tail.offset) <= BYTES as u64 - 12 * u64::from(PLANTED)",
    },
    // A datagram that is too long is refused without a reply.
    Row {
        bug: "RefusalUntold",
        found_by: Plain,
        file: "core/src/relay/plain.rs",
        text: "if why == Refusal::TooLong {",
        replacement: "if why == Refusal::TooLong && !PLANTED {",
    },
    // A refusal without a reply is not counted.
    Row {
        bug: "DropUncounted",
        found_by: Plain,
        file: "core/src/relay.rs",
        text: "u64::from(reply.is_empty())",
        replacement: "u64::from(reply.is_empty() && !PLANTED)",
    },
    // A client at another address may take over the name of a suspect.
    Row {
        bug: "NameTaken",
        found_by: Plain,
        file: "core/src/relay/seats.rs",
        text: "let is_same = peer.address.ip() == source.ip();",
        replacement: "let is_same = peer.address.ip() == source.ip() || PLANTED;",
    },
    // Reports in quick succession count each, so that a burst makes a peer leave.
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
    // An acknowledgement counts for one line less.
    Row {
        bug: "AckOffByOne",
        found_by: Framed,
        file: "core/src/relay/framed/window.rs",
        text: "let next = next.min(self.end().sequence);",
        replacement: "let next = next.min(self.end().sequence).saturating_sub(u64::from(PLANTED));",
    },
    // The session in a frame is not checked.
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
    // A HELLO is accepted although a later one overtook it.
    Row {
        bug: "LateTaken",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: "(1..NONCES).contains(&behind)",
        replacement: "(1..NONCES).contains(&behind) && !PLANTED",
    },
    // A client that resumes is sent lines again that it has already acknowledged.
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
    // A POST with the number of the last one and other texts is answered like the last one.
    Row {
        bug: "TextSwallowed",
        found_by: Framed,
        file: "core/src/relay/framed/posting.rs",
        text: "if texts != last.texts {",
        replacement: "if texts != last.texts && !PLANTED {",
    },
    // A repeated HELLO is answered by a WELCOME with the present head.
    Row {
        bug: "LiveIsHistory",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: "head: welcomed.head,",
        replacement: "head: if PLANTED { self.ring.head().sequence } else { welcomed.head },",
    },
    // The search for a line in the ring starts at the wrong mark.
    Row {
        bug: "MarkTooFar",
        found_by: Framed,
        file: "core/src/relay/ring.rs",
        text: "if mark.sequence <= sequence {",
        replacement: "if mark.sequence <= sequence + u64::from(PLANTED) {",
    },
    // A repeated HELLO is answered by a WELCOME with another session.
    Row {
        bug: "SecondSession",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: "behind == 0 && seat == Some(known)",
        replacement: "behind == 0 && seat == Some(known) && !PLANTED",
    },
    // A client that does not respond is sent lines for ever.
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
    // The old address of a session that moved is sent no BYE.
    Row {
        bug: "TakeoverUntold",
        found_by: Framed,
        file: "core/src/relay/framed/joining.rs",
        text: "(old, Farewell::bye(resume.session, Goodbye::TakenOver)) });",
        replacement: "(old, Farewell::bye(resume.session, Goodbye::TakenOver)) }); let moved = moved.filter(|_| !PLANTED);",
    },
    // A congestion window may be halved to 0, and remains 0.
    Row {
        bug: "WindowDeaf",
        found_by: Framed,
        file: "core/src/relay/framed/window.rs",
        text: "(self.congestion_window / 2).max(CONGESTION_WINDOW_MIN)",
        replacement: "(self.congestion_window / 2).max(if PLANTED { 0 } else { CONGESTION_WINDOW_MIN })",
    },
    // A GAP includes a line that is still in the ring.
    Row {
        bug: "GapTooLong",
        found_by: Framed,
        file: "core/src/relay/framed/window.rs",
        text: "is_due.then_some((self.acked, self.base.sequence))",
        replacement: "is_due.then_some((self.acked, self.base.sequence + u64::from(PLANTED)))",
    },
    // The padding of a DATA is decoded as a line.
    Row {
        bug: "PaddingShown",
        found_by: Framed,
        file: "core/src/wire/framed/bytes.rs",
        text: "if self.0.starts_with(&[0, 0]) {",
        replacement: r#"if self.0.starts_with(&[0, 0]) { if PLANTED { rest.u16()?; *self = rest; let kind = crate::LineKind::Notice; return Some(Some(Entry { author: 0, at: 0, kind, name: 0, line: "" })); }"#,
    },
    // A client reports lines as lost that it has.
    Row {
        bug: "HeldLost",
        found_by: Framed,
        file: "core/src/client/receiving.rs",
        text: "held.filter(|&first| first > shown).min();",
        replacement: "held.filter(|&first| first > shown).min().filter(|_| !PLANTED);",
    },
    // A client accepts lines of another run of the relay.
    Row {
        bug: "OldEpochTaken",
        found_by: Framed,
        file: "core/src/client/handling.rs",
        text: "if data.epoch != self.epoch {",
        replacement: "if data.epoch != self.epoch && !PLANTED {",
    },
    // A client accepts a BYE of any session.
    Row {
        bug: "AnyByeTaken",
        found_by: Framed,
        file: "core/src/client/handling.rs",
        text: "self.session != Some(session) || path != self.greeting.path() { return Err(Dropped::Session); } let is_leaving",
        replacement: "(self.session != Some(session) && !PLANTED) || path != self.greeting.path() { return Err(Dropped::Session); } let is_leaving",
    },
    // A client reports texts as said that the relay did not accept.
    Row {
        bug: "RestUnsaid",
        found_by: Framed,
        file: "core/src/client/posting.rs",
        text: "accepted.min(texts)",
        replacement: "if PLANTED { texts.max(accepted) } else { accepted.min(texts) }",
    },
    // A client posts texts again in another session that were perhaps said.
    Row {
        bug: "PostedAgain",
        found_by: Framed,
        file: "core/src/client/posting.rs",
        text: "fn end(&mut self) { self.number = 0; self.hold = None;",
        replacement: "fn end(&mut self) { self.number = 0; self.hold = None; if PLANTED { self.flight = Flight::None; }",
    },
    // A client posts again and again without backing off.
    Row {
        bug: "NoBackOff",
        found_by: Framed,
        file: "core/src/client/posting.rs",
        text: "(0..tries.min(8))",
        replacement: "(0..if PLANTED { 0 } else { tries.min(8) })",
    },
    // A client's cumulative acknowledgement includes lines that it does not have.
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
    // A client acknowledges one line too many in a range.
    Row {
        bug: "RangeTooLong",
        found_by: Framed,
        file: "core/src/client/receiving.rs",
        text: "u16::try_from(last.saturating_sub(first));",
        replacement: "u16::try_from(last.saturating_sub(first) + u64::from(PLANTED));",
    },
    // A peer to which sending would block is offered further datagrams.
    Row {
        bug: "BlockedOffered",
        found_by: Plain,
        file: "core/src/relay/fanout/blocked.rs",
        text: "self.set_blocked(delivery.seat, true);",
        replacement: "self.set_blocked(delivery.seat, !PLANTED);",
    },
    // A peer to which sending no longer blocks is sent nothing until the next new line.
    Row {
        bug: "WritableForgotten",
        found_by: Plain,
        file: "core/src/relay/fanout/blocked.rs",
        text: "self.set_blocked(seat, is_blocked); self.settle(seat);",
        replacement: "self.set_blocked(seat, is_blocked); if !PLANTED { self.settle(seat); }",
    },
    // What an echo service returns is said.
    Row {
        bug: "EchoSaid",
        found_by: Plain,
        file: "core/src/relay/neighbours.rs",
        text: "if !is_likely || self.config.classic {",
        replacement: "if !is_likely || self.config.classic || PLANTED {",
    },
    // A neighbour that may be forged displaces a peer that has proved its address.
    Row {
        bug: "ProvenDisplaced",
        found_by: Plain,
        file: "core/src/relay/peers.rs",
        text: "is_proven || !self.dialect.is_proven()",
        replacement: "is_proven || PLANTED || !self.dialect.is_proven()",
    },
    // A source that must prove its address is sent the help text.
    Row {
        bug: "HelpBeforeProof",
        found_by: Plain,
        file: "core/src/relay/admission.rs",
        text: "let text = text_of(payload).unwrap_or(NOISE);",
        replacement: "let text = text_of(payload).unwrap_or(NOISE); if PLANTED && text.starts_with(\"/help\") { reply.answer(Sentence::Help); return Event::Helped; }",
    },
    // Neighbours have a share of the seats, as foreign networks do.
    Row {
        bug: "LocalIsForeign",
        found_by: Plain,
        file: "core/src/relay/admission.rs",
        text: "let is_foreign = !self.is_local(now, source);",
        replacement: "let is_foreign = PLANTED || !self.is_local(now, source);",
    },
    // A code is good for a minute more.
    Row {
        bug: "CodeTooOld",
        found_by: Plain,
        file: "core/src/relay/secret.rs",
        text: "any(|period| code_of(key, source, period) == code)",
        replacement: "any(|period| code_of(key, source, period) == code || (PLANTED && code_of(key, source, period.wrapping_sub(1)) == code))",
    },
    // Lines that were too fast are told again.
    Row {
        bug: "SlowToldTwice",
        found_by: Plain,
        file: "core/src/relay/admission.rs",
        text: "let lines = core::mem::take(&mut plain.unsaid);",
        replacement: "let lines = plain.unsaid; if !PLANTED { plain.unsaid = 0; }",
    },
    // What was said elsewhere is handed out again, and comes back to where it was said.
    Row {
        bug: "OwnLineReturns",
        found_by: Linked,
        file: "core/src/relay/link.rs",
        text: "entry.author != ELSEWHERE && match entry.kind {",
        replacement: "(entry.author != ELSEWHERE || PLANTED) && match entry.kind {",
    },
    // Lines that are overwritten before they were handed over have no numbers.
    Row {
        bug: "HoleUntold",
        found_by: Linked,
        file: "core/src/relay/link.rs",
        text: "self.link.numbered += 1; self.link.lost += 1;",
        replacement: "if !PLANTED { self.link.numbered += 1; self.link.lost += 1; }",
    },
    // The link's cursor moves past a line for which the buffer has no room.
    Row {
        bug: "CursorWithoutBuffer",
        found_by: Linked,
        file: "core/src/relay/link.rs",
        text: "self.ring.read_run(from, entry.next, rest) else {",
        replacement: "self.ring.read_run(from, entry.next, rest) else { if PLANTED { self.link.cursor = entry.next; }",
    },
    // A batch that comes a second time is shown a second time.
    Row {
        bug: "RepeatShown",
        found_by: Linked,
        file: "core/src/relay/link/seen.rs",
        text: "known: u16::try_from(doubled).unwrap_or(lines),",
        replacement: "known: if PLANTED { 0 } else { u16::try_from(doubled).unwrap_or(lines) },",
    },
    // Lines that another place has lost are not told.
    Row {
        bug: "LossUntold",
        found_by: Linked,
        file: "core/src/relay/link/seen.rs",
        text: "lost: first.saturating_sub(next),",
        replacement: "lost: if PLANTED { 0 } else { first.saturating_sub(next) },",
    },
    // A name may look like that of somebody at another place.
    Row {
        bug: "PlaceForged",
        found_by: Linked,
        file: "core/src/wire/text.rs",
        text: "matches!(character, '@' | '＠' | '﹫')",
        replacement: "matches!(character, '@' | '＠' | '﹫') && !PLANTED",
    },
    // A plain peer reads what is for another one.
    Row {
        bug: "PrivateToPlain",
        found_by: Plain,
        file: "core/src/relay/peers.rs",
        text: "return entry.author != id.get();",
        replacement: "return entry.author != id.get() && !PLANTED;",
    },
    // A framed client gets the text that is for another one.
    Row {
        bug: "PrivateToFramed",
        found_by: Framed,
        file: "core/src/relay/fanout.rs",
        text: "let is_addressee = message.author == peer.id.get();",
        replacement: "let is_addressee = message.author == peer.id.get() || PLANTED;",
    },
    // The addressee shares the empty entry of its neighbours in the queue.
    Row {
        bug: "PrivateWithheld",
        found_by: Framed,
        file: "core/src/relay/fanout.rs",
        text: "self.except != Some(id)",
        replacement: "self.except != Some(id) || PLANTED",
    },
    // A newcomer is promised a message to one peer as a part of the history.
    Row {
        bug: "PrivateInHistory",
        found_by: Plain,
        file: "core/src/relay/seats.rs",
        text: "history.saturating_sub(self.private_from(first));",
        replacement: "if PLANTED { history } else { history.saturating_sub(self.private_from(first)) };",
    },
    // What keeps the room reads the text.
    Row {
        bug: "PrivateKept",
        found_by: Framed,
        file: "core/src/relay/keeping.rs",
        text: "if line.kind.is_private() {",
        replacement: "if line.kind.is_private() && !PLANTED {",
    },
    // A client acknowledges what was meant for the one that had its address before.
    Row {
        bug: "PrivateOfFormer",
        found_by: Framed,
        file: "core/src/client/handling.rs",
        text: "if entry.kind == LineKind::Private && is_own == entry.line.is_empty() {",
        replacement: "if entry.kind == LineKind::Private && is_own == entry.line.is_empty() && !PLANTED {",
    },
    // Frames are served that come from outside of the local networks.
    Row {
        bug: "ForeignInFrames",
        found_by: Framed,
        file: "core/src/relay/framed.rs",
        text: "&& let Err(why) = self.served(now, source)",
        replacement: "&& !PLANTED && let Err(why) = self.served(now, source)",
    },
];

/// The bugs that the corpus of scripts for the relay must find as well. Its checks do not know the
/// expected lines.
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
