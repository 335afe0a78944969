//! The docs of `Relay` tell its true sizes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use kilochat_core::Relay;

const DOCS: &str = include_str!("../../../core/src/relay.rs");
const PROOF: &str = include_str!("../src/main.rs");

/// The table's rows: what is written, bytes on a 64-bit machine, bytes on Cortex-M3.
fn rows() -> Vec<(String, usize, usize)> {
    DOCS.lines()
        .filter_map(|line| line.strip_prefix("/// | `Relay<"))
        .filter_map(|row| {
            let (parameters, sizes) = row.split_once(">` | ")?;
            let (wide, narrow) = sizes.strip_suffix(" |")?.split_once(" | ")?;
            let relay = format!("Relay<{parameters}>");
            Some((relay, wide.parse().ok()?, narrow.parse().ok()?))
        })
        .collect()
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_table_tells_the_sizes_on_this_machine() {
    let sizes = rows().into_iter().map(|(relay, wide, _)| (relay, wide));
    let expected = [
        ("Relay<32, 8192, 8>", size_of::<Relay<32, 8192, 8>>()),
        ("Relay<64, 65536, 32>", size_of::<Relay<64, 65536, 32>>()),
        (
            "Relay<4096, 1048576, 32>",
            size_of::<Relay<4096, 1048576, 32>>(),
        ),
    ];
    assert_eq!(
        sizes.collect::<Vec<_>>(),
        expected.map(|(relay, size)| (relay.to_owned(), size))
    );
}

#[test]
fn the_proof_asserts_the_sizes_on_cortex_m3() {
    let rows = rows();
    assert_eq!(rows.len(), 3);
    for (relay, _, narrow) in rows {
        let assertion = format!("assert!(size_of::<{relay}>() == {narrow});");
        assert!(PROOF.contains(&assertion), "{assertion}");
    }
}
