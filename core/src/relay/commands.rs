//! The commands of the plain dialect.

use core::fmt::Write;

use super::event::{Departure, Event};
use super::peers::Peer;
use super::plain::{Clean, PlainReply};
use super::seat::Seat;
use super::text::folded;
use super::{Relay, Reply};
use crate::time::Instant;
use crate::wire::{
    Announcement, Command, DATAGRAM_MAX, NAME_MAX, Name, Sentence, whole_characters,
};

/// Space for what follows a list of names: `, ... and 65534 more; /who PREFIX lists those that
/// begin so` and a line end.
const LIST_END: usize = 64;

impl<const PEERS: usize, const RING: usize, const WINDOW: usize> Relay<PEERS, RING, WINDOW> {
    /// Obeys a command of a peer.
    pub(super) fn obey(
        &mut self,
        now: Instant,
        seat: Seat,
        command: Command<'_>,
        reply: &mut PlainReply<'_>,
    ) -> Event {
        match command {
            Command::Nick(name) => return self.rename(now, seat, name, reply),
            Command::Quit => {
                if let Some(departed) = self.leave(now, seat, Departure::Quit) {
                    reply.answer(Sentence::Bye);
                    return Event::Left(departed);
                }
            }
            Command::Who(prefix) => self.who(prefix, reply),
            Command::Quiet(wanted) => {
                reply.answer(Sentence::Quiet(self.set_quiet(seat, wanted)));
            }
            Command::Help => reply.answer(Sentence::Help),
            #[cfg(feature = "private")]
            Command::Msg(message) => drop(self.tell(now, seat, message, reply)),
            Command::Say(word) | Command::Unknown(word) => {
                reply.answer(Sentence::NoCommand(whole_characters(word, NAME_MAX)));
            }
        }
        Event::Answered { seat }
    }

    fn who(&self, prefix: &str, reply: &mut PlainReply<'_>) {
        let prefix = whole_characters(prefix, NAME_MAX);
        #[cfg(feature = "link")]
        if self.who_elsewhere(prefix, reply) {
            return;
        }
        let matching = self
            .peers
            .iter()
            .filter(|(_, peer)| begins_with(&peer.name, prefix))
            .count();
        let shown = Clean(prefix);
        let _ = match (matching, prefix) {
            (0, _) => write!(reply.reply, "* nobody's name begins with {shown}"),
            (_, "") => write!(reply.reply, "* {matching} here: "),
            (1, _) => write!(reply.reply, "* 1 begins with {shown}: "),
            _ => write!(reply.reply, "* {matching} begin with {shown}: "),
        };
        let listed = self.list_names(prefix, usize::MAX, reply.reply);
        if listed < matching {
            let more = matching - listed;
            let _ = write!(
                reply.reply,
                ", ... and {more} more; /who PREFIX lists those that begin so"
            );
        }
        #[cfg(feature = "link")]
        if prefix.is_empty() {
            self.list_elsewhere(reply.reply);
        }
        reply.end();
    }

    /// Writes the names that start with `prefix`, and which of them are away: at most `most`, and as
    /// many as fit. Returns their number.
    pub(super) fn list_names(&self, prefix: &str, most: usize, reply: &mut Reply) -> usize {
        #[cfg(feature = "link")]
        let elsewhere = if most == usize::MAX && prefix.is_empty() {
            self.elsewhere_end()
        } else {
            0
        };
        #[cfg(not(feature = "link"))]
        let elsewhere = 0;
        let mut listed = 0;
        for (seat, peer) in self
            .peers
            .iter()
            .filter(|(_, peer)| begins_with(&peer.name, prefix))
        {
            let comma = if listed == 0 { "" } else { ", " };
            let away = if self.sessions.is_parked(seat) {
                " (away)"
            } else {
                ""
            };
            let length = reply.len() + comma.len() + peer.name.len() + away.len();
            if listed == most || length + LIST_END + elsewhere > DATAGRAM_MAX {
                break;
            }
            let _ = write!(reply, "{comma}{}{away}", peer.name);
            listed += 1;
        }
        listed
    }

    fn rename(&mut self, now: Instant, seat: Seat, raw: &str, reply: &mut PlainReply<'_>) -> Event {
        let Some(from) = self.set_name(seat, raw) else {
            self.tell_name(seat, raw, false, reply);
            return Event::Answered { seat };
        };
        self.tell_name(seat, raw, true, reply);
        if let Some(name) = self.peers.peer(seat).map(|peer| peer.name.clone()) {
            let announcement = Announcement::Renamed(&from, &name);
            self.announce(now, self.peers.len(), Some(seat), announcement);
        }
        Event::Renamed { seat, from }
    }

    /// Gives a peer the requested name, or one like it. Returns its old name if that differs.
    fn set_name(&mut self, seat: Seat, raw: &str) -> Option<Name> {
        let (name, mut changed) = self.repaired(raw)?;
        let id = self.peers.peer(seat)?.id.get();
        let name = self.unique(name, Some(seat), id, &mut changed);
        if self.peers.peer(seat).is_some_and(|peer| peer.name == name) {
            return None;
        }
        self.peers.rename(seat, name)
    }

    /// Answers `/nick`; `is_new` is whether this command gave the peer its name.
    pub(super) fn tell_name(
        &self,
        seat: Seat,
        raw: &str,
        is_new: bool,
        reply: &mut PlainReply<'_>,
    ) {
        let name = self.peers.peer(seat).map(|peer| &peer.name);
        let wanted = self.repaired(raw).map(|(wanted, _)| wanted);
        reply.answer(match (name, &wanted) {
            (Some(name), Some(wanted)) if is_new && name == wanted => Sentence::Now(name),
            (Some(name), Some(wanted)) if is_new => Sentence::Taken(name, wanted),
            (Some(name), Some(_)) => Sentence::Already(name),
            _ => Sentence::NoNick,
        });
    }

    /// Sets whether a peer does not want announcements, if `wanted` is given. Returns the setting.
    fn set_quiet(&mut self, seat: Seat, wanted: Option<bool>) -> bool {
        let Some(plain) = self.peers.peer_mut(seat).and_then(Peer::plain_mut) else {
            return false;
        };
        let before = plain.quiet;
        let quiet = wanted.unwrap_or(before);
        plain.quiet = quiet;
        self.quiet = self.quiet + u16::from(quiet) - u16::from(before);
        if quiet
            && !before
            && let Some(peer) = self.peers.peer(seat)
        {
            self.settle_again(self.list(seat, peer), seat);
        }
        quiet
    }
}

/// Returns whether a name starts with `prefix`, as names are compared.
pub(super) fn begins_with(name: &str, prefix: &str) -> bool {
    let mut name = folded(name);
    folded(prefix).all(|character| name.next() == Some(character))
}
