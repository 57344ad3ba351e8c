//! The columns a dense mixture looks at.

use super::{EmError, check_length};
use crate::observations::{WORD_BITS, row_words};

/// The columns that the expectation uses; the default is all.
///
/// With only some, responsibilities, log-likelihood and log-prior are those of the active columns. The
/// maximisation still updates every column, unless it is `partial`: then the others stay as they are.
///
/// ```
/// # use mixlet_core::em::ActiveColumns;
/// let active = ActiveColumns { mask: Some(&[0b101]), partial: false };
/// assert!(active.contains(2) && !active.contains(1));
/// assert!(ActiveColumns::default().contains(1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActiveColumns<'a> {
    /// `[row_words(columns)]`: bit `c % 64` of word `c / 64` says whether column `c` is active; none: all are.
    pub mask: Option<&'a [u64]>,
    /// Only active columns are maximised.
    pub partial: bool,
}

impl ActiveColumns<'_> {
    /// Whether the expectation uses a column.
    #[inline(always)]
    pub fn contains(&self, column: usize) -> bool {
        self.word(column / WORD_BITS) >> (column % WORD_BITS) & 1 == 1
    }

    /// Whether the maximisation updates a column.
    #[inline(always)]
    pub fn maximizes(&self, column: usize) -> bool {
        !self.partial || self.contains(column)
    }

    /// The mask of one word of columns.
    #[inline(always)]
    pub(crate) fn word(&self, word: usize) -> u64 {
        self.mask.map_or(u64::MAX, |mask| mask.get(word).copied().unwrap_or(0))
    }

    pub(crate) fn check(&self, columns: usize) -> Result<(), EmError> {
        self.mask.map_or(Ok(()), |mask| check_length("active columns", mask.len(), row_words(columns)))
    }
}
