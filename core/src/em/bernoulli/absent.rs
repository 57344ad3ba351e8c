//! Absent values taken one by one, where they are few.
//!
//! The columns that a row lacks are listed once for all rounds. What each takes back is added to the row's log-joint,
//! and the row's responsibilities to the column's sum: the values present are all rows less those sums.
//!
//! *Why lists:* looking for the bits that are not set takes as long as looking up what they add, for the ends of such
//! short loops are not foreseen.

use core::ops::Range;

use crate::em::lanes::{Aligned, Lane, LaneBlock, add, add_wide};
use crate::em::{EmError, check_length};
use crate::observations::{PackedRows, WORD_BITS};

/// Columns that are counted at once.
const SPAN: usize = 1024;

/// Logarithms that are added up in the precision of the tables.
const SUMS: usize = 16;

/// Lists pay where at most one value in so many is absent.
const FEW: usize = 32;

/// The columns that every row lacks: with such lists a round is faster where [`few`](Self::few) values are absent.
///
/// ```
/// # use mixlet_core::em::bernoulli::AbsentColumns;
/// # use mixlet_core::observations::PackedRows;
/// // 1 0 1 and 0 ? ?.
/// let rows = PackedRows::new(2, 3, &[0b101, 0b000]).unwrap().with_present(&[0b111, 0b001]).unwrap();
/// assert_eq!(AbsentColumns::count(rows), 2);
/// let (mut offsets, mut columns) = ([usize::MAX; 3], [u32::MAX; 2]);
/// AbsentColumns::list(rows, &mut offsets, &mut columns).unwrap();
/// assert_eq!((offsets, columns), ([0, 0, 2], [1, 2]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AbsentColumns<'a> {
    /// `[rows + 1]`: row `r` lacks `columns[offsets[r]..offsets[r + 1]]`.
    offsets: &'a [usize],
    /// Ascending in every row.
    columns: &'a [u32],
}

impl<'a> AbsentColumns<'a> {
    /// The number of values that are absent.
    pub fn count(rows: PackedRows<'_>) -> usize {
        let Some(present) = rows.present() else { return 0 };
        let ones: usize = present.iter().map(|word| word.count_ones() as usize).sum();
        rows.rows().saturating_mul(rows.columns()).saturating_sub(ones)
    }

    /// The number of values that are absent, if there are some and lists are worth their memory: at most one in 32.
    ///
    /// At one in a hundred a round takes two thirds of the time that it takes without, at three in a hundred four
    /// fifths, at ten in a hundred more than without.
    pub fn few(rows: PackedRows<'_>) -> Option<usize> {
        let count = Self::count(rows);
        (1..=rows.rows().saturating_mul(rows.columns()) / FEW).contains(&count).then_some(count)
    }

    /// Lists what the rows lack: `offsets` holds one value more than there are rows, `columns` as many as
    /// [`count`](Self::count) says.
    pub fn list(
        rows: PackedRows<'_>,
        offsets: &'a mut [usize],
        columns: &'a mut [u32],
    ) -> Result<Self, EmError> {
        check_length("offsets", offsets.len(), rows.rows().saturating_add(1))?;
        check_length("absent columns", columns.len(), Self::count(rows))?;
        let (mut places, mut listed) = (columns.iter_mut(), 0);
        for (row, offset) in offsets.iter_mut().enumerate() {
            *offset = listed;
            for (word, present) in rows.row_present(row).unwrap_or(&[]).iter().enumerate() {
                let first = word * WORD_BITS;
                let beyond = (first + WORD_BITS).saturating_sub(rows.columns());
                let mut absent = !present & (u64::MAX >> (beyond % WORD_BITS));
                while absent != 0 {
                    let column = first + absent.trailing_zeros() as usize;
                    if let Some(place) = places.next() {
                        *place = u32::try_from(column).unwrap_or(u32::MAX);
                    }
                    absent &= absent.wrapping_sub(1);
                    listed += 1;
                }
            }
        }
        Ok(Self { offsets, columns })
    }

    /// The same of some rows.
    #[inline(always)]
    pub(super) fn of_rows(&self, rows: Range<usize>) -> Self {
        Self { offsets: self.offsets.get(rows.start..rows.end.saturating_add(1)).unwrap_or(&[]), ..*self }
    }

    /// Whether the lists can be those of some rows.
    pub(super) fn check(&self, rows: PackedRows<'_>) -> Result<(), EmError> {
        check_length("offsets", self.offsets.len(), rows.rows().saturating_add(1))?;
        check_length("absent columns", self.columns.len(), Self::count(rows))
    }

    /// The columns that each row lacks.
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = &'a [u32]> {
        let columns = self.columns;
        let ends = self.offsets.iter().skip(1);
        self.offsets.iter().zip(ends).map(move |(start, end)| columns.get(*start..*end).unwrap_or(&[]))
    }

    /// Adds what absent values take back, `[columns, lanes]`, to one block of the rows' log-joints.
    #[inline(always)]
    pub(super) fn add_logs<T: Lane, const L: usize>(
        &self,
        logs: &[[T; L]],
        block: LaneBlock,
        log_joints: &mut [[f64; L]],
    ) {
        for (row, columns) in log_joints.chunks_exact_mut(block.of.max(1)).zip(self.rows()) {
            let Some(log_joint) = row.get_mut(block.place) else { continue };
            for columns in columns.chunks(SUMS) {
                let mut sum = [T::default(); L];
                for column in columns {
                    if let Some(logs) = logs.get(*column as usize) {
                        add(&mut sum, logs);
                    }
                }
                add_wide(log_joint, &sum);
            }
        }
    }

    /// Adds one block of the responsibilities of all rows, less those of the rows that lack a column, to the counts
    /// `[columns, classes]`.
    #[inline(always)]
    pub(super) fn add_present<const L: usize>(
        &self,
        classes: usize,
        (block, responsibilities): (LaneBlock, &[[f64; L]]),
        counts: &mut [f64],
    ) {
        let rows = || responsibilities.iter().skip(block.place).step_by(block.of.max(1));
        // In the order of the rows, as the sums below: what is never present has exactly nothing.
        let mut all = [0.0; L];
        rows().for_each(|row| add(&mut all, row));
        for (first, counts) in (0..).step_by(SPAN).zip(counts.chunks_mut((SPAN * classes).max(1))) {
            let mut sums = Aligned([[0.0; L]; SPAN]);
            for (row, columns) in rows().zip(self.rows()) {
                let before = if first == 0 { 0 } else { columns.partition_point(|column| *column < first) };
                for column in columns.get(before..).unwrap_or(&[]) {
                    let Some(sum) = sums.0.get_mut(column.wrapping_sub(first) as usize) else { break };
                    add(sum, row);
                }
            }
            for (absent, counts) in sums.0.iter().zip(counts.chunks_exact_mut(classes.max(1))) {
                let mut present = all;
                present.iter_mut().zip(absent).for_each(|(present, absent)| *present -= absent);
                block.add_to(&present, counts);
            }
        }
    }
}
