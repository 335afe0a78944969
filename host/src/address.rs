//! The relay's address on the command line: HOST[:PORT].

use core::net::{IpAddr, SocketAddr};
use std::net::ToSocketAddrs;

use kilochat_core::PORT;

use crate::Error;

/// Resolves `text` to addresses, at least one.
///
/// # Errors
///
/// If the syntax is wrong, or the system cannot resolve the host name.
pub(crate) fn find(text: &str) -> Result<Vec<SocketAddr>, Error> {
    let (host, port) = host_and_port(text, PORT).map_err(Error::Usage)?;
    let addresses: Vec<SocketAddr> = (host.as_str(), port)
        .to_socket_addrs()
        .map_err(|error| Error::Failure(format!("cannot find {host}: {error}")))?
        .collect();
    if addresses.is_empty() {
        return Err(Error::Failure(format!("{host} has no address")));
    }
    Ok(addresses)
}

/// Splits HOST[:PORT] into host and port. `port` is the default.
///
/// # Errors
///
/// If the host is missing or the port is invalid: a message for the user.
fn host_and_port(text: &str, port: u16) -> Result<(String, u16), String> {
    let text = text.trim();
    let (host, written) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err(format!("{text}: the ] is missing"));
        };
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(format!("{text}: write [ADDRESS]:PORT")),
        }
    } else if text.parse::<IpAddr>().is_ok() || text.matches(':').count() > 1 {
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(format!("{text:?}: write HOST or HOST:PORT"));
    }
    let port = match written.map(str::parse) {
        None => port,
        Some(Ok(port)) if port != 0 => port,
        Some(_) => return Err(format!("{text}: a port is a number from 1 to 65535")),
    };
    Ok((host.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read_as_people_write_them() {
        let good = [
            ("relay.local", "relay.local", 10888),
            ("relay.local:7", "relay.local", 7),
            ("10.0.0.1", "10.0.0.1", 10888),
            ("10.0.0.1:99", "10.0.0.1", 99),
            ("::1", "::1", 10888),
            ("fe80::1%eth0", "fe80::1%eth0", 10888),
            ("[::1]", "::1", 10888),
            ("[::1]:99", "::1", 99),
        ];
        for (text, host, port) in good {
            assert_eq!(
                host_and_port(text, 10888),
                Ok((host.into(), port)),
                "{text}"
            );
        }
        for text in [
            "", " ", ":1", "a:", "a:0", "a:65536", "a:x", "[::1", "[::1]x", "a b", "[]:1",
        ] {
            assert!(host_and_port(text, 10888).is_err(), "{text}");
        }
    }
}
