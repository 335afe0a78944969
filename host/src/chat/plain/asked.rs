//! The `/nick` commands that are not answered yet.

use std::collections::VecDeque;

use super::wire;

/// Maximum number of different commands that are remembered.
const ASKED_MAX: usize = 64;

/// The sender of a `/nick`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// This client, to check whether the relay still knows it.
    Client,
    /// The person who typed it.
    Person,
}

/// The requested names, in the order in which the relay answers.
#[derive(Debug, Default)]
pub(super) struct Asked(VecDeque<Run>);

/// Equal commands in a row.
#[derive(Debug)]
struct Run {
    name: String,
    asker: Asker,
    times: usize,
}

impl Asked {
    /// Records that a `/nick` with this name was sent.
    pub(super) fn push(&mut self, name: &str, asker: Asker) {
        if let Some(last) = self.0.back_mut()
            && last.name == name
            && last.asker == asker
        {
            last.times += 1;
            return;
        }
        if self.0.len() == ASKED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Run {
            name: name.into(),
            asker,
            times: 1,
        });
    }

    /// Removes the first command that `name` can be the answer to, and returns its sender. Returns
    /// `None` if there is no such command.
    ///
    /// Earlier commands are removed too: the relay answers in order, so their answers are lost.
    pub(super) fn take(&mut self, name: &str) -> Option<Asker> {
        let index = self
            .0
            .iter()
            .position(|run| wire::is_made_of(name, &run.name))?;
        self.0.drain(..index);
        let run = self.0.front_mut()?;
        let asker = run.asker;
        run.times -= 1;
        if run.times == 0 {
            self.0.pop_front();
        }
        Some(asker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_has_one_answer() {
        let mut asked = Asked::default();
        assert_eq!(asked.take("Ada"), None);
        asked.push("Ada", Asker::Client);
        asked.push("Ada", Asker::Client);
        asked.push("Bea", Asker::Person);
        assert_eq!(asked.take("Eve"), None);
        assert_eq!(asked.take("Ada~2"), Some(Asker::Client));
        assert_eq!(asked.take("Bea"), Some(Asker::Person));
        assert_eq!(asked.take("Ada"), None, "its answer is lost");
        assert_eq!(asked.take("Bea"), None);
    }

    #[test]
    fn questions_that_are_never_answered_take_no_room() {
        let mut asked = Asked::default();
        for number in 0..10_000 {
            asked.push("Ada", Asker::Client);
            asked.push(&number.to_string(), Asker::Person);
        }
        assert_eq!(asked.0.len(), ASKED_MAX);
        assert_eq!(asked.take("9999"), Some(Asker::Person));
        assert!(asked.0.is_empty());
    }
}
