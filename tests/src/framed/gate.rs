//! The oracle's record of sessions: which session belongs to which address, and which replies are
//! permitted.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use crate::counts::Counts;
use crate::framed::counts::Met;
use crate::framed::inquiry::Inquiry;
use crate::framed::wire::{LEFT, Outcome, TAKEN_OVER, UNKNOWN, Welcome, Wire, told};
use crate::{Verdict, Violation, check};

/// Maximum lifetime of a cookie, in milliseconds.
const COOKIE_MS: u64 = 120_000;

/// A nonce that is smaller than the last one by less than this belongs to an old HELLO.
const LATE: u64 = 65_536;

/// The client of a session.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) address: SocketAddr,
    pub(crate) session: u64,
    nonce: u64,
    /// As the WELCOME said: the first line that DATA will bring, and the first line that is not
    /// history.
    welcomed: (u64, u64),
    /// The number and the texts of the last POST that was answered, and its outcome.
    posted: Option<(u16, Vec<Vec<u8>>, Outcome)>,
    /// Cumulative acknowledgement: the client has all lines before this one.
    pub(crate) acked: u64,
    /// All lines before this one were sent to the client, or it was told that they are lost.
    served: u64,
    /// The end of the last GAP.
    gap: u64,
    /// Maximum number of DATA in flight to the client.
    window: usize,
    /// DATA in flight to the client: the end of each, and its first line.
    underway: BTreeMap<u64, u64>,
    /// The first line of the DATA that were returned to the relay unsent and not offered again. What is
    /// acknowledged of these lines meanwhile does not count: the client has them from another address.
    returned: Option<u64>,
    inquiry: Inquiry,
}

/// A datagram that the relay handled, and the reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    /// The time on the relay's clock.
    pub(crate) now: u64,
    pub(crate) source: SocketAddr,
    pub(crate) payload: &'a [u8],
    pub(crate) reply: &'a [u8],
    /// The seat of the source, before and after the call.
    pub(crate) before: Option<usize>,
    pub(crate) after: Option<usize>,
    /// The farewell to the old address of a session that moved.
    pub(crate) moved: Option<(SocketAddr, &'a [u8])>,
    /// The question to the address of a session that is wanted elsewhere.
    pub(crate) question: Option<(SocketAddr, &'a [u8])>,
    /// The addresses of the clients that were parked before the call.
    pub(crate) parked: &'a [SocketAddr],
}

impl Exchange<'_> {
    pub(crate) fn wrong(&self, what: &str) -> String {
        let (payload, reply) = (told(self.payload), told(self.reply));
        format!(
            "{what}: {} sent {payload} and was answered {reply}",
            self.source
        )
    }
}

/// The cookies and sessions of one run of the relay.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    cookies: BTreeMap<SocketAddr, Vec<(u64, String)>>,
    /// The clients, by seat.
    holders: BTreeMap<usize, Holder>,
    /// Number of POSTs with other texts that the relay has taken for a repetition.
    mistaken: usize,
}

impl Holder {
    /// Returns the number of the last POST that was answered.
    pub(crate) fn last_post(&self) -> Option<u16> {
        self.posted.as_ref().map(|(number, ..)| *number)
    }

    /// Returns whether the last POST consisted of this one text.
    pub(crate) fn has_posted(&self, text: &str) -> bool {
        let is_it = |texts: &[Vec<u8>]| texts == [text.as_bytes()];
        self.posted
            .as_ref()
            .is_some_and(|(_, texts, _)| is_it(texts))
    }
}

impl Gate {
    pub(crate) fn holder(&self, seat: usize) -> Option<&Holder> {
        self.holders.get(&seat)
    }

