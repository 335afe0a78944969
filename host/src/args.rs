//! The command line: clap types only.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "clap shows these texts as they are"
)]

mod admission;
#[cfg_attr(not(feature = "link"), path = "args/unlinked.rs")]
mod link;
#[cfg(feature = "web")]
mod web;

use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use std::net::ToSocketAddrs;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use jiff::civil::DateTime;
use jiff::{Span, Timestamp, Zoned};
use kilochat_core::PORT;

pub(crate) use admission::network;
pub use admission::{AdmissionArguments, Rate};
pub use link::LinkOptions;
#[cfg(not(feature = "link"))]
pub(crate) use link::UNLINKED;
#[cfg(feature = "link")]
pub use link::{EngineOptions, EngineUrl, Token};
#[cfg(feature = "web")]
pub use web::{PageOptions, WebAddress, WebArguments, WebOptions};

/// Maximum number of seats in this build.
pub const SEATS_MAX: u16 = 4096;

/// UDP chat for a room of machines: no internet, no accounts, no set-up.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kilochat relay                     run the relay on this machine
  kilochat relay --web               ... with a page for browsers
  kilochat chat 192.168.1.5          join it from another one
  kilochat send boat --name cron hi  say something in a script
  kilochat ping 192.168.1.5          see whether it answers, and how fast
  kilochat find                      list the relays on this network
  nc -u 192.168.1.5 10888            ... or with netcat: the first line is your name"
)]
pub struct Arguments {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, and options in a box would be harder to read"
)]
pub enum Command {
    /// Run the relay that everybody talks through.
    Relay(RelayArguments),
    /// Serve a page for browsers, in front of a relay.
    #[cfg(feature = "web")]
    Web(WebArguments),
    /// Join a relay and chat.
    Chat(ChatArguments),
    /// Say something and make sure that it has arrived, for scripts.
    Send(SendArguments),
    /// See whether a relay answers, and how fast, without joining it.
    Ping(PingArguments),
    /// Read what a relay has kept (relay --keep), or what was said at linked relays.
    History(HistoryArguments),
    /// List the relays on this network.
    Find(FindArguments),
}

/// `kilochat relay`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kilochat relay                       everybody on the local networks may join
  kilochat relay --bind 192.168.1.5    listen on one address only
  kilochat relay --motd 'Lab 3'        greet newcomers
  kilochat relay --port 0              take a free port; the output names it
  kilochat relay --keep ~/chat         keep what is said; the welcome tells people
  KILOCHAT_HISTORY=20 kilochat relay   options can be environment variables

Ctrl-C says goodbye to all peers and ends. SIGUSR1 logs statistics. SIGHUP ends a relay on a terminal; \
without one, it makes it read the rules and this machine's networks again. An empty environment variable \
counts as not set; a switch is on unless its variable is 0, no, off or false.")]
pub struct RelayArguments {
    /// Address to listen on; repeat it for several [default: all addresses, IPv6 and IPv4]
    #[arg(long, value_name = "IP[:PORT]", value_parser = bind_address, env = "KILOCHAT_BIND", value_delimiter = ',')]
    pub bind: Vec<Bind>,

    /// UDP port to listen on where --bind names none; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = PORT, env = "KILOCHAT_PORT")]
    pub port: u16,

    /// Maximum number of peers in the room
    #[arg(long, value_name = "N", default_value_t = SEATS_MAX, env = "KILOCHAT_SEATS",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(SEATS_MAX)))]
    pub seats: u16,

