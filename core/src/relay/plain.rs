//! The plain dialect: the meaning of a datagram that a person typed. See `PROTOCOL.md`.

use core::fmt::{self, Display, Write};
use core::net::SocketAddr;
use core::time::Duration;

use super::admission::Served;
use super::event::{Event, Refusal};
use super::neighbours::Doubt;
use super::peers::{Dialect, Peer, Plain, Suspicion};
use super::seat::Seat;
use super::text::{is_plain_ascii, without_padding};
use super::{Relay, Reply};
use crate::time::Instant;
use crate::wire::framed::FRAME;
use crate::wire::framed::LineKind;
use crate::wire::{
    Code, Command, DATAGRAM_MAX, LINE_MAX, NOTICE, Name, SEPARATOR, Sentence, clean, is_blank,
    is_invisible,
};

/// Minimum time between two "not UTF-8" notices to a peer.
const NOT_UTF8_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of names in a welcome.
const WELCOME_NAMES: usize = 16;

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Handles text from a source without a seat. Answers to all such sources together are limited.
    #[cfg_attr(target_os = "none", inline(never))] // what it needs of the stack is not added to others
    pub(super) fn handle_stranger(
        &mut self,
        now: Instant,
        source: SocketAddr,
        payload: &[u8],
        reply: &mut Reply,
    ) -> Event {
        self.note_stray(now, source.ip(), payload);
        let event = self.answer_stranger(now, source, payload, reply);
        let is_limited = match event {
            Event::Helped => true,
            // codes have a limit of their own
            Event::Refused { why, .. } => why != Refusal::Unproven && !reply.is_empty(),
            Event::Joined { .. }
            | Event::Said { .. }
            | Event::Renamed { .. }
            | Event::Left(_)
            | Event::Removed { .. }
            | Event::Answered { .. }
            | Event::Challenged
            | Event::Claimed { .. }
            | Event::Resumed { .. }
            | Event::Acknowledged { .. }
            | Event::Keepalive { .. } => false,
        };
        if !is_limited || self.admission.may_answer(now) {
            return event;
        }
        reply.clear();
        if matches!(event, Event::Refused { .. }) {
            return event;
        }
        Event::Refused {
            seat: None,
            why: Refusal::Nameless,
        }
    }

    fn answer_stranger(
        &mut self,
        now: Instant,
        source: SocketAddr,
        payload: &[u8],
        reply: &mut Reply,
    ) -> Event {
        let refused = |why| Event::Refused { seat: None, why };
        let served = match self.served(now, source) {
            Ok(served) => served,
            Err(why) => return refused(why),
        };
        if self.is_service(source.port()) {
            return refused(Refusal::Source);
        }
        if self.is_stopping {
            return refused(Refusal::Stopping);
        }
        let (bytes, newline) = without_line_end(payload);
        let mut reply = PlainReply { reply, newline };
        let must_prove = served == Served::Proven || self.is_spent(now, source.ip());
        if must_prove || self.is_seat_for_proven(now, source.ip()) {
            return self.prove(now, source, payload, reply);
        }
        let text = match checked(payload, bytes) {
            Ok(text) => text,
            Err(why) => {
                if why == Refusal::TooLong && self.may_answer(payload) {
                    reply.answer(Sentence::TooLong);
                }
                return refused(why);
            }
        };
        if is_blank(text) {
            return refused(Refusal::Blank);
        }
        let mut doubt = Self::doubt(source.ip());
        if self.config.classic {
            return self.join(now, source, text, doubt, reply);
        }
        if self.is_returned(text) {
            return refused(Refusal::Returned);
        }
        let name = match Command::of(visible(text)) {
            // a code that is not needed is not part of the name
            None => Code::read(text).map_or(text, |(code, name)| {
                if self.unproven_kib().is_some() && self.is_proof(now, &source, code) {
                    doubt = Doubt::default();
                    self.stats.proven += 1;
                }
                name
            }),
            Some(Command::Nick(name)) => name,
            Some(Command::Help) => {
                reply.answer(Sentence::HelpForStrangers);
                return Event::Helped;
            }
            Some(_) => "",
        };
        if is_blank(name) {
            reply.answer(Sentence::Nameless);
            return refused(Refusal::Nameless);
        }
        self.join(now, source, name, doubt, reply)
    }

    #[cfg_attr(target_os = "none", inline(never))] // what it needs of the stack is not added to others
    pub(super) fn handle_peer(
        &mut self,
        now: Instant,
        seat: Seat,
        payload: &[u8],
        reply: &mut Reply,
    ) -> Event {
        if self.peers.peer(seat).is_some_and(|peer| peer.is_framed()) {
            return Event::Refused {
                seat: None, // the source may be forged
                why: Refusal::Dialect,
            };
        }
        let newline = self.peers.peer_mut(seat).is_some_and(|peer| {
            peer.heard = now;
            peer.suspicion = Suspicion::default();
            peer.plain_mut().is_some_and(|plain| {
                plain.doubt.note_heard();
                plain.newline
            })
        });
        let mut reply = PlainReply { reply, newline };
        let refused = |relay: &mut Self, why, reply: &mut PlainReply<'_>| {
            if relay.may_answer(payload) {
                relay.refuse(now, seat, why, reply);
            }
            let seat = Some(seat);
            Event::Refused { seat, why }
        };
        let (bytes, _) = without_line_end(payload);
        let text = match checked(payload, bytes) {
            Ok(text) => text,
            Err(why) => return refused(self, why, &mut reply),
        };
        let is_classic = self.config.classic;
        if is_blank(text) && !is_classic {
            if self.may_answer(payload) {
                self.tell_unsaid(now, seat, &mut reply);
            }
            return Event::Keepalive { seat };
        }
        if self.is_returned(text) || self.is_own_welcome(seat, text) {
            return self.handle_returned(now, seat);
        }
        let proved = self.proved_command(now, seat, text);
        let text = proved.unwrap_or(text);
        let command = Command::of(text).filter(|_| !is_classic);
        if self.is_stopping && command != Some(Command::Quit) {
            return refused(self, Refusal::Stopping, &mut reply);
        }
        if self.prove_seated(now, seat, text, &mut reply) {
            return Event::Answered { seat };
        }
        if command != Some(Command::Quit) && self.pace(now, seat).is_err() {
            self.count_unsaid(seat);
            return refused(self, Refusal::Slow, &mut reply);
        }
        let text = match command {
            None => text,
            Some(Command::Say(text)) => text,
            Some(command) if proved.is_none() && self.may_be_forged(now, seat, command) => {
                return refused(self, Refusal::Unproven, &mut reply);
            }
            Some(command) => return self.obey(now, seat, command, &mut reply),
        };
        if self.is_muted(seat) {
            return refused(self, Refusal::Muted, &mut reply);
        }
        if self.may_answer(payload) {
            self.tell_unsaid(now, seat, &mut reply);
        }
        self.say(now, seat, text)
    }

    /// Returns whether the sender may be told of a refusal. It may not if the payload looks like a
    /// notice: the sender may be a relay, and both would reply for ever.
    pub(super) fn may_answer(&self, payload: &[u8]) -> bool {
        !self.config.classic && !payload.starts_with(NOTICE.as_bytes())
    }

    /// Refuses a peer's datagram, and tells the peer where that helps, at a limited rate.
    fn refuse(&mut self, now: Instant, seat: Seat, why: Refusal, reply: &mut PlainReply<'_>) {
        if why == Refusal::TooLong {
            reply.answer(Sentence::TooLong);
        }
        if why == Refusal::NotUtf8
            && let Some(plain) = self.peers.peer_mut(seat).and_then(Peer::plain_mut)
            && now >= plain.tell_at
        {
            plain.tell_at = now.after(NOT_UTF8_INTERVAL);
            reply.answer(Sentence::NotUtf8);
        }
        if why == Refusal::Stopping {
            reply.answer(Sentence::Stopping);
        }
        if why == Refusal::Muted {
            reply.answer(Sentence::Muted);
        }
        if why == Refusal::Slow {
            self.tell_unsaid(now, seat, reply);
        }
        if why == Refusal::Unproven {
            self.ask_for_code(now, seat, reply);
        }
    }

    /// Appends a peer's message: one line, or two with the same name if it is too long for one.
    pub(super) fn say(&mut self, now: Instant, seat: Seat, text: &str) -> Event {
        let mut name = Name::new();
        if let Some(peer) = self.peers.peer(seat) {
            name.clone_from(&peer.name);
        }
        let lines = self.say_as(now, Some(seat), &name, text);
        Event::Said { seat, lines }
    }

    /// Says a message with any name. Returns the number of its lines.
    pub(super) fn say_as(
        &mut self,
        now: Instant,
        author: Option<Seat>,
        name: &str,
        text: &str,
    ) -> u8 {
        let lines = self.append_message(now, author, name, text);
        self.stats.messages += 1;
        lines
    }

    /// Appends a message. Returns the number of its lines.
    pub(super) fn append_message(
        &mut self,
        now: Instant,
        author: Option<Seat>,
        name: &str,
        text: &str,
    ) -> u8 {
        let kind = (LineKind::Message, name.len());
        self.append_text(now, author, kind, &[name, SEPARATOR], text)
    }

    /// Appends text after `start`: one line, or more that start alike if it is too long for one. Returns
    /// their number. `kind` and the length of the name are as for [`append`](Self::append).
    pub(super) fn append_text(
        &mut self,
        now: Instant,
        author: Option<Seat>,
        kind: (LineKind, usize),
        start: &[&str],
        text: &str,
    ) -> u8 {
        let indent = start.iter().map(|part| part.len()).sum::<usize>();
        // the common case without a loop over characters
        if is_plain_ascii(text) && indent + text.len() <= LINE_MAX {
            let mut line = self.begin_line(now, author, kind, indent + text.len());
            for part in start {
                self.ring.write_text(&mut line, part);
            }
            self.ring.write_text(&mut line, text);
            self.end_line(author, kind.0, &line);
            return 1;
        }
        let mut rest = clean(text);
        let mut lines = 0;
        loop {
            let (mut length, mut count) = (indent, 0);
            for character in rest.clone() {
                let end = length + character.len_utf8();
                if end > LINE_MAX {
                    break;
                }
                (length, count) = (end, count + 1);
            }
            if count == 0 && lines > 0 {
                return lines;
            }
            let mut line = self.begin_line(now, author, kind, length);
            for part in start {
                self.ring.write_text(&mut line, part);
            }
            for character in rest.by_ref().take(count) {
                self.ring
                    .write_text(&mut line, character.encode_utf8(&mut [0; 4]));
            }
            self.end_line(author, kind.0, &line);
            lines += 1;
        }
    }

    /// Gives a newcomer a seat under the first line of `raw`, and says what follows it.
    pub(super) fn join(
        &mut self,
        now: Instant,
        source: SocketAddr,
        raw: &str,
        doubt: Doubt,
        mut reply: PlainReply<'_>,
    ) -> Event {
        let (raw, message) = if self.config.classic {
            (raw, "")
        } else {
            first_line(raw)
        };
        let dialect = Dialect::Plain(Plain {
            newline: reply.newline,
            doubt,
            ..Plain::default()
        });
        let newcomer = match self.take_seat(now, source, raw, dialect) {
            Ok(newcomer) => newcomer,
            Err(why) => {
                #[expect(
                    clippy::wildcard_enum_match_arm,
                    reason = "nothing else concerns people"
                )]
                let told = match why {
                    Refusal::Full => Some(Sentence::Full {
                        seats: self.seats(),
                    }),
                    Refusal::Crowded => Some(Sentence::Crowded),
                    Refusal::Locked => Some(Sentence::Locked),
                    Refusal::Hasty => Some(Sentence::Hasty),
                    _ => None,
                };
                if let Some(told) = told.filter(|_| !self.config.classic) {
                    reply.answer(told);
                }
                return Event::Refused { seat: None, why };
            }
        };
        let seat = newcomer.seat;
        self.find_budget(seat, source.ip());
        self.settle(seat);
        self.arm_for_lapse(now, seat);
        if !self.config.classic {
            self.welcome(seat, newcomer.changed, reply.reply);
            reply.answer(Sentence::History(newcomer.history));
        }
        if !is_blank(message) {
            self.say(now, seat, message);
        }
        Event::Joined {
            seat,
            displaced: newcomer.displaced,
        }
    }

    /// Writes the welcome for a newcomer, with the names of the peers.
    pub(super) fn welcome(&self, seat: Seat, changed: bool, reply: &mut Reply) {
        let Some(peer) = self.peers.peer(seat) else {
            return;
        };
        let everybody = self.peers.len();
        // the parts are limited so that all of them fit
        let start = Sentence::Welcome {
            name: &peer.name,
            here: everybody,
        };
        let _ = write!(reply, "{start}");
        let listed = self.list_names("", WELCOME_NAMES, reply);
        if listed < everybody {
            let _ = write!(reply, ", ... and {} more", everybody - listed);
        }
        let _ = reply.write_char(')');
        #[cfg(feature = "link")]
        self.welcome_elsewhere(reply);
        if !self.config.motd.is_empty() {
            let _ = write!(reply, "; {}", Clean(&self.config.motd));
        }
        let _ = reply.write_str("; /help lists commands");
        if !peer.is_framed() && (changed || peer.name.bytes().any(|byte| byte == b' ')) {
            let _ = reply.write_str(" (not your name? /nick NAME, then say it again)");
        }
    }
}

