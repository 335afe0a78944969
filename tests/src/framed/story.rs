//! The record of one client, by which the oracle judges what it shows and acknowledges.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kilochat_core::{ClientEvent, Joined, LineKind};

use crate::counts::Counts;
use crate::framed::counts::Met;
use crate::framed::posts::Tag;
use crate::framed::room::Room;
use crate::framed::wire::{Entry, GIVEN_AWAY, Outcome, Welcome, Wire};
use crate::{Verdict, Violation, check};

/// The shortest time-out of a POST in milliseconds, and up to which time-out it backs off at least.
const TIMEOUT_MIN: u64 = 50;
const BACKED_OFF: u64 = 1000;

/// Minimum time after which a text that was refused for now is posted again, in milliseconds.
const RETRY_MIN: u64 = 50;

/// The record of a client from its start to its end.
#[derive(Debug)]
pub(crate) struct Story {
    process: usize,
    /// WELCOMEs that arrived, and about which the client has told nothing yet.
    welcomes: VecDeque<Welcome>,
    /// The epoch of the last WELCOME that arrived, whether the client accepted it or not.
    epoch: Option<u32>,
    /// Lines that arrived and were not shown yet, by epoch.
    arrived: BTreeMap<u32, BTreeSet<u64>>,
    /// By session, the end of the last GAP that arrived.
    gaps: BTreeMap<u64, u64>,
    seat: Option<Seat>,
    posted: Option<Posted>,
    /// The session and number of the last POST that was refused for now, and the time until which its texts
    /// must not be posted again, on its clock.
    refused: Option<(u64, u16, u64)>,
    /// Whether it was ever told to hide announcements.
    pub(crate) is_quiet: bool,
    /// The end of the last time for which the relay told it not to ask for a seat, on its clock.
    pub(crate) waits_until: Option<u64>,
    /// When its seat was given to another, on its clock.
    pub(crate) given_away_at: Option<u64>,
    /// Whether it has had no seat since it was told to wait.
    is_waiting: bool,
    /// Whether it has requested a seat again after that time.
    has_waited: bool,
}

/// The last POST of a client.
#[derive(Debug)]
struct Posted {
    session: u64,
    number: u16,
    /// The least time in milliseconds before it is sent again, and when that ends on its clock.
    pause: u64,
    until: u64,
}

/// A seat in one run of the relay, with the client's earlier seats in the same run.
#[derive(Debug)]
struct Seat {
    run: usize,
    welcome: Welcome,
    /// The session that it had before, in this run.
    former: Option<u64>,
    /// The author ids of its lines in this run.
    authors: BTreeSet<u32>,
    /// Lines before this one are history: they were said before the client joined.
    history: u64,
    /// The first line that it has neither shown nor reported as lost.
    next: u64,
    /// Lines that it acknowledged selectively, after `next`.
    held: BTreeSet<u64>,
}

impl Story {
    pub(crate) fn new(process: usize) -> Self {
        Self {
            process,
            welcomes: VecDeque::new(),
            epoch: None,
            arrived: BTreeMap::new(),
            gaps: BTreeMap::new(),
            seat: None,
            posted: None,
            refused: None,
            is_quiet: false,
            waits_until: None,
            given_away_at: None,
            has_waited: false,
            is_waiting: false,
        }
    }

    /// Returns the run of the relay in which it has a seat, and the first line that it has neither
    /// shown nor hidden.
    pub(crate) fn place(&self, rooms: &[Room]) -> Option<(usize, u64)> {
        let seat = self.seat.as_ref()?;
        Some((seat.run, self.visible(seat, &rooms[seat.run])))
    }

