//! Plants the bugs in a copy of the workspace, in `target/planted`, and expects the simulators to
//! find each of them there.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program")]

use core::sync::atomic::{AtomicUsize, Ordering};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use kilochat_tests::planted::{
    FOUND_BY_CORPUS, Found, ROWS, Simulator, VARIABLE, bugs, hunt, hunt_in_corpus, make,
};

/// Number of simulations, with the seeds from 0 on, after which a bug counts as not found.
const SEEDS: u64 = 2_000;

/// Number of simulations of the unchanged copy, in which no violation may be found. Most bugs are
/// found in fewer than 100.
const SEEDS_WITHOUT: u64 = 1_000;

fn main() -> ExitCode {
    let done = match env::var(VARIABLE) {
        Ok(number) => number
            .parse()
            .map_err(|_| format!("{VARIABLE} is no number"))
            .and_then(hunt_planted),
        Err(_) => plant_and_hunt_all(),
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            println!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

/// Runs in the copy: hunts the bug with this number, or shows that no violation is found without a
/// bug.
fn hunt_planted(number: usize) -> Result<String, String> {
    let Some(bug) = number.checked_sub(1).map(|place| bugs()[place]) else {
        return find_nothing();
    };
    if FOUND_BY_CORPUS.contains(&bug) && !hunt_in_corpus()? {
        return Err("the corpus does not find it".into());
    }
    let row = ROWS.iter().find(|row| row.bug == bug).unwrap();
    let found = hunt(row.found_by, SEEDS)?;
    let Found { seed, said } = found.ok_or("the simulator does not find it")?;
    let said: String = said.chars().take(100).collect();
    Ok(format!("{seed:>5}  {said}"))
}

fn find_nothing() -> Result<String, String> {
    for simulator in [Simulator::Plain, Simulator::Framed, Simulator::Linked] {
        if let Some(Found { seed, said }) = hunt(simulator, SEEDS_WITHOUT)? {
            return Err(format!("without a bug, {simulator:?} {seed}: {said}"));
        }
    }
    if hunt_in_corpus()? {
        return Err("without a bug, the corpus finds one".into());
    }
    Ok("    -  nothing, as it should".into())
}

fn plant_and_hunt_all() -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = root.join("target/planted");
    make(&root, &copy)?;
    let program = build(&copy)?;
    let mut names = vec!["(none)"];
    names.extend(bugs());
    let mut outcomes = hunt_all(&program, names.len());
    outcomes.sort_by_key(|(number, _)| *number);
    println!("{:<20} {:>5}  what the oracle said", "bug", "seed");
    let mut missed = Vec::new();
    for (name, (_, outcome)) in names.iter().zip(outcomes) {
        let (Ok(said) | Err(said)) = &outcome;
        println!("{name:<20} {}", said.trim_end());
        missed.extend(outcome.is_err().then_some(*name));
    }
    if missed.is_empty() {
        Ok(format!("all {} bugs are found", names.len() - 1))
    } else {
        Err(format!("wrong results: {}", missed.join(", ")))
    }
}

/// Builds this program in the copy, with a target folder of its own: cargo takes the packages of
/// copy and workspace for the same.
fn build(copy: &Path) -> Result<PathBuf, String> {
    let target = copy.join("target");
    let status = Command::new(env!("CARGO"))
        .current_dir(copy)
        .args(["build", "--locked", "--package", "kilochat-tests"])
        .args(["--bin", "planted", "--target-dir"])
        .arg(&target)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    let program = format!("debug/planted{}", env::consts::EXE_SUFFIX);
    status
        .success()
        .then(|| target.join(program))
        .ok_or_else(|| "the copy with the bugs does not build".into())
}

/// Runs the program for each number below `end`, as many at a time as there are processors.
fn hunt_all(program: &Path, end: usize) -> Vec<(usize, Result<String, String>)> {
    let next = AtomicUsize::new(0);
    let hunt_some = || {
        let numbers = core::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let numbers = numbers.take_while(|number| *number < end);
        numbers
            .map(|number| (number, run(program, number)))
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(hunt_some)).collect();
        let outcomes = threads.into_iter().map(|thread| thread.join().unwrap());
        outcomes.flatten().collect()
    })
}

fn run(program: &Path, number: usize) -> Result<String, String> {
    let output = Command::new(program)
        .env(VARIABLE, number.to_string())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let said = said + &String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", output.status, said.trim()))
}
