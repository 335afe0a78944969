//! What the link costs the thread of the relay, and its own.

use core::time::Duration;
use std::time::Instant;

use kilochat_tests::RelayProgram;
use kilochat_tests::nats::NatsServer;

use crate::reader::{Peer, wait};
use crate::relays::{Pinned, Times, start};
use crate::{Figure, Limit, as_f64, median};

const PEERS: u64 = 64;
const IN_FLIGHT: u64 = 32;
const WARM_UP: Duration = Duration::from_millis(200);

/// Time of a part of a turn. Parts with and without a link alternate, so that a machine that becomes busy or
/// slow changes both.
const PART: Duration = Duration::from_millis(150);

/// Number of pairs of parts in a turn.
const PAIRS: usize = 10;

/// A relay with its people.
struct Room {
    relay: RelayProgram,
    peers: Vec<Peer>,
}

/// Processor time in microseconds.
struct Cost {
    delivery: f64,
    link: f64,
}

/// Measures the processor time per delivery with and without a link. Each turn has new relays, and is the
/// median of its pairs.
pub(crate) fn measure(turns: usize) -> Vec<Figure> {
    let pinned = Pinned::begin();
    let server = NatsServer::new();
    let taken: Vec<[f64; 4]> = (0..turns).map(|_| turn(&server)).collect();
    drop(pinned);
    let of = |index: usize| median(taken.iter().map(|values| values[index]));
    let ratios = taken.iter().map(|values| values[0]);
    let (least, most) = ratios.fold((f64::MAX, f64::MIN), |(least, most), ratio| {
        (least.min(ratio), most.max(ratio))
    });
    let link = of(3);
    vec![
        Figure {
            name: "relay's thread, time per delivery: linked / without".into(),
            value: of(0),
            limit: Limit::AtMost(1.05),
            unit: "",
            beside: format!(
                "{:.3} us / {:.3} us; from {least:.3} to {most:.3}",
                of(2),
                of(1)
            ),
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

/// Returns the medians of: linked / without, time per delivery without and with a link, and that of the
/// link's thread per line.
fn turn(server: &NatsServer) -> [f64; 4] {
    let mut rooms = [false, true].map(|is_linked| Room::open(server, is_linked));
    let mut pairs = Vec::new();
    for number in 0..PAIRS {
        let [without, linked] = &mut rooms;
        // each is the first one as often as the other
        let [without, linked] = if number % 2 == 0 {
            let without = without.measure();
            [without, linked.measure()]
        } else {
            let linked = linked.measure();
            [without.measure(), linked]
        };
        pairs.push([
            linked.delivery / without.delivery,
            without.delivery,
            linked.delivery,
            linked.link,
        ]);
    }
    for peer in rooms.iter().flat_map(|room| &room.peers) {
        assert_eq!(peer.faults.all(), 0, "{peer:?}");
    }
    [0, 1, 2, 3].map(|index| median(pairs.iter().map(|values| values[index])))
}

impl Room {
    fn open(server: &NatsServer, is_linked: bool) -> Self {
        let url = server.url();
        let core = Pinned::begin();
        let relay = start(is_linked.then_some((url.as_str(), "boat")));
        Pinned::separate(&relay, server.id());
        let mut peers: Vec<Peer> = (0..PEERS)
            .map(|number| Peer::join(relay.address, &format!("p{number:04}"), "p0000"))
            .collect();
        talk(&mut peers, WARM_UP);
        drop(core);
        Self { relay, peers }
    }

    fn measure(&mut self) -> Cost {
        let core = Pinned::begin();
        Pinned::separate_this();
        let (before, said) = (Times::of(&self.relay), self.peers[0].said);
        talk(&mut self.peers, PART);
        // what the link has in hand counts, too
        std::thread::sleep(Duration::from_millis(20));
        let times = Times::of(&self.relay).since(before);
        drop(core);
        let lines = as_f64(self.peers[0].said - said);
        Cost {
            delivery: times.relay.as_secs_f64() * 1e6 / lines / as_f64(PEERS - 1),
            link: times.link.as_secs_f64() * 1e6 / lines,
        }
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
