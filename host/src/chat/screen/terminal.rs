//! The terminal client's screen: received lines are printed above the draft.
//!
//! One thread owns the terminal and draws, so that a terminal that accepts no output blocks no
//! other thread. Printed lines scroll away as with any program, and the draft is drawn below them.
//! The most recent lines are kept, to be drawn again when the size of the terminal changes.

mod drawing;
mod title;

use core::mem::take;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

use jiff::Zoned;

use self::title::Title;
use super::editor::{Action, Editor};
use super::inbox::{Inbox, Updates};
use super::keys::{Key, Parser, Waiting};
use super::mode::Mode;
use super::names::Names;
use super::output::{Days, Format, Shown};
use super::wrap::{Autowrap, wrap};
use crate::Error;
use crate::chat::conversation::{Answers, Conversation, Output, Standing};
use crate::chat::dialect::is_quit;
use crate::chat::event::Event;
use crate::chat::private;
use crate::signals::{self, Leaving, Place};
use crate::stdio;

/// Returns the prompt before the draft.
const fn prompt(answers: Answers) -> &'static str {
    match answers {
        Answers::Yes => "> ",
        Answers::NotYet => "(no answer yet) > ",
        Answers::NoLonger => "(no answer) > ",
    }
}

/// Maximum time to wait for the rest of a control sequence. If nothing arrives, the key was Esc
/// alone.
const SEQUENCE: Duration = Duration::from_millis(50);

/// Maximum time to wait for the rest of a paste.
const PASTE: Duration = Duration::from_secs(5);

/// Minimum time between two drawings while the window is being resized.
const RESIZING: Duration = Duration::from_millis(60);

/// Maximum time to print the last lines when the program ends.
const LAST_PRINT: Duration = Duration::from_millis(500);

/// The columns and rows of a terminal that does not report its size.
const SIZE: (usize, usize) = (80, 24);

/// Control sequences that turn bracketed paste mode on and off.
const MARK_PASTES: &str = "\x1b[?2004h";
const MARK_NO_PASTES: &str = "\x1b[?2004l";

/// The screen of a terminal, with raw mode. Dropping it restores the terminal.
pub(crate) struct Terminal {
    screen: Option<Screen>,
    inbox: Arc<Inbox>,
    mode: Mode,
}

impl Terminal {
    /// Sets raw mode. Nothing is drawn yet. With `has_bell`, a message with the own name rings.
    ///
    /// # Errors
    ///
    /// If there is no terminal, or it lacks a required function.
    pub(crate) fn new(format: Format, has_bell: bool) -> Result<Self, Error> {
        let fail = |error: io::Error| Error::Failure(format!("the terminal: {error}"));
        let mode = Mode::raw().map_err(fail)?;
        let mut terminal = Self {
            screen: None,
            inbox: Arc::new(Inbox::default()),
            mode: mode.clone(),
        };
        let (inbox, before) = (terminal.inbox.clone(), mode.clone());
        let leave = move || inbox.leave();
        let leaving = signals::watch(Place::Terminal, leave, move || before.restore())?;
        Mode::watch(&terminal.inbox).map_err(fail)?;
        let mut screen = Screen::new(terminal.inbox.clone(), mode, format, leaving);
        screen.has_bell = has_bell;
        terminal.screen = Some(screen);
        Ok(terminal)
    }

    /// Asks a question with a `default` answer. Returns `None` if the user wants to leave.
    ///
    /// # Errors
    ///
    /// If the terminal cannot be read.
    pub(crate) fn ask(&mut self, question: &str, default: &str) -> Result<Option<String>, Error> {
        let question = if default.is_empty() {
            question.into()
        } else {
            format!("{question} [{default}]")
        };
        loop {
            let Some(answer) = self.ask_once(&question)? else {
                return Ok(None);
            };
            match answer.as_str() {
                "" if default.is_empty() => {}
                "" => return Ok(Some(default.into())),
                _ => return Ok(Some(answer)),
            }
        }
    }

    /// Asks a question whose answer may be empty. Returns `None` if the user wants to leave.
    ///
    /// # Errors
    ///
    /// If the terminal cannot be read.
    pub(crate) fn ask_once(&mut self, question: &str) -> Result<Option<String>, Error> {
        let Some(screen) = &mut self.screen else {
            return Ok(None);
        };
        let answer = screen.ask(&format!("{question}: "))?;
        Ok(answer.map(|answer| answer.trim().into()))
    }

