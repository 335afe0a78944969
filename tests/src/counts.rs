//! Coverage: how often each case occurred in simulations. A test in which a case never occurs has
//! not tested it.

use core::marker::PhantomData;

/// A case that simulations of one kind must cover.
pub trait Case: Copy + 'static {
    /// All cases, in the order of their counters.
    const ALL: &'static [Self];

    /// Returns the index of the case's counter.
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
    /// A case that a simulation of the plain dialect must cover.
    Seen {
        // messages of clients
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
        Whispered
        NotWhispered
        // reasons of refusals
        Frame
        TooLong
        NotUtf8
        NotUtf8Untold
        TooFast
        ToldTooFast
        LooksLikeNotice
        Returned
        RefusedReturned
        LeftForEcho
        Blank
        Nameless
        Source
        Foreign
        Unproven
        CodeGiven
        Proven
        Full
        RefusedStopping
        // joins and leaves
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
        NotDisplaced
        CrowdedOut
        Takeover
        LeftUnreachable
        LeftAfterTimeout
        // content of fan-outs
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
        // events of the driver and the network
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

/// How often each case occurred.
#[derive(Clone, Debug)]
pub struct Counts<T = Seen> {
    seen: Vec<u64>,
    /// Number of datagrams, fan-outs, reports and changes of the network.
    pub events: u64,
    kind: PhantomData<T>,
}

impl<T: Case> Counts<T> {
    /// Creates counters that are all 0.
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

    /// Returns all cases with their counters.
    pub fn iter(&self) -> impl Iterator<Item = (T, u64)> {
        T::ALL.iter().copied().zip(self.seen.iter().copied())
    }

    /// Adds the counters of another simulation.
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
