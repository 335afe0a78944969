//! Handling of datagrams and time-outs.

use core::time::Duration;

use super::{
    Client, Dropped, End, FAREWELL, Joined, LEAVES, NOBODYS, NewSeat, NoSeat, Path, Phase,
    Received, SeatLoss, push_clean, without_star,
};
use crate::Instant;
use crate::wire::framed::{
    Data, FRAME, Frame, Gap, Goodbye, LineKind, Outcome, Posted, Reason, Refused, Session, Welcome,
};
use crate::wire::{Command, Notice, STOPPING};

/// Maximum distance of the end of a GAP from the last line that a WELCOME or a DATA has named.
const UNNAMED_MAX: u64 = 1 << 20;

/// Time after which WELCOME is requested again if there was no space for its text.
const ROOM: Duration = Duration::from_millis(100);

impl<const HELD: usize, const OUT: usize> Client<HELD, OUT> {
    /// Handles a datagram that arrived from the relay's address at the port `path`. A driver whose
    /// socket is not connected drops those from other addresses. Receive into a buffer of
    /// [`DATAGRAM_MAX`](crate::DATAGRAM_MAX) + 1 bytes: a longer datagram is malformed.
    pub fn handle_datagram(&mut self, now: Instant, path: Path, payload: &[u8]) -> Received {
        self.stats.received += 1;
        if payload.first() != Some(&FRAME) {
            self.stats.foreign += 1;
            return Received::Foreign;
        }
        match self.handle_frame(now, path, payload) {
            Ok(()) => Received::Frame,
            Err(why) => {
                self.stats.count_drop(why);
                Received::Dropped(why)
            }
        }
    }

    /// Does what is due at the time `now`. Extra calls have no effect.
    pub fn handle_timeout(&mut self, now: Instant) {
        let is_over = |then: Option<Instant>| then.is_some_and(|then| now >= then);
        match self.phase {
            Phase::Joining if self.greeting.is_hopeless(now) => self.end(End::NoRelay),
            Phase::Joined if is_over(self.pulse.patience()) => {
                self.is_silent = true;
                self.lose(now, Phase::Silent);
            }
            Phase::Joined if is_over(self.posting.patience()) => {
                if self.posting.give_up() {
                    // the relay expects another number: somebody else posted in this session
                    self.session = Some(NOBODYS);
                }
                self.lose(now, Phase::Severed);
            }
            Phase::Joined if is_over(self.next_run()) => self.lose(now, Phase::Severed),
            Phase::Joining | Phase::Silent | Phase::Severed => {
                self.is_silent |= self.greeting.is_silent();
            }
            Phase::Leaving { said: LEAVES, due } if now >= due => self.end(End::Left),
            Phase::Joined | Phase::Leaving { .. } | Phase::Ended(_) => {}
        }
        if self.has_quit() {
            self.leave(now);
        }
    }

    fn handle_frame(&mut self, now: Instant, path: Path, payload: &[u8]) -> Result<(), Dropped> {
        let frame = Frame::decode(payload).map_err(|_| Dropped::Malformed)?;
        if matches!(self.phase, Phase::Ended(_)) {
            return Err(Dropped::Unexpected);
        }
        match frame {
            Frame::Cookie(cookie) => match self.phase {
                Phase::Joining | Phase::Silent | Phase::Severed => {
                    self.greeting.handle_cookie(now, path, &cookie)
                }
                Phase::Joined | Phase::Leaving { .. } | Phase::Ended(_) => Err(Dropped::Unexpected),
            },
            Frame::Welcome(welcome) => self.handle_welcome(now, path, &welcome),
            Frame::Refused(refused) => self.handle_refused(now, path, refused),
            Frame::Posted(posted) => {
                self.check(path, posted.session)?;
                self.heard();
                self.handle_posted(now, &posted)
            }
            Frame::Data(data) => {
                self.check(path, self.session.ok_or(Dropped::Session)?)?;
                if data.epoch != self.epoch {
                    return Err(Dropped::Epoch);
                }
                self.heard();
                self.handle_data(now, &data)
            }
            Frame::Gap(gap) => {
                self.check(path, gap.session)?;
                self.heard();
                self.handle_gap(now, &gap)
            }
            Frame::Bye(session, why) => self.handle_bye(now, path, session, why),
            Frame::Hello(_) | Frame::Post(_) | Frame::Ack(_) | Frame::Leave(_) => {
                Err(Dropped::Unexpected)
            }
        }
    }

