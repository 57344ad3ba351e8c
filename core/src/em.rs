//! Expectation maximisation for crowds, and its starts.

pub mod spectral;
