//! Polling for datagrams, events and deadlines.

use super::acknowledging::Due;
use super::posting::Told;
use super::receiving::Next;
use super::{
    Client, ClientEvent, Joined, LEAVE_PAUSE, LEAVES, NewSeat, NoSeat, Phase, Transmit, push_clean,
    without_star,
};
use crate::Instant;
use crate::wire::framed::LineKind;
use crate::wire::framed::{Ack, Entry, Frame, Hello, Resume, Session};
use crate::wire::{QUIET, SEPARATOR, clean, private};

impl<const HELD: usize, const OUT: usize> Client<HELD, OUT> {
    /// Returns when to call [`handle_timeout`](Self::handle_timeout) and then
    /// [`poll_transmit`](Self::poll_transmit) next; it may be in the past. Returns `None` if only a
    /// datagram or another call changes anything.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.has_quit() {
            return Some(Instant::default());
        }
        match self.phase {
            Phase::Joining | Phase::Silent | Phase::Severed => Some(self.greeting.timeout()),
            Phase::Leaving { due, .. } => Some(due),
            Phase::Joined => [
                self.acknowledging.timeout(),
                self.posting.timeout().filter(|_| self.may_post()),
                self.posting.patience(),
                self.pulse.question(),
                self.pulse.patience(),
                self.next_run(),
            ]
            .into_iter()
            .flatten()
            .min(),
            Phase::Ended(_) => None,
        }
    }

    /// Writes the next datagram to `buffer`, which must have [`DATAGRAM_MAX`](crate::DATAGRAM_MAX)
    /// bytes: a datagram that does not fit counts as sent and lost. So does one that the network does not
    /// take: the client sends again what is not acknowledged. If the system reports that nobody listens,
    /// on sending or receiving, call [`handle_unreachable`](Self::handle_unreachable).
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Option<Transmit> {
        if self.has_quit() {
            self.leave(now);
        }
        let mut path = self.greeting.path();
        let session = self.session;
        let length = match self.phase {
            Phase::Joining | Phase::Silent | Phase::Severed => {
                let (from, nonce, cookie) = self.greeting.poll(now)?;
                path = from;
                self.hello(nonce, cookie, buffer)
            }
            Phase::Joined => self.speak(now, session?, buffer),
            Phase::Leaving { said, due } if said < LEAVES && now >= due => {
                let [least, most] = LEAVE_PAUSE;
                let pause = self.posting.rto(said).clamp(least, most);
                self.phase = Phase::Leaving {
                    said: said + 1,
                    due: now.after(pause),
                };
                Frame::Leave(session?).encode(buffer)
            }
            Phase::Leaving { .. } | Phase::Ended(_) => None,
        }?;
        self.stats.sent += 1;
        Some(Transmit { path, length })
    }

    fn hello(&mut self, nonce: u64, cookie: Option<[u8; 16]>, buffer: &mut [u8]) -> Option<usize> {
        self.stats.hellos += 1;
        let resume = self.session.map(|session| Resume {
            session,
            epoch: self.epoch,
            next: self.receiving.next(),
        });
        let hello = Hello {
            abilities: self.abilities,
            nonce,
            cookie,
            resume,
            name: &self.wanted,
        };
        Frame::Hello(hello).encode(buffer)
    }

    /// Returns whether a text may be posted. After a restart of the relay `Joined` must be polled
    /// first, so that events stay in order; and a relay that is stopping might lose the text.
    fn may_post(&self) -> bool {
        let is_restarted = |seat: &NewSeat| matches!(seat.how, Joined::New | Joined::Restarted);
        self.stopped.is_none() && !self.joined.as_ref().is_some_and(is_restarted)
    }

    /// Writes the next datagram of a session.
    fn speak(&mut self, now: Instant, session: Session, buffer: &mut [u8]) -> Option<usize> {
        if self.may_post()
            && let Some((length, is_again)) = self.posting.poll(now, session, buffer)
        {
            self.stats.posts += 1;
            self.stats.posts_again += u64::from(is_again);
            self.pulse.demanded(now);
            return Some(length);
        }
        let due = self.acknowledging.due(now);
        let answer = self.pulse.question().is_some_and(|due| now >= due);
        if due.is_none() && !answer {
            return None;
        }
        self.stats.acks += 1;
        self.stats.acks_again += u64::from(due == Some(Due::Again));
        if answer {
            self.pulse.asked(now);
        } else {
            self.pulse.sent(now);
        }
        let ack = Ack {
            session,
            echo: self.acknowledging.sent(now, due.unwrap_or(Due::Again)),
            answer,
            next: self.receiving.next(),
            ranges: self.receiving.ranges(),
        };
        Frame::Ack(ack).encode(buffer)
    }

    /// Returns the next event. This frees space, so `poll_transmit` may have a datagram again.
    pub fn poll_event(&mut self) -> Option<ClientEvent<'_>> {
        if self.is_silent && !self.told_silent {
            self.told_silent = true;
            return Some(ClientEvent::Silent);
        }
        if let Some((post, told)) = self.posting.poll_told() {
            return Some(match told {
                Told::Said { first, lines } => ClientEvent::Said { post, first, lines },
                Told::Answered => ClientEvent::Answered {
                    post,
                    text: &self.text_buffer,
                },
                Told::Refused(reason) => ClientEvent::Refused { post, reason },
                Told::Doubtful => ClientEvent::Doubtful { post },
            });
        }
        if self.told_silent && !self.is_silent {
            self.told_silent = false;
            return Some(ClientEvent::Back);
        }
        if let Some(loss) = self.seat_loss.take() {
            return Some(ClientEvent::SeatLost(loss));
        }
        if let Some(NoSeat { reason, retry_s }) = self.no_seat.take() {
            return Some(ClientEvent::NoSeat { reason, retry_s });
        }
        if let Some(seat) = self.joined.take() {
            return Some(ClientEvent::Joined {
                how: seat.how,
                name: &self.name,
                text: &self.text_buffer,
                history: seat.history,
                uptime_s: seat.uptime_s,
            });
        }
        if let Some(post) = self.asked_quiet.take() {
            let text = without_star(QUIET[usize::from(self.is_quiet)]);
            return Some(ClientEvent::Answered { post, text });
        }
        match self.next_line() {
            Some(next) => self.show(next),
            None => self.poll_end(),
        }
    }

    /// Returns the next line that is not hidden, or the number of lost ones.
    fn next_line(&mut self) -> Option<Next> {
        loop {
            let next = self.receiving.advance()?;
            match next {
                Next::Lost { lines, .. } => self.stats.lost = self.stats.lost.saturating_add(lines),
                Next::Line(place) => {
                    self.stats.lines += 1;
                    let entry = self.receiving.entry(place);
                    let kind = entry.as_ref().map(|entry| entry.kind);
                    if self.is_quiet && kind == Some(LineKind::Announcement) {
                        continue;
                    }
                    if let Some(entry) = entry.filter(is_left_out) {
                        // for another peer, or for the seat that this client had before
                        if !self.authors.contains(&entry.author) {
                            continue;
                        }
                        self.stats.lost = self.stats.lost.saturating_add(1);
                        let from = place.sequence;
                        return Some(Next::Lost { from, lines: 1 });
                    }
                }
            }
            return Some(next);
        }
    }

    fn show(&mut self, next: Next) -> Option<ClientEvent<'_>> {
        let place = match next {
            Next::Lost { from, lines } => return Some(ClientEvent::Lost { from, lines }),
            Next::Line(place) => place,
        };
        let entry = self.receiving.entry(place)?;
        let (mut name, mut text) = split(&entry);
        if !clean(entry.line).eq(entry.line.chars()) {
            self.text_buffer.clear();
            push_clean(&mut self.text_buffer, name);
            let end = self.text_buffer.len();
            push_clean(&mut self.text_buffer, text);
            (name, text) = self.text_buffer.split_at_checked(end)?;
        }
        // a message to this client has its number in place of the author's
        let is_by_author = entry.author != 0 && entry.kind != LineKind::Private;
        Some(ClientEvent::Line {
            sequence: place.sequence,
            at: entry.at,
            kind: entry.kind,
            name,
            text,
            own: is_by_author && self.authors.contains(&entry.author),
            is_history: place.sequence < self.history_end,
        })
    }

    /// Returns the next event after the end.
    fn poll_end(&mut self) -> Option<ClientEvent<'_>> {
        let Phase::Ended(why) = self.phase else {
            return None;
        };
        if let Some(post) = self.posting.poll_unsaid() {
            return Some(ClientEvent::Unsaid { post });
        }
        if self.told_end {
            return None;
        }
        self.told_end = true;
        Some(ClientEvent::Ended(why))
    }
}

/// Returns whether a message to one peer is left out.
fn is_left_out(entry: &Entry<'_>) -> bool {
    entry.kind == LineKind::Private && entry.line.is_empty()
}

/// Splits a line into name and text.
fn split<'a>(entry: &Entry<'a>) -> (&'a str, &'a str) {
    let line = entry.line;
    if entry.kind == LineKind::Private {
        return private(without_star(line)).unwrap_or(("", line));
    }
    match line.split_at_checked(entry.name.into()) {
        Some((name, rest)) if !name.is_empty() => {
            (name, rest.strip_prefix(SEPARATOR).unwrap_or(rest))
        }
        _ => ("", without_star(line)),
    }
}
