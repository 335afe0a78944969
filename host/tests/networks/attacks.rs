//! Attacks achieve little. `cargo bench -p kilochat --bench networks -- --attacks` prints a table of them.

use core::time::Duration;

use kilochat_tests::lab::Attack;

use crate::{PROGRAM, is_alone_in_namespace};

/// The longest time of an attack.
const TIME: Duration = Duration::from_secs(4);

/// What an attack may achieve at most.
const fn limit(attack: Attack) -> f64 {
    match attack {
        // a welcome and a datagram of history ([G12]), 2104 bytes, and the newcomer's own name, for 29
        Attack::Name | Attack::NameAndHistory => 75.0,
        // the help text for 33 bytes
        Attack::Help => 15.0,
        // 18,000 bytes are said; an address is sent 1 MiB at once, then 256 KiB a second ([G12])
        Attack::Names => 100.0,
        // they have left ([G14])
        Attack::Echoes | Attack::Relays => 1.0,
        // a newcomer that proves its address gets a seat ([G9], [G13]); the port of a peer is not guessed
        // ([G15]); a session that is in use does not move ([S14])
        Attack::Seats | Attack::PlainSeats | Attack::Quit | Attack::Takeover => 0.0,
        // the session ends ([U4]); such a GAP is dropped ([D2])
        Attack::Post | Attack::Acknowledgement | Attack::Gap => 0.0,
        // in a debug build, on a machine that is busy; a walk along the ring takes milliseconds
        Attack::Resume => 1000.0,
    }
}

#[test]
#[ignore = "needs network namespaces, by user namespaces or as root: apt-get install util-linux iproute2"]
fn attacks_achieve_little() {
    if !is_alone_in_namespace("attacks::attacks_achieve_little") {
        return;
    }
    let mut exceeded = Vec::new();
    for attack in Attack::ALL {
        let (found, most) = (attack.launch(PROGRAM, TIME), limit(attack));
        println!("{attack}: {found:.1} of {most} at most");
        if found > most {
            exceeded.push((attack, found));
        }
    }
    assert_eq!(exceeded, []);
}
