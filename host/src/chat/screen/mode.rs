//! The mode of the terminal, and the system's notifications about it.

#[cfg(unix)]
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::thread;

use super::inbox::Inbox;

#[cfg(unix)]
pub(super) use self::unix::Mode;
#[cfg(not(unix))]
pub(super) use self::windows::Mode;

#[cfg(unix)]
mod unix {
    use std::os::fd::AsFd;

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::termios::{
        ControlFlags, InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr,
        tcsetattr,
    };
    use nix::unistd::{Pid, getpgrp, getppid, getsid, read};
    use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};
    use signal_hook::iterator::Signals;

    use super::{Arc, Duration, Inbox, io, thread};

    /// Maximum time to wait for a signal that this program sent to itself.
    const STOP: Duration = Duration::from_millis(500);

    /// The mode of the terminal before the program changed it.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Mode {
        before: Termios,
    }

    impl Mode {
        /// Sets raw mode: keys are reported one by one, are not echoed, and do not end the program.
        ///
        /// # Errors
        ///
        /// If standard input is not a terminal.
        pub(in super::super) fn raw() -> io::Result<Self> {
            let before = tcgetattr(io::stdin())?;
            let mode = Self { before };
            mode.set_raw()?;
            Ok(mode)
        }

        /// Sets raw mode again.
        ///
        /// # Errors
        ///
        /// If the terminal has gone.
        pub(in super::super) fn set_raw(&self) -> io::Result<()> {
            let mut raw = self.before.clone();
            raw.input_flags.remove(
                InputFlags::BRKINT
                    | InputFlags::ICRNL
                    | InputFlags::INPCK
                    | InputFlags::ISTRIP
                    | InputFlags::IXON,
            );
            raw.control_flags.insert(ControlFlags::CS8);
            raw.local_flags.remove(
                LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN | LocalFlags::ISIG,
            );
            raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            Ok(tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?)
        }

        /// Restores the mode from before, even if the terminal accepts no output.
        pub(in super::super) fn restore(&self) {
            // fails if the terminal has gone
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
        }

        /// Suspends the program, in the mode from before, and the rest of its process group if a key
        /// says so, as the terminal driver does. Returns when the program is continued.
        pub(in super::super) fn stop(&self, inbox: &Inbox, is_by_key: bool) {
            inbox.forget_suspension();
            if !may_be_continued() {
                return;
            }
            self.restore();
            if is_by_key && kill(Pid::from_raw(0), Signal::SIGTSTP).is_ok() {
                // this program receives it, too
                inbox.wait_suspended(STOP);
            }
            inbox.forget_suspension();
            // another thread may receive the signal, so this one waits until the program is
            // continued
            if kill(Pid::this(), Signal::SIGSTOP).is_ok() {
                inbox.wait_continued(STOP);
            }
            inbox.forget_suspension();
        }

        /// Starts the threads that report keys, and signals about the terminal.
        ///
        /// # Errors
        ///
        /// If the system does not let signals be watched.
        pub(in super::super) fn watch(inbox: &Arc<Inbox>) -> io::Result<()> {
            let mut signals = Signals::new([SIGCONT, SIGTSTP, SIGWINCH])?;
            let signalled = inbox.clone();
            thread::spawn(move || {
                for signal in signals.forever() {
                    match signal {
                        SIGCONT => signalled.go_on(),
                        SIGTSTP => signalled.suspend(),
                        _ => signalled.resize(),
                    }
                }
            });
            let typed = inbox.clone();
            thread::spawn(move || typed.close(read_keys(&typed)));
            Ok(())
        }
    }

    /// Returns whether a shell can continue the program: its process group is not orphaned. The
    /// system itself ignores only signals that are not caught.
    fn may_be_continued() -> bool {
        let (group, session) = (getpgrp(), getsid(None));
        session.is_ok_and(|session| session != group) && getsid(Some(getppid())) == session
    }

    /// Reports typed bytes until the input ends. Returns the error, if there was one.
    fn read_keys(inbox: &Inbox) -> Option<String> {
        let terminal = io::stdin();
        let mut bytes = [0; 4096];
        loop {
            match read(terminal.as_fd(), &mut bytes) {
                Ok(0) | Err(Errno::EIO) => return None,
                Ok(length) => inbox.put_bytes(&bytes[..length]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let mut descriptors = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
                    // the next read returns the same error
                    let _ = poll(&mut descriptors, PollTimeout::NONE);
                }
                Err(error) => return Some(error.to_string()),
            }
        }
    }
}

