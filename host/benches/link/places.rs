//! What a line costs, and how late it comes, against the number of linked relays.

use core::time::Duration;
use std::time::Instant;

use kilochat_tests::nats::NatsServer;

use crate::as_f64;
use crate::picture::{Panel, Series};
use crate::reader::{Peer, wait};
use crate::relays::{processor_time, start};

/// Numbers of relays.
const NUMBERS: [u8; 7] = [1, 2, 3, 5, 8, 13, 20];

/// Time between two lines: the room is quiet, so each line is a message of its own.
const PAUSE: Duration = Duration::from_millis(2);

const WARM_UP: u64 = 50;

/// What was measured with a number of relays. All of them, the server and the readers are on this machine.
struct Row {
    relays: f64,
    /// Processor time in microseconds a line: of the relay where it is said, of each other relay, of the
    /// server.
    author: f64,
    other: Option<f64>,
    server: f64,
    /// Delays in milliseconds, median and 99th percentile.
    here: [f64; 2],
    elsewhere: Option<[f64; 2]>,
}

/// Measures with each number of relays. Prints the results, and returns the panels of a picture.
pub(crate) fn measure(lines: u64) -> [Panel; 2] {
    println!("relays   us a line: author's relay, another, server   ms here, elsewhere: p50, p99");
    let rows = NUMBERS.map(|number| row(number, lines));
    let series = |name, what: fn(&Row) -> Option<f64>| {
        let points = rows.iter().filter_map(|row| Some((row.relays, what(row)?)));
        Series::new(name, points.collect())
    };
    [
        Panel::new(
            "processor time of a line, µs",
            vec![
                series("server", |row| Some(row.server)),
                series("relay of its author", |row| Some(row.author)),
                series("each other relay", |row| row.other),
            ],
        ),
        Panel::new(
            "delay of a line, ms",
            vec![
                series("elsewhere, p99", |row| Some(row.elsewhere?[1])),
                series("elsewhere, p50", |row| Some(row.elsewhere?[0])),
                series("here, p50", |row| Some(row.here[0])),
            ],
        ),
    ]
}

fn row(number: u8, lines: u64) -> Row {
    let server = NatsServer::new();
    let url = server.url();
    let relays: Vec<_> = (0..number)
        .map(|index| start(Some((&url, &format!("p{index}")))))
        .collect();
    let mut author = Peer::join(relays[0].address, "Ada", "");
    let mut readers: Vec<Peer> = relays
        .iter()
        .enumerate()
        .map(|(index, relay)| {
            let author = if index == 0 { "Ada" } else { "Ada@p0" };
            Peer::join(relay.address, &format!("r{index}"), author)
        })
        .collect();
    let ids: Vec<u32> = relays.iter().map(|relay| relay.id()).collect();
    let times = || -> Vec<Duration> {
        let all = ids.iter().copied().chain([server.id()]);
        all.map(processor_time).collect()
    };
    let mut before = times();
    let mut delays = [Vec::new(), Vec::new()];
    for line in 1..=WARM_UP + lines {
        std::thread::sleep(PAUSE);
        if line == WARM_UP + 1 {
            (before, delays) = (times(), [Vec::new(), Vec::new()]);
        }
        let begin = Instant::now();
        author.say();
        while readers.iter().any(|reader| reader.next < line) {
            let late = readers.iter_mut().filter(|reader| reader.next < line);
            wait(&mut late.collect::<Vec<_>>());
        }
        for (index, reader) in readers.iter().enumerate() {
            let delay = (reader.last - begin).as_secs_f64() * 1e3;
            delays[usize::from(index > 0)].push(delay);
        }
    }
    for reader in &readers {
        assert_eq!(reader.faults.all(), 0, "{reader:?}");
    }
    let costs: Vec<f64> = times()
        .iter()
        .zip(before)
        .map(|(after, before)| (*after - before).as_secs_f64() * 1e6 / as_f64(lines))
        .collect();
    let others = &costs[1..usize::from(number)];
    let [here, elsewhere] = delays.map(percentiles);
    let row = Row {
        relays: number.into(),
        author: costs[0],
        other: (number > 1).then(|| others.iter().sum::<f64>() / f64::from(number - 1)),
        server: costs[usize::from(number)],
        here: here.unwrap(),
        elsewhere,
    };
    println!(
        "{number:6}   {:.1}, {:.1?}, {:.1}   {:.3?}, {:.3?}",
        row.author, row.other, row.server, row.here, row.elsewhere
    );
    row
}

/// Returns the median and the 99th percentile.
fn percentiles(mut delays: Vec<f64>) -> Option<[f64; 2]> {
    delays.sort_by(f64::total_cmp);
    let last = delays.len().checked_sub(1)?;
    Some([delays[last / 2], delays[last * 99 / 100]])
}
