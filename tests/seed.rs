//! The Python programs that the protocol comes from, unmodified, against this relay.
#![cfg(unix)]