    /// Checks that a frame belongs to the session, and that this may be resumed.
    fn check(&self, path: Path, session: Session) -> Result<(), Dropped> {
        if self.session != Some(session) || path != self.greeting.path() {
            return Err(Dropped::Session);
        }
        if self.phase == Phase::Severed {
            return Err(Dropped::Unexpected);
        }
        Ok(())
    }

    fn heard(&mut self) {
        self.pulse.heard();
        self.is_silent = false;
        if self.phase == Phase::Silent {
            self.phase = Phase::Joined;
        }
    }

    fn handle_welcome(
        &mut self,
        now: Instant,
        path: Path,
        welcome: &Welcome<'_>,
    ) -> Result<(), Dropped> {
        self.greeting.check(path, welcome.nonce)?;
        if matches!(self.phase, Phase::Leaving { .. } | Phase::Ended(_)) {
            return Err(Dropped::Unexpected);
        }
        let how = match self.session {
            None => Joined::New,
            Some(session) if session == welcome.session => Joined::Resumed,
            Some(_) if self.epoch == welcome.epoch => Joined::Continued,
            Some(_) => Joined::Restarted,
        };
        // lines of the relay's previous run come first
        let is_shown = how != Joined::Restarted || self.receiving.release();
        if !is_shown || self.joined.is_some() || self.posting.has_answer() {
            if how != Joined::Resumed {
                self.phase = Phase::Severed;
            }
            self.greeting.retry(now, ROOM);
            return Err(Dropped::NoRoom);
        }
        if let Some(round_trip) = self.greeting.welcome(now) {
            let sample_ms = u16::try_from(round_trip.as_millis()).unwrap_or(u16::MAX);
            self.posting.round_trip.sample(sample_ms);
        }
        self.take_seat(now, how, welcome);
        Ok(())
    }

    fn take_seat(&mut self, now: Instant, how: Joined, welcome: &Welcome<'_>) {
        let Welcome {
            session,
            epoch,
            author,
            first,
            head,
            uptime_s,
            ..
        } = *welcome;
        self.phase = Phase::Joined;
        self.is_silent = false;
        self.session = Some(session);
        self.epoch = epoch;
        self.resumed = None;
        self.acknowledging.restart(welcome.window);
        self.pulse.restart(now, welcome.keepalive_s);
        if how == Joined::Resumed {
            self.resumed = Some(now);
            self.posting.resume(now);
        } else {
            self.posting.end();
        }
        if matches!(how, Joined::New | Joined::Restarted) {
            self.receiving.restart(first);
            self.history_end = head;
            self.head = head;
            self.stopped = None;
            self.authors = [author; 2];
        } else {
            let [own, _] = self.authors;
            if own != author {
                self.authors = [author, own];
            }
            let from = self.receiving.next();
            // lines before `first` that did not arrive are lost; there may be none
            let _ = self.receiving.skip(&Gap {
                session,
                sent_at: 0,
                from,
                until: first,
            });
            self.head = self.head.max(head);
            if self.receiving.has_holes() {
                self.acknowledging.hurry(now);
            }
        }
        if how == Joined::Resumed && self.name != welcome.name {
            // the reply to `/nick` may be lost
            self.want(welcome.name);
        }
        self.text_buffer.clear();
        push_clean(&mut self.text_buffer, without_star(welcome.text));
        self.name.clear();
        push_clean(&mut self.name, welcome.name);
        self.joined = Some(NewSeat {
            how,
            history: head.saturating_sub(self.receiving.next()),
            uptime_s,
        });
        self.stats.joined += 1;
    }

    fn handle_refused(
        &mut self,
        now: Instant,
        path: Path,
        refused: Refused,
    ) -> Result<(), Dropped> {
        self.greeting.check(path, refused.nonce)?;
        match self.phase {
            // the session has replied meanwhile
            Phase::Joined | Phase::Leaving { .. } | Phase::Ended(_) => {
                return Err(Dropped::Unexpected);
            }
            Phase::Joining => {}
            Phase::Silent | Phase::Severed => self.phase = Phase::Severed,
        }
        let Refused {
            reason, retry_s, ..
        } = refused;
        if retry_s > 0 {
            self.greeting
                .defer(now, Duration::from_secs(retry_s.into()));
            self.is_silent = false;
            self.no_seat = Some(NoSeat { reason, retry_s });
            return Ok(());
        }
        self.end(if reason == Reason::Full {
            End::Full
        } else if reason == Reason::Nameless {
            End::Nameless
        } else {
            End::Refused
        });
        Ok(())
    }

