//! Random inputs: what clients send, valid or not, and the configurations of relays.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use fastrand::Rng;
use kilochat_core::{Config, Network};

/// Returns `true` with this probability in percent.
pub(crate) fn chance(random: &mut Rng, percent: u32) -> bool {
    random.u32(0..100) < percent
}

pub(crate) fn pick<T: Copy>(random: &mut Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

const HOSTS: [&str; 8] = [
    "127.0.0.1",
    "127.0.0.1",
    "192.168.1.20",
    "10.9.8.7",
    "169.254.3.4",
    "::1",
    "fe80::20",
    "fd00::1:2",
];

const STRANGE_SOURCES: [&str; 12] = [
    "0.0.0.0:9",
    "255.255.255.255:9",
    "224.0.0.251:5353",
    "239.1.2.3:10888",
    "127.0.0.1:0",
    "[ff02::1]:9",
    "[::]:9",
    "203.0.113.7:9",
    "172.32.0.1:1000",
    "8.8.8.8:53",
    "[2001:db8::7]:9",
    "[2001:db8:1::7]:9",
];

const NAMES: [&str; 42] = [
    "Ada",
    "Bob",
    "BOB",
    "Ｂｏｂ",
    "Cyd",
    "n",
    "n",
    "n",
    "N",
    "n~2",
    "王小明",
    "é",
    "two words",
    " padded ",
    "tab\tbed",
    "a:b",
    "Ada : hello",
    "a：b∶c꞉d",
    "﹕︓ː˸։׃",
    "* relay",
    "*",
    "[09:15] x",
    "zero\u{200B}width",
    "\u{202E}over",
    "\u{2800}",
    "wide\u{3000}space",
    "bell\x07\x1b[31m",
    "c1\u{9B}31m",
    "zalgo\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}",
    "a name of more than thirty-two bytes, cut",
    "十十十十十十十十十十十十",
    "two\nlines",
    "\n \r\nAda\r\nhello\r\n\nall",
    "Bob\n \n",
    "Cyd\n/who",
    "\u{200B}\nx",
    "*:*:",
    "\u{34F}\u{AD}",
    "x\u{FEFF}\u{E0041}",
    "\u{FEFF}Ada",
    "Bob\0\0\0",
    "\u{200B}Bob",
];

const TEXTS: [&str; 26] = [
    "hello",
    "hello?",
    "how are you",
    " leading and trailing ",
    "你好，世界",
    "🦀🦀🦀",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}!",
    "* Bob left (quit)",
    "* 3 lines lost",
    "Bob : I am not Bob",
    "[Ada] x",
    "a\tb",
    "a\nb\r\nc",
    "\x1b[2J\x1b[H",
    "\u{9B}31m \u{85} \u{80}",
    "\u{202E}drow",
    "\u{FFFE}\u{10FFFF}\u{FDD0}",
    "//slash",
    "///",
    " /who",
    "x\u{2028}y\u{2029}z",
    "\0",
    "\u{FEFF}hello",
    "\u{FEFF}",
    "hello\0\0\0",
    "hel\0lo",
];

const COMMANDS: [&str; 50] = [
    "/msg Ada psst",
    "/msg Bob secret\tkey",
    "/msg n: hello",
    "/msg n hello",
    "/MSG Ａｄａ:\u{202E}x",
    "/msg n~2 a note: on names",
    "/msg 王小明 你好",
    "/msg",
    "/msg Bob",
    "/msg nobody \x1b",
    "/who",
    "/who",
    "/Names n",
    "/who Ｂ",
    "/who nobody at all",
    "/who \x1b[31m and more than thirty-two bytes of it",
    "/help",
    "/help me",
    "/quiet",
    "/quiet on",
    "/quiet on",
    "/quiet off",
    "/quiet maybe",
    "/nick",
    "/NICK  ",
    "/nick Ada",
    "/nick Bob",
    "/nick n",
    "/nick n",
    "/nick n~2",
    "/nick * relay",
    "/nick 名字 : x",
    "/nick a name of more than thirty-two bytes, cut",
    "/nick \u{200B}",
    "/quit",
    "/quit now",
    "/",
    "/ who",
    "/\u{301}",
    "/WHO",
    "/who\u{3000}n",
    "/xyz abc",
    "/\x1b]0;title\x07",
    "/aVeryLongCommandWordThatIsCutSomewhere after",
    "/nickAda",
    "//who",
    "\u{FEFF}/who",
    "\u{200B}/who",
    " \u{2060}\u{FEFF}/help",
    "\u{FEFF}/nick Bob\0",
];

const LINE_ENDS: [&[u8]; 10] = [
    b"", b"", b"", b"", b"", b"\n", b"\r\n", b"\n\n", b"\n\0", b"\0\n",
];

/// Returns the address of the client with this number.
pub(crate) fn address(random: &mut Rng, number: usize) -> SocketAddr {
    let ip: IpAddr = pick(random, &HOSTS).parse().unwrap();
    SocketAddr::new(ip, 1000 + u16::try_from(number).unwrap())
}

/// Returns a source from which the relay accepts nothing, or little.
pub(crate) fn strange_source(random: &mut Rng) -> SocketAddr {
    pick(random, &STRANGE_SOURCES).parse().unwrap()
}

