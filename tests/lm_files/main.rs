//! Models as files: into mixlet's layout and back, into fewer bits, side by side, from the command line; and what is refused.

mod command;
#[path = "../common/mod.rs"]
mod common;
mod comparison;
mod folder;
#[cfg(unix)]
mod interrupted;
mod many_tensors;
mod naive;
mod quantised;
mod round_trip;
mod wrong_input;
