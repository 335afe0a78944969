//! The oracle's record of admission: whom the relay serves by each policy, what it sends to sources
//! without a seat, and how fast peers speak.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use kilochat_core::{Config, Event};

use crate::bucket::Bucket;
use crate::counts::Counts;
use crate::dialect::{self, Admitted, text_of};
use crate::framed::counts::Met;
use crate::framed::gate::Exchange;
use crate::framed::wire::{Outcome, Wire};
use crate::judge::proving::code_asked_for;
use crate::{Verdict, check};

/// Bytes of the IP and UDP headers of a datagram.
const HEADERS: usize = 28;

/// The limits of codes and of other answers to all sources without a seat.
const CODES: Bucket = Bucket::new(50, 20);
const ANSWERS: Bucket = Bucket::new(200, 5);

/// Milliseconds for which an address gets the same code.
const MINUTE: u64 = 60_000;

/// What one run of the relay has told sources without a seat, and who has one.
#[derive(Debug)]
pub(crate) struct Admission {
    /// By source: the codes that it was sent, each with its minute on the relay's clock.
    codes: BTreeMap<SocketAddr, Vec<(u32, u64)>>,
    /// By source: bytes from it and to it while it had no seat, headers included.
    ledger: BTreeMap<SocketAddr, (usize, usize)>,
    given: Bucket,
    answers: Bucket,
    /// The addresses that have a seat, as far as that was right when they got it.
    seated: BTreeSet<SocketAddr>,
    /// By address of a peer: the texts that it may say.
    texts: BTreeMap<SocketAddr, Bucket>,
    /// The time of the last datagram on the relay's clock.
    now: u64,
}

impl Admission {
    pub(crate) const fn new() -> Self {
        Self {
            codes: BTreeMap::new(),
            ledger: BTreeMap::new(),
            given: CODES,
            answers: ANSWERS,
            seated: BTreeSet::new(),
            texts: BTreeMap::new(),
            now: 0,
        }
    }

    /// Returns whether lines may be sent to an address.
    pub(crate) fn is_seated(&self, address: SocketAddr) -> bool {
        self.seated.contains(&address)
    }

    /// Forgets the addresses that have no seat any more.
    pub(crate) fn keep(&mut self, has_seat: impl Fn(SocketAddr) -> bool) {
        self.seated.retain(|address| has_seat(*address));
        self.texts.retain(|address, _| has_seat(*address));
    }

    /// Returns a code that was sent to another source than this one.
    pub(crate) fn code_of_another(&self, source: SocketAddr) -> Option<u32> {
        let mut others = self.codes.iter().filter(|(other, _)| **other != source);
        others.find_map(|(_, codes)| codes.last().map(|(code, _)| *code))
    }

    /// Judges a datagram and the reply to it.
    pub(crate) fn judge(
        &mut self,
        config: &Config,
        exchange: &Exchange<'_>,
        event: &Event,
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let Exchange {
            now, source, reply, ..
        } = *exchange;
        if now < self.now {
            // the clock was set back, and limits may begin again
            (self.given, self.answers) = (CODES, ANSWERS);
            self.texts.clear();
        }
        self.now = now;
        if matches!(event, Event::Joined { .. } | Event::Resumed { .. }) {
            self.texts.remove(&source);
        }
        self.judge_pace(config, exchange, event)?;
        if exchange.before.is_some() {
            return Ok(());
        }
        let admitted = dialect::admitted(config, source.ip());
        let is_frame = exchange.payload.first() == Some(&1);
        match admitted {
            Admitted::Never => {
                counts.saw(Met::Foreign);
                let is_served = !reply.is_empty() || exchange.after.is_some();
                check(!is_served, || exchange.wrong("it is not served"))?;
            }
            // the gate judges cookies
            _ if is_frame => {}
            Admitted::AfterProof => self.judge_proof(exchange, counts)?,
            Admitted::AtOnce if exchange.after.is_none() && !reply.is_empty() => {
                let may = self.answers.take(exchange.now).is_ok();
                check(may, || exchange.wrong("too many answers"))?;
            }
            Admitted::AtOnce => {}
        }
        if exchange.after.is_some() {
            self.ledger.remove(&source);
            self.seated.insert(source);
            return Ok(());
        }
        // neighbours are sent help, which is longer; what they are sent in all has another limit
        if is_frame || admitted != Admitted::AtOnce {
            self.account(exchange)?;
        }
        Ok(())
    }

    /// Judges a text from a source that must prove its address.
    fn judge_proof(&mut self, exchange: &Exchange<'_>, counts: &mut Counts<Met>) -> Verdict {
        let Exchange { source, now, .. } = *exchange;
        let text = text_of(exchange.payload).ok();
        let typed = text.and_then(dialect::code).map(|(code, _)| code);
        let minute = now / MINUTE;
        let mut sent = self.codes.get(&source).into_iter().flatten();
        let is_proven =
            sent.any(|(code, at)| Some(*code) == typed && (*at == minute || *at + 1 == minute));
        if exchange.after.is_some() {
            counts.saw(Met::JoinedByCode);
            return check(is_proven, || exchange.wrong("it joins without a proof"));
        }
        let Ok(answer) = core::str::from_utf8(exchange.reply) else {
            return check(false, || exchange.wrong("no text"));
        };
        let code = code_asked_for(answer);
        if answer.is_empty() || (is_proven && code.is_none()) {
            return Ok(());
        }
        check(code.is_some(), || exchange.wrong("more than a code"))?;
        let may = self.given.take(now).is_ok();
        check(may, || exchange.wrong("too many codes"))?;
        counts.saw(Met::CodeGiven);
        let most = (exchange.payload.len() + HEADERS) * 21 / 10;
        check(answer.len() + HEADERS <= most, || {
            exchange.wrong("too long")
        })?;
        let codes = self.codes.entry(source).or_default();
        codes.extend(code.map(|(code, _)| (code, now / MINUTE)));
        Ok(())
    }

    /// Checks that a source without a seat is sent at most three times the bytes that came from it.
    fn account(&mut self, exchange: &Exchange<'_>) -> Verdict {
        let (from, to) = self.ledger.entry(exchange.source).or_default();
        *from += exchange.payload.len() + HEADERS;
        *to += match exchange.reply {
            [] => 0,
            reply => reply.len() + HEADERS,
        };
        let (from, to) = (*from, *to);
        check(to <= 3 * from, || {
            exchange.wrong(&format!("{from} bytes came, and {to} were sent"))
        })
    }

    /// Checks that a peer says no more texts than the limit of each peer.
    fn judge_pace(&mut self, config: &Config, exchange: &Exchange<'_>, event: &Event) -> Verdict {
        if config.rate == 0 || !matches!(event, Event::Said { .. }) {
            return Ok(());
        }
        let texts = match Wire::read(exchange.reply) {
            Some(Wire::Posted {
                outcome: Outcome::Accepted { texts, .. },
                ..
            }) => texts,
            _ => 1,
        };
        let (burst, interval) = (config.burst.into(), 1000 / u64::from(config.rate));
        let bucket = self.texts.entry(exchange.source);
        let bucket = bucket.or_insert_with(|| Bucket::new(burst, interval));
        let may = (0..texts).all(|_| bucket.take(exchange.now).is_ok());
        check(may, || exchange.wrong("faster than it may"))
    }
}