/// Returns a first datagram.
pub(crate) fn name(random: &mut Rng) -> Vec<u8> {
    let mut payload = Vec::new();
    if chance(random, 10) {
        payload.extend(b"/nick ");
    }
    if chance(random, 40) {
        let number = random.u32(0..40);
        payload.extend(
            format!("peer {number:030}")
                .replace(' ', "-")
                .bytes()
                .skip(random.usize(..30)),
        );
    } else {
        payload.extend(pick(random, &NAMES).bytes());
    }
    ended(random, payload)
}

/// Returns the first datagrams of this number of clients: of all kinds, all equal, or all as long
/// as possible.
pub(crate) fn names(random: &mut Rng, clients: usize) -> Vec<Vec<u8>> {
    let long = if clients > 30 { 5 } else { 2 };
    let kind = random.u32(0..10);
    let each = (0..clients).map(|number| match kind {
        0 => b"n".to_vec(),
        kind if kind < long => format!("{number:032}").into_bytes(),
        _ => name(random),
    });
    each.collect()
}

/// Returns a first datagram with a code in front, in one of the forms that people type.
pub(crate) fn with_code(random: &mut Rng, code: u32, name: &[u8]) -> Vec<u8> {
    let (high, low) = (code / 10_000, code % 10_000);
    let mut payload = match random.u32(0..6) {
        0 => format!("{high:04}{low:04} "),
        1 => format!("{high:04} {low:04}  "),
        2 => format!("{:08} ", code ^ 1),
        3 => {
            format!("{high:04}-{low:04}")
                .replace('-', "－")
                .replace('1', "１")
                + "\u{3000}"
        }
        _ => format!("{high:04}-{low:04} "),
    }
    .into_bytes();
    payload.extend(name);
    payload
}

/// Returns a datagram of any kind.
pub(crate) fn anything(random: &mut Rng) -> Vec<u8> {
    match random.u32(0..100) {
        0..45 => {
            let text = pick(random, &TEXTS).into();
            ended(random, text)
        }
        45..56 => long_text(random),
        56..58 => [b"/msg n ".to_vec(), long_text(random)].concat(),
        58..76 => {
            let command = pick(random, &COMMANDS).into();
            ended(random, command)
        }
        76..82 => pick(
            random,
            &[
                &b""[..],
                b" ",
                b"\n",
                b"\r\n",
                b"\t \n",
                "\u{3000}".as_bytes(),
            ],
        )
        .into(),
        82..87 => name(random),
        _ => hostile(random),
    }
}

/// Returns a text, often with a length close to a limit.
pub(crate) fn long_text(random: &mut Rng) -> Vec<u8> {
    const FILLERS: [&str; 10] = [
        "x", "x", "é", "你", "🦀", "\u{80}", "\u{301}", "\u{FFFE}", " ", "ab\t",
    ];
    let length = match random.u32(0..4) {
        0 => random.usize(900..=1024),
        1 => random.usize(1000..=1100),
        2 => random.usize(200..700),
        _ => random.usize(..1100),
    };
    let mut text = "x".repeat(random.usize(..4));
    while text.len() < length {
        let filler = pick(random, &FILLERS);
        let times = random.usize(1..=length);
        for _ in 0..times {
            if text.len() >= length {
                break;
            }
            text.push_str(filler);
        }
    }
    text.into()
}

/// Returns a datagram that is not text, not allowed, or not what it seems.
fn hostile(random: &mut Rng) -> Vec<u8> {
    let start: &[u8] = match random.u32(0..8) {
        0 => b"\x01H KC1",
        1 => b"\xFF\xFE",
        2 => b"* \xFF",
        3 => b"* not sent",
        4 => "half a character: 你".as_bytes().split_last().unwrap().1,
        5 => b"\xED\xA0\x80",
        6 => b"/nick \xC0\xAF",
        _ => b"",
    };
    let mut payload = start.to_vec();
    match random.u32(0..6) {
        0 => payload.resize(random.usize(1020..1030).max(payload.len()), b'y'),
        1 => payload.resize(1500, b'y'),
        2 => payload.extend((0..random.usize(..60)).map(|_| random.u8(..))),
        _ => {}
    }
    payload
}

fn ended(random: &mut Rng, mut payload: Vec<u8>) -> Vec<u8> {
    payload.extend(pick(random, &LINE_ENDS));
    payload
}

/// Returns a configuration for a relay of `peers` seats.
pub(crate) fn config(random: &mut Rng, peers: usize) -> Config {
    let mut config = Config {
        seats: match random.u32(0..3) {
            0 => u16::MAX,
            _ => u16::try_from(random.usize(5..=peers)).unwrap(),
        },
        history: pick(random, &[0, 1, 2, 10, 10, 50]),
        announce_up_to: pick(random, &[0, 3, 63, 63, 63]),
        idle: Duration::from_secs(pick(random, &[5, 60, 600])),
        echo: chance(random, 15),
        classic: chance(random, 10),
        open: chance(random, 15),
        prove: chance(random, 15),
        rate: pick(random, &[0, 0, 1, 20]),
        burst: pick(random, &[1, 4, 64]),
        ..Config::new([0; 16])
    };
    // in classic mode no source can prove its address
    config.prove &= !config.classic;
    if chance(random, 30) {
        let motd = pick(random, &["be kind", "\x1b[1mbold\n* forged", "規則：友善"]);
        config.motd = motd.try_into().unwrap();
    }
    for (address, prefix) in [("203.0.113.0", 24), ("2001:db8::", 48)] {
        if chance(random, 20) {
            let address = address.parse().unwrap();
            let _ = config.networks.push(Network { address, prefix });
        }
    }
    config
}
