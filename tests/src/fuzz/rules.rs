//! Arbitrary text as a file of rules, and a relay that has these rules.

use core::net::{IpAddr, SocketAddr};

use kilochat_core::{
    Config, Departure, Event, Expired, Instant, Network, RULES_MAX, Refusal, Relay, Reply, Rule,
    Verdict,
};

use crate::dialect::{Admitted, admitted, is_in};

/// The reader under test: it returns all rules in a text, or the number of the first line with a
/// mistake, and the reason.
pub type ReadRules = fn(&str) -> Result<Vec<Rule>, (usize, String)>;

/// Hosts that are asked for in any case: local ones, and others.
const HOSTS: [&str; 6] = [
    "127.0.0.1",
    "10.0.0.7",
    "192.0.2.1",
    "100.64.0.1",
    "fe80::1",
    "2001:db8::1",
];

const SEATS: usize = 64;

/// Checks that a text is read as a second reader does, and that a relay obeys the rules: the first
/// that fits a source counts, for newcomers and for peers. The first byte chooses the policy.
///
/// # Panics
///
/// If a guarantee is broken.
pub fn rules(read: ReadRules, bytes: &[u8]) {
    let (policy, text) = bytes.split_first().unwrap_or((&0, &[]));
    let text = String::from_utf8_lossy(text);
    let rules = match (read(&text), expected(&text)) {
        (Ok(read), Ok(expected)) => {
            assert_eq!(read, expected, "{text:?}");
            read
        }
        (Err((line, why)), Err(expected)) => {
            assert_eq!(line, expected, "{text:?}: {why}");
            assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
            return;
        }
        (read, expected) => panic!("{text:?}: {read:?} instead of {expected:?}"),
    };
    let config = Config {
        open: policy & 1 > 0,
        prove: policy & 2 > 0,
        ..Config::new([7; 16])
    };
    let kept = &rules[..rules.len().min(RULES_MAX)];
    check_newcomers(&config, kept);
    check_peers(&config, kept);
}

/// Reads the rules in a text, or returns the number of its first wrong line.
fn expected(text: &str) -> Result<Vec<Rule>, usize> {
    let mut rules = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        let line = line.find('#').map_or(line, |comment| &line[..comment]);
        let words: Vec<&str> = line.split_whitespace().collect();
        let rule = match words[..] {
            [] => continue,
            ["deny", network] => (Verdict::Deny, network),
            ["allow", network] => (Verdict::Allow, network),
            ["local", network] => (Verdict::Local, network),
            _ => return Err(number + 1),
        };
        let network = network_of(rule.1).ok_or(number + 1)?;
        rules.push(Rule {
            verdict: rule.0,
            network,
        });
    }
    Ok(rules)
}

fn network_of(word: &str) -> Option<Network> {
    let mut parts = word.split('/');
    let address: IpAddr = parts.next()?.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match parts.next() {
        None => most,
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
        Some(_) => return None,
    };
    let is_one = prefix <= most && parts.next().is_none();
    is_one.then_some(Network { address, prefix })
}

/// Returns hosts inside the networks of some rules, and next to them.
fn hosts(rules: &[Rule]) -> Vec<SocketAddr> {
    let mut hosts: Vec<IpAddr> = HOSTS.iter().map(|host| host.parse().unwrap()).collect();
    for rule in rules {
        let Network { address, prefix } = rule.network;
        let prefix = u32::from(prefix);
        hosts.push(address);
        match address {
            IpAddr::V4(ip) => {
                let last = 1_u32.checked_shl(32 - prefix).unwrap_or(0);
                hosts.push(IpAddr::V4((u32::from(ip) ^ last).into()));
                hosts.push(IpAddr::V4((u32::from(ip) ^ (last >> 1)).into()));
            }
            IpAddr::V6(ip) => {
                let last = 1_u128.checked_shl(128 - prefix).unwrap_or(0);
                hosts.push(IpAddr::V6((u128::from(ip) ^ last).into()));
                hosts.push(IpAddr::V6((u128::from(ip) ^ (last >> 1)).into()));
            }
        }
    }
    hosts.sort_unstable();
    hosts.dedup();
    hosts.into_iter().map(|ip| (ip, 5000).into()).collect()
}

