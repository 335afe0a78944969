//! Trouble with one peer, or caused by one, does not affect the others.

use core::time::Duration;

use kilochat_tests::allow_many_sockets;
use kilochat_tests::lab::{Dialect, Link, Load, Measured, Row, Trouble, measure};

use crate::{PROGRAM, is_alone_in_namespace};

const LOAD: Load = Load {
    lines: 300,
    interval: Duration::from_millis(10),
    length: 400,
    limited: false,
};

/// The time that a line may take with trouble, in addition to twice the time without.
const SLACK: Duration = Duration::from_millis(100);

/// Number of measurements before one counts as too slow, because the machine may be busy.
const TRIES: usize = 3;

/// The readers that have sent more than their name.
const TALKERS: [Dialect; 2] = [Dialect::Plain, Dialect::Framed];

/// Checks that readers on these links receive every line in order, and as fast as without trouble.
fn check(trouble: Trouble, links: &[Link], dialects: &[Dialect]) -> Measured {
    allow_many_sockets();
    for attempt in 1.. {
        let quiet = measure(PROGRAM, Trouble::None, &LOAD);
        let measured = measure(PROGRAM, trouble, &LOAD);
        let is_asked = |row: &&Row| links.contains(&row.link) && dialects.contains(&row.dialect);
        let complaints: Vec<String> = measured
            .rows
            .iter()
            .filter(is_asked)
            .filter_map(|row| complaint(row, quiet.row(row.link, row.dialect)))
            .collect();
        if complaints.is_empty() {
            return measured;
        }
        println!("{trouble}: {complaints:#?}");
        assert!(attempt < TRIES, "{complaints:#?}\n{:?}", measured.counts);
    }
    unreachable!("it has been tried often enough")
}

fn complaint(row: &Row, quiet: &Row) -> Option<String> {
    let (with, without) = (row.percentile(99), quiet.percentile(99));
    let is_well = row.missing() == 0 && row.disordered == 0 && row.lost == 0;
    (!is_well || with > without * 2 + SLACK).then(|| {
        format!(
            "{} on {:?}: {} of {} lines missing, {} told lost, {} out of order, p99 {with:?}, \
             without trouble {without:?}",
            row.dialect,
            row.link,
            row.missing(),
            row.said,
            row.lost,
            row.disordered
        )
    })
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn peers_that_are_gone_delay_nobody() {
    if !is_alone_in_namespace("neighbours::peers_that_are_gone_delay_nobody") {
        return;
    }
    for count in [5, 20, 100] {
        check(Trouble::Gone(count), &Link::ALL, &TALKERS);
    }
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn framed_peers_that_are_gone_delay_nobody() {
    if !is_alone_in_namespace("neighbours::framed_peers_that_are_gone_delay_nobody") {
        return;
    }
    check(Trouble::GoneFramed(100), &Link::ALL, &TALKERS);
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_station_that_is_slow_delays_nobody_else() {
    if !is_alone_in_namespace("neighbours::a_station_that_is_slow_delays_nobody_else") {
        return;
    }
    check(Trouble::SlowStation, &Link::ALL, &TALKERS);
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_link_that_is_slow_delays_no_other() {
    if !is_alone_in_namespace("neighbours::a_link_that_is_slow_delays_no_other") {
        return;
    }
    check(Trouble::SlowLink, &[Link::B], &Dialect::ALL);
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_device_that_takes_nothing_delays_no_other_and_is_waited_for_asleep() {
    if !is_alone_in_namespace(
        "neighbours::a_device_that_takes_nothing_delays_no_other_and_is_waited_for_asleep",
    ) {
        return;
    }
    let measured = check(Trouble::FullQueue, &[Link::B], &Dialect::ALL);
    let most = LOAD.interval * LOAD.lines / 10;
    assert!(
        measured.cpu < most,
        "{:?}, {:?}",
        measured.cpu,
        measured.counts
    );
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn names_that_were_forged_delay_nobody() {
    if !is_alone_in_namespace("neighbours::names_that_were_forged_delay_nobody") {
        return;
    }
    check(Trouble::Ghosts, &Link::ALL, &TALKERS);
    check(Trouble::GhostFlood(20), &Link::ALL, &TALKERS);
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_peer_that_renames_itself_without_end_delays_nobody() {
    if !is_alone_in_namespace("neighbours::a_peer_that_renames_itself_without_end_delays_nobody") {
        return;
    }
    check(Trouble::Renamer, &Link::ALL, &TALKERS);
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_framed_peer_that_posts_without_end_loses_nothing_of_others() {
    if !is_alone_in_namespace(
        "neighbours::a_framed_peer_that_posts_without_end_loses_nothing_of_others",
    ) {
        return;
    }
    allow_many_sockets();
    let measured = measure(PROGRAM, Trouble::Poster, &LOAD);
    // a relay that slept on work that is due would send nothing for longer than is waited
    let counts = &measured.counts;
    for link in Link::ALL {
        let row = measured.row(link, Dialect::Plain);
        assert_eq!((row.disordered, row.lost), (0, 0), "{link:?}: {counts:?}");
        // the kernel of a machine that is busy cannot queue all that is posted
        assert!(
            row.missing() as u64 <= counts["kernel_dropped"],
            "{} missing on {link:?}: {counts:?}",
            row.missing()
        );
    }
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn a_host_that_is_far_too_loud_is_not_read() {
    if !is_alone_in_namespace("neighbours::a_host_that_is_far_too_loud_is_not_read") {
        return;
    }
    // no delays are compared: the flood takes the processors of the machine and fills the link
    allow_many_sockets();
    for flood in [Trouble::Hellos, Trouble::Garbage, Trouble::Talker] {
        let measured = measure(PROGRAM, flood, &LOAD);
        let counts = &measured.counts;
        assert!(counts["shut_out"] > 0, "{counts:?}");
        assert!(counts["datagrams"] < 100_000, "{counts:?}");
        for dialect in TALKERS {
            let row = measured.row(Link::B, dialect);
            assert_eq!((row.missing(), row.lost), (0, 0), "{flood}: {dialect}");
        }
    }
}

// [G14]
#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn echo_services_that_joined_leave_and_say_nothing() {
    if !is_alone_in_namespace("neighbours::echo_services_that_joined_leave_and_say_nothing") {
        return;
    }
    let measured = check(Trouble::Echoes, &Link::ALL, &TALKERS);
    assert_eq!(measured.counts["echoes"], 2, "{:?}", measured.counts);
    assert_eq!(measured.counts["messages"], u64::from(LOAD.lines));
}
