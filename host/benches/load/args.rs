//! The command line.

use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::server::Kind;
use crate::text::TEXT_MIN;

/// Measures the relay under load, beside a bare loop and other servers, in turns in the same run.
///
/// Without a command it measures every row of its table. It exits with 1 if the relay lost a line,
/// sent it twice or handed it to its author. Files are relative to the folder `host`.
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
    /// Time how long a relay sends to everybody, on one core and on two
    Crowd(CrowdArguments),
    /// Run the bare loop for so many peers, until it is ended
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

    /// Exit with 1 if a row of the table falls short or was not measured
    #[arg(long)]
    pub(crate) check: bool,

    /// Also write everything that is printed to this file, with the command and the date
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write a plot of the cost of a delivery against peers and load to this file (SVG)
    #[arg(long, value_name = "FILE", conflicts_with = "short")]
    pub(crate) plot: Option<PathBuf>,

    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// With what it is measured.
#[derive(Args, Clone, Debug)]
pub(crate) struct Setup {
    /// The program whose `relay` is measured
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_kilochat"))]
    pub(crate) relay: String,

    /// One more option for the relay; repeat it for several
    #[arg(
        long = "relay-option",
        value_name = "OPTION",
        allow_hyphen_values = true
    )]
    pub(crate) relay_options: Vec<String>,

    /// Peers that speak in frames take one datagram at a time, and not several as our client does
    /// where it can (`UDP_GRO`)
    #[arg(long)]
    pub(crate) no_gro: bool,

    /// Folder that holds server_final.py, the server that kilochat grew from
    #[arg(long, value_name = "FOLDER", env = "KILOCHAT_SEED")]
    seed: Option<PathBuf>,

    /// The core that each server gets
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) server_core: usize,

    /// The core that all peers get
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) client_core: usize,
}

#[derive(Args, Debug)]
pub(crate) struct OneArguments {
    #[command(flatten)]
    pub(crate) setup: Setup,

    /// How many peers there are, authors included
    #[arg(long, value_name = "N", default_value_t = 64)]
    peers: usize,

    /// How many of the peers say something, in turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    senders: usize,

    /// How many texts are under way at once: the next is said when everybody has one
    #[arg(long, value_name = "N", default_value_t = 32)]
    window: usize,

    /// Say so many texts a second instead
    #[arg(long, value_name = "N", conflicts_with = "window")]
    rate: Option<f64>,

    /// Bytes of a line as it arrives, with the author's name where the server adds it
    #[arg(long, value_name = "BYTES", default_value_t = 64,
          value_parser = line_length)]
    line: usize,

    /// For how long each turn lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,

    /// How many turns each server gets; medians are printed
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) turns: usize,

    /// What is measured; all that is there unless named
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

    /// How many peers there are, the author included
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) peers: usize,

    /// How many texts are said at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) texts: usize,

    /// How many turns each gets; the median is printed
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) turns: usize,

    #[arg(long, hide = true)]
    bench: bool,
}

/// What a server has to bear.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Everybody in the room.
    pub(crate) peers: usize,
    /// How many of them say something.
    pub(crate) senders: usize,
    pub(crate) pace: Pace,
    /// Bytes of a line as it arrives.
    pub(crate) line: usize,
    pub(crate) time: Duration,
    /// It goes on for longer until there were so many deliveries.
    pub(crate) deliveries: usize,
    /// Whether what it costs to join counts.
    pub(crate) with_joins: bool,
}

/// When texts are said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many are under way at once.
    Window(usize),
    /// So many a second, however many are under way.
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
