//! Drivers of the framed clients, and the oracle's checks there.

use kilochat_core::DATAGRAM_MAX;
use kilochat_core::{ClientEvent, Dropped, PostError, PostId, Received, State};

use crate::framed::counts::Met;
use crate::framed::member::Member;
use crate::framed::posts::{Tag, Told};
use crate::framed::wire::{Wire, told};
use crate::framed::world::World;
use crate::inputs::chance;
use crate::{Verdict, check};

/// Milliseconds for which a client may still lag after it waited for a seat.
const ANSWER_MS: u64 = 10_000;

/// Maximum number of times in a row that a client may ask to be driven again at once.
const TURNS_MAX: usize = 50;

impl<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>
    World<PEERS, RING, WINDOW, HELD>
{
    /// Runs a client's driver once.
    pub(crate) fn member_turn(&mut self, number: usize) -> Verdict {
        let now = self.now;
        self.members[number].is_touched = false;
        self.members[number].looked_at = now;
        for _ in 0..TURNS_MAX {
            while let Some((path, payload)) = self.members[number].inbox.pop_front() {
                self.member_receives(number, path, &payload)?;
                self.member_polls(number)?;
                self.member_sends(number)?;
            }
            let member = &mut self.members[number];
            let clock = member.clock(now);
            if member
                .client
                .poll_timeout()
                .is_some_and(|then| then <= clock)
                || chance(&mut self.random, 1)
            {
                self.members[number].client.handle_timeout(clock);
            }
            self.member_polls(number)?;
            self.member_gives_texts(number);
            self.member_sends(number)?;
            self.member_polls(number)?;
            let member = &self.members[number];
            if member.wakes(now).is_none_or(|then| then > now) {
                return Ok(());
            }
        }
        let process = self.members[number].process;
        check(false, || format!("c{process} never sleeps"))
    }

    fn member_receives(
        &mut self,
        number: usize,
        path: kilochat_core::Path,
        payload: &[u8],
    ) -> Verdict {
        let member = &mut self.members[number];
        let clock = member.clock(self.now);
        let process = member.process;
        let frame = Wire::read(payload);
        let received = self.members[number]
            .client
            .handle_datagram(clock, path, payload);
        if let (Some(frame), Some(story)) = (&frame, self.stories.get_mut(&process)) {
            let is_taken = received == Received::Frame;
            let clock = clock.as_millis();
            story.receives(clock, frame, is_taken, &self.rooms, &mut self.counts);
        }
        self.note(|_| format!("c{process} hears {}: {received:?}", told(payload)));
        match received {
            Received::Dropped(Dropped::Duplicate) => self.saw(Met::NothingNew),
            Received::Dropped(Dropped::NoRoom) => self.saw(Met::NoRoom),
            Received::Frame | Received::Foreign | Received::Dropped(_) => {}
        }
        check(received != Received::Foreign || frame.is_none(), || {
            format!("c{process} takes a frame for text: {}", told(payload))
        })
    }

    /// Polls a client's events, and checks its state.
    pub(crate) fn member_polls(&mut self, number: usize) -> Verdict {
        if self.members[number].is_lazy && !chance(&mut self.random, 20) {
            return Ok(());
        }
        let mut notes = Vec::new();
        let verdict = self.member_tells(number, &mut notes);
        notes.into_iter().for_each(|note| self.note(|_| note));
        verdict?;
        let member = &mut self.members[number];
        let process = member.process;
        let state = member.client.state();
        let open = self.posts.open(process);
        if member.has_ended && member.reborn_at.is_none() {
            member.reborn_at = Some(self.now + self.random.u64(..20_000));
            check(state == State::Ended && open == 0, || {
                format!("c{process} ended, but is {state:?} with {open} texts open")
            })?;
        }
        let unanswered = member.client.unanswered();
        check(unanswered == open, || {
            format!("c{process} has {unanswered} texts unanswered instead of {open}")
        })
    }

    /// Judges all events of a client, and notes them if there is a trace.
    fn member_tells(&mut self, number: usize, notes: &mut Vec<String>) -> Verdict {
        let member = &mut self.members[number];
        let process = member.process;
        let story = self.stories.get_mut(&process).unwrap();
        while let Some(event) = member.client.poll_event() {
            if self.trace.is_some() {
                notes.push(format!("c{process} tells {event:?}"));
            }
            check(!member.has_ended, || {
                format!("c{process} ended, but tells {event:?}")
            })?;
            member.has_ended = matches!(event, ClientEvent::Ended(_));
            story.tells(&event, &mut self.rooms, &mut self.counts)?;
            let run = story.place(&self.rooms).map_or(0, |(run, _)| run);
            let (met, outcome) = outcome(&event, run);
            met.into_iter().for_each(|met| self.counts.saw(met));
            let outcome = outcome.map(|(post, told)| {
                let number = post.0;
                (Tag { process, number }, told)
            });
            if let Some(measure) = &mut self.measure {
                measure.observe(self.now, &event, outcome.map(|(tag, _)| tag));
            }
            if let Some((tag, told)) = outcome {
                self.posts.told(tag, told)?;
            }
        }
        Ok(())
    }

    /// Sends the datagrams that a client has to send.
    fn member_sends(&mut self, number: usize) -> Verdict {
        let mut buffer = [0; DATAGRAM_MAX];
        for _ in 0..TURNS_MAX {
            let member = &mut self.members[number];
            let clock = member.clock(self.now);
            let process = member.process;
            let Some(transmit) = member.client.poll_transmit(clock, &mut buffer) else {
                return Ok(());
            };
            let source = member.address(transmit.path);
            let payload = buffer[..transmit.length].to_vec();
            self.note(|_| format!("c{process} says {} from {source}", told(&payload)));
            let frame = Wire::read(&payload);
            check(frame.is_some(), || format!("c{process} says {payload:?}"))?;
            if let (Some(frame), Some(story)) = (frame, self.stories.get_mut(&process)) {
                story.sends(clock.as_millis(), &frame, &mut self.counts)?;
            }
            self.send(source, self.address, payload);
        }
        let process = self.members[number].process;
        check(false, || format!("c{process} never stops sending"))
    }

    /// Hands a client the texts that it has room for.
    pub(crate) fn member_gives_texts(&mut self, number: usize) {
        while let Some(body) = self.members[number].unposted.pop_front() {
            let member = &mut self.members[number];
            let tag = Tag {
                process: member.process,
                number: member.posted,
            };
            let text = tagged(tag, &body);
            let answer = member.client.post(&text);
            match answer {
                Ok(_) => member.posted += 1,
                Err(PostError::Full) => member.unposted.push_front(body),
                Err(_) => {}
            }
            if let Ok(post) = answer {
                debug_assert_eq!(post.0, tag.number);
                if let Some(measure) = &mut self.measure {
                    measure.said_at.insert(tag, self.now);
                }
                if text != "/quit" {
                    // `/quit` is answered by the event that the client ended
                    self.posts.posted(tag, text.clone());
                }
                let story = self.stories.get_mut(&tag.process).unwrap();
                story.is_quiet |= text == "/quiet on";
            }
            self.note(|_| {
                let text: String = text.chars().take(40).collect();
                format!("c{} is to say {text:?}: {answer:?}", tag.process)
            });
            if answer == Err(PostError::Full) {
                self.saw(Met::OutFull);
                return;
            }
        }
    }

    /// Returns whether a client was waiting for a seat until now or until a short time ago, or has
    /// just lost its seat to another.
    pub(crate) fn may_lag(&self, member: &Member<HELD>) -> bool {
        let clock = self.now + member.ahead;
        let story = &self.stories[&member.process];
        let mut times = [story.waits_until, story.given_away_at]
            .into_iter()
            .flatten();
        times.any(|then| clock < then + ANSWER_MS)
    }

    /// Returns a complaint if a client has not caught up some time after the last fault, where
    /// `head` is the number of lines at an earlier time. A client that was told to wait for a seat
    /// may lag.
    pub(crate) fn backwardness(&self, number: usize, head: u64) -> Option<String> {
        let member = &self.members[number];
        let state = member.client.state();
        if self.may_lag(member) && state != State::Leaving {
            return None;
        }
        let place = self.stories[&member.process].place(&self.rooms);
        let unanswered = member.client.unanswered();
        let is_right = match state {
            State::Joined => {
                let is_here = |(run, next)| run + 1 == self.rooms.len() && next >= head;
                unanswered == 0 && place.is_some_and(is_here)
            }
            State::Ended => true,
            State::Joining | State::Lost | State::Leaving => false,
        };
        (!is_right).then(|| {
            format!(
                "c{} at {} is {state:?} at {place:?} instead of {head} in run {}, {unanswered} \
                 unanswered",
                member.process,
                member.base,
                self.rooms.len() - 1
            )
        })
    }
}

