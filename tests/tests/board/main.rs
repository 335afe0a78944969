//! The firmware on a board that QEMU emulates. The test plays all hosts on its Ethernet.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod framed;
mod fuzz;
mod hosts;
mod machine;
mod runner;
mod runtime;

use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Range;
use core::time::Duration;
use std::time::Instant;

use smoltcp::wire::{EthernetAddress, Icmpv4DstUnreachable, Icmpv4Repr, IpProtocol, Ipv4Repr};

use hosts::frames::icmpv4;
use hosts::{LEASED_IP, Lan, PORT};
use machine::{Firmware, Machine, STATIC_IP};

/// The link-local address that the board derives from the hardware address that QEMU gives it.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);

/// Returns a LAN whose board has booted and has an address.
fn lan() -> Lan {
    Lan::with_lease(Machine::boot(Firmware::build(), &[]))
}

/// Adds `count` hosts, IPv4 and IPv6 in turn, for peers with the names `p0`, `p1` ...
fn add_hosts(lan: &mut Lan, count: u8) {
    for number in 0..count {
        if number % 2 == 0 {
            let ip = Ipv4Addr::new(10, 0, 2, 100 + number);
            lan.add(ip.into(), LEASED_IP.into());
        } else {
            let ip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, number.into());
            lan.add(ip.into(), LINK_LOCAL.into());
        }
    }
}

/// Adds hosts whose peers have joined.
fn add_peers(lan: &mut Lan, count: u8) {
    add_hosts(lan, count);
    for host in 0..usize::from(count) {
        lan.join(host, &format!("p{host}"));
    }
}

/// Checks that each host has received the lines of the others, once and in order, and none of its
/// own.
fn check_lines(lan: &Lan, said: &[(usize, String)], hosts: impl IntoIterator<Item = usize>) {
    for host in hosts {
        let expected = said.iter().filter(|(author, _)| *author != host);
        let expected: Vec<String> = expected
            .map(|(author, text)| format!("p{author} : {text}"))
            .collect();
        let lines = lan.lines(host).into_iter();
        let received: Vec<String> = lines.filter(|line| line.contains(" : ")).collect();
        assert_eq!(received, expected, "at p{host}");
    }
}

/// Checks the log: one boot, no panic, nothing that cannot be decoded, no lost line.
fn check_log(lan: &mut Lan) {
    let log = lan.machine.log();
    for bad in ["error ", "malformed", "lost"] {
        assert!(!log.iter().any(|line| line.text.contains(bad)), "{log:#?}");
    }
    let boots = log
        .iter()
        .filter(|line| line.text.contains("board: reset"))
        .count();
    assert_eq!(boots, 1, "{log:#?}");
    check_memory(lan);
}