/// Returns how the rules and the policy admit a source.
fn admits(config: &Config, rules: &[Rule], source: IpAddr) -> Admitted {
    let mut fitting = rules.iter().filter(|rule| is_in(rule.network, source));
    let proof = |is_local: bool| match config.prove || !is_local {
        true => Admitted::AfterProof,
        false => Admitted::AtOnce,
    };
    let is_local = admitted(&Config::new([0; 16]), source) == Admitted::AtOnce;
    match fitting.next().map(|rule| rule.verdict) {
        Some(Verdict::Deny) => Admitted::Never,
        Some(Verdict::Local) => proof(true),
        Some(Verdict::Allow) => proof(is_local),
        None => admitted(config, source),
    }
}

fn new_relay(config: &Config) -> Box<Relay<SEATS, 2048, 4>> {
    let mut relay = Box::new(Relay::new());
    relay.configure(config.clone());
    relay
}

/// Sources without a seat are served as the rules say.
fn check_newcomers(config: &Config, rules: &[Rule]) {
    let now = Instant::from_millis(0);
    for source in hosts(rules) {
        let mut relay = new_relay(config);
        relay.set_rules(rules.iter().copied());
        let mut reply = Reply::new();
        let event = relay.handle_datagram(now, source, b"Ada", &mut reply);
        let start: &[u8] = match admits(config, rules, source.ip()) {
            Admitted::AtOnce => b"* welcome Ada",
            Admitted::AfterProof => b"* to join, send: ",
            Admitted::Never => {
                assert!(reply.is_empty(), "{source} is answered");
                b""
            }
        };
        let is_strange = matches!(
            event,
            Event::Refused {
                why: Refusal::Source,
                ..
            }
        );
        assert!(
            is_strange || reply.starts_with(start),
            "{source}: {event:?}"
        );
        assert!(!is_strange || !is_unicast(source.ip()), "{source}");
    }
}

fn is_unicast(ip: IpAddr) -> bool {
    crate::dialect::is_unicast((ip, 1).into())
}

/// When rules come, the peers that are not served any more leave, and no others.
fn check_peers(config: &Config, rules: &[Rule]) {
    let now = Instant::from_millis(0);
    // everybody joins at once, and none leaves for want of a proof
    let config = Config {
        prove: false,
        ..config.clone()
    };
    let mut relay = new_relay(&config);
    let everybody = ["0.0.0.0", "::"].map(|address| Rule {
        verdict: Verdict::Local,
        network: Network {
            address: address.parse().unwrap(),
            prefix: 0,
        },
    });
    relay.set_rules(everybody);
    let mut expected = Vec::new();
    for source in hosts(rules).into_iter().take(SEATS) {
        relay.handle_datagram(now, source, b"Ada", &mut Reply::new());
        if relay.find(&source).is_some() {
            expected.push(source);
        }
    }
    relay.set_rules(rules.iter().copied());
    let mut left = 0;
    while let Some(expired) = relay.handle_timeout(now) {
        let Expired::Left(departed) = expired else {
            panic!("{expired:?}");
        };
        let address = departed.address;
        assert_eq!(departed.why, Departure::Removed, "{address}");
        let admits = admits(&config, rules, address.ip());
        assert_eq!(admits, Admitted::Never, "{address} is served");
        left += 1;
    }
    expected.retain(|source| admits(&config, rules, source.ip()) != Admitted::Never);
    let mut staying: Vec<_> = relay.peers().map(|peer| peer.address).collect();
    staying.sort_unstable();
    assert_eq!(staying, expected, "{left} left");
}
