//! Request heads and their answers. Pure functions of bytes.

use core::fmt::Write as _;
use core::net::{IpAddr, Ipv6Addr};

use tungstenite::handshake::server::{Request as Upgrade, create_response};
use tungstenite::http::{HeaderName, HeaderValue, Version};

use super::files::{self, File};

/// Maximum length of a request head in bytes.
pub(super) const HEAD_MAX: usize = 8 << 10;

/// Maximum number of fields in a request head.
const FIELDS_MAX: usize = 64;

/// The result of parsing the bytes so far.
#[derive(Debug)]
pub(super) enum Parsed {
    /// The beginning of a head.
    Partial,
    /// A head of `length` bytes.
    Request { request: Request, length: usize },
    /// A head whose request is rejected.
    Rejected(Rejection),
}

/// A request from a page that may use this server.
#[derive(Debug)]
pub(super) struct Request {
    /// What is requested.
    pub(super) wanted: Wanted,
    /// Whether the answer is sent without its body.
    is_head: bool,
    takes_deflate: bool,
    host: Authority,
}

/// What a request is for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// A file of the page.
    File(&'static File),
    /// A file of the page, of which the browser has this version.
    NotModified(&'static File),
    /// The address of the page as a QR code.
    Code { is_secure: bool },
    /// A WebSocket; the value of `Sec-WebSocket-Accept`.
    Socket(String),
}

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// It is not HTTP/1.
    Malformed,
    /// The head has more than [`HEAD_MAX`] bytes or [`FIELDS_MAX`] fields.
    HeadTooLong,
    /// The Host is not a name of this server: DNS rebinding.
    WrongHost,
    /// The page that sends it is not from this server.
    WrongOrigin,
    /// The method is neither GET nor HEAD.
    Method,
    /// There is no such path.
    NotFound,
    /// The path is that of the WebSocket, but it does not request one.
    NoUpgrade,
    /// All connections are taken, or all that one address may have.
    Full,
}

impl Rejection {
    /// All reasons, in the order of their counters.
    pub(super) const ALL: [Self; 8] = [
        Self::Malformed,
        Self::HeadTooLong,
        Self::WrongHost,
        Self::WrongOrigin,
        Self::Method,
        Self::NotFound,
        Self::NoUpgrade,
        Self::Full,
    ];

    /// Returns the reason in a few words, for the browser and the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::HeadTooLong => "head too long",
            Self::WrongHost => "wrong host",
            Self::WrongOrigin => "wrong origin",
            Self::Method => "method",
            Self::NotFound => "not found",
            Self::NoUpgrade => "no upgrade",
            Self::Full => "full",
        }
    }

    const fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::HeadTooLong => "431 Request Header Fields Too Large",
            Self::WrongHost | Self::WrongOrigin => "403 Forbidden",
            Self::Method => "405 Method Not Allowed",
            Self::NotFound => "404 Not Found",
            Self::NoUpgrade => "426 Upgrade Required",
            Self::Full => "503 Service Unavailable",
        }
    }

    /// Returns the fields that only this answer has.
    const fn fields(self) -> &'static str {
        match self {
            Self::Method => "Allow: GET, HEAD\r\n",
            Self::NoUpgrade => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Self::Full => "Retry-After: 10\r\n",
            Self::Malformed
            | Self::HeadTooLong
            | Self::WrongHost
            | Self::WrongOrigin
            | Self::NotFound => "",
        }
    }

    /// Returns the whole answer.
    pub(super) fn answer(self) -> Vec<u8> {
        let body = format!("{}\n", self.as_str());
        let fields = format!("{}Content-Type: text/plain\r\n", self.fields());
        answer(self.status(), &fields, None, body.as_bytes(), false)
    }
}

/// The names that a Host field may have, in addition to those that an attacker cannot have in the
/// DNS.
#[derive(Debug)]
pub(super) struct Names(Vec<String>);

impl Names {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| host_key(&name)).collect())
    }

    /// Returns whether a browser cannot have reached this host name through a hostile DNS server.
    fn contain(&self, host: &str) -> bool {
        let host = host_key(host);
        is_literal(&host)
            || !host.contains('.')
            || host.ends_with(".local")
            || host.ends_with(".localhost")
            || self.0.contains(&host)
    }
}

