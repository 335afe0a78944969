//! POST, and what becomes of it.

use core::fmt::Write;

use super::{Last, write};
use crate::relay::event::{Departure, Event, Refusal};
use crate::relay::plain::PlainReply;
use crate::relay::ring::MESSAGE_MAX;
use crate::relay::seat::Seat;
use crate::relay::{Relay, Reply};
use crate::time::Instant;
use crate::wire::command::Command;
use crate::wire::framed::{ENTRY_HEADER, Frame, Goodbye, Outcome, Post, Posted, Reason};
use crate::wire::notices::Sentence;
use crate::wire::text::{LINE_MAX, SEPARATOR, clean, is_blank, is_plain_ascii, without_padding};

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    pub(super) fn handle_post(
        &mut self,
        now: Instant,
        seat: Seat,
        post: &Post<'_>,
        reply: &mut Reply,
    ) -> Event {
        let Some(framed) = self.sessions.framed(seat) else {
            return Event::Acknowledged { seat };
        };
        let (ahead, last) = (post.number.wrapping_sub(framed.post), framed.outcome);
        let late = Event::Refused {
            seat: Some(seat),
            why: Refusal::Late,
        };
        if ahead > 1 {
            return late;
        }
        if ahead == 0 && !matches!(last, Last::Command) {
            report(post, last, reply);
            return Event::Acknowledged { seat };
        }
        let mut texts = post.texts.iter().map(text_of);
        let command = texts
            .next()
            .and_then(|first| Command::of(first?))
            .filter(|command| !matches!(command, Command::Say(_)))
            .filter(|command| !self.is_stopping || *command == Command::Quit);
        let (last, event) = match command {
            Some(command) => {
                report(post, Last::Command, reply);
                (
                    Last::Command,
                    self.obey_in_frames(now, seat, command, reply),
                )
            }
            // the last one was a command, or there was none
            None if ahead == 0 => return late,
            None => {
                let last = if self.is_stopping {
                    Last::Refused(Reason::Stopping)
                } else {
                    self.say_texts(now, seat, post)
                };
                report(post, last, reply);
                (last, said(seat, last))
            }
        };
        if let Some(framed) = self.sessions.framed_mut(seat) {
            framed.post = post.number;
            framed.outcome = last;
        }
        event
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
            Command::Who(_)
            | Command::Nick(_)
            | Command::Help
            | Command::Say(_)
            | Command::Unknown(_) => {
                let mut reply = PlainReply {
                    reply,
                    newline: false,
                };
                self.obey(now, seat, command, &mut reply)
            }
        }
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

    /// Says as many texts of a POST, from the first on, as one message has room for.
    fn say_texts(&mut self, now: Instant, seat: Seat, post: &Post<'_>) -> Last {
        let name = self.peers.peer(seat).map_or(0, |peer| peer.name.len());
        let first = self.ring.head().sequence;
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
                if size_max(name, text) > room && size(name, text) > room {
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

/// A text that was refused because the relay is stopping may be posted again after so many
/// milliseconds: then there may be another run.
const STOPPING_RETRY_MS: u16 = 1000;

/// Answers a POST; the answer to a command is still to be written behind it.
fn report(post: &Post<'_>, last: Last, reply: &mut Reply) {
    let outcome = match last {
        Last::Command => Outcome::Answer(""),
        Last::Accepted {
            first,
            lines,
            texts,
        } => Outcome::Accepted {
            first,
            lines,
            texts,
        },
        Last::Refused(reason) => Outcome::Refused {
            reason,
            retry_ms: match reason {
                Reason::Stopping => STOPPING_RETRY_MS,
                Reason::Full | Reason::Nameless | Reason::NotUtf8 | Reason::Other(_) => 0,
            },
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

fn said(seat: Seat, last: Last) -> Event {
    match last {
        Last::Accepted { lines, .. } => Event::Said { seat, lines },
        Last::Refused(Reason::Stopping) => Event::Refused {
            seat: Some(seat),
            why: Refusal::Stopping,
        },
        Last::Refused(_) | Last::Command => Event::Refused {
            seat: Some(seat),
            why: Refusal::NotUtf8,
        },
    }
}

/// A text as it is on the wire.
fn text_of(bytes: &[u8]) -> Option<&str> {
    core::str::from_utf8(without_padding(bytes)).ok()
}

/// At least as much as [`size`], and sooner known.
const fn size_max(name: usize, text: &str) -> u64 {
    // cleaning makes three bytes of two at most
    (2 * (ENTRY_HEADER + name + SEPARATOR.len()) + text.len() + text.len() / 2) as u64
}

/// The bytes in the ring of a text that somebody says whose name has `name` bytes.
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