    /// Records a datagram that arrived at the client. `is_taken` means that the client did not drop
    /// it.
    pub(crate) fn receives(
        &mut self,
        clock: u64,
        frame: &Wire,
        is_taken: bool,
        rooms: &[Room],
        counts: &mut Counts<Met>,
    ) {
        match frame {
            Wire::Welcome(welcome) => {
                self.epoch = Some(welcome.epoch);
                if is_taken {
                    if self.is_waiting && self.seat.is_some() {
                        counts.saw(Met::WaitedForSeat);
                    }
                    self.is_waiting = false;
                    // a POST that was not answered is due
                    self.posted.iter_mut().for_each(|posted| posted.until = 0);
                    self.welcomes.push_back(welcome.clone());
                }
            }
            Wire::Bye {
                reason: GIVEN_AWAY, ..
            } if is_taken => self.given_away_at = Some(clock),
            Wire::Refused { retry_s, .. } if is_taken => {
                self.waits_until = Some(clock + 1000 * retry_s);
                self.is_waiting = true;
                self.has_waited = false;
            }
            Wire::Data {
                epoch,
                first,
                lines,
            } => {
                if rooms.last().is_some_and(|room| room.epoch != Some(*epoch)) {
                    counts.saw(Met::OldEpoch);
                }
                let room = rooms.iter().rev().find(|room| room.epoch == Some(*epoch));
                let welcomed = self.welcomes.back();
                let seat = self.seat.as_ref().map(|seat| &seat.welcome);
                let session = welcomed.or(seat).map(|welcome| welcome.session);
                let fits = |(at, entry): &(u64, &Entry)| {
                    let to = room.and_then(|room| room.addressee(*at));
                    let is_whole = !entry.line.is_empty();
                    to.is_none_or(|to| is_whole == session.is_some_and(|it| to.is(it)))
                };
                let entries: Vec<_> = (*first..).zip(lines).collect();
                if !entries.iter().all(fits) {
                    counts.saw(Met::ForFormer);
                    return;
                }
                let lines = entries.into_iter().map(|(at, _)| at);
                self.arrived.entry(*epoch).or_default().extend(lines);
            }
            Wire::Posted {
                session,
                number,
                outcome:
                    Outcome::Refused {
                        retry_ms: wait @ 1..,
                        ..
                    },
            } if is_taken => {
                let wait = u64::from(*wait).max(RETRY_MIN);
                self.refused = Some((*session, *number, clock + wait));
            }
            Wire::Gap { session, until, .. } => {
                let gap = self.gaps.entry(*session).or_default();
                *gap = (*until).max(*gap);
            }
            _ => {}
        }
    }

    /// Judges when a POST is sent: not again before its time-out, which grows.
    fn posts(
        &mut self,
        clock: u64,
        session: u64,
        number: u16,
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let mut pause = TIMEOUT_MIN;
        let last = self.posted.take();
        if let Some(last) = last.filter(|it| (it.session, it.number) == (session, number)) {
            counts.saw(Met::PostAgain);
            check(clock >= last.until, || {
                format!("c{} posts {number} again too early", self.process)
            })?;
            pause = (last.pause + last.pause / 2).min(BACKED_OFF);
        }
        self.posted = Some(Posted {
            session,
            number,
            pause,
            until: clock + pause,
        });
        Ok(())
    }

    /// Judges a datagram that the client sends.
    pub(crate) fn sends(&mut self, clock: u64, frame: &Wire, counts: &mut Counts<Met>) -> Verdict {
        if let Wire::Hello { .. } = frame
            && let Some(then) = self.waits_until
        {
            let is_early = self.is_waiting && !self.has_waited && clock < then;
            check(!is_early, || {
                format!(
                    "c{} must not send for {} ms more",
                    self.process,
                    then - clock
                )
            })?;
            if self.is_waiting {
                // a clock that goes back later does not make it wait again
                self.has_waited = true;
                counts.saw(Met::AskedAgain);
            }
        }
        if let Wire::Post {
            session, number, ..
        } = frame
        {
            self.posts(clock, *session, *number, counts)?;
            self.posts_later(clock, *session, *number, counts)?;
        }
        let Wire::Ack {
            session,
            next,
            ranges,
            ..
        } = frame
        else {
            return Ok(());
        };
        let Some(seat) = &mut self.seat else {
            return Ok(());
        };
        if seat.welcome.session != *session {
            return Ok(());
        }
        let nothing = BTreeSet::new();
        let arrived = self.arrived.get(&seat.welcome.epoch).unwrap_or(&nothing);
        let gap = self.gaps.get(session).copied().unwrap_or_default();
        let missing = (seat.next..*next).find(|at| *at >= gap && !arrived.contains(at));
        check(missing.is_none(), || {
            format!(
                "c{} acknowledges {missing:?}, which never arrived",
                self.process
            )
        })?;
        for (start, end) in ranges {
            counts.saw(Met::HoleSeen);
            let missing = (*start..*end).find(|at| *at >= seat.next && !arrived.contains(at));
            check(missing.is_none(), || {
                format!(
                    "c{} acknowledges the range {missing:?}, which never arrived",
                    self.process
                )
            })?;
            seat.held
                .extend((*start..*end).filter(|at| *at >= seat.next));
        }
        Ok(())
    }

