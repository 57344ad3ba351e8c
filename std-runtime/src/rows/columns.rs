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
        let both = super::draft::ids(["0", "1"]);
        Self { names: numbered(columns), codes: vec![both; columns] }
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the columns have no names but their numbers.
    pub fn are_numbered(&self) -> bool {
        self.names.iter().enumerate().all(|(place, name)| name.parse() == Ok(place))
    }
}

/// The names of columns without names.
pub(super) fn numbered(columns: usize) -> Vec<String> {
    (0..columns).map(|column| column.to_string()).collect()
}
