//! What the death of the server costs three places.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Barrier;
use std::time::Instant;

use kilochat_tests::nats::NatsServer;

use crate::reader::{PATIENCE, Peer, wait_for};
use crate::relays::start;
use crate::{Figure, Limit, as_f64};

const PLACES: [&str; 3] = ["boat", "harbour", "school"];

/// Time between two lines of a place.
const PAUSE: Duration = Duration::from_millis(5);

const BEFORE: Duration = Duration::from_secs(2);
const DEAD: Duration = Duration::from_secs(6);
const AFTER: Duration = Duration::from_secs(4);

/// Kills the server while three places talk, starts it again, and counts what is wrong.
pub(crate) fn measure(turns: usize) -> Vec<Figure> {
    let taken: Vec<Outage> = (0..turns).map(|_| turn()).collect();
    let sum = |what: fn(&Outage) -> u64| as_f64(taken.iter().map(what).sum());
    let lines = sum(|outage| outage.lines);
    let firsts: Vec<f64> = taken
        .iter()
        .map(|outage| outage.first.as_secs_f64())
        .collect();
    let errors = |name: &str, value| Figure {
        name: name.into(),
        value,
        limit: Limit::Exactly(0.0),
        unit: "",
        beside: format!("of {lines}"),
    };
    vec![
        errors(
            "server dead for 6 s, 3 x 200 lines a second: missing",
            sum(|outage| outage.missing),
        ),
        errors("... doubled or out of order", sum(|outage| outage.doubled)),
        Figure {
            name: "... first line after its return, longest".into(),
            value: firsts.iter().copied().fold(0.0, f64::max),
            limit: Limit::AtMost(2.0),
            unit: "s",
            beside: format!("{firsts:.2?}"),
        },
    ]
}

struct Outage {
    /// Lines that were to be read.
    lines: u64,
    missing: u64,
    doubled: u64,
    /// Time from the server's return to the first line elsewhere, the longest of all places.
    first: Duration,
}

fn turn() -> Outage {
    let mut server = NatsServer::new();
    let url = server.url();
    let relays = PLACES.map(|place| start(Some((&url, place))));
    let begin = Instant::now();
    let barrier = Barrier::new(PLACES.len() + 1);
    // nanoseconds from the beginning to the server's return
    let returned = AtomicU64::new(u64::MAX);
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PLACES.len())
            .map(|here| {
                let (relay, barrier, returned) = (relays[here].address, &barrier, &returned);
                scope.spawn(move || {
                    let mut peers: Vec<Peer> = (0..PLACES.len())
                        .filter(|there| *there != here)
                        .map(|there| {
                            let author = format!("Ada@{}", PLACES[there]);
                            Peer::join(relay, &format!("Bob{there}"), &author)
                        })
                        .collect();
                    let author = Peer::join(relay, "Ada", "");
                    barrier.wait();
                    talk(author, &mut peers, begin, returned)
                })
            })
            .collect();
        barrier.wait();
        std::thread::sleep(BEFORE);
        server.kill();
        std::thread::sleep(DEAD);
        server.start();
        let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap();
        returned.store(nanos, Ordering::Release);
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.collect::<Vec<Outage>>()
    });
    results.into_iter().fold(
        Outage {
            lines: 0,
            missing: 0,
            doubled: 0,
            first: Duration::ZERO,
        },
        |sum, part| Outage {
            lines: sum.lines + part.lines,
            missing: sum.missing + part.missing,
            doubled: sum.doubled + part.doubled,
            first: sum.first.max(part.first),
        },
    )
}

/// Says lines at a place, and reads those of the others, until all have arrived.
fn talk(mut author: Peer, readers: &mut [Peer], begin: Instant, returned: &AtomicU64) -> Outage {
    let lines = u64::try_from((BEFORE + DEAD + AFTER).as_millis() / PAUSE.as_millis()).unwrap();
    let mut first = None;
    let (start, mut heard) = (Instant::now(), Instant::now());
    while author.said < lines || readers.iter().any(|reader| reader.next < lines) {
        let number = u32::try_from(author.said).unwrap();
        if author.said < lines && start.elapsed() >= PAUSE * number {
            author.say();
        }
        let nanos = returned.load(Ordering::Acquire);
        let mut all: Vec<&mut Peer> = readers.iter_mut().collect();
        if wait_for(&mut all, Duration::from_millis(1)) {
            heard = Instant::now();
            let is_back = nanos < u64::MAX;
            let new = all.iter().any(|reader| {
                let return_time = begin + Duration::from_nanos(nanos.min(u64::MAX / 2));
                is_back && reader.last > return_time
            });
            if new && first.is_none() {
                first = Some(begin.elapsed() - Duration::from_nanos(nanos));
            }
        }
        // what has not come by now is missing
        if heard.elapsed() > PATIENCE {
            break;
        }
    }
    author.read();
    let of = |what: fn(&Peer) -> u64| readers.iter().map(what).sum::<u64>();
    let unread = readers
        .iter()
        .map(|reader| lines - reader.next)
        .sum::<u64>();
    Outage {
        lines: lines * readers.len() as u64,
        missing: of(|reader| reader.faults.missing) + unread,
        doubled: of(|reader| reader.faults.doubled),
        first: first.unwrap_or(PATIENCE),
    }
}
