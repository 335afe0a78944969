//! Writes the manual pages and the completions of the program, for packages:
//!
//!     cargo run -p kilochat --example pages -- FOLDER

use std::fs::{File, create_dir_all};
use std::io::{self, ErrorKind};
use std::path::Path;

use clap::{Arg, Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use kilochat::args::Arguments;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1);
    let usage = || io::Error::new(ErrorKind::InvalidInput, "usage: pages FOLDER");
    write_all(Path::new(&folder.ok_or_else(usage)?))
}

/// Writes one page for the program and one for each of its commands into `man`, and one file for
/// each shell into `completions`.
fn write_all(folder: &Path) -> io::Result<()> {
    let manual = folder.join("man");
    create_dir_all(&manual)?;
    let mut command = Arguments::command();
    command.build();
    write_pages(&manual, &command)?;
    let completions = folder.join("completions");
    create_dir_all(&completions)?;
    for &shell in Shell::value_variants() {
        let name = "kilochat";
        clap_complete::generate_to(shell, &mut Arguments::command(), name, &completions)?;
    }
    Ok(())
}

fn write_pages(manual: &Path, command: &Command) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut file = File::create(manual.join(format!("{name}.1")))?;
    let page = Man::new(command.clone().mut_args(naming_its_variable))
        .source(format!("kilochat {VERSION}"))
        .manual("kilochat");
    page.render(&mut file)?;
    for command in command.get_subcommands() {
        if command.get_name() != "help" {
            write_pages(manual, command)?;
        }
    }
    Ok(())
}

/// Adds the environment variable of an option to its description.
fn naming_its_variable(argument: Arg) -> Arg {
    let (Some(variable), Some(help)) = (argument.get_env(), argument.get_help()) else {
        return argument;
    };
    let help = format!("{help} [env: {}]", variable.display());
    argument.help(help)
}
