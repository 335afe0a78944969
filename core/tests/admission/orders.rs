//! Orders of the operator, in the room and at the relay itself.

use kilochat_core::framed::{Frame, Goodbye, Outcome, Posted, Reason};
use kilochat_core::{
    Client, ClientEvent, Config, DATAGRAM_MAX, Event, Expired, Path, Refusal, Reply, Seat,
};

use crate::room::Room;

const KEY: [u8; 16] = [8; 16];
const ADA: &str = "10.0.0.1:1";
const BOB: &str = "10.0.0.7:1";

/// A room with an operator, whose POSTs can be recorded.
struct Operated {
    room: Room,
    client: Box<Client<8, 2048>>,
    /// The last POST, and the event that it caused.
    post: Vec<u8>,
    event: Option<Event>,
}

impl Operated {
    fn new(key: Option<[u8; 16]>) -> Self {
        let mut client = Box::new(Client::new("Ada", 7, 1));
        client.set_operator(KEY);
        let mut this = Self {
            room: Room::new(Config {
                operator: key,
                ..Config::new([5; 16])
            }),
            client,
            post: Vec::new(),
            event: None,
        };
        this.exchange();
        assert_eq!(this.room.relay.peer_count(), 1);
        this
    }

    /// Exchanges datagrams until nothing is due.
    fn exchange(&mut self) {
        let mut buffer = [0; DATAGRAM_MAX];
        while let Some(transmit) = self.client.poll_transmit(self.room.now, &mut buffer) {
            let (event, reply) = self.room.bytes(ADA, &buffer[..transmit.length]);
            if buffer[1] == b'P' {
                self.post = buffer[..transmit.length].to_vec();
                self.event = Some(event);
            }
            self.client.handle_datagram(self.room.now, Path(0), &reply);
        }
    }

    /// Gives an order and returns the answer.
    fn order(&mut self, text: &str) -> String {
        while self.client.poll_event().is_some() {}
        self.client.post(text).unwrap();
        self.exchange();
        while let Some(event) = self.client.poll_event() {
            if let ClientEvent::Answered { text, .. } = event {
                return text.to_owned();
            }
        }
        panic!("no answer to {text}");
    }

    fn seat(&self) -> Option<Seat> {
        self.room.relay.find(&ADA.parse().unwrap())
    }

    fn removed(&mut self) -> Vec<String> {
        let mut removed = Vec::new();
        while let Some(Expired::Left(gone)) = self.room.relay.handle_timeout(self.room.now) {
            removed.push(gone.address.to_string());
        }
        removed
    }
}

// [O1] [O2] [O4] [L8]
#[test]
fn an_operator_removes_a_peer() {
    let mut it = Operated::new(Some(KEY));
    it.room.join(BOB, "Bob");
    assert_eq!(it.order("/kick Bob"), "done: Bob is out");
    let event = it.event.take().unwrap();
    let Event::Removed { by: Some(_), .. } = event else {
        panic!("{event:?}")
    };
    let (_, address, farewell) = event.aside().unwrap();
    assert_eq!(address.to_string(), BOB);
    assert_eq!(farewell, b"* you were removed from this room");
    assert_eq!(it.order("/kick Bob"), "nobody is called Bob");
    // a removed peer may join again
    assert!(it.room.join(BOB, "Bob").starts_with("* welcome"));
}

