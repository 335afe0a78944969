//! An mDNS responder (RFC 6762) for the addresses of one name. With the feature `probe` it probes, announces
//! and defends the name; without, its records do not claim that the name belongs to it alone.

#[cfg(feature = "probe")]
mod claim;
mod message;
#[cfg(test)]
mod tests;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use heapless::{String, Vec};
use kilochat_core::{Instant, Network};

#[cfg(feature = "probe")]
use self::claim::Claim;
use self::message::{A, Form, HEADER, INTERNET, Record, Records, asked, number, push_records};
use crate::config::{Config, NAME_MAX};

pub(crate) const PORT: u16 = 5353;
pub(crate) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
pub(crate) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Returns the group of an address family and its hardware address (RFC 1112 section 6.4, RFC 2464 section
/// 7).
pub(crate) fn group(is_v6: bool) -> (IpAddr, [u8; 6]) {
    if is_v6 {
        (GROUP_V6.into(), [0x33, 0x33, 0, 0, 0, 0xfb])
    } else {
        (GROUP_V4.into(), [0x01, 0x00, 0x5e, 0, 0, 0xfb])
    }
}

/// Maximum length of a message in bytes: header, question, the records of two names.
const MESSAGE_MAX: usize = 256;

/// Minimum time between two multicasts of a record (section 6).
const INTERVAL: Duration = Duration::from_secs(1);

/// Time to live of a record in seconds (section 10), and of a record for a legacy resolver (section
/// 6.7).
const TTL_S: u16 = 120;
const LEGACY_TTL_S: u16 = 10;

/// In the flags of a message: it is a response.
const RESPONSE: u16 = 0x8000;
/// In the flags of a message: the opcode, which is zero.
const OPCODE: u16 = 0x7800;

type Message = Vec<u8, MESSAGE_MAX>;

/// The responder.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    name: String<NAME_MAX>,
    #[cfg(feature = "probe")]
    claim: Claim,
    /// Until when records are not multicast again: for the IPv4 group and for the IPv6 group, and in each
    /// for A and for AAAA records. Each group counts as a network of its own (section 20).
    quiet_until: [[Instant; 2]; 2],
}

/// A response, and whether it is unicast or goes to the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) payload: Message,
    pub(crate) is_unicast: bool,
}

impl Responder {
    /// Creates a responder for the configured name. It begins to probe within a quarter of a second.
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        #[cfg(not(feature = "probe"))]
        let _ = now;
        Self {
            name: config.name.clone(),
            #[cfg(feature = "probe")]
            claim: Claim::new(config, now),
            quiet_until: Default::default(),
        }
    }

    /// Returns the response to a query from `source`, with those of the addresses that were asked
    /// for, and notices whether another host claims the name.
    ///
    /// Returns `None` if there is no record to send, if it was multicast within the last second, or while it
    /// is probed whether the name is free.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        message: &[u8],
        source: SocketAddr,
        networks: &[Network],
    ) -> Option<Answer> {
        let flags = number(message, 2)? & (RESPONSE | OPCODE);
        let is_legacy = source.port() != PORT;
        let mut asked = asked(message, &self.name)?;
        #[cfg(feature = "probe")]
        if flags == RESPONSE && !is_legacy {
            self.heed_response(now, message, asked.end, networks);
        }
        if flags != 0 || !asked.v4 && !asked.v6 {
            return None;
        }
        #[cfg(feature = "probe")]
        if !self.claim.is_settled() {
            self.heed_probe(now, message, asked.end, networks);
            return None;
        }
        // A query from another port is from a legacy resolver (section 6.7), whose response is that
        // of a unicast name server: with the id and the questions of its query.
        let is_unicast = asked.is_unicast || is_legacy;
        let (start, form) = if is_legacy {
            (
                message.get(..asked.end)?,
                Form {
                    name: asked.name,
                    class: INTERNET,
                    ttl_s: LEGACY_TTL_S,
                },
            )
        } else {
            (&[0; HEADER][..], Form::NEW)
        };
        let is_limited = !is_unicast;
        // one that probes for the name is always told that it is taken
        #[cfg(feature = "probe")]
        let is_limited = is_limited && !asked.is_probe;
        let [v4, v6] = self.quiet_until.get_mut(usize::from(source.is_ipv6()))?;
        if is_limited {
            asked.v4 &= now >= *v4;
            asked.v6 &= now >= *v6;
        }
        let mut payload = Message::from_slice(start).ok()?;
        let name = &self.name;
        let is_wanted = |kind, data: &[u8]| {
            let (is_asked, quiet_until) = if kind == A {
                (asked.v4, &mut *v4)
            } else {
                (asked.v6, &mut *v6)
            };
            // what the one that asks knows (section 7.1)
            let mut known = Records::answers(message, asked.end, name);
            let is_this =
                |known: Record<'_>| known.is(kind, data) && known.ttl_s >= u32::from(TTL_S / 2);
            let is_wanted = is_asked && (is_legacy || !known.any(is_this));
            if is_wanted && is_limited {
                *quiet_until = now.after(INTERVAL);
            }
            is_wanted
        };
        let records = push_records(&mut payload, name, form, networks, is_wanted)?;
        // an authoritative response, and the numbers of records in each section
        payload.get_mut(2..4)?.copy_from_slice(&[0x84, 0]);
        payload
            .get_mut(6..HEADER)?
            .copy_from_slice(&[0, records, 0, 0, 0, 0]);
        (records > 0).then_some(Answer {
            payload,
            is_unicast,
        })
    }
}
