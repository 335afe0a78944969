//! Admission: which sources are served, what proof they need, and the limits.

#![allow(clippy::unwrap_used, reason = "a test")]

mod crowds;
mod neighbours;
mod orders;
mod pace;
mod proof;
mod room;
mod rules;
