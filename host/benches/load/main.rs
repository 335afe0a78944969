//! Measures the relay under load: the cost and the latency of deliveries, next to a bare loop and
//! other servers.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

mod args;
mod bare;
mod client;
mod crowd;
mod framed;
mod histogram;
mod plot;
mod report;
mod room;
mod server;
mod stream;
mod sweep;
mod table;
mod text;
mod turns;

use core::time::Duration;
use std::io;
use std::process::ExitCode;

use clap::Parser;
use kilochat_tests::allow_many_sockets;

use args::{Arguments, Command, OneArguments, Setup, TableArguments};
use report::Report;
use server::Kind;
use table::Effort;
use turns::Turns;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns false if a condition that was to be checked does not hold.
fn run(arguments: &Arguments) -> io::Result<bool> {
    allow_many_sockets();
    match &arguments.command {
        Some(Command::Bare { peers }) => bare::run(*peers).map(|()| true),
        Some(Command::One(one)) => measure_one(one).map(|()| true),
        Some(Command::Crowd(crowd)) => {
            let room = (crowd.peers, crowd.texts);
            let mut report = Report::default();
            crowd::measure(&crowd.setup, crowd.turns, room, &mut report).map(|_| true)
        }
        None => measure_table(&arguments.table),
    }
}

fn measure_one(arguments: &OneArguments) -> io::Result<()> {
    let mut report = Report::default();
    let wanted = &arguments.servers[..];
    let wanted = if wanted.is_empty() {
        &Kind::ALL
    } else {
        wanted
    };
    let kinds = present(wanted, &arguments.setup, &mut report);
    let load = arguments.load();
    Turns::take(
        &kinds,
        &arguments.setup,
        &load,
        arguments.turns,
        &mut report,
    )
    .map(drop)
}

fn measure_table(arguments: &TableArguments) -> io::Result<bool> {
    let mut report = Report::default();
    report.head();
    let kinds = present(&Kind::ALL, &arguments.setup, &mut report);
    let effort = if arguments.short {
        Effort {
            turns: 3,
            time: Duration::from_millis(300),
        }
    } else {
        Effort {
            turns: 7,
            time: Duration::from_secs(1),
        }
    };
    if let Some(path) = &arguments.plot {
        let panels = sweep::measure(&kinds, &arguments.setup, &mut report)?;
        let picture = plot::draw(&panels).map_err(io::Error::other)?;
        std::fs::write(path, picture)?;
    }
    let verdict = table::measure(&kinds, &arguments.setup, effort, &mut report)?;
    if let Some(path) = &arguments.output {
        report.write(path)?;
    }
    Ok(verdict.is_sound && (verdict.holds || !arguments.check))
}

/// Returns those servers that are installed, and says how to get the others.
fn present(wanted: &[Kind], setup: &Setup, report: &mut Report) -> Vec<Kind> {
    let mut kinds = wanted.to_vec();
    kinds.retain(|kind| match kind.missing(setup) {
        None => true,
        Some(how) => {
            report.line(format!("no {}: {how}", kind.name()));
            false
        }
    });
    kinds
}
