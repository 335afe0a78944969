//! The relay and its page as services of DNS-SD: avahi sees them, and clients find them behind a firewall.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use kilochat_tests::avahi::Avahi;
use kilochat_tests::lab::{Host, Lab, Link};
use kilochat_tests::namespace::{ip, is_in_namespace};
use kilochat_tests::{PATIENCE, RelayProgram};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

/// Answers to what this machine has asked come in, and what is multicast by mDNS responders. The answer to a
/// broadcast is neither.
const FIREWALL: &str = "
table inet firewall {
    chain input {
        type filter hook input priority 0; policy drop;
        iif lo accept
        ct state established,related accept
        udp dport 5353 accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
}
";

/// Sets up the firewall of a host.
fn close(host: &Host) {
    host.run(|| {
        let mut nft = Command::new("nft");
        nft.args(["-f", "-"]).stdin(Stdio::piped());
        let mut nft = nft.spawn().expect("apt-get install nftables");
        let mut input = nft.stdin.take().expect("piped");
        input.write_all(FIREWALL.as_bytes()).expect("it reads");
        drop(input);
        assert!(nft.wait().expect("it was started").success());
    });
}

/// Returns the lines of `kilochat find` on a host, without the times.
fn found(host: &Host) -> Vec<String> {
    let output = host.run(|| Command::new(PROGRAM).arg("find").output());
    let output = output.expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter_map(|line| line.split(" (").next());
    lines.map(str::to_owned).collect()
}

/// Waits until a host finds these relays and no others: a name is probed before it is announced, and a busy
/// machine may be too slow for the second that a client waits.
fn wait_until_found(host: &Host, expected: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = found(host);
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}");
    }
}

/// Waits until avahi has seen services of this type for which `wanted` holds.
fn wait_for(avahi: &Avahi, kind: &str, wanted: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let services = avahi.services(kind);
        if wanted(&services) {
            return;
        }
        assert!(Instant::now() < deadline, "{services:#?}");
    }
}

/// Starts a relay on a host.
fn start(host: &Host, arguments: &[&str]) -> RelayProgram {
    let arguments = [&["--port", "10888"], arguments].concat();
    host.run(|| RelayProgram::start(PROGRAM, &arguments))
}

#[test]
#[ignore = "needs avahi and network namespaces: apt-get install avahi-daemon avahi-utils util-linux iproute2"]
fn others_see_the_relay_and_its_page_where_they_are_until_they_end() {
    if !is_in_namespace("others_see_the_relay_and_its_page_where_they_are_until_they_end") {
        return;
    }
    let lab = Lab::new();
    // on the machine of the relay there is another responder
    let _beside = lab.run(|| Avahi::start("boat"));
    let host = Host::new(&lab, Link::A, 2);
    let avahi = host.run(|| Avahi::start("host"));
    let mut relay = lab.start(PROGRAM, &["--announce", "boat", "--web"]);
    for (kind, service) in [
        ("_kilochat._udp", "boat;_kilochat._udp"),
        ("_http._tcp", "kilochat\\032boat;Web Site"),
    ] {
        wait_for(&avahi, kind, |services| {
            let families = [("IPv4", ";10.1.0.1"), ("IPv6", ";f")];
            families.iter().all(|(family, address)| {
                let part = format!(";{family};{service};local;kilochat-boat.local{address}");
                let is_this = |line: &&String| {
                    line.starts_with('=') && line.contains(&part) && line.contains(";10888;")
                };
                services.iter().filter(is_this).count() == 1
            })
        });
    }
    // the name of the other responder stays its own
    let output = avahi.run("avahi-resolve", &["-4", "-n", "boat.local"]);
    assert_eq!(output.stdout, b"boat.local\t10.1.0.1\n");

    lab.run(|| {
        let interface = Link::A.interface();
        ip(&format!("address del 10.1.0.1/16 dev {interface}"));
        ip(&format!("address add 10.1.0.9/16 dev {interface}"));
    });
    wait_for(&avahi, "_kilochat._udp", |services| {
        services.iter().any(|line| line.contains(";10.1.0.9;"))
    });
    relay.signal(Signal::SIGTERM);
    assert!(relay.wait().success());
    // long before the records would expire
    for kind in ["_kilochat._udp", "_http._tcp"] {
        wait_for(&avahi, kind, <[String]>::is_empty);
    }
}

