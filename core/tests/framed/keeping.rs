//! Clients of a relay that keeps its room over a restart.

use kilochat_core::framed::LineKind;
use kilochat_core::{Config, Event, Instant, Restored};

use crate::room::{Room, Welcomed, data, resume};

/// Returns the next run of a relay, with two lines of the previous run.
fn restarted(epoch: Option<u32>) -> Room {
    let mut room = Room::with(Config {
        announce_up_to: 0,
        ..Config::new([0; 16])
    });
    room.nonce = 1 << 50;
    let line = |text| Restored::Line {
        at: Instant::default(),
        kind: LineKind::Message,
        name: "eve",
        text,
    };
    let sequence = 0;
    let run = Restored::Run { epoch, sequence };
    for restored in [run, line("one"), line("two"), Restored::End] {
        room.relay.restore(room.now, restored);
    }
    room
}

fn first_run() -> Welcomed {
    let mut room = Room::new();
    let ada = room.join(1, "ada");
    assert_eq!(room.relay.epoch(), Some(ada.epoch));
    ada
}

// [E4]
#[test]
fn a_client_goes_on_at_its_line_in_the_next_run() {
    let ada = first_run();
    let mut room = restarted(Some(ada.epoch));
    let (event, again) = room.welcome(1, "ada", resume(&ada, 1));
    assert!(matches!(event, Event::Joined { .. }), "{event:?}");
    assert_eq!((again.epoch, again.first), (ada.epoch, 1));
    assert_eq!(room.flush(), [data(1, &["eve : two"], &[1])]);
    // a newcomer is shown the history
    let bob = room.join(2, "bob");
    assert_eq!((bob.epoch, bob.first, bob.head), (ada.epoch, 0, 2));
}

// [E4]
#[test]
fn a_run_that_does_not_know_all_lines_has_another_epoch() {
    let ada = first_run();
    let mut room = restarted(None);
    assert_eq!(room.relay.epoch(), None);
    let (_, again) = room.welcome(1, "ada", resume(&ada, 1));
    assert_ne!(again.epoch, ada.epoch);
    assert_eq!((again.first, again.head), (0, 2));
}
