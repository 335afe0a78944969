//! What happened how often in a simulation: a test that never met a case has not tested it.

use core::marker::PhantomData;

/// Something that simulations of one kind have to meet.
pub trait Case: Copy + 'static {
    /// Everything, in the order of its counters.
    const ALL: &'static [Self];

    /// Which counter is its own.
    fn index(self) -> usize;
}

macro_rules! seen {
    ($(#[$meta:meta])* $kind:ident { $($name:ident)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names say it")]
        pub enum $kind {
            $($name,)*
        }

        impl $crate::counts::Case for $kind {
            const ALL: &'static [Self] = &[$(Self::$name),*];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub(crate) use seen;

seen! {
    /// Something that a simulation has to meet.
    Seen {
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
        TooFast
        ToldTooFast
        LooksLikeNotice
        Blank
        Nameless
        Source
        Foreign
        Unproven
        CodeGiven
        Proven
        Full
        RefusedStopping
        // who came and went
        Joined
        JoinedClassic
        JoinedV6
        JoinedWithNewline
        SaidAtOnce
        NameChanged
        NameNumbered
        NameNumberedHigh
        WelcomeCut
        WhoCut
        History
        HistoryOfOne
        Unannounced
        Displaced
        CrowdedOut
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
}

/// How often each thing was seen.
#[derive(Clone, Debug)]
pub struct Counts<T = Seen> {
    seen: Vec<u64>,
    /// Datagrams, fan-outs, reports and changes of the network.
    pub events: u64,
    kind: PhantomData<T>,
}

impl<T: Case> Counts<T> {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self {
            seen: vec![0; T::ALL.len()],
            events: 0,
            kind: PhantomData,
        }
    }

    pub(crate) fn saw(&mut self, what: T) {
        self.seen[what.index()] += 1;
    }

    /// Everything with its count.
    pub fn iter(&self) -> impl Iterator<Item = (T, u64)> {
        T::ALL.iter().copied().zip(self.seen.iter().copied())
    }

    /// Adds what another simulation saw.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        for (count, more) in self.seen.iter_mut().zip(&other.seen) {
            *count += more;
        }
    }
}

impl<T: Case> Default for Counts<T> {
    fn default() -> Self {
        Self::new()
    }
}
