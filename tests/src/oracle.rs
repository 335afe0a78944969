//! The oracle: a second, simple implementation of the relay, which judges each call of the real
//! one.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use kilochat_core::{
    Config, Departed, Departure, Expired, Farewell, Instant, Name, PeerInfo, Seat, Stats,
    Unreachable,
};

use crate::bucket::Bucket;
use crate::dialect::{GIVEN_AWAY, STOPPING};
use crate::log::{Kind, Log, Reader};
use crate::tally::Tally;
use crate::transcript::{Expected, Transcript, check_wire};
use crate::{Counts, Seen, Verdict, Violation, check};

/// Two reports of unreachability within this time, in milliseconds, count as one.
const REPORT_INTERVAL: u64 = 10_000;

/// Number of reports after which a peer leaves.
const REPORTS_MAX: u8 = 3;

/// A model of the relay. It is told the arguments and the results of each call, and checks the
/// results.
///
/// An error means that the relay is wrong. After an error the oracle must not be used any more.
#[derive(Debug)]
pub struct Oracle {
    pub(crate) config: Config,
    pub(crate) seats: usize,
    pub(crate) log: Log,
    pub(crate) members: BTreeMap<usize, Member>,
    pub(crate) joins: u32,
    /// The longest time by which the clock was ever set back, in milliseconds: a silence may last
    /// that much longer.
    pub(crate) slack: u64,
    clock: u64,
    pub(crate) is_stopping: bool,
    pub(crate) admission: Admission,
    pub(crate) tally: Tally,
    /// The cases that occurred.
    pub counts: Counts,
}

/// What sources without a seat were told.
#[derive(Debug)]
pub(crate) struct Admission {
    /// By source: the codes that it was sent, each with its minute.
    pub(crate) codes: BTreeMap<SocketAddr, Vec<(u32, u64)>>,
    /// By source that must prove its address: bytes from it and bytes to it, with headers.
    pub(crate) ledger: BTreeMap<SocketAddr, (usize, usize)>,
    pub(crate) given: Bucket,
    pub(crate) looked: Bucket,
    pub(crate) answers: Bucket,
    /// Earliest time of the next search for an address that has too many seats.
    pub(crate) crowd_at: u64,
    /// The same, if the relay searched when the record does not require it.
    pub(crate) crowd_doubted: u64,
}

impl Admission {
    const fn new() -> Self {
        Self {
            codes: BTreeMap::new(),
            ledger: BTreeMap::new(),
            given: Bucket::new(50, 20),
            looked: Bucket::new(50, 20),
            answers: Bucket::new(200, 5),
            crowd_at: 0,
            crowd_doubted: 0,
        }
    }
}

/// The oracle's record of a peer.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) seat: Seat,
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
    pub(crate) heard: u64,
    /// Earliest time of the next notice about refused lines, the number of lines since the last one
    /// that exceeded the rate limit, and the rate limit.
    pub(crate) tell_at: u64,
    pub(crate) unsaid: u64,
    pub(crate) pace: Option<Bucket>,
    pub(crate) suspect: bool,
    /// When its port was last reported as unreachable by a report that counted.
    pub(crate) reported: Option<u64>,
    pub(crate) ports: u8,
    /// Whether it has shown that it is where its datagrams come from.
    pub(crate) is_proven: bool,
    /// How many datagrams it returned, and in which second the last one.
    pub(crate) returned: (u8, u64),
    pub(crate) reader: Reader,
    /// The first line for it.
    pub(crate) first: usize,
    /// Whether it was ever quiet.
    pub(crate) was_quiet: bool,
    /// The datagrams that were sent to it.
    pub(crate) got: Vec<Vec<u8>>,
    /// Number of deliveries that are neither sent nor returned yet.
    pub(crate) in_hand: usize,
    /// Whether sending to it would block.
    pub(crate) is_blocked: bool,
}

/// A delivery that was taken from a fan-out, and is then [sent](Oracle::sent) or
/// [returned](Oracle::refused).
#[derive(Clone, Debug)]
pub struct Offer {
    seat: usize,
    id: u32,
    from: usize,
    to: usize,
    lost: u64,
    payload: Vec<u8>,
}

impl Oracle {
    /// Creates the oracle of a new relay with this number of seats, and a ring of this size in
    /// bytes.
    pub fn new(config: Config, peers: usize, ring: usize) -> Self {
        Self {
            seats: peers.min(usize::from(config.seats)),
            config,
            log: Log::new(ring),
            members: BTreeMap::new(),
            joins: 0,
            slack: 0,
            clock: 0,
            is_stopping: false,
            admission: Admission::new(),
            tally: Tally::default(),
            counts: Counts::new(),
        }
    }

    /// Records the time of a call.
    pub(crate) fn tick(&mut self, now: Instant) -> u64 {
        let now = now.as_millis();
        self.slack = self.slack.max(self.clock.saturating_sub(now));
        self.clock = self.clock.max(now);
        now
    }

