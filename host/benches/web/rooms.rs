//! Rooms of pages: processor time, memory, time to the mark, and a network that loses datagrams.

use core::time::Duration;
use std::time::Instant;

use kilochat_tests::proxy::{Faults, Proxy};
use kilochat_tests::{PlainPeer, RelayProgram, allow_many_sockets, processor_time};

use super::PROGRAM;
use super::page::{Page, connect, gateway};
use super::table::Table;

const PAGES: usize = 400;
const LINES: usize = 2000;
/// Number of lines in flight.
const FLIGHT: usize = 40;
/// Number of times that a last line is said through a network with faults.
const LAST_LINES: usize = 9;
/// Time for which silent pages are measured.
const PAUSE: Duration = Duration::from_secs(16);
const MANY: [&str; 4] = ["--web-connections", "1000", "--web-per-address", "1000"];
const BARE: [&str; 7] = [
    "--bind",
    "127.0.0.1:0",
    "--quiet",
    "--rate",
    "0",
    "--unproven",
    "0",
];

pub(crate) fn measure(table: &mut Table) {
    allow_many_sockets();
    busy_pages(table);
    silent_pages(table);
    peers_beside_pages(table);
    answers(table);
    losses(table);
}

/// The processor time of all processors since some time ago, of everybody and of this program with
/// those that it has started.
struct Load {
    all: Duration,
    own: Duration,
    at: Instant,
}

impl Load {
    fn now(programs: &[&RelayProgram]) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let numbers = stat.lines().next().unwrap().split_whitespace().skip(1);
        let ticks: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
        // user, nice, system, then idle and waiting, then interrupts and steal, in hundredths of a second
        let busy: u64 = ticks[..3].iter().chain(&ticks[5..8]).sum();
        let programs: Duration = programs.iter().map(|program| program.cpu()).sum();
        Self {
            all: Duration::from_millis(busy * 10),
            own: programs + processor_time(std::process::id()),
            at: Instant::now(),
        }
    }

    /// Returns the part of the processors that others have left since then.
    fn left_since(&self, then: &Self) -> f64 {
        let others = (self.all - then.all).saturating_sub(self.own - then.own);
        let processors = std::thread::available_parallelism().unwrap().get() as f64;
        let whole = processors * (self.at - then.at).as_secs_f64();
        (1.0 - others.as_secs_f64() / whole).max(0.1)
    }
}

/// Measures a room of pages in which one peer speaks as fast as the others receive.
fn busy_pages(table: &mut Table) {
    let relay = RelayProgram::start(PROGRAM, &BARE);
    let at = relay.address.to_string();
    let front = gateway(&[&[&*at, "--listen", "127.0.0.1:0", "--quiet"], &MANY[..]].concat());
    let mut pages: Vec<Page> = (0..PAGES)
        .map(|number| Page::join(front.address, &format!("page {number}")))
        .collect();
    let ada = PlainPeer::join(relay.address, "Ada");
    let ends = [": end of the warm-up", ": end of the measurement"];
    ada.say(&ends[0][2..]);
    Page::run_until(&mut pages, |page| page.heard(ends[0]) == 1);
    let before = (relay.cpu(), front.cpu());
    let start = Load::now(&[&relay, &front]);
    for line in 1..LINES {
        ada.say(format!("{line:04} {}", "x".repeat(50)));
        if line % FLIGHT == 0 {
            let wanted = format!(": {line:04} ");
            Page::run_until(&mut pages, |page| page.has_heard(&wanted));
        }
    }
    ada.say(&ends[1][2..]);
    Page::run_until(&mut pages, |page| page.has_heard(ends[1]));
    let end = Load::now(&[&relay, &front]);
    let deliveries = (PAGES * LINES) as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / deliveries;
    let relay_us = micros(relay.cpu() - before.0);
    let gateway_us = micros(front.cpu() - before.1);
    let mut lost = 0;
    for page in &pages {
        lost += page.peer.lost + (LINES - page.heard("Ada : ").min(LINES)) as u64;
    }
    let what = "gateway, processor time for a line at a page";
    table.accept(what, gateway_us, "us", 2.0);
    table.accept(
        "... beside the relay's",
        gateway_us / relay_us,
        "times",
        5.0,
    );
    table.show("relay, processor time for a line at a page", relay_us, "us");
    table.accept("lines lost", lost as f64, "", 0.0);
    let seconds = (end.at - start.at).as_secs_f64();
    let left = end.left_since(&start);
    let what = "processors that others left meanwhile, of all";
    table.show(what, left, "");
    let what = "100,000 lines at pages, on what others left of two cores";
    table.accept(what, 100_000.0 * seconds / deliveries, "s", 1.0 / left);
    let resident = front.proc_status("VmHWM") as f64 / 1024.0;
    table.show("gateway alone with 400 pages, peak memory", resident, "MiB");
}

