//! A byte order mark at the start of a text and NULs at its end are not part of it.

use kilochat_core::framed::Outcome;
use kilochat_core::{Config, Event, Refusal};

use crate::room::{Room, Sent, data, outcome};

fn said(room: &mut Room, port: u16, payload: &[u8]) -> (Event, String) {
    let (event, reply) = room.datagram(port, payload);
    (event, String::from_utf8(reply).unwrap())
}

// [W4]
#[test]
fn a_program_in_c_may_send_its_buffer_as_it_is() {
    let mut room = Room::new();
    let (event, welcome) = said(&mut room, 3, b"eve\n\0");
    assert!(matches!(event, Event::Joined { .. }), "{event:?}");
    assert_eq!(
        welcome,
        "* welcome eve: 1 here (eve); /help lists commands\n"
    );
    room.datagram(4, b"bob\0");
    let mut buffer = [0; 1024];
    buffer[..5].copy_from_slice(b"hello");
    assert!(matches!(
        said(&mut room, 3, &buffer).0,
        Event::Said { lines: 1, .. }
    ));
    assert_eq!(room.flush(), [(Sent::Text("eve : hello".into()), vec![4])]);
    buffer[..5].copy_from_slice(b"/who\n");
    assert_eq!(said(&mut room, 3, &buffer).1, "* 2 here: eve, bob\n");
    // within a text they are replaced
    room.datagram(3, b"a\0b\0");
    assert_eq!(room.flush(), [(Sent::Text("eve : a?b".into()), vec![4])]);
    assert!(matches!(
        said(&mut room, 3, &[0; 8]).0,
        Event::Keepalive { .. }
    ));
    let blank = Event::Refused {
        seat: None,
        why: Refusal::Blank,
    };
    assert_eq!(said(&mut room, 5, &[0; 8]).0, blank);
    // the limit is that of the whole datagram
    let (event, _) = said(&mut room, 3, &[0; 1025]);
    assert!(matches!(
        event,
        Event::Refused {
            why: Refusal::TooLong,
            ..
        }
    ));
}

// [W4]
#[test]
fn an_editor_may_put_a_byte_order_mark_before_a_text() {
    let mut room = Room::new();
    let (_, welcome) = said(&mut room, 3, "\u{FEFF}eve".as_bytes());
    assert_eq!(welcome, "* welcome eve: 1 here (eve); /help lists commands");
    room.datagram(4, b"bob");
    room.datagram(3, "\u{FEFF}hello".as_bytes());
    room.datagram(3, "\u{FEFF}\u{FEFF}one is text".as_bytes());
    let lines = "eve : hello\neve : \u{FFFD}one is text";
    assert_eq!(room.flush(), [(Sent::Text(lines.into()), vec![4])]);
    let (_, answer) = said(&mut room, 3, "\u{FEFF}/nick ida".as_bytes());
    assert_eq!(answer, "* you are now ida");
}

// [J8]
#[test]
fn a_strangers_command_begins_where_something_can_be_seen() {
    let mut room = Room::new();
    for unseen in ["", "\u{FEFF}", "\u{200B}", " \u{2060}\u{FEFF}\u{3000}"] {
        for (command, answer) in [
            ("/who", "* say your name first"),
            ("//x", "* say your name first"),
            ("/nick", "* say your name first"),
            ("/help", "* /who [PREFIX]"),
        ] {
            let (_, reply) = said(&mut room, 3, format!("{unseen}{command}").as_bytes());
            assert!(reply.starts_with(answer), "{unseen:?} {command}: {reply}");
        }
    }
    assert_eq!(room.relay.peer_count(), 0);
    let (event, reply) = said(&mut room, 3, "\u{200B}/nick eve".as_bytes());
    assert!(matches!(event, Event::Joined { .. }), "{event:?}");
    assert!(reply.starts_with("* welcome eve: "), "{reply}");
    // from a peer it is a message
    let (event, _) = said(&mut room, 3, "\u{200B}/quit".as_bytes());
    assert!(matches!(event, Event::Said { .. }), "{event:?}");
}

// [W4]
#[test]
fn names_and_texts_in_frames_are_not_padded_either() {
    let mut room = Room::new();
    let ada = room.join(1, "\u{FEFF}ada\0\0");
    assert_eq!(
        ada.text,
        "* welcome ada: 1 here (ada); /help lists commands"
    );
    let texts = ["\u{FEFF}hello\0", "\0\0", "\u{FEFF}//x\0"];
    let (_, reply) = room.post(1, ada.session, 1, &texts);
    let taken = Outcome::Accepted {
        first: 0,
        lines: 2,
        texts: 3,
    };
    assert_eq!(outcome(&reply), taken);
    assert_eq!(room.flush(), [data(0, &["ada : hello", "ada : /x"], &[1])]);
    let (_, reply) = room.post(1, ada.session, 2, &["\u{FEFF}/who\0\0"]);
    assert_eq!(outcome(&reply), Outcome::Answer("* 1 here: ada"));
    // after the padding is removed the name is blank
    let cookie = room.cookie(2);
    let (event, _) = room.hello(2, 1, "\0\0", Some(cookie), None);
    let blank = Event::Refused {
        seat: None,
        why: Refusal::Blank,
    };
    assert_eq!(event, blank);
}

#[test]
fn a_relay_in_classic_mode_has_the_same_texts() {
    let mut room = Room::with(Config {
        classic: true,
        ..Config::new([0; 16])
    });
    room.datagram(3, "\u{FEFF}eve\0".as_bytes());
    room.datagram(4, b"bob");
    room.datagram(3, b"hello\0\0");
    assert_eq!(room.flush(), [(Sent::Text("eve : hello".into()), vec![4])]);
}