    /// Tells the user something before the chat.
    ///
    /// # Errors
    ///
    /// If the terminal cannot be written.
    pub(crate) fn tell(&mut self, text: &str) -> Result<(), Error> {
        let fail = |error: io::Error| Error::Failure(format!("the terminal: {error}"));
        let screen = self.screen.as_ref();
        screen.map_or(Ok(()), |screen| {
            let rows = wrap(text, 0, screen.size.0, Autowrap::On);
            let rows = rows.replace('\n', "\r\n");
            screen.write(&format!("{rows}\r\n")).map_err(fail)
        })
    }

    /// Chats until the user leaves.
    ///
    /// # Errors
    ///
    /// If the session fails, or the terminal cannot be used.
    pub(crate) fn run(mut self, conversation: &mut Conversation) -> Result<(), Error> {
        let sender = conversation.sender();
        self.inbox.set_leave(sender.clone());
        let failure = self.screen.take().map(|screen| {
            let inbox = self.inbox.clone();
            thread::spawn(move || {
                let failure = screen.run(&sender);
                inbox.finish();
                failure
            })
        });
        let result = conversation.run(&mut Printer(self.inbox.clone()));
        self.inbox.end();
        if self.inbox.wait_finished(LAST_PRINT)
            && let Some(thread) = failure
            && let Ok(Some(failure)) = thread.join()
        {
            return result.and(Err(Error::Failure(format!("the terminal: {failure}"))));
        }
        result
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(screen) = &mut self.screen {
            // an error cannot be reported any more
            let _ = screen.finish();
        }
        self.mode.restore();
    }
}

/// Passes lines to the thread that owns the terminal.
struct Printer(Arc<Inbox>);

impl Output for Printer {
    fn show(&mut self, lines: &[Shown]) -> io::Result<()> {
        self.0.put_lines(lines.iter().cloned());
        Ok(())
    }

    fn set_standing(&mut self, standing: &Standing) {
        self.0.set_standing(standing.clone());
    }
}

/// The state of the screen.
struct Screen {
    inbox: Arc<Inbox>,
    mode: Mode,
    leaving: Leaving,
    format: Format,
    parser: Parser,
    /// When the last input arrived.
    typed_at: Instant,
    /// Keys that are not handled yet.
    keys: VecDeque<Key>,
    editor: Editor,
    names: Names,
    /// Whether a message with the own name rings the bell.
    has_bell: bool,
    title: Title,
    /// The day of the last line, if lines have a time.
    days: Option<Days>,
    prompt: String,
    /// The most recent printed lines, and when they arrived.
    shown: VecDeque<(Shown, Zoned)>,
    /// Columns and rows.
    size: (usize, usize),
    /// Number of rows of the draft above the cursor.
    rows_above: usize,
    /// The size before a change, if the screen is not drawn again yet.
    old_size: Option<(usize, usize)>,
    /// Number of the most recent lines that are printed when it is drawn again.
    unprinted: usize,
    /// Height of the screen when earlier output of other programs was last scrolled into the
    /// terminal's history.
    rows_owned: usize,
    /// Whether the user has ended the input.
    is_input_over: bool,
    /// Whether the user was told that the current line is not UTF-8.
    has_reported_invalid: bool,
    failure: Option<String>,
}

impl Screen {
    fn new(inbox: Arc<Inbox>, mode: Mode, format: Format, leaving: Leaving) -> Self {
        let format = Format {
            autowrap: Autowrap::Off,
            ..format
        };
        Self {
            inbox,
            mode,
            leaving,
            format,
            parser: Parser::default(),
            typed_at: Instant::now(),
            keys: VecDeque::new(),
            editor: Editor::default(),
            names: Names::default(),
            has_bell: false,
            title: Title::default(),
            days: format.time.then(Days::new),
            prompt: String::new(),
            shown: VecDeque::new(),
            size: size(),
            rows_above: 0,
            old_size: None,
            unprinted: 0,
            rows_owned: 0,
            is_input_over: false,
            has_reported_invalid: false,
            failure: None,
        }
    }

