//! The chat client: a line editor on a terminal, lines on a pipe.

mod conversation;
mod dialect;
mod event;
mod framed;
mod ignored;
mod log;
mod own_relay;
mod plain;
mod ports;
mod private;
mod screen;
mod send;
mod wake;

use std::io::{IsTerminal, stdin, stdout};

use kilochat_core::{NAME_MAX, PORT};

use self::conversation::{Choice, Conversation, Plan};
use self::dialect::User;
use self::own_relay::OwnRelay;
use self::plain::wire;
use self::screen::lines;
use self::screen::output::{self, Format};
use self::screen::terminal::Terminal;
use self::screen::wrap::Autowrap;
pub use self::send::send;
use crate::args::ChatArguments;
use crate::{Error, address, find, operator};

/// Joins a relay and chats until the user leaves or the input ends.
///
/// # Errors
///
/// If the relay cannot be reached, or a required argument is missing.
pub fn run(arguments: &ChatArguments) -> Result<(), Error> {
    let format = Format {
        colour: output::is_coloured(arguments.color),
        time: arguments.time,
        columns: None,
        autowrap: Autowrap::On,
    };
    let is_dumb = std::env::var("TERM").is_ok_and(|term| is_dumb(&term));
    if stdin().is_terminal() && stdout().is_terminal() && !arguments.json && !is_dumb {
        return on_terminal(arguments, format);
    }
    let Some(host) = &arguments.host else {
        return Err(Error::Usage(
            "say where the relay is: kilochat chat HOST[:PORT] --name NAME".into(),
        ));
    };
    let Some(name) = &arguments.name else {
        return Err(Error::Usage(
            "say who you are: kilochat chat HOST[:PORT] --name NAME".into(),
        ));
    };
    let mut conversation = conversation(arguments, User::Program, host, name)?;
    let options = lines::Options {
        format,
        json: arguments.json,
        stay: arguments.stay,
    };
    lines::run(&mut conversation, options)
}

/// Returns whether a terminal of this type cannot move its cursor. It is then treated as a pipe.
fn is_dumb(term: &str) -> bool {
    const DUMB: [&str; 8] = [
        "cons25", "dialup", "dumb", "emacs", "network", "switch", "unknown", "vt52",
    ];
    let kind = term.split('-').next().unwrap_or_default();
    DUMB.contains(&kind)
}

fn on_terminal(arguments: &ChatArguments, format: Format) -> Result<(), Error> {
    let mut terminal = Terminal::new(format, !arguments.no_bell)?;
    // it ends when this function does
    let mut own_relay = None;
    let host = match &arguments.host {
        Some(host) => Some(host.clone()),
        None => find_relay(&mut terminal, &mut own_relay)?,
    };
    let Some(host) = host else { return Ok(()) };
    let name = match &arguments.name {
        Some(name) => Some(name.clone()),
        None => terminal.ask("Your nickname", &user())?,
    };
    let Some(name) = name else { return Ok(()) };
    let mut conversation = conversation(arguments, User::Person, &host, &name)?;
    terminal.run(&mut conversation)
}

/// Looks for relays. Joins the only one, or asks which; starts one if there is none and the user wants
/// that. Returns `None` if the user wants to leave.
fn find_relay(
    terminal: &mut Terminal,
    own_relay: &mut Option<OwnRelay>,
) -> Result<Option<String>, Error> {
    let found = find::look(PORT, find::LOOK);
    if found.is_empty() {
        let question = "no relay on this network. Enter starts one here, or type an address";
        loop {
            match terminal.ask_once(question)? {
                Some(answer) if answer.is_empty() => break,
                Some(answer) if !is_address(terminal, &answer)? => {}
                answer => return Ok(answer),
            }
        }
        *own_relay = Some(OwnRelay::start()?);
        terminal.tell("a relay runs here until you leave; others join it with: kilochat chat")?;
        return Ok(Some("127.0.0.1".into()));
    }
    if let [only] = &found[..] {
        terminal.tell(&only.to_string())?;
        return Ok(Some(only.host()));
    }
    for (number, relay) in (1..).zip(&found) {
        terminal.tell(&format!("{number}. {relay}"))?;
    }
    loop {
        let Some(answer) = terminal.ask("Number of the relay, or an address", "1")? else {
            return Ok(None);
        };
        let Ok(number) = answer.parse::<usize>() else {
            if is_address(terminal, &answer)? {
                return Ok(Some(answer));
            }
            continue;
        };
        match number.checked_sub(1).and_then(|index| found.get(index)) {
            Some(relay) => return Ok(Some(relay.host())),
            None => terminal.tell(&format!("there is no number {number}"))?,
        }
    }
}

/// Returns whether a text is the address of a host. If it is not, the user is told.
fn is_address(terminal: &mut Terminal, text: &str) -> Result<bool, Error> {
    let found = address::find(text);
    if let Err(error) = &found {
        terminal.tell(&error.to_string())?;
    }
    Ok(found.is_ok())
}

/// Resolves the relay's address and prepares to join.
fn conversation(
    arguments: &ChatArguments,
    user: User,
    host: &str,
    raw: &str,
) -> Result<Conversation, Error> {
    let name = usable_name(raw)?;
    let choice = match arguments {
        _ if arguments.classic => Choice::Classic,
        _ if arguments.plain => Choice::Plain,
        _ => Choice::Any,
    };
    let key = arguments.operator_key.as_deref().map(operator::read);
    let plan = Plan {
        operator: key.transpose()?,
        name: name.clone(),
        user,
        choice,
        is_announced: true,
        lingers: true,
        waits_for_seat: user == User::Person || arguments.stay,
    };
    let mut conversation = Conversation::new(plan, host)?;
    if let Some(path) = &arguments.log {
        conversation.set_log(path)?;
    }
    if raw.trim().len() > NAME_MAX {
        conversation.status(format!("the name is cut to {NAME_MAX} bytes: {name}"));
    }
    Ok(conversation)
}

/// Returns the name in the form in which it is sent.
///
/// # Errors
///
/// If the name has no visible character.
fn usable_name(raw: &str) -> Result<String, Error> {
    let name = wire::name(raw);
    if name.is_empty() {
        return Err(Error::Usage("the name has no visible character".into()));
    }
    Ok(name)
}

/// Returns the user's login name, or an empty string if the environment does not contain it.
fn user() -> String {
    ["USER", "USERNAME", "LOGNAME"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok())
        .unwrap_or_default()
}
