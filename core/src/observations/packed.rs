//! Binary rows, one bit per value.

use super::RowsError;

/// Values in a word.
pub const WORD_BITS: usize = u64::BITS as usize;

/// Words that a row of `columns` bits takes.
pub const fn row_words(columns: usize) -> usize {
    columns.div_ceil(WORD_BITS)
}

/// Rows of bits: bit `c % 64` of a row's word `c / 64` is the value of column `c`.
///
/// A second mask of the same form says which values are present; without one, all are. Bits of missing
/// values, and those beyond the last column, are zero: kernels add up words without masking them.
///
/// ```
/// # use mixlet_core::observations::PackedRows;
/// // Two rows of three columns: 1 0 1 and 0 ? 1.
/// let rows = PackedRows::new(2, 3, &[0b101, 0b100]).unwrap().with_present(&[0b111, 0b101]).unwrap();
/// assert_eq!(rows.value(0, 1), Some(false));
/// assert_eq!(rows.value(1, 1), None);
/// assert_eq!(rows.row(1), [0b100]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PackedRows<'a> {
    rows: usize,
    columns: usize,
    /// `[rows, row_words(columns)]`.
    values: &'a [u64],
    /// As `values`.
    present: Option<&'a [u64]>,
}

impl<'a> PackedRows<'a> {
    /// Checks the length, and that no bit is set beyond the last column. `values` is `[rows, row_words(columns)]`.
    pub fn new(rows: usize, columns: usize, values: &'a [u64]) -> Result<Self, RowsError> {
        check_words(rows, columns, "values", values)?;
        Ok(Self { rows, columns, values, present: None })
    }

    /// Marks which values are present; all others must be zero. `present` is `[rows, row_words(columns)]`.
    pub fn with_present(self, present: &'a [u64]) -> Result<Self, RowsError> {
        check_words(self.rows, self.columns, "present", present)?;
        let words = self.values.iter().zip(present);
        if let Some(word) = words.clone().position(|(value, present)| value & !present != 0) {
            return Err(RowsError::ValueWhereMissing { row: word / row_words(self.columns).max(1) });
        }
        Ok(Self { present: Some(present), ..self })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The words of all rows, row after row.
    pub fn values(&self) -> &'a [u64] {
        self.values
    }

    /// Which values are present, in the form of [`values`](Self::values); none if all are.
    pub fn present(&self) -> Option<&'a [u64]> {
        self.present
    }

    /// The words of one row; none if there is no such row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [u64] {
        of_row(self.values, row, self.columns)
    }

    /// Which values of a row are present, in the form of [`row`](Self::row); none if all are.
    #[inline(always)]
    pub fn row_present(&self, row: usize) -> Option<&'a [u64]> {
        self.present.map(|present| of_row(present, row, self.columns))
    }

    /// One value; none where it is missing, or where there is no such row or column.
    pub fn value(&self, row: usize, column: usize) -> Option<bool> {
        let bit =
            |words: &[u64]| words.get(column / WORD_BITS).map(|word| word >> (column % WORD_BITS) & 1 == 1);
        let present = self.row_present(row).map_or(Some(true), bit)?;
        (present && column < self.columns).then(|| bit(self.row(row)))?
    }
}

#[inline(always)]
fn of_row(words: &[u64], row: usize, columns: usize) -> &[u64] {
    let len = row_words(columns);
    let start = row.saturating_mul(len);
    words.get(start..start.saturating_add(len)).unwrap_or(&[])
}

fn check_words(rows: usize, columns: usize, what: &'static str, words: &[u64]) -> Result<(), RowsError> {
    let expected = rows.checked_mul(row_words(columns)).ok_or(RowsError::TooLarge { rows, columns })?;
    if words.len() != expected {
        return Err(RowsError::Length { what, found: words.len(), expected });
    }
    let used = columns % WORD_BITS;
    if used != 0 {
        let last_words = words.iter().skip(row_words(columns) - 1).step_by(row_words(columns));
        if let Some(row) = last_words.clone().position(|word| word >> used != 0) {
            return Err(RowsError::BitBeyondColumns { what, row });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inconsistency_is_its_own_error() {
        struct Case<'a> {
            rows: usize,
            columns: usize,
            values: &'a [u64],
            present: &'a [u64],
            expected: RowsError,
        }
        let good = Case {
            rows: 2,
            columns: 3,
            values: &[5, 4],
            present: &[7, 5],
            expected: RowsError::NoLevels { column: 0 },
        };
        let length = |what, found, expected| RowsError::Length { what, found, expected };
        let cases = [
            Case { values: &[5], expected: length("values", 1, 2), ..good },
            Case { present: &[5], expected: length("present", 1, 2), ..good },
            Case { columns: 65, expected: length("values", 2, 4), ..good },
            Case {
                rows: usize::MAX,
                columns: 65,
                expected: RowsError::TooLarge { rows: usize::MAX, columns: 65 },
                ..good
            },
            Case {
                values: &[5, 8],
                expected: RowsError::BitBeyondColumns { what: "values", row: 1 },
                ..good
            },
            Case {
                present: &[15, 5],
                expected: RowsError::BitBeyondColumns { what: "present", row: 0 },
                ..good
            },
            Case { values: &[5, 2], expected: RowsError::ValueWhereMissing { row: 1 }, ..good },
        ];
        for Case { rows, columns, values, present, expected } in cases {
            let made = PackedRows::new(rows, columns, values).and_then(|rows| rows.with_present(present));
            assert_eq!(made.unwrap_err(), expected, "{rows} {columns} {values:?} {present:?}");
        }
    }

    #[test]
    fn a_row_may_take_several_words_and_columns_may_fill_them() {
        let values = [u64::MAX, 1, 2, 0];
        let rows = PackedRows::new(2, 65, &values).unwrap();
        assert_eq!([rows.row(0), rows.row(1), rows.row(2)], [&values[..2], &values[2..], &[]]);
        assert_eq!(
            [0, 63, 64, 65].map(|column| rows.value(0, column)),
            [Some(true), Some(true), Some(true), None]
        );
        assert_eq!([0, 1, 64].map(|column| rows.value(1, column)), [Some(false), Some(true), Some(false)]);
        assert_eq!((rows.value(2, 0), rows.row_present(0)), (None, None));
        assert!(PackedRows::new(4, 64, &values).is_ok());
        assert_eq!(PackedRows::new(3, 0, &[]).unwrap().value(0, 0), None);
    }
}
