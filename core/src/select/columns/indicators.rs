//! One bit per row for every code of every column.

use core::ops::Range;

use crate::observations::{Codes, MISSING, PackedRows, RowsError, WORD_BITS, row_words};

/// Rows of indicator bits: bit `a` of a column's run is set where the column shows its code `a`.
///
/// Where no value is missing, code 0 has no bit: it is what shows where no other does. Binary data without
/// missing values are then their own indicators, one bit per column. Otherwise every code has a bit.
///
/// ```
/// # use mixlet_core::observations::PackedRows;
/// # use mixlet_core::select::columns::Indicators;
/// // Two binary columns, then one with three codes: 1 0 2 and 0 1 0.
/// let bits = [0b1001, 0b0010];
/// let indicators = Indicators::new(PackedRows::new(2, 4, &bits).unwrap(), &[0, 2, 4, 7]).unwrap();
/// assert_eq!((indicators.columns(), indicators.levels(2), indicators.column(2)), (3, 3, 2..4));
/// assert!(indicators.is_implied());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Indicators<'a> {
    bits: PackedRows<'a>,
    /// `[columns + 1]`: a column's codes, as in [`Codes`].
    level_offsets: &'a [u32],
    /// Code 0 has no bit.
    implied: bool,
}

impl<'a> Indicators<'a> {
    /// `bits` has one column per code, or one fewer per column where nothing is missing; `level_offsets` is
    /// `[columns + 1]` and rises from 0 by at least one, as in [`Codes`].
    pub fn new(bits: PackedRows<'a>, level_offsets: &'a [u32]) -> Result<Self, RowsError> {
        Codes::new(level_offsets, &[])?;
        let columns = level_offsets.len() - 1;
        let cells = level_offsets.last().map_or(0, |&cells| cells as usize);
        let implied = bits.columns() == cells - columns;
        if !implied && bits.columns() != cells {
            return Err(RowsError::Length { what: "indicators", found: bits.columns(), expected: cells });
        }
        Ok(Self { bits, level_offsets, implied })
    }

    /// The bits, one row per row and one column per indicator.
    #[inline(always)]
    pub fn bits(&self) -> PackedRows<'a> {
        self.bits
    }

    /// Number of columns.
    #[inline(always)]
    pub fn columns(&self) -> usize {
        self.level_offsets.len() - 1
    }

    /// Whether code 0 of each column has no bit of its own.
    #[inline(always)]
    pub fn is_implied(&self) -> bool {
        self.implied
    }

    /// The indicators of a column; none, at the end, if there is no such column.
    #[inline(always)]
    pub fn column(&self, column: usize) -> Range<usize> {
        let bound = |column: usize| {
            let offset = self.level_offsets.get(column).map(|&offset| offset as usize);
            offset.map_or(self.bits.columns(), |offset| offset - if self.implied { column } else { 0 })
        };
        bound(column)..bound(column + 1)
    }

    /// Number of codes of a column; 0 if there is no such column.
    #[inline(always)]
    pub fn levels(&self, column: usize) -> usize {
        match (self.level_offsets.get(column), self.level_offsets.get(column + 1)) {
            (Some(&start), Some(&end)) => (end - start) as usize,
            _ => 0,
        }
    }

    /// The largest number of codes of any column.
    pub fn most_levels(&self) -> usize {
        (0..self.columns()).map(|column| self.levels(column)).max().unwrap_or(0)
    }

    /// Number of indicators of a column.
    #[inline(always)]
    pub fn width(&self, column: usize) -> usize {
        self.column(column).len()
    }
}

