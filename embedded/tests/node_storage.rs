//! The memory of a node takes no space in a program's image.
#![cfg(all(target_os = "linux", not(feature = "defmt")))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use kilochat_core::Instant;
use kilochat_embedded::phy::{Loopback, Medium};
use kilochat_embedded::{Config, Node, Storage};
use object::{Object, ObjectSection, ObjectSymbol};
use static_cell::ConstStaticCell;

static STORAGE_UNDER_TEST: ConstStaticCell<Storage<64, 65536, 32>> =
    ConstStaticCell::new(Storage::new());

#[test]
fn a_static_storage_is_in_bss() {
    let config = Config::new([2, 0, 0, 0, 0, 1], [0; 16]);
    let device = Loopback::new(Medium::Ethernet);
    let storage = STORAGE_UNDER_TEST.take();
    let node = Node::new(device, storage, config, Instant::default()).unwrap();
    assert_eq!(node.relay().peer_count(), 0);

    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    let program = object::File::parse(&*program).unwrap();
    let is_it = |name: &str| name.contains("STORAGE_UNDER_TEST");
    let mut symbols = program
        .symbols()
        .filter(|symbol| symbol.name().is_ok_and(is_it));
    let symbol = symbols.next().unwrap();
    assert!(symbol.size() >= Storage::<64, 65536, 32>::SIZE as u64);
    let section = program
        .section_by_index(symbol.section_index().unwrap())
        .unwrap();
    assert_eq!(section.name(), Ok(".bss"));
}
