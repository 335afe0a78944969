//! Numbers that cannot be guessed without the key: SipHash-2-4 with 128 bits of it.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use heapless::Vec;
use siphasher::sip128::SipHasher24;

use crate::time::Instant;
use crate::wire::Code;

/// Minimum time for which a cookie is valid, in milliseconds; the maximum is twice that.
const COOKIE_MS: u64 = 60_000;

/// The purpose of a number. Each has numbers of its own.
#[derive(Clone, Copy)]
enum Use {
    Cookie,
    Session,
    Epoch,
    Code,
    Prefix,
    Host,
}

/// Returns the cookie that a client at `source` must repeat to prove that it receives there.
pub(super) fn cookie(key: &[u8; 16], now: Instant, source: &SocketAddr) -> [u8; 16] {
    hashed(key, Use::Cookie, source, now.as_millis() / COOKIE_MS)
}

/// Returns whether a client at `source` was recently sent this cookie.
pub(super) fn is_cookie(
    key: &[u8; 16],
    now: Instant,
    source: &SocketAddr,
    cookie: &[u8; 16],
) -> bool {
    let period = now.as_millis() / COOKIE_MS;
    [Some(period), period.checked_sub(1)]
        .into_iter()
        .flatten()
        .any(|period| hashed(key, Use::Cookie, source, period) == *cookie)
}

/// Returns the code that a plain client at `source` must repeat to prove that it receives there.
pub(super) fn code(key: &[u8; 16], now: Instant, source: &SocketAddr) -> Code {
    code_of(key, source, now.as_millis() / COOKIE_MS)
}

/// Returns whether a client at `source` was recently sent this code.
pub(super) fn is_code(key: &[u8; 16], now: Instant, source: &SocketAddr, code: Code) -> bool {
    let period = now.as_millis() / COOKIE_MS;
    [Some(period), period.checked_sub(1)]
        .into_iter()
        .flatten()
        .any(|period| code_of(key, source, period) == code)
}

fn code_of(key: &[u8; 16], source: &SocketAddr, period: u64) -> Code {
    let [a, b, c, d, ..] = hashed(key, Use::Code, source, period);
    Code::from(u32::from_be_bytes([a, b, c, d]))
}

/// Returns a number that all addresses of a prefix share: a /24 of IPv4, a /48 of IPv6.
pub(super) fn prefix(key: &[u8; 16], source: IpAddr) -> u8 {
    let prefix = match source {
        IpAddr::V4(ip) => u32::from(ip).wrapping_shr(8).into(),
        IpAddr::V6(ip) => u128::from(ip).wrapping_shr(80),
    };
    let bits = Ipv6Addr::from(prefix);
    let [number, ..] = hashed(key, Use::Prefix, &(bits, 0).into(), 0);
    number
}

/// Returns a number for the address of a host.
pub(super) fn host(key: &[u8; 16], source: IpAddr) -> u8 {
    let [number, ..] = hashed(key, Use::Host, &(source, 0).into(), 0);
    number
}

/// Returns a session for a client at `source` whose `id` no other peer has.
pub(super) fn session(key: &[u8; 16], source: &SocketAddr, nonce: u64, id: u32) -> u64 {
    half(hashed(
        key,
        Use::Session,
        source,
        nonce ^ u64::from(id) << 32,
    ))
}

/// Returns an epoch. If the key is the same in each run, the first client's nonce makes the
/// difference.
pub(super) fn epoch(key: &[u8; 16], source: &SocketAddr, nonce: u64) -> u32 {
    let [a, b, c, d, ..] = hashed(key, Use::Epoch, source, nonce);
    u32::from_be_bytes([a, b, c, d])
}

/// Returns the number after which the authors of a run are counted that restores a former one: clients
/// remember their numbers of that one.
pub(super) fn authors(key: &[u8; 16]) -> u32 {
    let [a, b, c, d, ..] = hash(key, b"authors");
    u32::from_be_bytes([a, b, c, d])
}

