//! The runtime of mixlet: memory, threads, files and the command line around the kernels of `mixlet-core`.
//!
//! * [`crowd`]: from a CSV of answers to labels, and to the workers to trust.
//! * [`mixture`]: from rows of many columns to classes, and to the columns that make them.
//! * [`models`]: language models: their configuration, weights, and what they say.
//! * [`rows`]: tables, arrays and pictures as packed bits or codes.
//! * [`table`], [`output`]: files that are read row by row, and written whole or not at all.
//! * [`report`]: pages with pictures. [`demo`]: the tour. [`cli`]: the command line.
//! * [`linear`]: products with weights; [`moe`]: layers of experts. [`threads`], [`simd`]: core's kernels over several threads and with wide vectors, with the same results.
//! * [`training`](mod@training): gradients of language models, and what is done with them.
//! * [`error`]: the one error, which names the file, the line and the remedy.
//!
#![doc = include_str!("../../README.md")]

pub mod cli;
pub mod crowd;
pub mod demo;
pub mod error;
pub mod linear;
pub mod mixture;
pub mod models;
pub mod moe;
pub mod output;
pub mod report;
pub mod rows;
pub mod simd;
pub mod table;
pub mod threads;
pub mod training;
