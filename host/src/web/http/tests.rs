use miniz_oxide::inflate::decompress_to_vec_zlib;

use super::*;

fn names() -> Names {
    Names::new(["boat.example.org".into(), "Server.".into()])
}

/// Returns the status of the answer to a head.
fn status(head: &str) -> String {
    let answer = match parse(head.as_bytes(), &names()) {
        Parsed::Partial => return "partial".into(),
        Parsed::Request { request, length } => {
            assert_eq!(length, head.len());
            request.answer(None)
        }
        Parsed::Rejected(why) => why.answer(),
    };
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.strip_prefix("HTTP/1.1 ").unwrap();
    status.split_once("\r\n").unwrap().0.into()
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{fields}\r\n")
}

const UPGRADE: &str = "Host: 192.168.1.5:10888\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn heads_are_answered_as_the_table_says() {
    for (head, expected) in [
        (get("/", "Host: 192.168.1.5:10888\r\n"), "200 OK"),
        (get("/?x", "hOST:localhost\r\n"), "200 OK"),
        (get("/dialect.js", "Host: [::1]:99\r\n"), "200 OK"),
        (get("/page.js", "Host: [fe80::1%25eth0]\r\n"), "200 OK"),
        (get("/style.css", "Host: boat.local.\r\n"), "200 OK"),
        (get("/qr.svg", "Host: boat\r\n"), "200 OK"),
        (get("/", "Host: BOAT.example.org:80\r\n"), "200 OK"),
        (
            get("/", "Host: server\r\nOrigin: http://server\r\n"),
            "200 OK",
        ),
        (
            get("http://server/", "Host: other.example.org\r\n"),
            "200 OK",
        ),
        (get("http://server", "Host: server\r\n"), "200 OK"),
        (
            get("http://evil.example.org/", "Host: server\r\n"),
            "403 Forbidden",
        ),
        ("HEAD / HTTP/1.0\r\nHost: a\r\n\r\n".into(), "200 OK"),
        (get("/", "Host: evil.example.org\r\n"), "403 Forbidden"),
        (get("/", "Host: 127.0.0.1.evil.org\r\n"), "403 Forbidden"),
        (get("/", "Host: 0x7f.1\r\n"), "403 Forbidden"),
        (get("/", "Host: a\r\nOrigin: null\r\n"), "403 Forbidden"),
        (
            get("/", "Host: a\r\nOrigin: http://a:81\r\n"),
            "403 Forbidden",
        ),
        (
            get("/", "Host: a:81\r\nOrigin: http://a\r\n"),
            "403 Forbidden",
        ),
        (get("/", "Host: a:80\r\nOrigin: http://a\r\n"), "200 OK"),
        (get("/", "Host: a\r\nOrigin: https://a:443\r\n"), "200 OK"),
        (get("/", "Host: a\r\nOrigin: file://a\r\n"), "403 Forbidden"),
        (get("/", "Host: a\r\nHost: a\r\n"), "400 Bad Request"),
        (
            get("/", "Host: a\r\nOrigin: http://a\r\nOrigin: http://a\r\n"),
            "400 Bad Request",
        ),
        (get("/", ""), "400 Bad Request"),
        (get("/", "Host:\r\n"), "400 Bad Request"),
        (get("/", "Host: a b\r\n"), "400 Bad Request"),
        (get("/", "Host: a:b\r\n"), "400 Bad Request"),
        (get("/", "Host: a:65536\r\n"), "400 Bad Request"),
        (get("/", "Host: [::1\r\n"), "400 Bad Request"),
        (get("/", "Host: a;script-src\r\n"), "400 Bad Request"),
        (
            get("/", "Host: a\r\nX: 1\r\n folded\r\n"),
            "400 Bad Request",
        ),
        (get("/", "Host : a\r\n"), "400 Bad Request"),
        ("GET / HTTP/2.0\r\n\r\n".into(), "400 Bad Request"),
        ("\x16\x03\x01\x02\0".into(), "400 Bad Request"),
        (get("/nothing", "Host: a\r\n"), "404 Not Found"),
        (get("/../../etc/passwd", "Host: a\r\n"), "404 Not Found"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            "405 Method Not Allowed",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            "405 Method Not Allowed",
        ),
        (get("/ws", UPGRADE), "101 Switching Protocols"),
        (get("/ws", "Host: a\r\n"), "426 Upgrade Required"),
        (
            get("/ws", &UPGRADE.replace("13", "8")),
            "426 Upgrade Required",
        ),
        (
            get("/ws", &UPGRADE.replace("=", "")),
            "426 Upgrade Required",
        ),
        (
            get("/ws", &format!("{UPGRADE}Content-Length: 5\r\n")),
            "426 Upgrade Required",
        ),
        (
            get("/ws", &format!("{UPGRADE}Origin: http://evil.org\r\n")),
            "403 Forbidden",
        ),
        (
            get(
                "/ws",
                &format!("{UPGRADE}Origin: http://192.168.1.5:10888\r\n"),
            ),
            "101 Switching Protocols",
        ),
        (
            get("/ws", UPGRADE).replace("GET", "HEAD"),
            "426 Upgrade Required",
        ),
        (
            get("/", &format!("Host: a\r\n{}", "X: y\r\n".repeat(64))),
            "431 Request Header Fields Too Large",
        ),
        (
            get("/", &format!("Host: a\r\nX: {}\r\n", "y".repeat(HEAD_MAX))),
            "431 Request Header Fields Too Large",
        ),
        (
            format!("GET /{}", "x".repeat(HEAD_MAX)),
            "431 Request Header Fields Too Large",
        ),
    ] {
        assert_eq!(status(&head), expected, "{head}");
    }
}

