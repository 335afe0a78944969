//! Admission: which sources are served, and what they must prove before.

mod bucket;

use core::net::SocketAddr;

pub(super) use bucket::{Bucket, Limit};

use super::Relay;
use super::config::is_unicast;
use super::event::{Event, Refusal};
use super::plain::{PlainReply, first_line, text_of, visible};
use super::secret;
use crate::time::Instant;
use crate::wire::code::Code;
use crate::wire::command::Command;
use crate::wire::notices::Sentence;
use crate::wire::text::is_blank;

/// Codes given to all sources together, and codes looked at.
const CODES: Limit = Limit {
    burst: 50,
    interval_ms: 20,
};

/// Other answers to all sources without a seat together.
const ANSWERS: Limit = Limit {
    burst: 200,
    interval_ms: 5,
};

/// What a source without a seat must do before it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// Nothing.
    AsIs,
    /// Prove that it receives at its address.
    Proven,
}

/// The limits of what sources without a seat are answered. Nothing is kept about any of them.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    given: Bucket,
    looked: Bucket,
    answers: Bucket,
}

impl Admission {
    pub(super) const fn new() -> Self {
        Self {
            given: Bucket::NEW,
            looked: Bucket::NEW,
            answers: Bucket::NEW,
        }
    }

    /// Returns whether a source may be sent another code.
    fn may_give_code(&mut self, now: Instant) -> bool {
        self.given.take(now.as_wrapped_ms(), CODES).is_ok()
    }

    /// Returns whether a source without a seat may be sent another answer.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        self.answers.take(now.as_wrapped_ms(), ANSWERS).is_ok()
    }
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Returns how a source without a seat is served.
    ///
    /// # Errors
    ///
    /// It is not; returns the reason.
    pub(super) fn served(&self, source: SocketAddr) -> Result<Served, Refusal> {
        if !is_unicast(source.ip()) || source.port() == 0 {
            return Err(Refusal::Source);
        }
        let is_local = self.config.is_local(source.ip());
        if is_local && !self.config.prove {
            Ok(Served::AsIs)
        } else if is_local || self.config.open {
            Ok(Served::Proven)
        } else {
            Err(Refusal::Foreign)
        }
    }

    /// Handles text from a source that must prove that it receives there: it joins with a code and
    /// a name, and is sent a code otherwise.
    pub(super) fn prove(
        &mut self,
        now: Instant,
        source: SocketAddr,
        payload: &[u8],
        mut reply: PlainReply<'_>,
    ) -> Event {
        let refused = |why| Event::Refused { seat: None, why };
        if self.config.classic {
            return refused(Refusal::Unproven);
        }
        let text = text_of(payload).unwrap_or(NOISE);
        if is_blank(text) {
            return refused(Refusal::Blank);
        }
        let (code, rest) = Code::read(text).map_or((None, text), |(code, rest)| (Some(code), rest));
        let name = match Command::of(visible(rest)) {
            Some(Command::Nick(name)) => name,
            Some(_) => "",
            None => rest,
        };
        if let Some(code) = code
            && !is_blank(name)
            && self.is_proof(now, &source, code)
        {
            let event = self.join(now, source, name, reply);
            self.stats.proven += u64::from(matches!(event, Event::Joined { .. }));
            return event;
        }
        let may_answer = self.may_answer(payload);
        if may_answer && self.admission.may_give_code(now) {
            let code = secret::code(&self.config.key, now, &source);
            reply.answer(Sentence::Prove(code, first_line(name).0));
            self.stats.coded += 1;
        }
        refused(Refusal::Unproven)
    }

    /// Returns whether this code was sent to `source` lately. A limited number of codes is looked
    /// at; others count as wrong.
    fn is_proof(&mut self, now: Instant, source: &SocketAddr, code: Code) -> bool {
        let looked = &mut self.admission.looked;
        looked.take(now.as_wrapped_ms(), CODES).is_ok()
            && secret::is_code(&self.config.key, now, source, code)
    }
}

/// What stands for a datagram that is no text: it is not blank, and no name.
const NOISE: &str = "/";
