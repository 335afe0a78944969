//! Admission: who is served, after which proof, and how much.

#![allow(clippy::unwrap_used, reason = "a test")]

mod proof;
mod room;