/// Returns the name in a first datagram, its first line that is not blank, and what follows it.
pub(super) fn first_line(raw: &str) -> (&str, &str) {
    match raw.trim_start().split_once('\n') {
        Some((name, message)) => (name.trim_end(), message),
        None => (raw, ""),
    }
}

/// Returns the payload without one trailing `\n` or `\r\n`, and whether there was one.
fn without_line_end(payload: &[u8]) -> (&[u8], bool) {
    match without_padding(payload) {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => (text, true),
        text => (text, false),
    }
}

/// Returns the text of a datagram without its line end, or why it has none.
pub(super) fn text_of(payload: &[u8]) -> Result<&str, Refusal> {
    checked(payload, without_line_end(payload).0)
}

/// Returns the text of a datagram, or why it has none. `bytes` is `payload` without its line end.
fn checked<'a>(payload: &[u8], bytes: &'a [u8]) -> Result<&'a str, Refusal> {
    if payload.len() > DATAGRAM_MAX {
        return Err(Refusal::TooLong);
    }
    if payload.first() == Some(&FRAME) {
        return Err(Refusal::Frame);
    }
    core::str::from_utf8(bytes).map_err(|_| Refusal::NotUtf8)
}

/// A reply of text, whose line end is that of its reader.
pub(super) struct PlainReply<'a> {
    pub(super) reply: &'a mut Reply,
    pub(super) newline: bool,
}

