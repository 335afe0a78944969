#![no_std]
#![forbid(unsafe_code)]
//! The relay of kilochat as a state machine.

mod text;

pub use text::{DATAGRAM_MAX, LINE_MAX, NAME_MAX, Name, SEPARATOR, clean};