    /// Returns the addresses and names of the peers in the order of their seats.
    pub fn peers(&self) -> impl Iterator<Item = (Seat, SocketAddr, &str)> {
        let members = self.members.values();
        members.map(|member| (member.seat, member.address, member.name.as_str()))
    }

    /// Judges a delivery of `payload` that a fan-out returned.
    ///
    /// # Errors
    ///
    /// If this is not exactly the next datagram for that peer.
    pub fn offered(&mut self, seat: Seat, to: SocketAddr, payload: &[u8]) -> Verdict<Offer> {
        let text = check_wire(payload)?;
        let member = self.members.get_mut(&seat.index());
        let Some(member) = member.filter(|member| member.address == to) else {
            return Err(Violation(format!(
                "{to} is no peer and is offered {text:?}"
            )));
        };
        check(!member.is_blocked, || {
            format!("{to} is blocked, but is offered {text:?}")
        })?;
        let Some(mut due) = member.reader.due(&self.log) else {
            return Err(Violation(format!(
                "{} has everything and is offered {text:?}",
                member.name
            )));
        };
        if due.payload != text
            && let Some(shared) = member.reader.shared(&self.log)
        {
            due = shared;
        }
        check(due.payload == text, || {
            difference(&member.name, text, &due.payload)
        })?;
        let offer = Offer {
            seat: seat.index(),
            id: member.reader.id,
            from: member.reader.next,
            to: due.next,
            lost: member.reader.lost,
            payload: payload.to_vec(),
        };
        for line in self.log.lines(offer.from, due.next) {
            if line.author == Some(offer.id) {
                let own = if member.reader.echo {
                    Seen::OwnEchoed
                } else {
                    Seen::OwnSkipped
                };
                self.counts.saw(own);
            } else if member.reader.skips(line) {
                self.counts.saw(Seen::QuietSkipped);
            }
        }
        if offer.lost > 0 {
            self.counts.saw(Seen::GapTold);
        }
        if due.lines > 1 {
            self.counts.saw(Seen::Coalesced);
        }
        if due.next < self.log.head() {
            self.counts.saw(Seen::DatagramFull);
        }
        self.tally.deliveries += 1;
        self.tally.coalesced += u64::from(due.lines > 1);
        member.reader.next = due.next;
        member.reader.lost = 0;
        member.reader.skip(&self.log);
        member.in_hand += 1;
        Ok(offer)
    }

    /// Records that the network accepted a delivery.
    pub fn sent(&mut self, offer: Offer) {
        if let Some(member) = self.member_of(&offer) {
            member.got.push(offer.payload);
            member.in_hand -= 1;
        }
    }

    /// Records a call to `handle_refused`: sending would block. Deliveries are returned in reverse
    /// order.
    pub fn refused(&mut self, offer: &Offer) {
        self.tally.deferred += 1;
        let Some(member) = self
            .members
            .get_mut(&offer.seat)
            .filter(|member| member.reader.id == offer.id)
        else {
            self.counts.saw(Seen::DeferredAfterLeave);
            return;
        };
        member.in_hand -= 1;
        member.is_blocked = true;
        let reader = &mut member.reader;
        self.counts.saw(Seen::Deferred);
        let missed = reader.give_back(&self.log, offer.from..offer.to, offer.lost);
        self.tally.missed += missed;
        if missed > 0 {
            self.counts.saw(Seen::DeferredAfterOverrun);
        }
    }

    /// Records a call to `handle_blocked` or `handle_writable`.
    pub fn blocked(&mut self, seat: Seat, is_blocked: bool) {
        let Some(member) = self.members.get_mut(&seat.index()) else {
            return;
        };
        if member.is_blocked == is_blocked {
            return;
        }
        member.is_blocked = is_blocked;
        self.tally.missed += member.reader.catch_up(&self.log);
        member.reader.skip(&self.log);
    }

    /// Judges that `poll_fanout` returned `None` after all deliveries were taken.
    ///
    /// # Errors
    ///
    /// If there is something to send to a peer.
    pub fn nothing_due(&self) -> Verdict {
        let owed = self
            .members
            .values()
            .find(|member| !member.is_blocked && member.reader.is_due(&self.log));
        match owed {
            None => Ok(()),
            Some(member) => Err(Violation(format!(
                "nothing is offered, but {} is owed {:?}",
                member.name,
                member.reader.due(&self.log).map(|due| due.payload)
            ))),
        }
    }

