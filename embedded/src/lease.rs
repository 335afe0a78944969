//! The IPv4 address: the DHCP lease, or the fallback while there is none.

use core::time::Duration;

use kilochat_core::{Instant, Network};

use crate::addresses::link_local_v4;
use crate::config::Config;
use crate::log::log;
use crate::stack::phy::Device;
use crate::stack::{LeaseEvent, Stack};

/// Time without a lease after which a node uses its fallback address.
const PATIENCE: Duration = Duration::from_secs(10);

/// The state of the IPv4 address of a node with DHCP.
pub(crate) struct Lease {
    /// The static address or, if there is none, a link-local one.
    fallback: Option<Network>,
    /// When to use the fallback address. `None` while there is an IPv4 address.
    fall_back_at: Option<Instant>,
}

impl Lease {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let link_local = Network {
            address: link_local_v4(config.hardware).into(),
            prefix: 16,
        };
        Self {
            fallback: config.static_ipv4().or(Some(link_local)),
            fall_back_at: config.dhcp.then(|| now.after(PATIENCE)),
        }
    }

    /// Returns when to call [`follow`](Self::follow) even if nothing has happened.
    pub(crate) fn fall_back_at(&self) -> Option<Instant> {
        self.fall_back_at
    }

    /// Sets the IPv4 address of the stack.
    pub(crate) fn follow<D: Device>(&mut self, stack: &mut Stack<D>, now: Instant) {
        match stack.poll_dhcp() {
            Some(LeaseEvent::Gained(network, router)) => {
                self.fall_back_at = None;
                stack.set_ipv4(Some(network), router);
            }
            // smoltcp reports this before the first lease, too
            Some(LeaseEvent::Lost) if self.fall_back_at.is_none() => {
                log!(warn, "the DHCP lease is lost");
                self.fall_back_at = Some(now.after(PATIENCE));
                stack.set_ipv4(None, None);
            }
            Some(LeaseEvent::Lost) | None => {}
        }
        if self.fall_back_at.is_some_and(|then| now >= then) {
            log!(
                warn,
                "no DHCP lease after {=u64} s: using the fallback address, and still requesting one",
                PATIENCE.as_secs()
            );
            self.fall_back_at = None;
            stack.set_ipv4(self.fallback, None);
        }
    }
}
