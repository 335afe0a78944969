//! The log as people read it: addresses as they are written elsewhere, and only counters that count.
//!
//! defmt prints a hardware address as a list of numbers, an IPv6 address with all its zeros, and a
//! structure with the names of its fields.

use core::fmt::Debug;
use core::net::Ipv6Addr;

use kilochat_core::{Refusal, Stats};

/// Length of six bytes as defmt prints them, `[02, 42, fc, 3c, d4, 15]`.
const HARDWARE: usize = 24;

/// Length of an IPv6 address with all its digits.
const IPV6: usize = 39;

/// Returns a line with its addresses in their usual form (RFC 5952, IEEE 802).
pub(crate) fn line(raw: &str) -> String {
    let mut line = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(next) = rest.chars().next() {
        let is_within = line.ends_with(|last: char| last.is_ascii_hexdigit() || last == ':');
        if let Some(address) = rest.get(..HARDWARE).and_then(hardware) {
            line.push_str(&address);
            rest = &rest[HARDWARE..];
        } else if !is_within && let Some(address) = rest.get(..IPV6).and_then(ipv6) {
            line.push_str(&address.to_string());
            rest = &rest[IPV6..];
        } else {
            line.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    line
}

fn hardware(text: &str) -> Option<String> {
    let bytes = text.strip_prefix('[')?.strip_suffix(']')?;
    let is_byte = |byte: &str| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok();
    let bytes: Vec<&str> = bytes.split(", ").collect();
    (bytes.len() == 6 && bytes.iter().all(|byte| is_byte(byte))).then(|| bytes.join(":"))
}

fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let is_whole = text.split(':').all(|group| group.len() == 4);
    text.parse().ok().filter(|_| is_whole)
}

/// Returns the relay's counters that are not zero.
pub(crate) fn relay(stats: &Stats) -> String {
    let refused = Refusal::ALL.into_iter().filter_map(|why| {
        let count = stats.refused(why);
        (count > 0).then(|| format!("{count} refused ({})", why.as_str()))
    });
    joined(fields(stats).chain(refused))
}

/// Returns the counters of a structure that are not zero.
pub(crate) fn counters(counters: &impl Debug) -> String {
    joined(fields(counters))
}

/// Returns each field of a structure that is a number but zero.
fn fields(counters: &impl Debug) -> impl Iterator<Item = String> {
    let text = format!("{counters:?}");
    let (_, fields) = text.split_once("{ ").unwrap_or_default();
    let fields: Vec<String> = fields
        .trim_end_matches(" }")
        .split(", ")
        .filter_map(|field| {
            let (name, value) = field.split_once(": ")?;
            let count: u64 = value.parse().ok()?;
            (count > 0).then(|| format!("{count} {}", name.replace('_', " ")))
        })
        .collect();
    fields.into_iter()
}

fn joined(counts: impl Iterator<Item = String>) -> String {
    match counts.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "nothing yet".into(),
        counts => counts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_elsewhere() {
        for (raw, expected) in [
            (
                "up: hardware address [02, 42, fc, 3c, d4, 15]",
                "up: hardware address 02:42:fc:3c:d4:15",
            ),
            (
                "address fe80:0000:0000:0000:0042:fcff:fe3c:d415/64",
                "address fe80::42:fcff:fe3c:d415/64",
            ),
            (
                "小明 joined from [fd00:0077:0000:0000:0000:0000:0000:0011]:5000",
                "小明 joined from [fd00:77::11]:5000",
            ),
            (
                "joined from 192.168.77.11:5000",
                "joined from 192.168.77.11:5000",
            ),
            ("[1, 2, 3] 12:34:56 a:b", "[1, 2, 3] 12:34:56 a:b"),
            ("", ""),
        ] {
            assert_eq!(line(raw), expected);
        }
    }

    #[test]
    fn counters_that_count_are_shown_in_words() {
        assert_eq!(relay(&Stats::default()), "nothing yet");
        let mut stats = Stats::default();
        (stats.datagrams, stats.untold) = (7, 1);
        assert_eq!(relay(&stats), "7 datagrams, 1 untold");
        let network = kilochat_embedded::Stats::default();
        assert_eq!(counters(&network), "nothing yet");
    }
}