    /// Asks one question. Returns `None` if the user wants to leave.
    fn ask(&mut self, prompt: &str) -> Result<Option<String>, Error> {
        let fail = |error: io::Error| Error::Failure(format!("the terminal: {error}"));
        self.prompt = prompt.into();
        let mut draft = MARK_PASTES.to_owned();
        loop {
            while let Some(key) = self.keys.pop_front() {
                let answer = match self.editor.handle(key) {
                    Action::Enter(line) => Some(line),
                    Action::Leave => None,
                    Action::Suspend => {
                        self.suspend(true).map_err(fail)?;
                        self.go_on(&mut draft);
                        continue;
                    }
                    Action::Edited
                    | Action::Complete
                    | Action::Repaint
                    | Action::Invalid
                    | Action::Full(_) => continue,
                };
                // the answer stays on the screen, and does not enter the history
                self.write(&format!(
                    "{}{}",
                    answer.as_deref().unwrap_or_default(),
                    "\r\n"
                ))
                .map_err(fail)?;
                self.rows_above = 0;
                self.editor = Editor::default();
                return Ok(answer);
            }
            self.erase(&mut draft);
            self.draw(&mut draft);
            self.write(&take(&mut draft)).map_err(fail)?;
            let updates = self.take_updates();
            if updates.is_leaving {
                return Ok(None);
            }
            if let Some(why) = updates.closed {
                return why.map_or(Ok(None), |why| {
                    Err(Error::Failure(format!("the terminal: {why}")))
                });
            }
            if updates.is_suspended {
                self.suspend(false).map_err(fail)?;
            }
            if updates.is_suspended || updates.is_continued {
                self.go_on(&mut draft);
            }
        }
    }

    /// Prints lines and passes on the input until the conversation ends. Returns the error, if
    /// there was one.
    fn run(mut self, sender: &Sender<Event>) -> Option<String> {
        self.prompt = prompt(Answers::Yes).into();
        let mut text = MARK_PASTES.to_owned();
        self.title.begin(&mut text);
        self.draw(&mut text);
        let mut result = self.write(&text);
        while result.is_ok() {
            let updates = self.take_updates();
            let is_over = updates.is_over;
            result = self.handle(updates, sender);
            if is_over {
                break;
            }
        }
        let result = result.and_then(|()| self.finish());
        if let Err(error) = result {
            if !is_gone(&error) {
                self.failure.get_or_insert(error.to_string());
            }
            // fails if the conversation has ended
            let _ = sender.send(Event::Leave);
        }
        self.failure
    }

    /// Waits for updates, and parses the keys in them.
    fn take_updates(&mut self) -> Updates {
        let is_held = self.old_size.is_some();
        let limit = self.parser.waiting().map(|waiting| match waiting {
            Waiting::Sequence => SEQUENCE,
            Waiting::Paste => PASTE,
        });
        let timeout = match limit {
            _ if !self.keys.is_empty() => Some(Duration::ZERO),
            _ if is_held => Some(RESIZING),
            limit => limit.map(|limit| limit.saturating_sub(self.typed_at.elapsed())),
        };
        let updates = self.inbox.take(timeout, is_held);
        if !updates.bytes.is_empty() {
            self.typed_at = Instant::now();
            self.keys.extend(self.parser.handle_bytes(&updates.bytes));
        } else if limit.is_some_and(|limit| self.typed_at.elapsed() >= limit) {
            self.keys.extend(self.parser.handle_timeout());
        }
        updates
    }

    fn handle(&mut self, updates: Updates, sender: &Sender<Event>) -> io::Result<()> {
        if let Some(why) = updates.closed {
            self.failure = why;
            // fails if the conversation has ended
            let _ = sender.send(Event::Leave);
        }
        let mut text = String::new();
        if updates.is_suspended {
            self.suspend(false)?;
        }
        let is_continued = updates.is_continued || updates.is_suspended;
        if is_continued {
            self.go_on(&mut text);
        }
        let size = size();
        let is_due = self.old_size.is_some();
        if size != self.size {
            self.old_size.get_or_insert(self.size);
            self.size = size;
        }
        let is_changed = is_due
            || is_continued
            || updates.standing.is_some()
            || !updates.lines.is_empty()
            || !self.keys.is_empty();
        if !is_changed {
            return Ok(());
        }
        if let Some(standing) = updates.standing {
            self.prompt = prompt(standing.answers).into();
            self.names.own = standing.name;
        }
        if self.old_size.is_some() && !is_due {
            // nothing is drawn for a size that may change again at once
            self.print(updates.lines, updates.left_out, true, &mut text);
            return self.write(&text);
        }
        self.erase(&mut text);
        self.print(updates.lines, updates.left_out, is_due, &mut text);
        if is_due {
            self.repaint(&mut text);
        }
        while let Some(key) = self.keys.pop_front() {
            self.title.handle(&key);
            self.handle_key(key, sender, &mut text)?;
        }
        self.title.write(&mut text);
        self.draw(&mut text);
        self.write(&text)
    }