/// Measures the memory of a relay with silent pages.
fn silent_pages(table: &mut Table) {
    let relay = RelayProgram::start(PROGRAM, &[&BARE[..], &["--web"], &MANY].concat());
    let join = |number| Page::join(relay.address, &format!("page {number}"));
    let mut pages: Vec<Page> = (0..PAGES).map(join).collect();
    let mut ada = PlainPeer::join(relay.address, "Ada");
    ada.say("hello");
    ada.synchronize();
    Page::run_until(&mut pages, |page| page.has_heard("Ada : hello"));
    let what = "relay with --web, 400 pages and 4096 seats, peak memory";
    let resident = relay.proc_status("VmHWM") as f64 / 1024.0;
    table.accept(what, resident, "MiB", 8.0);
    let before = relay.cpu();
    let start = Instant::now();
    while start.elapsed() < PAUSE {
        Page::run_until(&mut pages, |_| true);
        std::thread::sleep(Duration::from_millis(100));
    }
    let what = "relay and gateway, processor time for 400 silent pages";
    let millis = (relay.cpu() - before).as_secs_f64() * 1e3 / PAUSE.as_secs_f64();
    table.show(what, millis, "ms a second");
}

/// Measures whether pages that are open and say nothing make lines to other peers more expensive.
/// Both relays run at the same time and are measured in turns, because the machine may be busy.
fn peers_beside_pages(table: &mut Table) {
    const PEERS: usize = 32;
    const ROUNDS: usize = 9;
    let words = [&BARE[..], &["--web"], &MANY].concat();
    let mut rooms = [0, PAGES].map(|pages| {
        let relay = RelayProgram::start(PROGRAM, &words);
        let open = |_| connect(relay.address).expect("there is a place");
        let sockets: Vec<_> = (0..pages).map(open).collect();
        let join = |number| PlainPeer::join(relay.address, &format!("peer {number}"));
        let peers: Vec<PlainPeer> = (0..PEERS).map(join).collect();
        (relay, sockets, peers)
    });
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for ((relay, _, peers), times) in rooms.iter_mut().zip(&mut times) {
            let before = relay.cpu();
            for line in 0..LINES {
                peers[0].say(format!("{round} {line} {}", "x".repeat(50)));
                if line % 16 == 15 {
                    let wanted = format!(": {round} {line} ");
                    peers[1].wait_for(|heard| heard.contains(&wanted));
                }
            }
            times.push((relay.cpu() - before).as_secs_f64());
        }
    }
    let [without, with] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[0]
    });
    let what = "relay, a line at a UDP peer with 400 silent pages, beside without";
    table.accept(what, with / without, "times", 1.05);
}

/// Measures the time until a page knows that its line was delivered.
fn answers(table: &mut Table) {
    let relay = RelayProgram::start(PROGRAM, &[&BARE[..], &["--web"]].concat());
    let mut page = Page::join(relay.address, "Ada");
    let mut said = |lines: usize| {
        let start = Instant::now();
        for line in 0..lines {
            page.say(&format!("line {line}"));
        }
        Page::run_until(core::slice::from_mut(&mut page), |page| page.is_settled());
        start.elapsed().as_secs_f64()
    };
    let mut times: Vec<f64> = (0..201).map(|_| said(1)).collect();
    times.sort_by(f64::total_cmp);
    let what = "from a line that is said to its mark, median";
    table.accept(what, 1e3 * times[100], "ms", 20.0);
    let what = "200 pasted lines, until the last mark";
    table.accept(what, said(200), "s", 0.5);
}

/// Measures two pages that talk through a network which loses datagrams.
fn losses(table: &mut Table) {
    let relay = RelayProgram::start(PROGRAM, &BARE);
    let faults = Faults {
        delay: Duration::from_millis(50),
        ..Faults::HARSH
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let proxy = Proxy::start(any, relay.address, faults, 7).unwrap();
    let at = proxy.address().to_string();
    let front = gateway(&[&at, "--listen", "127.0.0.1:0", "--quiet"]);
    let mut pages = ["Ada", "Bob"].map(|name| Page::join(front.address, name));
    for line in 0..100 {
        for page in &mut pages {
            page.say(&format!("line {line}."));
        }
        let pause = Instant::now();
        while pause.elapsed() < Duration::from_millis(250) {
            Page::run_until(&mut pages, |_| true);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let all_have = |pages: &mut [Page], text: &str| {
        let start = Instant::now();
        Page::run_until(pages, |page| page.is_settled() && page.heard(text) == 2);
        start.elapsed().as_secs_f64()
    };
    let mut times = vec![all_have(&mut pages, " : line 99.")];
    let mut wrong = 0;
    for page in &pages {
        for name in ["Ada", "Bob"] {
            let start = format!("{name} : line ");
            let lines = page
                .peer
                .lines
                .iter()
                .filter(|(_, line)| line.starts_with(&start));
            let heard: Vec<&String> = lines.map(|(_, line)| line).collect();
            let said: Vec<String> = (0..100).map(|line| format!("{start}{line}.")).collect();
            wrong += usize::from(heard != said.iter().collect::<Vec<_>>());
        }
    }
    let what = "20 % lost, 100 lines each way: lists that are not whole, in order and once";
    table.accept(what, wrong as f64, "of 4", 0.0);
    // a text is answered at once with a probability of 0.64, and time-outs grow: one time says little
    for round in 1..LAST_LINES {
        let text = format!("the end {round}.");
        pages.iter_mut().for_each(|page| page.say(&text));
        times.push(all_have(&mut pages, &text));
    }
    times.sort_by(f64::total_cmp);
    let what = "... from a last line until all have it and its mark, median of 9";
    table.accept(what, times[LAST_LINES / 2], "s", 5.0);
    table.show("... at most", times[LAST_LINES - 1], "s");
}