    /// Number of recent messages that a new peer is shown, at most 1000
    #[arg(long, value_name = "N", default_value_t = 10, env = "KILOCHAT_HISTORY",
          value_parser = clap::value_parser!(u16).range(..=1000))]
    pub history: u16,

    /// Send every line to its author too
    #[arg(long, env = "KILOCHAT_ECHO", value_parser = FalseyValueParser::new())]
    pub echo: bool,

    /// Behave like the original Python server: no notices, commands or history
    #[arg(long, env = "KILOCHAT_CLASSIC", value_parser = FalseyValueParser::new())]
    pub classic: bool,

    /// Also serve peers from outside the local networks, once they have proved their address (there is no
    /// encryption)
    #[arg(long, env = "KILOCHAT_OPEN", value_parser = FalseyValueParser::new(), conflicts_with = "classic")]
    pub open: bool,

    /// Require everybody to prove their address, neighbours too: people retype a code of 8 digits; the
    /// commands of this program send it by themselves
    #[arg(long, env = "KILOCHAT_PROVE", value_parser = FalseyValueParser::new(), conflicts_with = "classic")]
    pub prove: bool,

    /// Who may come in, and how fast.
    #[command(flatten)]
    pub admission: AdmissionArguments,

    /// The page for browsers.
    #[cfg(feature = "web")]
    #[command(flatten)]
    pub page: PageOptions,

    /// One room over several relays.
    #[command(flatten)]
    pub link: LinkOptions,

    /// Name that clients show when they look for relays; spaces become hyphens [default: the name of
    /// this machine]
    #[arg(long, value_name = "NAME", env = "KILOCHAT_ANNOUNCE")]
    pub announce: Option<String>,

    /// Do not announce the relay and its page by DNS-SD (_kilochat._udp and _http._tcp); clients that ask
    /// all hosts for relays are answered all the same
    #[arg(long, env = "KILOCHAT_NO_ANNOUNCE", value_parser = FalseyValueParser::new())]
    pub no_announce: bool,

    /// A line that greets each newcomer
    #[arg(long, value_name = "TEXT", env = "KILOCHAT_MOTD")]
    pub motd: Option<String>,

    /// Announce joins, leaves and renames while at most N peers are in the room
    #[arg(
        long,
        value_name = "N",
        default_value_t = 63,
        env = "KILOCHAT_ANNOUNCE_UP_TO"
    )]
    pub announce_up_to: u16,

    /// Never announce joins, leaves and renames
    #[arg(long, env = "KILOCHAT_NO_NOTICES", value_parser = FalseyValueParser::new())]
    pub no_notices: bool,

    /// Keep what is said in this folder, a file a day, and restore the room from it after a restart
    #[arg(
        long,
        value_name = "DIR",
        env = "KILOCHAT_KEEP",
        conflicts_with = "classic"
    )]
    pub keep: Option<PathBuf>,

    /// Delete what was kept after N days
    #[arg(long, value_name = "N", default_value_t = 30, env = "KILOCHAT_KEEP_DAYS",
          value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub keep_days: u16,

    /// Keep at most N MiB, and delete the oldest files first
    #[arg(long, value_name = "N", default_value_t = 256, env = "KILOCHAT_KEEP_MIB",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub keep_mib: u32,

    /// Serve /metrics for Prometheus and /healthz over HTTP; a port alone means 127.0.0.1
    #[arg(long, value_name = "[IP:]PORT", value_parser = metrics_address, env = "KILOCHAT_METRICS")]
    pub metrics: Option<SocketAddr>,

    /// Log warnings and errors only
    #[arg(long, short, env = "KILOCHAT_QUIET", value_parser = FalseyValueParser::new(), conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log every datagram too
    #[arg(long, short, env = "KILOCHAT_VERBOSE", value_parser = FalseyValueParser::new())]
    pub verbose: bool,

    /// Format of the log lines on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "KILOCHAT_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Plain text.
    Text,
    /// One JSON object per line.
    Json,
}

/// An address to listen on. `--port` is used if it has no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The local address.
    pub ip: IpAddr,
    /// The zone of a link-local IPv6 address, or 0.
    pub scope: u32,
    /// The port, if the address contains one.
    pub port: Option<u16>,
}

impl Bind {
    /// Returns the address, with `port` if it has none.
    pub const fn at(&self, port: u16) -> SocketAddr {
        let port = match self.port {
            Some(port) => port,
            None => port,
        };
        match self.ip {
            IpAddr::V4(_) => SocketAddr::new(self.ip, port),
            IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, self.scope)),
        }
    }
}

/// `kilochat chat`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kilochat chat                             finds the relay and asks for your name
  kilochat chat 192.168.1.5 --name Ada      on a terminal
  kilochat chat boat --name log --stay --json </dev/null >>room.jsonl

