//! Rules of the operator.

use kilochat_core::framed::{Frame, Goodbye};
use kilochat_core::{Config, Departure, Expired, Network, Refusal, Rule, Verdict};

use crate::room::{Room, code_in};

fn rule(verdict: Verdict, network: &str) -> Rule {
    let (address, prefix) = network.split_once('/').unwrap();
    Rule {
        verdict,
        network: Network {
            address: address.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
        },
    }
}

// [G10]
#[test]
fn the_first_rule_that_fits_counts() {
    let mut room = Room::new(Config::new([5; 16]));
    room.relay.set_rules([
        rule(Verdict::Deny, "10.0.0.7/32"),
        rule(Verdict::Local, "203.0.113.0/24"),
        rule(Verdict::Deny, "203.0.113.9/32"),
        rule(Verdict::Allow, "198.51.100.0/24"),
        rule(Verdict::Deny, "fd00::/8"),
    ]);
    for (source, why) in [
        ("10.0.0.7:1", Some(Refusal::Denied)),
        ("[fd00::1]:1", Some(Refusal::Denied)),
        ("198.51.101.1:1", Some(Refusal::Foreign)),
        ("198.51.100.1:1", Some(Refusal::Unproven)),
        ("203.0.113.9:1", None),
        ("10.0.0.8:1", None),
    ] {
        let reply = match why {
            None => room.say(source, "n"),
            Some(expected) => {
                let (why, reply) = room.refused(source, "n");
                assert_eq!(why, expected, "{source}");
                reply
            }
        };
        let is_silent = matches!(why, Some(Refusal::Denied | Refusal::Foreign));
        assert_eq!(reply.is_empty(), is_silent, "{source} {reply}");
        assert_eq!(code_in(&reply).is_some(), why == Some(Refusal::Unproven));
        assert_eq!(
            room.join_framed(source, "n").is_empty(),
            is_silent,
            "{source}"
        );
    }
}

// [G10] [L8]
#[test]
fn peers_are_judged_again_when_the_rules_change() {
    let mut room = Room::new(Config::new([5; 16]));
    room.relay
        .set_rules([rule(Verdict::Local, "203.0.113.0/24")]);
    for source in ["10.0.0.7:1", "10.0.0.7:2", "10.0.0.8:1", "203.0.113.9:1"] {
        room.join(source, "n\n");
    }
    room.join_framed("10.0.0.7:3", "framed");
    assert!(room.relay.handle_timeout(room.now).is_none());
    room.relay.set_rules([rule(Verdict::Deny, "10.0.0.7/32")]);
    let mut removed = Vec::new();
    assert!(
        room.relay
            .poll_timeout()
            .is_some_and(|then| then <= room.now)
    );
    while let Some(Expired::Left(gone)) = room.relay.handle_timeout(room.now) {
        assert_eq!(gone.why, Departure::Removed);
        if gone.name == "framed" {
            let bye = Frame::decode(gone.farewell.as_bytes());
            assert!(
                matches!(bye, Ok(Frame::Bye(_, Goodbye::Removed))),
                "{bye:?}"
            );
        } else {
            let told = b"* you were removed from this room\n";
            assert_eq!(gone.farewell.as_bytes(), told);
        }
        removed.push(gone.address.to_string());
    }
    let expected = ["10.0.0.7:1", "10.0.0.7:2", "203.0.113.9:1", "10.0.0.7:3"];
    assert_eq!(removed, expected);
    assert_eq!(
        (room.relay.peer_count(), room.relay.stats().removed),
        (1, 4)
    );
    // a denied source gets no answer to any datagram
    for payload in ["n", "/help", "\u{1}H KC1 00000000 00000000000000ff - - Ada"] {
        let padded = format!("{payload:130}");
        assert_eq!(
            room.refused("10.0.0.7:1", padded),
            (Refusal::Denied, String::new())
        );
    }
}

// [L8]
#[test]
fn a_framed_client_that_is_removed_ends() {
    use kilochat_core::{Client, ClientEvent, DATAGRAM_MAX, End, Path};
    let mut room = Room::new(Config::new([5; 16]));
    let mut client = Client::<8, 2048>::new("Ada", 7, 1);
    let source = "10.0.0.7:3";
    let mut buffer = [0; DATAGRAM_MAX];
    while let Some(transmit) = client.poll_transmit(room.now, &mut buffer) {
        let (_, reply) = room.bytes(source, &buffer[..transmit.length]);
        client.handle_datagram(room.now, Path(0), &reply);
        if room.relay.peer_count() == 1 {
            break;
        }
    }
    while client.poll_event().is_some() {}
    room.relay.set_rules([rule(Verdict::Deny, "10.0.0.7/32")]);
    let expired = room.relay.handle_timeout(room.now).unwrap();
    let (_, _, farewell) = expired.farewell().unwrap();
    client.handle_datagram(room.now, Path(0), farewell);
    assert_eq!(client.poll_event(), Some(ClientEvent::Ended(End::Removed)));
    room.sleep_ms(600_000);
    client.handle_timeout(room.now);
    assert!(client.poll_transmit(room.now, &mut buffer).is_none());
}
