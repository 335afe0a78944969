//! The relay's door: who may be answered what, and who holds which session.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use crate::counts::Counts;
use crate::framed::counts::Met;
use crate::framed::wire::{LEFT, Outcome, TAKEN_OVER, UNKNOWN, Welcome, Wire, told};
use crate::{Verdict, Violation, check};

/// Milliseconds for which a cookie may be good.
const COOKIE_MS: u64 = 120_000;

/// A nonce that is smaller by less than this is late.
const LATE: u64 = 65_536;

/// Who has a session.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) address: SocketAddr,
    pub(crate) session: u64,
    nonce: u64,
    /// From which line on DATA comes to it, and which lines are history, as it was welcomed.
    welcomed: (u64, u64),
    /// The number and the texts of the last POST that was answered.
    posted: Option<(u16, Vec<Vec<u8>>)>,
    /// It has acknowledged all lines before this one.
    pub(crate) acked: u64,
    /// Lines before this one were sent to it, or it was told that they are lost.
    served: u64,
    /// Where the last GAP ended.
    gap: u64,
    /// How many DATA may be on their way to it.
    window: usize,
    /// Where the DATA begin that were for it and are not acknowledged, by where they end.
    underway: BTreeMap<u64, u64>,
}

/// A datagram that the relay was given, and what it answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    /// On the relay's clock.
    pub(crate) now: u64,
    pub(crate) source: SocketAddr,
    pub(crate) payload: &'a [u8],
    pub(crate) reply: &'a [u8],
    /// Who had and has a seat at the source.
    pub(crate) before: Option<usize>,
    pub(crate) after: Option<usize>,
    /// What was said to the old address of a session that moved.
    pub(crate) moved: Option<(SocketAddr, &'a [u8])>,
}

impl Exchange<'_> {
    fn wrong(&self, what: &str) -> String {
        let (payload, reply) = (told(self.payload), told(self.reply));
        format!("{what}: {} said {payload} and got {reply}", self.source)
    }
}

/// What one run of the relay gave out.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    cookies: BTreeMap<SocketAddr, Vec<(u64, String)>>,
    /// By seat.
    holders: BTreeMap<usize, Holder>,
}

impl Holder {
    /// The number of the last POST that was answered.
    pub(crate) fn last_post(&self) -> Option<u16> {
        self.posted.as_ref().map(|(number, _)| *number)
    }

    /// Whether that was this one text.
    pub(crate) fn has_posted(&self, text: &str) -> bool {
        let is_it = |texts: &[Vec<u8>]| texts == [text.as_bytes()];
        self.posted.as_ref().is_some_and(|(_, texts)| is_it(texts))
    }
}

impl Gate {
    pub(crate) fn holder(&self, seat: usize) -> Option<&Holder> {
        self.holders.get(&seat)
    }

