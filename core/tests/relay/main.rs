//! The plain dialect, one situation at a time: each test reads as a conversation.

#![allow(clippy::unwrap_used, reason = "a test")]

mod commands;
mod keeping;
mod lines;
mod room;
mod seats;
