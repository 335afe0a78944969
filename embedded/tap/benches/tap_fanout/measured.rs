//! Measures processor time for each delivery, of the program and of a bare loop.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]
#![allow(clippy::unwrap_used, reason = "a measurement may panic")]

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/tap/lab.rs"]
mod lab;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::Write;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use kilochat_tests::ethernet::{datagram, parse};
use kilochat_tests::namespace::{enter, ip};
use kilochat_tests::processor_time;
use lab::{Host, TapProgram, V4};
use tun_rs::{DeviceBuilder, Layer};

const READERS: usize = 15;
const LINES: usize = 2000;
const TURNS: usize = 15;
const LINE: usize = 100;
const WINDOW: usize = 16;

const RELAY_HARDWARE: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const HOST_HARDWARE: [u8; 6] = [0x02, 0x77, 0, 0, 0, 11];

pub(crate) fn main() {
    if std::env::args().nth(1).as_deref() == Some("bare") {
        return bare();
    }
    if let Some(output) = enter(&[]) {
        print!("{output}");
        return;
    }
    println!(
        "fan-out to {READERS} peers, {LINE}-byte lines, one in flight, {TURNS} turns, medians:"
    );
    // alternating, because a busy machine is slower at times
    let mut turns = [const { Vec::new() }; 2];
    let mut coalesced = Vec::new();
    for _ in 0..TURNS {
        for (dead, turns) in turns.iter_mut().enumerate() {
            turns.push((measure_bare(dead), measure_relay(dead, 1)));
        }
        coalesced.push(measure_relay(0, WINDOW));
    }
    for (dead, turns) in turns.iter().enumerate() {
        let bare = median(turns.iter().map(|(bare, _)| *bare));
        let relay = median(turns.iter().map(|(_, relay)| *relay));
        let ratio = median(turns.iter().map(|(bare, relay)| relay / bare));
        println!(
            "{dead} more dead: {relay:.0} deliveries per CPU-second; \
             bare read and write loop {bare:.0}; ratio {ratio:.3}"
        );
    }
    let rate = median(coalesced.iter().copied());
    let alone = turns[0].iter().map(|(_, relay)| relay);
    let ratio = median(coalesced.iter().zip(alone).map(|(more, one)| more / one));
    println!("{WINDOW} in flight: {rate:.0} deliveries per CPU-second; ratio to one {ratio:.3}");
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Returns the deliveries to live peers for each second of processor time.
#[expect(clippy::cast_precision_loss, reason = "it is a small number")]
fn rate(cpu: Duration) -> f64 {
    (LINES * READERS) as f64 / cpu.as_secs_f64()
}

fn measure_relay(dead: usize, window: usize) -> f64 {
    let relay = TapProgram::start(&[
        "--history",
        "0",
        "--mac",
        "02:00:00:00:00:01",
        "--unproven", // all readers are one host
        "0",
    ]);
    let host = Host::new(11);
    let speaker = socket(&host);
    let readers: Vec<_> = (0..READERS).map(|_| socket(&host)).collect();
    let gone = Host::new(12);
    speaker.send(b"s").unwrap();
    for (number, reader) in readers.iter().enumerate() {
        reader.send(format!("r{number}").as_bytes()).unwrap();
    }
    if dead > 0 {
        drop(gone.join(V4, "dead"));
    }
    gone.vanish();
    std::thread::sleep(Duration::from_millis(200));
    for socket in readers.iter().chain([&speaker]) {
        while socket.recv(&mut [0; 2048]).is_ok() {}
    }
    let before = relay.cpu();
    talk(&speaker, &readers, LINE - "s : ".len(), window);
    rate(relay.cpu() - before)
}

fn measure_bare(dead: usize) -> f64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = Ended(command.arg("bare").stdin(Stdio::piped()).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    let host = Host::new(11);
    host.run(|| ip("neighbour replace 192.168.77.1 lladdr 02:00:00:00:00:01 dev host11"));
    let speaker = socket(&host);
    let readers: Vec<_> = (0..READERS).map(|_| socket(&host)).collect();
    let ports = readers
        .iter()
        .map(|reader| reader.local_addr().unwrap().port().to_string());
    let ports: Vec<String> = ports.collect();
    let mut input = child.0.stdin.take().unwrap();
    writeln!(input, "{dead} {}", ports.join(" ")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let before = processor_time(child.0.id());
    talk(&speaker, &readers, LINE - "s : ".len(), 1);
    rate(processor_time(child.0.id()) - before)
}

/// Returns a peer's socket, which does not block.
fn socket(host: &Host) -> UdpSocket {
    let socket = host.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(V4).unwrap();
        socket
    });
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Sends lines, `window` at once, each time that all readers have the lines before.
///
/// No reader blocks in the kernel: the writer would have to wake it, and how often that happens
/// depends on which of them is faster at the moment.
fn talk(speaker: &UdpSocket, readers: &[UdpSocket], length: usize, window: usize) {
    let (text, mut buffer) = (vec![b'x'; length], [0; 2048]);
    for _ in 0..LINES / window {
        for _ in 0..window {
            speaker.send(&text).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        for reader in readers {
            let mut lines = 0;
            while lines < window {
                if let Ok(received) = reader.recv(&mut buffer) {
                    // with a line break between them
                    assert_eq!((received + 1) % (LINE + 1), 0);
                    lines += (received + 1) / (LINE + 1);
                } else {
                    assert!(Instant::now() < deadline, "a line did not arrive");
                    core::hint::spin_loop();
                }
            }
            assert_eq!(lines, window);
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

/// Reads frames and writes prepared ones for each datagram to the relay: to the number of dead
/// peers, and to the ports, that standard input contains.
fn bare() {
    let builder = DeviceBuilder::new().name("tap0").layer(Layer::L2);
    let device = builder.build_sync().unwrap();
    let mut words = String::new();
    std::io::stdin().read_line(&mut words).unwrap();
    let (dead, ports) = words.split_once(' ').unwrap();
    let relay: SocketAddr = V4.parse().unwrap();
    let mut frames: Vec<_> = ports
        .split_whitespace()
        .map(|port| {
            let to = SocketAddr::new([192, 168, 77, 11].into(), port.parse().unwrap());
            datagram((RELAY_HARDWARE, relay), (HOST_HARDWARE, to), &[b'x'; LINE])
        })
        .collect();
    for _ in 0..dead.parse().unwrap() {
        let nobody = (
            [0x02, 0x77, 0, 0, 0, 12],
            "192.168.77.12:4000".parse().unwrap(),
        );
        frames.push(datagram((RELAY_HARDWARE, relay), nobody, &[b'x'; LINE]));
    }
    let mut buffer = [0; 2048];
    loop {
        let length = device.recv(&mut buffer).unwrap();
        // the minimum that any program on such an interface must check
        let is_ours = buffer[..6] == RELAY_HARDWARE && buffer[12..14] == [8, 0] && buffer[23] == 17;
        if is_ours && buffer[36..38] == relay.port().to_be_bytes() {
            debug_assert!(parse(&buffer[..length]).is_some());
            for frame in &frames {
                device.send(frame).unwrap();
            }
        }
    }
}
