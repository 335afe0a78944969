//! Messages to the user about the events of a session.

use core::time::Duration;
use std::time::Instant;

use kilochat_core::framed::Reason;
use kilochat_core::{
    ClientEvent, End as ClientEnd, Joined, LineKind, NOTICE, Notice, PostId, SeatLoss,
};

use super::super::dialect::{End, MAY_MISS, User, WAIT, typed};
use super::super::plain::outbox::Line;
use super::super::screen::output::{Kind, Shown};
use super::{Connection, Exchange, LATE_AFTER, recent};

/// Resolution of the relay's timestamps.
const SECOND: Duration = Duration::from_secs(1);

/// Maximum number of bytes of a line that are quoted in a message about it.
const QUOTED_MAX: usize = 40;

impl Exchange {
    pub(super) fn handle(&mut self, now: Instant, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Joined {
                how,
                name,
                text,
                history,
                uptime_s,
            } => {
                self.uptime = Some((now, Duration::from_secs(uptime_s.into())));
                self.handle_joined(how, name, text, history);
            }
            ClientEvent::Line { .. } => self.handle_line(now, event),
            ClientEvent::Lost { from, lines } => {
                self.shown_end = from.saturating_add(lines);
                self.output.push_back(Shown::gap(from, lines));
            }
            ClientEvent::Said { post, first, lines } => {
                self.progress_at = now;
                self.own_end = first.saturating_add(lines.into());
                self.take_posted(post);
                self.check_delivered();
            }
            ClientEvent::Answered { post, text } => {
                self.progress_at = now;
                self.take_posted(post);
                for line in text.lines() {
                    let line = line.strip_prefix(NOTICE).unwrap_or(line);
                    if let Notice::Named([Some(name), _]) = Notice::of(line) {
                        self.name = name.into();
                    }
                    self.notice(line);
                }
                self.check_delivered();
            }
            ClientEvent::Refused { post, reason } => {
                self.refused += 1;
                self.report_post(post, &format!("not delivered ({})", reason.as_str()));
            }
            ClientEvent::Doubtful { post } => {
                self.doubtful += 1;
                self.report_post(post, "perhaps not delivered");
            }
            // the session has ended; `finish` reports the number of lines
            ClientEvent::Unsaid { post } => {
                self.refused += 1;
                self.take_posted(post);
            }
            ClientEvent::SeatLost(why) => self.handle_seat_loss(why),
            ClientEvent::NoSeat { reason, retry_s } => self.handle_no_seat(reason, retry_s),
            ClientEvent::Silent => {
                self.report_lost("the relay does not answer; trying again until it does")
            }
            ClientEvent::Back => {
                self.connection = Connection::Back;
                self.report("the relay answers again");
            }
            ClientEvent::Ended(why) => self.handle_ended(why),
        }
    }

    /// Queues a line, and shows it to the person who typed it.
    pub(super) fn push(&mut self, line: Line) {
        if self.user == User::Person {
            self.output.push_back(typed(&self.name, &line));
        }
        self.outbox.push(line);
    }

    fn handle_joined(&mut self, how: Joined, name: &str, text: &str, history: u64) {
        self.name = name.into();
        self.has_joined = true;
        self.has_reported_no_seat = false;
        let was_back = self.connection == Connection::Back;
        self.connection = Connection::Good;
        match how {
            Joined::New => {}
            Joined::Resumed if was_back => {}
            Joined::Resumed => self.report(format!("connected again as {name}")),
            Joined::Continued => self.report(format!("joined again as {name}")),
            Joined::Restarted => {
                (self.own_end, self.shown_end) = (0, 0);
                self.report(format!(
                    "the relay was restarted; joined again as {name}{MAY_MISS}"
                ));
            }
        }
        let history = match history {
            // after a restart some of them may be known
            _ if matches!(how, Joined::Continued | Joined::Restarted) => String::new(),
            0 => String::new(),
            1 => "; the last line:".into(),
            lines => format!("; the last {lines} lines:"),
        };
        if !text.is_empty() && how != Joined::Resumed {
            self.notice(&format!("{text}{history}"));
        }
    }

    fn handle_seat_loss(&mut self, why: SeatLoss) {
        self.connection = Connection::Lost;
        match why {
            SeatLoss::GivenAway => {
                self.notice("your seat was given away");
                self.report("joining again");
            }
            SeatLoss::TakenOver => {
                self.report("taken over: another client goes on with this session; joining again");
            }
        }
    }

    /// Handles a refusal for lack of seats. The client asks again after `retry_s` seconds.
    fn handle_no_seat(&mut self, reason: Reason, retry_s: u16) {
        let why = if reason == Reason::Full {
            "full: all seats are taken"
        } else {
            reason.as_str()
        };
        self.connection = Connection::Lost;
        if !self.has_joined && !self.waits_for_seat {
            self.fail(&format!("the relay refused: {why}"));
        } else if !self.has_reported_no_seat {
            self.has_reported_no_seat = true;
            self.report(format!("no seat yet ({why}); asking again in {retry_s} s"));
        }
    }

    fn handle_line(&mut self, now: Instant, event: ClientEvent<'_>) {
        let ClientEvent::Line {
            sequence,
            at,
            kind,
            name,
            text,
            own,
            is_history,
        } = event
        else {
            return;
        };
        let kind = match kind {
            LineKind::Private => Kind::Private,
            _ if own => Kind::Own,
            _ if is_history => Kind::History,
            LineKind::Message => Kind::Message,
            LineKind::Announcement | LineKind::Notice => Kind::Notice,
        };
        let is_last = kind == Kind::Notice && Notice::of(text) == Notice::Stopping;
        let name = Some(name).filter(|name| !name.is_empty());
        let age = self.uptime.map(|(then, uptime)| {
            let uptime = uptime + now.saturating_duration_since(then);
            uptime.saturating_sub(Duration::from_secs(at.into()))
        });
        // timestamps are whole seconds: a younger line is shown with the current time, in order
        let age = age.map(|age| if age < SECOND { Duration::ZERO } else { age });
        self.shown_end = sequence.saturating_add(1);
        let said = now.checked_sub(age.unwrap_or_default()).unwrap_or(now);
        let line = recent::Line::new(sequence, said, name.unwrap_or_default(), text);
        if is_history && self.recent.has(&line) {
            return;
        }
        self.recent.add(line);
        self.output.push_back(Shown {
            sequence: Some(sequence),
            age,
            ..Shown::new(kind, name, text)
        });
        if is_last {
            self.report_lost("waiting for the relay, to join again");
        }
    }

    fn handle_ended(&mut self, why: ClientEnd) {
        match why {
            ClientEnd::Left => self.finish(End::Left),
            ClientEnd::NoRelay if !self.has_joined => self.finish(End::NoFrames),
            ClientEnd::NoRelay => self.fail("the relay does not answer any more"),
            ClientEnd::Full => self.fail("the relay refused: full: all seats are taken"),
            ClientEnd::Nameless => {
                self.fail("the relay refused: the name has no visible character")
            }
            ClientEnd::Removed => self.fail("you were removed from this room"),
            ClientEnd::Refused => self.fail("the relay refused"),
        }
    }

    fn fail(&mut self, why: &str) {
        self.finish(End::Failed(why.into()));
    }

    /// Ends the session. A program's session fails if a line was not delivered.
    pub(super) fn finish(&mut self, end: End) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end.clone());
        if matches!(end, End::Unreachable(_) | End::NoFrames) {
            return; // the next session may send the lines
        }
        let Some(undelivered) = self.undelivered() else {
            return;
        };
        if self.user == User::Program && end == End::Left {
            self.end = Some(End::Failed(undelivered));
        } else {
            self.report(undelivered);
        }
    }

    fn undelivered(&self) -> Option<String> {
        let count = |lines: usize, how: &str| match lines {
            0 => None,
            1 => Some(format!("1 line was {how}")),
            _ => Some(format!("{lines} lines were {how}")),
        };
        let unsaid = count(self.outbox.len() + self.refused, "not delivered");
        let doubtful = count(self.doubtful, "perhaps not delivered");
        match (unsaid, doubtful) {
            (Some(unsaid), Some(doubtful)) => Some(format!("{unsaid}, {doubtful}")),
            (unsaid, doubtful) => unsaid.or(doubtful),
        }
    }

    /// Returns when to report that a line is not delivered yet.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let is_reported = self.has_reported_late || self.user == User::Program;
        let oldest = self.posted.front().filter(|_| !is_reported)?;
        Some(oldest.since + LATE_AFTER)
    }

    /// Reports, if it is due, that lines are not delivered yet; `is_slowed` is whether that is because
    /// the relay limits how fast this client may talk.
    pub(super) fn check_late(&mut self, now: Instant, is_slowed: bool) {
        if self.late_at().is_none_or(|at| now < at) {
            return;
        }
        (self.has_reported_late, self.has_reported_lost) = (true, false);
        match self.posted.front() {
            Some(oldest) if self.posted.len() + self.outbox.len() == 1 => {
                self.report(format!("not delivered yet: {}", quoted(&oldest.line)));
            }
            _ => {
                let lines = self.posted.len() + self.outbox.len();
                self.report(if is_slowed {
                    format!("{lines} lines {WAIT}")
                } else {
                    format!("{lines} lines are not delivered yet")
                });
            }
        }
    }

    /// Reports that all lines are delivered, if they were reported as not delivered.
    fn check_delivered(&mut self) {
        if self.has_reported_late && self.posted.is_empty() && self.outbox.is_empty() {
            self.has_reported_late = false;
            self.report(if self.has_reported_lost {
                "the rest is delivered"
            } else {
                "delivered"
            });
        }
    }

    /// Reports, once, that the connection is lost.
    pub(super) fn report_lost(&mut self, how: impl Into<String>) {
        if self.connection != Connection::Lost {
            self.connection = Connection::Lost;
            self.report(how);
        }
    }

    pub(super) fn report(&mut self, text: impl Into<String>) {
        self.output.push_back(Shown::status(text));
    }

    fn notice(&mut self, text: &str) {
        let text = text.strip_prefix(NOTICE).unwrap_or(text);
        self.output.push_back(Shown::new(Kind::Notice, None, text));
    }

    fn report_post(&mut self, post: PostId, what: &str) {
        if let Some(line) = self.take_posted(post) {
            self.report(format!("{what}: {}", quoted(&line)));
        }
        self.has_reported_lost = true;
        if self.posted.is_empty() {
            self.has_reported_late = false;
        }
    }

    fn take_posted(&mut self, post: PostId) -> Option<Line> {
        let index = self.posted.iter().position(|posted| posted.post == post)?;
        self.posted.remove(index).map(|posted| posted.line)
    }
}

/// Returns the beginning of a line, as it was typed, for a message about it.
fn quoted(line: &Line) -> String {
    let (Line::Typed(text) | Line::Said(text)) = line;
    let start = &text[..text.floor_char_boundary(QUOTED_MAX)];
    if start.len() == text.len() {
        start.into()
    } else {
        format!("{start}...")
    }
}
