//! The sources that send most, and those that send far too much, which the kernel is told to drop.

use core::net::IpAddr;
use core::time::Duration;

use kilochat_core::Instant;

/// Number of sources that are counted. A new one takes the place of the one that has sent least, with its
/// count (the space-saving algorithm), so that the loudest ones are always among them.
const COUNTED: usize = 16;

/// Time in which datagrams are counted.
const WINDOW: Duration = Duration::from_millis(50);

/// A source that sends more datagrams than this in a [`WINDOW`] is too loud: 20,000 a second. That number
/// does no harm yet, no client comes near it, and it is noticed before the queue of the socket is full.
const WINDOW_MAX: u32 = 1000;

/// While the kernel has to drop more than [`WINDOW_MAX`] in a [`WINDOW`], because the relay cannot read them
/// fast enough, a source is too loud that sends more than this, and most of what is read.
const OVERRUN_MAX: u32 = WINDOW_MAX / 10;

/// A turn that comes this much after the one before may find what has waited.
const PAUSE: Duration = Duration::from_millis(200);

/// Time for which the kernel drops what a source sends that is too loud.
const SHUT: Duration = Duration::from_secs(10);

/// Time in which the relay still reads what has waited in the queue of the socket from before.
const QUEUED: Duration = Duration::from_secs(2);

/// Maximum number of sources that the kernel drops at a time.
const SHUT_MAX: usize = 8;

/// Maximum number of sessions of such a source that go on.
pub(super) const SESSIONS_MAX: usize = 16;

/// A source, and how many datagrams came from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) address: IpAddr,
    pub(super) datagrams: u64,
    /// Number of datagrams in its last window, and when that began.
    window: u32,
    since: Instant,
}

/// A source of which the kernel drops everything but frames of these sessions.
#[derive(Clone, Debug)]
pub(super) struct Shut {
    pub(super) address: IpAddr,
    #[allow(dead_code, reason = "only Linux has a filter that reads it")]
    pub(super) sessions: heapless::Vec<u64, SESSIONS_MAX>,
    until: Instant,
}

/// What is known of loud sources. It allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Loud {
    sources: heapless::Vec<Source, COUNTED>,
    last: usize,
    /// The time of the turn, and whether it comes late.
    now: Instant,
    is_late: bool,
    /// When the window began in which drops are counted, how many there were before it, and how many
    /// datagrams were read in it.
    since: Instant,
    dropped: u64,
    heard: u32,
    is_overrun: bool,
    shut: heapless::Vec<Shut, SHUT_MAX>,
    /// A source that is too loud since the last call of [`take`](Self::take).
    found: Option<IpAddr>,
}

impl Loud {
    /// A turn begins. The kernel has dropped `dropped` datagrams so far.
    pub(super) fn begin_turn(&mut self, now: Instant, dropped: u64) {
        self.is_late = now.since(self.now) >= PAUSE;
        self.now = now;
        if now.since(self.since) >= WINDOW {
            self.is_overrun = dropped.saturating_sub(self.dropped) > WINDOW_MAX.into();
            (self.since, self.dropped, self.heard) = (now, dropped, 0);
        }
    }

    /// A datagram arrived.
    pub(super) fn note(&mut self, address: IpAddr) {
        let now = self.now;
        let index = self.index(now, address);
        self.last = index;
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        source.datagrams += 1;
        if now.since(source.since) >= WINDOW {
            (source.window, source.since) = (0, now);
        }
        source.window += u32::from(!self.is_late);
        self.heard += 1;
        let is_most = source.window > OVERRUN_MAX && 2 * source.window > self.heard;
        let is_too_loud = source.window > WINDOW_MAX || (self.is_overrun && is_most);
        // programs on this machine can do worse
        if !is_too_loud || address.is_loopback() {
            return;
        }
        source.window = 0;
        if !self.is_waiting(address) {
            self.found = Some(address);
        }
    }

    /// Returns whether a source has just been shut out, so that what comes from it has waited.
    fn is_waiting(&self, address: IpAddr) -> bool {
        let mut shut = self.shut.iter();
        let shut = shut.find(|shut| shut.address == address);
        shut.is_some_and(|shut| shut.until.since(self.now) > SHUT - QUEUED)
    }

    fn index(&mut self, now: Instant, address: IpAddr) -> usize {
        let is_it = |source: &Source| source.address == address;
        if self.sources.get(self.last).is_some_and(is_it) {
            return self.last;
        }
        if let Some(index) = self.sources.iter().position(is_it) {
            return index;
        }
        let mut source = Source {
            address,
            datagrams: 0,
            window: 0,
            since: now,
        };
        if self.sources.push(source).is_ok() {
            return self.sources.len() - 1;
        }
        let least = self.sources.iter().enumerate();
        let least = least.min_by_key(|(_, source)| source.datagrams);
        let index = least.map_or(0, |(index, _)| index);
        source.datagrams = self.sources[index].datagrams;
        self.sources[index] = source;
        index
    }

    /// Returns the sources that have sent most, the loudest first.
    pub(super) fn loudest<const MOST: usize>(&self) -> heapless::Vec<(IpAddr, u64), MOST> {
        let mut sources = self.sources.clone();
        sources.sort_unstable_by_key(|source| core::cmp::Reverse(source.datagrams));
        let sources = sources.iter().take(MOST);
        sources
            .map(|source| (source.address, source.datagrams))
            .collect()
    }

