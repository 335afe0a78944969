//! Builds the configuration of the core from the command line.

use heapless::String;
use if_addrs::Interface;
use kilochat_core::{Config, MOTD_MAX, Name, clean};

use super::addresses::attached_networks;
use super::console;
use crate::args::RelayArguments;
use crate::{Error, operator};

/// Builds the core's configuration from the command line, with the networks of `interfaces`.
///
/// # Errors
///
/// If a value exceeds the core's capacity, or the system provides no random numbers.
pub(super) fn config(
    arguments: &RelayArguments,
    interfaces: &[Interface],
) -> Result<Config, Error> {
    let motd = motd(arguments)?;
    let mut key = [0; 16];
    getrandom::fill(&mut key)
        .map_err(|error| Error::Failure(format!("the system has no random numbers: {error}")))?;
    Ok(Config {
        seats: arguments.seats,
        history: arguments.history,
        announce_up_to: if arguments.no_notices {
            0
        } else {
            arguments.announce_up_to
        },
        echo: arguments.echo,
        classic: arguments.classic,
        open: arguments.open,
        prove: arguments.prove,
        rate: arguments.admission.rate.rate,
        burst: arguments.admission.rate.burst,
        unproven: arguments.admission.unproven,
        operator: match &arguments.admission.operators {
            Some(folder) => Some(operator::read_or_make(folder)?),
            None => None,
        },
        host: console::is_there(),
        name: announced(arguments),
        motd,
        networks: attached_networks(interfaces),
        #[cfg(feature = "link")]
        place: place(arguments).map_or_else(Default::default, |place| place.of_core()),
        ..Config::new(key)
    })
}

/// Returns what greets newcomers, who must know that what they say is kept.
fn motd(arguments: &RelayArguments) -> Result<String<MOTD_MAX>, Error> {
    let asked = arguments.motd.as_deref().unwrap_or_default();
    let days = arguments.keep_days;
    let kept = match (&arguments.keep, days) {
        (None, _) => std::string::String::new(),
        (Some(_), 1) => "what is said is kept for a day".into(),
        (Some(_), _) => format!("what is said is kept for {days} days"),
    };
    let between = if asked.is_empty() || kept.is_empty() {
        ""
    } else {
        "; "
    };
    let room = MOTD_MAX - kept.len() - between.len();
    let whole = format!("{asked}{between}{kept}");
    String::try_from(whole.as_str()).map_err(|_| {
        let length = asked.len();
        Error::Usage(format!("--motd is {length} bytes; at most {room} fit"))
    })
}

/// Returns the name of the relay's place, if it is linked with others.
#[cfg(feature = "link")]
pub(super) fn place(arguments: &RelayArguments) -> Option<crate::args::Token> {
    use crate::args::Token;

    let options = &arguments.link;
    let named = || Token::repaired(&machine());
    let is_linked = !options.link.is_empty();
    is_linked.then(|| options.place.clone().unwrap_or_else(named))
}

/// Returns the name of the relay.
pub(super) fn announced(arguments: &RelayArguments) -> Name {
    name(arguments.announce.clone().unwrap_or_else(machine))
}

/// Returns the name in the form in which clients are told it: one word.
fn name(raw: impl AsRef<str>) -> Name {
    let mut name = Name::new();
    for character in clean(raw.as_ref().trim()) {
        let word = if character.is_whitespace() {
            '-'
        } else {
            character
        };
        // what does not fit is left out
        if name.push(word).is_err() {
            break;
        }
    }
    name
}

/// Returns the name of this machine, without its domain; empty if it has none.
fn machine() -> std::string::String {
    #[cfg(unix)]
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").ok();
    let name = name.unwrap_or_default();
    name.split('.').next().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_that_fits() {
        for (raw, expected) in [
            ("lab", "lab"),
            (" Lab 3\t", "Lab-3"),
            ("a\u{3000}b\x07", "a-b?"),
            (
                "\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}",
                "\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}\u{5C0F}",
            ),
            ("", ""),
        ] {
            assert_eq!(name(raw), expected, "{raw}");
        }
    }
}