/// Returns the form in which host names are compared.
fn host_key(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix('.').unwrap_or(&host).into()
}

/// The host and port of a Host field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    /// In lower case; an IPv6 address has its brackets.
    host: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rfind(':') {
            Some(colon) if !text[colon..].contains(']') => {
                (&text[..colon], text[colon + 1..].trim())
            }
            _ => (text, ""),
        };
        let port = match port {
            "" => None,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_host = is_literal(host) || host.bytes().all(is_name) && !host.is_empty();
        (is_host && host.len() <= 255).then(|| Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Returns whether the value of an Origin field means a page from this host and port.
    fn is_origin(&self, origin: &str) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        Self::parse(authority).is_some_and(|other| {
            other.host == self.host && other.port.unwrap_or(default) == self.port.unwrap_or(default)
        })
    }

    fn is_v6(&self) -> bool {
        self.host.starts_with('[')
    }
}

impl core::fmt::Display for Authority {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(&self.host)?;
        self.port
            .map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

/// Returns whether a host is an IPv4 address, or an IPv6 address in brackets, perhaps with a zone
/// (RFC 6874).
fn is_literal(host: &str) -> bool {
    let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return host.parse::<core::net::Ipv4Addr>().is_ok();
    };
    let (address, zone) = inner.split_once('%').unwrap_or((inner, "0"));
    let is_zone = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    address.parse::<Ipv6Addr>().is_ok() && zone.bytes().all(is_zone)
}

/// Reads a request head, and decides what to answer.
pub(super) fn parse(bytes: &[u8], names: &Names) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return Parsed::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Rejected(Rejection::HeadTooLong);
        }
        Err(_) => return Parsed::Rejected(Rejection::Malformed),
    };
    match request(&head, names) {
        Ok(request) => Parsed::Request { request, length },
        Err(why) => Parsed::Rejected(why),
    }
}

fn request(head: &httparse::Request<'_, '_>, names: &Names) -> Result<Request, Rejection> {
    let target = head.path.ok_or(Rejection::Malformed)?;
    let mut host = single(head, "host")?
        .and_then(Authority::parse)
        .ok_or(Rejection::Malformed)?;
    let mut path = target;
    // RFC 9112 section 3.2.2: the host of an absolute target replaces the field
    if let Some(rest) = target.strip_prefix("http://") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        host = Authority::parse(&rest[..end]).ok_or(Rejection::Malformed)?;
        path = if end == rest.len() { "/" } else { &rest[end..] };
    }
    if !names.contain(&host.host) {
        return Err(Rejection::WrongHost);
    }
    if single(head, "origin")?.is_some_and(|origin| !host.is_origin(origin)) {
        return Err(Rejection::WrongOrigin);
    }
    let is_head = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Rejection::Method),
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let wanted = match path {
        "/ws" if is_head => return Err(Rejection::NoUpgrade),
        "/ws" => Wanted::Socket(accept(head).ok_or(Rejection::NoUpgrade)?),
        "/qr.svg" => Wanted::Code {
            is_secure: query == "https",
        },
        _ => {
            let file = files::find(path).ok_or(Rejection::NotFound)?;
            let has_it = single(head, "if-none-match")?
                .is_some_and(|tags| tags == "*" || tags.contains(&file.tag()));
            if has_it {
                Wanted::NotModified(file)
            } else {
                Wanted::File(file)
            }
        }
    };
    Ok(Request {
        wanted,
        is_head,
        takes_deflate: takes_deflate(head),
        host,
    })
}

/// Returns whether the answer may be in the coding `deflate` (RFC 9110 section 12.5.3).
fn takes_deflate(head: &httparse::Request<'_, '_>) -> bool {
    let is_coding =
        |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("accept-encoding");
    let fields = head.headers.iter().filter(is_coding);
    let values = fields.filter_map(|field| core::str::from_utf8(field.value).ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        name.trim().eq_ignore_ascii_case("deflate") && weight.parse().is_ok_and(|q: f32| q > 0.0)
    })
}

