//! The firmware's replacements of the compiler's memory and arithmetic routines, called on the
//! board.

use fastrand::Rng;

use crate::hosts::Lan;
use crate::machine::{Debugger, Firmware, Machine};

/// An address in RAM outside of static memory and stack: the return address of calls, and the
/// memory for their arguments.
const BACK: u32 = 0x2000_c000;
const AREA: u32 = 0x2000_c100;
const AREA_SIZE: usize = 64;

/// Lengths around multiples of a word.
const LENGTHS: [usize; 8] = [0, 1, 3, 4, 5, 8, 14, 31];

fn booted() -> Lan {
    let mut lan = Lan::new(Machine::boot(Firmware::build(), &[]));
    lan.wait_for_log("board: reset");
    lan
}

/// Calls `name` on memory whose bytes all differ. Returns that memory afterwards.
fn changed(debugger: &mut Debugger, name: &str, arguments: [u32; 3], area: &[u8]) -> Vec<u8> {
    let [first, second, third] = arguments;
    debugger.write(AREA, area);
    let function = Firmware::build().function(name).start;
    debugger.call(function, [first, second, third, 0], BACK);
    debugger.read(AREA, area.len())
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn memory_is_moved_and_filled() {
    let lan = booted();
    let mut debugger = lan.machine.debug();
    let area: Vec<u8> = (0..).take(AREA_SIZE).collect();
    let at = |offset: usize| AREA + u32::try_from(offset).unwrap();
    // disjoint and overlapping, in both orders and at all alignments
    for (from, to) in [
        (0, 1),
        (1, 0),
        (2, 5),
        (7, 2),
        (3, 3),
        (0, 32),
        (33, 1),
        (4, 8),
    ] {
        for length in LENGTHS {
            let arguments = [at(to), at(from), u32::try_from(length).unwrap()];
            let mut expected = area.clone();
            expected.copy_within(from..from + length, to);
            let moved = changed(&mut debugger, "__aeabi_memmove", arguments, &area);
            assert_eq!(moved, expected, "{length} bytes from {from} to {to}");
        }
    }
    for (name, value) in [("__aeabi_memset", 0xa5), ("__aeabi_memclr", 0)] {
        for (to, length) in (0..4).flat_map(|to| LENGTHS.map(|length| (to, length))) {
            // the argument has more than a byte, but only the lowest byte counts
            let arguments = [at(to), u32::try_from(length).unwrap(), 0xfff_ffa5];
            let mut expected = area.clone();
            expected[to..to + length].fill(value);
            let filled = changed(&mut debugger, name, arguments, &area);
            assert_eq!(filled, expected, "{name}: {length} bytes at {to}");
        }
    }
}

#[test]
#[ignore = "needs qemu-system-arm and the thumbv7m target: apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi"]
fn long_numbers_are_divided() {
    let lan = booted();
    let mut debugger = lan.machine.debug();
    let function = Firmware::build().function("__aeabi_uldivmod").start;
    let mut random = Rng::with_seed(7);
    let mut pairs = vec![
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
        (u64::MAX - 1, u64::MAX),
        (u64::MAX, 1 << 63),
        (1 << 32, 1 << 32),
        (u64::from(u32::MAX), 1000),
        (0, 5),
    ];
    // numbers of all magnitudes
    let mut number = || random.u64(..) >> random.u32(..64);
    pairs.extend((0..300).map(|_| (number(), number().max(1))));
    for (dividend, divisor) in pairs {
        let halves = |number: u64| {
            [number & 0xffff_ffff, number >> 32].map(|half| u32::try_from(half).unwrap())
        };
        let whole = |[low, high]: [u32; 2]| u64::from(high) << 32 | u64::from(low);
        let ([a, b], [c, d]) = (halves(dividend), halves(divisor));
        let [a, b, c, d] = debugger.call(function, [a, b, c, d], BACK);
        let expected = (dividend / divisor, dividend % divisor);
        assert_eq!(
            (whole([a, b]), whole([c, d])),
            expected,
            "{dividend} by {divisor}"
        );
    }
}