#[test]
fn every_part_of_a_head_is_its_beginning() {
    for head in [
        get("/", "Host: a\r\nOrigin: http://a\r\n"),
        get("/ws", UPGRADE),
    ] {
        for length in 0..head.len() {
            assert_eq!(status(&head[..length]), "partial", "{:?}", &head[..length]);
        }
    }
}

fn answered(head: &str, reached: Option<&str>) -> String {
    let Parsed::Request { request, .. } = parse(head.as_bytes(), &names()) else {
        panic!("{head}");
    };
    String::from_utf8(request.answer(reached)).unwrap()
}

#[test]
fn a_browser_that_has_a_file_is_not_sent_it_again() {
    let first = answered(&get("/", "Host: a\r\n"), None);
    let tag = first
        .lines()
        .find_map(|line| line.strip_prefix("ETag: "))
        .unwrap();
    let second = answered(
        &get(
            "/",
            &format!("Host: a\r\nIf-None-Match: W/\"x\", {tag}\r\n"),
        ),
        None,
    );
    assert!(
        second.starts_with("HTTP/1.1 304 Not Modified\r\n"),
        "{second}"
    );
    assert!(second.ends_with("\r\n\r\n"), "{second}");
    let other = answered(&get("/", "Host: a\r\nIf-None-Match: \"x\"\r\n"), None);
    assert!(other.starts_with("HTTP/1.1 200 OK\r\n"), "{other}");
}

#[test]
fn a_file_is_compressed_for_who_takes_that() {
    for (accepted, is_compressed) in [
        ("gzip, deflate", true),
        ("gzip, Deflate;q=0.5", true),
        ("br\r\nAccept-Encoding: deflate", true),
        ("gzip, deflate;q=0", false),
        ("gzip;q=1.0, deflate; q=0.000", false),
        ("x-deflate", false),
        ("", false),
    ] {
        let head = get(
            "/page.js",
            &format!("Host: a\r\nAccept-Encoding: {accepted}\r\n"),
        );
        let Parsed::Request { request, .. } = parse(head.as_bytes(), &names()) else {
            panic!("{head}");
        };
        let answer = request.answer(None);
        let body = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let (head, body) = (
            core::str::from_utf8(&answer[..body]).unwrap(),
            &answer[body..],
        );
        assert_eq!(
            head.contains("Content-Encoding: deflate\r\n"),
            is_compressed,
            "{accepted}"
        );
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        let whole = files::find("/page.js").unwrap().body;
        if is_compressed {
            assert_eq!(decompress_to_vec_zlib(body).unwrap(), whole);
        } else {
            assert_eq!(body, whole);
        }
    }
}

#[test]
fn an_answer_to_head_has_the_length_of_the_body_and_no_body() {
    let head = answered("HEAD /icon.svg HTTP/1.1\r\nHost: a\r\n\r\n", None);
    let length = files::find("/icon.svg").unwrap().body.len();
    assert!(
        head.contains(&format!("Content-Length: {length}\r\n")),
        "{head}"
    );
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn every_answer_forbids_foreign_content() {
    let socket = get("/ws", UPGRADE);
    for answer in [
        answered(&get("/", "Host: a:99\r\n"), None),
        answered(&socket, None),
        String::from_utf8(Rejection::NotFound.answer()).unwrap(),
    ] {
        for field in [
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Cross-Origin-Resource-Policy: same-origin",
            "Content-Security-Policy: default-src 'none'; script-src 'self';",
        ] {
            assert!(answer.contains(field), "{field}: {answer}");
        }
    }
    let page = answered(&get("/", "Host: a:99\r\n"), None);
    assert!(
        page.contains("connect-src 'self' ws://a:99 wss://a:99;"),
        "{page}"
    );
    let v6 = answered(&get("/", "Host: [::1]:99\r\n"), None);
    assert!(v6.contains("connect-src 'self';"), "{v6}");
    // RFC 6455 section 1.3
    assert!(
        answered(&socket, None).contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
    );
}

#[test]
fn the_code_has_an_address_that_another_machine_can_use() {
    let reached = Some("http://192.168.1.5:10888/");
    for (host, path, address) in [
        ("localhost:10888", "/qr.svg", "http://192.168.1.5:10888/"),
        ("[::1]:10888", "/qr.svg", "http://192.168.1.5:10888/"),
        ("127.0.0.1", "/qr.svg", "http://192.168.1.5:10888/"),
        ("boat.local:10888", "/qr.svg", "http://boat.local:10888/"),
        (
            "boat.example.org",
            "/qr.svg?https",
            "https://boat.example.org/",
        ),
    ] {
        let code = answered(&get(path, &format!("Host: {host}\r\n")), reached);
        assert!(
            code.contains(&format!("<title>{address}</title>")),
            "{code}"
        );
    }
}