/// Checks the limits of flash and of RAM, stack included.
fn check_memory(lan: &mut Lan) {
    let (flash, ram) = Firmware::build().sizes();
    assert!(flash <= 104 * 1024, "{flash} bytes of flash");
    let stack = lan.stack_used();
    assert!(
        ram + stack <= 32 * 1024,
        "{ram} bytes of RAM and {stack} of stack"
    );
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn hosts_of_both_families_find_the_board_and_chat() {
    let mut lan = lan();
    add_hosts(&mut lan, 8);
    for host in 0..8 {
        lan.machine.send(&lan.ping(host));
    }
    while lan.step(Duration::from_millis(500)) {}
    assert_eq!(lan.others, vec![b"are you there?".to_vec(); 8]);

    let mut said = Vec::new();
    for host in 0..8 {
        lan.join(host, &format!("p{host}"));
        lan.wait_for_log(&format!("p{host}"));
    }
    for round in 0..5 {
        for host in 0..8 {
            let text = format!("round {round}, 你好 {}", "x".repeat(180 * round));
            lan.say(host, &text);
            said.push((host, text));
        }
        lan.settle();
    }
    check_lines(&lan, &said, 0..8);

    lan.say(3, "x".repeat(1025));
    lan.wait_for(3, |line| line == "* not sent: longer than 1024 bytes");
    lan.say(3, "/quit");
    lan.wait_for(3, |line| line == "* bye");
    lan.wait_for(4, |line| line == "* p3 left (quit)");
    assert!(lan.wait_for_log("quit").text.contains("p3"));
    check_log(&mut lan);
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn the_name_is_answered_for() {
    let mut lan = lan();
    add_hosts(&mut lan, 1);
    let frame = lan.name_question(0);
    let deadline = Instant::now() + Duration::from_secs(10);
    while lan.others.is_empty() && Instant::now() < deadline {
        lan.machine.send(&frame);
        lan.step(Duration::from_millis(500));
    }
    let answer = lan.others.first().expect("an answer");
    let address = LEASED_IP.octets();
    assert!(
        answer.windows(4).any(|bytes| bytes == address),
        "{answer:?}"
    );
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn without_a_lease_it_takes_its_static_address() {
    let mut lan = Lan::new(Machine::boot(Firmware::build(), &[]));
    lan.dhcp = false;
    // the link-local address exists from the start
    lan.add(
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, 1).into(),
        LINK_LOCAL.into(),
    );
    lan.join(0, "p0");
    lan.wait_for_log(&STATIC_IP.to_string());
    lan.add(Ipv4Addr::new(10, 0, 2, 100).into(), STATIC_IP.into());
    lan.join(1, "p1");
    lan.say(0, "hello");
    lan.wait_for(1, |line| line == "p0 : hello");
    check_log(&mut lan);
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn all_seats_can_be_taken() {
    let mut lan = lan();
    add_peers(&mut lan, 32);
    add_hosts(&mut lan, 1);
    lan.say(32, "late");
    lan.wait_for(32, |line| line == "* full: 32 of 32 seats taken");
    lan.hosts[32].dead = true; // until a seat is free
    let mut said = Vec::new();
    for host in 0..32 {
        let text = format!("{} of 32", host + 1);
        lan.say(host, &text);
        said.push((host, text));
        // one datagram to each peer at a time: the cable has a short queue
        lan.synchronize(host);
    }
    lan.settle();
    check_lines(&lan, &said, 0..32);
    lan.say(7, "/quit");
    lan.wait_for(7, |line| line == "* bye");
    lan.hosts[32].dead = false;
    lan.join(32, "late");
    check_log(&mut lan);
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn dead_peers_silence_nobody() {
    let mut lan = lan();
    add_peers(&mut lan, 16);
    let vanished = lan.add(Ipv4Addr::new(10, 0, 2, 90).into(), LEASED_IP.into());
    lan.join(vanished, "vanished");
    lan.hosts[vanished].dead = true;
    // a host behind a router that does not respond any more
    let remote = lan.add_remote(Ipv4Addr::new(192, 168, 77, 9), 0);
    lan.join(remote, "remote");
    lan.hosts[remote].dead = true;

    let asked = lan.board_asked;
    let mut said = Vec::new();
    for round in 0..100 {
        let author = round % 16;
        let text = format!("line {round}");
        let start = Instant::now();
        lan.say(author, &text);
        for host in (0..16).filter(|host| *host != author) {
            let line = format!("p{author} : {text}");
            lan.wait_for(host, |received| received == line);
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{text} took long");
        said.push((author, text));
    }
    check_lines(&lan, &said, 0..16);
    assert_eq!(
        lan.board_asked, asked,
        "the board asked for a hardware address"
    );
    check_log(&mut lan);
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn a_peer_whose_port_is_closed_leaves() {
    let mut lan = lan();
    add_peers(&mut lan, 2);
    let ip = Ipv4Addr::new(10, 0, 2, 90);
    let closed = lan.add(ip.into(), LEASED_IP.into());
    lan.join(closed, "closed");
    // an ICMP error quotes the IP header and the first eight bytes of the datagram (RFC 792)
    let [p, q] = PORT.to_be_bytes();
    let [r, s] = lan.hosts[closed].port.to_be_bytes();
    let report = Icmpv4Repr::DstUnreachable {
        reason: Icmpv4DstUnreachable::PortUnreachable,
        header: Ipv4Repr {
            src_addr: LEASED_IP,
            dst_addr: ip,
            next_header: IpProtocol::Udp,
            payload_len: 20,
            hop_limit: 64,
        },
        data: &[p, q, r, s, 0, 20, 0, 0],
    };
    let hardware = lan.hosts[closed].hardware;
    let board = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    let frame = icmpv4((hardware, ip), (board, LEASED_IP), &report);
    for _ in 0..2 {
        lan.machine.send(&frame);
        // more than 10 s, because the board's clock loses ticks when QEMU has no processor
        let until = Instant::now() + Duration::from_secs(11);
        while Instant::now() < until {
            lan.step(until.saturating_duration_since(Instant::now()));
        }
    }
    lan.machine.send(&frame);
    lan.wait_for(0, |line| line == "* closed left (unreachable)");
    check_log(&mut lan);
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn it_goes_on_relaying_under_10_000_bad_frames() {
    let mut lan = lan();
    add_peers(&mut lan, 8);
    let seed = std::env::var("KILOCHAT_BOARD_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut frames = fuzz::Frames::new(&lan, seed);
    let mut unfit = 0;
    for number in 0..10_000 {
        let frame = frames.next();
        unfit += usize::from(frame.len() < 14);
        lan.machine.send(&frame);
        if number % 25 == 0 {
            // often, because the cable has a short queue. Each host's last datagram is a request,
            // so that all of its datagrams have been handled
            for host in 0..8 {
                lan.synchronize(host);
            }
            let author = number / 25 % 8;
            // names are not compared, because frames may have renamed peers
            let text = format!(" : after {number}");
            lan.say(author, format!("after {number}"));
            for host in (0..8).filter(|host| *host != author) {
                lan.wait_for(host, |line| line.ends_with(&text));
            }
        }
    }
    lan.wait_for_log(&format!("{unfit} frames of invalid length"));
    check_memory(&mut lan);
    let log = lan.machine.log();
    for bad in ["error ", "malformed"] {
        assert!(!log.iter().any(|line| line.text.contains(bad)), "{log:#?}");
    }
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn it_starts_again_after_a_panic_a_fault_and_a_hang() {
    /// An address in RAM outside of static memory and stack.
    const FREE: u32 = 0x2000_c000;
    /// The numbers of the frame pointer, of the link register and of the program counter.
    const FP: u8 = 7;
    const LR: u8 = 14;
    const PC: u8 = 15;

    /// Waits until the board has booted once more and sleeps. Then lets one peer join.
    fn start_again(lan: &mut Lan) {
        lan.wait_for_log("board: reset");
        lan.wait_for_log(&LEASED_IP.to_string());
        lan.join(0, "p0");
        lan.wait_for_log("p0 joined");
        while lan.step(Duration::from_millis(100)) {}
    }

    let mut lan = lan();
    add_peers(&mut lan, 3);
    lan.settle();

    // as if the start of `main` called it; then with frame pointers that lead nowhere
    let panic = Firmware::build().function("panic_bounds_check");
    let main = Firmware::build().function("__cortex_m_rt_main");
    let reset = Firmware::build().function("Reset");
    for frame in [None, Some(FREE + 1), Some(0x0fff_fff0)] {
        let mut debugger = lan.machine.debug();
        if let Some(frame) = frame {
            debugger.set_register(FP, frame);
        }
        debugger.set_register(LR, main.start + 4);
        debugger.set_register(PC, panic.start & !1);
        drop(debugger);
        let said = lan.wait_for_log("error ").text;
        let (_, calls) = said.split_once("panic at ").expect("a panic");
        let calls = calls.trim_matches(['[', ']']).split(", ");
        let calls: Vec<u32> = calls
            .map(|call| u32::from_str_radix(call.trim_start_matches("0x"), 16).unwrap())
            .collect();
        let names = |function: &Range<u32>| calls.iter().any(|it| function.contains(&(it | 1)));
        assert!(
            names(&panic) && names(&main),
            "{said}: {panic:#x?} {main:#x?}"
        );
        assert_eq!(names(&reset), frame.is_none(), "{said}: {reset:#x?}");
        start_again(&mut lan);
    }

    let mut debugger = lan.machine.debug();
    debugger.write(FREE, &[0x00, 0xde]); // udf
    debugger.set_register(PC, FREE);
    drop(debugger);
    let said = lan.wait_for_log("error ").text;
    assert!(said.contains("hard fault at 0x2000c000"), "{said}");
    start_again(&mut lan);

    let mut debugger = lan.machine.debug();
    debugger.write(FREE, &[0xfe, 0xe7]); // b .
    debugger.set_register(PC, FREE);
    drop(debugger);
    start_again(&mut lan);
    lan.join(2, "p2");
    lan.say(0, "here again");
    lan.wait_for(2, |line| line == "p0 : here again");
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn it_sleeps_while_nobody_talks() {
    const TIME: Duration = Duration::from_secs(60);
    let mut lan = lan();
    add_peers(&mut lan, 8);
    let (before_ms, before) = (lan.board_ms(), cpu_time(lan.machine.id()));
    let start = Instant::now();
    while start.elapsed() < TIME {
        lan.step(TIME.saturating_sub(start.elapsed()));
    }
    let share = (cpu_time(lan.machine.id()) - before).as_secs_f64() / start.elapsed().as_secs_f64();
    eprintln!("idle: {:.1} % of a core", 100.0 * share);
    assert!(share <= 0.1, "{:.1} % of a core", 100.0 * share);
    // and its clock has the right speed
    let drift_ms = (lan.board_ms() - before_ms).abs_diff(60_000);
    assert!(drift_ms < 2_000, "{drift_ms} ms off");
    check_log(&mut lan);
}

/// Returns the processor time that a process has used.
#[cfg(target_os = "linux")]
fn cpu_time(id: u32) -> Duration {
    let statistics = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, behind_name) = statistics.rsplit_once(')').unwrap();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    // user and system time, in hundredths of a second
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
