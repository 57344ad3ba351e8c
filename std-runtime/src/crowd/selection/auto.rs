//! The number of workers, chosen without gold.

use mixlet_core::observations::Answers;

use super::Selection;
use crate::crowd::fit::FitOptions;
use crate::error::Result;

/// Answers that every task keeps, if it has them: fewer than three views do not identify a latent class.
pub const LEAST_ANSWERS: usize = 3;

pub(super) fn choose(
    answers: Answers<'_>,
    _options: &FitOptions,
    _progress: &mut dyn FnMut(usize, usize),
) -> Result<Selection> {
    let order = (0..answers.workers() as u32).collect();
    Ok(Selection::new(answers, order, answers.workers(), LEAST_ANSWERS))
}
