//! What the link costs the thread of the relay, and its own.

use core::time::Duration;
use std::time::Instant;

use kilochat_tests::nats::NatsServer;

use crate::reader::{Peer, wait};
use crate::relays::{Pinned, Times, start};
use crate::{Figure, Limit, as_f64, median};

const PEERS: u64 = 64;
const IN_FLIGHT: u64 = 32;
const WARM_UP: Duration = Duration::from_millis(200);
const TIME: Duration = Duration::from_millis(1500);

/// Processor time in microseconds.
struct Cost {
    delivery: f64,
    link: f64,
}

/// Measures the processor time per delivery with and without a link, in turns.
pub(crate) fn measure(turns: usize) -> Vec<Figure> {
    let pinned = Pinned::begin();
    let server = NatsServer::new();
    let taken: Vec<[Cost; 2]> = (0..turns)
        .map(|_| [false, true].map(|is_linked| turn(&server, is_linked)))
        .collect();
    drop(pinned);
    let of = |what: fn(&[Cost; 2]) -> f64| median(taken.iter().map(what));
    let ratio = of(|[without, linked]| linked.delivery / without.delivery);
    let link = of(|[_, linked]| linked.link);
    let [without, linked] = [
        of(|[without, _]| without.delivery),
        of(|[_, linked]| linked.delivery),
    ];
    vec![
        Figure {
            name: "relay's thread, time per delivery: linked / without".into(),
            value: ratio,
            limit: Limit::AtMost(1.05),
            unit: "",
            beside: format!("{linked:.3} us / {without:.3} us"),
        },
        Figure {
            name: "link's thread, time per line said here".into(),
            value: link,
            limit: Limit::AtMost(4.0),
            unit: "us",
            beside: format!("{:.3} us per delivery", link / as_f64(PEERS - 1)),
        },
    ]
}

fn turn(server: &NatsServer, is_linked: bool) -> Cost {
    let url = server.url();
    let core = Pinned::begin();
    let relay = start(is_linked.then_some((url.as_str(), "boat")));
    Pinned::separate(&relay, server.id());
    let mut peers: Vec<Peer> = (0..PEERS)
        .map(|number| Peer::join(relay.address, &format!("p{number:04}"), "p0000"))
        .collect();
    talk(&mut peers, WARM_UP);
    let (before, said) = (Times::of(&relay), peers[0].said);
    talk(&mut peers, TIME);
    // what the link has in hand counts, too
    std::thread::sleep(Duration::from_millis(50));
    let times = Times::of(&relay).since(before);
    let lines = as_f64(peers[0].said - said);
    drop(core);
    for peer in &peers {
        assert_eq!(peer.faults.all(), 0, "{peer:?}");
    }
    Cost {
        delivery: times.relay.as_secs_f64() * 1e6 / lines / as_f64(PEERS - 1),
        link: times.link.as_secs_f64() * 1e6 / lines,
    }
}

/// Says lines for a time, with this number in flight, and waits until all have arrived.
fn talk(peers: &mut [Peer], time: Duration) {
    let start = Instant::now();
    let (author, readers) = peers.split_first_mut().unwrap();
    loop {
        let least = readers.iter().map(|reader| reader.next).min().unwrap();
        let is_over = start.elapsed() > time;
        if is_over && least >= author.said {
            return;
        }
        while !is_over && author.said < least + IN_FLIGHT {
            author.say();
        }
        let mut has_any = false;
        for reader in &mut *readers {
            has_any |= reader.next < author.said && reader.read();
        }
        if !has_any && let Some(slow) = readers.iter_mut().find(|reader| reader.next < author.said)
        {
            wait(&mut [slow]);
        }
    }
}
