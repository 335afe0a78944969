//! The size of the firmware by its features, and its speed in QEMU.
//!
//! `cargo bench --package kilochat-tests --bench board` prints both; with `-- speed` at the end,
//! only the speed. A second of the board's time is 62.5 million instructions.
#![allow(clippy::print_stdout, reason = "it is what a benchmark is for")]
#![allow(dead_code, reason = "the tests need more of it")]

#[cfg(unix)]
mod hosts;
#[cfg(unix)]
mod machine;

#[cfg(unix)]
fn main() {
    if std::env::args().all(|argument| argument != "speed") {
        measured::print_sizes();
    }
    measured::print_speed();
}

#[cfg(not(unix))]
fn main() {
    println!("it needs Unix");
}

#[cfg(unix)]
mod measured {
    use core::net::Ipv4Addr;
    use core::time::Duration;
    use std::time::Instant;

    use crate::hosts::{LEASED_IP, Lan};
    use crate::machine::{Firmware, Machine};

    /// Number of peers: all seats are taken.
    const PEERS: u8 = 32;

    /// The builds to measure, each with the cargo features that are on.
    const BUILDS: [(&str, &str); 9] = [
        ("IPv4", "ipv4"),
        ("IPv4, logs", "ipv4,defmt"),
        ("IPv6", "ipv6"),
        ("IPv4, IPv6", "ipv4,ipv6"),
        ("IPv4, IPv6, logs", "ipv4,ipv6,defmt"),
        ("IPv4, IPv6, logs, DHCP", "ipv4,ipv6,defmt,dhcp"),
        (
            "IPv4, IPv6, logs, DHCP, SLAAC",
            "ipv4,ipv6,defmt,dhcp,slaac",
        ),
        (
            "IPv4, IPv6, logs, DHCP, SLAAC, mDNS",
            "ipv4,ipv6,defmt,dhcp,slaac,mdns",
        ),
        (
            "IPv4, IPv6, logs, DHCP, SLAAC, mDNS, a name that is probed",
            "ipv4,ipv6,defmt,dhcp,slaac,mdns,probe",
        ),
    ];

    pub(crate) fn print_sizes() {
        println!(
            "| firmware with 32 seats and 8 KiB of ring | bytes of flash | bytes of static RAM |"
        );
        println!("|---|---|---|");
        for (name, features) in BUILDS {
            let arguments = ["--no-default-features", "--features", features];
            let (flash, ram) = Firmware::build_with(&arguments).sizes();
            println!("| {name} | {flash} | {ram} |");
        }
        println!();
    }

    pub(crate) fn print_speed() {
        let firmware = Firmware::build();
        println!(
            "| 32 peers, lines of 64 bytes | deliveries a second of the board's time | ... of the PC's time |"
        );
        println!("|---|---|---|");
        let mut stack = 0;
        for in_flight in [1, 4, 16] {
            let mut lan = Lan::with_lease(Machine::boot(firmware, &["-icount", "shift=4"]));
            for number in 0..PEERS {
                let ip = Ipv4Addr::new(10, 0, 2, 100 + number);
                let host = lan.add(ip.into(), LEASED_IP.into());
                lan.join(host, &format!("p{number}"));
            }
            lan.settle();
            let (board, pc) = deliveries(&mut lan, in_flight);
            println!("| {in_flight} in flight | {board:.0} | {pc:.0} |");
            stack = stack.max(lan.stack_used());
        }
        let (_, ram) = firmware.sizes();
        let all = stack + ram;
        println!("\nThe stack took {stack} bytes at most: with static RAM {all} of 65536.");
    }

    /// Lets one peer talk to all others. Returns deliveries a second of the board's time and of the
    /// PC's time.
    fn deliveries(lan: &mut Lan, in_flight: usize) -> (f64, f64) {
        const TIME: Duration = Duration::from_secs(5);
        let text = "x".repeat(59);
        let frame = lan.datagram(0, text.as_bytes());
        let before = received(lan);
        let (start_ms, start) = (lan.board_ms(), Instant::now());
        let others = usize::from(PEERS) - 1;
        let mut sent = 0;
        while start.elapsed() < TIME {
            while sent * others < received(lan) - before + in_flight * others {
                lan.machine.send(&frame);
                sent += 1;
            }
            lan.step(Duration::from_millis(100));
        }
        let elapsed = start.elapsed();
        let count = received(lan) - before;
        let elapsed_ms = lan.board_ms() - start_ms;
        (
            count as f64 * 1000.0 / elapsed_ms as f64,
            count as f64 / elapsed.as_secs_f64(),
        )
    }

    /// Returns the number of lines that all hosts have received.
    fn received(lan: &Lan) -> usize {
        let hosts = lan.hosts.iter();
        hosts.map(|host| host.lines_received).sum()
    }
}
