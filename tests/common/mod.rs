//! What the tests across crates share: naive references, data sets, a generator of random numbers.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod command;
pub mod crowd;
pub mod dawid_skene;
pub mod guarded;
pub mod linear;
pub mod one_coin;
pub mod panel;
pub mod random;
pub mod shared;
