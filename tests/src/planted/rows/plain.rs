//! Bugs in what plain peers see.

use crate::planted::Row;
use crate::planted::Simulator::Plain;

pub(super) const ROWS: &[Row] = &[
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
        text: "let seat = seat.ok_or(Refusal::Full)?;",
        replacement: "let seat = seat.ok_or(Refusal::Full)?; if PLANTED && let Some(peer) = self.peers.peer_mut(seat) { let number = u32::try_from(seat.index()).unwrap_or(0); peer.id = core::num::NonZeroU32::MIN.saturating_add(number); }",
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
        text: "self.end_line(author, kind.0, &line); lines += 1;",
        replacement: "self.end_line(author, kind.0, &line); lines += 1; if PLANTED { return lines; }",
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
    // A plain peer reads what is for another one.
    Row {
        bug: "PrivateToPlain",
        found_by: Plain,
        file: "core/src/relay/peers.rs",
        text: "return entry.author != id.get();",
        replacement: "return entry.author != id.get() && !PLANTED;",
    },
    // A newcomer is promised a message to one peer as a part of the history.
    Row {
        bug: "PrivateInHistory",
        found_by: Plain,
        file: "core/src/relay/seats.rs",
        text: "history.saturating_sub(self.private_from(first));",
        replacement: "if PLANTED { history } else { history.saturating_sub(self.private_from(first)) };",
    },
];
