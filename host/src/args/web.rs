//! The options of the page in a browser.

use clap::Args;
use clap::builder::FalseyValueParser;

use super::{Bind, LogFormat, bind_address};

/// The options of `kilochat relay` for the page.
#[derive(Args, Clone, Debug)]
pub struct PageOptions {
    /// Also serve a page for browsers, over TCP [default address: that of the relay]
    #[arg(long, value_name = "IP[:PORT]", num_args = 0..=1, require_equals = true,
          default_missing_value = "on", value_parser = web_address, env = "KILOCHAT_WEB")]
    pub web: Option<WebAddress>,

    /// The other options.
    #[command(flatten)]
    pub options: WebOptions,
}

/// The options that `kilochat relay` and `kilochat web` have.
#[derive(Args, Clone, Debug)]
pub struct WebOptions {
    /// Name by which browsers reach the page, if it is in the DNS; repeat it for several. Addresses, names
    /// without a dot or in .local and this machine's name are always allowed
    #[arg(
        long,
        value_name = "NAME",
        env = "KILOCHAT_WEB_NAME",
        value_delimiter = ','
    )]
    pub web_name: Vec<String>,

    /// Maximum number of connections from browsers
    #[arg(long, value_name = "N", default_value_t = 512, env = "KILOCHAT_WEB_CONNECTIONS",
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub web_connections: u16,

    /// Maximum number of connections from the browsers of one address
    #[arg(long, value_name = "N", default_value_t = 16, env = "KILOCHAT_WEB_PER_ADDRESS",
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub web_per_address: u16,
}

/// Where a relay serves the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebAddress {
    /// Nowhere.
    Off,
    /// At the relay's addresses and port.
    Same,
    /// At another address.
    At(Bind),
}

/// `kilochat web`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kilochat web                              in front of the relay on this machine
  kilochat web 192.168.1.5                  ... on another one, or a board
  kilochat web boat --listen 0.0.0.0:80     at the port that browsers try first

Each page in a browser is a client of the relay. It is served to local networks only, without encryption. For \
https put a proxy in front of it, and name its host with --web-name.

Ctrl-C ends it. SIGUSR1 logs statistics.")]
pub struct WebArguments {
    /// Address of the relay: a name, an IPv4 or an IPv6 address ([ADDRESS]:PORT with a port)
    #[arg(
        value_name = "HOST[:PORT]",
        default_value = "localhost",
        env = "KILOCHAT_HOST"
    )]
    pub host: String,

    /// Address to listen on; repeat it for several [default: all addresses, port 10888]
    #[arg(long, value_name = "IP[:PORT]", value_parser = bind_address, env = "KILOCHAT_LISTEN", value_delimiter = ',')]
    pub listen: Vec<Bind>,

    /// The other options.
    #[command(flatten)]
    pub options: WebOptions,

    /// Also serve browsers from outside the local networks (there is no encryption)
    #[arg(long, env = "KILOCHAT_OPEN", value_parser = FalseyValueParser::new())]
    pub open: bool,

    /// Log warnings and errors only
    #[arg(long, short, env = "KILOCHAT_QUIET", value_parser = FalseyValueParser::new())]
    pub quiet: bool,

    /// Format of the log lines on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "KILOCHAT_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// Parses the value of `--web`; as an environment variable it may be that of a switch.
fn web_address(text: &str) -> Result<WebAddress, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "y" | "yes" | "t" | "true" => Ok(WebAddress::Same),
        "0" | "off" | "n" | "no" | "f" | "false" => Ok(WebAddress::Off),
        _ => bind_address(text).map(WebAddress::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_switched_or_has_an_address() {
        assert_eq!(web_address("on"), Ok(WebAddress::Same));
        assert_eq!(web_address("False"), Ok(WebAddress::Off));
        let Ok(WebAddress::At(bind)) = web_address("0.0.0.0:80") else {
            panic!("it is an address");
        };
        assert_eq!(bind.at(10888), "0.0.0.0:80".parse().unwrap());
        assert!(web_address("maybe").is_err());
    }
}
