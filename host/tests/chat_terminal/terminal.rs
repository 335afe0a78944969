//! A terminal with a program, and its screen as a person sees it.

use core::num::NonZero;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use kilochat_tests::{PATIENCE, ScriptedRelay};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");
pub(crate) const ROWS: u16 = 16;

/// A program with a terminal of its own.
pub(crate) struct Terminal {
    pub(crate) child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    /// All bytes that the terminal received.
    output: Arc<Mutex<Vec<u8>>>,
    /// Number of times that the bell rang.
    bells: Arc<AtomicUsize>,
    /// Whether the terminal blocks, as after Ctrl-S.
    stopped: Arc<(Mutex<bool>, Condvar)>,
    master: Box<dyn MasterPty + Send>,
}

/// Number of rows that scrolled away and are kept.
const SCROLLBACK: usize = 10_000;

impl Terminal {
    pub(crate) fn start(columns: u16, command: &[&str]) -> Self {
        let size = PtySize {
            rows: ROWS,
            cols: columns,
            ..PtySize::default()
        };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut builder = CommandBuilder::new(command[0]);
        builder.args(&command[1..]);
        builder.env("TERM", "xterm-256color");
        builder.env("USER", "ming");
        builder.env("NO_COLOR", "1");
        let child = pair.slave.spawn_command(builder).expect("it starts");
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            NonZero::new(ROWS).expect("not zero"),
            NonZero::new(columns).expect("not zero"),
            SCROLLBACK,
        )));
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = stopped.clone();
        let mut output = pair.master.try_clone_reader().expect("a terminal");
        let shared = screen.clone();
        let bells = Arc::new(AtomicUsize::new(0));
        let rung = bells.clone();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeps = kept.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let rings = buffer[..length].iter().filter(|byte| **byte == 7);
                rung.fetch_add(rings.count(), Ordering::Relaxed);
                let taken = &buffer[..length];
                keeps.lock().expect("no panic").extend_from_slice(taken);
                shared.lock().expect("no panic").process(taken);
                let is_stopped = gate.0.lock().expect("no panic");
                let go_on = gate.1.wait_while(is_stopped, |is_stopped| *is_stopped);
                drop(go_on.expect("no panic"));
            }
        });
        Self {
            child,
            keys: pair.master.take_writer().expect("a terminal"),
            screen,
            output: kept,
            bells,
            stopped,
            master: pair.master,
        }
    }

    pub(crate) fn chat(columns: u16, relay: &ScriptedRelay) -> Self {
        let host = relay.address().to_string();
        Self::start(
            columns,
            &[PROGRAM, "chat", &host, "--name", "Ada", "--plain"],
        )
    }

    pub(crate) fn press(&mut self, keys: impl AsRef<[u8]>) {
        self.keys.write_all(keys.as_ref()).expect("it reads");
        self.keys.flush().expect("it reads");
    }

    /// Lets the terminal block, or accept output again.
    pub(crate) fn set_stopped(&self, is_stopped: bool) {
        *self.stopped.0.lock().expect("no panic") = is_stopped;
        self.stopped.1.notify_all();
    }

    /// Changes the size. The contents stay where they are.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        self.screen.lock().expect("no panic").screen_mut().set_size(
            NonZero::new(rows).expect("not zero"),
            NonZero::new(columns).expect("not zero"),
        );
        let size = PtySize {
            rows,
            cols: columns,
            ..PtySize::default()
        };
        self.master.resize(size).expect("a terminal");
    }

    /// Returns all rows that scrolled away, and those of the screen.
    pub(crate) fn history(&self) -> Vec<String> {
        let mut parser = self.screen.lock().expect("no panic");
        let screen = parser.screen_mut();
        let (_, columns) = screen.size();
        let mut rows = Vec::new();
        screen.set_scrollback(SCROLLBACK);
        let mut offset = screen.scrollback();
        while offset > 0 {
            screen.set_scrollback(offset);
            rows.extend(screen.rows(0, columns.get()).next());
            offset -= 1;
        }
        screen.set_scrollback(0);
        rows.extend(screen.rows(0, columns.get()));
        rows.iter().map(|row| row.trim_end().to_owned()).collect()
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.process_id().expect("it runs");
        let id = Pid::from_raw(id.try_into().expect("a small number"));
        kill(id, signal).expect("it runs");
    }

    /// Returns the rows of the screen down to the last one that is not empty.
    pub(crate) fn rows(&self) -> Vec<String> {
        let parser = self.screen.lock().expect("no panic");
        let (_, columns) = parser.screen().size();
        let mut rows: Vec<String> = parser
            .screen()
            .rows(0, columns.get())
            .map(|row| row.trim_end().to_owned())
            .collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    /// Waits until the whole screen has these rows.
    pub(crate) fn expect(&self, rows: &[&str]) {
        let deadline = Instant::now() + PATIENCE / 2;
        while self.rows() != rows {
            assert!(
                Instant::now() < deadline,
                "expected {rows:#?}, there is {:#?}",
                self.rows()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until this is the last row.
    pub(crate) fn expect_last(&self, row: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.rows().last().is_none_or(|last| last != row) {
            assert!(Instant::now() < deadline, "{:#?}", self.rows());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the text on the screen, joined over its rows, ends with this.
    pub(crate) fn expect_end(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.rows().concat().ends_with(text) {
            assert!(Instant::now() < deadline, "{:#?}", self.rows());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.rows().iter().any(|row| row.contains(text)) {
            assert!(
                Instant::now() < deadline,
                "no {text:?} in {:#?}",
                self.rows()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns all that the terminal received, with control sequences.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().expect("no panic")).into_owned()
    }

    /// Waits until the terminal has this title.
    pub(crate) fn expect_title(&self, title: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.output();
            let last = output.rsplit("\x1b]2;").next().expect("a part");
            if last.starts_with(&format!("{title}\x1b\\")) {
                return;
            }
            assert!(Instant::now() < deadline, "{last:?} is not {title:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the number of times that the bell rang.
    pub(crate) fn bells(&self) -> usize {
        self.bells.load(Ordering::Relaxed)
    }

    /// Returns the texts on the screen that are shown inverted.
    pub(crate) fn inverted(&self) -> Vec<String> {
        let parser = self.screen.lock().expect("no panic");
        let (rows, columns) = parser.screen().size();
        let mut texts = vec![String::new()];
        for place in 0..rows.get() * columns.get() {
            let (row, column) = (place / columns, place % columns);
            let Some(cell) = parser.screen().cell(row, column) else {
                continue;
            };
            if cell.is_wide_continuation() {
                continue;
            }
            let last = texts.len() - 1;
            if cell.inverse() {
                texts[last].push_str(cell.contents());
            } else if !texts[last].is_empty() {
                texts.push(String::new());
            }
        }
        texts.retain(|text| !text.is_empty());
        texts
    }

    pub(crate) fn cursor(&self) -> (u16, u16) {
        self.screen
            .lock()
            .expect("no panic")
            .screen()
            .cursor_position()
    }

    pub(crate) fn finish(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                return status.exit_code();
            }
            assert!(
                Instant::now() < deadline,
                "it does not end: {:#?}",
                self.rows()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // fails if it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
