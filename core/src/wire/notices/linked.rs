//! The notices about the link with other places.

use core::fmt::{self, Display};

/// What has happened to the link, for all peers: see
/// [`Relay::handle_notice_elsewhere`](crate::Relay::handle_notice_elsewhere). [`Display`] writes the notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkNotice<'a> {
    /// All other places are out of reach.
    Down,
    /// They are within reach again.
    Up {
        /// Number of lines said here that they will never get, because they were overwritten meanwhile.
        lines: u64,
    },
    /// Lines of a place were lost.
    Lost {
        /// The place.
        place: &'a str,
        /// Number of lines.
        lines: u64,
    },
    /// A place is out of reach. It is an announcement, which `/quiet` hides.
    Gone {
        /// The place.
        place: &'a str,
    },
    /// A place is within reach again. It is an announcement, too.
    Back {
        /// The place.
        place: &'a str,
    },
    /// Lines of a place were left out because they came too fast.
    LeftOut {
        /// The place.
        place: &'a str,
        /// Number of lines.
        lines: u64,
    },
    /// Older lines were not fetched, because they would take too much of the ring.
    InHistory {
        /// Number of lines.
        lines: u64,
    },
    /// Another relay has the name of this place.
    Twin {
        /// The place.
        place: &'a str,
    },
}

impl<'a> LinkNotice<'a> {
    /// Returns the place that it is about, if it is about one.
    pub const fn place(&self) -> Option<&'a str> {
        match *self {
            Self::Lost { place, .. }
            | Self::Gone { place }
            | Self::Back { place }
            | Self::LeftOut { place, .. }
            | Self::Twin { place } => Some(place),
            Self::Down | Self::Up { .. } | Self::InHistory { .. } => None,
        }
    }
}

impl Display for LinkNotice<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Down => to.write_str("* linked places are out of reach; here it goes on"),
            Self::Up { lines: 0 } => to.write_str("* linked places are within reach again"),
            Self::Up { lines } => write!(
                to,
                "* linked places are within reach again; {} of here did not get there",
                Lines(lines)
            ),
            Self::Lost { place, lines } => write!(to, "* {} from {place} lost", Lines(lines)),
            Self::Gone { place } => write!(to, "* place {place} is out of reach"),
            Self::Back { place } => write!(to, "* place {place} is within reach again"),
            Self::LeftOut { place, lines } => {
                write!(to, "* {} from {place} left out: too fast", Lines(lines))
            }
            Self::InHistory { lines: 1 } => to.write_str("* 1 line is in the history only"),
            Self::InHistory { lines } => write!(to, "* {lines} lines are in the history only"),
            Self::Twin { place } => write!(to, "* another relay is called {place}, too"),
        }
    }
}

/// Displays a number of lines.
struct Lines(u64);

impl Display for Lines {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => to.write_str("1 line"),
            lines => write!(to, "{lines} lines"),
        }
    }
}
