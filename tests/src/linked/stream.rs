//! The model of the engine: one stream of messages with numbers, which keeps them in order.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a place publishes: lines of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) place: usize,
    pub(super) run: u64,
    pub(super) first: u64,
    pub(super) lost: u64,
    /// Name and text of each line.
    pub(super) lines: Vec<(String, String)>,
}

impl Message {
    /// Returns what identifies it for the engine.
    fn id(&self) -> (usize, u64, u64) {
        (self.place, self.run, self.first)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            run,
            first,
            lost,
            lines,
        } = self;
        let lines = lines.len();
        write!(
            formatter,
            "{lines} lines from {first} on of p{place}, run {run}, {lost} lost before"
        )
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    /// Which stream it is: another one is made after it was deleted.
    created: u64,
    /// The number of the oldest message that is kept; the first one ever has 1.
    oldest: u64,
    messages: VecDeque<Message>,
    /// The messages that would not be stored again.
    ids: BTreeSet<(usize, u64, u64)>,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            created: 1,
            oldest: 1,
            messages: VecDeque::new(),
            ids: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn created(&self) -> u64 {
        self.created
    }

    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Returns the number of the last message.
    pub(super) fn head(&self) -> u64 {
        self.oldest + self.messages.len() as u64 - 1
    }

    /// Stores a message. Returns whether it was not there already.
    pub(super) fn store(&mut self, message: &Message) -> bool {
        let is_new = self.ids.insert(message.id());
        if is_new {
            self.messages.push_back(message.clone());
        }
        is_new
    }

    /// Forgets which messages are there, as after the time for which ids are kept.
    pub(super) fn forget_ids(&mut self) {
        self.ids.clear();
    }

    pub(super) fn message(&self, number: u64) -> Option<&Message> {
        let index = number.checked_sub(self.oldest)?;
        self.messages.get(usize::try_from(index).ok()?)
    }

    pub(super) fn roll_back(&mut self, last: usize) {
        for message in self.messages.drain(self.messages.len() - last..) {
            self.ids.remove(&message.id());
        }
    }

    pub(super) fn make_again(&mut self) {
        self.created += 1;
        self.oldest = 1;
        self.messages.clear();
        self.ids.clear();
    }

    pub(super) fn drop_oldest(&mut self, number: usize) {
        self.messages.drain(..number);
        self.oldest += number as u64;
    }

    /// Returns the number of the last line of each run that is stored, from the message with the number `from` on.
    pub(super) fn last_of_each_run(&self, from: u64) -> BTreeMap<(usize, u64), u64> {
        let mut last = BTreeMap::new();
        let before = usize::try_from(from.saturating_sub(self.oldest)).unwrap();
        for message in self.messages.iter().skip(before) {
            let end = message.first + message.lines.len() as u64 - 1;
            let known = last.entry((message.place, message.run)).or_insert(0);
            *known = end.max(*known);
        }
        last
    }
}