    /// All sessions and where they are.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.holders.values()
    }

    /// Where a session is.
    pub(crate) fn holder_of(&self, session: u64) -> Option<SocketAddr> {
        let mut holders = self.holders.values();
        let holder = holders.find(|holder| holder.session == session)?;
        Some(holder.address)
    }

    /// DATA of the lines `first..end` is offered. Returns whether the same was before.
    pub(crate) fn offered(&mut self, seat: usize, first: u64, end: u64) -> Verdict<bool> {
        let Some(holder) = self.holders.get_mut(&seat) else {
            return Ok(false);
        };
        check(end > holder.acked, || {
            format!("acknowledged up to {}, and {end} again", holder.acked)
        })?;
        let is_again = holder.underway.insert(end, first).is_some();
        check(holder.underway.len() <= holder.window, || {
            let Holder {
                address,
                window,
                underway,
                ..
            } = holder;
            format!("{underway:?} on their way to {address}: more than {window}")
        })?;
        Ok(is_again)
    }

    /// Everything before `until` is not on its way any more; with none, nothing at all is.
    pub(crate) fn arrived(&mut self, seat: usize, until: Option<u64>) {
        if let Some(holder) = self.holders.get_mut(&seat) {
            let is_left = |end: u64| until.is_some_and(|until| end > until);
            holder.underway.retain(|end, _| is_left(*end));
        }
    }

    /// How many of the lines before `head` a client lacks to which nothing is on its way, not even
    /// a GAP: it may hold as much beyond it as it can.
    pub(crate) fn lacks(&self, seat: usize, head: u64) -> u64 {
        match self.holders.get(&seat) {
            Some(holder) if holder.underway.is_empty() && holder.acked >= holder.gap => {
                head.saturating_sub(holder.served)
            }
            Some(_) | None => 0,
        }
    }

    /// It is told that all lines before `until` are lost.
    pub(crate) fn gap(&mut self, seat: usize, until: u64) {
        self.arrived(seat, Some(until));
        self.served(seat, until);
        if let Some(holder) = self.holders.get_mut(&seat) {
            holder.gap = until;
        }
    }

    /// It has all lines before `until` that were sent to it, or is told that they are lost.
    fn served(&mut self, seat: usize, until: u64) {
        if let Some(holder) = self.holders.get_mut(&seat) {
            holder.served = holder.served.max(until);
        }
    }

    /// Its ACK says that it has these lines, too.
    pub(crate) fn has(&mut self, seat: usize, from: u64, until: u64) {
        self.served(seat, until);
        if let Some(holder) = self.holders.get_mut(&seat) {
            let is_left = |first, end| first < from || end > until;
            holder.underway.retain(|end, first| is_left(*first, *end));
        }
    }

    /// Its ACK says that it has all lines before `next`.
    pub(crate) fn acknowledged(&mut self, seat: usize, next: u64) {
        self.arrived(seat, Some(next));
        if let Some(holder) = self.holders.get_mut(&seat) {
            holder.acked = holder.acked.max(next);
            holder.served = holder.served.max(next);
        }
    }

    /// DATA that ends before `end` was not sent.
    pub(crate) fn refused(&mut self, seat: usize, end: u64) {
        if let Some(holder) = self.holders.get_mut(&seat) {
            holder.underway.remove(&end);
        }
    }

    /// Whether a HELLO has a cookie that was given to this address.
    pub(crate) fn was_given(&self, address: SocketAddr, hello: &[u8]) -> bool {
        let Some(Wire::Hello {
            cookie: Some(cookie),
            ..
        }) = Wire::read(hello)
        else {
            return false;
        };
        let mut given = self.cookies.get(&address).into_iter().flatten();
        given.any(|(_, given)| *given == cookie)
    }

    /// Forgets who has no seat any more, or one of the other dialect.
    pub(crate) fn keep(&mut self, has_seat: impl Fn(usize, SocketAddr) -> bool) {
        self.holders
            .retain(|seat, holder| has_seat(*seat, holder.address));
    }

    /// Judges what was answered.
    pub(crate) fn exchange(
        &mut self,
        exchange: &Exchange<'_>,
        head: u64,
        epoch: &mut Option<u32>,
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let Exchange { payload, reply, .. } = *exchange;
        let is_frame = payload.first() == Some(&1);
        let said = Wire::read(payload);
        let Some(first) = reply.first() else {
            let is_owed = match said {
                Some(Wire::Ack {
                    session, answer, ..
                }) => answer && self.is_held(session, exchange.source),
                _ => exchange.moved.is_some(),
            };
            return check(!is_owed, || exchange.wrong("no answer"));
        };
        check(is_frame == (*first == 1), || {
            exchange.wrong("the wrong dialect")
        })?;
        if !is_frame {
            return Ok(());
        }
        let answer = Wire::read(reply);
        let is_proven = matches!(answer, Some(Wire::Welcome(_) | Wire::Refused { .. }));
        if exchange.before.is_none() && !is_proven {
            check(reply.len() <= payload.len(), || {
                exchange.wrong("more than it said")
            })?;
        }
        match (said, answer) {
            (Some(hello @ Wire::Hello { .. }), Some(answer)) => {
                self.greeted(exchange, &hello, answer, epoch, counts)
            }
            (Some(said), Some(answer)) => {
                self.answered(exchange, said, answer, (head, *epoch), counts)
            }
            _ => Err(Violation(exchange.wrong("no answer to that"))),
        }
    }

    /// Judges what a HELLO is answered.
    fn greeted(
        &mut self,
        exchange: &Exchange<'_>,
        hello: &Wire,
        answer: Wire,
        epoch: &mut Option<u32>,
        counts: &mut Counts<Met>,
    ) -> Verdict {
        match answer {
            Wire::Cookie { nonce, cookie } => {
                counts.saw(Met::Challenged);
                let is_same = matches!(hello, Wire::Hello { nonce: same, .. } if *same == nonce);
                check(
                    is_same && exchange.reply.len() <= exchange.payload.len(),
                    || exchange.wrong("another nonce, or longer than HELLO"),
                )?;
                let given = self.cookies.entry(exchange.source).or_default();
                given.push((exchange.now, cookie));
                Ok(())
            }
            Wire::Refused { nonce, .. } => self.check_cookie(exchange, hello, nonce),
            Wire::Welcome(welcome) => {
                counts.saw(Met::CookieSpent);
                self.check_cookie(exchange, hello, welcome.nonce)?;
                self.welcomes(exchange, hello, &welcome, epoch, counts)
            }
            _ => Err(Violation(exchange.wrong("no answer to that"))),
        }
    }

    /// Judges what a frame of a session is answered.
    fn answered(
        &mut self,
        exchange: &Exchange<'_>,
        said: Wire,
        answer: Wire,
        (head, epoch): (u64, Option<u32>),
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let (Wire::Post { session, .. } | Wire::Ack { session, .. } | Wire::Leave(session)) = said
        else {
            return Err(Violation(exchange.wrong("no answer to that")));
        };
        let is_held = self.is_held(session, exchange.source);
        let is_contested = is_held && self.is_contested(session, &said);
        if is_contested {
            counts.saw(Met::Contested);
        }
        let is_right = match (said, answer) {
            (
                _,
                Wire::Bye {
                    session: same,
                    reason,
                },
            ) => {
                if reason == UNKNOWN {
                    counts.saw(Met::UnknownSession);
                }
                let is_left = is_held && !is_contested;
                let is_right = if is_left { LEFT } else { UNKNOWN } == reason;
                is_right && session == same
            }
            (
                Wire::Post { number, texts, .. },
                Wire::Posted {
                    session: same,
                    number: echoed,
                    outcome,
                },
            ) => {
                if let Outcome::Accepted { texts: some, .. } = outcome
                    && usize::from(some) < texts.len()
                {
                    counts.saw(Met::PartlyAccepted);
                }
                let mut holders = self.holders.values_mut();
                if let Some(holder) = holders.find(|holder| holder.session == session) {
                    holder.posted = Some((number, texts));
                }
                is_held && !is_contested && session == same && number == echoed
            }
            (
                Wire::Ack { answer: true, .. },
                Wire::Data {
                    epoch: same,
                    first,
                    lines,
                },
            ) => {
                counts.saw(Met::KeptAlive);
                is_held && lines.is_empty() && (first, Some(same)) == (head, epoch)
            }
            _ => false,
        };
        check(is_right, || exchange.wrong("no answer to that"))
    }

    fn is_held(&self, session: u64, source: SocketAddr) -> bool {
        let mut holders = self.holders.values();
        holders.any(|holder| holder.session == session && holder.address == source)
    }

    /// Whether a POST has the number of the last one, and other texts.
    fn is_contested(&self, session: u64, said: &Wire) -> bool {
        let Wire::Post { number, texts, .. } = said else {
            return false;
        };
        let mut holders = self.holders.values();
        let holder = holders.find(|holder| holder.session == session);
        let posted = holder.and_then(|holder| holder.posted.as_ref());
        posted.is_some_and(|(last, known)| last == number && known != texts)
    }

    fn check_cookie(&self, exchange: &Exchange<'_>, hello: &Wire, answered: u64) -> Verdict {
        let Wire::Hello { nonce, cookie, .. } = hello else {
            return Ok(());
        };
        check(*nonce == answered, || {
            exchange.wrong("another nonce, or longer than HELLO")
        })?;
        let given = self
            .cookies
            .get(&exchange.source)
            .map_or(&[][..], Vec::as_slice);
        let is_good = given.iter().any(|(at, given)| {
            Some(given) == cookie.as_ref() && exchange.now.abs_diff(*at) < COOKIE_MS
        });
        check(is_good, || exchange.wrong("no such cookie"))
    }

    fn welcomes(
        &mut self,
        exchange: &Exchange<'_>,
        hello: &Wire,
        welcome: &Welcome,
        epoch: &mut Option<u32>,
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let source = exchange.source;
        let Wire::Hello { nonce, resume, .. } = *hello else {
            return Ok(());
        };
        check(*epoch.get_or_insert(welcome.epoch) == welcome.epoch, || {
            exchange.wrong("another epoch")
        })?;
        let Some(seat) = exchange.after else {
            return Err(Violation(exchange.wrong("no seat")));
        };
        let mut holders = self.holders.values();
        let same = holders.find(|holder| holder.address == source && holder.nonce == nonce);
        check(
            same.is_none_or(|same| same.session == welcome.session),
            || exchange.wrong("a second session"),
        )?;
        let said = (welcome.first, welcome.head);
        check(same.is_none_or(|same| same.welcomed == said), || {
            exchange.wrong("another WELCOME for the same HELLO")
        })?;
        let is_again = same.is_some();
        let mut holders = self.holders.values();
        let known = holders.find(|holder| holder.session == welcome.session);
        let asked = resume.filter(|(_, asked, _)| Some(*asked) == *epoch);
        let asked = asked.filter(|(asked, ..)| {
            let mut holders = self.holders.values();
            holders.any(|holder| holder.session == *asked)
        });
        check(
            asked.is_none_or(|(session, ..)| session == welcome.session),
            || exchange.wrong("its session is still there"),
        )?;
        let acked = known.map_or(0, |known| known.acked);
        let posted = known.and_then(|known| known.posted.clone());
        let (served, gap, underway) = match known {
            Some(known) if is_again => (known.served, known.gap, known.underway.clone()),
            Some(_) | None => (welcome.first, 0, BTreeMap::new()),
        };
        check(is_again || welcome.first >= acked, || {
            exchange.wrong(&format!("{acked} lines were acknowledged"))
        })?;
        if let Some(known) = known {
            let is_late = (1..LATE).contains(&known.nonce.wrapping_sub(nonce));
            check(!is_late, || exchange.wrong("a HELLO that was overtaken"))?;
            let is_asked = asked.is_some() || (known.address == source && known.nonce == nonce);
            check(is_asked, || exchange.wrong("somebody else's session"))?;
            if known.address != source {
                counts.saw(Met::ResumedElsewhere);
                counts.saw(Met::TakenOver);
                judge_move(exchange, known)?;
            }
        }
        let session = welcome.session;
        self.holders
            .retain(|_, holder| holder.session != session && holder.address != source);
        let holder = Holder {
            address: source,
            session,
            nonce,
            welcomed: said,
            posted,
            acked,
            served,
            gap,
            window: welcome.window.into(),
            underway,
        };
        self.holders.insert(seat, holder);
        Ok(())
    }
}

/// A session moved: its old address is told.
fn judge_move(exchange: &Exchange<'_>, old: &Holder) -> Verdict {
    let farewell = exchange
        .moved
        .and_then(|(to, farewell)| (to == old.address).then(|| Wire::read(farewell))?);
    let (session, reason) = (old.session, TAKEN_OVER);
    check(farewell == Some(Wire::Bye { session, reason }), || {
        exchange.wrong("the old address is not told")
    })
}
