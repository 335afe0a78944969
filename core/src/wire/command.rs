//! Parsing of text that begins with `/`, for both relay and client.

/// The meaning of a text that begins with `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    Who(&'a str),
    Nick(&'a str),
    Quit,
    Help,
    Quiet(Option<bool>),
    /// `//TEXT`: a message that begins with one slash.
    Say(&'a str),
    Unknown(&'a str),
}

impl<'a> Command<'a> {
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        let command = text.strip_prefix('/')?;
        if command.starts_with('/') {
            return Some(Self::Say(command));
        }
        let (word, argument) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let argument = argument.trim();
        let known = match (word, argument) {
            ("who", prefix) => Self::Who(prefix),
            ("nick", name) => Self::Nick(name),
            ("quit", _) => Self::Quit,
            ("help", _) => Self::Help,
            ("quiet", "on") => Self::Quiet(Some(true)),
            ("quiet", "off") => Self::Quiet(Some(false)),
            ("quiet", _) => Self::Quiet(None),
            _ => Self::Unknown(word),
        };
        Some(known)
    }
}
