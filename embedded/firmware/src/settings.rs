//! Settings that are fixed when the firmware is built.

use kilochat_core::Network;
use kilochat_embedded::Config;

use crate::board::Board;

const DIGITS: [u8; 16] = *b"0123456789abcdef";

include!(concat!(env!("OUT_DIR"), "/settings.rs"));

/// Returns the node's configuration: see `build.rs`.
pub(crate) fn config(board: &Board) -> Config {
    let hardware = MAC.or(board.hardware_address).unwrap_or([2, 0, 0, 0, 0, 1]);
    let seed = seed(board, hardware);
    let key = KEY ^ u128::from(seed);
    let mut config = Config::new(hardware, key.to_be_bytes());
    config.port = PORT;
    config.dhcp = DHCP;
    config.slaac = SLAAC;
    config.seed = seed;
    // build.rs has checked that they fit
    for (address, prefix) in ADDRESSES.into_iter().flatten() {
        let _ = config.addresses.push(Network { address, prefix });
    }
    let _ = config.name.push_str(NAME);
    if NAME_ENDS_AS_HARDWARE {
        let [.., end, last] = hardware;
        for digit in [end >> 4, end & 15, last >> 4, last & 15] {
            let _ = config
                .name
                .push(char::from(DIGITS[usize::from(digit & 15)]));
        }
    }
    let _ = config.relay.motd.push_str(MOTD);
    let _ = config.relay.name.push_str(&config.name);
    config.relay.open = OPEN;
    config.relay.prove = PROVE;
    config.relay.unproven = UNPROVEN;
    config.relay.operator = OPERATOR.map(u128::to_be_bytes);
    config.relay.rate = RATE;
    config
}

/// Returns a number that differs in most starts, to keep two boards from using the same transaction
/// numbers for DHCP. It is made of the hardware address and the position of the clock within its
/// millisecond, because the chip has no random number generator. It is no secret; the device key
/// is, which is stirred when the first frames arrive.
fn seed(board: &Board, [a, b, c, d, e, f]: [u8; 6]) -> u64 {
    let hardware = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let mixed = hardware.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.rotate_left(32) ^ u64::from(board.jitter())
}
