//! How a relay shows a server who it is: keys, credentials and certificates, which the tests make with openssl.

use core::fmt::Write;
use std::fs;

use kilochat_tests::RelayProgram;

use crate::outages::{DOWN, UP};
use crate::servers::{Folder, Place, Server, certificates, check, free_port, openssl, start};

/// Kinds of keys, which are the first letter of what is shown of one.
const OPERATOR: u8 = 14 << 3;
const ACCOUNT: u8 = 0;
const USER: u8 = 20 << 3;
const SEED: u8 = 18 << 3;

/// A pair of keys of Ed25519.
struct Key<'a> {
    folder: &'a Folder,
    name: &'static str,
    kind: u8,
}

impl<'a> Key<'a> {
    fn new(folder: &'a Folder, name: &'static str, kind: u8) -> Self {
        let file = format!("{name}.der");
        let made = ["genpkey", "-algorithm", "ed25519", "-outform", "DER"];
        openssl(&folder.0, &[&made[..], &["-out", &file]].concat());
        Self { folder, name, kind }
    }

    fn file(&self) -> String {
        self.folder.path(&format!("{}.der", self.name))
    }

    /// Returns the public key, as servers name it.
    fn public(&self) -> String {
        let file = self.file();
        let read = ["pkey", "-inform", "DER", "-in", &file];
        let public = ["-pubout", "-outform", "DER", "-out", "public"];
        openssl(&self.folder.0, &[read, public].concat());
        let written = fs::read(self.folder.path("public")).unwrap();
        checked(&[&[self.kind], &written[written.len() - 32..]].concat())
    }

    /// Returns the secret key, as relays read it.
    fn seed(&self) -> String {
        let written = fs::read(self.file()).unwrap();
        let kind = [SEED | (self.kind >> 5), self.kind << 3];
        checked(&[&kind, &written[written.len() - 32..]].concat())
    }