#[test]
#[ignore = "needs nftables and network namespaces: apt-get install nftables util-linux iproute2"]
fn behind_a_firewall_announced_relays_are_found() {
    if !is_in_namespace("behind_a_firewall_announced_relays_are_found") {
        return;
    }
    let lab = Lab::new();
    let [client, other] = [2, 3].map(|number| Host::new(&lab, Link::A, number));
    client.run(|| ip("link set lo up"));
    let _relay = lab.start(PROGRAM, &["--announce", "lab"]);
    let _hidden = start(&other, &["--announce", "hidden", "--no-announce"]);
    let lab_at = format!("lab at {}: nobody here", Link::A.relay().ip());
    let hidden_at = format!("hidden at {}: nobody here", other.address());
    wait_until_found(&client, &[hidden_at, lab_at.clone()]);
    close(&client);
    wait_until_found(&client, &[lab_at]);
    // only IPv6
    client.run(|| ip("-4 address flush dev eth0"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        match &found(&client)[..] {
            [only] if only.starts_with("lab at f") => break,
            others => assert!(Instant::now() < deadline, "{others:?}"),
        }
    }
}

#[test]
#[ignore = "needs nftables and network namespaces: apt-get install nftables util-linux iproute2"]
fn a_relay_that_is_found_in_several_ways_is_listed_once() {
    if !is_in_namespace("a_relay_that_is_found_in_several_ways_is_listed_once") {
        return;
    }
    let lab = Lab::new();
    let [first, second, client] = [2, 3, 4].map(|number| Host::new(&lab, Link::A, number));
    let _first = start(&first, &["--announce", "boat"]);
    let _second = start(&second, &["--announce", "lab"]);
    let expected = [("boat", &first), ("lab", &second)]
        .map(|(name, host)| format!("{name} at {}: nobody here", host.address()));
    // in both ways at first, then by DNS-SD alone
    wait_until_found(&client, &expected);
    close(&client);
    wait_until_found(&client, &expected);
}

#[test]
#[ignore = "needs avahi and network namespaces: apt-get install avahi-daemon avahi-utils util-linux iproute2"]
fn relays_of_one_name_get_two_and_tell_them_in_every_way() {
    if !is_in_namespace("relays_of_one_name_get_two_and_tell_them_in_every_way") {
        return;
    }
    let lab = Lab::new();
    let hosts = [2, 3, 4].map(|number| Host::new(&lab, Link::A, number));
    let client = Host::new(&lab, Link::A, 5);
    let avahi = client.run(|| Avahi::start("client"));
    let mut relays = Vec::new();
    let mut expected = Vec::new();
    let names = ["boat", "boat-2", "boat-3"];
    for (host, name) in hosts.iter().zip(names) {
        relays.push(start(host, &["--announce", "boat", "--web"]));
        expected.push(format!("{name} at {}: nobody here", host.address()));
        // the name is its own before the next one wants it
        wait_until_found(&client, &expected);
        for (kind, instance) in [("_kilochat._udp", ""), ("_http._tcp", "kilochat\\032")] {
            let instance = format!(";{instance}{name};");
            let is_this = |line: &String| line.starts_with('=') && line.contains(&instance);
            wait_for(&avahi, kind, |services| services.iter().any(is_this));
        }
    }
    // no other name is left
    wait_for(&avahi, "_kilochat._udp", |services| {
        let added = services.iter().filter(|line| line.starts_with('+'));
        let seen: BTreeSet<&str> = added.filter_map(|line| line.split(';').nth(3)).collect();
        seen.iter().eq(&names)
    });
}
