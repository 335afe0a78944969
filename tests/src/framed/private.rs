//! Messages to one peer: what the oracle knows of them from what was asked and answered, and what
//! becomes of their bytes, whatever the frames and lines in which they are.

use core::net::SocketAddr;

use kilochat_core::{Event, LINE_MAX};

use crate::dialect::{Meaning, text_of, whisper_said, whisper_splits, whispered};
use crate::framed::counts::Met;
use crate::framed::room::Addressee;
use crate::framed::wire::Wire;
use crate::framed::world::World;
use crate::text::folded;
use crate::{Verdict, check};

/// Length of a POSTED before the answer to a command.
const ANSWER: usize = 15;

/// What each text to one peer begins with. The number of the text follows, and a bar.
const SECRET: &str = "secret ";

/// A peer, as the relay could confuse it with no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Session(u64),
    Plain(SocketAddr),
}

/// Returns the numbers of the texts to one peer of which these bytes have the start.
fn secrets(bytes: &[u8]) -> Vec<usize> {
    let text = String::from_utf8_lossy(bytes);
    let starts = text.split(SECRET).skip(1);
    let numbers = starts.filter_map(|rest| rest.split_once('|')?.0.parse().ok());
    numbers.collect()
}

impl<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>
    World<PEERS, RING, WINDOW, HELD>
{
    /// Learns what a session is called from what the relay tells its client.
    pub(crate) fn notice_names(&mut self, payload: &[u8], reply: &[u8]) {
        match (Wire::read(reply), Wire::read(payload)) {
            (Some(Wire::Welcome(welcome)), _) => {
                self.authors.insert(welcome.session, welcome.author);
                self.names.insert(welcome.session, welcome.name);
            }
            (Some(Wire::Posted { .. }), Some(Wire::Post { session, .. })) => {
                let answer = reply.get(ANSWER..).unwrap_or_default();
                let answer = core::str::from_utf8(answer).unwrap_or_default();
                let renamed = answer.lines().next().unwrap_or_default();
                if let Some(name) = renamed.strip_prefix("* you are now ") {
                    self.names.insert(session, name.to_owned());
                }
            }
            _ => {}
        }
    }

    /// Judges the answer to a message to one peer, and records who may see it.
    pub(crate) fn notice_private(
        &mut self,
        source: SocketAddr,
        payload: &[u8],
        reply: &[u8],
        event: &Event,
        head_before: u64,
    ) -> Verdict {
        if !matches!(event, Event::Answered { .. }) {
            return Ok(()); // a repetition, which says nothing
        }
        // a client that was away is back first
        let added = self.room().head - head_before;
        let is_frame = payload.first() == Some(&1);
        let (from, author, text, answer) = match Wire::read(payload) {
            Some(Wire::Post { session, texts, .. }) if is_frame => {
                let text = texts.into_iter().next().unwrap_or_default();
                let name = self.names.get(&session).cloned();
                (Party::Session(session), name, text, reply.get(ANSWER..))
            }
            _ if is_frame => return Ok(()),
            _ => {
                let mut plains = self.plains.iter();
                let plain = plains.find(|plain| plain.address == source);
                let name = plain.and_then(|plain| plain.name().map(str::to_owned));
                (Party::Plain(source), name, payload.to_vec(), Some(reply))
            }
        };
        let answer = answer.and_then(|answer| core::str::from_utf8(answer).ok());
        let (Some(author), Some(answer)) = (author, answer) else {
            return Ok(());
        };
        let Some(Meaning::Msg(message)) = text_of(&text).ok().map(Meaning::of) else {
            return Ok(());
        };
        if !answer.starts_with("* to ") {
            return check(added <= 1, || {
                format!("{message:?} adds lines, and is answered by {answer:?}")
            });
        }
        let Some((party, name, text)) = self.meant(message) else {
            return check(false, || format!("{message:?} is for nobody: {answer:?}"));
        };
        let session = match party {
            Party::Session(session) => Some(session),
            Party::Plain(_) => None,
        };
        let author_of = |session| self.authors.get(&session).copied();
        let to = Addressee {
            session,
            author: session.and_then(author_of).unwrap_or_default(),
            name,
        };
        let expected = whisper_said(&to.name, text);
        check(expected.starts_with(answer), || {
            format!("{message:?} to {to:?} is answered by {answer:?}")
        })?;
        let lines = whispered(&author, text);
        let expected = lines.len() as u64;
        check(added == expected || added == expected + 1, || {
            format!("{message:?} adds {added} lines")
        })?;
        self.saw(Met::Whispered);
        self.room().tells(lines, &to);
        for number in secrets(text.as_bytes()) {
            self.secrets
                .entry(number)
                .or_default()
                .extend([from, party]);
        }
        Ok(())
    }

    /// Finds the peer that a message is for, and its text.
    fn meant<'a>(&self, message: &'a str) -> Option<(Party, String, &'a str)> {
        let holders = self.gate.holders().map(|holder| holder.session);
        let framed =
            holders.filter_map(|it| Some((Party::Session(it), self.names.get(&it)?.clone())));
        let plains = self.plains.iter().filter(|plain| plain.has_joined());
        let plain = plains.filter_map(|it| Some((Party::Plain(it.address), it.name()?.to_owned())));
        let everybody: Vec<(Party, String)> = framed.chain(plain).collect();
        let splits = whisper_splits(message).into_iter();
        let mut meant = splits.filter_map(|(name, text)| {
            let mut everybody = everybody.iter();
            let (party, name) = everybody.find(|it| folded(&it.1) == folded(name))?;
            Some((*party, name.clone(), text))
        });
        meant.next()
    }

    /// Returns a text to one peer that no other text contains.
    pub(crate) fn secret(&mut self, length: usize) -> String {
        self.whispers += 1;
        format!("{SECRET}{}|{}", self.whispers, "s".repeat(length))
    }

    /// Judges that no bytes of a message to one peer are sent to any but that peer and the author.
    pub(crate) fn judge_secrets(&self, address: SocketAddr, payload: &[u8]) -> Verdict {
        let mut holders = self.gate.holders();
        let holder = holders.find(|holder| holder.address == address);
        let party = holder.map_or(Party::Plain(address), |it| Party::Session(it.session));
        for number in secrets(payload) {
            let parties = self.secrets.get(&number);
            check(parties.is_some_and(|it| it.contains(&party)), || {
                format!("{party:?} at {address} is sent the secret {number} of {parties:?}")
            })?;
        }
        Ok(())
    }

    /// Judges that whoever reads the relay's lines, as what keeps them does, reads no such bytes.
    pub(crate) fn judge_kept(&mut self) -> Verdict {
        let mut line = [0; LINE_MAX];
        while let Some((sequence, entry)) = self.relay.read(&mut self.reader, &mut line) {
            check(secrets(entry.line.as_bytes()).is_empty(), || {
                format!("line {sequence} is kept: {entry:?}")
            })?;
        }
        Ok(())
    }
}
