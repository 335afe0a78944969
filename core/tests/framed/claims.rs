//! Another address wants to go on with a session: its own address is asked first.

use kilochat_core::framed::{Ack, Frame, Goodbye, Outcome};
use kilochat_core::{Event, Refusal};

use crate::room::{Room, Sent, Welcomed, bye, outcome, resume, sent, welcomed};

/// The session's own address, and the one from which somebody wants it.
const OWN: u16 = 1001;
const OTHER: u16 = 1002;

/// A session that has acknowledged three lines, and a HELLO that wants it.
struct Inquiry {
    room: Room,
    ada: Welcomed,
    cookie: [u8; 16],
}

impl Inquiry {
    fn new(start: u64) -> Self {
        let mut room = Room::new();
        room.sleep(start);
        let ada = room.join(OWN, "ada");
        room.datagram(3, b"eve");
        for text in ["one", "two", "three"] {
            room.datagram(3, text.as_bytes());
        }
        room.flush();
        room.ack(OWN, ada.session, 3, &[]);
        let cookie = room.cookie(OTHER);
        room.nonce += 1;
        Self { room, ada, cookie }
    }

    fn hello(&mut self) -> (Event, Vec<u8>) {
        let (nonce, resume) = (self.room.nonce, resume(&self.ada, 3));
        let cookie = Some(self.cookie);
        self.room.hello(OTHER, nonce, "ada", cookie, resume)
    }

    /// The HELLO is not answered, and the session's address is asked.
    fn asks(&mut self) {
        let (event, reply) = self.hello();
        assert!(reply.is_empty());
        let Event::Claimed { .. } = event else {
            panic!("{event:?}")
        };
        assert_eq!(event.seat(), None);
        let (seat, address, question) = event.aside().unwrap();
        assert_eq!(Some(seat), self.room.relay.find(&address));
        assert_eq!(address, Room::source(OWN));
        assert_eq!(sent(question), Sent::Gap(2, 3));
    }

    fn moves(&mut self) {
        let (event, reply) = self.hello();
        let Event::Resumed { moved: Some(_), .. } = &event else {
            panic!("{event:?}")
        };
        let (_, address, farewell) = event.aside().unwrap();
        assert_eq!(address, Room::source(OWN));
        assert_eq!(bye(farewell), Goodbye::TakenOver);
        assert_eq!(welcomed(&reply).session, self.ada.session);
    }

    /// The HELLO gets a seat of its own, and the session stays.
    fn is_denied(&mut self) {
        let (event, reply) = self.hello();
        assert!(matches!(event, Event::Joined { .. }), "{event:?}");
        let other = welcomed(&reply);
        assert_ne!(other.session, self.ada.session);
        assert_eq!((other.first, &*other.name), (3, "ada~2"));
        assert_eq!(self.hello().1, reply);
        let (_, reply) = self.room.post(OWN, self.ada.session, 1, &["still here"]);
        assert!(matches!(outcome(&reply), Outcome::Accepted { .. }));
    }

    /// An acknowledgement from the session's address.
    fn responds(&mut self, echo: Option<u64>) {
        let ack = Ack {
            session: self.ada.session,
            echo: echo.map(|at| u16::try_from(at % 65_536).unwrap()),
            answer: false,
            next: 3,
            ranges: Default::default(),
        };
        let (event, _) = self.room.frame(OWN, &Frame::Ack(ack));
        assert!(matches!(event, Event::Acknowledged { .. }), "{event:?}");
    }

    fn now(&self) -> u64 {
        self.room.now.as_millis()
    }
}

// [S14]
#[test]
fn a_session_in_use_is_not_taken_from_its_client() {
    for start in [0, 65_000] {
        for after in [0, 1, 899] {
            let mut inquiry = Inquiry::new(start);
            inquiry.asks();
            let asked = inquiry.now();
            inquiry.room.sleep(after);
            let echo = [asked, inquiry.now()][usize::from(after == 899)];
            inquiry.responds(Some(echo));
            // late acknowledgements change nothing
            inquiry.responds(None);
            inquiry.responds(Some(asked.saturating_sub(1)));
            inquiry.is_denied();
        }
    }
}

