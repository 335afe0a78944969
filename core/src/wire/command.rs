//! Parsing of text that begins with `/`, for both relay and client.

/// The meaning of a text that begins with `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    Who(&'a str),
    Nick(&'a str),
    Quit,
    Help,
    Quiet(Option<bool>),
    #[cfg(feature = "private")]
    Msg(&'a str),
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
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        #[cfg(feature = "private")]
        if is("msg") {
            return Some(Self::Msg(argument));
        }
        let known = if is("who") || is("names") {
            Self::Who(argument)
        } else if is("nick") {
            Self::Nick(argument)
        } else if is("quit") || is("exit") {
            Self::Quit
        } else if is("help") {
            Self::Help
        } else if is("quiet") {
            Self::Quiet(match argument {
                _ if argument.eq_ignore_ascii_case("on") => Some(true),
                _ if argument.eq_ignore_ascii_case("off") => Some(false),
                _ => None,
            })
        } else {
            Self::Unknown(word)
        };
        Some(known)
    }
}