    /// Judges the result of `can_receive`. It must be `false` exactly while one more message could
    /// overwrite a line that was not sent to a peer, except to suspects and blocked peers.
    ///
    /// # Errors
    ///
    /// If it is wrong.
    pub fn can_receive(&self, answer: bool) -> Verdict {
        let held_up = self.members.values().find(|member| {
            let reader = &member.reader;
            !member.suspect
                && !member.is_blocked
                && reader.is_due(&self.log)
                && self.log.is_endangered(reader.next)
        });
        check(answer == held_up.is_none(), || match held_up {
            Some(member) => format!("can_receive, but {} would lose a line", member.name),
            None => "!can_receive, but nobody would lose a line".to_owned(),
        })
    }

    /// Judges a call to `handle_unreachable`.
    ///
    /// # Errors
    ///
    /// If the peer left too early, too late or for another reason.
    pub fn unreachable(
        &mut self,
        now: Instant,
        seat: Seat,
        why: Unreachable,
        departed: Option<&Departed>,
    ) -> Verdict {
        let now = self.tick(now);
        let mut leaves = false;
        self.tally.unreachable += 1;
        if let Some(member) = self.members.get_mut(&seat.index()) {
            member.suspect = true;
            let is_late = member
                .reported
                .is_none_or(|reported| now.saturating_sub(reported) >= REPORT_INTERVAL);
            if why == Unreachable::Port && is_late {
                member.reported = Some(now);
                member.ports += 1;
                leaves = member.ports >= REPORTS_MAX;
            }
        }
        self.counts.saw(match why {
            Unreachable::Port => Seen::ReportedPort,
            Unreachable::Path => Seen::ReportedPath,
        });
        let expected = leaves.then(|| self.leave(seat.index(), Departure::Unreachable));
        let expected = expected.transpose()?;
        if leaves {
            self.counts.saw(Seen::LeftUnreachable);
        }
        check(departed == expected.as_ref(), || {
            format!("reported unreachable: {departed:?} instead of {expected:?}")
        })
    }

    /// Judges a call to `handle_timeout`.
    ///
    /// # Errors
    ///
    /// If a peer left too early, or should have left.
    pub fn timeout(&mut self, now: Instant, expired: Option<&Expired>) -> Verdict {
        let now = self.tick(now);
        let idle = self.idle();
        let mut over = self.members.values().filter(|member| {
            member
                .reported
                .is_some_and(|reported| reported + idle <= now)
        });
        let Some(expired) = expired else {
            let late = over.next();
            return check(late.is_none(), || format!("still here: {late:?}"));
        };
        let Expired::Left(departed) = expired else {
            return Err(Violation(format!("{expired:?} without frames")));
        };
        let found = over.find(|member| member.seat == departed.seat);
        check(found.is_some(), || format!("left too early: {departed:?}"))?;
        let expected = self.leave(departed.seat.index(), Departure::Unreachable)?;
        self.counts.saw(Seen::LeftAfterTimeout);
        check(*departed == expected, || {
            format!("{departed:?} instead of {expected:?}")
        })
    }

