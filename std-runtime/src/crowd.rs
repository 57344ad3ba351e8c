//! Crowd answers: from a CSV of who said what to labels, and to which workers to trust.

pub mod agreement;
pub mod analysis;
pub mod answers;
pub mod ask_next;
pub mod checks;
pub mod fit;
pub mod generate;
pub mod ids;
pub mod model;
pub mod page;
pub mod read;
pub mod report;
pub mod score;
pub mod selection;
pub mod workers;
pub mod write;

pub use answers::Crowd;
