//! What the program was built with.

use kilochat_core::Network;
use kilochat_embedded::Config;

use crate::board::Board;

include!(concat!(env!("OUT_DIR"), "/settings.rs"));

/// What the node is told: see `build.rs`.
pub(crate) fn config(board: &Board) -> Config {
    let hardware = MAC.or(board.hardware_address).unwrap_or([2, 0, 0, 0, 0, 1]);
    let seed = seed(board, hardware);
    let key = KEY ^ u128::from(seed);
    let mut config = Config::new(hardware, key.to_be_bytes());
    config.port = PORT;
    config.dhcp = DHCP;
    config.slaac = SLAAC;
    config.seed = seed;
    // build.rs has seen to it that these fit
    for (address, prefix) in ADDRESSES.into_iter().flatten() {
        let _ = config.addresses.push(Network { address, prefix });
    }
    let _ = config.name.push_str(NAME);
    let _ = config.relay.motd.push_str(MOTD);
    config.relay.open = OPEN;
    config
}

/// A number that is another one after most starts. The chip has no random generator: this is the
/// hardware address and where in its millisecond the clock is. It keeps two boards from using the
/// same numbers for DHCP; what nobody can guess is the device key.
fn seed(board: &Board, [a, b, c, d, e, f]: [u8; 6]) -> u64 {
    let hardware = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let mixed = hardware.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.rotate_left(32) ^ u64::from(board.jitter())
}
