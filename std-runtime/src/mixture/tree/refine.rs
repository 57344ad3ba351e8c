//! The leaves of a tree as the classes of one mixture of all columns, refined by EM.
//!
//! A node looks at its own columns, and what a path got wrong stays wrong. As classes of one mixture the leaves look at
//! all columns, and rows that went the wrong way come back. Few rounds are best: with many classes more of them fit the
//! rows at hand and not the next ones.

use mixlet_core::em::{FitSettings, Round};

use crate::error::Result;
use crate::mixture::fit::{self, FitOptions, MixtureFit, Start, Task};

/// How leaves are refined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefineOptions {
    /// Rounds of EM with all columns; with 0 the classes are what the leaves' rows say.
    pub rounds: u32,
    /// Added to the expected count of every code, column and class.
    pub pseudocount: f64,
}

impl Default for RefineOptions {
    /// What held-out handwritten digits liked best; see the benchmark of columns.
    fn default() -> Self {
        Self { rounds: 3, pseudocount: FitOptions::default().pseudocount }
    }
}

/// The mixture whose classes begin as the leaves of a tree, in their order.
///
/// One maximisation from leaf posteriors `[rows, leaves]`, as [`Tree::leaf_posteriors`](super::Tree::leaf_posteriors)
/// gives them, then so many rounds of expectation and maximisation; `observe(0, round)` sees the mixture before each
/// round and at the end.
pub fn refine(
    task: Task<'_>,
    leaves: &[f64],
    options: RefineOptions,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<MixtureFit> {
    let RefineOptions { rounds, pseudocount } = options;
    let classes = leaves.len() / task.rows.rows().max(1);
    let start = Start::Parameters(fit::parameters_of(task, leaves, classes, pseudocount)?);
    // The last round of EM only looks.
    let settings = FitSettings { rounds: rounds.saturating_add(1), tolerance: 0.0 };
    fit::fit(task, classes, &FitOptions { start, settings, pseudocount, ..FitOptions::default() }, observe)
}
