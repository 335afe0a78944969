use super::*;

// [D1] [D3]
#[test]
fn lines_in_order_are_acknowledged_after_a_tenth_of_a_second() {
    let mut hand = Hand::joined();
    assert_eq!(hand.data(10, 12), Received::Frame);
    assert_eq!(hand.told(), ["10 Bob: 10", "11 Bob: 11"]);
    assert_eq!(hand.wait(1000), ["100 ack 12 echo 1"]);
}

// [D3]
#[test]
fn a_quarter_of_the_window_is_acknowledged_at_once() {
    let mut hand = Hand::joined();
    hand.data(10, 11);
    assert_eq!(hand.said(), [""; 0]);
    hand.data(11, 12);
    assert_eq!(hand.said(), ["ack 12 echo 1"]);
}

// [D3]
#[test]
fn a_hole_is_told_at_once_when_it_opens_and_when_it_closes() {
    let mut hand = Hand::joined();
    hand.data(11, 12);
    assert_eq!(hand.said(), ["ack 10 1+1 echo 1"]);
    assert_eq!(hand.told(), [""; 0]);
    hand.data(12, 13); // no further line is missing
    assert_eq!(hand.said(), [""; 0]);
    hand.data(15, 16);
    assert_eq!(hand.said(), ["ack 10 1+2 2+1 echo 2"]);
    hand.data(13, 14);
    assert_eq!(hand.said(), ["ack 10 1+3 1+1 echo 4"]);
    hand.data(10, 11);
    assert_eq!(hand.said(), ["ack 14 1+1 echo 5"]);
    assert_eq!(
        hand.told(),
        ["10 Bob: 10", "11 Bob: 11", "12 Bob: 12", "13 Bob: 13"]
    );
    hand.data(14, 15);
    assert_eq!(hand.said(), ["ack 16 echo 6"]);
    assert_eq!(hand.told(), ["14 Bob: 14", "15 Bob: 15"]);
    assert_eq!(hand.wait(1000), [""; 0]);
}

#[test]
fn the_line_that_all_wait_for_always_finds_room() {
    let mut hand = Hand::joined();
    for first in [12, 14, 16, 18] {
        assert_eq!(hand.data(first, first + 1), Received::Frame);
    }
    assert_eq!(hand.data(20, 21), Received::Dropped(Dropped::NoRoom));
    assert_eq!(hand.said(), ["ack 10 2+1 1+1 1+1 1+1 echo 1"]); // without the range of the last line
    assert_eq!(hand.data(10, 11), Received::Frame);
    assert_eq!(hand.data(11, 12), Received::Dropped(Dropped::NoRoom)); // until line 10 is polled
    assert_eq!(hand.told(), ["10 Bob: 10"]);
    assert_eq!(hand.data(11, 12), Received::Frame);
    assert_eq!(hand.told(), ["11 Bob: 11", "12 Bob: 12"]);
    assert_eq!(hand.said(), ["ack 13 1+1 1+1 1+1 echo 6"]);
    assert_eq!(hand.dropped(Dropped::NoRoom), 2);
}

#[test]
fn nothing_is_lost_while_nobody_polls() {
    let mut hand = Hand::joined();
    let mut first = 10;
    while hand.data(first, first + 3) == Received::Frame {
        first += 3;
    }
    assert_eq!(first, 10 + 5 * 3); // four slots, and the spare one
    assert_eq!(hand.said(), ["ack 25 echo 1"]);
    assert_eq!(hand.wait(1000), [""; 0]);
    assert_eq!(hand.told().len(), 15);
    assert_eq!(hand.data(first, first + 3), Received::Frame);
    assert_eq!(hand.told(), ["25 Bob: 25", "26 Bob: 26", "27 Bob: 27"]);
}

