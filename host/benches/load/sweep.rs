//! The cost of a delivery against the number of peers and the load.

use core::time::Duration;
use std::io;

use crate::args::{Load, Pace, Setup};
use crate::plot::Panel;
use crate::report::Report;
use crate::room::{Outcome, as_f64};
use crate::server::Kind;
use crate::turns::Turns;

/// Number of authors where many texts are in flight: one framed peer has at most 900 bytes in
/// flight.
const AUTHORS: usize = 8;

const TURNS: usize = 5;
const TIME: Duration = Duration::from_millis(300);

/// Measures both panels of the plot.
///
/// # Errors
///
/// If a server cannot be started, or fails.
pub(crate) fn measure(
    kinds: &[Kind],
    setup: &Setup,
    report: &mut Report,
) -> io::Result<[Panel; 2]> {
    let peers = [4, 16, 64, 256, 1024, 4096].map(|peers| (peers, peers, 32, 1));
    let windows =
        [1, 2, 4, 8, 16, 32, 64, 128, 256].map(|window| (window, 64, window, window.min(AUTHORS)));
    let title = "CPU µs per delivery, 32 texts in flight, 1 author";
    let by_peers = panel(title, "peers", &peers, (kinds, setup), report)?;
    let title = "CPU µs per delivery, 64 peers, up to 8 authors";
    let by_load = panel(title, "texts in flight", &windows, (kinds, setup), report)?;
    Ok([by_peers, by_load])
}

/// Measures a panel: points with a position on the axis, peers, texts in flight, and authors.
fn panel(
    title: &'static str,
    axis: &'static str,
    points: &[(usize, usize, usize, usize)],
    (kinds, setup): (&[Kind], &Setup),
    report: &mut Report,
) -> io::Result<Panel> {
    let ticks = points.iter().map(|(x, ..)| as_f64(*x)).collect();
    let mut panel = Panel::new(title, axis, ticks);
    for (x, peers, window, senders) in points {
        let load = Load {
            peers: *peers,
            senders: *senders,
            pace: Pace::Window(*window),
            line: 64,
            time: TIME,
            deliveries: 0,
            with_joins: false,
        };
        let turns = Turns::take(kinds, setup, &load, TURNS, report)?;
        for kind in turns.kinds() {
            let cost = turns.median(kind, Outcome::cost).unwrap_or(f64::NAN);
            panel.point(kind, as_f64(*x), cost);
        }
    }
    Ok(panel)
}