/// Returns a hash of the texts of a POST. It is never sent, so it needs no purpose of its own.
pub(super) fn texts(key: &[u8; 16], texts: &[u8]) -> u16 {
    let [a, b, ..] = hash(key, texts);
    u16::from_be_bytes([a, b])
}

/// Returns a key that is made of another one and of a number.
pub(super) fn stirred(key: &[u8; 16], random: u64) -> [u8; 16] {
    hash(key, &random.to_be_bytes())
}

fn half(whole: [u8; 16]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = whole;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn hashed(key: &[u8; 16], use_: Use, source: &SocketAddr, number: u64) -> [u8; 16] {
    let ip = match source.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let parts: [&[u8]; 4] = [
        &ip.octets(),
        &source.port().to_be_bytes(),
        &number.to_be_bytes(),
        &[use_ as u8],
    ];
    let mut message = Vec::<u8, 27>::new();
    for part in parts {
        // 16, 2, 8 and 1 fit
        let _ = message.extend_from_slice(part);
    }
    hash(key, &message)
}

fn hash(key: &[u8; 16], message: &[u8]) -> [u8; 16] {
    SipHasher24::new_with_key(key).hash(message).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [7; 16];

    #[test]
    fn a_cookie_is_good_for_its_source_and_one_to_two_minutes() {
        let source = "192.0.2.1:1000".parse().unwrap();
        let at = |millis| Instant::from_millis(millis);
        let given = cookie(&KEY, at(59_999), &source);
        for good in [0, 59_999, 60_000, 119_999] {
            assert!(is_cookie(&KEY, at(good), &source, &given), "{good}");
        }
        assert!(!is_cookie(&KEY, at(120_000), &source, &given));
        for other in ["192.0.2.1:1001", "192.0.2.2:1000", "[::1]:1000"] {
            assert!(!is_cookie(&KEY, at(0), &other.parse().unwrap(), &given));
        }
        assert!(!is_cookie(&[8; 16], at(0), &source, &given));
    }

    #[test]
    fn a_code_is_good_for_its_source_and_one_to_two_minutes() {
        let source = "192.0.2.1:1000".parse().unwrap();
        let at = |millis| Instant::from_millis(millis);
        let given = code(&KEY, at(59_999), &source);
        for good in [0, 59_999, 60_000, 119_999] {
            assert!(is_code(&KEY, at(good), &source, given), "{good}");
        }
        assert!(!is_code(&KEY, at(120_000), &source, given));
        for other in ["192.0.2.1:1001", "192.0.2.2:1000", "[::1]:1000"] {
            assert!(!is_code(&KEY, at(0), &other.parse().unwrap(), given));
        }
        assert!(!is_code(&[8; 16], at(0), &source, given));
    }

    #[test]
    fn a_key_that_was_stirred_gives_other_numbers() {
        let source = "192.0.2.1:1000".parse().unwrap();
        let keys = [
            KEY,
            stirred(&KEY, 1),
            stirred(&KEY, 2),
            stirred(&stirred(&KEY, 1), 2),
        ];
        let sessions = keys.map(|key| session(&key, &source, 1, 1));
        for (index, session) in sessions.iter().enumerate() {
            assert!(!sessions[..index].contains(session), "{sessions:?}");
        }
    }

    #[test]
    fn uses_and_clients_have_different_numbers() {
        let source = "192.0.2.1:1000".parse().unwrap();
        let sessions =
            [(1, 1), (1, 2), (2, 1)].map(|(nonce, id)| session(&KEY, &source, nonce, id));
        assert!(sessions[0] != sessions[1] && sessions[0] != sessions[2]);
        let of_cookie = half(cookie(&KEY, Instant::default(), &source));
        assert_ne!(of_cookie, session(&KEY, &source, 0, 0));
        assert_ne!(of_cookie >> 32, u64::from(epoch(&KEY, &source, 0)));
    }
}