// [D1]
#[test]
fn an_acknowledgement_says_the_last_eight_ranges() {
    let mut hand = Driven::<32>::joined();
    for line in 0..10 {
        hand.data(12 + 3 * line, 13 + 3 * line);
    }
    let said = hand.said();
    assert_eq!(said, ["ack 10 8+1 2+1 2+1 2+1 2+1 2+1 2+1 2+1 echo 1"]);
}

#[test]
fn what_is_too_far_ahead_for_a_range_is_not_kept() {
    let mut hand = Hand::joined();
    assert_eq!(
        hand.data(65_545, 65_546),
        Received::Dropped(Dropped::NoRoom)
    );
    assert_eq!(hand.data(65_544, 65_545), Received::Frame);
    assert_eq!(hand.said(), ["ack 10 65534+1 echo 2"]);
    assert_eq!(
        hand.data(u64::MAX - 1, u64::MAX),
        Received::Dropped(Dropped::NoRoom)
    );
}

#[test]
fn what_came_before_is_dropped_and_acknowledged_again() {
    let mut hand = Hand::joined();
    hand.data(10, 12);
    hand.data(13, 14);
    assert_eq!(hand.said(), ["ack 12 1+1 echo 1"]);
    for (first, end) in [(10, 12), (11, 12), (13, 14), (3, 7)] {
        let before = hand.sent_at;
        let was = hand.data(first, end);
        assert_eq!(was, Received::Dropped(Dropped::Duplicate));
        assert_eq!(hand.said(), [format!("ack 12 1+1 echo {}", before + 1)]);
    }
    assert_eq!(hand.told(), ["10 Bob: 10", "11 Bob: 11"]);
    assert_eq!(hand.dropped(Dropped::Duplicate), 4);
}

#[test]
fn a_datagram_that_is_new_in_part_brings_that_part() {
    let mut hand = Hand::joined();
    hand.data(10, 12);
    assert_eq!(hand.told().len(), 2);
    hand.data(14, 16);
    hand.data(11, 18); // includes lines that arrived early
    assert_eq!(hand.said(), ["ack 18 echo 1"]);
    let told = hand.told();
    assert_eq!(told.first().unwrap(), "12 Bob: 12");
    assert_eq!(
        (told.last().unwrap().as_str(), told.len()),
        ("17 Bob: 17", 6)
    );
    hand.data(18, 19); // all slots are free again
    for first in [20, 22, 24] {
        assert_eq!(hand.data(first, first + 1), Received::Frame);
    }
}

// [D4]
#[test]
fn acknowledgements_that_seem_to_get_lost_are_said_twice() {
    let mut hand = Hand::joined();
    hand.data(10, 11);
    assert_eq!(hand.wait(500), ["100 ack 11 echo 1"]);
    hand.data(10, 11);
    assert_eq!(hand.wait(500), ["0 ack 11 echo 2", "50 ack 11"]);
    hand.data(11, 12);
    assert_eq!(hand.wait(500), ["0 ack 12 echo 3", "50 ack 12"]);
    hand.data(12, 13);
    assert_eq!(hand.wait(40), ["0 ack 13 echo 4"]);
    hand.data(14, 15); // a selective acknowledgement is due, which replaces the repetition
    assert_eq!(hand.wait(500), ["0 ack 13 1+1 echo 5", "50 ack 13 1+1"]);
    hand.data(13, 14);
    assert_eq!(hand.told().len(), 5);
    let said = (15..100).map(|line| {
        hand.data(line, line + 1);
        hand.told();
        hand.wait(500).len()
    });
    let twice = said.filter(|&said| said == 2).count();
    assert_eq!(twice, 32 - 4); // the number of repetitions is limited
    assert_eq!(hand.client.stats().acks_again, 32 - 1); // one repetition was replaced
}

