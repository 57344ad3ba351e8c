//! Crowd answers: from a CSV of who said what to labels, and to which workers to trust.

pub mod answers;
pub mod generate;
pub mod ids;
pub mod read;
pub mod report;
