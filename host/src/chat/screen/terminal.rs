//! The terminal client's screen: what arrives is printed above what is being typed.
//!
//! One thread owns the terminal and draws; nobody waits for it. What was said scrolls away as the
//! output of any program does, the draft is drawn below it, and the last lines are kept, to be
//! drawn again when the terminal has another size.

mod drawing;

use core::mem::take;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

use jiff::Zoned;

use super::editor::{Action, Editor};
use super::inbox::{Inbox, News};
use super::keys::{Key, Parser, Waiting};
use super::mode::Mode;
use super::output::{Format, Kind, Shown};
use super::wrap::Autowrap;
use crate::Error;
use crate::chat::conversation::{Conversation, Output};
use crate::chat::dialect::is_quit;
use crate::chat::event::Event;
use crate::signals::{self, Leaving, Place};
use crate::stdio;

/// What stands before the line that is typed.
const PROMPT: &str = "> ";

/// The rest of a sequence comes within this time, or there is none: Esc alone is a key, too.
const SEQUENCE: Duration = Duration::from_millis(50);

/// The rest of a paste comes within this time.
const PASTE: Duration = Duration::from_secs(5);

/// While a window is pulled, the screen is drawn again at most this often.
const RESIZING: Duration = Duration::from_millis(60);

/// When the program ends, the last lines are printed within this time, or the terminal takes none.
const LAST_PRINT: Duration = Duration::from_millis(500);

/// The columns and rows of a terminal that does not tell.
const SIZE: (usize, usize) = (80, 24);

/// Asks the terminal to mark what is pasted, and no longer.
const MARK_PASTES: &str = "\x1b[?2004h";
const MARK_NO_PASTES: &str = "\x1b[?2004l";

/// A screen on the terminal, and the mode that it needs; both end when it is dropped.
pub(crate) struct Terminal {
    screen: Option<Screen>,
    inbox: Arc<Inbox>,
    mode: Mode,
}

impl Terminal {
    /// Takes the terminal; draws nothing yet.
    ///
    /// # Errors
    ///
    /// When there is no terminal that can do it.
    pub(crate) fn new(format: Format) -> Result<Self, Error> {
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
        let screen = Screen::new(terminal.inbox.clone(), mode, format, leaving);
        terminal.screen = Some(screen);
        Ok(terminal)
    }

    /// Asks for something, offering `default`; `None` if the person would rather leave.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be read.
    pub(crate) fn ask(&mut self, question: &str, default: &str) -> Result<Option<String>, Error> {
        let prompt = if default.is_empty() {
            format!("{question}: ")
        } else {
            format!("{question} [{default}]: ")
        };
        let Some(screen) = &mut self.screen else {
            return Ok(None);
        };
        loop {
            let Some(answer) = screen.ask(&prompt)? else {
                return Ok(None);
            };
            match answer.trim() {
                "" if default.is_empty() => {}
                "" => return Ok(Some(default.into())),
                answer => return Ok(Some(answer.into())),
            }
        }
    }

    /// Chats until the person leaves.
    ///
    /// # Errors
    ///
    /// When the session fails, or the terminal cannot be used.
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
            // nothing is left to tell
            let _ = screen.finish();
        }
        self.mode.restore();
    }
}

/// Hands lines to the thread that owns the terminal.
struct Printer(Arc<Inbox>);

impl Output for Printer {
    fn show(&mut self, lines: &[Shown]) -> io::Result<()> {
        // own lines were shown when they were typed
        let lines = lines.iter().filter(|line| line.kind != Kind::Own);
        self.0.put_lines(lines.cloned());
        Ok(())
    }
}

