//! The commands of the client itself, and the peers whose messages it does not show.

use super::screen::output::{Kind, Shown};

/// Line about the client's own commands, shown after the relay's answer to `/help`.
const HELP: &str =
    "here also: /me TEXT, /ignore NAME, /reply TEXT, Tab completes names and commands";

/// The end of the relay's answer to `/help`.
const HELP_END: &str = "anything else is said to all";

/// The names of the peers whose messages are not shown.
#[derive(Debug, Default)]
pub(super) struct Ignored(Vec<String>);

impl Ignored {
    /// Obeys a line if it is a command of the client, and returns the answer. Returns `None` if the
    /// line is for the relay.
    pub(super) fn obey(&mut self, line: &str) -> Option<String> {
        let command = line.trim();
        let (word, argument) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        if word.eq_ignore_ascii_case("/me") && argument.trim().is_empty() {
            return Some("/me needs a text, as in /me waves".into());
        }
        word.eq_ignore_ascii_case("/ignore")
            .then(|| self.toggle(argument.trim()))
    }

    /// Returns what to show after a line, if that is the last one of the relay's answer to `/help`.
    pub(super) fn help_after(line: &Shown) -> Option<Shown> {
        let ends = line.kind == Kind::Notice && line.text.ends_with(HELP_END);
        ends.then(|| Shown::new(Kind::Status, None, HELP))
    }

    fn toggle(&mut self, name: &str) -> String {
        if name.is_empty() {
            return match self.0.join(", ") {
                names if names.is_empty() => {
                    "nobody is ignored; /ignore NAME hides what NAME says".into()
                }
                names => format!("ignored: {names}"),
            };
        }
        match self.place(name) {
            Some(place) => format!("{} is shown again", self.0.remove(place)),
            None => {
                self.0.push(name.into());
                format!("{name} is ignored; /ignore {name} once more ends it")
            }
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        self.0.iter().position(|known| known.to_lowercase() == name)
    }

    /// Returns whether a line is not shown. A peer that is renamed stays ignored.
    pub(super) fn hides(&mut self, line: &Shown) -> bool {
        match (&line.name, line.kind) {
            (Some(name), Kind::Message | Kind::History | Kind::Private) => {
                self.place(name).is_some()
            }
            (None, Kind::Notice) => {
                if let Some((old, new)) = line.text.split_once(" is now ")
                    && let Some(place) = self.place(old)
                {
                    self.0[place] = new.into();
                }
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str) -> Shown {
        Shown::new(Kind::Message, Some(name), "text")
    }

    #[test]
    fn who_is_ignored_is_hidden_under_each_name_until_the_second_command() {
        let mut ignored = Ignored::default();
        assert_eq!(ignored.obey("/who"), None);
        assert_eq!(ignored.obey("/ignored"), None);
        assert!(!ignored.hides(&said("Bob")));
        let told = ignored.obey(" /Ignore  bob ");
        assert_eq!(
            told.as_deref(),
            Some("bob is ignored; /ignore bob once more ends it")
        );
        assert!(ignored.hides(&said("Bob")));
        assert!(!ignored.hides(&said("Bo")));
        assert!(!ignored.hides(&Shown::new(Kind::Own, Some("Bob"), "mine")));
        let renamed = Shown::new(Kind::Notice, None, "Bob is now 小明");
        assert!(!ignored.hides(&renamed));
        assert!(ignored.hides(&said("小明")) && !ignored.hides(&said("Bob")));
        assert_eq!(ignored.obey("/ignore").as_deref(), Some("ignored: 小明"));
        let told = ignored.obey("/ignore 小明");
        assert_eq!(told.as_deref(), Some("小明 is shown again"));
        assert!(!ignored.hides(&said("小明")));
    }
}