// [O1] [O2]
#[test]
fn an_order_cannot_be_repeated_or_changed() {
    let mut it = Operated::new(Some(KEY));
    it.room.join(BOB, "Bob");
    it.order("/kick Bob");
    it.room.join(BOB, "Bob");
    let post = it.post.clone();
    // the POST is duplicated by the network
    let (event, reply) = it.room.bytes(ADA, &post);
    assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
    let answered = |reply: &[u8]| match Frame::decode(reply) {
        Ok(Frame::Posted(Posted {
            outcome: Outcome::Answer(text),
            ..
        })) => text.to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(answered(&reply), "* done");
    assert_eq!(it.room.relay.peer_count(), 2);
    // the next number, with the code of the last POST
    let mut replayed = post.clone();
    replayed[11] += 1;
    let (_, reply) = it.room.bytes(ADA, &replayed);
    assert_eq!(answered(&reply), "* not an operator");
    assert_eq!(answered(&it.room.bytes(ADA, &replayed).1), "* not done");
    assert_eq!(it.room.relay.peer_count(), 2);
}

// [O1]
#[test]
fn an_order_that_was_changed_or_comes_from_another_session_is_none() {
    let mut it = Operated::new(Some(KEY));
    it.room.join(BOB, "Bob");
    it.client.set_operator([9; 16]);
    assert_eq!(it.order("/kick Bob"), "not an operator");
    it.client.set_operator(KEY);
    let zeros = "0".repeat(32);
    assert_eq!(
        it.order(&format!("/op {zeros} kick Bob")),
        "not an operator"
    );
    assert_eq!(it.order("/op kick Bob"), "not an operator");
    assert_eq!(it.room.relay.peer_count(), 2);
}

// [O3]
#[test]
fn without_a_key_nobody_gives_orders() {
    let mut it = Operated::new(None);
    it.room.join(BOB, "Bob");
    assert!(it.order("/kick Bob").starts_with("no command /op;"));
    assert!(
        it.room
            .say(BOB, "/op x kick Ada")
            .starts_with("* no command /op;")
    );
    assert_eq!(it.room.relay.peer_count(), 2);
}

// [O4] [G10]
#[test]
fn a_ban_denies_an_address_for_its_time() {
    let mut it = Operated::new(Some(KEY));
    it.room.join(BOB, "Bob");
    it.room.join("10.0.0.7:2", "Rob");
    let answer = "done: Bob is out and may not come back for 30 min";
    assert_eq!(it.order("/ban Bob 30"), answer);
    assert_eq!(it.removed(), ["10.0.0.7:2"], "all peers of the address");
    assert_eq!(it.room.refused(BOB, "Bob").0, Refusal::Denied);
    // a ban remains when the rules are replaced
    it.room.relay.set_rules([]);
    assert_eq!(it.room.refused(BOB, "Bob").0, Refusal::Denied);
    it.room.sleep_ms(30 * 60_000);
    assert!(it.room.join(BOB, "Bob").starts_with("* welcome"));
    it.order("/ban Bob");
    assert_eq!(it.room.refused(BOB, "Bob").0, Refusal::Denied);
    assert_eq!(it.order("/unban"), "done");
    assert!(it.room.join(BOB, "Bob").starts_with("* welcome"));
}

// [O4]
#[test]
fn an_operator_cannot_ban_its_own_address() {
    let mut it = Operated::new(Some(KEY));
    let neighbour = format!("{}:9", ADA.rsplit_once(':').unwrap().0);
    it.room.join(&neighbour, "Bob");
    let answer = "not done: Bob has your own address; /kick removes it";
    assert_eq!(it.order("/ban Bob"), answer);
    assert_eq!(
        it.order("/ban bob 5"),
        "not done: bob has your own address; /kick removes it"
    );
    assert_eq!(it.room.relay.peer_count(), 2);
    // the relay's own terminal has no address
    let mut banned = Reply::new();
    assert!(
        it.room
            .relay
            .order(it.room.now, "ban Bob", &mut banned)
            .is_some()
    );
    assert_eq!(
        &banned[..],
        b"* done: Bob is out and may not come back for 60 min"
    );
}

// [O5]
#[test]
fn nobody_joins_a_locked_room() {
    let mut it = Operated::new(Some(KEY));
    assert_eq!(it.order("/lock"), "done");
    let locked = (Refusal::Locked, "* the room is locked".to_owned());
    assert_eq!(it.room.refused(BOB, "Bob"), locked);
    let refused = it.room.join_framed(BOB, "Bob");
    assert!(
        matches!(Frame::decode(&refused), Ok(Frame::Refused(it)) if it.reason == Reason::Locked && it.retry_s == 60)
    );
    assert_eq!(it.order("/unlock"), "done");
    assert!(it.room.join(BOB, "Bob").starts_with("* welcome"));
}

// [O5] [T17]
#[test]
fn a_muted_peer_says_nothing_and_a_slow_room_little() {
    let mut it = Operated::new(Some(KEY));
    it.room.join(BOB, "Bob");
    assert_eq!(it.order("/mute bob"), "done");
    let muted = (Refusal::Muted, "* not sent: you are muted".to_owned());
    assert_eq!(it.room.refused(BOB, "hello"), muted);
    assert!(it.room.say(BOB, "/who").starts_with("* 2 here"));
    assert_eq!(it.order("/unmute Bob"), "done");
    assert!(matches!(it.room.event(BOB, "hello").0, Event::Said { .. }));
    assert_eq!(it.order("/slow 5"), "done");
    // the line before `/slow` counts
    it.room.sleep_ms(1000);
    assert!(matches!(it.room.event(BOB, "hello").0, Event::Said { .. }));
    let slow = "* too fast: 1 of your lines was not said; 1 at once, then 1 each 5 s";
    assert_eq!(
        it.room.refused(BOB, "hello"),
        (Refusal::Slow, slow.to_owned())
    );
    it.room.sleep_ms(5000);
    assert!(matches!(it.room.event(BOB, "hello").0, Event::Said { .. }));
    it.room.sleep_ms(5000);
    assert_eq!(it.order("/slow 0"), "done");
    for _ in 0..10 {
        assert!(matches!(it.room.event(BOB, "hello").0, Event::Said { .. }));
    }
}

// [O2]
#[test]
fn a_muted_framed_peer_is_told_so_and_keeps_its_commands() {
    let mut it = Operated::new(Some(KEY));
    assert_eq!(it.order("/mute Ada"), "done");
    it.client.post("hello").unwrap();
    it.exchange();
    let why = Refusal::Muted;
    assert_eq!(
        it.event,
        Some(Event::Refused {
            seat: it.seat(),
            why
        })
    );
    assert_eq!(it.order("/unmute Ada"), "done");
}

// [O6]
#[test]
fn the_relay_itself_speaks_as_host_and_nobody_else_does() {
    let mut room = Room::new(Config {
        host: true,
        history: 0,
        announce_up_to: 0,
        ..Config::new([5; 16])
    });
    let welcome = room.join(BOB, "HOST");
    assert!(welcome.starts_with("* welcome HOST~2: 1 here"), "{welcome}");
    assert_eq!(room.relay.say_as_host(room.now, "five minutes left"), 1);
    let said = ("host : five minutes left".to_owned(), vec![BOB.to_owned()]);
    assert_eq!(room.flush(), [said]);
    let mut answer = Reply::new();
    assert_eq!(room.relay.order(room.now, "kick nobody", &mut answer), None);
    assert_eq!(&answer[..], b"* nobody is called nobody");
    room.relay.order(room.now, "help", &mut answer);
    assert!(answer.starts_with(b"* orders: /kick NAME"));
    assert!(
        room.relay
            .order(room.now, "kick host~2", &mut answer)
            .is_some()
    );
}

// [O1] [L8]
#[test]
fn an_operator_may_remove_itself() {
    let mut it = Operated::new(Some(KEY));
    while it.client.poll_event().is_some() {}
    it.client.post("/kick Ada").unwrap();
    it.exchange();
    let event = it.event.take().unwrap();
    let Event::Removed { by: None, .. } = event else {
        panic!("{event:?}")
    };
    let (_, _, farewell) = event.aside().unwrap();
    assert!(matches!(
        Frame::decode(farewell),
        Ok(Frame::Bye(_, Goodbye::Removed))
    ));
    assert_eq!(it.room.relay.peer_count(), 0);
}