    fn handle_data(&mut self, now: Instant, data: &Data<'_>) -> Result<(), Dropped> {
        let (mut end, mut is_stopping) = (data.first, false);
        let [own, _] = self.authors;
        for entry in data.entries() {
            // it was sent to this address for the client that had it before
            let is_own = entry.author == own;
            if entry.kind == LineKind::Private && is_own == entry.line.is_empty() {
                return Err(Dropped::Addressee);
            }
            let is_notice = entry.kind == LineKind::Notice;
            is_stopping |= is_notice && end >= self.history_end && entry.line == STOPPING;
            end = end.saturating_add(1);
        }
        self.head = self.head.max(end);
        if data.bytes().is_empty() {
            return Ok(()); // the answer to a question
        }
        match self.receiving.accept(data) {
            Ok(at_once) => {
                let at_once = at_once || is_stopping;
                self.acknowledging.received(now, data.sent_at, at_once);
                if is_stopping {
                    self.stopped.get_or_insert(now);
                }
                Ok(())
            }
            Err(why) => {
                if why == Dropped::Duplicate {
                    self.acknowledging.repeated(now, data.sent_at);
                }
                Err(why)
            }
        }
    }

    fn handle_gap(&mut self, now: Instant, gap: &Gap) -> Result<(), Dropped> {
        if gap.until > self.head.saturating_add(UNNAMED_MAX) {
            return Err(Dropped::Beyond);
        }
        let result = self.receiving.skip(gap);
        match result {
            Ok(()) => self.acknowledging.received(now, gap.sent_at, true),
            Err(Dropped::Duplicate) => self.acknowledging.asked(now, gap.sent_at),
            Err(_) => {}
        }
        result
    }

    fn handle_posted(&mut self, now: Instant, posted: &Posted<'_>) -> Result<(), Dropped> {
        let is_answer = matches!(posted.outcome, Outcome::Answer(_));
        if is_answer && self.joined.is_some() {
            return Err(Dropped::NoRoom);
        }
        self.posting.handle(now, posted)?;
        self.stats.round_trip_ms = self.posting.round_trip.smoothed_ms().map(u32::from);
        let Outcome::Answer(text) = posted.outcome else {
            return Ok(());
        };
        self.keep(text);
        let is_nick = self.posting.first().is_some_and(is_nick);
        let first = text.split_once(is_line_end);
        let first = without_star(first.map_or(text, |(first, _)| first));
        if is_nick && let Notice::Named([Some(name), _]) = Notice::of(first) {
            self.want(name);
        }
        Ok(())
    }

    /// Stores an answer for the driver, a line or several, without their prefix.
    fn keep(&mut self, answer: &str) {
        self.text_buffer.clear();
        let mut rest = without_star(answer);
        while let Some((line, next)) = rest.split_once(is_line_end) {
            push_clean(&mut self.text_buffer, line);
            // what does not fit is cut
            let _ = self.text_buffer.push('\n');
            rest = without_star(next);
        }
        push_clean(&mut self.text_buffer, rest);
    }

    fn handle_bye(
        &mut self,
        now: Instant,
        path: Path,
        session: Session,
        why: Goodbye,
    ) -> Result<(), Dropped> {
        if self.session != Some(session) || path != self.greeting.path() {
            return Err(Dropped::Session);
        }
        let is_leaving = matches!(self.phase, Phase::Leaving { .. });
        match why {
            _ if is_leaving => {
                self.end(End::Left);
                return Ok(());
            }
            Goodbye::TakenOver if self.took_over_itself(now) => return Err(Dropped::Unexpected),
            _ if self.phase == Phase::Severed => return Err(Dropped::Duplicate),
            Goodbye::TakenOver => {
                self.seat_loss = Some(SeatLoss::TakenOver);
                // another client has the session now, so a seat without it is requested
                self.session = Some(NOBODYS);
            }
            Goodbye::Removed => {
                self.end(End::Removed);
                return Ok(());
            }
            Goodbye::GivenAway => self.seat_loss = Some(SeatLoss::GivenAway),
            // nobody requested to leave
            Goodbye::Left | Goodbye::Unknown | Goodbye::Other(_) => {}
        }
        self.lose(now, Phase::Severed);
        Ok(())
    }

    /// Returns whether the session was, or may have been, moved by this client's own request.
    fn took_over_itself(&self, now: Instant) -> bool {
        let went_on = self.resumed.is_some_and(|then| now < then.after(FAREWELL));
        went_on || matches!(self.phase, Phase::Silent | Phase::Severed)
    }
}

fn is_line_end(character: char) -> bool {
    character == '\n'
}

fn is_nick(text: &str) -> bool {
    matches!(Command::of(text), Some(Command::Nick(_)))
}
