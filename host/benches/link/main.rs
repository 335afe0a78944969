//! Measures relays that are linked by a real `nats-server`: what the link costs, how fast lines cross, what
//! an outage costs, and how fast the room's stream is read. Each figure stands beside its limit, and what it
//! is compared with is measured in the same run.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "it prints what it measures")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on panics")]

mod archive;
mod cost;
mod crossing;
mod outage;
mod picture;
mod places;
mod reader;
mod relays;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kilochat_tests::allow_many_sockets;

/// What linked relays cost, and how fast they are.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these figures
    #[arg(long, value_enum)]
    only: Vec<What>,

    /// Fewer turns, and shorter ones
    #[arg(long)]
    short: bool,

    /// Fail if a figure is beyond its limit. Lines that are missing or doubled are always a failure
    #[arg(long)]
    check: bool,

    /// Only measure cost and delay with 1 to 20 relays, and draw them and what they are with more to this
    /// file (SVG)
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// A group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Processor time of the relay's thread and of the link's
    Cost,
    /// Lines a second from relay to relay
    Rate,
    /// Delay of a line to a peer elsewhere
    Delay,
    /// Lines around the death of the server
    Outage,
    /// `kilochat history`
    Archive,
}

impl What {
    const ALL: [Self; 5] = [
        Self::Cost,
        Self::Rate,
        Self::Delay,
        Self::Outage,
        Self::Archive,
    ];
}

/// A figure and its limit.
#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    limit: Limit,
    unit: &'static str,
    /// What else was measured.
    beside: String,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// Another value would be an error, and not only slow.
    Exactly(f64),
    /// It is only shown.
    None,
}

impl Figure {
    fn holds(&self) -> bool {
        match self.limit {
            Limit::AtMost(limit) => self.value <= limit,
            Limit::AtLeast(limit) => self.value >= limit,
            Limit::Exactly(wanted) => (self.value - wanted).abs() < f64::EPSILON,
            Limit::None => true,
        }
    }

    fn print(&self) {
        let Self {
            name,
            value,
            limit,
            unit,
            beside,
        } = self;
        let limit = match limit {
            Limit::AtMost(limit) => format!("<= {limit}"),
            Limit::AtLeast(limit) => format!(">= {limit}"),
            Limit::Exactly(wanted) => format!("== {wanted}"),
            Limit::None => String::new(),
        };
        let verdict = if self.holds() { "" } else { "  BEYOND" };
        let value = format!("{value:.3} {unit}");
        println!("{name:58} {value:>14}  {limit:8} {beside}{verdict}");
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    allow_many_sockets();
    if let Some(file) = &arguments.picture {
        let panels = places::measure(if arguments.short { 100 } else { 1000 });
        std::fs::write(file, picture::draw(&panels).unwrap()).unwrap();
        return ExitCode::SUCCESS;
    }
    let wanted = if arguments.only.is_empty() {
        &What::ALL[..]
    } else {
        &arguments.only
    };
    let turns = if arguments.short { 3 } else { 5 };
    println!("linked relays and a nats-server on this machine; medians of {turns} turns");
    let (mut is_sound, mut holds) = (true, true);
    for what in wanted {
        let figures = match what {
            What::Cost => cost::measure(turns),
            What::Rate => crossing::measure_rate(turns),
            What::Delay => crossing::measure_delay(if arguments.short { 500 } else { 3000 }),
            What::Outage => outage::measure(if arguments.short { 1 } else { 3 }),
            What::Archive => archive::measure(turns),
        };
        for figure in &figures {
            figure.print();
            holds &= figure.holds();
            is_sound &= figure.holds() || !matches!(figure.limit, Limit::Exactly(_));
        }
    }
    if is_sound && (holds || !arguments.check) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns the median.
fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "they are far below 2 to the 52")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