#[cfg(not(unix))]
mod windows {
    use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read};
    use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

    use super::{Arc, Inbox, io, thread};

    /// Raw mode is set.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Mode;

    impl Mode {
        /// Sets raw mode: keys are reported one by one, are not echoed, and do not end the program.
        ///
        /// # Errors
        ///
        /// If standard input is not a terminal.
        pub(in super::super) fn raw() -> io::Result<Self> {
            // a console from before 2016 would show the control sequences as text
            if !crossterm::ansi_support::supports_ansi() {
                return Err(io::ErrorKind::Unsupported.into());
            }
            Self.set_raw()?;
            Ok(Self)
        }

        /// Sets raw mode again.
        ///
        /// # Errors
        ///
        /// If the terminal has gone.
        pub(in super::super) fn set_raw(&self) -> io::Result<()> {
            enable_raw_mode()
        }

        /// Restores the mode from before.
        pub(in super::super) fn restore(&self) {
            // fails if the terminal has gone
            let _ = disable_raw_mode();
        }

        /// Does nothing: this system has no suspension by key.
        pub(in super::super) fn stop(&self, _inbox: &Inbox, _is_by_key: bool) {}

        /// Starts the thread that reports keys and changes of the size.
        ///
        /// # Errors
        ///
        /// None on this system.
        pub(in super::super) fn watch(inbox: &Arc<Inbox>) -> io::Result<()> {
            let inbox = inbox.clone();
            thread::spawn(move || {
                loop {
                    match read() {
                        Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                            inbox.put_bytes(&bytes(key));
                        }
                        Ok(Event::Paste(text)) => {
                            inbox.put_bytes(format!("\x1b[200~{text}\x1b[201~").as_bytes());
                        }
                        Ok(Event::Resize(..)) => inbox.resize(),
                        Ok(_) => {}
                        Err(error) => return inbox.close(Some(error.to_string())),
                    }
                }
            });
            Ok(())
        }
    }

    /// Returns the bytes that a Unix terminal reports for a key.
    fn bytes(key: KeyEvent) -> Vec<u8> {
        let has = |modifier| key.modifiers.contains(modifier);
        let by_words = has(KeyModifiers::CONTROL) || has(KeyModifiers::ALT);
        let sequence = match key.code {
            // AltGr is reported as Ctrl and Alt
            KeyCode::Char(character) if has(KeyModifiers::CONTROL) && !has(KeyModifiers::ALT) => {
                let control = u8::try_from(character.to_ascii_lowercase()).unwrap_or(0) & 0x1f;
                return vec![control];
            }
            KeyCode::Char(character) if has(KeyModifiers::ALT) && !has(KeyModifiers::CONTROL) => {
                return format!("\x1b{character}").into_bytes();
            }
            KeyCode::Char(character) => return character.to_string().into_bytes(),
            KeyCode::Enter => "\r",
            KeyCode::Tab => "\t",
            KeyCode::Backspace => "\x7f",
            KeyCode::Esc => "\x1b",
            KeyCode::Delete => "\x1b[3~",
            KeyCode::Up => "\x1b[A",
            KeyCode::Down => "\x1b[B",
            KeyCode::Right if by_words => "\x1b[1;5C",
            KeyCode::Left if by_words => "\x1b[1;5D",
            KeyCode::Right => "\x1b[C",
            KeyCode::Left => "\x1b[D",
            KeyCode::Home => "\x1b[H",
            KeyCode::End => "\x1b[F",
            _ => "",
        };
        sequence.into()
    }
}
