//! Options that are environment variables.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::builder::FalseyValueParser;
use clap::builder::TypedValueParser;
use clap::{Arg, ArgAction, Command};

/// Removes environment variables that are empty, or that turn a switch off, from the command. clap
/// would treat them as given: an empty number as an error, and a switch that is off as a conflict.
pub(crate) fn ignore_unset_variables(command: Command) -> Command {
    command
        .mut_args(|argument| ignore_unset_variable(argument, |name| env::var_os(name)))
        .mut_subcommands(ignore_unset_variables)
}

fn ignore_unset_variable(argument: Arg, value: impl FnOnce(&OsStr) -> Option<OsString>) -> Arg {
    let Some(value) = argument.get_env().and_then(value) else {
        return argument;
    };
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    let is_off = || {
        FalseyValueParser::new()
            .parse_ref(&Command::new(""), None, &value)
            .is_ok_and(|is_on| !is_on)
    };
    if value.is_empty() || is_switch && is_off() {
        return argument.env(None::<&str>);
    }
    argument
}

/// Prefix of the names of all options.
const PREFIX: &str = "KILOCHAT_";

/// Maximum number of characters by which a misspelt name differs from an option: at most 2, and at
/// most a third of the name after the prefix, because short names are similar to many others.
const MISSPELT: usize = 2;

/// Returns messages about variables that look like misspelt options of the command.
pub(crate) fn misspelt(command: &Command) -> Vec<String> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    hints(command, names)
}

fn hints(command: &Command, names: impl Iterator<Item = String>) -> Vec<String> {
    let commands = core::iter::once(command).chain(command.get_subcommands());
    let arguments = commands.flat_map(Command::get_arguments);
    let known: Vec<&str> = arguments
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let hint = |name: String| {
        let distances = known.iter().map(|known| (distance(&name, known), *known));
        let (distance, nearest) = distances.min()?;
        let most = MISSPELT.min((name.len() - PREFIX.len()) / 3);
        let is_misspelt = (1..=most).contains(&distance);
        is_misspelt.then(|| format!("{name} is no option; did you mean {nearest}?"))
    };
    names
        .filter(|name| name.starts_with(PREFIX))
        .filter_map(hint)
        .collect()
}

/// Returns the Levenshtein distance: the number of characters to insert, remove or replace to turn
/// one text into the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (above, character) in one.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        row[0] = left;
        for (place, theirs) in row[1..].iter_mut().zip(other.chars()) {
            let changed = diagonal + usize::from(character != theirs);
            diagonal = *place;
            left = changed.min(left + 1).min(*place + 1);
            *place = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_told_with_the_nearest_one() {
        let option = |name: &'static str| Arg::new(name).env(name);
        let relay = Command::new("relay")
            .arg(option("KILOCHAT_HISTORY"))
            .arg(option("KILOCHAT_KEEP"));
        let command = Command::new("kilochat")
            .subcommand(relay)
            .subcommand(Command::new("chat").arg(option("KILOCHAT_HOST")));
        let names = [
            "KILOCHAT_HISTROY",
            "KILOCHAT_HISTORY",
            "KILOCHAT_SEED",
            "HISTORY",
            "KILOCHAT_OST",
        ];
        let hints = hints(&command, names.into_iter().map(Into::into));
        assert_eq!(
            hints,
            [
                "KILOCHAT_HISTROY is no option; did you mean KILOCHAT_HISTORY?",
                "KILOCHAT_OST is no option; did you mean KILOCHAT_HOST?"
            ]
        );
    }

    #[test]
    fn a_distance_is_the_least_number_of_changes() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(one, other), expected);
            assert_eq!(distance(other, one), expected);
        }
    }

    #[test]
    fn a_variable_that_says_nothing_is_none() {
        let switch = || {
            let switch = Arg::new("quiet").long("quiet").action(ArgAction::SetTrue);
            switch.env("KILOCHAT_QUIET")
        };
        let option = || Arg::new("seats").long("seats").env("KILOCHAT_SEATS");
        for (argument, value, is_kept) in [
            (switch(), "", false),
            (switch(), "0", false),
            (switch(), "off", false),
            (switch(), "1", true),
            (option(), "", false),
            (option(), "0", true),
            (option(), "off", true),
        ] {
            let ignore_unset_variables = ignore_unset_variable(argument, |_| Some(value.into()));
            assert_eq!(
                ignore_unset_variables.get_env().is_some(),
                is_kept,
                "{value:?}"
            );
        }
        assert!(
            ignore_unset_variable(option(), |_| None)
                .get_env()
                .is_some()
        );
    }
}
