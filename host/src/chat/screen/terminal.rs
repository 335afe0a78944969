//! The line editor: what arrives is printed above what is being typed.

use core::time::Duration;
use std::io::{self, Write};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use jiff::Zoned;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ConditionalEventHandler, Config, Context, Editor, EventContext, EventHandler,
    ExternalPrinter, Helper, KeyEvent, Movement, RepeatCount,
};

use super::output::{Format, Kind, Shown, columns};
use super::wrap::{AUTOWRAP, Autowrap, NO_AUTOWRAP};
use crate::Error;
use crate::chat::conversation::{Conversation, Output};
use crate::chat::event::Event;
use crate::signals::{self, Place};

/// What stands before the line that is typed.
const PROMPT: &str = "> ";

/// The lines that the arrow keys bring back.
const HISTORY: usize = 1000;

/// A print that has begun when a line is finished gets so long before the next prompt is drawn.
const PRINT_WAIT: Duration = Duration::from_millis(20);

/// When the program ends by itself, the editor gets so long to print the last lines.
const LAST_PRINT: Duration = Duration::from_millis(100);

/// The width of a terminal that does not tell.
const COLUMNS: usize = 80;

/// A line editor on the terminal.
pub(crate) struct Terminal {
    editor: Editor<Hooks, MemHistory>,
    gate: Arc<Gate>,
}

impl Terminal {
    /// Prepares the editor; draws nothing yet.
    ///
    /// # Errors
    ///
    /// When there is no terminal that can do it.
    pub(crate) fn new() -> Result<Self, Error> {
        let fail = |error: ReadlineError| Error::Failure(format!("the terminal: {error}"));
        let config = Config::builder()
            .max_history_size(HISTORY)
            .map_err(fail)?
            .build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history).map_err(fail)?;
        let gate = Arc::new(Gate::default());
        editor.set_helper(Some(Hooks(gate.clone())));
        let clear = EventHandler::Conditional(Box::new(ClearOrLeave));
        editor.bind_sequence(KeyEvent::ctrl('C'), clear);
        Ok(Self { editor, gate })
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
        loop {
            match self.editor.readline(&prompt) {
                Ok(line) if !line.trim().is_empty() => return Ok(Some(line.trim().into())),
                Ok(_) if default.is_empty() => {}
                Ok(_) => return Ok(Some(default.into())),
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(None),
                Err(error) => return Err(Error::Failure(format!("the terminal: {error}"))),
            }
        }
    }

    /// Chats until the person leaves.
    ///
    /// # Errors
    ///
    /// When the session fails, or the terminal cannot be used.
    pub(crate) fn run(
        mut self,
        conversation: &mut Conversation,
        format: Format,
    ) -> Result<(), Error> {
        let printer = self
            .editor
            .create_external_printer()
            .map_err(|error| Error::Failure(format!("the terminal: {error}")))?;
        let leave = conversation.sender();
        let leave = move || drop(leave.send(Event::Leave));
        let mode = Mode::quiet();
        let before = mode.clone();
        signals::watch(Place::Terminal, leave, move || before.restore())?;
        let gate = self.gate.clone();
        let sender = conversation.sender();
        thread::spawn(move || self.edit(&sender));
        let mut screen = Screen {
            printer,
            gate: gate.clone(),
            format,
        };
        let result = conversation.run(&mut screen);
        if !gate.is_over() {
            thread::sleep(LAST_PRINT);
            // no bracketed paste, and the shell's prompt on a line of its own
            let _ = io::stdout().write_all(b"\x1b[?2004l\r\n");
            let _ = io::stdout().flush();
        }
        mode.restore();
        result
    }

    /// Reads lines until the person leaves.
    fn edit(mut self, sender: &Sender<Event>) {
        loop {
            self.gate.begin_line();
            let line = self.editor.readline(PROMPT);
            self.gate.end_line();
            let Ok(line) = line else { break };
            // a line that cannot be kept is still said
            let _ = self.editor.add_history_entry(line.as_str());
            for part in line.lines() {
                if sender.send(Event::Line(part.into())).is_err() {
                    return;
                }
            }
            if line.trim() == "/quit" {
                break;
            }
        }
        let gate = self.gate.clone();
        // frees a print that waits for the editor
        drop(self);
        gate.end_editing();
        let _ = sender.send(Event::EndOfInput);
    }
}

/// Prints lines above the prompt.
struct Screen<P> {
    printer: P,
    gate: Arc<Gate>,
    format: Format,
}

