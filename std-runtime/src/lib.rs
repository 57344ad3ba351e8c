//! The runtime of mixlet: memory, threads, files and the command line around the kernels of `mixlet-core`.

pub mod cli;
pub mod crowd;
pub mod demo;
pub mod error;
pub mod output;
pub mod report;
pub mod simd;
pub mod table;
pub mod threads;
