//! What happened how often in a simulation: a test that never met a case has not tested it.

macro_rules! seen {
    ($($name:ident)*) => {
        /// Something that a simulation has to meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names say it")]
        pub enum Seen {
            $($name,)*
        }

        impl Seen {
            /// Everything, in the order of its counters.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

seen! {
    // what clients sent
    Message
    TwoLines
    Keepalive
    Renamed
    NotRenamed
    Quit
    Who
    NobodyBegins
    Help
    Quiet
    Answered
    StrangerHelped
    UnknownCommand
    // why it was refused
    Frame
    TooLong
    NotUtf8
    NotUtf8Untold
    LooksLikeNotice
    Blank
    Nameless
    Source
    Foreign
    Full
    // who came and went
    Joined
    JoinedClassic
    JoinedV6
    JoinedWithNewline
    NameChanged
    NameNumbered
    NameNumberedHigh
    WelcomeCut
    WhoCut
    History
    HistoryOfOne
    Unannounced
    Displaced
    Takeover
    LeftUnreachable
    LeftAfterTimeout
    // what was offered
    OwnSkipped
    OwnEchoed
    QuietSkipped
    Coalesced
    Grouped
    DatagramFull
    Overrun
    OverrunClassic
    GapTold
    Deferred
    DeferredAfterOverrun
    DeferredAfterLeave
    NotTaken
    // what the driver and the network did
    NotReadable
    ReadAnyway
    NetworkBlocked
    OneBlocked
    Lost
    Doubled
    Reordered
    Vanished
    ReportedPort
    ReportedPath
    TimeWentBack
    HoursPassed
    Stopped
    RelayRestarted
}

/// How often each thing was seen.
#[derive(Clone, Debug)]
pub struct Counts {
    seen: [u64; Seen::ALL.len()],
    /// Datagrams, fan-outs, reports and changes of the network.
    pub events: u64,
}

impl Counts {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self {
            seen: [0; Seen::ALL.len()],
            events: 0,
        }
    }

    pub(crate) fn saw(&mut self, what: Seen) {
        self.seen[what as usize] += 1;
    }

    /// Everything with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Seen, u64)> {
        Seen::ALL.iter().copied().zip(self.seen)
    }

    /// Adds what another simulation saw.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        for (count, more) in self.seen.iter_mut().zip(other.seen) {
            *count += more;
        }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::new()
    }
}
