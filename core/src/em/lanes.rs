//! Classes side by side: what the mixtures of dense columns share.
//!
//! The classes of a row stand in blocks of `L` lanes, padded with impossible ones; every step is then a few
//! vector operations, whatever the number of classes. A sweep keeps `[rows, blocks · L]` log-joints of some rows,
//! turns them into responsibilities in place, and hands them back to the columns to be counted.

use core::array;
use core::fmt::Debug;
use core::ops::{AddAssign, Range};

use super::{EmError, RowFacts};
use crate::numeric::{LogSums, exp_slice};

/// Rows of a sweep's block: enough to make up for what a block of columns costs to set up and to unfold.
pub(super) const SWEEP_ROWS: usize = 2048;

/// A number in a table: `f32` is fast, `f64` exact to the last digits. Sums over rows are `f64` with either.
pub trait Lane: sealed::Sealed + Copy + Default + Debug + AddAssign + Send + Sync {
    /// The nearest value.
    fn from_f64(value: f64) -> Self;
    /// The same value.
    fn to_f64(self) -> f64;
}

impl Lane for f64 {
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

impl Lane for f32 {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "rounding is what single precision is")]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Lanes of a block: 4, 8 or 16, the fewest that hold all classes, if any do.
pub(super) const fn lanes(classes: usize) -> usize {
    match classes {
        0..=4 => 4,
        5..=8 => 8,
        _ => 16,
    }
}

/// The number of classes with the padding.
pub(super) const fn padded(classes: usize) -> usize {
    classes.next_multiple_of(lanes(classes))
}

/// Values that start a cache line, so that no load of lanes straddles two.
#[repr(align(64))]
pub(super) struct Aligned<V>(pub V);

/// Values that [`aligned`] may skip.
pub(super) const ALIGNMENT_SLACK: usize = 15;

/// The part of memory that starts a cache line; [`ALIGNMENT_SLACK`] values are lost.
#[inline(always)]
pub(super) fn aligned<T>(values: &[T]) -> &[T] {
    let len = values.len().saturating_sub(ALIGNMENT_SLACK);
    let start = values.as_ptr().align_offset(64).min(ALIGNMENT_SLACK);
    values.get(start..start + len).unwrap_or(&[])
}

/// [`aligned`] to write to.
#[inline(always)]
pub(super) fn aligned_mut<T>(values: &mut [T]) -> &mut [T] {
    let len = values.len().saturating_sub(ALIGNMENT_SLACK);
    let start = values.as_ptr().align_offset(64).min(ALIGNMENT_SLACK);
    values.get_mut(start..start + len).unwrap_or(&mut [])
}

/// Values of scratch that [`Classes::sweep`] works in; also enough for a block of the engine.
pub(super) const fn sweep_scratch_len(rows: usize, classes: usize) -> usize {
    (if rows < SWEEP_ROWS { rows } else { SWEEP_ROWS }) * padded(classes) + ALIGNMENT_SLACK
}

// The three innermost loops are written with indices: `zip` and `map` are calls that the compiler may leave standing
// in a large function, and what is not inlined keeps the instructions of any CPU. No check is left in them.

/// Adds lane by lane.
#[inline(always)]
#[allow(clippy::indexing_slicing, clippy::needless_range_loop, reason = "both hold L lanes")]
pub(super) fn add<T: Lane, const L: usize>(sums: &mut [T; L], values: &[T; L]) {
    for lane in 0..L {
        sums[lane] += values[lane];
    }
}

/// Adds lane by lane, in double precision.
#[inline(always)]
#[allow(clippy::indexing_slicing, clippy::needless_range_loop, reason = "both hold L lanes")]
pub(super) fn add_wide<T: Lane, const L: usize>(sums: &mut [f64; L], values: &[T; L]) {
    for lane in 0..L {
        sums[lane] += values[lane].to_f64();
    }
}

/// The nearest values.
#[inline(always)]
#[allow(clippy::indexing_slicing, clippy::needless_range_loop, reason = "both hold L lanes")]
pub(super) fn narrow<T: Lane, const L: usize>(values: &[f64; L]) -> [T; L] {
    let mut out = [T::default(); L];
    for lane in 0..L {
        out[lane] = T::from_f64(values[lane]);
    }
    out
}

/// One block of lanes of the classes, and where it stands in values `[rows, of · L]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneBlock {
    /// Which block of classes.
    pub nth: usize,
    /// Its place in a row of values.
    pub place: usize,
    /// The blocks that a row of values holds.
    pub of: usize,
}

