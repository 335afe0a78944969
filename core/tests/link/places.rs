//! Who is at other places.

use kilochat_core::{Config, DATAGRAM_MAX, Place};

use super::{Room, config};

fn place(name: &str, people: u16, names: &str) -> Place {
    Place {
        name: name.try_into().unwrap(),
        people,
        names: names.try_into().unwrap(),
    }
}

// [K4]
#[test]
fn announcements_are_for_all_places_while_few_people_are_there() {
    let mut room = Room::new(Config {
        announce_up_to: 4,
        ..config()
    });
    room.say(1, "Ada");
    room.say(2, "Bob");
    room.say(2, "/quiet on");
    assert_eq!(room.handed_over(), ["* Ada joined", "* Bob joined"]);
    room.heard();
    room.0.set_places(2, &[place("harbour", 2, "Cyd, Eve")]);
    assert_eq!(room.elsewhere("harbour", "", "Eve joined"), 1);
    assert_eq!(room.heard(), [(1, "* at harbour: Eve joined".to_owned())]);
    room.0
        .set_places(3, &[place("harbour", 3, "Cyd, Eve, Fay")]);
    assert_eq!(room.elsewhere("harbour", "", "Fay joined"), 0);
    room.say(1, "/nick Zoe");
    room.say(1, "I am Zoe now");
    assert_eq!(room.heard_at(2), ["Zoe : I am Zoe now"]);
    assert_eq!(room.handed_over(), ["Zoe : I am Zoe now"]);
    assert_eq!(room.0.stats().elsewhere_refused, 0);
}

// [K9]
#[test]
fn a_welcome_and_the_list_of_peers_count_those_elsewhere() {
    let mut room = Room::of_two();
    room.0.set_places(
        19,
        &[
            place("harbour", 12, "Cyd, Eve\x1b, Fay"),
            place("school", 7, ""),
            place("Not a place", 1, "x"),
        ],
    );
    let welcome = room.say(3, "Zoe");
    let expected = "* welcome Zoe: 3 here (Ada, Bob, Zoe); 19 elsewhere; /help lists commands";
    assert_eq!(welcome, expected);
    for (asked, answer) in [
        (
            "/who",
            "* 3 here: Ada, Bob, Zoe\n* 19 elsewhere: harbour 12, school 7; /who @PLACE lists them",
        ),
        ("/who b", "* 1 begins with b: Bob"),
        (
            "/who @harbour",
            "* 12 at harbour: Cyd, Eve?, Fay, ... and 9 more",
        ),
        (
            "/names ＠HARB",
            "* 12 at harbour: Cyd, Eve?, Fay, ... and 9 more",
        ),
        ("/who @school\n", "* 7 at school"),
        ("/who @", "* 2 places: harbour 12, school 7"),
        ("/who @x\x1b", "* no place's name begins with @x?"),
    ] {
        assert_eq!(room.say(3, asked), answer);
    }
    room.0.set_places(0, &[]);
    assert_eq!(room.say(3, "/who"), "* 3 here: Ada, Bob, Zoe");
    assert_eq!(room.say(3, "/who @"), "* no place's name begins with @");
    assert!(room.say(4, "Yve").contains("Yve); /help"));
}

// [K9]
#[test]
fn an_answer_about_any_number_of_places_fits() {
    let mut room = Room::new(Config {
        motd: "m".repeat(160).as_str().try_into().unwrap(),
        ..config()
    });
    let long = "n".repeat(512);
    let places: Vec<Place> = (0..70)
        .map(|number| place(&format!("place-{number:010}"), u16::MAX, &long))
        .collect();
    room.0.set_places(u32::MAX, &places);
    for port in 1..=80 {
        let welcome = room.say(port, &format!("{port:032}\n"));
        assert!(welcome.contains("; 4294967295 elsewhere; mmm"), "{welcome}");
        assert!(welcome.ends_with("; /help lists commands\n"), "{welcome}");
    }
    let answers = ["/who", "/who @", "/who @place-0000000007"].map(|asked| room.say(1, asked));
    assert!(
        answers
            .iter()
            .all(|answer| answer.len() <= DATAGRAM_MAX && answer.ends_with('\n'))
    );
    assert!(answers[0].contains(" more; /who PREFIX lists those that begin so\n* 4294967295"));
    let end = "place-0000000005 65535, ... and 58 more; /who @PLACE lists them\n";
    assert!(answers[0].ends_with(end), "{}", answers[0]);
    assert!(answers[1].contains(" 65535, ... and "), "{}", answers[1]);
    assert_eq!(
        answers[2],
        format!("* 65535 at place-0000000007: {long}, ... and 65534 more\n")
    );
}
