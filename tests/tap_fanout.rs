//! How much of a processor's time goes into fan-out on a TAP interface, beside a loop that only
//! reads a frame and writes fifteen that were made before. In turns, in the same run.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "it prints what it measures")]
#![allow(clippy::unwrap_used, reason = "a measurement may panic")]

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "tap/lab.rs"]
mod lab;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use kilochat_tests::PlainPeer;
use kilochat_tests::ethernet::{datagram, parse};
use lab::{Host, TapProgram, V4, cpu, enter, ip};
use tun_rs::{DeviceBuilder, Layer};

const READERS: usize = 15;
const LINES: usize = 4000;
const TURNS: usize = 5;
const LINE: usize = 100;

const RELAY_HARDWARE: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const HOST_HARDWARE: [u8; 6] = [0x02, 0x77, 0, 0, 0, 11];

fn main() {
    if std::env::args().nth(1).as_deref() == Some("bare") {
        return bare();
    }
    if let Some(output) = enter(&[]) {
        print!("{output}");
        return;
    }
    let (mut bare, mut alone, mut with_dead) = <(Rate, Rate, Rate)>::default();
    for _ in 0..TURNS {
        measure_bare(&mut bare);
        measure_relay(false, &mut alone);
        measure_relay(true, &mut with_dead);
    }
    println!("fan-out to {READERS} peers, {LINE}-byte lines, one in flight, {TURNS} turns:");
    bare.print("bare read and write loop", &bare);
    alone.print("kilochat-tap", &bare);
    with_dead.print("kilochat-tap, one more peer is dead", &bare);
}

/// Deliveries to peers that live, and what they cost.
#[derive(Default)]
struct Rate {
    deliveries: usize,
    cpu: Duration,
}

impl Rate {
    fn add(&mut self, cpu: Duration) {
        self.deliveries += LINES * READERS;
        self.cpu += cpu;
    }

    #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
    fn per_second(&self) -> f64 {
        self.deliveries as f64 / self.cpu.as_secs_f64()
    }

    fn print(&self, name: &str, bare: &Self) {
        let (rate, ratio) = (self.per_second(), self.per_second() / bare.per_second());
        println!("{rate:>9.0} deliveries per CPU-second, ratio {ratio:.3}: {name}");
    }
}

fn measure_relay(with_dead: bool, rate: &mut Rate) {
    let relay = TapProgram::start(&["--history", "0", "--mac", "02:00:00:00:00:01"]);
    let host = Host::new(11);
    let mut speaker = host.join(V4, "s");
    let mut readers: Vec<_> = (0..READERS)
        .map(|number| host.join(V4, &format!("r{number}")))
        .collect();
    let gone = Host::new(12);
    if with_dead {
        drop(gone.join(V4, "dead"));
    }
    gone.vanish();
    for peer in readers.iter_mut().chain([&mut speaker]) {
        peer.synchronize();
    }
    let before = relay.cpu();
    talk(&speaker, &mut readers, LINE - "s : ".len());
    rate.add(relay.cpu() - before);
}

fn measure_bare(rate: &mut Rate) {
    let peer = |host: &Host| host.run(|| PlainPeer::new(V4.parse().unwrap()));
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = Ended(command.arg("bare").stdin(Stdio::piped()).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    let host = Host::new(11);
    host.run(|| ip("neighbour replace 192.168.77.1 lladdr 02:00:00:00:00:01 dev host11"));
    let speaker = peer(&host);
    let mut readers: Vec<_> = (0..READERS).map(|_| peer(&host)).collect();
    let ports = readers
        .iter()
        .map(|reader| reader.address().port().to_string());
    let ports: Vec<String> = ports.collect();
    let mut input = child.0.stdin.take().unwrap();
    writeln!(input, "{}", ports.join(" ")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let before = cpu(child.0.id());
    talk(&speaker, &mut readers, LINE - "s : ".len());
    rate.add(cpu(child.0.id()) - before);
}

/// Says lines, each when all readers have the one before.
fn talk(speaker: &PlainPeer, readers: &mut [PlainPeer], length: usize) {
    let text = "x".repeat(length);
    for _ in 0..LINES {
        speaker.say(&text);
        for reader in &mut *readers {
            let payload = reader
                .receive(Duration::from_secs(5))
                .expect("each line arrives");
            assert_eq!(payload.len(), LINE);
            reader.received.clear();
        }
    }
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Reads frames, and writes one that was made before to each port, which standard input names, for
/// each datagram to the relay.
fn bare() {
    let builder = DeviceBuilder::new().name("tap0").layer(Layer::L2);
    let device = builder.build_sync().unwrap();
    let mut ports = String::new();
    std::io::stdin().read_line(&mut ports).unwrap();
    let relay: SocketAddr = V4.parse().unwrap();
    let frames: Vec<_> = ports
        .split_whitespace()
        .map(|port| {
            let to = SocketAddr::new([192, 168, 77, 11].into(), port.parse().unwrap());
            datagram((RELAY_HARDWARE, relay), (HOST_HARDWARE, to), &[b'x'; LINE])
        })
        .collect();
    let mut buffer = [0; 2048];
    loop {
        let length = device.recv(&mut buffer).unwrap();
        // what any program on such an interface must look at at least
        let is_ours = buffer[..6] == RELAY_HARDWARE && buffer[12..14] == [8, 0] && buffer[23] == 17;
        if is_ours && buffer[36..38] == relay.port().to_be_bytes() {
            debug_assert!(parse(&buffer[..length]).is_some());
            for frame in &frames {
                device.send(frame).unwrap();
            }
        }
    }
}