/// What is on the terminal.
struct Screen {
    inbox: Arc<Inbox>,
    mode: Mode,
    leaving: Leaving,
    format: Format,
    parser: Parser,
    /// When something was typed last.
    typed_at: Instant,
    /// What was typed and has to wait.
    keys: VecDeque<Key>,
    editor: Editor,
    prompt: String,
    /// The last lines that were printed, and when they came.
    shown: VecDeque<(Shown, Zoned)>,
    /// Columns and rows.
    size: (usize, usize),
    /// How many rows are drawn above that of the cursor.
    rows_above: usize,
    /// The size before it changed, if the screen is not drawn again yet.
    old_size: Option<(usize, usize)>,
    /// The rows of the screen when what others left on it was last scrolled away.
    rows_owned: usize,
    /// Whether the person has said everything.
    is_input_over: bool,
    /// Whether it was said that this line is not UTF-8.
    has_told_invalid: bool,
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
            prompt: String::new(),
            shown: VecDeque::new(),
            size: size(),
            rows_above: 0,
            old_size: None,
            rows_owned: 0,
            is_input_over: false,
            has_told_invalid: false,
            failure: None,
        }
    }

    /// Asks one question.
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
                        self.suspend().map_err(fail)?;
                        self.go_on(&mut draft);
                        continue;
                    }
                    Action::Edited | Action::Repaint | Action::Invalid | Action::Full(_) => {
                        continue;
                    }
                };
                // the answer stays, and none of it is a line to bring back
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
            let news = self.take_news();
            if news.is_leaving {
                return Ok(None);
            }
            if let Some(why) = news.closed {
                return why.map_or(Ok(None), |why| {
                    Err(Error::Failure(format!("the terminal: {why}")))
                });
            }
            if news.is_continued {
                self.go_on(&mut draft);
            }
        }
    }

    /// Prints lines and hands over what is typed until the conversation ends, and returns what
    /// failed.
    fn run(mut self, sender: &Sender<Event>) -> Option<String> {
        self.prompt = PROMPT.into();
        let mut text = MARK_PASTES.to_owned();
        self.draw(&mut text);
        let mut result = self.write(&text);
        while result.is_ok() {
            let news = self.take_news();
            let is_over = news.is_over;
            result = self.handle(news, sender);
            if is_over {
                break;
            }
        }
        let result = result.and_then(|()| self.finish());
        if let Err(error) = result {
            if !is_gone(&error) {
                self.failure.get_or_insert(error.to_string());
            }
            // the conversation may have ended
            let _ = sender.send(Event::Leave);
        }
        self.failure
    }

    /// Waits for news, and reads the keys in it.
    fn take_news(&mut self) -> News {
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
        let news = self.inbox.take(timeout, is_held);
        if !news.bytes.is_empty() {
            self.typed_at = Instant::now();
            self.keys.extend(self.parser.handle_bytes(&news.bytes));
        } else if limit.is_some_and(|limit| self.typed_at.elapsed() >= limit) {
            self.keys.extend(self.parser.handle_timeout());
        }
        news
    }

    fn handle(&mut self, news: News, sender: &Sender<Event>) -> io::Result<()> {
        if let Some(why) = news.closed {
            self.failure = why;
            // the conversation may have ended
            let _ = sender.send(Event::Leave);
        }
        let mut text = String::new();
        if news.is_continued {
            self.go_on(&mut text);
        }
        let size = size();
        let is_due = self.old_size.is_some();
        if size != self.size {
            self.old_size.get_or_insert(self.size);
            self.size = size;
        }
        let is_changed =
            is_due || news.is_continued || !news.lines.is_empty() || !self.keys.is_empty();
        if !is_changed {
            return Ok(());
        }
        self.erase(&mut text);
        self.print(news.lines, news.left_out, is_due, &mut text);
        if is_due {
            self.repaint(&mut text);
        }
        while let Some(key) = self.keys.pop_front() {
            self.handle_key(key, sender, &mut text)?;
        }
        self.draw(&mut text);
        self.write(&text)
    }

    fn handle_key(
        &mut self,
        key: Key,
        sender: &Sender<Event>,
        text: &mut String,
    ) -> io::Result<()> {
        // whoever talks may have left
        let send = |event| drop(sender.send(event));
        if self.is_input_over {
            if key == Key::Ctrl('c') {
                send(Event::Leave);
            }
            return Ok(());
        }
        match self.editor.handle(key) {
            Action::Edited => {}
            Action::Enter(line) => {
                self.has_told_invalid = false;
                let line = line.trim_end_matches('\n');
                self.is_input_over = is_quit(line);
                if line.contains('\n') {
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
                self.suspend()?;
                self.go_on(text);
            }
            Action::Repaint => self.clear_and_print(0, text),
            Action::Invalid if take(&mut self.has_told_invalid) => self.has_told_invalid = true,
            Action::Invalid => {
                self.has_told_invalid = true;
                self.tell("what was typed is not UTF-8; it is sent as U+FFFD", text);
            }
            Action::Full(bytes) => {
                let told = format!("the line is too long; {bytes} bytes of it are left out");
                self.tell(&told, text);
            }
        }
        Ok(())
    }

    /// Says something that only concerns this screen.
    fn tell(&mut self, told: &str, text: &mut String) {
        let line = (Shown::status(told), Zoned::now());
        self.print([line].into(), 0, false, text);
    }

    /// Stops the program until it is continued.
    fn suspend(&mut self) -> io::Result<()> {
        let mut text = String::new();
        self.erase(&mut text);
        text.push_str(MARK_NO_PASTES);
        self.write(&text)?;
        self.mode.stop(&self.inbox);
        Ok(())
    }

    /// Takes the terminal back; the cursor is where others left it.
    fn go_on(&mut self, text: &mut String) {
        // there may be no terminal any more, which its reader tells
        let _ = self.mode.set_raw();
        text.push_str(MARK_PASTES);
        self.rows_above = 0;
    }

    /// Leaves the terminal, with what was typed and not said.
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
        self.write(&text)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        stdio::write_out(text.as_bytes(), &self.leaving)
    }
}

/// Whether a terminal went away, or takes nothing when it is time to leave.
fn is_gone(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(nix::libc::EIO) {
        return true;
    }
    error.kind() == io::ErrorKind::BrokenPipe
}

/// The columns and rows of the terminal at this moment.
fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(io::stdout());
    let (columns, rows) = size.map_or((0, 0), |(width, height)| (width.0, height.0));
    match (usize::from(columns), usize::from(rows)) {
        (0, _) | (_, 0) => SIZE,
        size => size,
    }
}
