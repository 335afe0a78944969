//! Arbitrary bytes as the head of an HTTP request.

use core::str::from_utf8;

/// The server under test: it returns its answer, or `None` while the head is incomplete.
pub type Answer = fn(&[u8]) -> Option<Vec<u8>>;

/// Checks that each answer is well formed, forbids foreign content, and does not depend on how the
/// bytes are split; and that nothing is served to a browser that reached this server under a
/// foreign name (DNS rebinding).
///
/// # Panics
///
/// If a guarantee is broken.
pub fn head(answer: Answer, bytes: &[u8]) {
    let Some(whole) = answer(bytes) else {
        assert!(bytes.len() < 8 << 10, "a head without an end");
        return;
    };
    for part in 1..4 {
        let part = &bytes[..bytes.len() * part / 4];
        if let Some(early) = answer(part) {
            assert_eq!(early, whole, "{}", part.escape_ascii());
        }
    }
    let status = check(&whole);
    if matches!(status, 101 | 200 | 304) {
        check_host(bytes);
    }
}

/// Checks the form of an answer, and returns its status.
fn check(answer: &[u8]) -> u16 {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.expect("the end of the head") + 4);
    let head = from_utf8(head).expect("ASCII");
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\r' | b'\n');
    assert!(head.bytes().all(is_plain), "{head:?}");
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|status| status.split(' ').next()?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status: {head:?}"));
    let fields: Vec<(&str, &str)> = lines
        .map(|line| line.split_once(": ").expect("a field"))
        .collect();
    let value = |name| {
        let mut found = fields.iter().filter(|(field, _)| *field == name);
        let value = found.next().map(|(_, value)| *value);
        assert!(found.next().is_none(), "{name} twice: {head:?}");
        value
    };
    let policy = value("Content-Security-Policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert_eq!(policy.matches(';').count(), 7, "{policy}");
    assert!(!policy.contains(['*', ',', '<']), "{policy}");
    assert_eq!(value("X-Content-Type-Options"), Some("nosniff"));
    match value("Content-Length") {
        Some(length) => assert!(
            body.is_empty() || length.parse() == Ok(body.len()),
            "{length}"
        ),
        None => assert!(matches!(status, 101 | 304) && body.is_empty(), "{head:?}"),
    }
    status
}

/// Checks that the head names a host that no foreign DNS name could resolve to.
fn check_host(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let mut hosts = text
        .split('\n')
        .filter_map(|line| line.strip_prefix("host:"));
    let host = hosts.next().expect("a host").trim();
    let mut target = text.split(' ').nth(1).expect("a target");
    if let Some(rest) = target.strip_prefix("http://") {
        target = rest.split(['/', '?']).next().expect("a first part");
    } else {
        target = host;
    }
    let name = match target.rfind(':') {
        Some(colon) if !target[colon..].contains(']') => &target[..colon],
        _ => target,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_address = name.starts_with('[') || name.parse::<core::net::Ipv4Addr>().is_ok();
    let is_ours = is_address
        || !name.contains('.')
        || name.ends_with(".local")
        || name.ends_with(".localhost");
    assert!(is_ours, "served as {name:?}");
}
