//! The names of nodes on one network.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::net::UdpSocket;
use std::time::Instant;

use kilochat_tests::PATIENCE;
use kilochat_tests::avahi::Avahi;
use kilochat_tests::namespace::{ip, is_in_namespace};
use nix::sys::signal::Signal;

use crate::lab::TapProgram;

/// A network of nodes, and a host that asks for their names.
struct Bridge {
    host: UdpSocket,
}

impl Bridge {
    fn new() -> Self {
        ip("link set lo up");
        ip("link add br0 type bridge mcast_snooping 0");
        ip("address add 192.168.77.2/24 dev br0");
        ip("link set br0 up");
        ip("route add 224.0.0.0/4 dev br0");
        let host = UdpSocket::bind("192.168.77.2:0").expect("a free port");
        let set = host.set_read_timeout(Some(Duration::from_millis(200)));
        set.expect("it is not zero");
        Self { host }
    }

    /// Starts a node with the address 192.168.77.`number` and waits until it is up. Returns it and its
    /// hardware address, as it is logged.
    fn start(&self, number: u8, arguments: &[&str]) -> (TapProgram, String) {
        let address = format!("192.168.77.{number}/24");
        let interface = format!("tap{number}");
        let all = [&["--ip", &address][..], arguments].concat();
        ip(&format!("tuntap add dev {interface} mode tap"));
        ip(&format!("link set {interface} master br0 up"));
        let mut node = TapProgram::spawn_on(&interface, &all);
        node.read_log();
        let up = node.wait_for_log(|line| line.contains("INFO up: "));
        let (_, hardware) = up.rsplit_once(' ').expect("words");
        (node, hardware.into())
    }

    /// Returns the IPv4 addresses of NAME.local that are in the first answers.
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let length = u8::try_from(name.len()).expect("a short name");
        let question = [
            b"\0\x07\0\0\0\x01\0\0\0\0\0\0",
            &[length][..],
            name.as_bytes(),
            b"\x05local\0\0\x01\0\x01",
        ]
        .concat();
        let deadline = Instant::now() + PATIENCE;
        let mut found = Vec::new();
        let mut answer = [0; 512];
        while found.is_empty() && Instant::now() < deadline {
            self.host
                .send_to(&question, "224.0.0.251:5353")
                .expect("there is a way");
            while let Ok(received) = self.host.recv(&mut answer) {
                let [.., a, b, c, d] = answer[..received] else {
                    panic!("a short answer");
                };
                found.push(Ipv4Addr::new(a, b, c, d).into());
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn two_nodes_with_default_names_have_two_names() {
    if !is_in_namespace("names::two_nodes_with_default_names_have_two_names") {
        return;
    }
    let bridge = Bridge::new();
    let nodes = [11, 12].map(|number| (number, bridge.start(number, &[])));
    for (number, (_, hardware)) in &nodes {
        let digits = hardware.replace(':', "");
        assert_eq!(digits.len(), 12, "{hardware}");
        let name = format!("kilochat-{}", &digits[8..]);
        let address = Ipv4Addr::new(192, 168, 77, *number);
        assert_eq!(bridge.addresses(&name), [address], "{name}");
    }
}

/// RFC 6762 sections 8 and 9.
#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn two_nodes_with_one_configured_name_have_two_names() {
    if !is_in_namespace("names::two_nodes_with_one_configured_name_have_two_names") {
        return;
    }
    let bridge = Bridge::new();
    // the second one comes when the name belongs to the first; the third and fourth at the same time
    let (mut first, _) = bridge.start(11, &["--name", "boat"]);
    first.wait_for_log(|line| line.ends_with("INFO name boat.local"));
    let (mut second, _) = bridge.start(12, &["--name", "boat"]);
    second.wait_for_log(|line| line.ends_with("WARN another host has the name; trying boat-2"));
    second.wait_for_log(|line| line.ends_with("INFO name boat-2.local"));
    let mut both = [13, 14].map(|number| bridge.start(number, &["--name", "crew"]).0);
    let names = both.each_mut().map(|node| {
        let line = node.wait_for_log(|line| line.contains("INFO name crew"));
        line.rsplit_once(' ').expect("words").1.to_owned()
    });
    assert_ne!(names[0], names[1]);
    assert!(names.contains(&"crew.local".into()), "{names:?}");
    for (name, number) in [("boat", 11), ("boat-2", 12)] {
        let address = Ipv4Addr::new(192, 168, 77, number);
        assert_eq!(bridge.addresses(name), [address], "{name}");
    }
}

#[test]
#[ignore = "needs avahi, network namespaces and /dev/net/tun: apt-get install avahi-daemon avahi-utils util-linux iproute2"]
fn a_name_that_another_program_has_is_left_to_it() {
    if !is_in_namespace("names::a_name_that_another_program_has_is_left_to_it") {
        return;
    }
    let bridge = Bridge::new();
    let avahi = Avahi::start("boat");
    let (mut node, _) = bridge.start(11, &["--name", "boat"]);
    node.wait_for_log(|line| line.ends_with("INFO name boat-2.local"));
    let own = Ipv4Addr::new(192, 168, 77, 2);
    assert_eq!(bridge.addresses("boat"), [own]);
    assert_eq!(
        bridge.addresses("boat-2"),
        [Ipv4Addr::new(192, 168, 77, 11)]
    );
    drop(avahi);
    // one that comes later has to find another name
    let (mut other, _) = bridge.start(12, &["--name", "crew"]);
    other.wait_for_log(|line| line.ends_with("INFO name crew.local"));
    let _avahi = Avahi::start("crew");
    assert_eq!(bridge.addresses("crew-2"), [own]);
    assert_eq!(bridge.addresses("crew"), [Ipv4Addr::new(192, 168, 77, 12)]);
}

#[test]
#[ignore = "needs network namespaces and /dev/net/tun: apt-get install util-linux iproute2"]
fn the_log_has_addresses_and_counters_that_people_read() {
    if !is_in_namespace("names::the_log_has_addresses_and_counters_that_people_read") {
        return;
    }
    let bridge = Bridge::new();
    let mac = "02:42:fc:3c:d4:15";
    let (mut node, hardware) = bridge.start(11, &["--mac", mac]);
    assert_eq!(hardware, mac);
    node.wait_for_log(|line| line.ends_with("INFO address fe80::42:fcff:fe3c:d415/64"));
    let hello = bridge.host.send_to(b"Ada", "192.168.77.11:10888");
    hello.expect("there is a way");
    node.wait_for_log(|line| line.contains("INFO Ada joined from 192.168.77.2:"));
    node.signal(Signal::SIGUSR1);
    node.wait_for_log(|line| line.contains("INFO 1 peers; 1 datagrams, "));
    node.wait_for_log(|line| line.contains("INFO network: ") && line.contains(" frames"));
    let errors = node.wait_for_log(|line| line.contains("INFO interface: "));
    assert!(errors.ends_with(": nothing yet"), "{errors}");
}
