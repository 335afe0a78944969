//! `kilochat relay`: the relay on the operating system's UDP sockets.

mod addresses;
mod announce;
mod config;
mod console;
mod greeting;
mod inquiry;
mod journal;
mod keep;
#[cfg_attr(not(feature = "link"), path = "relay/unlinked.rs")]
pub(crate) mod link;
mod loud;
mod metrics;
mod network;
mod paths;
mod pauses;
mod per_address;
mod reports;
mod rules;
mod server;
mod signals;
mod sockets;
mod stopper;
#[cfg(unix)]
mod systemd;
mod transport;
mod turn;
mod worker;

use std::thread::JoinHandle;

use self::announce::Announcement;
use crate::Error;
use crate::args::RelayArguments;

pub use rules::read as read_rules;
pub use server::Server;
pub use stopper::Stopper;

pub(crate) use announce::RELAYS;

#[cfg(feature = "web")]
pub(crate) use addresses::{attached_networks, interfaces};
#[cfg(feature = "web")]
pub(crate) use greeting::reachable;
#[cfg(feature = "web")]
pub(crate) use journal::subscribe;
#[cfg(feature = "web")]
pub(crate) use signals::handle as handle_signals;
#[cfg(feature = "web")]
pub(crate) use sockets::allow_many as allow_many_files;

/// Runs the relay until it is told to stop.
///
/// # Errors
///
/// If a socket cannot be opened as requested.
#[cfg(not(feature = "web"))]
pub fn run(arguments: &RelayArguments) -> Result<(), Error> {
    let mut server = Server::bind(arguments)?;
    let rules = rules::Source::new(&arguments.admission);
    signals::handle(server.stopper(), None, Some(rules))?;
    greeting::print(&server.addresses(), arguments.open);
    take_orders(&mut server)?;
    let announcement = Announcement::start(arguments, server.stopper(), &server.addresses(), &[]);
    let result = server.run();
    announcement.into_iter().for_each(Announcement::stop);
    result
}

/// Runs the relay until it is told to stop, with the page if it is requested. Without the page it runs all
/// the same if that cannot be served.
///
/// # Errors
///
/// If a socket cannot be opened as requested.
#[cfg(feature = "web")]
pub fn run(arguments: &RelayArguments) -> Result<(), Error> {
    use crate::web::Beside;

    let mut server = Server::bind(arguments)?;
    let web = Beside::start(arguments, &server.addresses()).unwrap_or_else(|error| {
        tracing::error!("{error}; the relay runs without a page");
        None
    });
    let rules = rules::Source::new(&arguments.admission);
    let page = web.as_ref().map(Beside::stopper);
    signals::handle(server.stopper(), page, Some(rules))?;
    greeting::print(&server.addresses(), arguments.open);
    web.iter().for_each(Beside::greet);
    take_orders(&mut server)?;
    let page = web.as_ref().map(Beside::addresses).unwrap_or_default();
    let announcement = Announcement::start(arguments, server.stopper(), &server.addresses(), page);
    let result = server.run();
    announcement.into_iter().for_each(Announcement::stop);
    // not earlier: pages acknowledge the last lines
    web.into_iter().for_each(Beside::stop);
    result
}

/// Starts a relay on a thread of its own, until it is stopped. It prints nothing, and nobody types at it.
///
/// # Errors
///
/// If a socket cannot be opened as requested.
pub(crate) fn start(arguments: RelayArguments) -> Result<(Stopper, JoinHandle<()>), Error> {
    let mut server = Server::bind_without_console(&arguments)?;
    let stopper = server.stopper();
    let run = move || {
        let announcement =
            Announcement::start(&arguments, server.stopper(), &server.addresses(), &[]);
        if let Err(error) = server.run() {
            tracing::error!("{error}");
        }
        announcement.into_iter().for_each(Announcement::stop);
    };
    let thread = std::thread::Builder::new().name("relay".into()).spawn(run);
    let failed = |error| Error::Failure(format!("cannot start a thread: {error}"));
    Ok((stopper, thread.map_err(failed)?))
}

/// Lets somebody at the relay's own terminal, if there is one, speak and give orders.
fn take_orders(server: &mut Server) -> Result<(), Error> {
    if console::is_there() {
        server.take_orders()?;
        let mut out = std::io::stdout();
        // nobody reads it if that fails
        let _ = std::io::Write::write_all(&mut out, HINT);
    }
    Ok(())
}

/// Hint for whoever types into the program, printed if the input is a terminal.
const HINT: &[u8] = b"what you type is said as host; /kick NAME is an order, / lists all\n";
