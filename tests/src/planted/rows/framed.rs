//! Bugs in the framed dialect, on both sides, and in who is served by it.

use crate::planted::Row;
use crate::planted::Simulator::Framed;

pub(super) const ROWS: &[Row] = &[
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
    // A client posts again before the time that the relay named: lines are refused again and again.
    Row {
        bug: "PostedTooSoon",
        found_by: Framed,
        file: "core/src/client/posting.rs",
        text: "self.hold = Some(now.after(retry.max(RETRY_MIN)));",
        replacement: "self.hold = Some(now.after(if PLANTED { RETRY_MIN } else { retry.max(RETRY_MIN) }));",
    },
    // A session moves although its client responds.
    Row {
        bug: "Stolen",
        found_by: Framed,
        file: "core/src/relay/framed/inquiry.rs",
        text: "self.state = State::Denied;",
        replacement: "if !PLANTED { self.state = State::Denied; }",
    },
    // Nobody is asked before a session moves.
    Row {
        bug: "Unasked",
        found_by: Framed,
        file: "core/src/relay/framed/inquiry.rs",
        text: "if own == source || framed.is_parked || is_visitor(&own, &source) {",
        replacement: "if own == source || framed.is_parked || is_visitor(&own, &source) || PLANTED {",
    },
    // An acknowledgement that was under way before the question counts as a response.
    Row {
        bug: "StaleResponse",
        found_by: Framed,
        file: "core/src/relay/framed/inquiry.rs",
        text: "since_echo <= age)",
        replacement: "since_echo <= age || PLANTED)",
    },
    // One question is enough.
    Row {
        bug: "AskedOnce",
        found_by: Framed,
        file: "core/src/relay/framed/inquiry.rs",
        text: "State::Asked if age >= PATIENCE_MS => self.state = State::AskedAgain(age),",
        replacement: "State::Asked if age >= PATIENCE_MS && PLANTED => return Some(true), State::Asked if age >= PATIENCE_MS => self.state = State::AskedAgain(age),",
    },
];
