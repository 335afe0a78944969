//! The texts that clients were given to post, what each client was told about them, and which of
//! them became lines of the room.

use core::fmt;
use std::collections::BTreeMap;

use crate::dialect::rendered;
use crate::framed::room::Room;
use crate::{Verdict, check};

/// The tag of a text: its client and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) process: usize,
    pub(crate) number: u32,
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "c{}.{}|", self.process, self.number)
    }
}

impl Tag {
    /// Returns the tag at the start of a text.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let text = text.strip_prefix('/').unwrap_or(text).strip_prefix('c')?;
        let (process, number) = text.split_once('|')?.0.split_once('.')?;
        Some(Self {
            process: process.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// What a client was told about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing yet.
    Nothing,
    /// It became these lines.
    Said {
        run: usize,
        first: u64,
        lines: u8,
    },
    Answered,
    Refused,
    Doubtful,
    /// It was never sent to the relay.
    Unsaid,
}

#[derive(Clone, Debug)]
struct Post {
    text: String,
    told: Told,
}

/// All texts that clients were given to post.
#[derive(Debug, Default)]
pub(crate) struct Posts {
    posts: BTreeMap<Tag, Post>,
    /// For each client, the number of texts about which it was told nothing yet.
    open: BTreeMap<usize, usize>,
}

impl Posts {
    pub(crate) fn posted(&mut self, tag: Tag, text: String) {
        let told = Told::Nothing;
        self.posts.insert(tag, Post { text, told });
        *self.open.entry(tag.process).or_default() += 1;
    }

    pub(crate) fn told(&mut self, tag: Tag, told: Told) -> Verdict {
        let post = self.posts.get_mut(&tag);
        let is_news = post.as_ref().is_some_and(|post| post.told == Told::Nothing);
        check(is_news, || format!("{tag} {told:?} of {post:?}"))?;
        let Some(post) = post else { return Ok(()) };
        let is_command = post.text.starts_with('/') && !post.text.starts_with("//");
        let fits = match told {
            Told::Said { lines, .. } => !is_command && (1..=2).contains(&lines),
            Told::Answered => is_command,
            Told::Nothing | Told::Refused | Told::Doubtful | Told::Unsaid => true,
        };
        post.told = told;
        *self.open.entry(tag.process).or_default() -= 1;
        check(fits, || format!("{tag} {told:?} of {:?}", post.text))
    }

    /// Returns the number of texts about which a client was told nothing yet.
    pub(crate) fn open(&self, process: usize) -> usize {
        self.open.get(&process).copied().unwrap_or_default()
    }

    /// Compares what the clients were told about their texts with the lines of all runs of the relay.
    pub(crate) fn judge(&self, rooms: &[Room]) -> Verdict {
        let mut heard: BTreeMap<Tag, Vec<(usize, u64)>> = BTreeMap::new();
        let mut last: BTreeMap<usize, Tag> = BTreeMap::new();
        for (run, room) in rooms.iter().enumerate() {
            for (sequence, line) in room.lines() {
                let said = line.text.split_once(" : ").map(|(_, text)| text);
                if let Some(tag) = said.and_then(Tag::of) {
                    let before = last.insert(tag.process, tag);
                    check(before.is_none_or(|before| before <= tag), || {
                        format!("{tag} is line {sequence} of run {run}, after {before:?}")
                    })?;
                    heard.entry(tag).or_default().push((run, sequence));
                }
            }
        }
        for (tag, post) in &self.posts {
            let heard = heard.get(tag).map_or(&[][..], Vec::as_slice);
            judge_post(*tag, post, heard, rooms)?;
        }
        Ok(())
    }
}

fn judge_post(tag: Tag, post: &Post, heard: &[(usize, u64)], rooms: &[Room]) -> Verdict {
    let Post { text, told } = post;
    let is_right = match *told {
        Told::Said { run, first, lines } => {
            let known = rooms.get(run).and_then(|room| room.line(first));
            known.is_none() || (heard == [(run, first)] && is_said(&rooms[run], first, lines, text))
        }
        Told::Nothing | Told::Doubtful => heard.len() <= 1,
        Told::Answered | Told::Refused | Told::Unsaid => heard.is_empty(),
    };
    check(is_right, || {
        let shown: Vec<_> = heard
            .iter()
            .map(|(run, sequence)| (run, sequence, rooms[*run].line(*sequence)))
            .collect();
        let text: String = text.chars().take(60).collect();
        format!("{tag} {text:?} was reported as {told:?}, but shown as {shown:?}")
    })
}

/// Returns whether these lines of the room, as far as they are known, are exactly this text.
fn is_said(room: &Room, first: u64, lines: u8, text: &str) -> bool {
    let Some((name, _)) = room
        .line(first)
        .and_then(|line| line.text.split_once(" : "))
    else {
        return false;
    };
    let text = text.strip_prefix('/').unwrap_or(text);
    let expected = rendered(name, text);
    let pairs = (first..).zip(&expected);
    expected.len() == usize::from(lines)
        && pairs
            .filter_map(|(sequence, text)| Some((&room.line(sequence)?.text, text)))
            .all(|(line, text)| line == text)
}