    /// Judges when texts that were refused for now are posted again.
    fn posts_later(
        &self,
        clock: u64,
        session: u64,
        number: u16,
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let Some((of, refused, until)) = self.refused else {
            return Ok(());
        };
        if (session, number) != (of, refused.wrapping_add(1)) {
            return Ok(());
        }
        counts.saw(Met::PostedLater);
        check(clock >= until, || {
            format!("c{} posts {} ms too early", self.process, until - clock)
        })
    }

    /// Judges an event of the client.
    pub(crate) fn tells(
        &mut self,
        event: &ClientEvent<'_>,
        rooms: &mut [Room],
        counts: &mut Counts<Met>,
    ) -> Verdict {
        match *event {
            ClientEvent::Joined {
                how,
                name,
                history,
                uptime_s,
                ..
            } => self.joins(how, name, (history, uptime_s), rooms, counts),
            ClientEvent::Lost { from, lines } => self.loses(from, lines, rooms, counts),
            ClientEvent::Line { .. } => self.shows(event, rooms, counts),
            _ => Ok(()),
        }
    }

    /// Returns what a WELCOME means for the client.
    fn kind(&self, welcome: &Welcome) -> Joined {
        match &self.seat {
            None => Joined::New,
            Some(seat) if seat.welcome.epoch != welcome.epoch => Joined::Restarted,
            Some(seat) if seat.welcome.session == welcome.session => Joined::Resumed,
            Some(_) => Joined::Continued,
        }
    }

    /// Returns the first line that must be shown: the one after `next` and the announcements that
    /// may be hidden.
    fn visible(&self, seat: &Seat, room: &Room) -> u64 {
        let is_hidden = |at: &u64| {
            let details = room.line(*at).and_then(|line| line.details);
            let is_for_another = room.addressee(*at).is_some_and(|to| {
                let former = seat.former.is_some_and(|it| to.is(it));
                !to.is(seat.welcome.session) && !former
            });
            is_for_another || self.is_quiet && details.is_some_and(|it| it.flags == 1)
        };
        let hidden = (seat.next..).take_while(is_hidden).count();
        seat.next + hidden as u64
    }

    fn joins(
        &mut self,
        how: Joined,
        name: &str,
        (history, uptime_s): (u64, u32),
        rooms: &[Room],
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let process = self.process;
        let history_end = |welcome: &Welcome| {
            let mut rooms = rooms.iter().rev();
            let room = rooms.find(|room| room.epoch == Some(welcome.epoch))?;
            room.history_end(welcome.session)
        };
        let fits = |welcome: &Welcome| {
            let is_fresh = matches!(how, Joined::New | Joined::Restarted);
            let said_before = history_end(welcome).and_then(|end| end.checked_sub(welcome.first));
            let is_said = !is_fresh || said_before == Some(history);
            let is_told = (self.kind(welcome), &*welcome.name) == (how, name);
            is_said && is_told && welcome.uptime_s == uptime_s
        };
        let Some(found) = self.welcomes.iter().position(fits) else {
            let welcomes = &self.welcomes;
            let complaint =
                format!("c{process} joined as {how:?} {name:?} with {history} after {welcomes:?}");
            return Err(Violation(complaint));
        };
        let welcome = self.welcomes.drain(..=found).next_back();
        let welcome = welcome.ok_or_else(|| Violation("no WELCOME".to_owned()))?;
        counts.saw(match how {
            Joined::New => Met::JoinedNew,
            Joined::Resumed => Met::Resumed,
            Joined::Continued => Met::Continued,
            Joined::Restarted => Met::Restarted,
        });
        if let (Joined::Resumed | Joined::Continued, Some(seat)) = (how, &mut self.seat) {
            seat.authors.insert(welcome.author);
            if seat.welcome.session != welcome.session {
                seat.former = Some(seat.welcome.session);
            }
            seat.welcome = welcome;
            return Ok(());
        }
        if history > 0 {
            counts.saw(Met::History);
        }
        let run = rooms
            .iter()
            .rposition(|room| room.epoch == Some(welcome.epoch));
        self.seat = Some(Seat {
            run: run.ok_or_else(|| Violation(format!("c{process} joined nowhere: {welcome:?}")))?,
            history: history_end(&welcome).unwrap_or_default(),
            next: welcome.first,
            authors: BTreeSet::from([welcome.author]),
            former: None,
            welcome,
            held: BTreeSet::new(),
        });
        Ok(())
    }

