//! A static relay takes no space in a program's image.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(target_os = "linux")]

use std::fs;

use kilochat_core::Relay;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use static_cell::ConstStaticCell;

static STATIC_RELAY_UNDER_TEST: ConstStaticCell<Relay<4096, 1_048_576, 32>> =
    ConstStaticCell::new(Relay::new());

#[test]
fn a_static_relay_is_in_bss() {
    let relay = STATIC_RELAY_UNDER_TEST.take();
    assert_eq!(relay.peer_count(), 0);

    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    let program = object::File::parse(&*program).unwrap();
    let mut symbols = program.symbols().filter(|symbol| {
        symbol
            .name()
            .is_ok_and(|name| name.contains("STATIC_RELAY_UNDER_TEST"))
    });
    let symbol = symbols.next().unwrap();
    assert!(symbols.next().is_none());
    assert_eq!(symbol.size(), size_of_val(&STATIC_RELAY_UNDER_TEST) as u64);
    let section = program
        .section_by_index(symbol.section_index().unwrap())
        .unwrap();
    assert_eq!(section.kind(), SectionKind::UninitializedData);
    assert_eq!(section.name(), Ok(".bss"));
}