    /// Returns a token in which this key vouches for another.
    fn vouch(&self, for_whom: &Self, rights: &str) -> String {
        let (issuer, subject) = (self.public(), for_whom.public());
        let claims = format!(
            r#"{{"jti":"x","iat":1700000000,"iss":"{issuer}","sub":"{subject}","name":"{}","nats":{{{rights},"version":2}}}}"#,
            for_whom.name
        );
        let head = base64(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
        let signed = format!("{head}.{}", base64(claims.as_bytes()));
        fs::write(self.folder.path("signed"), &signed).unwrap();
        let file = self.file();
        let key = ["pkeyutl", "-sign", "-inkey", &file, "-keyform", "DER"];
        let what = ["-rawin", "-in", "signed", "-out", "signature"];
        openssl(&self.folder.0, &[&key[..], &what].concat());
        let signature = fs::read(self.folder.path("signature")).unwrap();
        format!("{signed}.{}", base64(&signature))
    }
}

/// Returns bytes with their checksum (CRC-16/XMODEM), in base 32.
fn checked(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0_u16, |sum, byte| {
        let sum = sum ^ (u16::from(*byte) << 8);
        (0..8).fold(sum, |sum, _| {
            let shifted = sum << 1;
            if sum & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    });
    let bytes = [bytes, &sum.to_le_bytes()].concat();
    written(&bytes, 5, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
}

/// Returns bytes in base 64, with the alphabet for addresses and without padding.
fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    written(bytes, 6, alphabet)
}

/// Writes bytes in digits of so many bits.
fn written(bytes: &[u8], width: usize, alphabet: &[u8]) -> String {
    let bit = |at: usize| {
        let byte = bytes.get(at / 8).copied().unwrap_or(0);
        usize::from(byte >> (7 - at % 8) & 1)
    };
    let digits = (0..bytes.len() * 8).step_by(width);
    digits
        .map(|start| (start..start + width).fold(0, |digit, at| digit * 2 + bit(at)))
        .map(|digit| char::from(alphabet[digit]))
        .collect()
}

/// Waits until a relay says that it is not let in.
fn is_refused(relay: &mut RelayProgram, why: &str) {
    let logged = relay.wait_for_log(|line| line.contains("out of reach"));
    assert!(logged.to_lowercase().contains(why), "{logged}");
}

/// Two places that show a server who they are talk.
fn they_talk(url: &str, [boat, harbour]: [&[&str]; 2]) {
    let mut boat = Place::with(url, "boat", "Ada", boat);
    let mut harbour = Place::with(url, "harbour", "Bob", harbour);
    boat.say(0..10);
    harbour.say(0..10);
    check(&harbour.numbers("Ada@boat", 9), 0..10);
    check(&boat.numbers("Bob@harbour", 9), 0..10);
}

/// Two places talk, and a third is refused for its credentials.
fn they_talk_without_a_stranger(url: &str, places: [&[&str]; 2], stranger: &[&str]) {
    they_talk(url, places);
    is_refused(&mut start(url, "school", stranger), "authorization");
}

#[test]
#[ignore = "needs nats-server and openssl: apt install nats-server openssl"]
fn a_key_that_the_server_knows_lets_a_relay_in() {
    let folder = Folder::new();
    let mut users = String::new();
    for name in ["boat", "harbour", "stranger"] {
        let key = Key::new(&folder, name, USER);
        // as editors do, with a line end
        fs::write(folder.path(name), format!("{}\n", key.seed())).unwrap();
        if name != "stranger" {
            writeln!(users, "{{ nkey: {} }}", key.public()).unwrap();
        }
    }
    let server = Server::with(&format!("authorization {{ users: [\n{users}] }}"));
    let seeds = ["boat", "harbour", "stranger"].map(|name| folder.path(name));
    let [boat, harbour, stranger] = seeds.each_ref().map(|seed| ["--link-nkey", seed]);
    they_talk_without_a_stranger(&server.url(), [&boat, &harbour], &stranger);
}

#[test]
#[ignore = "needs nats-server and openssl: apt install nats-server openssl"]
fn credentials_of_an_account_let_a_relay_in() {
    const ALL: &str = r#""limits":{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1,"mem_storage":-1,"disk_storage":-1,"streams":-1,"consumer":-1},"type":"account""#;
    const PLACE: &str = r#""pub":{},"sub":{},"subs":-1,"data":-1,"payload":-1,"type":"user""#;
    let folder = Folder::new();
    let operator = Key::new(&folder, "operator", OPERATOR);
    let [account, system, other] =
        ["account", "system", "other"].map(|name| Key::new(&folder, name, ACCOUNT));
    let vouched = |key: &Key<'_>, rights: &str| operator.vouch(key, rights);
    let config = format!(
        "operator: \"{}\"\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n\
         {}: \"{}\"\n{system}: \"{}\"\n}}",
        vouched(&operator, r#""type":"operator""#),
        account.public(),
        vouched(&account, ALL),
        // the server keeps no room for its own account
        vouched(&system, &ALL.replace("storage\":-1", "storage\":0")),
        system = system.public(),
    );
    let server = Server::with(&config);
    // the account of the stranger is not one of the operator's
    let files = [
        ("boat", &account),
        ("harbour", &account),
        ("stranger", &other),
    ]
    .map(|(name, account)| {
        let user = Key::new(&folder, name, USER);
        let (token, seed) = (account.vouch(&user, PLACE), user.seed());
        let file = folder.path(&format!("{name}.creds"));
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        fs::write(&file, text).unwrap();
        file
    });
    let [boat, harbour, stranger] = files.each_ref().map(|file| ["--link-creds", file]);
    they_talk_without_a_stranger(&server.url(), [&boat, &harbour], &stranger);
}

#[test]
#[ignore = "needs nats-server and openssl: apt install nats-server openssl"]
fn a_certificate_that_the_server_asks_for_lets_a_relay_in() {
    let folder = Folder::new();
    certificates(&folder.0);
    let [ca, certificate, key] =
        ["ca.pem", "server.pem", "server.key"].map(|name| folder.path(name));
    let server = Server::with(&format!(
        "tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: true }}"
    ));
    let url = server.url().replace("nats://", "tls://");
    let [certificate, key] = ["client.pem", "client.key"].map(|name| folder.path(name));
    let trust = ["--link-ca", ca.as_str()];
    let shown = ["--link-cert", &certificate, "--link-key", &key];
    let shown = [&trust[..], &shown].concat();
    they_talk(&url, [&shown, &shown]);
    is_refused(&mut start(&url, "school", &trust), "certificate");
}

#[test]
#[ignore = "needs nats-server: apt install nats-server"]
fn a_leaf_server_reaches_the_room_by_its_domain() {
    let (folder, leaves) = (Folder::new(), free_port());
    let store = folder.path("store");
    let with_room = format!(
        "jetstream {{ store_dir: \"{store}\", domain: hub }}\n\
         leafnodes {{ listen: \"127.0.0.1:{leaves}\" }}"
    );
    let leaf = format!(
        "leafnodes {{ reconnect: 1, remotes: [{{ url: \"nats-leaf://127.0.0.1:{leaves}\" }}] }}"
    );
    let mut hub = Server::configured(folder, "127.0.0.1", free_port(), &with_room);
    let leaf = Server::configured(Folder::new(), "127.0.0.1", free_port(), &leaf);
    let mut harbour = Place::new(&hub.url(), "harbour", "Bob");
    let mut boat = Place::with(&leaf.url(), "boat", "Ada", &["--link-domain", "hub"]);
    boat.say(0..10);
    harbour.say(0..10);
    check(&harbour.numbers("Ada@boat", 9), 0..10);
    check(&boat.numbers("Bob@harbour", 9), 0..10);
    boat.meet("* 1 at harbour: Bob");
    // a relay whose own connection lives on, but whose server has lost the hub
    hub.kill();
    boat.say(10..20);
    boat.wait_for(|line| line == DOWN);
    hub.start();
    boat.wait_for(|line| line == UP);
    boat.say(20..30);
    harbour.say(10..20);
    check(&harbour.numbers("Ada@boat", 29), 0..30);
    check(&boat.numbers("Bob@harbour", 19), 0..20);
}
