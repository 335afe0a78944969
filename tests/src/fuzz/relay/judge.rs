//! Checks of what the relay does, and the record of what clients learn from it.

use core::net::SocketAddr;
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

use kilochat_core::framed::{Data, Frame, Outcome, Posted, Welcome};
use kilochat_core::{DATAGRAM_MAX, Delivery, Event, Refusal, Reply, clean};

use super::{LOCAL, Room, SOURCES};

/// Maximum number of fan-outs after which a room that is served must be at rest.
const PATIENCE: usize = 2000;

impl Room<'_> {
    /// Hands the relay a datagram and checks the result.
    pub(super) fn receive(&mut self, source: SocketAddr, payload: &[u8]) {
        if !self.relay.can_receive() && !self.input.chance(4) {
            return;
        }
        let seat = self.relay.find(&source);
        let before = self.peers();
        let mut reply = Reply::new();
        let now = self.instant();
        let event = self.relay.handle_datagram(now, source, payload, &mut reply);
        let found = self.relay.find(&source);
        if let Some(seat) = event.seat() {
            assert_eq!(found, Some(seat), "{event:?}");
        }
        assert!(
            self.is_classic
                || matches!(event, Event::Refused { .. } | Event::Challenged)
                || self.is_proven(source, payload),
            "{event:?}: forged"
        );
        let is_frame = payload.first() == Some(&1) && !self.is_classic;
        let is_welcome = matches!(event, Event::Joined { .. } | Event::Resumed { .. });
        if matches!(event, Event::Refused { seat: None, .. } | Event::Challenged) {
            assert_eq!(self.peers(), before, "{event:?} changed something");
        }
        if is_frame && seat.is_none() && !is_welcome {
            assert!(
                reply.len() <= payload.len(),
                "{event:?}: more than was sent"
            );
        }
        let is_local = SOURCES[..LOCAL]
            .iter()
            .any(|local| *local == source.to_string());
        if !is_local && !self.is_open && seat.is_none() && found.is_none() {
            assert!(reply.is_empty(), "{event:?}: a foreigner is answered");
            assert!(!is_welcome, "{event:?}: a foreigner is welcome");
        }
        if let Some((_, _, payload)) = event.aside() {
            check_datagram(payload);
        }
        self.read_reply(source, is_frame, &reply);
        if self.is_stopping
            && let Event::Acknowledged { .. } = event
            && let Ok(Frame::Hello(hello)) = Frame::decode(payload)
            && let Some(resume) = hello.resume
            && let Some(known) = self.known.get_mut(&resume.session)
        {
            // lines that it claims to have are not sent to it again
            known.advance(resume.next);
        }
        if let Event::Refused { why, .. } = event {
            assert!(self.relay.stats().refused(why) > 0);
            assert!(why != Refusal::TooLong || payload.len() > DATAGRAM_MAX);
        }
    }

    /// Returns whether a datagram proves its source address, if the policy demands a proof.
    fn is_proven(&self, source: SocketAddr, payload: &[u8]) -> bool {
        let session = match Frame::decode(payload) {
            Ok(Frame::Hello(hello)) if self.is_stopping => match hello.resume {
                // a RESUME proves it as an acknowledgement does
                Some(resume) => resume.session,
                None => return false,
            },
            Ok(Frame::Hello(hello)) => {
                let given = self.cookies.get(&source).zip(hello.cookie);
                return given.is_some_and(|(given, cookie)| given.contains(&cookie));
            }
            Ok(Frame::Post(post)) => post.session,
            Ok(Frame::Ack(ack)) => ack.session,
            Ok(Frame::Leave(session)) => session,
            Ok(_) => return false,
            Err(_) => return payload.first() != Some(&1),
        };
        self.at.get(&source) == Some(&session)
    }

    /// Returns the state that a refused datagram must not change.
    fn peers(&self) -> Vec<String> {
        let shown = self.relay.peers().map(|peer| {
            let [suspect, framed, parked] = [peer.suspect, peer.framed, peer.parked];
            let (name, address, heard) = (peer.name, peer.address, peer.heard);
            format!(
                "{name} {address} {heard:?} {suspect} {framed} {parked} {}",
                peer.owed
            )
        });
        shown.collect()
    }

    fn read_reply(&mut self, source: SocketAddr, is_frame: bool, reply: &[u8]) {
        if reply.is_empty() {
            return;
        }
        check_datagram(reply);
        self.last = reply.to_vec();
        let Ok(frame) = Frame::decode(reply) else {
            assert!(!is_frame, "a frame is answered by text");
            return;
        };
        assert!(is_frame, "text is answered by a frame");
        match frame {
            Frame::Cookie(cookie) => {
                self.cookies.entry(source).or_default().push(cookie.cookie);
            }
            Frame::Welcome(welcome) => self.read_welcome(source, &welcome),
            Frame::Posted(posted) => self.read_posted(&posted, reply),
            Frame::Data(data) => {
                assert_eq!(data.entries().count(), 0);
                self.head = data.first;
            }
            Frame::Refused(_) | Frame::Bye(..) => {}
            Frame::Hello(_) | Frame::Post(_) | Frame::Gap(_) | Frame::Ack(_) | Frame::Leave(_) => {
                panic!("{frame:?} is no reply")
            }
        }
    }

    fn read_welcome(&mut self, source: SocketAddr, welcome: &Welcome<'_>) {
        let session = welcome.session;
        if !self.sessions.contains(&session) {
            self.sessions.push(session);
        }
        self.at.retain(|_, held| *held != session);
        self.at.insert(source, session);
        let known = self.known.entry(session).or_default();
        known.epoch = welcome.epoch;
        known.author = welcome.author;
        known.advance(welcome.first);
    }

    fn read_posted(&mut self, posted: &Posted<'_>, reply: &[u8]) {
        let known = self.known.get_mut(&posted.session).expect("its session");
        let is_next = posted.number == known.post.wrapping_add(1);
        assert!(is_next || posted.number == known.post, "{posted:?}");
        known.post = posted.number;
        if matches!(posted.outcome, Outcome::Answer(_)) {
            return;
        }
        let author = known.author;
        let outcome = self.outcomes.entry((posted.session, posted.number));
        let is_first = matches!(outcome, Entry::Vacant(_));
        let said = outcome.or_insert_with(|| reply.to_vec());
        assert!(
            is_next == is_first && said == reply,
            "{posted:?} after {said:?}"
        );
        if let Outcome::Accepted { first, lines, .. } = posted.outcome {
            for sequence in first..first + u64::from(lines) {
                let (by, _) = self.lines.entry(sequence).or_insert((author, None));
                assert_eq!(*by, author, "line {sequence}");
            }
        }
    }

    /// Checks one datagram, or several, for all peers of a fan-out.
    pub(super) fn judge_fanout(&mut self, taken: &[Delivery], payload: &[u8]) {
        let seats: BTreeSet<_> = taken.iter().map(|delivery| delivery.seat).collect();
        assert_eq!(seats.len(), taken.len(), "one peer is in a fan-out twice");
        for delivery in taken {
            let peer = self.relay.peer(delivery.seat).expect("a peer");
            assert_eq!(
                (peer.framed, peer.address),
                (payload[0] == 1, delivery.address)
            );
            assert!(!peer.parked);
        }
        let mut next = None;
        for datagram in payload.chunks(DATAGRAM_MAX) {
            check_datagram(datagram);
            self.last = datagram.to_vec();
            if let Ok(Frame::Gap(gap)) = Frame::decode(datagram) {
                self.gone = self.gone.max(gap.until);
            }
            if let Ok(Frame::Data(data)) = Frame::decode(datagram) {
                let lines = data.entries().count() as u64;
                assert!(lines > 0, "no lines");
                assert!(data.first >= self.gone, "line {} is gone", data.first);
                assert_eq!(next.unwrap_or(data.first), data.first);
                next = Some(data.first + lines);
            }
        }
        assert!(
            next.is_some() || payload.len() <= DATAGRAM_MAX,
            "several of text"
        );
    }

    /// Lets clients read datagrams.
    pub(super) fn read_fanout(&mut self, address: SocketAddr, payload: &[u8]) {
        for datagram in payload.chunks(DATAGRAM_MAX) {
            match Frame::decode(datagram) {
                Ok(Frame::Data(data)) => self.read_data(address, &data),
                Ok(Frame::Gap(gap)) => {
                    if let Some(known) = self.known.get_mut(&gap.session) {
                        known.echo = Some(gap.sent_at);
                        known.advance(gap.until);
                    }
                }
                Ok(frame) => panic!("{frame:?} to {address}"),
                Err(_) => {}
            }
        }
    }

    fn read_data(&mut self, address: SocketAddr, data: &Data<'_>) {
        for (sequence, entry) in (data.first..).zip(data.entries()) {
            let unknown = (entry.author, None);
            let (author, line) = self.lines.entry(sequence).or_insert(unknown);
            let line = line.get_or_insert_with(|| entry.line.to_owned());
            assert_eq!((*author, &**line), (entry.author, entry.line), "{sequence}");
        }
        // the session may have moved to another address
        let Some(session) = self.at.get(&address) else {
            return;
        };
        let known = self.known.get_mut(session).expect("a client");
        assert_eq!(data.epoch, known.epoch);
        known.echo.get_or_insert(data.sent_at);
        let lines = (data.first..).zip(data.entries());
        let new = lines.map(|(sequence, _)| sequence);
        let next = known.next;
        known.held.extend(new.filter(|sequence| *sequence >= next));
        known.advance(next);
    }

    /// Checks what is true at any time.
    pub(super) fn check(&mut self) {
        let is_due = self
            .relay
            .poll_fanout(self.instant(), &mut [0; DATAGRAM_MAX])
            .is_some();
        assert!(
            is_due || self.relay.can_receive(),
            "the relay cannot receive, and nothing is due"
        );
        assert!(self.relay.peer_count() <= 4);
        let parked = self
            .relay
            .peers()
            .filter(|peer| peer.parked && !peer.framed);
        assert_eq!(parked.count(), 0);
    }

    /// Ends all faults. Every client must receive every line, after a bounded time and number of
    /// calls.
    pub(super) fn rest(&mut self) {
        if self.latest == u64::MAX {
            return; // the last possible time
        }
        self.now = self.latest;
        let mut quiet = 0;
        for _ in 0..60 {
            self.now += 1000;
            self.handle_timeouts();
            let fanouts = (0..PATIENCE).take_while(|_| self.fan_out(usize::MAX, 1));
            let fanouts = fanouts.count();
            assert!(fanouts < PATIENCE, "fan-outs without an end");
            assert!(self.relay.can_receive());
            let is_served = self.answer();
            quiet = if is_served && fanouts == 0 {
                quiet + 1
            } else {
                0
            };
            // longer than any time-out
            if quiet > 4 {
                return;
            }
        }
        panic!("{:#?} do not come to rest: {:#?}", self.peers(), self.known);
    }

    /// Lets all clients acknowledge what they have. Returns whether every client has every line.
    fn answer(&mut self) -> bool {
        let framed = self.relay.peers().filter(|peer| peer.framed);
        let addresses: Vec<_> = framed.map(|peer| peer.address).collect();
        let mut is_served = true;
        for address in addresses {
            let session = self.at[&address];
            self.acknowledge(address, session, true);
            is_served &= self.known[&session].next >= self.head;
        }
        is_served
            && self
                .relay
                .peers()
                .all(|peer| peer.owed == 0 && !peer.parked)
            && self.relay.is_settled()
    }
}

fn check_datagram(payload: &[u8]) {
    assert!(payload.len() <= DATAGRAM_MAX, "too long");
    assert!(!payload.is_empty(), "empty");
    if payload[0] == 1 {
        assert!(Frame::decode(payload).is_ok(), "{payload:?}");
        return;
    }
    let text = core::str::from_utf8(payload).expect("UTF-8");
    let text = text.strip_suffix('\n').unwrap_or(text);
    for line in text.split('\n') {
        assert!(clean(line).eq(line.chars()), "{line:?} is not clean");
    }
}