    /// Judges the result of `poll_timeout`.
    ///
    /// # Errors
    ///
    /// If a peer has to leave before that.
    pub fn next_timeout(&self, answer: Option<Instant>) -> Verdict {
        let suspects = self.members.values();
        let next = suspects
            .filter_map(|member| Some(member.reported? + self.idle()))
            .min();
        let is_early = match (answer, next) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(answer), Some(next)) => answer.as_millis() <= next,
        };
        check(is_early, || format!("wakes at {answer:?} for {next:?}"))
    }

    /// Judges the result of `is_settled`, which means that every line was offered to every peer.
    ///
    /// # Errors
    ///
    /// If it is wrong.
    pub fn settled(&self, answer: bool) -> Verdict {
        let mut members = self.members.values();
        let lacks = members.find(|member| member.reader.lacks(&self.log));
        check(answer == lacks.is_none(), || {
            format!("settled: {answer}, and {lacks:?} lacks lines")
        })
    }

    /// Records a call to `stop`.
    pub fn stopped(&mut self) {
        if !self.config.classic && !self.is_stopping {
            self.append(Kind::Notice, None, STOPPING.to_owned());
        }
        self.is_stopping = true;
    }

    pub(crate) fn idle(&self) -> u64 {
        u64::try_from(self.config.idle.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn announce(&mut self, peers: usize, author: Option<u32>, text: String) {
        if self.config.classic || self.is_stopping {
            return;
        }
        if peers <= usize::from(self.config.announce_up_to) {
            self.append(Kind::Announcement, author, text);
        } else {
            self.counts.saw(Seen::Unannounced);
        }
    }

    /// Appends a line. A peer that was sent everything skips it at once if it is hidden from it.
    pub(crate) fn append(&mut self, kind: Kind, author: Option<u32>, text: String) {
        let head = self.log.head();
        self.log.make_room(text.len());
        for member in self.members.values_mut() {
            if member.is_blocked {
                continue;
            }
            let missed = member.reader.catch_up(&self.log);
            self.tally.missed += missed;
            if missed > 0 {
                let classic = member.reader.classic;
                self.counts.saw(if classic {
                    Seen::OverrunClassic
                } else {
                    Seen::Overrun
                });
            }
        }
        self.log.push(text, author, kind);
        for member in self.members.values_mut() {
            if member.is_blocked {
                continue;
            }
            let reader = &mut member.reader;
            if reader.next == head && reader.lost == 0 {
                reader.skip(&self.log);
                if reader.quiet && reader.next > head && kind == Kind::Announcement {
                    self.counts.saw(Seen::QuietSkipped);
                }
            }
        }
    }

    /// Removes a peer from the room, and judges everything that was sent to it.
    pub(crate) fn leave(&mut self, seat: usize, why: Departure) -> Verdict<Departed> {
        let Some(member) = self.members.remove(&seat) else {
            return Err(Violation(format!("nobody has seat {seat}")));
        };
        self.judge_transcript(&member)?;
        self.tally.left += 1;
        let reason = match why {
            Departure::Quit => Some("quit"),
            Departure::Unreachable => Some("unreachable"),
            Departure::Displaced | Departure::Lapsed => Some("silent"),
            Departure::Removed => Some("removed"),
            Departure::Replaced => Some("replaced"),
            Departure::Contested => Some("contested"),
            Departure::Echo => Some("echo"),
            Departure::Restarted => None,
        };
        if let Some(reason) = reason {
            let text = format!("* {} left ({reason})", member.name);
            self.announce(self.members.len() + 1, None, text);
        }
        let mut farewell = "";
        if why == Departure::Displaced && !self.config.classic {
            farewell = GIVEN_AWAY;
            if member.reader.newline {
                farewell = "* your seat was given away; say your name to come back\n";
            }
        }
        let name = Name::try_from(member.name.as_str());
        Ok(Departed {
            seat: member.seat,
            address: member.address,
            name: name.map_err(|_| Violation("a name that is too long".to_owned()))?,
            why,
            farewell: Farewell::Text(farewell),
        })
    }

    /// Judges the counters, and the relay's report about its peers.
    ///
    /// # Errors
    ///
    /// If one of them is wrong.
    pub fn accounts<'a>(
        &self,
        stats: &Stats,
        peers: impl Iterator<Item = PeerInfo<'a>>,
    ) -> Verdict {
        self.tally.compare(stats, self.log.head() as u64)?;
        let members = self.members.values();
        let known = members.map(|member| {
            let owed = (self.log.head() - member.reader.next) as u64;
            let suspect = member.suspect;
            (
                member.seat,
                member.address,
                member.name.as_str(),
                member.heard,
                suspect,
                owed,
            )
        });
        let told = peers.map(|peer| {
            let heard = peer.heard.as_millis();
            (
                peer.seat,
                peer.address,
                peer.name,
                heard,
                peer.suspect,
                peer.owed,
            )
        });
        let mut pairs = known.zip(told);
        let wrong = pairs.find(|(known, told)| known != told);
        check(wrong.is_none(), || {
            format!("of a peer, expected and reported: {wrong:?}")
        })
    }

    /// Judges everything that was sent to the present peers.
    ///
    /// # Errors
    ///
    /// If a peer's datagrams do not make up the lines of the room.
    pub fn transcripts(&self) -> Verdict {
        self.members
            .values()
            .try_for_each(|member| self.judge_transcript(member))
    }

    fn judge_transcript(&self, member: &Member) -> Verdict {
        let reader = &member.reader;
        if member.was_quiet || reader.classic {
            return Ok(());
        }
        let lines = self.log.lines(member.first, self.log.head()).iter();
        let expected: Vec<Expected<'_>> = lines
            .map(|line| Expected {
                text: &line.text,
                shown: !reader.skips(line),
            })
            .collect();
        let mut transcript = Transcript::new(&expected, reader.newline);
        for payload in &member.got {
            transcript
                .read(payload)
                .map_err(|violation| Violation(format!("{}: {violation}", member.name)))?;
        }
        if member.in_hand > 0 || reader.is_due(&self.log) {
            return Ok(());
        }
        transcript.finish()
    }

    fn member_of(&mut self, offer: &Offer) -> Option<&mut Member> {
        let member = self.members.get_mut(&offer.seat)?;
        (member.reader.id == offer.id).then_some(member)
    }
}

/// Describes the difference between an offered datagram and the right one.
fn difference(name: &str, offered: &str, due: &str) -> String {
    let pairs = offered.chars().zip(due.chars());
    let same = pairs.take_while(|(one, other)| one == other).count();
    let from = same.saturating_sub(20);
    let part = |text: &str| text.chars().skip(from).take(80).collect::<String>();
    let (offered, due) = (part(offered), part(due));
    format!("{name} is offered, from character {from} on, {offered:?} instead of {due:?}")
}
