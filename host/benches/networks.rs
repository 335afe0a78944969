//! Prints how long lines take to live peers, and which of them are lost, while something goes wrong
//! near the relay: in network namespaces, with links that block, peers that are gone and peers that
//! mean no good.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use core::time::Duration;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use kilochat_tests::allow_many_sockets;
use kilochat_tests::lab::{Link, Load, Measured, Row, Trouble, measure};
use kilochat_tests::namespace::enter_shown;

/// How long lines take while something goes wrong near the relay.
#[derive(Debug, Parser)]
struct Arguments {
    /// Half of the time for each row
    #[arg(long)]
    short: bool,

    /// Only the rows whose trouble has one of these in its name
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,

    /// Another program whose relay is measured
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_kilochat"))]
    program: String,

    /// Lines a second
    #[arg(long, value_name = "N", default_value_t = 100)]
    rate: u32,

    /// Bytes of each line's text
    #[arg(long, value_name = "N", default_value_t = 400)]
    length: usize,

    /// Print the relay's counters, too
    #[arg(long)]
    counters: bool,

    /// What cargo gives
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let Some(has_succeeded) = enter_shown(&given) {
        return match has_succeeded {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
    }
    allow_many_sockets();
    let interval = Duration::from_secs(1) / arguments.rate;
    let time = if arguments.short { 6 } else { 12 };
    let load = Load {
        lines: arguments.rate * time,
        interval,
        length: arguments.length,
    };
    println!(
        "{} lines a second of {} bytes for {time} s, from a plain peer on a link without trouble; \
         delays in ms",
        arguments.rate, arguments.length
    );
    print_head();
    for trouble in Trouble::ALL {
        let name = trouble.to_string();
        let only = &arguments.only;
        if only.is_empty() || only.iter().any(|words| name.contains(words.as_str())) {
            print(
                trouble,
                &measure(&arguments.program, trouble, &load),
                arguments.counters,
            );
        }
    }
    ExitCode::SUCCESS
}

fn print_head() {
    let [said, received, missing, lost] = ["said", "received", "missing", "told lost"];
    let [p50, p99, max, cpu] = ["p50", "p99", "max", "CPU s"];
    println!(
        "{:30} {:11} {:7} {said:>5} {received:>8} {missing:>7} {lost:>9} {p50:>8} {p99:>8} {max:>8} {cpu:>6}",
        "trouble", "reader on", ""
    );
}

fn print(trouble: Trouble, measured: &Measured, with_counters: bool) {
    for row in &measured.rows {
        let place = match row.link {
            Link::A => "its link",
            Link::B => "another",
        };
        let [p50, p99, max] = [50, 99, 100].map(|percent| millis(row, percent));
        println!(
            "{trouble:30} {place:11} {:7} {:>5} {:>8} {:>7} {:>9} {p50:>8} {p99:>8} {max:>8} {:>6.2}{}",
            row.dialect,
            row.said,
            row.received,
            row.missing(),
            row.lost,
            measured.cpu.as_secs_f64(),
            match row.disordered {
                0 => String::new(),
                disordered => format!("  {disordered} out of order"),
            }
        );
    }
    if with_counters {
        let counts = measured.counts.iter().filter(|(_, count)| **count > 0);
        let counts: Vec<String> = counts
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        println!("    {}", counts.join(", "));
    }
    // a pipe that nobody reads ends this
    let _ = std::io::stdout().flush();
}

fn millis(row: &Row, percent: usize) -> String {
    if row.delays.is_empty() {
        return "-".into();
    }
    format!("{:.1}", row.percentile(percent).as_secs_f64() * 1000.0)
}
