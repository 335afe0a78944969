//! The random acts of a simulation: what people, hosts and spoofers do.

use core::net::SocketAddr;

use kilochat_core::{Reader, Relay, Unreachable};

use crate::Verdict;
use crate::framed::admission::Admission;
use crate::framed::counts::Met;
use crate::framed::fanouts::way;
use crate::framed::gate::Gate;
use crate::framed::room::Room;
use crate::framed::setup::quality;
use crate::framed::world::World;
use crate::inputs::{chance, pick};

impl<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>
    World<PEERS, RING, WINDOW, HELD>
{
    /// Runs one random act.
    pub(crate) fn act(&mut self) -> Verdict {
        match self.random.u32(0..100) {
            0..40 => self.somebody_says(),
            40..45 => self.somebody_pastes(),
            45..55 => self.plain_says(),
            55..59 => self.somebody_commands(),
            59..62 => self.somebody_moves(),
            62 => self.somebody_swaps(),
            63..66 => self.somebody_pauses(),
            66..68 => self.clock_jumps(),
            68 => self.relay_clock_jumps(),
            69 if chance(&mut self.random, 60) => self.restart_relay()?,
            69 => self.stop_relay(),
            70..72 => self.goes_dark(),
            72..74 => {
                self.network.quality = quality(&mut self.random);
                self.note(|world| format!("{:?}", world.quality()));
            }
            74 => self.somebody_leaves(),
            75..77 => self.somebody_crashes(),
            77 => self.somebody_reconnects(),
            78 => self.somebody_is_lazy(),
            79..81 => self.somebody_is_reported(),
            81..83 => self.plain_turns_framed(),
            83..85 => self.crowd_comes_or_goes(),
            85 => self.somebody_sleeps(),
            86 => self.suspend_relay(),
            87 => self.neighbour_goes(),
            _ => self.spoof()?,
        }
        self.rebirths();
        Ok(())
    }

    fn any_member(&mut self) -> usize {
        self.random.usize(..self.members.len())
    }

    /// Queues a text at a client, which is sent when the client has room for it.
    pub(crate) fn says(&mut self, number: usize, body: String) {
        self.members[number].unposted.push_back(body);
        if !self.members[number].is_paused(self.now) {
            self.member_gives_texts(number);
            self.members[number].is_touched = true;
        }
    }

    fn somebody_says(&mut self) {
        let number = self.any_member();
        let body = body(self);
        self.says(number, body);
    }

    fn somebody_pastes(&mut self) {
        let number = self.any_member();
        let texts = self.random.usize(5..60);
        for _ in 0..texts {
            let body = if chance(&mut self.random, 90) {
                "short".to_owned()
            } else {
                body(self)
            };
            self.says(number, body);
        }
    }

    fn somebody_commands(&mut self) {
        let number = self.any_member();
        let commands = [
            "/who",
            "/help",
            "/nick n",
            "/nick Zoe",
            "/nick",
            "/xyz",
            "/quiet on",
            "/quiet off",
            "/quit",
        ];
        let mut command = pick(&mut self.random, &commands).to_owned();
        if chance(&mut self.random, 50) {
            command = self.whisper();
        }
        self.says(number, command);
    }

    /// Returns a command that says something to one peer, or to nobody.
    fn whisper(&mut self) -> String {
        let to = self.any_member();
        let name = match self.random.u32(0..10) {
            0 => "nobody".to_owned(),
            1 => "plain 1".to_owned(),
            _ => self.members[to].name.clone(),
        };
        let length = pick(&mut self.random, &[1, 10, 200, 700]);
        format!("/msg {name}: {}", self.secret(length))
    }

    fn plain_says(&mut self) {
        if self.plains.is_empty() {
            return;
        }
        let number = self.random.usize(..self.plains.len());
        let plain = &self.plains[number];
        let source = plain.address;
        let payload = if !plain.has_joined() {
            format!("/nick plain {number}")
        } else if plain.is_witness() {
            return;
        } else {
            let length = pick(&mut self.random, &[0, 10, 100, 900, 980]);
            if chance(&mut self.random, 20) {
                self.whisper()
            } else {
                format!("p{number}|{}", "x".repeat(length))
            }
        };
        self.send(source, self.address, payload.into_bytes());
    }

    fn somebody_moves(&mut self) {
        let number = self.any_member();
        let base = if chance(&mut self.random, 20) {
            // an address that this or another client had before
            let place = self.random.usize(1..=self.places);
            let base = crate::framed::member::place(place, self.config.open);
            let is_free = self.members.iter().all(|member| member.base != base)
                && self.plains.iter().all(|plain| plain.address != base);
            if is_free { base } else { self.new_place() }
        } else {
            self.new_place()
        };
        self.members[number].base = base;
        self.saw(Met::ClientMoved);
        self.note(|world| format!("c{} is at {base} now", world.members[number].process));
        self.may_reconnect(number);
    }

    fn somebody_swaps(&mut self) {
        let (one, other) = (self.any_member(), self.any_member());
        let [first, second] = [self.members[one].base, self.members[other].base];
        self.members[one].base = second;
        self.members[other].base = first;
        if one != other {
            self.saw(Met::ClientsSwapped);
            self.note(|world| {
                let [one, other] = [one, other].map(|number| world.members[number].process);
                format!("c{one} and c{other} swap their addresses")
            });
        }
    }

    fn may_reconnect(&mut self, number: usize) {
        if chance(&mut self.random, 50) && !self.members[number].is_paused(self.now) {
            let clock = self.members[number].clock(self.now);
            self.members[number].client.reconnect(clock);
            let process = self.members[number].process;
            self.stories.get_mut(&process).unwrap().waits_until = None;
            self.members[number].is_touched = true;
            self.saw(Met::Reconnected);
            self.note(|world| format!("c{} reconnects", world.members[number].process));
        }
    }

    fn somebody_reconnects(&mut self) {
        let number = self.any_member();
        self.may_reconnect(number);
    }

    fn somebody_pauses(&mut self) {
        let number = self.any_member();
        let length = pick(&mut self.random, &[500, 5000, 25_000, 70_000, 100_000]);
        self.members[number].paused_until = self.now + length;
        self.saw(Met::ClientPaused);
        self.note(|world| format!("c{} pauses for {length}", world.members[number].process));
    }

    /// Pauses a client for longer than the time after which its seat may be given away, in a room
    /// in which newcomers need one.
    fn somebody_sleeps(&mut self) {
        let number = self.any_member();
        let length = self.random.u64(61_000..200_000);
        self.members[number].paused_until = self.now + length;
        self.crowd.clear();
        self.crowd_comes_or_goes();
        self.saw(Met::ClientSlept);
        self.note(|world| format!("c{} sleeps for {length}", world.members[number].process));
    }

    /// Makes a neighbour's host unreachable for minutes. The relay's interface to it may block
    /// meanwhile.
    fn neighbour_goes(&mut self) {
        let number = self.any_member();
        let base = self.members[number].base;
        let until = self.now + self.random.u64(20_000..300_000);
        self.network.take_away(base.ip(), until);
        self.saw(Met::NeighbourGone);
        if chance(&mut self.random, 50) {
            self.jammed_until[way(base)] = until;
            self.saw(Met::WayBlocked);
        }
        self.note(|_| format!("{} is gone until {until}", base.ip()));
    }

    /// Lets strangers take all free seats, or lets all strangers leave.
    pub(crate) fn crowd_comes_or_goes(&mut self) {
        if !self.crowd.is_empty() {
            for stranger in core::mem::take(&mut self.crowd) {
                self.send(stranger, self.address, b"/quit".to_vec());
            }
            self.saw(Met::CrowdWent);
            return;
        }
        let is_near = chance(&mut self.random, 75);
        for _ in 0..PEERS {
            self.strangers += 1;
            // nobody can forge an address of the relay's own machine
            let host = if is_near { 127 } else { 10 };
            let stranger = SocketAddr::from(([host, 0, 0, 9], self.strangers));
            self.send(stranger, self.address, b"stranger".to_vec());
            self.crowd.push(stranger);
        }
        self.saw(Met::CrowdCame);
    }

    fn clock_jumps(&mut self) {
        let number = self.any_member();
        if chance(&mut self.random, 70) {
            let ahead = pick(&mut self.random, &[50, 1000, 20_000, 4_000_000]);
            self.members[number].ahead += ahead;
            self.saw(Met::ClockForward);
        } else {
            let back = self.random.u64(..5000);
            let member = &mut self.members[number];
            member.ahead = member.ahead.saturating_sub(back);
            self.saw(Met::ClockBack);
        }
        self.note(|world| format!("c{}'s clock jumps", world.members[number].process));
    }

    fn relay_clock_jumps(&mut self) {
        if chance(&mut self.random, 50) {
            self.relay_ahead += pick(&mut self.random, &[50, 1000, 20_000, 70_000]);
            self.saw(Met::RelayClockForward);
        } else {
            let back = self.random.u64(..5000);
            self.relay_ahead = self.relay_ahead.saturating_sub(back);
            self.saw(Met::RelayClockBack);
        }
        self.note(|_| "the relay's clock jumps".to_owned());
    }

    pub(crate) fn restart_relay(&mut self) -> Verdict {
        self.note(|_| "the relay restarts".to_owned());
        self.saw(Met::RelayRestarted);
        let room = self.rooms.last_mut().unwrap();
        room.judge_claims(true)?;
        for plain in &mut self.plains {
            plain.leaves(room)?;
        }
        *self.relay = Relay::new();
        self.config.key = self.random.u128(..).to_be_bytes();
        self.relay.configure(self.config.clone());
        self.in_hand.clear();
        self.blocked.clear();
        self.retry_at = None;
        self.suspended_until = None;
        self.stops_at = None;
        self.door.clear();
        self.gate = Gate::default();
        self.admission = Admission::new();
        self.reader = Reader::default();
        self.rooms.push(Room::new(RING));
        Ok(())
    }

    fn goes_dark(&mut self) {
        let length = pick(&mut self.random, &[100, 1000, 5000, 25_000, 80_000]);
        self.network.black_out(self.now + length);
        self.note(|_| format!("nothing arrives for {length}"));
    }

    fn somebody_leaves(&mut self) {
        let number = self.any_member();
        if !self.members[number].is_paused(self.now) {
            let clock = self.members[number].clock(self.now);
            self.members[number].client.leave(clock);
            self.members[number].is_touched = true;
            self.note(|world| format!("c{} leaves", world.members[number].process));
        }
    }

    fn somebody_crashes(&mut self) {
        let number = self.any_member();
        let member = &self.members[number];
        let name = member.name.clone();
        let base = if chance(&mut self.random, 50) {
            member.base
        } else {
            self.new_place()
        };
        self.note(|world| format!("c{} crashes", world.members[number].process));
        self.saw(Met::ClientCrashed);
        self.members[number] = self.process(name, base);
    }

    fn rebirths(&mut self) {
        for number in 0..self.members.len() {
            let member = &self.members[number];
            if member.reborn_at.is_some_and(|then| then <= self.now) {
                let (name, base) = (member.name.clone(), member.base);
                self.members[number] = self.process(name, base);
            }
        }
    }

    fn somebody_is_lazy(&mut self) {
        let number = self.any_member();
        self.members[number].is_lazy ^= true;
    }

    fn somebody_is_reported(&mut self) {
        let shown = self.shown();
        if shown.is_empty() {
            return;
        }
        let about = shown[self.random.usize(..shown.len())].address;
        if let Some(seat) = self.relay.find(&about) {
            let now = self.relay_clock();
            let departed = self.relay.handle_unreachable(now, seat, Unreachable::Path);
            debug_assert!(departed.is_none());
            self.saw(Met::ReportedPath);
            self.note(|_| format!("{about} is reported unreachable"));
        }
    }

    /// Lets a plain peer join from a client's address. The client's next frames belong to no
    /// session at that address.
    fn plain_turns_framed(&mut self) {
        let number = self.any_member();
        let source = self.members[number].base;
        if self.relay.find(&source).is_none() {
            self.send(source, self.address, b"typed by hand".to_vec());
            self.saw(Met::FromPlain);
        }
    }
}

/// Returns a random text.
fn body<const PEERS: usize, const RING: usize, const WINDOW: usize, const HELD: usize>(
    world: &mut World<PEERS, RING, WINDOW, HELD>,
) -> String {
    let random = &mut world.random;
    match random.u32(0..10) {
        0 => "//slash".to_owned(),
        1 => "tab\tand \u{202E}other\nthings".to_owned(),
        2 => "你好，世界".to_owned(),
        3 | 4 => "x".repeat(random.usize(300..880)),
        5 => "y".repeat(random.usize(100..300)),
        _ => "hello".to_owned(),
    }
}
