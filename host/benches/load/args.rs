//! The command line.

use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::server::Kind;
use crate::text::TEXT_MIN;

/// Measures the relay under load, next to a bare loop and other servers, which alternate in the
/// same run.
///
/// Without a command it measures every row of its table. It exits with 1 if the relay lost a line,
/// sent it twice or sent it to its author. Files are relative to the folder `host`.
#[derive(Debug, Parser)]
#[command(name = "load", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) table: TableArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure one load
    One(OneArguments),
    /// Measure how long a relay takes to send to all peers, on one core and on two
    Crowd(CrowdArguments),
    /// Run the bare loop for this number of peers, until it is killed
    #[command(hide = true)]
    Bare { peers: usize },
}

#[derive(Args, Debug)]
pub(crate) struct TableArguments {
    #[command(flatten)]
    pub(crate) setup: Setup,

    /// Fewer and shorter turns, and no plot
    #[arg(long)]
    pub(crate) short: bool,

    /// Exit with 1 if a row of the table exceeds its limit or was not measured
    #[arg(long)]
    pub(crate) check: bool,

    /// Also write everything that is printed, the command and the date to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write a plot of the cost of a delivery against peers and load to this file (SVG)
    #[arg(long, value_name = "FILE", conflicts_with = "short")]
    pub(crate) plot: Option<PathBuf>,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// The programs and cores of a measurement.
#[derive(Args, Clone, Debug)]
pub(crate) struct Setup {
    /// The program whose `relay` is measured
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_kilochat"))]
    pub(crate) relay: String,

    /// A further option for the relay; may be repeated
    #[arg(
        long = "relay-option",
        value_name = "OPTION",
        allow_hyphen_values = true
    )]
    pub(crate) relay_options: Vec<String>,

    /// Framed peers receive one datagram at a time, and not several as our client does where it can
    /// (`UDP_GRO`)
    #[arg(long)]
    pub(crate) no_gro: bool,

    /// Folder that contains server_final.py, the server that kilochat grew from
    #[arg(long, value_name = "FOLDER", env = "KILOCHAT_SEED")]
    seed: Option<PathBuf>,

    /// The core for each server
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) server_core: usize,

    /// The core for all peers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) client_core: usize,
}

#[derive(Args, Debug)]
pub(crate) struct OneArguments {
    #[command(flatten)]
    pub(crate) setup: Setup,

    /// Number of peers, authors included
    #[arg(long, value_name = "N", default_value_t = 64)]
    peers: usize,

    /// Number of peers that say something, in turn
    #[arg(long, value_name = "N", default_value_t = 1)]
    senders: usize,

    /// Number of texts in flight: the next is said when all peers have received one
    #[arg(long, value_name = "N", default_value_t = 32)]
    window: usize,

    /// Say this number of texts a second instead
    #[arg(long, value_name = "N", conflicts_with = "window")]
    rate: Option<f64>,

    /// Length of a line when it arrives, including the author's name if the server adds it
    #[arg(long, value_name = "BYTES", default_value_t = 64,
          value_parser = line_length)]
    line: usize,

    /// Duration of each turn
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,

    /// Number of turns of each server; medians are printed
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) turns: usize,

    /// What is measured; by default everything that is installed
    #[arg(
        long = "server",
        value_name = "NAME",
        value_delimiter = ',',
        value_enum
    )]
    pub(crate) servers: Vec<Kind>,

    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CrowdArguments {
    #[command(flatten)]
    pub(crate) setup: Setup,

    /// Number of peers, the author included
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) peers: usize,

    /// Number of texts that are said at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) texts: usize,

    /// Number of turns; the median is printed
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) turns: usize,

    #[arg(long, hide = true)]
    bench: bool,
}

/// The load on a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Number of peers.
    pub(crate) peers: usize,
    /// Number of peers that say something.
    pub(crate) senders: usize,
    pub(crate) pace: Pace,
    /// Length of a line when it arrives, in bytes.
    pub(crate) line: usize,
    pub(crate) time: Duration,
    /// Minimum number of deliveries; a turn is extended until there are as many.
    pub(crate) deliveries: usize,
    /// Whether the processor time of joins counts.
    pub(crate) with_joins: bool,
}

/// The pace at which texts are said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Constant number of texts in flight.
    Window(usize),
    /// Constant number of texts a second, whatever is in flight.
    Rate(f64),
}

impl Setup {
    pub(crate) fn seed_program(&self) -> Option<PathBuf> {
        let program = self.seed.as_ref()?.join("server_final.py");
        program.is_file().then_some(program)
    }
}

impl OneArguments {
    pub(crate) fn load(&self) -> Load {
        Load {
            peers: self.peers.max(2),
            senders: self.senders.clamp(1, self.peers),
            pace: self
                .rate
                .map_or(Pace::Window(self.window.max(1)), Pace::Rate),
            line: self.line,
            time: Duration::from_secs_f64(self.seconds),
            deliveries: 0,
            with_joins: false,
        }
    }
}

fn line_length(text: &str) -> Result<usize, String> {
    let limits = TEXT_MIN + 8..=960;
    let length = text.parse().ok().filter(|length| limits.contains(length));
    length.ok_or_else(|| format!("{} to {} bytes", limits.start(), limits.end()))
}
