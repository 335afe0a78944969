//! What a program that was built without the feature `link` says about it.

use clap::Args;

/// How to get a program that links relays.
pub(crate) const UNLINKED: &str = "this kilochat was built without links between relays; cargo install --path host \
                               --features link";

/// The option that asks for a link.
#[derive(Args, Clone, Debug)]
pub struct LinkOptions {
    /// Link this relay with others
    #[arg(long, hide = true, value_parser = refuse, env = "KILOCHAT_LINK")]
    pub link: Option<core::convert::Infallible>,
}

fn refuse(_: &str) -> Result<core::convert::Infallible, &'static str> {
    Err(UNLINKED)
}