impl LaneBlock {
    /// This block's part of a row of `[classes]` values; the rest is `padding`.
    #[inline(always)]
    pub fn of_classes<const L: usize>(&self, values: &[f64], padding: f64) -> [f64; L] {
        array::from_fn(|lane| values.get(self.nth * L + lane).copied().unwrap_or(padding))
    }

    /// Adds this block's lanes to a row of `[classes]` values.
    #[inline(always)]
    pub fn add_to<const L: usize>(&self, sums: &[f64; L], values: &mut [f64]) {
        let values = values.get_mut(self.nth * L..).unwrap_or(&mut []);
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
    }
}

/// Columns that can be summed and counted in blocks of `L` lanes.
pub(super) trait LaneColumns<const L: usize> {
    /// Adds the logarithms of the rows' values to one block of the log-joints `[rows, blocks · L]`.
    fn add_logs(&self, block: LaneBlock, rows: Range<usize>, log_joints: &mut [[f64; L]]);

    /// Adds one block of the responsibilities `[rows, blocks · L]` to the expected counts of the rows' values.
    fn add_counts(
        &self,
        block: LaneBlock,
        rows: Range<usize>,
        responsibilities: &[[f64; L]],
        counts: &mut [f64],
    );
}

/// What a sweep needs to know beside the columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classes<'a> {
    /// `[classes]`: their shares.
    pub shares: &'a [f64],
    /// What is known about rows.
    pub facts: RowFacts<'a>,
}