    /// Returns a source that is too loud.
    pub(super) const fn take(&mut self) -> Option<IpAddr> {
        self.found.take()
    }

    /// Shuts a source out. `sessions` go on, unless it is shut out already: then one of them is too loud.
    pub(super) fn shut(&mut self, address: IpAddr, sessions: impl Iterator<Item = u64>) {
        let was_shut = self.shut.iter().any(|shut| shut.address == address);
        self.shut.retain(|shut| shut.address != address);
        if self.shut.is_full() {
            self.shut.remove(0);
        }
        let most = if was_shut { 0 } else { SESSIONS_MAX };
        let shut = Shut {
            address,
            sessions: sessions.take(most).collect(),
            until: self.now.after(SHUT),
        };
        // there is room
        let _ = self.shut.push(shut);
    }

    /// Lets sources in again whose time is over. Returns whether there were any.
    pub(super) fn reopen(&mut self) -> bool {
        let (before, now) = (self.shut.len(), self.now);
        self.shut.retain(|shut| now < shut.until);
        self.shut.len() < before
    }

    /// Returns when [`reopen`](Self::reopen) does something.
    pub(super) fn reopens_at(&self) -> Option<Instant> {
        self.shut.iter().map(|shut| shut.until).min()
    }

    /// Returns the sources that are shut out.
    pub(super) fn shut_out(&self) -> &[Shut] {
        &self.shut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    #[test]
    fn the_loudest_are_known_however_many_others_there_are() {
        let mut loud = Loud::default();
        for round in 0..100_u8 {
            (0..30).for_each(|_| loud.note(host(1)));
            (0..20).for_each(|_| loud.note(host(2)));
            loud.note([192, 168, 0, round].into());
            loud.begin_turn(Instant::from_millis(100 * u64::from(round)), 0);
        }
        let loudest = loud.loudest::<2>();
        assert_eq!(loudest, [(host(1), 3000), (host(2), 2000)]);
        assert_eq!(loud.take(), None);
    }

    #[test]
    fn a_source_is_too_loud_if_it_sends_far_too_much_in_a_moment() {
        let mut loud = Loud::default();
        // 19,000 a second, for ten seconds
        for turn in 0..1000 {
            loud.begin_turn(Instant::from_millis(10 * turn), 0);
            (0..190).for_each(|_| loud.note(host(1)));
        }
        assert_eq!(loud.take(), None);
        (0..=WINDOW_MAX).for_each(|_| loud.note([127, 0, 0, 1].into()));
        assert_eq!(loud.take(), None);
        (0..=WINDOW_MAX).for_each(|_| loud.note(host(2)));
        assert_eq!(loud.take(), Some(host(2)));
        assert_eq!(loud.take(), None);
        // what has waited for a relay that was suspended says nothing
        loud.begin_turn(Instant::from_millis(80_000), 0);
        (0..=WINDOW_MAX).for_each(|_| loud.note(host(2)));
        assert_eq!(loud.take(), None);
    }

    #[test]
    fn a_relay_that_cannot_read_everything_drops_who_sends_most() {
        let mut loud = Loud::default();
        let mut found = Vec::new();
        // a slow machine reads 6,000 a second, and the kernel drops ten times as many
        for turn in 0..100 {
            loud.begin_turn(Instant::from_millis(10 * turn), 600 * turn);
            (0..50).for_each(|_| loud.note(host(1)));
            (0..10).for_each(|_| loud.note(host(2)));
            found.extend(loud.take());
        }
        assert!(
            found.len() > 10 && found.iter().all(|it| *it == host(1)),
            "{found:?}"
        );
        // nobody is too loud where few are dropped
        for turn in 100..200 {
            loud.begin_turn(Instant::from_millis(10 * turn), 60_000 + 100 * turn);
            (0..50).for_each(|_| loud.note(host(1)));
        }
        loud.take();
        loud.begin_turn(Instant::from_millis(2_000), 80_000);
        (0..OVERRUN_MAX).for_each(|_| loud.note(host(3)));
        assert_eq!(loud.take(), None);
    }

    #[test]
    fn who_is_shut_out_keeps_its_sessions_unless_they_are_too_loud() {
        let mut loud = Loud::default();
        loud.shut(host(1), [7, 8].into_iter());
        assert_eq!(loud.shut_out()[0].sessions, [7, 8]);
        // what was in the queue does not count
        (0..=WINDOW_MAX).for_each(|_| loud.note(host(1)));
        assert_eq!(loud.take(), None);
        loud.shut(host(1), [7, 8].into_iter());
        assert!(loud.shut_out()[0].sessions.is_empty() && loud.shut_out().len() == 1);
        for number in 2..20 {
            loud.shut(host(number), [].into_iter());
        }
        assert_eq!(loud.shut_out().len(), SHUT_MAX);
        loud.begin_turn(Instant::from_millis(9_999), 0);
        assert!(!loud.reopen());
        assert_eq!(loud.reopens_at(), Some(Instant::from_millis(10_000)));
        loud.begin_turn(Instant::from_millis(10_000), 0);
        assert!(loud.reopen() && loud.shut_out().is_empty());
    }
}
