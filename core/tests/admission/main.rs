//! Admission: who is served, after which proof, and how much.

#![allow(clippy::unwrap_used, reason = "a test")]

mod crowds;
mod orders;
mod pace;
mod proof;
mod room;
mod rules;
