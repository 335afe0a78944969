//! The terminal's title, which shows the number of unread messages.

use core::mem::take;

use super::super::keys::Key;

/// Control sequences that save the terminal's title and let it report its focus (xterm: CSI 22 t and
/// DECSET 1004), and those that undo both. A terminal that cannot save its title gets an empty one.
const BEGIN: &str = "\x1b[22;2t\x1b[?1004h";
const END: &str = "\x1b[?1004l\x1b]2;\x1b\\\x1b[23;2t";

/// The title, and whether the terminal has the focus.
#[derive(Debug, Default)]
pub(super) struct Title {
    /// Whether the title belongs to this program now.
    is_on: bool,
    /// Whether to take over the title again after a suspension.
    is_lent: bool,
    /// Whether the terminal has the focus. `None` if it has never reported that: then a message is
    /// read when the next key is pressed.
    has_focus: Option<bool>,
    unread: usize,
    /// The number that the title shows.
    shown: Option<usize>,
}

impl Title {
    /// Takes over the title.
    pub(super) fn begin(&mut self, text: &mut String) {
        self.is_on = true;
        self.shown = None;
        text.push_str(BEGIN);
        self.write(text);
    }

    /// Restores the title from before.
    pub(super) fn end(&mut self, text: &mut String) {
        if take(&mut self.is_on) {
            text.push_str(END);
        }
    }

    /// Restores the title from before while the program is suspended.
    pub(super) fn suspend(&mut self, text: &mut String) {
        self.is_lent = self.is_on;
        self.end(text);
    }

    /// Takes over the title again, if it was this program's before the suspension.
    pub(super) fn go_on(&mut self, text: &mut String) {
        if take(&mut self.is_lent) {
            self.begin(text);
        }
    }

    /// Counts a message.
    pub(super) const fn count(&mut self) {
        if !matches!(self.has_focus, Some(true)) {
            self.unread += 1;
        }
    }

    /// Handles a key, or a change of the focus.
    pub(super) fn handle(&mut self, key: &Key) {
        if *key == Key::FocusOut {
            self.has_focus = Some(false);
            return;
        }
        if *key == Key::FocusIn {
            self.has_focus = Some(true);
        }
        self.unread = 0;
    }

    /// Writes the title if it has changed.
    pub(super) fn write(&mut self, text: &mut String) {
        if !self.is_on || self.shown == Some(self.unread) {
            return;
        }
        self.shown = Some(self.unread);
        let title = match self.unread {
            0 => "kilochat".to_owned(),
            unread => format!("({unread}) kilochat"),
        };
        text.push_str(&format!("\x1b]2;{title}\x1b\\"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(title: &mut Title) -> String {
        let mut text = String::new();
        title.write(&mut text);
        text.replace("\x1b]2;", "<").replace("\x1b\\", ">")
    }

    #[test]
    fn without_reports_of_the_focus_a_key_reads_all() {
        let mut title = Title::default();
        title.count();
        assert_eq!(written(&mut title), "", "it is not this program's");
        title.begin(&mut String::new());
        title.count();
        assert_eq!(written(&mut title), "<(2) kilochat>");
        assert_eq!(written(&mut title), "");
        title.handle(&Key::Left);
        assert_eq!(written(&mut title), "<kilochat>");
    }

    #[test]
    fn with_the_focus_nothing_is_unread() {
        let mut title = Title::default();
        title.begin(&mut String::new());
        title.handle(&Key::FocusIn);
        title.count();
        assert_eq!(written(&mut title), "");
        title.handle(&Key::FocusOut);
        title.count();
        assert_eq!(written(&mut title), "<(1) kilochat>");
        title.handle(&Key::FocusIn);
        assert_eq!(written(&mut title), "<kilochat>");
    }

    #[test]
    fn the_title_is_given_back_once() {
        let mut title = Title::default();
        let mut text = String::new();
        title.end(&mut text);
        title.suspend(&mut text);
        title.go_on(&mut text);
        assert_eq!(text, "");
        title.begin(&mut text);
        title.suspend(&mut text);
        assert!(text.ends_with(END));
        title.go_on(&mut text);
        assert!(text.ends_with("\x1b]2;kilochat\x1b\\"));
        title.end(&mut text);
        title.end(&mut text);
        assert_eq!(text.matches(END).count(), 2);
    }
}
