//! Allocation-free, `no_std` kernels for mixtures.
//!
//! ```text
//!   answers, bits, codes ─► observations ─► em::start ─► em::fit ─► responsibilities, parameters
//!                                 └───────► select: pairwise information ─► order, residue, stages, tree
//!
//!   tokens ─► moe: router ─► routing ─► dispatch plan ─► gather ─► experts ─► combine ─► tokens
//!                                                            weights ─► linear ─┘
//! ```
//!
//! * [`observations`]: sparse answers of a crowd, by task and by worker; dense rows of bits or codes.
//! * [`em`]: expectation–maximisation; Dawid–Skene, one coin; mixtures of binary and of categorical columns; starts.
//! * [`select`]: pairwise information of workers and of columns, order, residue; splits, relevance and trees of mixtures.
//! * [`moe`]: mixture of experts: routers, dispatch plan, experts, losses.
//! * [`linear`], [`weights`], [`matrix`]: products with weights in five formats; [`arch`]: those of one instruction set.
//! * [`nn`], [`activation`]: layers of language models around the experts: embedding, norms, attention, cross entropy.
//! * [`optim`]: AdamW, Adafactor, clipping, schedules, the scan for bad gradients.
//! * [`small`]: dense algebra of small matrices.
//! * [`numeric`]: exponentials, logarithms, log-sum-exp over slices.
//!
//! Kernels take slices; nothing here allocates, and no input makes them panic.
#![no_std]

pub mod activation;
pub mod arch;
pub mod em;
mod lanes;
pub mod linear;
pub mod matrix;
pub mod moe;
pub mod nn;
pub mod numeric;
pub mod observations;
pub mod optim;
mod real;
pub mod select;
pub mod small;
mod sort;
pub mod weights;

pub use half;
pub use rand_core;