// [S14]
#[test]
fn a_session_moves_when_nobody_responds_at_its_address() {
    for start in [0, 65_000] {
        let mut inquiry = Inquiry::new(start);
        let wait = |inquiry: &mut Inquiry, millis| drop(inquiry.room.sleep(millis));
        inquiry.asks();
        wait(&mut inquiry, 500);
        inquiry.asks();
        wait(&mut inquiry, 399);
        inquiry.asks();
        // the frames are answered where the session still is
        let (event, _) = inquiry.room.post(OTHER, inquiry.ada.session, 1, &["mine"]);
        let why = Refusal::Session;
        assert_eq!(event, Event::Refused { seat: None, why });
        wait(&mut inquiry, 1);
        inquiry.moves();
        assert_eq!(inquiry.room.relay.stats().claimed, 3);
        // the next move needs another inquiry
        let (event, _) = inquiry
            .room
            .hello(OWN, inquiry.room.nonce + 1, "ada", None, None);
        assert_eq!(event, Event::Challenged);
        let cookie = inquiry.room.cookie(OWN);
        let again = resume(&inquiry.ada, 3);
        let nonce = inquiry.room.nonce + 1;
        let (event, _) = inquiry.room.hello(OWN, nonce, "ada", Some(cookie), again);
        assert!(matches!(event, Event::Claimed { .. }), "{event:?}");
    }
}

// [S14]
#[test]
fn what_was_sent_before_the_question_is_no_response() {
    let mut inquiry = Inquiry::new(1000);
    inquiry.asks();
    let asked = inquiry.now();
    inquiry.room.sleep(100);
    for echo in [None, Some(asked - 1), Some(0)] {
        inquiry.responds(echo);
    }
    inquiry
        .room
        .post(OWN, inquiry.ada.session, 1, &["on its way"]);
    inquiry.room.sleep(800);
    inquiry.moves();
}

// [S14]
#[test]
fn an_inquiry_is_over_after_ten_seconds() {
    for response in [None, Some(100)] {
        let asked = || {
            let mut inquiry = Inquiry::new(0);
            inquiry.asks();
            if let Some(after) = response {
                inquiry.room.sleep(after);
                inquiry.responds(Some(after));
            }
            let rest = 10_000 - response.unwrap_or(0);
            inquiry.room.sleep(rest);
            inquiry
        };
        let mut inquiry = asked();
        match response {
            None => inquiry.moves(),
            Some(_) => inquiry.is_denied(),
        }
        let mut inquiry = asked();
        inquiry.room.sleep(1);
        inquiry.asks();
        inquiry.room.sleep(900);
        inquiry.moves();
        // the clock of frames begins again after 65.5 s
        let mut inquiry = asked();
        for _ in 0..4 {
            inquiry.room.sleep(14_000);
            inquiry.responds(None);
        }
        inquiry.cookie = inquiry.room.cookie(OTHER);
        inquiry.asks();
    }
}

// [S14]
#[test]
fn a_client_that_is_away_moves_at_once() {
    let mut inquiry = Inquiry::new(0);
    inquiry.room.sleep(59_900);
    assert_eq!(inquiry.room.sleep(200), ["ada"]);
    inquiry.cookie = inquiry.room.cookie(OTHER);
    inquiry.moves();
}

// [S14]
#[test]
fn only_between_two_loopback_addresses_nobody_is_asked() {
    for (own, other, is_asked) in [(1, 2, false), (1, OTHER, true), (OWN, 2, true)] {
        let mut room = Room::new();
        let ada = room.join(own, "ada");
        let cookie = room.cookie(other);
        let (nonce, again) = (room.nonce + 1, resume(&ada, 0));
        let (event, _) = room.hello(other, nonce, "ada", Some(cookie), again);
        // there is no line yet that the question could name
        assert_eq!(event.aside().is_none(), is_asked);
        assert_eq!(
            matches!(event, Event::Claimed { .. }),
            is_asked,
            "{event:?}"
        );
        assert_eq!(
            matches!(event, Event::Resumed { .. }),
            !is_asked,
            "{event:?}"
        );
    }
}