    fn loses(
        &mut self,
        from: u64,
        lines: u64,
        rooms: &mut [Room],
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let process = self.process;
        let visible = self.place(rooms).map_or(0, |(_, visible)| visible);
        let Some(seat) = &mut self.seat else {
            return Err(Violation(format!("c{process} lost {from} without a seat")));
        };
        let until = from + lines;
        if from > seat.next && visible >= from {
            seat.next = from;
        }
        check(from == seat.next && lines > 0, || {
            format!("c{process} lost {from}..{until} at {}", seat.next)
        })?;
        let former = seat.former.filter(|_| lines == 1);
        let to = rooms[seat.run].addressee(from);
        if to.is_some_and(|to| former.is_some_and(|it| to.is(it))) {
            // it was for the seat that it had before
            seat.next = until;
            seat.forget(self.arrived.entry(seat.welcome.epoch).or_default());
            counts.saw(Met::GapShown);
            return Ok(());
        }
        let had = seat.held.range(from..until).next();
        check(had.is_none(), || {
            format!("c{process} lost {from}..{until}, but had {had:?}")
        })?;
        seat.next = until;
        seat.forget(self.arrived.entry(seat.welcome.epoch).or_default());
        let room = &mut rooms[seat.run];
        if self.epoch != room.epoch {
            counts.saw(Met::LostWithRun);
            return check(until <= room.head, || {
                format!("c{process} lost {from}..{until} of {}", room.head)
            });
        }
        counts.saw(Met::GapShown);
        if !seat.held.is_empty() {
            counts.saw(Met::GapAroundHeld);
        }
        room.claim(until, || format!("c{process} lost {from}..{until}"))
    }

    fn shows(
        &mut self,
        event: &ClientEvent<'_>,
        rooms: &[Room],
        counts: &mut Counts<Met>,
    ) -> Verdict {
        let ClientEvent::Line {
            sequence,
            at,
            kind,
            name,
            text,
            own,
            is_history,
        } = *event
        else {
            return Ok(());
        };
        let process = self.process;
        let wrong = |what: &str| Violation(format!("c{process} {what}: {event:?}"));
        let visible = self.place(rooms).map_or(0, |(_, visible)| visible);
        let seat = self.seat.as_mut().ok_or_else(|| wrong("has no seat"))?;
        if sequence > seat.next && visible >= sequence {
            seat.next = sequence;
        }
        let arrived = self.arrived.entry(seat.welcome.epoch).or_default();
        check(sequence == seat.next, || {
            let to = rooms[seat.run].addressee(seat.next);
            format!(
                "c{process} shows {sequence} instead of {} for {to:?}",
                seat.next
            )
        })?;
        if !arrived.contains(&sequence) {
            return Err(wrong("shows what never came"));
        }
        let line = rooms[seat.run].line(sequence);
        let line = line.ok_or_else(|| wrong("shows what nobody said"))?;
        let details = line
            .details
            .ok_or_else(|| wrong("shows what no DATA had"))?;
        let flags = match kind {
            LineKind::Message => 0,
            LineKind::Announcement => 1,
            LineKind::Notice => 2,
            LineKind::Private => 3,
        };
        let is_private = kind == LineKind::Private;
        let is_same = (name, text) == line.parts()
            && (is_private || at == details.at)
            && flags == details.flags;
        check(is_same, || {
            format!("c{process} shows {event:?} of {line:?}")
        })?;
        if is_history != (sequence < seat.history) {
            return Err(wrong("confuses history"));
        }
        let is_mine = seat.authors.contains(&details.author);
        let is_now = details.author == seat.welcome.author && kind == LineKind::Message;
        let is_other = Tag::of(text).is_some_and(|tag| tag.process != process);
        if own && (!is_mine || is_other) || is_now && !own {
            return Err(wrong("confuses who said it"));
        }
        counts.saw(if own { Met::OwnLine } else { Met::Line });
        if seat.held.remove(&sequence) {
            counts.saw(Met::HoleFilled);
        }
        seat.next += 1;
        seat.forget(arrived);
        Ok(())
    }
}

impl Seat {
    /// Forgets arrived lines that were shown or reported as lost.
    fn forget(&mut self, arrived: &mut BTreeSet<u64>) {
        for lines in [arrived, &mut self.held] {
            while lines.first().is_some_and(|first| *first < self.next) {
                lines.pop_first();
            }
        }
    }
}
