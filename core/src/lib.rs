//! Allocation-free, `no_std` kernels for mixtures.
//!
//! ```text
//!   answers.csv ─► observations ─► em::start ─► em::fit ─► responsibilities, parameters
//!                        └───────► select: pairwise information ─► order of workers, residue
//! ```
//!
//! * [`observations`]: sparse answers of a crowd, by task and by worker; dense rows of bits or codes.
//! * [`em`]: expectation–maximisation; Dawid–Skene, one coin; starts.
//! * [`select`]: pairwise information of workers and of columns, order, residue; splits, relevance and trees of mixtures.
//! * [`small`]: dense algebra of small matrices.
//! * [`numeric`]: exponentials, logarithms, log-sum-exp over slices.
//!
//! Kernels take slices; nothing here allocates, and no input makes them panic.
#![no_std]

pub mod em;
pub mod numeric;
pub mod observations;
pub mod select;
pub mod small;

pub use rand_core;
