//! Who may speak for whom.

use std::fs;
use std::process::{Command, Stdio};

use kilochat_tests::{PlainPeer, RelayProgram};

use crate::servers::{Folder, PROGRAM, Place, Server, certificates, check, start};

/// The example of the packages, with passwords.
const PERMISSIONS: &str = include_str!("../../packaging/nats-server.conf");

/// Returns the lines of the example that say who may do what.
fn authorization() -> &'static str {
    let start = PERMISSIONS.find("authorization").unwrap();
    &PERMISSIONS[start..]
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn no_place_can_speak_for_another() {
    let server = Server::with(authorization());
    let folder = Folder::new();
    for place in ["boat", "harbour"] {
        fs::write(folder.path(place), format!("{place}:change-me\n")).unwrap();
    }
    let token = |place: &str| folder.path(place);
    let mut boat = Place::with(
        &server.url(),
        "boat",
        "Ada",
        &["--link-token-file", &token("boat")],
    );
    let mut harbour = Place::with(
        &server.url(),
        "harbour",
        "Bob",
        &["--link-token-file", &token("harbour")],
    );
    boat.say(0..10);
    harbour.say(0..10);
    check(&harbour.numbers("Ada@boat", 9), 0..10);
    check(&boat.numbers("Bob@harbour", 9), 0..10);
    // one that has the password of the boat, and says that it is the harbour
    let mut forger = start(
        &server.url(),
        "harbour",
        &["--link-token-file", &token("boat")],
    );
    let eve = PlainPeer::join(forger.at("127.0.0.1"), "Eve");
    eve.say("I am Bob of the harbour");
    let logged = forger.wait_for_log(|line| line.contains("out of reach"));
    assert!(logged.to_lowercase().contains("permission"), "{logged}");
    boat.say(10..11);
    check(&harbour.numbers("Ada@boat", 10), 0..11);
    harbour.say(10..11);
    check(&boat.numbers("Bob@harbour", 10), 0..11);
    for place in [&boat, &harbour] {
        let lines = place.peer.lines();
        assert!(!lines.iter().any(|line| line.contains("Eve")), "{lines:?}");
    }
    // and one that has no password at all
    let mut stranger = start(&server.url(), "school", &[]);
    let logged = stranger.wait_for_log(|line| line.contains("out of reach"));
    assert!(logged.to_lowercase().contains("authorization"), "{logged}");
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_server_with_a_certificate_of_somebody_else_is_not_trusted() {
    let folder = Folder::new();
    certificates(&folder.0);
    let (certificate, key) = (folder.path("server.pem"), folder.path("server.key"));
    let server = Server::with(&format!(
        "tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}"
    ));
    let url = server.url().replace("nats://", "tls://");
    let (ca, other) = (folder.path("ca.pem"), folder.path("other.pem"));
    let mut wrong = start(&url, "boat", &["--link-ca", &other]);
    let logged = wrong.wait_for_log(|line| line.contains("out of reach"));
    assert!(logged.contains("certificate"), "{logged}");
    let boat = Place::with(&url, "boat", "Ada", &["--link-ca", &ca]);
    let mut harbour = Place::with(&url, "harbour", "Bob", &["--link-ca", &ca]);
    boat.say(0..10);
    check(&harbour.numbers("Ada@boat", 9), 0..10);
    // a server that offers no encryption is not used
    let open = Server::new();
    let url = open.url().replace("nats://", "tls://");
    let mut exposed = start(&url, "boat", &["--link-ca", &ca]);
    exposed.wait_for_log(|line| line.contains("out of reach"));
}

#[test]
fn a_secret_in_an_address_is_refused_and_an_open_way_is_told() {
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM)
            .arg("relay")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        stderr
    };
    let told = run(&["--link", "nats://ada:secret@hub"]);
    assert!(told.contains("--link-creds"), "{told}");
    let told = run(&["--link", "nats://hub", "--place", "The Harbour"]);
    assert!(told.contains("a to z"), "{told}");
    let told = run(&[
        "--link",
        "nats://hub",
        "--link-nkey",
        "/no/such/file",
        "--port",
        "0",
    ]);
    assert!(told.contains("/no/such/file"), "{told}");
    let told = run(&["--link", "nats://hub", "--classic"]);
    assert!(told.contains("--classic"), "{told}");
    let arguments = [
        "--link",
        "nats://203.0.113.5",
        "--place",
        "boat",
        "--port",
        "0",
    ];
    let mut relay = RelayProgram::start(PROGRAM, &arguments);
    relay.wait_for_log(|line| line.contains("unencrypted"));
}
