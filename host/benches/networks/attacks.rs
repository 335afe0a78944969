//! The table of attacks: a row for each, and a column for each program.

use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::io::Write;
use std::panic::catch_unwind;

use kilochat_tests::lab::{Attack, Dialect, Load, Measured, Trouble, measure};

use crate::Arguments;

/// What hosts do as fast as they can, and names of hosts that do not exist.
const FLOODS: [Trouble; 7] = [
    Trouble::None,
    Trouble::Hellos,
    Trouble::Garbage,
    Trouble::Talker,
    Trouble::Renamer,
    Trouble::Ghosts,
    Trouble::GhostFlood(20),
];

/// Readers that have sent more than their name.
const TALKERS: [Dialect; 2] = [Dialect::Plain, Dialect::Framed];

/// Prints the table. Less is better in each row.
pub(crate) fn print(arguments: &Arguments) {
    let seconds = if arguments.short { 4 } else { 10 };
    let time = Duration::from_secs(seconds.into());
    println!(
        "relays with their default limits; each attack lasts {seconds} s at most. Of a flood: lines \
         that honest readers lose, the 99th percentile of the time that the others take, the relay's \
         part of a processor"
    );
    for (number, program) in arguments.programs.iter().enumerate() {
        println!("{}: {program}", number + 1);
    }
    let numbers = (1..=arguments.programs.len()).map(|number| number.to_string());
    print_row("attack", numbers);
    for attack in Attack::ALL {
        let name = attack.to_string();
        if arguments.wants(&name) {
            let launch = |program: &String| shown(attack.launch(program, time));
            print_row(&name, cells(arguments, launch));
        }
    }
    // half of the lines that a peer may say by default
    let load = Load {
        lines: 10 * seconds,
        interval: Duration::from_millis(100),
        length: 64,
        limited: true,
    };
    for flood in FLOODS {
        let name = flood.to_string();
        if arguments.wants(&name) {
            let flooded = |program: &String| flooded(&measure(program, flood, &load), time);
            print_row(&name, cells(arguments, flooded));
        }
    }
}

/// Returns what is measured of each program, or that it cannot be.
fn cells<'a>(
    arguments: &'a Arguments,
    measured: impl Fn(&String) -> String + 'a,
) -> impl Iterator<Item = String> + 'a {
    arguments.programs.iter().map(move |program| {
        let found = catch_unwind(AssertUnwindSafe(|| measured(program)));
        found.unwrap_or_else(|_| "failed".into())
    })
}

fn print_row(name: &str, cells: impl Iterator<Item = String>) {
    print!("{name:52}");
    for cell in cells {
        print!("  {cell:>26}");
        // fails if nobody reads the pipe; the program ends then
        let _ = std::io::stdout().flush();
    }
    println!();
}

/// Returns three digits of a number, or all before the point.
fn shown(number: f64) -> String {
    let places = if number < 10.0 { 1 } else { 0 };
    format!("{number:.places$}")
}

fn flooded(measured: &Measured, time: Duration) -> String {
    let rows = measured.rows.iter();
    let rows = rows.filter(|row| TALKERS.contains(&row.dialect));
    let lost = rows.clone().map(|row| 100 * row.missing() / row.said).max();
    let slow = rows.map(|row| row.percentile(99)).max();
    let slow = shown(1000.0 * slow.unwrap_or_default().as_secs_f64());
    let cpu = shown(100.0 * measured.cpu.as_secs_f64() / time.as_secs_f64());
    format!("{} %, {slow} ms, {cpu} %", lost.unwrap_or_default())
}