// [D2] [D3]
#[test]
fn a_gap_is_lost_where_nothing_is_held() {
    let mut hand = Hand::joined();
    hand.data(13, 15);
    hand.data(17, 18);
    hand.said();
    assert_eq!(hand.gap(10, 17), Received::Frame);
    assert_eq!(hand.said(), ["ack 18 echo 3"]);
    let told = [
        "lost 10 3",
        "13 Bob: 13",
        "14 Bob: 14",
        "lost 15 2",
        "17 Bob: 17",
    ];
    assert_eq!(hand.told(), told);
    assert_eq!(hand.client.stats().lost, 5);
    // a duplicate, because the acknowledgement was lost
    assert_eq!(hand.gap(10, 17), Received::Dropped(Dropped::Duplicate));
    assert_eq!(hand.said(), ["ack 18 echo 4"]);
    // it is asked whether it is there, while an acknowledgement waits
    hand.data(18, 19);
    assert_eq!(hand.gap(17, 18), Received::Dropped(Dropped::Duplicate));
    assert_eq!(hand.said(), ["ack 19 echo 6"]);
    assert_eq!(hand.told(), ["18 Bob: 18"]);
    // lines that the relay has not sent
    assert_eq!(hand.gap(20, 21), Received::Dropped(Dropped::Unexpected));
    assert_eq!((hand.said(), hand.told()), (Vec::new(), Vec::new()));
}

#[test]
fn gaps_that_nobody_polls_become_one() {
    let mut hand = Hand::joined();
    for from in 10..1000 {
        assert_eq!(hand.gap(from, from + 1), Received::Frame);
    }
    let most = 10 + (1 << 20);
    assert_eq!(hand.gap(1000, most), Received::Frame);
    assert_eq!(hand.told(), [format!("lost 10 {}", 1 << 20)]);
    assert_eq!(
        hand.data(most - 1, most),
        Received::Dropped(Dropped::Duplicate)
    );
}

// [S4]
#[test]
fn a_gap_far_beyond_all_lines_that_were_named_is_dropped() {
    let mut hand = Hand::joined();
    let most = 10 + (1 << 20);
    for until in [most + 1, u64::MAX] {
        let was = hand.gap(10, until);
        assert_eq!(was, Received::Dropped(Dropped::Beyond));
    }
    assert_eq!(hand.dropped(Dropped::Beyond), 2);
    assert_eq!((hand.said(), hand.told()), (Vec::new(), Vec::new()));
    assert_eq!(hand.data(10, 11), Received::Frame);
    assert_eq!(hand.told(), ["10 Bob: 10"]);
    // a reply names the head, and so does DATA that there is no space for
    let named = most + 1000;
    assert_eq!(hand.gets(&data(EPOCH, 9, named, [])), Received::Frame);
    let until = named + (1 << 20);
    assert_eq!(hand.gap(11, until + 1), Received::Dropped(Dropped::Beyond));
    assert_eq!(
        hand.data(until, until + 1),
        Received::Dropped(Dropped::NoRoom)
    );
    assert_eq!(hand.gap(11, until + 1), Received::Frame);
    assert_eq!(hand.told(), [format!("lost 11 {}", until - 10)]);
}

// [S4]
#[test]
fn lines_of_another_run_are_dropped() {
    let mut hand = Hand::joined();
    let payload = data(EPOCH + 1, 1, 10, [entry(9, 0, 3, "Bob : no")]);
    assert_eq!(hand.gets(&payload), Received::Dropped(Dropped::Epoch));
    assert_eq!((hand.wait(1000), hand.told()), (Vec::new(), Vec::new()));
}