    /// Returns all clients that have a session.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.holders.values()
    }

    /// Returns the address of a session.
    pub(crate) fn holder_of(&self, session: u64) -> Option<SocketAddr> {
        let mut holders = self.holders.values();
        let holder = holders.find(|holder| holder.session == session)?;
        Some(holder.address)
    }

    /// Records that the relay wants to send DATA with the lines `first..end`. Returns whether the
    /// same DATA is in flight already.
    pub(crate) fn offered(&mut self, seat: usize, first: u64, end: u64) -> Verdict<bool> {
        let Some(holder) = self.holders.get_mut(&seat) else {
            return Ok(false);
        };
        let is_returned = holder.returned.is_some_and(|from| first >= from);
        check(end > holder.acked || is_returned, || {
            format!("acknowledged up to {}, and {end} again", holder.acked)
        })?;
        if is_returned && end >= holder.acked {
            holder.returned = None;
        }
        let is_again = holder.underway.insert(end, first).is_some();
        check(holder.underway.len() <= holder.window, || {
            let Holder {
                address,
                window,
                underway,
                ..
            } = holder;
            format!("{underway:?} in flight to {address}: more than {window}")
        })?;
        Ok(is_again)
    }

    /// Records that all DATA that end by `until` arrived, or were lost; `None` means all.
    pub(crate) fn arrived(&mut self, seat: usize, until: Option<u64>) {
        if let Some(holder) = self.holders.get_mut(&seat) {
            let is_left = |end: u64| until.is_some_and(|until| end > until);
            holder.underway.retain(|end, _| is_left(*end));
        }
    }

    /// Returns how many of the lines before `head` a client lacks, if nothing is in flight to it,
    /// not even a GAP. Otherwise returns 0.
    pub(crate) fn lacks(&self, seat: usize, head: u64) -> u64 {
        match self.holders.get(&seat) {
            Some(holder) if holder.underway.is_empty() && holder.acked >= holder.gap => {
                head.saturating_sub(holder.served)
            }
            Some(_) | None => 0,
        }
    }

    /// Records a GAP: the client is told that all lines before `until` are lost.
    pub(crate) fn gap(&mut self, seat: usize, until: u64) {
        self.arrived(seat, Some(until));
        self.served(seat, until);
        if let Some(holder) = self.holders.get_mut(&seat) {
            holder.gap = until;
        }
    }

    /// Records that all lines before `until` were sent to the client, or reported as lost.
    fn served(&mut self, seat: usize, until: u64) {
        if let Some(holder) = self.holders.get_mut(&seat) {
            holder.served = holder.served.max(until);
        }
    }

    /// Records a selective acknowledgement of the lines `from..until`.
    pub(crate) fn has(&mut self, seat: usize, from: u64, until: u64) {
        self.served(seat, until);
        if let Some(holder) = self.holders.get_mut(&seat) {
            let is_left = |first, end| first < from || end > until;
            holder.underway.retain(|end, first| is_left(*first, *end));
        }
    }

    /// Records a cumulative acknowledgement of all lines before `next`.
    pub(crate) fn acknowledged(&mut self, seat: usize, next: u64) {
        self.arrived(seat, Some(next));
        if let Some(holder) = self.holders.get_mut(&seat) {
            holder.acked = holder.acked.max(next);
            holder.served = holder.served.max(next);
        }
    }

    /// Records an acknowledgement from a session's address.
    pub(crate) fn hears(&mut self, seat: usize, now: u64, echo: Option<u16>) {
        if let Some(holder) = self.holders.get_mut(&seat) {
            holder.inquiry.hears(now, echo);
        }
    }

    /// Records that the DATA that ends before `end` was returned to the relay unsent.
    pub(crate) fn refused(&mut self, seat: usize, end: u64) {
        if let Some(holder) = self.holders.get_mut(&seat)
            && let Some(first) = holder.underway.remove(&end)
        {
            let from = holder.returned.map_or(first, |from| from.min(first));
            holder.returned = Some(from);
        }
    }

    /// Returns the last cookie that was sent to an address.
    pub(crate) fn cookie_of(&self, address: SocketAddr) -> Option<[u8; 16]> {
        let (_, digits) = self.cookies.get(&address)?.last()?;
        Some(u128::from_str_radix(digits, 16).ok()?.to_be_bytes())
    }

    /// Returns whether a HELLO has a cookie that was sent to this address.
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

    /// Forgets clients that no longer have a seat, or have one in the plain dialect.
    pub(crate) fn keep(&mut self, has_seat: impl Fn(usize, SocketAddr) -> bool) {
        self.holders
            .retain(|seat, holder| has_seat(*seat, holder.address));
    }

    /// Judges a reply.
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
        if let Some(question) = exchange.question {
            return self.inquires(exchange, said, question, counts);
        }
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

    /// Judges the reply to a HELLO.
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

    /// Judges the question to the address of a session that is wanted elsewhere.
    fn inquires(
        &mut self,
        exchange: &Exchange<'_>,
        said: Option<Wire>,
        (to, question): (SocketAddr, &[u8]),
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let Some(
            hello @ Wire::Hello {
                nonce,
                resume: Some((session, ..)),
                ..
            },
        ) = said
        else {
            return Err(Violation(exchange.wrong("a question for nothing")));
        };
        self.check_cookie(exchange, &hello, nonce)?;
        let mut holders = self.holders.values_mut();
        let holder = holders.find(|holder| holder.session == session);
        let Some(holder) = holder.filter(|holder| holder.address != exchange.source) else {
            return Err(Violation(exchange.wrong("a question about nobody")));
        };
        // the HELLO named the first line that it wants
        let acked = holder.acked.max(holder.welcomed.0);
        let is_gap = matches!(
            Wire::read(question),
            Some(Wire::Gap { session: same, from, until })
                if same == session && from + 1 == until && until <= acked
        );
        let Exchange {
            now, source, reply, ..
        } = *exchange;
        let is_needed = !exchange.parked.contains(&holder.address)
            && !is_visitor(holder.address, source)
            && !holder.inquiry.may_move(now)
            && !holder.inquiry.is_denied(now, source);
        let is_right = is_gap && to == holder.address && is_needed && reply.is_empty();
        check(is_right, || exchange.wrong("the wrong question"))?;
        holder.inquiry.asks(now, source);
        counts.saw(Met::Claimed);
        Ok(())
    }

    /// Judges the reply to a frame of a session.
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
                let holder = holders.find(|holder| holder.session == session);
                let mut is_right = is_held && session == same && number == echoed;
                if is_contested {
                    // the relay compares a hash of 16 bits
                    self.mistaken += 1;
                    let last = holder.and_then(|holder| holder.posted.as_ref());
                    is_right &= self.mistaken == 1 && last.is_some_and(|last| last.2 == outcome);
                } else if let Some(holder) = holder {
                    holder.posted = Some((number, texts, outcome));
                }
                is_right
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

    /// Returns whether a POST repeats the number of the last one with other texts.
    fn is_contested(&self, session: u64, said: &Wire) -> bool {
        let Wire::Post { number, texts, .. } = said else {
            return false;
        };
        let mut holders = self.holders.values();
        let holder = holders.find(|holder| holder.session == session);
        let posted = holder.and_then(|holder| holder.posted.as_ref());
        posted.is_some_and(|(last, known, _)| last == number && known != texts)
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

    /// Judges that a HELLO with this session got another one.
    fn judge_denied(
        &self,
        exchange: &Exchange<'_>,
        session: u64,
        counts: &mut Counts<Met>,
    ) -> Verdict {
        counts.saw(Met::ClaimDenied);
        let mut holders = self.holders.values();
        let is_denied = holders.any(|holder| {
            holder.session == session
                && holder.address != exchange.source
                && (holder.inquiry.is_denied(exchange.now, exchange.source)
                    || holder.acked.max(holder.welcomed.0) == 0)
        });
        check(is_denied, || exchange.wrong("its session is still there"))
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
        if let Some((session, ..)) = asked
            && session != welcome.session
            && !is_again
        {
            self.judge_denied(exchange, session, counts)?;
        }
        let (acked, posted) = known.map_or((0, None), |it| (it.acked, it.posted.clone()));
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
        let mut holder = known.filter(|_| is_again).cloned().unwrap_or(Holder {
            address: source,
            session,
            nonce,
            welcomed: said,
            posted,
            acked,
            served: welcome.first,
            gap: 0,
            window: welcome.window.into(),
            underway: BTreeMap::new(),
            returned: None,
            inquiry: Inquiry::default(),
        });
        holder.inquiry = Inquiry::default();
        self.holders
            .retain(|_, holder| holder.session != session && holder.address != source);
        self.holders.insert(seat, holder);
        Ok(())
    }
}

/// Judges the farewell to the old address of a session that moved, and whether it may move.
fn judge_move(exchange: &Exchange<'_>, old: &Holder) -> Verdict {
    let farewell = exchange
        .moved
        .and_then(|(to, farewell)| (to == old.address).then(|| Wire::read(farewell))?);
    let (session, reason) = (old.session, TAKEN_OVER);
    check(farewell == Some(Wire::Bye { session, reason }), || {
        exchange.wrong("the old address is not told")
    })?;
    let is_parked = exchange.parked.contains(&old.address);
    let may =
        is_parked || is_visitor(old.address, exchange.source) || old.inquiry.may_move(exchange.now);
    check(may, || exchange.wrong("the session is in use"))
}

/// Returns whether both addresses are of one visitor of a gateway on the relay's machine.
fn is_visitor(one: SocketAddr, other: SocketAddr) -> bool {
    let is_shared = ["127.0.0.1", "::1"].contains(&&*one.ip().to_string());
    one.ip() == other.ip() && one.ip().is_loopback() && !is_shared
}
