//! Handling of POST, and the POSTED frames that answer it.

use core::fmt::Write;

use super::write;
use crate::relay::event::{Departure, Event, Refusal};
use crate::relay::plain::PlainReply;
use crate::relay::ring::{MESSAGE_MAX, low_half};
use crate::relay::seat::Seat;
use crate::relay::secret;
use crate::relay::text::{is_plain_ascii, without_padding};
use crate::relay::{Relay, Reply};
use crate::time::Instant;
use crate::wire::framed::{ENTRY_HEADER, Frame, Goodbye, Outcome, Post, Posted, Reason};
use crate::wire::order;
use crate::wire::{Command, LINE_MAX, SEPARATOR, Sentence, clean, is_blank};

/// Time after which a text that was refused because the relay is stopping may be posted again, in
/// milliseconds: another run may have started by then.
const STOPPING_RETRY_MS: u16 = 1000;

/// Minimum time after which a text that exceeded the rate limit may be posted again, in
/// milliseconds, so that a client posts several lines at a time.
const SLOW_RETRY_MS: u16 = 200;

/// A client's last POST.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastPost {
    number: u16,
    /// A hash of its texts, by which a repetition is recognised.
    texts: u16,
    outcome: Last,
}

/// The result of a client's last POST.
#[derive(Clone, Copy, Debug)]
enum Last {
    /// There was no POST.
    None,
    /// The POST was a command that changed nothing. A repetition is executed again, with the same reply.
    Answered,
    /// The POST was `/nick` and was obeyed. A repetition is answered with the client's present name.
    Renamed,
    Accepted {
        /// The lower half of the sequence number.
        first: u32,
        lines: u8,
        texts: u8,
    },
    Refused(Reason),
    /// The POST was an order. `true`: it was executed.
    Ordered(bool),
    /// The POST was a message to one peer, whose name has this length in bytes; 0 if it was not said.
    #[cfg(feature = "private")]
    Told(u8),
    /// The POST exceeded the rate limit, and may be posted again after this time, in milliseconds.
    Slow(u16),
}

impl LastPost {
    pub(super) const NONE: Self = Self {
        number: 0,
        texts: 0,
        outcome: Last::None,
    };
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    #[cfg_attr(target_os = "none", inline(never))] // what it needs of the stack is not added to others
    pub(super) fn handle_post(
        &mut self,
        now: Instant,
        seat: Seat,
        post: &Post<'_>,
        reply: &mut Reply,
    ) -> Event {
        let last = self.sessions.framed(seat).map(|framed| framed.last_post);
        let last = last.unwrap_or(LastPost::NONE);
        let ahead = post.number.wrapping_sub(last.number);
        if ahead > 1 || (ahead == 0 && matches!(last.outcome, Last::None)) {
            return Event::Refused {
                seat: Some(seat),
                why: Refusal::Late,
            };
        }
        let texts = secret::texts(&self.config.key, post.texts.as_bytes());
        if ahead == 1 {
            let mut outcome = Last::Answered;
            let event = self.take_post(now, seat, post, &mut outcome, reply);
            if let Some(framed) = self.sessions.framed_mut(seat) {
                framed.last_post = LastPost {
                    number: post.number,
                    texts,
                    outcome,
                };
            }
            return event;
        }
        if texts != last.texts {
            write(reply, &Frame::Bye(post.session, Goodbye::Unknown));
            let departed = self.leave(now, seat, Departure::Contested);
            return departed.map_or(Event::Acknowledged { seat }, Event::Left);
        }
        self.answer_again(now, seat, post, last.outcome, reply);
        Event::Acknowledged { seat }
    }