#[test]
fn a_line_is_a_name_and_a_text_as_they_may_be_shown() {
    for (author, flags, name, line, shown) in [
        (9, 0, 3, "Bob : hi : there", "10 Bob: hi : there"),
        (OWN, 0, 3, "Ada : hi", "10 Ada: hi (own)"),
        (0, 1, 0, "* Bob joined", "10 : Bob joined"),
        (0, 2, 0, "* relay is stopping", "10 : relay is stopping"),
        (9, 0, 3, "Bob : \x1b[31mred\x07", "10 Bob: ?[31mred?"),
        (9, 0, 4, "B\u{9b}b : \u{202E}x", "10 B\u{FFFD}b: \u{FFFD}x"),
        (9, 0, 0, "", "10 : "),
        (9, 3, 0, "", ""), // a message to another client
        (OWN, 3, 0, "* Bob to you: a : b", "10 Bob: a : b"),
        (9, 0, 200, "Bob : hi", ""), // malformed: the name is longer than the line
    ] {
        let mut hand = Hand::joined();
        hand.gets(&data(EPOCH, 1, 10, [entry(author, flags, name, line)]));
        assert_eq!(hand.told().concat(), shown);
    }
    let mut hand = Hand::joined();
    let long = "\u{85}\u{9b}".repeat(240);
    hand.gets(&data(EPOCH, 1, 10, [entry(9, 0, 0, &long)]));
    let cut = " \u{FFFD}".repeat(240);
    assert_eq!(hand.told(), [format!("10 : {cut}")]);
}

// [M7]
#[test]
fn what_was_sent_to_the_former_client_of_the_address_is_dropped() {
    for (author, line) in [(OWN, ""), (9, "* Bob to you: secret")] {
        let mut hand = Hand::joined();
        let lines = [entry(9, 0, 3, "Bob : hi"), entry(author, 3, 0, line)];
        let payload = data(EPOCH, 1, 10, lines);
        assert_eq!(hand.gets(&payload), Received::Dropped(Dropped::Addressee));
        assert_eq!((hand.told(), hand.wait(1000)), (Vec::new(), Vec::new()));
        assert_eq!(hand.dropped(Dropped::Addressee), 1);
    }
}

// [M3] [M5]
#[test]
fn what_is_for_another_client_is_acknowledged_and_not_shown() {
    for author in [9, 0] {
        let mut hand = Hand::joined();
        hand.gets(&data(EPOCH, 1, 10, [entry(author, 3, 0, "")]));
        assert_eq!(hand.told(), [""; 0]);
        hand.data(11, 12);
        assert_eq!(hand.told(), ["11 Bob: 11"]);
        assert!(hand.wait(200).concat().contains("ack 12"));
    }
}

#[test]
fn announcements_are_hidden_when_it_is_quiet() {
    let mut hand = Hand::joined();
    hand.client.post("/quiet on").unwrap();
    assert_eq!(hand.client.post("/quiet"), Err(PostError::Full));
    assert_eq!(hand.client.unanswered(), 1);
    let lines = [
        (1, "* Bob joined"),
        (2, "* relay is full"),
        (1, "* Bob left"),
    ];
    let lines = lines.map(|(flags, line)| entry(0, flags, 0, line));
    hand.gets(&data(EPOCH, 1, 10, lines));
    let told = [
        "answered 0 quiet is on: you are not told who joins, leaves or is renamed",
        "11 : relay is full",
    ];
    assert_eq!(hand.told(), told);
    assert_eq!(hand.wait(1000), ["100 ack 13 echo 1"]);
    hand.client.post("/quiet off").unwrap();
    hand.client.post("/quiet").unwrap_err();
    hand.gets(&data(EPOCH, 2, 13, [entry(0, 1, 0, "* Bob joined")]));
    assert_eq!(hand.told().last().unwrap(), "13 : Bob joined");
    assert_eq!(hand.client.stats().lines, 4);
    assert_eq!(hand.client.unanswered(), 0);
}

#[test]
fn the_end_of_sequence_numbers_is_no_end_of_the_client() {
    let mut hand = Hand::new(1);
    hand.said();
    hand.cookie(0, 1);
    hand.said();
    hand.welcome(0, SESSION, EPOCH, u64::MAX - 2, u64::MAX - 2);
    hand.data(u64::MAX - 2, u64::MAX);
    assert_eq!(hand.told().len(), 3);
    assert_eq!(
        hand.data(u64::MAX - 1, u64::MAX),
        Received::Dropped(Dropped::Duplicate)
    );
    assert_eq!(hand.said(), [format!("ack {} echo 1", u64::MAX)]);
}
