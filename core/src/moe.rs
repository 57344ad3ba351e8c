//! Mixture-of-experts layers.
//!
//! * [`experts`]: feed-forward networks, each over its own run of rows.

pub mod experts;