    /// Handles a new POST. `outcome` is its result, if that is not [`Last::Answered`].
    fn take_post(
        &mut self,
        now: Instant,
        seat: Seat,
        post: &Post<'_>,
        outcome: &mut Last,
        reply: &mut Reply,
    ) -> Event {
        let command = command_of(post).filter(|it| !self.is_stopping || *it == Command::Quit);
        if let Some(command) = command {
            if command != Command::Quit
                && let Err(wait_ms) = self.pace(now, seat)
            {
                *outcome = Last::slow(wait_ms);
                self.report(post, *outcome, reply);
                return said(seat, *outcome);
            }
            if let Some(order) = self.signed_order(post) {
                self.report(post, Last::Answered, reply);
                let (is_done, event) = self.handle_order(now, seat, order, &mut in_frame(reply));
                *outcome = Last::Ordered(is_done);
                return event;
            }
            self.report(post, Last::Answered, reply);
            #[cfg(feature = "private")]
            if let Command::Msg(message) = command {
                let length = self.tell(now, seat, message, &mut in_frame(reply));
                *outcome = Last::Told(length);
                return Event::Answered { seat };
            }
            let event = self.obey_in_frames(now, seat, command, reply);
            if matches!(event, Event::Renamed { .. }) {
                *outcome = Last::Renamed;
            }
            return event;
        }
        *outcome = if self.is_stopping {
            Last::Refused(Reason::Stopping)
        } else {
            self.say_texts(now, seat, post)
        };
        self.report(post, *outcome, reply);
        said(seat, *outcome)
    }

    /// Returns the order in a POST, or an error if its code is wrong. Returns `None` if the POST is
    /// not an order, or the relay has no operators' key.
    fn signed_order<'a>(&self, post: &Post<'a>) -> Option<Result<&'a str, ()>> {
        let text = text_of(post.texts.iter().next()?)?;
        order::verify(&self.config.operator?, post.session, post.number, text)
    }

    /// Answers a repetition of the last POST, which has no effect.
    fn answer_again(
        &mut self,
        now: Instant,
        seat: Seat,
        post: &Post<'_>,
        outcome: Last,
        reply: &mut Reply,
    ) {
        self.report(post, outcome, reply);
        let is_renamed = matches!(outcome, Last::Renamed);
        if let Last::Ordered(is_done) = outcome {
            in_frame(reply).answer(if is_done {
                Sentence::Done
            } else {
                Sentence::NotDone
            });
        }
        match (command_of(post), outcome) {
            (Some(Command::Nick(name)), Last::Answered | Last::Renamed) => {
                self.tell_name(seat, name, is_renamed, &mut in_frame(reply));
            }
            #[cfg(feature = "private")]
            (Some(Command::Msg(message)), Last::Told(length)) => {
                self.tell_again(message, length, &mut in_frame(reply));
            }
            (Some(command), Last::Answered) => {
                self.obey_in_frames(now, seat, command, reply);
            }
            _ => {}
        }
    }

    fn obey_in_frames(
        &mut self,
        now: Instant,
        seat: Seat,
        command: Command<'_>,
        reply: &mut Reply,
    ) -> Event {
        match command {
            Command::Quit => self.leave_in_frames(now, seat, reply),
            Command::Quiet(_) => {
                // a few words fit
                let _ = write!(reply, "{}", Sentence::QuietInFrames);
                Event::Answered { seat }
            }
            #[cfg(feature = "private")]
            Command::Msg(_) => Event::Answered { seat }, // it is a message: see `Last::Told`
            Command::Who(_)
            | Command::Nick(_)
            | Command::Help
            | Command::Say(_)
            | Command::Unknown(_) => self.obey(now, seat, command, &mut in_frame(reply)),
        }
    }

    /// Replaces the contents of `reply` with the POSTED frame for `post`. If the POST is a command
    /// that is obeyed, the answer in the frame is empty: the caller appends it, or replaces the
    /// frame with a BYE.
    fn report(&self, post: &Post<'_>, outcome: Last, reply: &mut Reply) {
        let outcome = match outcome {
            Last::None | Last::Answered | Last::Renamed | Last::Ordered(_) => Outcome::Answer(""),
            #[cfg(feature = "private")]
            Last::Told(_) => Outcome::Answer(""),
            Last::Accepted {
                first,
                lines,
                texts,
            } => Outcome::Accepted {
                first: self.ring.sequence(first),
                lines,
                texts,
            },
            Last::Refused(reason) => Outcome::Refused {
                reason,
                retry_ms: if reason == Reason::Stopping {
                    STOPPING_RETRY_MS
                } else {
                    0
                },
            },
            Last::Slow(retry_ms) => Outcome::Refused {
                reason: Reason::TooFast,
                retry_ms,
            },
        };
        let &Post {
            session,
            number,
            sent_at,
            ..
        } = post;
        write(
            reply,
            &Frame::Posted(Posted {
                session,
                number,
                sent_at,
                outcome,
            }),
        );
    }

    pub(super) fn leave_in_frames(&mut self, now: Instant, seat: Seat, reply: &mut Reply) -> Event {
        if let Some(framed) = self.sessions.framed(seat) {
            write(reply, &Frame::Bye(framed.session, Goodbye::Left));
        }
        match self.leave(now, seat, Departure::Quit) {
            Some(departed) => Event::Left(departed),
            None => Event::Answered { seat },
        }
    }

    /// Accepts as many texts of a POST, from the first on, as take the space of one message.
    fn say_texts(&mut self, now: Instant, seat: Seat, post: &Post<'_>) -> Last {
        let name = self.peers.peer(seat).map_or(0, |peer| peer.name.len());
        let first = low_half(self.ring.head().sequence);
        let mut room = MESSAGE_MAX;
        let (mut lines, mut texts) = (0_u8, 0_u8);
        for text in post.texts.iter().take(u8::MAX.into()) {
            let Some(text) = text_of(text) else {
                if texts == 0 {
                    return Last::Refused(Reason::NotUtf8);
                }
                break;
            };
            let text = match Command::of(text) {
                None => text,
                Some(Command::Say(text)) => text,
                Some(_) => break,
            };
            if !is_blank(text) {
                if self.is_muted(seat) {
                    if texts == 0 {
                        return Last::Refused(Reason::Muted);
                    }
                    break;
                }
                if size_max(name, text) > room && size(name, text) > room {
                    break;
                }
                if let Err(wait_ms) = self.pace(now, seat) {
                    if texts == 0 {
                        return Last::slow(wait_ms);
                    }
                    break;
                }
                let before = self.ring.head().offset;
                if let Event::Said { lines: more, .. } = self.say(now, seat, text) {
                    lines = lines.saturating_add(more);
                }
                room = room.saturating_sub(self.ring.head().offset - before);
            }
            texts += 1;
        }
        Last::Accepted {
            first,
            lines,
            texts,
        }
    }
}