On a terminal, Ctrl-C clears the line; on an empty line it leaves, like Ctrl-D and /quit. Tab completes \
names and commands, /me TEXT says what you do, and /ignore NAME hides what NAME says. A message with your \
name rings the bell. A line \
that is not delivered after one second is reported, and again when it is delivered.

In a pipe, every line of input is sent as a message, even if it begins with /; blank lines are not \
sent. HOST and --name must be given. At the end of the input it waits until all of it is delivered (up to \
30 s without progress), then leaves; --stay goes on listening. SIGINT and SIGTERM make it leave, and a \
second one ends it at once.

It uses frames, which are retransmitted until they are acknowledged. If the relay answers none within 3 s, \
it continues in plain text, in which lines can be lost, and waits 5 s for a welcome.

Exit codes: 0 all was delivered, 1 nobody answered or not all was delivered, 2 wrong usage.")]
pub struct ChatArguments {
    /// Address of the relay: a name, an IPv4 or an IPv6 address ([ADDRESS]:PORT with a port)
    #[arg(value_name = "HOST[:PORT]", env = "KILOCHAT_HOST")]
    pub host: Option<String>,

    /// Your name in the room; longer names are cut to 32 bytes
    #[arg(long, short, env = "KILOCHAT_NAME")]
    pub name: Option<String>,

    /// Show the time of each line
    #[arg(long, env = "KILOCHAT_TIME", value_parser = FalseyValueParser::new())]
    pub time: bool,

    /// Colour the names
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        env = "KILOCHAT_COLOR"
    )]
    pub color: ColorChoice,

    /// Append what is shown to a file, with date and time
    #[arg(long, value_name = "FILE", env = "KILOCHAT_LOG")]
    pub log: Option<PathBuf>,

    /// Ring no bell when a message contains your name
    #[arg(long, env = "KILOCHAT_NO_BELL", value_parser = FalseyValueParser::new())]
    pub no_bell: bool,

    /// Print a JSON object for each line: time, kind (message, private, own, history, notice, gap,
    /// status), sequence (the line's number, or null), name, text; for a gap also how many lines
    #[arg(long, env = "KILOCHAT_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,

    /// Key of the relay's operators: then /kick, /ban, /unban, /mute, /unmute, /lock, /unlock and /slow are
    /// orders
    #[arg(long, value_name = "FILE", env = "KILOCHAT_OPERATOR_KEY_FILE")]
    pub operator_key: Option<PathBuf>,

    /// Go on listening after the end of the input, and wait for a seat if all are taken (on a terminal it
    /// always does)
    #[arg(long, env = "KILOCHAT_STAY", value_parser = FalseyValueParser::new())]
    pub stay: bool,

    /// Plain text from the start, without frames
    #[arg(long, env = "KILOCHAT_PLAIN", value_parser = FalseyValueParser::new())]
    pub plain: bool,

    /// The relay is an old server that sends no welcome: use plain text, and do not wait
    #[arg(long, env = "KILOCHAT_CLASSIC", value_parser = FalseyValueParser::new())]
    pub classic: bool,
}

/// `kilochat send`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kilochat send 192.168.1.5 --name cron backup done
  df -h / | kilochat send boat --name disk    each line is a message
  kilochat send boat --name door open || echo 'nobody knows' >&2
  kilochat send boat --name cron -- -5 degrees

It joins, sends the text, and leaves when the relay has confirmed it. A line that starts with / is sent as \
text. It gives up after 3 s if no relay answers, and after 30 s without progress if the relay disappears.

Exit codes: 0 delivered, 1 not delivered or nobody knows, 2 wrong usage.")]
pub struct SendArguments {
    /// Address of the relay: a name, an IPv4 or an IPv6 address ([ADDRESS]:PORT with a port)
    #[arg(value_name = "HOST[:PORT]")]
    pub host: String,

    /// Text to send [default: the lines of standard input]
    #[arg(value_name = "TEXT")]
    pub text: Vec<String>,

    /// Name to send it under; longer names are cut to 32 bytes
    #[arg(long, short, env = "KILOCHAT_NAME")]
    pub name: String,

