//! The sensor's loop, [`serve`], is the same as on a microcontroller. That has an Ethernet driver
//! in place of [`Tap`], a timer in place of [`Clock`], sleep until an interrupt in place of
//! [`sleep`], and a measurement in place of [`reading`].
#![allow(clippy::print_stdout, reason = "it shows what happens")]

#[allow(dead_code, reason = "the relay's program needs more of it")]
#[path = "../../src/device.rs"]
mod device;

use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use clap::Parser;
use device::Tap;
use kilochat_core::{Client, ClientEvent, End, Instant, Network, State};
use kilochat_embedded::{PORT, Station, StationConfig, StationStorage};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use signal_hook::consts::{SIGINT, SIGTERM};
use static_cell::ConstStaticCell;

/// A sensor with a network stack of its own, as a microcontroller has one: it posts the load of
/// this PC at intervals.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "sensor",
    after_help = "\
Examples:
  sudo ip tuntap add dev tap0 mode tap user $USER    once: an interface that you may use
  sudo ip address add 192.168.77.2/24 dev tap0
  sudo ip link set tap0 up
  kilochat relay                                     in another terminal: the relay on this PC
  sensor --ip 192.168.77.50/24 192.168.77.2          then, without root: a sensor on that interface
  kilochat chat 127.0.0.1                            read what it says

The sensor retransmits a reading until the relay acknowledges it. While the relay is gone, it keeps
the readings that fit into its memory, and sends them when the relay is back. Ctrl-C leaves the
room and ends."
)]
struct Arguments {
    /// The relay: ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT
    #[arg(value_parser = relay)]
    relay: SocketAddr,

    /// The sensor's own address, on the network of the TAP interface
    #[arg(long, value_name = "ADDRESS/PREFIX", value_parser = network)]
    ip: Network,

    /// The router to the relay, if that is on another network
    #[arg(long, value_name = "ADDRESS")]
    router: Option<IpAddr>,

    /// The TAP interface
    #[arg(long, value_name = "NAME", default_value = "tap0")]
    tap: String,

    /// Create the interface if there is none, and set it up (needs CAP_NET_ADMIN)
    #[arg(long)]
    create: bool,

    /// The sensor's name in the room
    #[arg(long, default_value = "sensor")]
    name: String,

    /// The time between two readings
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

/// Space for 4 datagrams of lines that arrive early and 512 bytes of readings: 8 KiB in all.
type Sensor = Station<Tap, 4, 512>;

static STORAGE: ConstStaticCell<StationStorage> = ConstStaticCell::new(StationStorage::new());

pub(crate) fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sensor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let device = Tap::open(&arguments.tap, arguments.create)?;
    let stop = signals().map_err(|error| format!("cannot handle signals: {error}"))?;
    let clock = Clock(std::time::Instant::now());
    let config = StationConfig {
        hardware: hardware(arguments.ip.address),
        address: arguments.ip,
        router: arguments.router,
        relay: arguments.relay,
        seed: random()?,
    };
    let client = Client::new(&arguments.name, random()?, 1);
    let mut station = Station::new(device, STORAGE.take(), &config, client, clock.now())
        .map_err(|error| error.to_string())?;
    println!("asking {} for a seat", arguments.relay);
    serve(&mut station, arguments, &clock, &stop)
}

/// Posts readings until it is stopped, then leaves.
fn serve(
    station: &mut Sensor,
    arguments: &Arguments,
    clock: &Clock,
    stop: &UnixStream,
) -> Result<(), String> {
    let every = Duration::from_secs(arguments.every);
    let (mut count, mut reading_at) = (0_u32, clock.now());
    loop {
        let now = clock.now();
        let wake_up = station.poll(now);
        if station.device().is_gone() {
            return Err("the interface was deleted".into());
        }
        while let Some(event) = station.client.poll_event() {
            tell(&event);
            if let ClientEvent::Ended(why) = event {
                if why == End::Left {
                    return Ok(());
                }
                return Err(format!("the relay refused: {why:?}"));
            }
        }
        if now >= reading_at {
            reading_at = now.after(every);
            count += 1;
            match station.client.post(&reading(count)) {
                Ok(post) => println!("reading {count} is text {}", post.0),
                Err(error) => println!("reading {count} is left out: {error:?}"),
            }
            continue; // it is sent by the next poll
        }
        let then = [wake_up, Some(reading_at)];
        let then = then.into_iter().flatten().min().unwrap_or(reading_at);
        let is_stopped = sleep(station.device(), stop, then.since(now))
            .map_err(|error| format!("cannot wait for the interface: {error}"))?;
        if is_stopped {
            if station.client.state() == State::Ended {
                return Ok(());
            }
            station.client.leave(clock.now());
            reading_at = Instant::from_millis(u64::MAX);
        }
    }
}

