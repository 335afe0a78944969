//! The counters in the format of OpenMetrics 1.0. No label is a name or an address: strangers choose
//! these, and each would cost memory where it is stored.

use core::fmt::{Display, Write};

use jiff::Timestamp;
use kilochat_core::Refusal;

use crate::relay::inquiry::Snapshot;
use crate::relay::link::LinkCounts;

/// The content type.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The content type for those that do not ask for OpenMetrics: Prometheus's own text format, which differs
/// in the names of types.
pub(super) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text of metrics.
struct Text {
    text: String,
    is_open: bool,
}

impl Text {
    /// Begins a metric.
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let (name, kind) = match (kind, self.is_open) {
            ("counter", false) => (&*format!("{name}_total"), kind),
            ("info", false) => (&*format!("{name}_info"), "gauge"),
            _ => (name, kind),
        };
        // to a string, which does not fail, here and below
        let _ = write!(
            self.text,
            "# TYPE kilochat_{name} {kind}\n# HELP kilochat_{name} {help}\n"
        );
    }

    /// Writes a counter without labels.
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.begin(name, "counter", help);
        let _ = writeln!(self.text, "kilochat_{name}_total {value}");
    }

    /// Writes a counter with a reason.
    fn reasons(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (impl Display, u64)>,
    ) {
        self.begin(name, "counter", help);
        for (reason, value) in values {
            let _ = writeln!(
                self.text,
                "kilochat_{name}_total{{reason=\"{reason}\"}} {value}"
            );
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, "gauge", help);
        let _ = writeln!(self.text, "kilochat_{name} {value}");
    }
}

/// Writes all metrics; `is_open` is whether in the format of OpenMetrics.
pub(super) fn write(snapshot: &Snapshot, started: Timestamp, is_open: bool) -> String {
    let mut text = Text {
        text: String::with_capacity(8 << 10),
        is_open,
    };
    text.begin("build", "info", "The program.");
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(text.text, "kilochat_build_info{{version=\"{version}\"}} 1");
    text.begin(
        "start_time_seconds",
        "gauge",
        "When the relay started, in seconds since 1970.",
    );
    let started = started.as_second();
    let _ = writeln!(text.text, "kilochat_start_time_seconds {started}");
    text.gauge("seats", "Maximum number of peers.", snapshot.seats);
    write_peers(&mut text, snapshot);
    write_received(&mut text, snapshot);
    write_peers_changes(&mut text, snapshot);
    write_sent(&mut text, snapshot);
    write_losses(&mut text, snapshot);
    if let Some(link) = &snapshot.link {
        write_link(&mut text, link);
    }
    if is_open {
        text.text.push_str("# EOF\n");
    }
    text.text
}

fn write_peers(text: &mut Text, snapshot: &Snapshot) {
    let peers = &snapshot.peers;
    text.begin("peers", "gauge", "Peers in the room.");
    for (dialect, state, value) in [
        ("plain", "present", peers.plain),
        ("plain", "suspect", peers.plain_suspect),
        ("framed", "present", peers.framed),
        ("framed", "suspect", peers.framed_suspect),
        ("framed", "parked", peers.framed_parked),
    ] {
        let _ = writeln!(
            text.text,
            "kilochat_peers{{dialect=\"{dialect}\",state=\"{state}\"}} {value}"
        );
    }
}

fn write_received(text: &mut Text, snapshot: &Snapshot) {
    let relay = &snapshot.relay;
    for (name, help, value) in [
        ("datagrams_received", "Datagrams handled.", relay.datagrams),
        ("messages", "Messages accepted.", relay.messages),
        (
            "lines",
            "Lines of the room: messages and notices.",
            relay.lines,
        ),
        ("commands", "Commands answered.", relay.answered),
        ("keepalives", "Datagrams without content.", relay.keepalives),
        (
            "acknowledgements",
            "Frames that acknowledge lines or repeat a request.",
            relay.acknowledged,
        ),
        ("challenges", "Cookies sent.", relay.challenged),
        (
            "claims",
            "Requests for sessions of other addresses.",
            relay.claimed,
        ),
        (
            "codes",
            "Codes sent to plain sources that must prove their address.",
            relay.coded,
        ),
    ] {
        text.counter(name, help, value);
    }
    let refused = Refusal::ALL.map(|why| (reason(why), relay.refused(why)));
    text.reasons("refused", "Datagrams that were not accepted.", refused);
    text.counter("untold", "Refusals without a reply.", relay.untold);
}

fn write_peers_changes(text: &mut Text, snapshot: &Snapshot) {
    let relay = &snapshot.relay;
    text.counter("joins", "Peers that got a seat.", relay.joined);
    text.counter(
        "joins_by_code",
        "Peers that got a seat by a code.",
        relay.proven,
    );
    let known = [
        ("displaced", relay.displaced),
        ("silent_for_an_hour", relay.lapsed),
        ("removed", relay.removed),
        ("restarted", relay.restarted),
        ("replaced", relay.replaced),
        ("contested", relay.contested),
        ("echo", relay.echoes),
    ];
    let others = relay.left - known.iter().map(|(_, value)| value).sum::<u64>();
    let reasons = known.into_iter().chain([("quit_or_unreachable", others)]);
    text.reasons("leaves", "Peers that left.", reasons);
    for (name, help, value) in [
        ("renames", "Changes of a name.", relay.renamed),
        ("resumes", "Sessions that were resumed.", relay.resumed),
        (
            "parked",
            "Times that a silent peer was parked.",
            relay.parked,
        ),
        (
            "unparked",
            "Times that a parked peer came back.",
            relay.unparked,
        ),
    ] {
        text.counter(name, help, value);
    }
}