impl Classes<'_> {
    #[inline(always)]
    fn blocks<const L: usize>(&self) -> impl Iterator<Item = LaneBlock> + use<L> {
        let of = self.shares.len().div_ceil(L);
        (0..of).map(move |nth| LaneBlock { nth, place: nth, of })
    }

    /// The rows' log-joints `[rows, blocks · L]`; impossible classes, and the padding, have −∞.
    #[inline(always)]
    pub fn log_joints<const L: usize>(
        &self,
        columns: &impl LaneColumns<L>,
        rows: Range<usize>,
        log_joints: &mut [[f64; L]],
    ) {
        for block in self.blocks::<L>() {
            let shares = block.of_classes::<L>(self.shares, 0.0).map(libm::log);
            for row in log_joints.iter_mut().skip(block.place).step_by(block.of.max(1)) {
                *row = shares;
            }
            columns.add_logs(block, rows.clone(), log_joints);
        }
        let stride = self.shares.len().next_multiple_of(L);
        self.facts.mask(rows, stride, log_joints.as_flattened_mut(), f64::NEG_INFINITY);
    }

    /// Turns log-joints into weighted responsibilities and returns the rows' log-likelihood, or the first impossible row.
    #[inline(always)]
    fn normalize<const L: usize>(&self, rows: Range<usize>, values: &mut [[f64; L]]) -> Result<f64, EmError> {
        let blocks = self.shares.len().div_ceil(L);
        let weights = self.facts.weights_of(rows.clone());
        let weight = |nth: usize| weights.and_then(|weights| weights.get(nth));
        let mut log_likelihood = 0.0;
        for (nth, row) in values.chunks_exact_mut(blocks.max(1)).enumerate() {
            let largest = row.iter().map(|lanes| fold(*lanes, larger)).fold(f64::NEG_INFINITY, larger);
            row.as_flattened_mut().iter_mut().for_each(|value| *value -= largest);
            log_likelihood += weight(nth).map_or(largest, |weight| weight * largest);
        }
        exp_slice(values.as_flattened_mut());
        let mut log_sums = LogSums::ZERO;
        for (nth, row) in values.chunks_exact_mut(blocks.max(1)).enumerate() {
            let sum = row.iter().map(|lanes| fold(*lanes, |a, b| a + b)).sum::<f64>();
            // A row that is impossible in all classes has NaN here: −∞ less −∞.
            if sum.is_nan() {
                return Err(EmError::ImpossibleRow { row: rows.start + nth });
            }
            let scale = weight(nth).copied().unwrap_or(1.0) / sum;
            row.as_flattened_mut().iter_mut().for_each(|value| *value *= scale);
            log_sums.add(sum, weight(nth));
        }
        Ok(log_likelihood + log_sums.total())
    }

    /// Expectation and accumulation of the rows; statistics are `[classes]` masses, then the columns' counts.
    #[inline(always)]
    pub fn sweep<const L: usize>(
        &self,
        columns: &impl LaneColumns<L>,
        rows: Range<usize>,
        statistics: &mut [f64],
        scratch: &mut [f64],
    ) -> Result<f64, EmError> {
        let mut log_likelihood = 0.0;
        for start in rows.clone().step_by(SWEEP_ROWS) {
            let rows = start..rows.end.min(start + SWEEP_ROWS);
            let len = rows.len() * self.shares.len().div_ceil(L);
            let Some(values) = aligned_mut(scratch).as_chunks_mut::<L>().0.get_mut(..len) else { continue };
            self.log_joints(columns, rows.clone(), values);
            log_likelihood += self.normalize(rows.clone(), values)?;
            self.count(columns, rows, values, statistics);
        }
        Ok(log_likelihood)
    }

    /// Adds weighted responsibilities `[rows, blocks · L]` to the statistics.
    #[inline(always)]
    fn count<const L: usize>(
        &self,
        columns: &impl LaneColumns<L>,
        rows: Range<usize>,
        responsibilities: &[[f64; L]],
        statistics: &mut [f64],
    ) {
        let Some((masses, counts)) = statistics.split_at_mut_checked(self.shares.len()) else { return };
        for block in self.blocks::<L>() {
            let mut mass = [0.0; L];
            for row in responsibilities.iter().skip(block.place).step_by(block.of.max(1)) {
                add(&mut mass, row);
            }
            block.add_to(&mass, masses);
            columns.add_counts(block, rows.clone(), responsibilities, counts);
        }
    }

    /// The rows' log-joints `[rows, classes]`, for the caller to normalise.
    #[inline(always)]
    pub fn unpadded_log_joints<const L: usize>(
        &self,
        columns: &impl LaneColumns<L>,
        rows: Range<usize>,
        out: &mut [f64],
    ) {
        let classes = self.shares.len().max(1);
        for LaneBlock { nth, .. } in self.blocks::<L>() {
            let block = LaneBlock { nth, place: 0, of: 1 };
            let shares = block.of_classes::<L>(self.shares, 0.0).map(libm::log);
            for (few, out) in few_rows(rows.clone()).zip(out.chunks_mut(FEW_ROWS.saturating_mul(classes))) {
                let mut memory = [shares; FEW_ROWS];
                let Some(values) = memory.get_mut(..few.len()) else { continue };
                columns.add_logs(block, few, values);
                for (out, values) in out.chunks_exact_mut(classes).zip(values) {
                    let out = out.get_mut(nth * L..).unwrap_or(&mut []);
                    out.iter_mut().zip(values).for_each(|(out, value)| *out = *value);
                }
            }
        }
        self.facts.mask(rows, classes, out, f64::NEG_INFINITY);
    }

    /// Adds responsibilities `[rows, classes]`, not yet weighted, to the statistics.
    #[inline(always)]
    pub fn count_unpadded<const L: usize>(
        &self,
        columns: &impl LaneColumns<L>,
        rows: Range<usize>,
        responsibilities: &[f64],
        statistics: &mut [f64],
    ) {
        let classes = self.shares.len().max(1);
        let Some((masses, counts)) = statistics.split_at_mut_checked(classes) else { return };
        for LaneBlock { nth, .. } in self.blocks::<L>() {
            let block = LaneBlock { nth, place: 0, of: 1 };
            for (few, given) in
                few_rows(rows.clone()).zip(responsibilities.chunks(FEW_ROWS.saturating_mul(classes)))
            {
                let mut memory = [[0.0; L]; FEW_ROWS];
                let Some(values) = memory.get_mut(..few.len()) else { continue };
                let weights = self.facts.weights_of(few.clone());
                let mut mass = [0.0; L];
                for (nth, (row, given)) in values.iter_mut().zip(given.chunks_exact(classes)).enumerate() {
                    let weight = weights.and_then(|weights| weights.get(nth)).copied().unwrap_or(1.0);
                    *row = block.of_classes::<L>(given, 0.0).map(|value| weight * value);
                    add(&mut mass, row);
                }
                block.add_to(&mass, masses);
                columns.add_counts(block, few, values, counts);
            }
        }
    }
}

/// Rows whose lanes fit on the stack, where a caller's values are not padded.
const FEW_ROWS: usize = 64;

#[inline(always)]
fn few_rows(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(FEW_ROWS).map(move |start| start..end.min(start + FEW_ROWS))
}

#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// All lanes in one, by halves: a fixed order that vectors can follow.
#[inline(always)]
fn fold<const L: usize>(mut lanes: [f64; L], join: impl Fn(f64, f64) -> f64) -> f64 {
    let mut half = L / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low = join(*low, *high));
        half /= 2;
    }
    lanes.first().copied().unwrap_or(0.0)
}
