//! Options that are environment variables.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::builder::FalseyValueParser;
use clap::builder::TypedValueParser;
use clap::{Arg, ArgAction, Command};

/// Removes those environment variables from the command that are empty or turn a switch off. clap
/// would treat them as given: as an error for an empty number, and as a conflict for a switch that
/// is off.
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

#[cfg(test)]
mod tests {
    use super::*;

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
