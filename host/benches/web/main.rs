//! What a page costs: `cargo bench -p kilochat --bench web`. It prints a table of what was measured beside what
//! is accepted. The pages are the core's clients over WebSockets; what a person sees in a browser is measured
//! by `tests/check.sh browser`.
#![cfg_attr(not(target_os = "linux"), allow(unused))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement")]

#[cfg(target_os = "linux")]
#[path = "../../tests/web/page.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod page;

#[cfg(target_os = "linux")]
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kilochat");

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("needs Linux, for the processor time of a program");
}

#[cfg(target_os = "linux")]
fn main() {
    // `cargo test --benches` only checks that it starts
    if std::env::args().any(|argument| argument == "--bench") {
        linux::measure();
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use core::time::Duration;
    use std::time::Instant;

    use kilochat_tests::{PlainPeer, RelayProgram, allow_many_sockets};

    use super::PROGRAM;
    use super::page::{Page, gateway};

    const PAGES: usize = 400;
    const LINES: usize = 2000;
    /// Lines in flight.
    const FLIGHT: usize = 40;
    /// How long silent pages are watched.
    const PAUSE: Duration = Duration::from_secs(16);
    const MANY: [&str; 4] = ["--web-connections", "1000", "--web-per-address", "1000"];

    struct Row {
        what: &'static str,
        measured: f64,
        unit: &'static str,
        /// The value that is accepted, or `None` if it depends on how busy the
        /// machine is.
        accepted: Option<f64>,
    }

    pub(super) fn measure() {
        allow_many_sockets();
        let mut rows = Vec::new();
        busy_pages(&mut rows);
        silent_pages(&mut rows);
        println!("| figure | measured | accepted | measured / accepted |");
        println!("|---|---|---|---|");
        for row in &rows {
            let Row {
                what,
                measured,
                unit,
                accepted,
            } = row;
            let Some(accepted) = accepted else {
                println!("| {what} | {measured:.2} {unit} | | |");
                continue;
            };
            let limit = *accepted;
            let ratio = if limit > 0.0 {
                measured / limit
            } else {
                *measured
            };
            println!("| {what} | {measured:.2} {unit} | at most {limit} | {ratio:.2} |");
        }
    }

    /// A room of pages in which one peer speaks as fast as they hear it.
    fn busy_pages(rows: &mut Vec<Row>) {
        let relay = RelayProgram::start(PROGRAM, &["--bind", "127.0.0.1:0", "--quiet"]);
        let at = relay.address.to_string();
        let front = gateway(&[&[&*at, "--listen", "127.0.0.1:0", "--quiet"], &MANY[..]].concat());
        let mut pages: Vec<Page> = (0..PAGES)
            .map(|number| Page::join(front.address, &format!("page {number}")))
            .collect();
        let ada = PlainPeer::join(relay.address, "Ada");
        let ends = [": end of the warm-up", ": end of the measurement"];
        ada.say(&ends[0][2..]);
        Page::run_until(&mut pages, |page| page.heard(ends[0]) == 1);
        let before = (relay.cpu(), front.cpu(), Instant::now());
        for line in 1..LINES {
            ada.say(format!("{line:04} {}", "x".repeat(50)));
            if line % FLIGHT == 0 {
                let wanted = format!(": {line:04} ");
                Page::run_until(&mut pages, |page| page.has_heard(&wanted));
            }
        }
        ada.say(&ends[1][2..]);
        Page::run_until(&mut pages, |page| page.has_heard(ends[1]));
        let deliveries = (PAGES * LINES) as f64;
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / deliveries;
        let relay_us = micros(relay.cpu() - before.0);
        let gateway_us = micros(front.cpu() - before.1);
        let mut lost = 0;
        for page in &pages {
            lost += page.peer.lost + (LINES - page.heard("Ada : ").min(LINES)) as u64;
        }
        let mut row = |what, measured, unit, accepted| {
            rows.push(Row {
                what,
                measured,
                unit,
                accepted,
            });
        };
        let resident = front.proc_status("VmHWM") as f64 / 1024.0;
        row(
            "gateway, processor time for a line at a page",
            gateway_us,
            "us",
            Some(2.0),
        );
        row(
            "... beside the relay's",
            gateway_us / relay_us,
            "times",
            Some(5.0),
        );
        row(
            "relay, processor time for a line at a page",
            relay_us,
            "us",
            None,
        );
        row("lines lost", lost as f64, "", Some(0.0));
        let seconds = before.2.elapsed().as_secs_f64();
        row(
            "lines at pages in a second, the pages included",
            deliveries / seconds,
            "",
            None,
        );
        row(
            "gateway alone with 400 pages, peak memory",
            resident,
            "MiB",
            None,
        );
    }

    /// The memory of a relay with pages.
    fn silent_pages(rows: &mut Vec<Row>) {
        let words = [&["--bind", "127.0.0.1:0", "--web", "--quiet"], &MANY[..]].concat();
        let relay = RelayProgram::start(PROGRAM, &words);
        let join = |number| Page::join(relay.address, &format!("page {number}"));
        let mut pages: Vec<Page> = (0..PAGES).map(join).collect();
        let mut ada = PlainPeer::join(relay.address, "Ada");
        ada.say("hello");
        ada.synchronize();
        Page::run_until(&mut pages, |page| page.has_heard("Ada : hello"));
        rows.push(Row {
            what: "relay with --web, 400 pages and 4096 seats, peak memory",
            measured: relay.proc_status("VmHWM") as f64 / 1024.0,
            unit: "MiB",
            accepted: Some(8.0),
        });
        let idle = PAUSE;
        let before = relay.cpu();
        let start = Instant::now();
        while start.elapsed() < idle {
            Page::run_until(&mut pages, |_| true);
            std::thread::sleep(Duration::from_millis(100));
        }
        rows.push(Row {
            what: "relay and gateway, processor time for 400 silent pages",
            measured: (relay.cpu() - before).as_secs_f64() * 1e3 / idle.as_secs_f64(),
            unit: "ms a second",
            accepted: None,
        });
    }
}
