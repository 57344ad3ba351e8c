//! Names of columns and of their codes.

use serde::{Deserialize, Serialize};

use crate::crowd::ids::Ids;

/// What the columns of rows are called, and what their codes stand for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// `[columns]`: names as read; numbers from 0 where there are none.
    pub names: Vec<String>,
    /// `[columns]`: what the codes of each column stand for, in order.
    pub codes: Vec<Ids>,
}

impl Columns {
    /// Columns that hold 0 and 1, called by their numbers.
    pub fn binary(columns: usize) -> Self {
        Self::binary_with(numbered(columns))
    }

    /// Columns that hold 0 and 1.
    pub(super) fn binary_with(names: Vec<String>) -> Self {
        let both = super::draft::ids(["0", "1"]);
        Self { codes: vec![both; names.len()], names }
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the columns have no names but their numbers, none of which is left out.
    pub fn are_numbered(&self) -> bool {
        self.numbers().is_some_and(|numbers| numbers.last().is_none_or(|last| last + 1 == numbers.len()))
    }

    /// A name that comes twice.
    pub(crate) fn repeated(&self) -> Option<&str> {
        let mut sorted: Vec<&String> = self.names.iter().collect();
        sorted.sort_unstable();
        let pair = sorted.windows(2).find(|pair| pair[0] == pair[1])?;
        Some(pair[0])
    }

    /// The numbers of columns that have no names in their file; none if they have.
    pub fn numbers(&self) -> Option<Vec<usize>> {
        let numbers: Vec<usize> = self.names.iter().map(|name| name.parse().ok()).collect::<Option<_>>()?;
        let is_as_written = |(number, name): (&usize, &String)| number.to_string() == *name;
        let is_number =
            numbers.iter().zip(&self.names).all(is_as_written) && numbers.is_sorted_by(|a, b| a < b);
        is_number.then_some(numbers)
    }
}

/// The names of columns without names.
pub(super) fn numbered(columns: usize) -> Vec<String> {
    (0..columns).map(|column| column.to_string()).collect()
}
