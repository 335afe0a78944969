//! Writes to standard output and standard error that do not block when the program must end.

use std::io;

use crate::signals::Leaving;

/// Writes to standard output.
///
/// # Errors
///
/// If the write fails. `BrokenPipe` if the reader has gone, or does not read while the program must
/// end.
pub(crate) fn write_out(bytes: &[u8], leaving: &Leaving) -> io::Result<()> {
    write(io::stdout(), bytes, leaving)
}

/// Returns whether standard output takes bytes now, or reports that it never will.
#[cfg(unix)]
pub(crate) fn is_out_writable() -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    let out = io::stdout();
    let mut descriptors = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    poll(&mut descriptors, PollTimeout::ZERO) != Ok(0)
}

/// Writes to standard error.
///
/// # Errors
///
/// As [`write_out`].
pub(crate) fn write_error(bytes: &[u8], leaving: &Leaving) -> io::Result<()> {
    write(io::stderr(), bytes, leaving)
}

/// Writes in parts, each only when the descriptor is writable: a blocked write could not be
/// interrupted.
#[cfg(unix)]
fn write(to: impl std::os::fd::AsFd, mut bytes: &[u8], leaving: &Leaving) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// Size of a part in bytes: what a writable pipe accepts without blocking.
    const PIECE: usize = nix::libc::PIPE_BUF;

    /// Time between two checks whether the program must end, in milliseconds.
    const LOOK_MS: u16 = 100;

    while !bytes.is_empty() {
        let mut descriptors = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut descriptors, PollTimeout::from(LOOK_MS)) {
            Ok(0) if leaving.is_asked() => return Err(io::ErrorKind::BrokenPipe.into()),
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let piece = &bytes[..bytes.len().min(PIECE)];
        match nix::unistd::write(to.as_fd(), piece) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn write(mut to: impl io::Write, bytes: &[u8], _leaving: &Leaving) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}
