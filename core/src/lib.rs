#![no_std]
#![doc = "placeholder"]
pub mod em;
pub mod observations;
pub mod small;

/// The crate whose `Rng` every caller-brought generator implements.
pub use rand_core;
