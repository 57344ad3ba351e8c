#![no_std]
#![doc = "placeholder"]
pub mod observations;
