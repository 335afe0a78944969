//! The relay's thread allocates nothing while it is linked.

use core::hint::black_box;

use allocation_counter::measure;
use clap::Parser;
use kilochat::args::{Arguments, Command};
use kilochat::relay;
use kilochat_tests::PlainPeer;

use crate::servers::{Place, Server, check};

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_linked_relay_at_work_allocates_nothing() {
    let mut server = Server::new();
    let url = server.url();
    let options = format!(
        "kilochat relay --bind 127.0.0.1:0 --quiet --rate 0 --no-announce --place boat --link {url}"
    );
    let Command::Relay(arguments) = Arguments::parse_from(options.split(' ')).command else {
        panic!("it is a relay");
    };
    let mut linked = relay::Server::bind(&arguments).unwrap();
    let address = linked.addresses()[0];
    let stopper = linked.stopper();
    let thread = std::thread::spawn(move || {
        let work = measure(|| linked.run().unwrap());
        // shows that the counter counts on this thread
        let planted = measure(|| drop(black_box(Box::new(0))));
        (work, planted, linked)
    });
    let peer = PlainPeer::join(address, "Ada");
    let mut harbour = Place::new(&url, "harbour", "Bob");
    let say = |numbers: core::ops::Range<u32>| {
        for number in numbers {
            peer.say(number.to_string());
            if number % 8 == 7 {
                std::thread::sleep(core::time::Duration::from_millis(2));
            }
        }
    };
    for round in 1..=10 {
        say(round * 200 - 200..round * 200);
        harbour.say(round * 200 - 200..round * 200);
        check(
            &harbour.numbers("Ada@boat", round * 200 - 1),
            0..round * 200,
        );
    }
    // an outage with its notices, and other people
    server.kill();
    say(2000..2200);
    let eve = PlainPeer::join(address, "Eve");
    std::thread::sleep(core::time::Duration::from_secs(6));
    server.start();
    check(&harbour.numbers("Ada@boat", 2199), 0..2200);
    eve.say("/quit");
    stopper.report();
    say(2200..2300);
    check(&harbour.numbers("Ada@boat", 2299), 0..2300);
    stopper.stop();
    let (work, planted, _linked) = thread.join().unwrap();
    assert_eq!(planted.count_total, 1, "the counter sees an allocation");
    assert_eq!(work.count_total, 0, "{work:?}");
}
