//! How fast lines go from one relay to another.

use core::time::Duration;
use std::time::Instant;

use kilochat_tests::nats::NatsServer;

use crate::reader::{Peer, wait};
use crate::relays::{Times, start};
use crate::{Figure, Limit, as_f64, median};

/// Number of lines of a turn. A place may say 20,000 at once before its lines are left out elsewhere.
const LINES: u64 = 19_000;

/// Lines between the author and the reader at its own relay: as many as fit into the relay's socket.
const IN_FLIGHT: u64 = 192;

/// Lines between the author and the reader elsewhere: fewer than the ring has room for.
const CROSSING: u64 = 8_000;

/// Results of a turn.
struct Turn {
    /// Lines a second.
    said: f64,
    crossed: f64,
    /// Processor time of the reading relay in microseconds a line: of its link's thread, and of the others.
    link: f64,
    relay: f64,
    lost: u64,
}

/// Measures lines a second: said at a relay without a link, and read at another relay.
pub(crate) fn measure_rate(turns: usize) -> Vec<Figure> {
    let server = NatsServer::new();
    let url = server.url();
    let harbour = start(Some((&url, "harbour")));
    let taken: Vec<Turn> = (0..turns)
        .map(|turn| {
            let said = says();
            // another place in each turn, because each may say so many lines at once
            let place = format!("boat-{turn}");
            let boat = start(Some((&url, &place)));
            let mut author = Peer::join(boat.address, "Ada", "");
            let mut local = Peer::join(boat.address, "Bob", "Ada");
            let mut elsewhere = Peer::join(
                harbour.address,
                &format!("Eve{turn}"),
                &format!("Ada@{place}"),
            );
            let before = Times::of(&harbour);
            let time = flood(&mut author, &mut local, Some(&mut elsewhere));
            let times = Times::of(&harbour).since(before);
            let lines = as_f64(LINES);
            Turn {
                said,
                crossed: lines / time.as_secs_f64(),
                link: times.link.as_secs_f64() * 1e6 / lines,
                relay: times.relay.as_secs_f64() * 1e6 / lines,
                lost: elsewhere.faults.all(),
            }
        })
        .collect();
    let of = |what: fn(&Turn) -> f64| median(taken.iter().map(what));
    let (said, crossed) = (of(|turn| turn.said), of(|turn| turn.crossed));
    vec![
        Figure {
            name: "lines a second from relay to relay / said without a link".into(),
            value: of(|turn| turn.crossed / turn.said),
            limit: Limit::AtLeast(0.4),
            unit: "",
            beside: format!("{crossed:.0} / {said:.0}"),
        },
        Figure {
            name: "... lines lost, doubled or left out".into(),
            value: as_f64(taken.iter().map(|turn| turn.lost).sum()),
            limit: Limit::Exactly(0.0),
            unit: "",
            beside: format!("of {}", LINES * taken.len() as u64),
        },
        Figure {
            name: "... link's thread, time per line from elsewhere".into(),
            value: of(|turn| turn.link),
            limit: Limit::AtMost(4.0),
            unit: "us",
            beside: format!("the relay's thread {:.3} us", of(|turn| turn.relay)),
        },
    ]
}

/// Returns the lines a second of a relay without a link.
fn says() -> f64 {
    let relay = start(None);
    let mut author = Peer::join(relay.address, "Ada", "");
    let mut reader = Peer::join(relay.address, "Bob", "Ada");
    let time = flood(&mut author, &mut reader, None);
    assert_eq!(reader.faults.all(), 0, "{reader:?}");
    as_f64(LINES) / time.as_secs_f64()
}

/// Says lines as fast as they are read. Returns the time until all were read.
fn flood(author: &mut Peer, local: &mut Peer, elsewhere: Option<&mut Peer>) -> Duration {
    let mut readers = vec![local];
    readers.extend(elsewhere);
    let start = Instant::now();
    loop {
        let local = readers[0].next;
        let least = readers.last().map_or(local, |reader| reader.next);
        if least >= LINES && local >= LINES {
            return start.elapsed();
        }
        while author.said < LINES.min(local + IN_FLIGHT).min(least + CROSSING) {
            author.say();
        }
        wait(&mut readers);
    }
}

/// Measures the delay of single lines: to a peer of the same relay, and to one elsewhere.
pub(crate) fn measure_delay(lines: u64) -> Vec<Figure> {
    let server = NatsServer::new();
    let url = server.url();
    let (boat, harbour) = (start(Some((&url, "boat"))), start(Some((&url, "harbour"))));
    let mut author = Peer::join(boat.address, "Ada", "");
    let mut local = Peer::join(boat.address, "Bob", "Ada");
    let mut elsewhere = Peer::join(harbour.address, "Eve", "Ada@boat");
    let mut delays = [Vec::new(), Vec::new()];
    for number in 1..=lines {
        std::thread::sleep(Duration::from_millis(1));
        let start = Instant::now();
        author.say();
        for (reader, delays) in [&mut local, &mut elsewhere].into_iter().zip(&mut delays) {
            reader.read_until(number);
            delays.push((reader.last - start).as_secs_f64() * 1e3);
        }
    }
    for reader in [&local, &elsewhere] {
        assert_eq!(reader.faults.all(), 0, "{reader:?}");
    }
    let [[here, here_p99], [there, there_p99]] = delays.map(|mut delays| {
        delays.sort_by(f64::total_cmp);
        [delays.len() / 2, delays.len() * 99 / 100].map(|index| delays[index])
    });
    vec![Figure {
        name: "delay to a peer elsewhere, more than to one here, p50".into(),
        value: there - here,
        limit: Limit::AtMost(1.0),
        unit: "ms",
        beside: format!("{there:.3} - {here:.3}; p99 {there_p99:.3} and {here_p99:.3}"),
    }]
}
