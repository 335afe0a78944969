//! The plain dialect, one situation in each test. Each test reads as a conversation.

#![allow(clippy::unwrap_used, reason = "a test")]

mod commands;
mod keeping;
mod lines;
mod private;
mod room;
mod seats;
