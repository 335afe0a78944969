//! A station and a node, each on a cable, and a switch between them.

use core::time::Duration;

use kilochat_core::{Client, ClientEvent, Instant};
use kilochat_embedded::phy::FaultInjector;
use kilochat_embedded::{Config, Station, StationConfig, StationStorage};
use kilochat_tests::ethernet::Hardware;

use crate::world::{Cable, V4, V6, World, config, network};

pub(crate) const STATION: Hardware = [2, 0, 0, 0, 7, 7];

/// A station's own address, and its relay's.
pub(crate) const FAMILIES: [(&str, u8, &str); 2] = [("192.0.2.50", 24, V4), ("fe80::50", 64, V6)];

/// A station on a cable, a node on another, and a switch between them.
pub(crate) struct Lab {
    pub(crate) world: World<Cable>,
    pub(crate) cable: Cable,
    pub(crate) station: Station<FaultInjector<Cable>, 4, 512>,
    station_at: Option<Instant>,
    /// The client's events.
    pub(crate) told: Vec<String>,
    /// Whether the node has power.
    pub(crate) is_on: bool,
    /// Whether the station does nothing, and loses what is sent to it.
    pub(crate) is_asleep: bool,
    /// Frames that the station has sent.
    pub(crate) sent: Vec<Vec<u8>>,
}

pub(crate) fn station_config(family: usize) -> StationConfig {
    let (address, prefix, relay) = FAMILIES[family];
    StationConfig {
        hardware: STATION,
        address: network(address, prefix),
        router: None,
        relay: relay.parse().unwrap(),
        seed: 4,
    }
}

pub(crate) fn station(
    device: FaultInjector<Cable>,
    config: &StationConfig,
) -> Station<FaultInjector<Cable>, 4, 512> {
    let storage = Box::leak(Box::new(StationStorage::new()));
    let client = Client::new("sensor", 1, 1);
    Station::new(device, storage, config, client, Instant::from_millis(1000)).unwrap()
}

impl Lab {
    pub(crate) fn new(family: usize, seed: u32, loss: u8) -> Self {
        Self::with(family, seed, loss, config())
    }

    pub(crate) fn with(family: usize, seed: u32, loss: u8, config: Config) -> Self {
        let cable = Cable::default();
        let mut device = FaultInjector::new(cable.clone(), seed);
        device.set_drop_chance(loss);
        Self {
            world: World::new(config),
            station: station(device, &station_config(family)),
            cable,
            station_at: None,
            told: Vec::new(),
            is_on: true,
            is_asleep: false,
            sent: Vec::new(),
        }
    }

    /// Runs everything that is due now.
    pub(crate) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "it does not end");
            self.station_at = None;
            if !self.is_asleep {
                self.station_at = self.station.poll(self.world.now);
                self.take_events();
            }
            let said = self.cable.take();
            self.sent.extend(said.iter().cloned());
            if self.is_on {
                for frame in &said {
                    self.world.cable.push(frame.clone());
                }
                self.world.poll();
                for frame in self.world.others.drain(..) {
                    if !self.is_asleep {
                        self.cable.push(frame);
                    }
                }
            }
            if said.is_empty() && self.cable.waiting() + self.world.cable.waiting() == 0 {
                return;
            }
        }
    }

    /// Lets time pass. The station is polled when it has requested to be. Returns the number of
    /// polls.
    pub(crate) fn pass(&mut self, duration: Duration) -> usize {
        let end = self.world.now.after(duration);
        for count in 0.. {
            self.settle();
            let node = self.is_on.then(|| self.world.poll()).flatten();
            let then = [self.station_at, node].into_iter().flatten().min();
            let Some(then) = then.filter(|then| *then <= end) else {
                self.world.now = end;
                return count;
            };
            assert!(then > self.world.now, "somebody never sleeps");
            self.world.now = then;
        }
        unreachable!()
    }

    fn take_events(&mut self) {
        while let Some(event) = self.station.client.poll_event() {
            let told = match event {
                ClientEvent::Joined { how, .. } => format!("{how:?}"),
                ClientEvent::Said { .. } => "said".into(),
                ClientEvent::Line {
                    own, name, text, ..
                } if !own && !name.is_empty() => {
                    format!("{name} : {text}")
                }
                ClientEvent::Line { .. } => continue,
                event @ (ClientEvent::Lost { .. }
                | ClientEvent::Answered { .. }
                | ClientEvent::Refused { .. }
                | ClientEvent::Doubtful { .. }
                | ClientEvent::Unsaid { .. }
                | ClientEvent::SeatLost(_)
                | ClientEvent::NoSeat { .. }
                | ClientEvent::Silent
                | ClientEvent::Back
                | ClientEvent::Ended(_)) => format!("{event:?}"),
            };
            self.told.push(told);
        }
    }

    pub(crate) fn count(&self, told: &str) -> usize {
        self.told.iter().filter(|line| *line == told).count()
    }

    /// Returns a plain peer that only receives.
    pub(crate) fn listener(&mut self) -> usize {
        let host = self.world.join(2);
        self.world.clear();
        host
    }

    /// Returns the readings that a listener has received, each once and in order.
    pub(crate) fn readings(&mut self, host: usize) -> Vec<usize> {
        let lines = self.world.lines(host);
        let readings = lines
            .iter()
            .filter_map(|line| line.strip_prefix("sensor : ")?.parse().ok());
        readings.collect()
    }
}
