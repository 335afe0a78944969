//! The oracle's judgement of sources that must prove their address, and of the limits of replies to
//! sources without a seat.

use core::net::SocketAddr;

use kilochat_core::{Event, Refusal};

use crate::dialect::{self, Admitted, Meaning, is_blank, text_of};
use crate::judge::{Due, Outcome};
use crate::oracle::Oracle;
use crate::text::{repaired, visible};
use crate::{Seen, Verdict, check};

/// Bytes of the IP and UDP headers of a datagram.
const HEADERS: usize = 28;

/// Milliseconds for which an address gets the same code.
const MINUTE: u64 = 60_000;

/// The beginning of the request for a code.
const REQUEST: &str = "* to join, send: ";

impl Oracle {
    /// Returns what is required for a source that must prove its address.
    pub(super) fn must_prove(
        &mut self,
        now: u64,
        source: SocketAddr,
        payload: &[u8],
        newline: bool,
        outcome: &Outcome<'_>,
    ) -> Verdict<Due> {
        let refused = |why| Due::Exactly(Event::Refused { seat: None, why }, String::new());
        if self.config.classic {
            return Ok(refused(Refusal::Unproven));
        }
        let text = text_of(payload).ok();
        if text.is_some_and(is_blank) {
            return Ok(refused(Refusal::Blank));
        }
        let typed = text.and_then(dialect::code);
        let rest = typed.map_or(text, |(_, rest)| Some(rest));
        let rest = rest.unwrap_or_default();
        let name = if !visible(rest).starts_with('/') {
            rest
        } else if let Meaning::Nick(name) = Meaning::of(visible(rest)) {
            name
        } else {
            ""
        };
        if let Some((code, _)) = typed
            && !is_blank(name)
            && self.admission.looked.take(now).is_ok()
            && self.was_sent(now, source, code)
        {
            let due = self.joins(now, source, name, newline, outcome)?;
            if matches!(due, Due::Exactly(Event::Joined { .. }, _)) {
                self.counts.saw(Seen::Proven);
                self.tally.proven += 1;
            }
            return Ok(due);
        }
        if !self.may_answer(payload) || self.admission.given.take(now).is_err() {
            return Ok(refused(Refusal::Unproven));
        }
        self.tally.coded += 1;
        let name = repaired(dialect::first_line(name).0).unwrap_or_else(|| "NAME".to_owned());
        Ok(Due::Code(name, newline))
    }

    fn was_sent(&self, now: u64, source: SocketAddr, code: u32) -> bool {
        let minute = now / MINUTE;
        let sent = self.admission.codes.get(&source).into_iter().flatten();
        sent.into_iter()
            .any(|(sent, at)| *sent == code && (*at == minute || at + 1 == minute))
    }

    /// Returns whether the reply is the right request for a code, and records the code.
    pub(super) fn learns_code(
        &mut self,
        now: u64,
        source: SocketAddr,
        outcome: &Outcome<'_>,
        name: &str,
        newline: bool,
    ) -> bool {
        let Some((code, rest)) = code_asked_for(outcome.reply) else {
            return false;
        };
        self.counts.saw(Seen::CodeGiven);
        let codes = self.admission.codes.entry(source).or_default();
        codes.push((code, now / MINUTE));
        let (seat, why) = (None, Refusal::Unproven);
        let end = if newline { "\n" } else { "" };
        *outcome.event == Event::Refused { seat, why } && rest == format!("{name}{end}")
    }

    /// Checks that a source that must prove its address is sent at most three times the bytes that
    /// came from it.
    pub(super) fn account(&mut self, source: SocketAddr, payload: &[u8], reply: &str) -> Verdict {
        let admitted = dialect::admitted(&self.config, source.ip());
        if admitted == Admitted::AtOnce || self.members.values().any(|it| it.address == source) {
            return Ok(());
        }
        let (sent, got) = self.admission.ledger.entry(source).or_default();
        *sent += payload.len() + HEADERS;
        *got += if reply.is_empty() {
            0
        } else {
            reply.len() + HEADERS
        };
        check(*got <= 3 * *sent, || {
            format!("{source} sent {sent} bytes and got {got}")
        })
    }

    /// Returns what is required if the limit of replies may be reached.
    pub(super) fn limited(&mut self, now: u64, due: Due) -> Due {
        let (event, is_told) = match &due {
            Due::Help(..) => (None, true),
            Due::Exactly(event @ Event::Refused { why, .. }, text) => (
                Some(event.clone()),
                *why != Refusal::Unproven && !text.is_empty(),
            ),
            Due::Exactly(..) | Due::Code(..) => (None, false),
        };
        if !is_told || self.admission.answers.take(now).is_ok() {
            return due;
        }
        let (seat, why) = (None, Refusal::Nameless);
        Due::Exactly(event.unwrap_or(Event::Refused { seat, why }), String::new())
    }
}

/// Returns the code in a request for a code, and the name after it.
pub(crate) fn code_asked_for(reply: &str) -> Option<(u32, &str)> {
    let (code, rest) = reply.strip_prefix(REQUEST)?.split_at_checked(9)?;
    let (number, "") = dialect::code(code)? else {
        return None;
    };
    (code.as_bytes()[4] == b'-').then_some(())?;
    Some((number, rest.strip_prefix(' ')?))
}