/// Returns the text to post. A microcontroller would read its thermometer.
fn reading(count: u32) -> heapless::String<64> {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let mut text = heapless::String::new();
    // it fits
    let _ = write!(text, "reading {count}: load {load}");
    text
}

/// Prints an event, except the lines of other peers.
fn tell(event: &ClientEvent<'_>) {
    match event {
        ClientEvent::Joined { how, name, .. } => println!("joined as {name} ({how:?})"),
        ClientEvent::Said { post, first, .. } => {
            println!("text {} was said: line {first}", post.0);
        }
        ClientEvent::Doubtful { post } => {
            println!("text {} may have been said or not", post.0);
        }
        ClientEvent::Refused { post, reason } => {
            println!("text {} was refused: {reason:?}", post.0);
        }
        ClientEvent::Unsaid { post } => println!("text {} was not said", post.0),
        ClientEvent::Lost { lines, .. } => println!("{lines} lines of others are lost"),
        ClientEvent::SeatLost(why) => println!("the seat is lost: {why:?}"),
        ClientEvent::NoSeat { reason, retry_s } => {
            println!("no seat, {}: asking again in {retry_s} s", reason.as_str());
        }
        ClientEvent::Silent => println!("no answer; trying on"),
        ClientEvent::Back => println!("there are answers again"),
        ClientEvent::Ended(why) => println!("it is over: {why:?}"),
        ClientEvent::Line { .. } | ClientEvent::Answered { .. } => {}
    }
}

/// Milliseconds since the start.
struct Clock(std::time::Instant);

impl Clock {
    fn now(&self) -> Instant {
        let millis = self.0.elapsed().as_millis();
        Instant::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// Sleeps until a frame can be read or the time has passed. Returns whether a signal requested the
/// end.
fn sleep(device: &Tap, stop: &UnixStream, time: Duration) -> nix::Result<bool> {
    let mut waiting = [
        PollFd::new(device.as_fd(), PollFlags::POLLIN),
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
    ];
    match ppoll(&mut waiting, Some(TimeSpec::from_duration(time)), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error),
    }
    // one byte for each signal
    Ok(std::io::Read::read(&mut &*stop, &mut [0]).is_ok())
}

/// Returns a stream that receives a byte when a signal requests the end.
fn signals() -> std::io::Result<UnixStream> {
    let (stop, signalled) = UnixStream::pair()?;
    stop.set_nonblocking(true)?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, signalled.try_clone()?)?;
    }
    Ok(stop)
}

fn random() -> Result<u64, String> {
    getrandom::u64().map_err(|error| format!("the system has no random numbers: {error}"))
}

/// Returns a hardware address that is as unique as the sensor's IP address, marked as locally
/// administered (bit 1 of the first byte).
fn hardware(ip: IpAddr) -> [u8; 6] {
    let [.., a, b, c, d] = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    [0x02, 0, a, b, c, d]
}

fn relay(text: &str) -> Result<SocketAddr, &'static str> {
    let with_port = text.parse::<IpAddr>().map(|ip| (ip, PORT).into());
    with_port
        .or_else(|_| text.parse())
        .map_err(|_| "write it like 192.168.77.1 or [fd00:77::1]:10888")
}

fn network(text: &str) -> Result<Network, &'static str> {
    let parse = || {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix = prefix.parse().ok()?;
        Some(Network { address, prefix })
    };
    parse().ok_or("write it like 192.168.77.50/24 or fd00:77::50/64")
}
