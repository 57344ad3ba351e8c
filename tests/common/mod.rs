//! What the tests across crates share: naive references, data sets, a generator of random numbers.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod bernoulli;
pub mod columns;
pub mod command;
pub mod crowd;
pub mod dawid_skene;
pub mod golden_models;
pub mod guarded;
pub mod linear;
pub mod moe;
pub mod moe_batches;
pub mod moe_reference;
pub mod nn;
pub mod nn_cases;
pub mod numbers;
pub mod one_coin;
pub mod optim;
pub mod panel;
pub mod random;
pub mod sampling;
pub mod shared;
pub mod small_models;
pub mod small_tokenizers;
pub mod sparse;
pub mod tape;
pub mod tensor_files;
pub mod tensors;