/// Returns the value of a field that may occur at most once in a head.
fn single<'h>(head: &httparse::Request<'h, '_>, name: &str) -> Result<Option<&'h str>, Rejection> {
    let mut found = head
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name));
    let Some(first) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(Rejection::Malformed);
    }
    let value: &'h [u8] = first.value;
    core::str::from_utf8(value)
        .map(|value| Some(value.trim()))
        .map_err(|_| Rejection::Malformed)
}

/// Returns the value of `Sec-WebSocket-Accept` if a head requests a WebSocket (RFC 6455 section 4.2.1)
/// and has no body.
fn accept(head: &httparse::Request<'_, '_>) -> Option<String> {
    let mut upgrade = Upgrade::new(());
    *upgrade.version_mut() = match head.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let has_body =
            name == "transfer-encoding" || name == "content-length" && field.value != b"0";
        if has_body {
            return None;
        }
        upgrade
            .headers_mut()
            .append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    let response = create_response(&upgrade).ok()?;
    let accept = response.headers().get("sec-websocket-accept")?;
    Some(accept.to_str().ok()?.into())
}

impl Request {
    /// Returns the whole answer. `reached` is an address of this server for other machines, which
    /// the QR code contains if the browser runs on this machine.
    pub(super) fn answer(&self, reached: Option<&str>) -> Vec<u8> {
        let (status, fields, body) = match &self.wanted {
            Wanted::Socket(accept) => {
                let fields = format!(
                    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n"
                );
                return head("101 Switching Protocols", &fields, Some(&self.host)).into_bytes();
            }
            Wanted::File(file) if self.takes_deflate => {
                let fields = format!("Content-Encoding: deflate\r\n{}", file.fields());
                ("200 OK", fields, file.deflated().to_vec())
            }
            Wanted::File(file) => ("200 OK", file.fields(), file.body.to_vec()),
            Wanted::NotModified(file) => {
                let fields = format!("Connection: close\r\n{}", file.fields());
                return head("304 Not Modified", &fields, Some(&self.host)).into_bytes();
            }
            Wanted::Code { is_secure } => {
                let address = self.address(*is_secure, reached);
                let fields = "Content-Type: image/svg+xml\r\nCache-Control: no-store\r\n".into();
                ("200 OK", fields, super::code::svg(&address).into_bytes())
            }
        };
        answer(status, &fields, Some(&self.host), &body, self.is_head)
    }

    /// Returns the address of the page for other machines.
    fn address(&self, is_secure: bool, reached: Option<&str>) -> String {
        let host = host_key(&self.host.host);
        let is_loopback = host == "localhost"
            || host.ends_with(".localhost")
            || host
                .trim_matches(['[', ']'])
                .parse()
                .is_ok_and(|ip: IpAddr| ip.is_loopback());
        match reached {
            Some(reached) if is_loopback => reached.into(),
            _ => format!("http{}://{}/", if is_secure { "s" } else { "" }, self.host),
        }
    }
}

fn answer(
    status: &str,
    fields: &str,
    host: Option<&Authority>,
    body: &[u8],
    is_head: bool,
) -> Vec<u8> {
    let fields = format!(
        "Connection: close\r\nContent-Length: {}\r\n{fields}",
        body.len()
    );
    let mut answer = head(status, &fields, host).into_bytes();
    if !is_head {
        answer.extend_from_slice(body);
    }
    answer
}

/// Returns the head of an answer. Its last fields forbid the page to load files from elsewhere, and
/// other pages to embed it.
fn head(status: &str, fields: &str, host: Option<&Authority>) -> String {
    let mut head = format!("HTTP/1.1 {status}\r\n{fields}");
    // older browsers do not take a WebSocket for 'self'; the grammar of sources has no IPv6 address
    let sockets = match host {
        Some(host) if !host.is_v6() => format!(" ws://{host} wss://{host}"),
        _ => String::new(),
    };
    // writing to a string does not fail
    let _ = write!(
        head,
        "X-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\
         Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
         img-src 'self'; connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'\r\n\r\n"
    );
    head
}

#[cfg(test)]
mod tests;
