//! Messages to one peer: a line in the ring that has that peer in place of an author, and that the
//! fan-out shows to nobody else. See `PROTOCOL.md`, section "Private messages".

use core::fmt::Write;

use super::Relay;
use super::plain::PlainReply;
use super::ring::Cursor;
use super::seat::Seat;
use crate::time::Instant;
use crate::wire::framed::LineKind;
use crate::wire::{
    DATAGRAM_MAX, NAME_MAX, NOTICE, Name, Sentence, TO_YOU, clean, is_blank, whole_characters,
};

/// To whom a private message is.
enum Addressee<'a> {
    /// A peer, the length of its name in the message, and the text.
    Peer(Seat, usize, &'a str),
    /// Two peers: the text behind the one name begins like the rest of the other one.
    Several(Seat, Seat),
    Nobody,
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Says a text to one peer. Returns the length of the name in `message`, or 0 if nothing was said.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        seat: Seat,
        message: &str,
        reply: &mut PlainReply<'_>,
    ) -> u8 {
        if self.is_muted(seat) {
            reply.answer(Sentence::Muted);
            return 0;
        }
        let (to, length, text) = match self.addressee(message) {
            Addressee::Peer(_, _, text) if is_blank(text) => {
                reply.answer(Sentence::NoMsg);
                return 0;
            }
            Addressee::Peer(to, length, text) => (to, length, text),
            Addressee::Several(one, other) => {
                let name = |seat| self.peers.peer(seat).map_or("", |peer| &peer.name);
                reply.answer(Sentence::Ambiguous(name(one), name(other)));
                return 0;
            }
            Addressee::Nobody => {
                reply.answer(nobody(message));
                return 0;
            }
        };
        self.append_private(now, seat, to, text);
        let mut name = Name::new();
        if let Some(peer) = self.peers.peer(to) {
            name.clone_from(&peer.name);
        }
        confirm(&name, text, reply);
        u8::try_from(length).unwrap_or(u8::MAX)
    }

    /// Answers a repetition of a message, of which nothing is said again; `length` is what
    /// [`tell`](Self::tell) returned.
    pub(super) fn tell_again(&self, message: &str, length: u8, reply: &mut PlainReply<'_>) {
        match message.split_at_checked(length.into()) {
            Some((name, text)) if !name.is_empty() => confirm(name, without_colon(text), reply),
            _ => reply.answer(nobody(message)),
        }
    }

    /// Finds the peer with whose name a message begins. A space or a colon follows the name; names have
    /// spaces, too, but no colons.
    ///
    /// If the message begins with two names, the text may have been meant for either: a peer could
    /// else choose a name that another one and the first words of a message make.
    fn addressee<'a>(&self, message: &'a str) -> Addressee<'a> {
        let mut found = Addressee::Nobody;
        for (at, character) in message.char_indices() {
            if at > NAME_MAX {
                break;
            }
            if character != ':' && !character.is_whitespace() {
                continue;
            }
            let (name, text) = message.split_at_checked(at).unwrap_or_default();
            if let Some(seat) = self.peers.find_name(name) {
                found = match found {
                    Addressee::Nobody => Addressee::Peer(seat, at, without_colon(text)),
                    Addressee::Peer(before, ..) if before != seat => {
                        Addressee::Several(before, seat)
                    }
                    found @ (Addressee::Peer(..) | Addressee::Several(..)) => found,
                };
            }
            if character == ':' {
                break;
            }
        }
        found
    }

    /// Returns the number of lines from a cursor on that newcomers are not shown.
    pub(super) fn private_from(&self, mut cursor: Cursor) -> u64 {
        let mut private = 0;
        while let Some(entry) = self.ring.entry(cursor) {
            private += u64::from(entry.kind.is_private());
            cursor = entry.next;
        }
        private
    }

    /// Appends a message to one peer: a line, or two if it is too long for one.
    fn append_private(&mut self, now: Instant, from: Seat, to: Seat, text: &str) {
        let mut name = Name::new();
        if let Some(peer) = self.peers.peer(from) {
            name.clone_from(&peer.name);
        }
        let start = [NOTICE, &name, TO_YOU];
        self.append_text(now, Some(to), (LineKind::Private, 0), &start, text);
        self.stats.messages += 1;
    }
}

/// Answers a message that was said, with as much of its text as fits.
fn confirm(name: &str, text: &str, reply: &mut PlainReply<'_>) {
    let _ = write!(reply.reply, "{NOTICE}to ");
    let characters = clean(name).chain(": ".chars()).chain(clean(text));
    for character in characters {
        // a line end fits, too
        if reply.reply.len() + character.len_utf8() >= DATAGRAM_MAX {
            break;
        }
        let _ = reply.reply.write_char(character);
    }
    reply.end();
}

/// Returns the answer to a message to a name that nobody has.
fn nobody(message: &str) -> Sentence<'_> {
    let end = message.find(|character: char| character == ':' || character.is_whitespace());
    match end.and_then(|end| message.split_at_checked(end)) {
        Some((name, _)) if !name.is_empty() => Sentence::Nobody(whole_characters(name, NAME_MAX)),
        _ => Sentence::NoMsg,
    }
}

/// Returns the text behind a name.
fn without_colon(text: &str) -> &str {
    text.strip_prefix(':').unwrap_or(text).trim()
}
