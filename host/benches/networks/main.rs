//! Prints the latency and the losses of live peers while there is trouble near the relay: in
//! network namespaces, with links that block, peers that vanish, and hostile peers. With `--attacks`
//! prints what each of many attacks achieves, in a table with a column for each program.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

mod attacks;

use core::time::Duration;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use kilochat_tests::allow_many_sockets;
use kilochat_tests::lab::{Link, Load, Measured, Row, Trouble, measure};
use kilochat_tests::namespace::enter_shown;

/// Latency of lines while there is trouble near the relay.
#[derive(Debug, Parser)]
struct Arguments {
    /// Half of the time for each row
    #[arg(long)]
    short: bool,

    /// Only rows whose kind of trouble has one of these words in its name
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,

    /// Instead, print what attacks achieve
    #[arg(long)]
    attacks: bool,

    /// The program whose relay is measured; repeat it for several, such as one from before a change
    #[arg(long = "program", value_name = "PATH", default_value = env!("CARGO_BIN_EXE_kilochat"))]
    programs: Vec<String>,

    /// Lines a second
    #[arg(long, value_name = "N", default_value_t = 100)]
    rate: u32,

    /// Bytes of each line's text
    #[arg(long, value_name = "N", default_value_t = 400)]
    length: usize,

    /// Print the relay's counters, too
    #[arg(long)]
    counters: bool,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// Returns whether a row of this name is to be printed.
    fn wants(&self, name: &str) -> bool {
        let only = &self.only;
        only.is_empty() || only.iter().any(|words| name.contains(words.as_str()))
    }
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
    if arguments.attacks {
        attacks::print(&arguments);
    } else {
        print_troubles(&arguments);
    }
    ExitCode::SUCCESS
}

fn print_troubles(arguments: &Arguments) {
    let interval = Duration::from_secs(1) / arguments.rate;
    let time = if arguments.short { 6 } else { 12 };
    let load = Load {
        lines: arguments.rate * time,
        interval,
        length: arguments.length,
        limited: false,
    };
    println!(
        "{} lines a second of {} bytes for {time} s, from a plain peer on a link without trouble; \
         delays in ms",
        arguments.rate, arguments.length
    );
    for program in &arguments.programs {
        println!("{program}");
        print_head();
        for trouble in Trouble::ALL {
            if trouble == Trouble::None || arguments.wants(&trouble.to_string()) {
                // the machine may be busier than it was before
                let without = measure(program, Trouble::None, &load);
                let measured = measure(program, trouble, &load);
                print(trouble, &measured, &without, arguments.counters);
            }
        }
    }
    println!(
        "* for a reader on another link: p99 in its limit, which is twice that without trouble and \
         1 ms more; CPU is that of the relay, beside its own without trouble; each just before"
    );
}

fn print_head() {
    let [said, received, missing, lost] = ["said", "received", "missing", "told lost"];
    let [p50, p99, max, limit] = ["p50", "p99", "max", "p99/limit*"];
    let [cpu, ratio] = ["CPU ms", "CPU ratio*"];
    println!(
        "{:30} {:11} {:7} {said:>5} {received:>8} {missing:>7} {lost:>9} {p50:>8} {p99:>8} {max:>8} \
         {limit:>10} {cpu:>7} {ratio:>10}",
        "trouble", "reader on", ""
    );
}

fn print(trouble: Trouble, measured: &Measured, without: &Measured, with_counters: bool) {
    let cpu = measured.cpu.as_secs_f64();
    let ratio = cpu / without.cpu.as_secs_f64();
    for row in &measured.rows {
        let place = match row.link {
            Link::A => "its link",
            Link::B => "another",
        };
        let [p50, p99, max] = [50, 99, 100].map(|percent| millis(row, percent));
        let limit = match row.link {
            Link::A => String::new(),
            Link::B => format!("{:.2}", share_of_limit(row, without)),
        };
        println!(
            "{trouble:30} {place:11} {:7} {:>5} {:>8} {:>7} {:>9} {p50:>8} {p99:>8} {max:>8} \
             {limit:>10} {:>7.1} {ratio:>10.2}{}",
            row.dialect,
            row.said,
            row.received,
            row.missing(),
            row.lost,
            cpu * 1000.0,
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
    // fails if nobody reads the pipe; the program ends then
    let _ = std::io::stdout().flush();
}

/// Returns the delay of a reader as a part of the delay that trouble elsewhere may cause.
fn share_of_limit(row: &Row, without: &Measured) -> f64 {
    let undisturbed = without.row(row.link, row.dialect).percentile(99);
    let limit = 2 * undisturbed + Duration::from_millis(1);
    row.percentile(99).as_secs_f64() / limit.as_secs_f64()
}

fn millis(row: &Row, percent: usize) -> String {
    if row.delays.is_empty() {
        return "-".into();
    }
    format!("{:.1}", row.percentile(percent).as_secs_f64() * 1000.0)
}
