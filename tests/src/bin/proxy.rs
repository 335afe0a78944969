//! A bad network between a relay and its clients: see `--help`.
#![allow(clippy::print_stdout, reason = "a program")]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Write};
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use clap::Parser;
use kilochat_tests::proxy::{Faults, OldPort, Proxy};

/// Stands between clients and a UDP relay and loses, doubles, delays and reorders datagrams.
#[derive(Debug, Parser)]
#[command(
    name = "proxy",
    after_help = "\
Examples:
  kilochat relay                           in one terminal
  proxy --loss 20 --reorder 20 --seed 7    in another one, and in the third:
  kilochat chat 127.0.0.1:10889            ... the client, which goes to the proxy

Each client gets a port of its own towards the relay. The same seed does the same to the n-th
datagram of the n-th client in each direction, as long as the options are the same.

A datagram is reordered by holding it back until a later one of the same client and direction has
gone. If none goes in time (--hold-ms), it goes by itself and is not counted as reordered; so on a
quiet line fewer are reordered than was asked for. --jitter-ms reorders, too, and that counts.

Ctrl-C or SIGTERM ends it and prints what it did; SIGUSR1 prints that and goes on.
With --commands it reads what to do from its input, a line each:
  blackout on, blackout off    drop everything until told otherwise
  move                         give every client a new port, the old one is closed
  forget                       the same, but the old ports stay and swallow what comes
  counts                       print what it did until now"
)]
struct Arguments {
    /// Address on which clients are received
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10889", value_parser = address)]
    listen: SocketAddr,

    /// Address of the relay
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10888", value_parser = address)]
    to: SocketAddr,

    /// Percent of the datagrams that are lost
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    loss: f64,

    /// Percent of the others that arrive twice
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    duplicate: f64,

    /// Percent of those not lost that are held back for a later one
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    reorder: f64,

    /// Delay of each datagram in each direction, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = milliseconds())]
    delay_ms: u64,

    /// Maximum of a random further delay of each datagram, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = milliseconds())]
    jitter_ms: u64,

    /// Maximum time for which a datagram is held back for a later one, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = milliseconds())]
    hold_ms: u64,

    /// Seed of the random numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,

    /// Print statistics every 5 seconds, and for each client at the end
    #[arg(long, short)]
    verbose: bool,

    /// Read commands from standard input
    #[arg(long)]
    commands: bool,
}

/// A command that the proxy receives while it runs.
enum Order {
    Blackout(bool),
    Move(OldPort),
    Count,
    Unknown(String),
    End,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let faults = Faults {
        loss_percent: arguments.loss,
        duplicate_percent: arguments.duplicate,
        reorder_percent: arguments.reorder,
        delay: Duration::from_millis(arguments.delay_ms),
        jitter: Duration::from_millis(arguments.jitter_ms),
        hold: Duration::from_millis(arguments.hold_ms),
    };
    let (sender, orders) = channel();
    handle_signals(sender.clone())?;
    if arguments.commands {
        std::thread::spawn(move || read_commands(&sender));
    }
    let proxy = Proxy::start(arguments.listen, arguments.to, faults, arguments.seed)
        .map_err(|error| io::Error::other(format!("cannot use {}: {error}", arguments.listen)))?;
    println!("listening on {}, to {}", proxy.address(), arguments.to);
    obey(&proxy, &orders, arguments.verbose)?;
    if arguments.verbose {
        for client in proxy.clients() {
            println!("{} from port {}", client.address, client.upstream.port());
            println!("up:   {}\ndown: {}", client.up, client.down);
        }
    }
    println!("{}", proxy.totals());
    io::stdout().flush()
}

/// Executes commands until one of them, or the end of the input, ends the proxy.
fn obey(proxy: &Proxy, orders: &Receiver<Order>, is_verbose: bool) -> io::Result<()> {
    let interval = if is_verbose {
        Duration::from_secs(5)
    } else {
        Duration::MAX
    };
    loop {
        match orders.recv_timeout(interval) {
            Ok(Order::Blackout(is_blackout)) => proxy.set_blackout(is_blackout),
            Ok(Order::Move(old)) => {
                for client in proxy.clients() {
                    proxy.move_client(client.address, old)?;
                }
            }
            Ok(Order::Count) | Err(RecvTimeoutError::Timeout) => println!("{}", proxy.totals()),
            Ok(Order::Unknown(line)) => eprintln!("proxy: no command {line:?}; see --help"),
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn read_commands(orders: &Sender<Order>) {
    for line in io::stdin().lines().map_while(Result::ok) {
        let order = match line.trim() {
            "" => continue,
            "blackout on" => Order::Blackout(true),
            "blackout off" => Order::Blackout(false),
            "move" => Order::Move(OldPort::Closed),
            "forget" => Order::Move(OldPort::Silent),
            "counts" => Order::Count,
            unknown => Order::Unknown(unknown.to_owned()),
        };
        if orders.send(order).is_err() {
            return;
        }
    }
}

#[cfg(unix)]
fn handle_signals(orders: Sender<Order>) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let order = if signal == SIGUSR1 {
                Order::Count
            } else {
                Order::End
            };
            if orders.send(order).is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn handle_signals(orders: Sender<Order>) -> io::Result<()> {
    let interrupted = move || {
        // the receiver is gone if the proxy is ending already
        let _ = orders.send(Order::End);
    };
    ctrlc::set_handler(interrupted).map_err(io::Error::other)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "no address".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        Ok(_) | Err(_) => Err("a number from 0 to 100 is needed".to_owned()),
    }
}

/// Returns the parser of durations, which are at most a minute.
fn milliseconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(..=60_000)
}