/// Writes the indicators of categorical rows: `out` is `[rows, row_words(n)]` with one indicator per code,
/// `n = cell_count`, or without those of code 0, `n = cell_count − columns`; the latter needs a table without
/// missing values.
pub fn fill_indicators(codes: Codes<'_>, implied: bool, out: &mut [u64]) -> Result<(), RowsError> {
    let count = codes.cell_count() - if implied { codes.columns() } else { 0 };
    check_words(codes.rows(), count, out)?;
    out.fill(0);
    for (row, out) in out.chunks_exact_mut(row_words(count).max(1)).enumerate() {
        for (column, (&code, &offset)) in codes.row(row).iter().zip(codes.level_offsets()).enumerate() {
            let cell = offset as usize + usize::from(code);
            match (code, implied) {
                (MISSING, true) => return Err(RowsError::ValueWhereMissing { row }),
                (MISSING, false) | (0, true) => {}
                (_, true) => set(out, cell - column - 1),
                (_, false) => set(out, cell),
            }
        }
    }
    Ok(())
}

/// Writes the indicators of binary rows with missing values, two per column: `out` is `[rows, row_words(2 · columns)]`.
///
/// Complete binary rows need no writing: they are their own indicators.
pub fn fill_indicators_of_bits(rows: PackedRows<'_>, out: &mut [u64]) -> Result<(), RowsError> {
    let count = 2 * rows.columns();
    check_words(rows.rows(), count, out)?;
    out.fill(0);
    for (row, out) in out.chunks_exact_mut(row_words(count).max(1)).enumerate() {
        for column in 0..rows.columns() {
            if let Some(value) = rows.value(row, column) {
                set(out, 2 * column + usize::from(value));
            }
        }
    }
    Ok(())
}

/// Writes rows as columns and columns as rows: `out` is `[columns, row_words(rows)]`.
///
/// ```
/// # use mixlet_core::observations::PackedRows;
/// # use mixlet_core::select::columns::transpose;
/// let mut out = [u64::MAX; 3];
/// transpose(PackedRows::new(2, 3, &[0b101, 0b100]).unwrap(), &mut out).unwrap();
/// assert_eq!(out, [0b01, 0b00, 0b11]);
/// ```
pub fn transpose(rows: PackedRows<'_>, out: &mut [u64]) -> Result<(), RowsError> {
    check_words(rows.columns(), rows.rows(), out)?;
    let out_words = row_words(rows.rows());
    for block in 0..out_words {
        for word in 0..row_words(rows.columns()) {
            let mut square = [0; WORD_BITS];
            for (nth, value) in square.iter_mut().enumerate() {
                *value = rows.row(block * WORD_BITS + nth).get(word).copied().unwrap_or(0);
            }
            transpose_square(&mut square);
            let columns = out.iter_mut().skip(word * WORD_BITS * out_words + block).step_by(out_words);
            columns.zip(square).for_each(|(out, value)| *out = value);
        }
    }
    Ok(())
}

/// Mirrors 64 × 64 bits by swapping ever smaller quarters (Warren, *Hacker's Delight*, section 7-3).
fn transpose_square(square: &mut [u64; WORD_BITS]) {
    let (mut half, mut low) = (WORD_BITS / 2, u64::from(u32::MAX));
    while half > 0 {
        for pair in square.chunks_exact_mut(2 * half) {
            let (upper, lower) = pair.split_at_mut(half);
            for (upper, lower) in upper.iter_mut().zip(lower) {
                let swapped = ((*upper >> half) ^ *lower) & low;
                *lower ^= swapped;
                *upper ^= swapped << half;
            }
        }
        half /= 2;
        low ^= low << half;
    }
}

fn set(words: &mut [u64], bit: usize) {
    if let Some(word) = words.get_mut(bit / WORD_BITS) {
        *word |= 1 << (bit % WORD_BITS);
    }
}

fn check_words(rows: usize, columns: usize, out: &[u64]) -> Result<(), RowsError> {
    let expected = rows.checked_mul(row_words(columns)).ok_or(RowsError::TooLarge { rows, columns })?;
    let found = out.len();
    if found == expected { Ok(()) } else { Err(RowsError::Length { what: "output", found, expected }) }
}