    /// Plain text, for a relay without frames: unconfirmed, so exit code 0 means only that it was
    /// sent
    #[arg(long, env = "KILOCHAT_PLAIN", value_parser = FalseyValueParser::new())]
    pub plain: bool,

    /// Plain text for an old server that sends no welcome: exit code 0 means only that it was sent
    #[arg(long, env = "KILOCHAT_CLASSIC", value_parser = FalseyValueParser::new())]
    pub classic: bool,
}

/// `kilochat history`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kilochat history ~/chat                      everything, the oldest first
  kilochat history ~/chat --since 2h --name Ada
  kilochat history ~/chat --last 20 --follow   ... and what is said from now on
  kilochat history ~/chat --grep ferry --json  one JSON object a line, as chat --json prints them
  kilochat history nats://hub --place harbour  what was said at one of several linked relays

DIR is the folder of relay --keep; the relay need not run. nats:// or tls:// is the address of the servers \
that link relays; no relay need run, but the program must have the feature \"link\". Times are local, and UTC \
with --json. Lines that cannot be read, and files of a newer version, are left out and counted on standard \
error.

Exit codes: 0 done, 1 nothing can be read there, 2 wrong usage.")]
pub struct HistoryArguments {
    /// Folder in which a relay keeps what is said, or the address of the servers that link relays
    #[arg(value_name = "DIR|URL", env = "KILOCHAT_KEEP")]
    pub folder: PathBuf,

    /// Only what was said at this place of linked relays
    #[cfg(feature = "link")]
    #[arg(long, value_name = "NAME")]
    pub place: Option<Token>,

    /// How to reach the servers that link relays.
    #[cfg(feature = "link")]
    #[command(flatten)]
    pub engine: EngineOptions,

    /// Only what was said since then: 90s, 5m, 2h, 3d, or a time such as 2026-01-31 or
    /// 2026-01-31T18:00
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Timestamp>,

    /// Only the last N lines
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,

    /// Only what this person said
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Only lines that contain this text, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,

    /// Print a JSON object for each line: time, kind (message, notice, gap, status), sequence, name,
    /// text; for a line of linked relays also place
    #[arg(long)]
    pub json: bool,

    /// Go on with what is said from now on, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
}

/// `kilochat find`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kilochat find              who runs a relay here?
  kilochat find --json       one JSON object for each

It asks all hosts of each network of this machine for a relay, twice, and those that are announced by \
DNS-SD, because a firewall on this machine may drop the answers of the others. It waits for at most a second. A \
relay with --classic does not answer.

Exit codes: 0 at least one relay, 1 none, 2 wrong usage.")]
pub struct FindArguments {
    /// UDP port of the relays; those that are announced may have others
    #[arg(long, value_name = "PORT", default_value_t = PORT, env = "KILOCHAT_PORT")]
    pub port: u16,

    /// Print a JSON object for each relay: name, address, here (the number of peers), version,
    /// milliseconds
    #[arg(long, env = "KILOCHAT_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// `kilochat ping`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kilochat ping 192.168.1.5            once a second, until Ctrl-C
  kilochat ping relay.local -c 3       three times
  kilochat ping '[fe80::1%eth0]:10888' -i 0.1
  until kilochat ping boat -c 1; do sleep 1; done; kilochat chat boat

It requests a cookie, as a client does before it joins, so nobody in the room notices. After the last \
request it waits 2 s for missing answers. Times are in milliseconds: the shortest, the mean and the longest.

Do not use it on an old server, which takes every request for a new peer. A relay with --classic does \
not answer.

Exit codes: 0 at least one answer, 1 none, 2 wrong usage.")]
pub struct PingArguments {
    /// Address of the relay: a name, an IPv4 or an IPv6 address ([ADDRESS]:PORT with a port)
    /// [default: all relays on this network, as kilochat find lists them]
    #[arg(value_name = "HOST[:PORT]", env = "KILOCHAT_HOST")]
    pub host: Option<String>,

    /// Stop after N requests
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,