impl<P: ExternalPrinter> Output for Screen<P> {
    fn show(&mut self, lines: &[Shown]) -> io::Result<()> {
        let now = Zoned::now();
        let format = Format {
            columns: Some(columns().unwrap_or(COLUMNS)),
            autowrap: Autowrap::Off,
            ..self.format
        };
        let mut text = NO_AUTOWRAP.to_owned();
        // what was typed here is on the screen already
        for line in lines.iter().filter(|line| line.kind != Kind::Own) {
            line.write_text(format, &now, &mut text);
        }
        if text == NO_AUTOWRAP {
            return Ok(());
        }
        // a line end must stay the last: the editor would add another
        text.insert_str(text.len() - 1, AUTOWRAP);
        let is_printed = self.gate.print(|| self.printer.print(text.clone()).is_ok());
        if is_printed {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// Whether the editor shows a prompt, so that a print goes above it.
///
/// The editor's printer writes straight to the terminal while no line is edited. Between two lines
/// that could hit the moment in which the next prompt is drawn, so a print waits for the prompt.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    is_printing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// No line is edited.
    #[default]
    Between,
    /// The prompt is about to be drawn.
    Starting,
    /// A line is edited.
    Editing,
    /// No line will be edited any more.
    Over,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, from: Stage, to: Stage) {
        let mut state = self.lock();
        if state.stage == from {
            state.stage = to;
            self.changed.notify_all();
        }
    }

    fn begin_line(&self) {
        self.enter(Stage::Between, Stage::Starting);
    }

    fn end_line(&self) {
        let mut state = self.lock();
        state.stage = Stage::Between;
        // one that is written straight to the terminal is over in no time; one that waits for the
        // editor goes on with the next line
        let (_state, _) = self
            .changed
            .wait_timeout_while(state, PRINT_WAIT, |state| state.is_printing)
            .unwrap_or_else(PoisonError::into_inner);
    }

    fn end_editing(&self) {
        self.lock().stage = Stage::Over;
        self.changed.notify_all();
    }

    fn is_over(&self) -> bool {
        self.lock().stage == Stage::Over
    }

    fn print(&self, print: impl FnOnce() -> bool) -> bool {
        let state = self.lock();
        let mut state = self
            .changed
            .wait_while(state, |state| {
                !matches!(state.stage, Stage::Editing | Stage::Over)
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.is_printing = true;
        drop(state);
        let is_printed = print();
        self.lock().is_printing = false;
        self.changed.notify_all();
        is_printed
    }
}

/// The points in the editor's work at which the gate opens and closes.
struct Hooks(Arc<Gate>);

impl Helper for Hooks {}

impl Completer for Hooks {
    type Candidate = String;
}

impl Highlighter for Hooks {}

impl Hinter for Hooks {
    type Hint = String;

    /// Called when the editor is about to draw.
    fn hint(&self, _line: &str, _position: usize, _context: &Context<'_>) -> Option<String> {
        self.0.enter(Stage::Starting, Stage::Editing);
        None
    }
}

impl Validator for Hooks {
    /// Called when a line is finished.
    fn validate(
        &self,
        _context: &mut ValidationContext<'_>,
    ) -> rustyline::Result<ValidationResult> {
        self.0.enter(Stage::Editing, Stage::Between);
        Ok(ValidationResult::Valid(None))
    }
}

/// Ctrl-C: clears the line, or leaves if there is none.
struct ClearOrLeave;

impl ConditionalEventHandler for ClearOrLeave {
    fn handle(
        &self,
        _event: &rustyline::Event,
        _repeat: RepeatCount,
        _is_positive: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        Some(if context.line().is_empty() {
            Cmd::EndOfFile
        } else {
            Cmd::Kill(Movement::WholeBuffer)
        })
    }
}

/// How the terminal was before this program changed it.
///
/// Between two lines the editor puts the terminal back to what it found. What is typed then must
/// neither be echoed nor end the program; the editor reads it with the next line.
#[derive(Clone)]
struct Mode {
    #[cfg(unix)]
    before: Option<nix::sys::termios::Termios>,
}

impl Mode {
    #[cfg(unix)]
    fn quiet() -> Self {
        use nix::sys::termios::{
            LocalFlags, SetArg, SpecialCharacterIndices, tcgetattr, tcsetattr,
        };

        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut quiet) = before.clone() {
            quiet
                .local_flags
                .remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
            quiet.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            quiet.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            // echo between two lines is ugly, and no more
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &quiet);
        }
        Self { before }
    }

    #[cfg(not(unix))]
    fn quiet() -> Self {
        Self {}
    }

    fn restore(&self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            use nix::sys::termios::{SetArg, tcsetattr};
            // there may be no terminal any more, or one that takes nothing now
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
