//! Rows of either family, and parameters that both share.

use std::ops::Range;

use mixlet_core::observations::{Codes, PackedRows};

/// Rows of bits or of codes.
#[derive(Clone, Copy, Debug)]
pub enum RowsView<'a> {
    /// Two codes per column.
    Bits(PackedRows<'a>),
    /// Any number of codes per column.
    Codes(Codes<'a>),
}

impl RowsView<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Bits(bits) => bits.rows(),
            Self::Codes(codes) => codes.rows(),
        }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        match self {
            Self::Bits(bits) => bits.columns(),
            Self::Codes(codes) => codes.columns(),
        }
    }

    /// Number of codes of a column; 0 if there is no such column.
    pub fn levels(&self, column: usize) -> usize {
        match self {
            Self::Bits(bits) => 2 * usize::from(column < bits.columns()),
            Self::Codes(codes) => codes.levels(column),
        }
    }

    /// The cells of a column: one per code, all columns' after each other.
    pub fn cells(&self, column: usize) -> Range<usize> {
        match self {
            Self::Bits(_) => 2 * column..2 * column + 2,
            Self::Codes(codes) => {
                let start = codes.level_offsets()[column] as usize;
                start..start + codes.levels(column)
            }
        }
    }

    /// `[columns + 1]`: where each column's cells start. A binary column has two, zero first.
    pub fn level_offsets(&self) -> Vec<u32> {
        match self {
            Self::Bits(bits) => (0..=bits.columns() as u32).map(|column| 2 * column).collect(),
            Self::Codes(codes) => codes.level_offsets().to_vec(),
        }
    }
}

/// Parameters of a mixture.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Parameters {
    /// `[classes]`: the share of each class.
    pub shares: Vec<f64>,
    /// `[cells, classes]`: the probability of each code of each column; a binary column has two cells, zero first.
    pub probabilities: Vec<f64>,
}

impl Parameters {
    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.shares.len()
    }

    /// Puts the classes in the order of their shares, the largest first.
    pub fn sort_classes(&mut self) {
        let classes = self.shares.len();
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|&a, &b| self.shares[b].total_cmp(&self.shares[a]));
        let mut old = vec![0.0; classes];
        let tables = self.probabilities.chunks_exact_mut(classes.max(1));
        for values in tables.chain([self.shares.as_mut_slice()]) {
            old.copy_from_slice(values);
            values.iter_mut().zip(&order).for_each(|(value, &from)| *value = old[from]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_sorted_by_share_in_every_table() {
        let mut parameters =
            Parameters { shares: vec![0.2, 0.5, 0.3], probabilities: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        parameters.sort_classes();
        assert_eq!(parameters.shares, [0.5, 0.3, 0.2]);
        assert_eq!(parameters.probabilities, [2.0, 3.0, 1.0, 5.0, 6.0, 4.0]);
    }
}