    /// Seconds between two requests, from 0.01 to 1000000
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: Duration,
}

/// Parses a time, or a duration before now.
fn since(text: &str) -> Result<Timestamp, String> {
    let now = Zoned::now();
    if let Ok(span) = text.parse::<Span>()
        && let Ok(then) = now.checked_sub(span)
    {
        return Ok(then.timestamp());
    }
    let local = text.parse::<DateTime>().ok();
    let local = local.and_then(|local| local.to_zoned(now.time_zone().clone()).ok());
    let exact = text.parse::<Timestamp>().ok();
    exact
        .or_else(|| Some(local?.timestamp()))
        .ok_or_else(|| "write 90s, 5m, 2h, 3d or a time such as 2026-01-31T18:00".into())
}

/// Parses a number of seconds, with or without a fraction.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.01..=1e6).contains(seconds));
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "write seconds, like 0.5, from 0.01 to 1000000".into())
}

/// Parses `IP:PORT`, or the port of a loopback address.
fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    let local = text.parse().map(|port| (Ipv4Addr::LOCALHOST, port).into());
    let address = local.or_else(|_| text.parse());
    address
        .map_err(|_| "write a port or an address, like 9188, 192.168.1.5:9188 or [::1]:9188".into())
}

/// Parses `IP`, `IP:PORT` or `[IP]:PORT`. An IPv6 address may have a zone.
fn bind_address(text: &str) -> Result<Bind, String> {
    let numbered = with_numbered_zone(text);
    let bare = numbered
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(&numbered);
    let with_port = |bare: &str| format!("[{bare}]:0").parse::<SocketAddr>();
    let (address, has_port) = if let Ok(address) = numbered.parse::<SocketAddr>() {
        (address, true)
    } else if let Ok(ip) = bare.parse::<IpAddr>() {
        (SocketAddr::new(ip, 0), false)
    } else if let Ok(address) = with_port(bare) {
        (address, false)
    } else {
        return Err("write an IP address of this machine, like 192.168.1.5, \
                    192.168.1.5:10888, [::1]:10888 or fe80::1%eth0"
            .into());
    };
    Ok(Bind {
        ip: address.ip(),
        scope: match address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(address) => address.scope_id(),
        },
        port: has_port.then_some(address.port()),
    })
}

/// Replaces the zone name in an address with its number. Only the system can resolve the name.
fn with_numbered_zone(text: &str) -> String {
    let Some((start, rest)) = text.split_once('%') else {
        return text.into();
    };
    let (zone, end) = rest.split_at(rest.find(']').unwrap_or(rest.len()));
    let host = format!("{}%{zone}", start.trim_start_matches('['));
    let found = (host.as_str(), 0).to_socket_addrs();
    match found.ok().and_then(|mut found| found.next()) {
        Some(SocketAddr::V6(address)) => format!("{start}%{}{end}", address.scope_id()),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_read_with_ports_and_zones() {
        let zone = with_numbered_zone("fe80::1%lo");
        let number = zone.strip_prefix("fe80::1%").unwrap().parse().unwrap_or(0);
        for (text, ip, scope, port) in [
            ("192.0.2.5", "192.0.2.5", 0, None),
            ("192.0.2.5:0", "192.0.2.5", 0, Some(0)),
            ("::1", "::1", 0, None),
            ("[::1]", "::1", 0, None),
            ("[::1]:99", "::1", 0, Some(99)),
            ("fe80::1%7", "fe80::1", 7, None),
            ("[fe80::1%7]", "fe80::1", 7, None),
            ("[fe80::1%7]:99", "fe80::1", 7, Some(99)),
            ("[fe80::1%lo]:99", "fe80::1", number, Some(99)),
            ("fe80::1%lo", "fe80::1", number, None),
        ] {
            if text.contains("%lo") && cfg!(not(target_os = "linux")) {
                continue; // the loopback interface has a different name
            }
            let ip = ip.parse().unwrap();
            assert_eq!(bind_address(text), Ok(Bind { ip, scope, port }), "{text}");
        }
        for text in [
            "",
            "boat",
            "1.2.3",
            "[::1",
            "fe80::1%no-such-zone",
            "%",
            "::1]:1",
        ] {
            assert!(bind_address(text).is_err(), "{text}");
        }
    }
}
