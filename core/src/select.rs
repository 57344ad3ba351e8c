//! Which workers, or columns, carry information, judged by what they say alone.
//!
//! Workers who know the truth agree in a way that chance does not explain: the mutual information of
//! two workers' answers is large where both depend on the class. A worker's *information* is the sum
//! over all others; the order by it is the order by quality in the one-coin model (arXiv:1711.09195),
//! and adversaries rank high too, since what they say is just as telling.
//!
//! ```text
//!   pairs::Pairs ─► one table of answer pairs per co-worker ─► information ─► sums, order, residue
//! ```
//!
//! The same holds for the columns of any mixture. Dense columns have pair tables of their own, [`columns`]; on them
//! stand [`stagewise`] EM, the [`relevance`] that forward and backward selection go by, and the [`tree`].
//!
//! *Why no pair matrix:* tables are made one worker at a time, through the tasks they answered; memory
//! is `workers · labels²` whatever the number of pairs, and time goes with the pairs of answers there are.

pub mod columns;
pub mod count;
pub mod information;
pub mod null;
pub mod pairs;
pub mod relevance;
pub mod residue;
pub mod stagewise;
pub mod tree;

pub use information::{Estimator, mutual_information};
pub use pairs::{Pairs, order_by_information, worker_information};
pub use residue::Residue;