    fn handle_key(
        &mut self,
        key: Key,
        sender: &Sender<Event>,
        text: &mut String,
    ) -> io::Result<()> {
        // fails if the conversation has ended
        let send = |event| drop(sender.send(event));
        if self.is_input_over {
            if key == Key::Ctrl('c') {
                send(Event::Leave);
            }
            return Ok(());
        }
        match self.editor.handle(key) {
            Action::Edited => {}
            Action::Complete => self.editor.complete(|text| self.names.complete(text)),
            Action::Enter(line) => {
                self.has_reported_invalid = false;
                let line = line.trim_end_matches('\n');
                self.is_input_over = is_quit(line);
                if line.contains('\n') && private::is_private(line) {
                    self.report(private::SEVERAL, text);
                } else if line.contains('\n') {
                    let lines = line.lines().map(str::to_owned);
                    lines.map(Event::Text).for_each(send);
                } else {
                    send(Event::Line(line.into()));
                }
                if self.is_input_over {
                    send(Event::EndOfInput);
                }
            }
            Action::Leave => {
                self.is_input_over = true;
                send(Event::EndOfInput);
            }
            Action::Suspend => {
                self.write(&take(text))?;
                self.suspend(true)?;
                self.go_on(text);
            }
            Action::Repaint => self.clear_and_print(0, text),
            Action::Invalid if take(&mut self.has_reported_invalid) => {
                self.has_reported_invalid = true
            }
            Action::Invalid => {
                self.has_reported_invalid = true;
                self.report("what was typed is not UTF-8; it is sent as U+FFFD", text);
            }
            Action::Full(bytes) => {
                let told = format!("the line is too long; {bytes} bytes of it are left out");
                self.report(&told, text);
            }
        }
        Ok(())
    }

    /// Shows a message about this screen.
    fn report(&mut self, told: &str, text: &mut String) {
        let line = (Shown::status(told), Zoned::now());
        self.print([line].into(), 0, false, text);
    }

    /// Suspends the program until it is continued.
    fn suspend(&mut self, is_by_key: bool) -> io::Result<()> {
        let mut text = String::new();
        self.erase(&mut text);
        text.push_str(MARK_NO_PASTES);
        self.title.suspend(&mut text);
        self.write(&text)?;
        self.mode.stop(&self.inbox, is_by_key);
        Ok(())
    }

    /// Sets raw mode again. The cursor is where other programs left it.
    fn go_on(&mut self, text: &mut String) {
        // fails if the terminal has gone, which its reader reports
        let _ = self.mode.set_raw();
        text.push_str(MARK_PASTES);
        self.title.go_on(text);
        self.rows_above = 0;
    }

    /// Ends the drawing. An unsent draft stays visible.
    fn finish(&mut self) -> io::Result<()> {
        let mut text = String::new();
        if self.is_input_over || self.editor.text().is_empty() {
            self.erase(&mut text);
        } else {
            self.erase(&mut text);
            self.draw(&mut text);
            text.push_str("\r\n");
        }
        text.push_str(MARK_NO_PASTES);
        self.title.end(&mut text);
        self.write(&text)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        stdio::write_out(text.as_bytes(), &self.leaving)
    }
}

/// Returns whether the error means that the terminal has gone, or accepts no output while the
/// program must end.
fn is_gone(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(nix::libc::EIO) {
        return true;
    }
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Returns the current columns and rows of the terminal.
fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(io::stdout());
    let (columns, rows) = size.map_or((0, 0), |(width, height)| (width.0, height.0));
    match (usize::from(columns), usize::from(rows)) {
        (0, _) | (_, 0) => SIZE,
        size => size,
    }
}
