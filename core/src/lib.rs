//! Allocation-free, `no_std` kernels for mixtures.
//!
//! ```text
//!   answers.csv ─► observations ─► em::start ─► em::fit ─► responsibilities, parameters
//!                        └───────► select: pairwise information ─► order of workers, residue
//! ```
//!
//! * [`observations`]: sparse answers of a crowd, by task and by worker.
//! * [`em`]: expectation–maximisation; Dawid–Skene, one coin; starts.
//! * [`select`]: pairwise information, order of workers, residue.
//! * [`small`]: dense algebra of small matrices.
//! * [`numeric`]: exponentials, logarithms, log-sum-exp over slices.
//!
//! Kernels take slices; nothing here allocates, and no input makes them panic.
#![no_std]

pub mod activation;
pub mod arch;
pub mod em;
pub mod linear;
pub mod matrix;
pub mod moe;
pub mod numeric;
pub mod observations;
pub mod select;
pub mod small;
pub mod weights;

pub use half;
pub use rand_core;
