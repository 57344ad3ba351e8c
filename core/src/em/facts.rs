//! What is known about rows beside their answers.

use core::ops::Range;

use super::{EmError, UNKNOWN, check_length, check_number};

/// What is known about rows beside their answers; the default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowFacts<'a> {
    /// `[rows]`: the class of each row, or [`UNKNOWN`]. A known class masks the others.
    pub known_classes: Option<&'a [u32]>,
    /// `[rows]`: how often each row counts.
    pub weights: Option<&'a [f64]>,
}

impl<'a> RowFacts<'a> {
    /// Checks lengths and ranges against the model's shape.
    pub fn check(&self, rows: usize, classes: usize) -> Result<(), EmError> {
        if let Some(known) = self.known_classes {
            check_length("known classes", known.len(), rows)?;
            let wrong = |&(_, &class): &(usize, &u32)| class != UNKNOWN && class as usize >= classes;
            if let Some((row, &class)) = known.iter().enumerate().find(wrong) {
                return Err(EmError::KnownClass { row, class, classes });
            }
        }
        if let Some(weights) = self.weights {
            check_length("weights", weights.len(), rows)?;
            weights.iter().try_for_each(|&weight| check_number("weight", weight))?;
        }
        Ok(())
    }

    /// The weights of a range of rows.
    #[inline(always)]
    pub(crate) fn weights_of(&self, rows: Range<usize>) -> Option<&'a [f64]> {
        self.weights.and_then(|weights| weights.get(rows))
    }

    /// Replaces `values` `[rows, classes]` of every other class than a row's known one by `masked`.
    #[inline(always)]
    pub(crate) fn mask(&self, rows: Range<usize>, classes: usize, values: &mut [f64], masked: f64) {
        let Some(known) = self.known_classes.and_then(|known| known.get(rows)) else {
            return;
        };
        for (row, &class) in values.chunks_exact_mut(classes.max(1)).zip(known) {
            if class != UNKNOWN {
                let others = row.iter_mut().enumerate().filter(|&(other, _)| other != class as usize);
                others.for_each(|(_, value)| *value = masked);
            }
        }
    }
}
