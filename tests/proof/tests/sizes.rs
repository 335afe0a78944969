//! The sizes on Cortex-M3 in the docs of `Relay` are right; a test of the core checks the others.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

const DOCS: &str = include_str!("../../../core/src/relay.rs");
const PROOF: &str = include_str!("../src/main.rs");

/// Returns the type and the last column of the table: bytes on Cortex-M3.
fn rows() -> Vec<(String, usize)> {
    DOCS.lines()
        .filter_map(|line| line.strip_prefix("/// | `Relay<"))
        .filter_map(|row| {
            let (parameters, sizes) = row.split_once(">` | ")?;
            let narrow = sizes.strip_suffix(" |")?.split(" | ").last()?;
            Some((format!("Relay<{parameters}>"), narrow.parse().ok()?))
        })
        .collect()
}

#[test]
fn the_proof_asserts_the_sizes_on_cortex_m3() {
    let rows = rows();
    assert_eq!(rows.len(), 3);
    for (relay, narrow) in rows {
        let assertion = format!("assert!(size_of::<{relay}>() == {narrow});");
        assert!(PROOF.contains(&assertion), "{assertion}");
    }
}