impl Last {
    /// Refuses a POST for `wait_ms`, or for a minimum.
    fn slow(wait_ms: u32) -> Self {
        Self::Slow(
            u16::try_from(wait_ms)
                .unwrap_or(u16::MAX)
                .max(SLOW_RETRY_MS),
        )
    }
}

/// Returns the command that a POST starts with, if any.
fn command_of<'a>(post: &Post<'a>) -> Option<Command<'a>> {
    let first = text_of(post.texts.iter().next()?)?;
    Command::of(first).filter(|command| !matches!(command, Command::Say(_)))
}

/// Decodes a text.
fn text_of(bytes: &[u8]) -> Option<&str> {
    core::str::from_utf8(without_padding(bytes)).ok()
}

const fn in_frame(reply: &mut Reply) -> PlainReply<'_> {
    PlainReply {
        reply,
        newline: false,
    }
}

fn said(seat: Seat, last: Last) -> Event {
    match last {
        Last::Accepted { lines: 0, .. } => Event::Keepalive { seat },
        Last::Accepted { lines, .. } => Event::Said { seat, lines },
        Last::Refused(Reason::Stopping) => Event::Refused {
            seat: Some(seat),
            why: Refusal::Stopping,
        },
        Last::Refused(Reason::Muted) => Event::Refused {
            seat: Some(seat),
            why: Refusal::Muted,
        },
        Last::Ordered(_) => Event::Answered { seat },
        #[cfg(feature = "private")]
        Last::Told(_) => Event::Answered { seat },
        Last::Slow(_) => Event::Refused {
            seat: Some(seat),
            why: Refusal::Slow,
        },
        Last::Refused(_) | Last::None | Last::Answered | Last::Renamed => Event::Refused {
            seat: Some(seat),
            why: Refusal::NotUtf8,
        },
    }
}

/// Returns an upper bound of [`size`] that is faster to compute.
const fn size_max(name: usize, text: &str) -> u64 {
    // cleaning makes at most three bytes of two
    (2 * (ENTRY_HEADER + name + SEPARATOR.len()) + text.len() + text.len() / 2) as u64
}

/// Returns the number of bytes that a text takes in the ring, with an author's name of `name`
/// bytes.
fn size(name: usize, text: &str) -> u64 {
    let start = name + SEPARATOR.len();
    let text = if is_plain_ascii(text) {
        text.len()
    } else {
        clean(text).map(char::len_utf8).sum()
    };
    let lines = if start + text > LINE_MAX { 2 } else { 1 };
    (lines * (ENTRY_HEADER + start) + text) as u64
}