/// Returns the cases that an event covers, and what it says about a text. `run` is the relay's run.
fn outcome(event: &ClientEvent<'_>, run: usize) -> (Option<Met>, Option<(PostId, Told)>) {
    match *event {
        ClientEvent::Said { post, first, lines } => (
            Some(Met::Said),
            Some((post, Told::Said { run, first, lines })),
        ),
        ClientEvent::Answered { post, .. } => {
            (Some(Met::CommandAnswered), Some((post, Told::Answered)))
        }
        ClientEvent::Refused { post, .. } => (None, Some((post, Told::Refused))),
        ClientEvent::Doubtful { post } => (Some(Met::Doubtful), Some((post, Told::Doubtful))),
        ClientEvent::Unsaid { post } => (Some(Met::Unsaid), Some((post, Told::Unsaid))),
        ClientEvent::SeatLost(_) => (Some(Met::SeatLost), None),
        ClientEvent::NoSeat { .. } => (Some(Met::NoSeat), None),
        ClientEvent::Silent => (Some(Met::Silent), None),
        ClientEvent::Back => (Some(Met::Back), None),
        ClientEvent::Ended(_) => (Some(Met::Ended), None),
        ClientEvent::Joined { .. } | ClientEvent::Line { .. } | ClientEvent::Lost { .. } => {
            (None, None)
        }
    }
}

/// Returns a text with its tag in front. Commands have none.
fn tagged(tag: Tag, body: &str) -> String {
    match body.strip_prefix("//") {
        Some(rest) => format!("//{tag}{rest}"),
        None if body.starts_with('/') => body.to_owned(),
        None => format!("{tag}{body}"),
    }
}
