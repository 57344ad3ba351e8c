//! Categorical rows, one code per value, with as many codes in each column as it needs.

use super::RowsError;

/// Marks a missing value.
pub const MISSING: u16 = u16::MAX;

/// Rows of codes: column `c` holds codes `0..levels(c)`, or [`MISSING`].
///
/// A column's codes own a run of *cells*, `level_offsets[c]..level_offsets[c + 1]`; a table with one row per
/// cell (a probability per class, a count) is then read and written without any further arithmetic.
///
/// ```
/// # use mixlet_core::observations::{Codes, MISSING};
/// // Two rows; the first column has two codes, the second three.
/// let codes = Codes::new(&[0, 2, 5], &[1, 2, 0, MISSING]).unwrap();
/// assert_eq!((codes.rows(), codes.columns(), codes.cell_count()), (2, 2, 5));
/// assert_eq!(codes.levels(1), 3);
/// assert_eq!((codes.cell(0, 1), codes.cell(1, 1)), (Some(4), None));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    rows: usize,
    /// `[columns + 1]`.
    level_offsets: &'a [u32],
    /// `[rows, columns]`.
    codes: &'a [u16],
}

impl<'a> Codes<'a> {
    /// Checks every offset and code; nothing after this looks at them again.
    ///
    /// `level_offsets` is `[columns + 1]`, rises from 0, and gives each column at least one code; `codes` is
    /// `[rows, columns]`.
    pub fn new(level_offsets: &'a [u32], codes: &'a [u16]) -> Result<Self, RowsError> {
        let columns = level_offsets.len().saturating_sub(1);
        if level_offsets.first() != Some(&0) {
            return Err(RowsError::FirstOffset);
        }
        let levels = |pair: &[u32]| match *pair {
            [start, end] => end.saturating_sub(start),
            _ => 0,
        };
        if let Some(column) = level_offsets.windows(2).position(|pair| levels(pair) == 0) {
            return Err(RowsError::NoLevels { column });
        }
        let rows = codes.len().checked_div(columns).unwrap_or(0);
        if rows * columns != codes.len() {
            return Err(RowsError::Length { what: "codes", found: codes.len(), expected: rows * columns });
        }
        for (row, values) in codes.chunks_exact(columns.max(1)).enumerate() {
            for (column, (&code, pair)) in values.iter().zip(level_offsets.windows(2)).enumerate() {
                if code != MISSING && u32::from(code) >= levels(pair) {
                    return Err(RowsError::Code { row, column, code, levels: levels(pair) });
                }
            }
        }
        Ok(Self { rows, level_offsets, codes })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.level_offsets.len().saturating_sub(1)
    }

    /// Number of codes of a column; 0 if there is no such column.
    pub fn levels(&self, column: usize) -> usize {
        match (self.level_offsets.get(column), self.level_offsets.get(column + 1)) {
            (Some(&start), Some(&end)) => (end - start) as usize,
            _ => 0,
        }
    }

    /// One more than the largest cell: the number of codes of all columns.
    pub fn cell_count(&self) -> usize {
        self.level_offsets.last().map_or(0, |&count| count as usize)
    }

    /// `[columns + 1]`: where each column's cells start.
    pub fn level_offsets(&self) -> &'a [u32] {
        self.level_offsets
    }

    /// The codes of all rows, row after row.
    pub fn codes(&self) -> &'a [u16] {
        self.codes
    }

    /// The codes of one row; none if there is no such row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [u16] {
        let start = row.saturating_mul(self.columns());
        self.codes.get(start..start.saturating_add(self.columns())).unwrap_or(&[])
    }

    /// The cell of one value; none where it is missing, or where there is no such row or column.
    pub fn cell(&self, row: usize, column: usize) -> Option<u32> {
        let &code = self.row(row).get(column)?;
        let &start = self.level_offsets.get(column)?;
        (code != MISSING).then(|| start + u32::from(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inconsistency_is_its_own_error() {
        struct Case<'a> {
            level_offsets: &'a [u32],
            codes: &'a [u16],
            expected: RowsError,
        }
        let cases = [
            Case { level_offsets: &[], codes: &[], expected: RowsError::FirstOffset },
            Case { level_offsets: &[1, 2], codes: &[], expected: RowsError::FirstOffset },
            Case { level_offsets: &[0, 2, 2], codes: &[], expected: RowsError::NoLevels { column: 1 } },
            Case { level_offsets: &[0, 3, 2], codes: &[], expected: RowsError::NoLevels { column: 1 } },
            Case {
                level_offsets: &[0, 2, 5],
                codes: &[0; 3],
                expected: RowsError::Length { what: "codes", found: 3, expected: 2 },
            },
            Case {
                level_offsets: &[0, 2, 5],
                codes: &[0, 0, 1, 3],
                expected: RowsError::Code { row: 1, column: 1, code: 3, levels: 3 },
            },
            Case {
                level_offsets: &[0],
                codes: &[0],
                expected: RowsError::Length { what: "codes", found: 1, expected: 0 },
            },
        ];
        for Case { level_offsets, codes, expected } in cases {
            assert_eq!(
                Codes::new(level_offsets, codes).unwrap_err(),
                expected,
                "{level_offsets:?} {codes:?}"
            );
        }
    }

    #[test]
    fn nothing_is_what_absent_rows_and_columns_hold() {
        let codes = Codes::new(&[0, 2, 5], &[1, 2, MISSING, 0]).unwrap();
        assert_eq!((codes.row(2), codes.levels(2), codes.cell(0, 2)), (&[][..], 0, None));
        assert_eq!([codes.cell(0, 0), codes.cell(1, 0), codes.cell(1, 1)], [Some(1), None, Some(2)]);
        assert_eq!(Codes::new(&[0], &[]).unwrap().cell_count(), 0);
    }
}