impl PlainReply<'_> {
    /// Writes the rest of the reply, which must fit.
    pub(super) fn answer(&mut self, sentence: Sentence<'_>) {
        let _ = write!(self.reply, "{sentence}");
        self.end();
    }

    pub(super) fn end(&mut self) {
        if self.newline {
            let _ = self.reply.push(b'\n');
        }
    }
}

/// Returns a text from its first visible character on.
pub(super) fn visible(text: &str) -> &str {
    text.trim_start_matches(|it: char| it.is_whitespace() || is_invisible(it))
}

/// Displays a text after [`clean`].
pub(super) struct Clean<'a>(pub(super) &'a str);

impl Display for Clean<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        clean(self.0).try_for_each(|character| formatter.write_char(character))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_not_part_of_the_text() {
        for (payload, text, newline) in [
            ("", "", false),
            ("\n", "", true),
            ("\r\n", "", true),
            ("\r", "\r", false),
            ("a\n\n", "a\n", true),
            ("a\r\r\n", "a\r", true),
            ("a\n\r", "a\n\r", false),
            ("你\n", "你", true),
            ("a\0", "a", false),
            ("a\n\0\0", "a", true),
            ("a\0\n", "a\0", true),
            ("\0\0", "", false),
            ("\0a", "\0a", false),
            ("\u{FEFF}a", "a", false),
            ("\u{FEFF}\u{FEFF}a", "\u{FEFF}a", false),
            ("\u{FEFF}\r\n\0", "", true),
            ("a\u{FEFF}", "a\u{FEFF}", false),
        ] {
            let expected = (text.as_bytes(), newline);
            assert_eq!(
                without_line_end(payload.as_bytes()),
                expected,
                "{payload:?}"
            );
        }
    }
}
