//! The loop: sleep until a frame, a signal, or the time that the node requested.

use core::hash::{BuildHasher, Hasher};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::hash::RandomState;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use kilochat_core::Instant;
use kilochat_embedded::{Config, Node, Storage};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigEvent, SigSet, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use signal_hook::consts::{SIGALRM, SIGINT, SIGTERM, SIGUSR1};
use static_cell::ConstStaticCell;

use crate::args::{Arguments, SEATS_MAX};
use crate::device::Tap;
use crate::logger::Writer;
use crate::readable;

/// Size of the ring in bytes.
const RING: usize = 64 * 1024;

/// Maximum congestion window of a framed peer, in datagrams.
const WINDOW: usize = 32;

type TapNode = Node<Tap, { SEATS_MAX as usize }, RING, WINDOW>;

static STORAGE: ConstStaticCell<Storage<{ SEATS_MAX as usize }, RING, WINDOW>> =
    ConstStaticCell::new(Storage::new());

/// Maximum time for which a stopping relay sends what is due.
const GOODBYE: Duration = Duration::from_secs(1);

/// A wait that took at most this time did not sleep.
const AT_ONCE: Duration = Duration::from_micros(5);

pub(crate) fn main() -> ExitCode {
    match run(&Arguments::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kilochat-tap: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let config = config(arguments)?;
    let device = Tap::open(&arguments.tap, arguments.create)?;
    let mut signals =
        Signals::handle().map_err(|error| format!("cannot handle signals: {error}"))?;
    let writer = Writer::start(arguments.raw)?;
    let clock = Clock(std::time::Instant::now());
    let mut node = Node::new(device, STORAGE.take(), config, clock.now())
        .map_err(|error| error.to_string())?;
    let result = serve(&mut node, &mut signals, &clock);
    report(&node);
    // from here on nothing waits for a signal, and a second one must still end the program
    let _ = signals.held.thread_unblock();
    writer.close();
    result
}

/// Runs the relay until a signal stops it, then until all peers have what was accepted and the
/// farewell.
fn serve(node: &mut TapNode, signals: &mut Signals, clock: &Clock) -> Result<(), String> {
    let (mut then, mut has_slept) = (None, false);
    let mut deadline: Option<Instant> = None;
    loop {
        let now = clock.now();
        if deadline.is_none() && signals.stop.load(Ordering::Relaxed) {
            deadline = Some(now.after(GOODBYE));
            node.stop(now);
        }
        // If frames were already waiting, there are many: all are read first, so that lines are
        // coalesced. They are also read before timers run, because after a suspension they may end
        // the silence of a peer.
        let is_early = then.is_some_and(|then| now < then);
        let frames = if has_slept && is_early { 1 } else { usize::MAX };
        node.device_mut().allow(frames);
        then = node.poll(now);
        if node.device().is_gone() {
            return Err("the interface was deleted".into());
        }
        if signals.report.swap(false, Ordering::Relaxed) {
            report(node);
        }
        let is_settled = || node.relay().is_settled() && !node.device().is_blocked();
        if deadline.is_some_and(|deadline| now >= deadline || is_settled()) {
            return Ok(());
        }
        then = then.into_iter().chain(deadline).min();
        let start = std::time::Instant::now();
        signals
            .wait(node.device(), now, then)
            .map_err(|error| format!("cannot wait for the interface: {error}"))?;
        has_slept = start.elapsed() > AT_ONCE;
    }
}

fn report(node: &TapNode) {
    // each in a line of its own, because a frame of the log has a maximum length
    defmt::info!(
        "{=usize} peers; {=str}",
        node.relay().peer_count(),
        readable::relay(node.relay().stats()).as_str()
    );
    defmt::info!(
        "network: {=str}",
        readable::counters(&node.stats()).as_str()
    );
    let errors = readable::counters(&node.device().counters());
    defmt::info!("interface: {=str}", errors.as_str());
}

/// Milliseconds since the start.
struct Clock(std::time::Instant);

impl Clock {
    fn now(&self) -> Instant {
        let millis = self.0.elapsed().as_millis();
        Instant::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// Signals as flags, one of them from a timer. They are blocked except while the loop sleeps, so
/// that none is missed.
struct Signals {
    stop: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
    alarm: Timer,
    /// When the alarm is set to. It stays set while frames arrive, which is cheaper than a time-out
    /// for each wait.
    alarm_at: Option<Instant>,
    /// The signals that are blocked except while the loop sleeps.
    held: SigSet,
}

impl Signals {
    /// Handles the signals of this program from now on. Threads that are started later have them
    /// blocked.
    fn handle() -> io::Result<Self> {
        let (stop, report) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        for signal in [SIGINT, SIGTERM] {
            // the second one ends the program immediately
            signal_hook::flag::register_conditional_shutdown(
                signal,
                128 + signal,
                Arc::clone(&stop),
            )?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&report))?;
        // the interrupted wait is its only effect
        signal_hook::flag::register(SIGALRM, Arc::default())?;
        let alarm = SigEvent::new(SigevNotify::SigevSignal {
            signal: Signal::SIGALRM,
            si_value: 0,
        });
        let alarm = Timer::new(ClockId::CLOCK_MONOTONIC, alarm)?;
        let mut held = SigSet::empty();
        let signals = [SIGINT, SIGTERM, SIGUSR1, SIGALRM];
        held.extend(signals.into_iter().flat_map(Signal::try_from));
        held.thread_block()?;
        Ok(Self {
            stop,
            report,
            alarm,
            alarm_at: None,
            held,
        })
    }

    /// Sleeps until a frame can be read, a signal arrives, or `then`. While the interface takes
    /// nothing no frame is read, and it sleeps until the interface can be written to.
    fn wait(&mut self, device: &Tap, now: Instant, then: Option<Instant>) -> nix::Result<()> {
        let is_due = then.is_some_and(|then| then <= now);
        if let Some(then) = then.filter(|then| !is_due && self.alarm_at != Some(*then)) {
            let sleep = Expiration::OneShot(TimeSpec::from_duration(then.since(now)));
            self.alarm.set(sleep, TimerSetTimeFlags::empty())?;
            self.alarm_at = Some(then);
        }
        let readiness = if device.is_blocked() {
            PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        };
        let mut waiting = [PollFd::new(device.as_fd(), readiness)];
        let timeout = is_due.then_some(TimeSpec::new(0, 0));
        match ppoll(&mut waiting, timeout, Some(SigSet::empty())) {
            Ok(_) => Ok(()),
            Err(nix::errno::Errno::EINTR) => {
                self.alarm_at = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Builds the node's configuration from the command line.
fn config(arguments: &Arguments) -> Result<Config, String> {
    let hardware = match arguments.mac {
        Some(mac) => mac.0,
        None => default_hardware(&arguments.tap),
    };
    let mut key = [0; 16];
    getrandom::fill(&mut key)
        .map_err(|error| format!("the system has no random numbers: {error}"))?;
    let mut config = Config::new(hardware, key);
    config.port = arguments.port;
    config.relay.seats = arguments.seats;
    config.relay.history = arguments.history;
    config.relay.open = arguments.open;
    config.relay.prove = arguments.prove;
    config.relay.unproven = arguments.unproven;
    config.relay.rate = arguments.rate;
    config.relay.port = arguments.port;
    config.addresses = [arguments.ip, arguments.ip6]
        .into_iter()
        .flatten()
        .collect();
    config.dhcp = arguments.dhcp;
    config.slaac = true;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => default_name(hardware),
    };
    config.name = name
        .as_str()
        .try_into()
        .map_err(|_| format!("--name is at most {} bytes", kilochat_embedded::NAME_MAX))?;
    // a longer name is not shown
    let _ = config.relay.name.push_str(&name);
    config.seed = RandomState::new().hash_one(hardware);
    Ok(config)
}

/// Returns a name that two nodes on one network hardly share: it ends as the hardware address does.
fn default_name([.., end, last]: [u8; 6]) -> String {
    format!("kilochat-{end:02x}{last:02x}")
}

/// Returns a hardware address that stays the same across starts, so that hosts whose ARP cache has
/// it find the relay again. It is a hash of the names of this machine and the interface, marked as
/// locally administered (bit 1 of the first byte).
fn default_hardware(tap: &str) -> [u8; 6] {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(&std::fs::read("/etc/machine-id").unwrap_or_default());
    hash.write(tap.as_bytes());
    // in the lower bytes each differs for another interface of this machine
    let [.., a, b, c, d, e] = hash.finish().to_be_bytes();
    [0x02, a, b, c, d, e]
}

/// The FNV-1a hash, which is the same on every machine and in every version.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