fn write_sent(text: &mut Text, snapshot: &Snapshot) {
    let relay = &snapshot.relay;
    for (name, help, value) in [
        (
            "deliveries",
            "Datagrams offered to the network.",
            relay.deliveries,
        ),
        (
            "deliveries_coalesced",
            "Datagrams offered with more than one line.",
            relay.coalesced,
        ),
        (
            "deliveries_deferred",
            "Deliveries that would have blocked.",
            relay.deferred,
        ),
        (
            "retransmissions",
            "Datagrams retransmitted to framed peers.",
            relay.resent,
        ),
        (
            "gaps",
            "Times that a framed peer was told that lines were overwritten.",
            relay.gaps,
        ),
        (
            "lines_missed",
            "Lines that were overwritten before a peer was sent them, over all peers.",
            relay.missed,
        ),
        (
            "held",
            "Datagrams that waited because an address that is not proved was sent enough.",
            relay.held,
        ),
        (
            "unanswered",
            "Replies that were not sent to an address that is not proved.",
            relay.unanswered,
        ),
        (
            "unreachable_reports",
            "Reports that a peer is unreachable.",
            relay.unreachable,
        ),
    ] {
        text.counter(name, help, value);
    }
}

fn write_losses(text: &mut Text, snapshot: &Snapshot) {
    let counters = &snapshot.counters;
    for (name, help, value) in [
        (
            "kernel_dropped",
            "Datagrams that the kernel dropped before they were read.",
            counters.kernel_dropped,
        ),
        (
            "send_errors",
            "Datagrams that could not be sent.",
            counters.send_errors,
        ),
        (
            "receive_errors",
            "Failed attempts to receive.",
            counters.receive_errors,
        ),
        (
            "replies_lost",
            "Replies that the network did not take.",
            counters.replies_lost,
        ),
        (
            "reports_lost",
            "Reports of unreachable peers that were dropped.",
            counters.reports_lost,
        ),
        (
            "own",
            "Datagrams whose source is the relay's own address, hence spoofed.",
            counters.own,
        ),
        (
            "outlets_missing",
            "Datagrams for which no socket could be opened.",
            counters.outlets_missing,
        ),
        (
            "shut_out",
            "Times that a source was so loud that the kernel drops what it sends for a while.",
            counters.shut_out,
        ),
        (
            "log_lines_lost",
            "Log lines that came faster than they could be written.",
            snapshot.log_lost,
        ),
    ] {
        text.counter(name, help, value);
    }
    if let Some(kept) = snapshot.kept {
        text.counter("kept_lines", "Lines that were kept on the disk.", kept.kept);
        text.counter(
            "kept_lines_lost",
            "Lines that could not be kept.",
            kept.lost,
        );
        text.counter(
            "keep_failures",
            "Failed writes or deletions of kept files.",
            kept.failures,
        );
    }
}

fn write_link(text: &mut Text, link: &LinkCounts) {
    for (name, help, value) in link.gauges() {
        text.gauge(name, help, value);
    }
    for (name, help, value) in link.counters() {
        text.counter(name, help, value);
    }
}

/// Returns the reason as a word.
fn reason(why: Refusal) -> String {
    let word = |character: char| {
        if character.is_ascii_alphanumeric() {
            character.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    why.as_str().chars().map(word).collect()
}

#[cfg(test)]
mod tests {
    use kilochat_core::Stats;

    use super::*;
    use crate::relay::inquiry::Peers;
    use crate::relay::network::Counters;

    #[test]
    fn each_peer_that_left_is_counted_with_one_reason() {
        let mut relay = Stats::default();
        relay.left = 21;
        (relay.displaced, relay.lapsed, relay.removed) = (1, 2, 3);
        (relay.restarted, relay.replaced) = (4, 5);
        let snapshot = Snapshot {
            seats: 32,
            peers: Peers::default(),
            relay,
            counters: Counters::default(),
            log_lost: 0,
            kept: None,
            link: None,
        };
        let text = write(&snapshot, Timestamp::UNIX_EPOCH, true);
        let prefix = "kilochat_leaves_total{reason=";
        let leaves: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(prefix))
            .collect();
        assert_eq!(
            leaves,
            [
                "\"displaced\"} 1",
                "\"silent_for_an_hour\"} 2",
                "\"removed\"} 3",
                "\"restarted\"} 4",
                "\"replaced\"} 5",
                "\"contested\"} 0",
                "\"echo\"} 0",
                "\"quit_or_unreachable\"} 6"
            ]
        );
    }

    #[test]
    fn each_reason_is_a_word_of_its_own() {
        let mut reasons = Refusal::ALL.map(reason);
        reasons.sort_unstable();
        assert!(reasons.is_sorted_by(|one, next| one < next), "{reasons:?}");
        assert!(reasons.contains(&"not_utf_8".into()), "{reasons:?}");
    }
}
