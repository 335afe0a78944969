//! Messages to one peer: whom `/reply` answers, and that they are not secret.

use super::screen::output::{Kind, Shown, TO_YOU};

/// What is said once, before the first message to one peer.
const WARNING: &str = "/msg is sent to one peer alone, but not encrypted: anyone who can read the \
                       network can read it";

/// What is said in place of several pasted lines that begin with `/msg` or `/reply`.
pub(super) const SEVERAL: &str =
    "not sent: several lines are said to all, and /msg and /reply take one line";

/// The messages to and from single peers.
#[derive(Debug, Default)]
pub(super) struct Private {
    /// The author of the last private message to this client.
    last: Option<String>,
    has_warned: bool,
}

/// Splits a notice into author and text if it is a message to this client alone. No name contains a
/// colon, so nobody can forge it.
pub(super) fn read(notice: &str) -> Option<(&str, &str)> {
    let (name, text) = notice.split_once(TO_YOU)?;
    (!name.contains(':')).then_some((name, text))
}

/// Returns whether a line is a message to one peer.
pub(super) fn is_message(line: &str) -> bool {
    split(line).0.eq_ignore_ascii_case("/msg")
}

/// Returns whether a line is a message to one peer, or a reply to one.
pub(super) fn is_private(line: &str) -> bool {
    is_message(line) || split(line).0.eq_ignore_ascii_case("/reply")
}

impl Private {
    /// Returns the line to send in place of a typed one.
    ///
    /// # Errors
    ///
    /// What to tell the user if there is nothing to send.
    pub(super) fn expand(&self, line: &str) -> Result<String, String> {
        let (word, text) = split(line);
        if !word.eq_ignore_ascii_case("/reply") {
            return Ok(line.into());
        }
        match &self.last {
            None => Err("nobody has written to you alone; /msg NAME TEXT writes to NAME".into()),
            Some(_) if text.is_empty() => Err("/reply needs a text".into()),
            Some(name) => Ok(format!("/msg {name}: {text}")),
        }
    }

    /// Returns what to tell the user, once, about a line that is sent.
    pub(super) fn warn(&mut self, line: &str) -> Option<&'static str> {
        let is_first = is_message(line) && !self.has_warned;
        self.has_warned |= is_first;
        is_first.then_some(WARNING)
    }

    /// Notes who writes to this client alone, and what that peer is called now.
    pub(super) fn notice(&mut self, line: &Shown) {
        match (&line.name, line.kind) {
            (Some(name), Kind::Private) => self.last = Some(name.clone()),
            (None, Kind::Notice) => {
                if let Some((old, new)) = line.text.split_once(" is now ")
                    && self.last.as_deref() == Some(old)
                {
                    self.last = Some(new.into());
                }
            }
            _ => {}
        }
    }
}

/// Returns the first word of a line, and what follows it.
fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word, rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_goes_to_the_last_author_under_its_present_name() {
        let mut private = Private::default();
        assert!(private.expand("/reply hi").is_err());
        let mut said = Shown::new(Kind::Private, Some("小明"), "在吗");
        private.notice(&said);
        assert_eq!(
            private.expand(" /Reply  hi you").unwrap(),
            "/msg 小明: hi you"
        );
        assert!(private.expand("/reply ").is_err());
        assert_eq!(private.expand("hello").unwrap(), "hello");
        private.notice(&Shown::new(Kind::Notice, None, "小明 is now 小红"));
        said.kind = Kind::Message;
        said.name = Some("Bob".into());
        private.notice(&said);
        assert_eq!(private.expand("/reply hi").unwrap(), "/msg 小红: hi");
        assert_eq!(private.warn("hello"), None);
        assert_eq!(private.warn("/MSG Bob x"), Some(WARNING));
        assert_eq!(private.warn("/msg Bob x"), None);
    }

    #[test]
    fn a_line_is_private_by_its_first_word() {
        for line in ["/msg", " /MSG Bob x", "/reply x", "/msg\tBob\nx"] {
            assert!(is_private(line), "{line}");
        }
        for line in ["//msg Bob x", "/msgs Bob", "msg Bob x", "x /reply"] {
            assert!(!is_private(line), "{line}");
        }
    }

    #[test]
    fn a_notice_is_private_if_its_author_is_a_name() {
        assert_eq!(read("Bob to you: hi: there"), Some(("Bob", "hi: there")));
        assert_eq!(read("a to you to you: hi"), Some(("a to you", "hi")));
        for notice in ["to Bob: hi to you: no", "3 here: A to you: B", "Bob joined"] {
            assert_eq!(read(notice), None, "{notice}");
        }
    }
}
