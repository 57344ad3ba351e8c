//! Sums over the rows that show two indicators: counted for all rows alike, added up for weighted ones.

use super::Stripe;
use crate::em::{EmError, check_length};
use crate::observations::{PackedRows, WORD_BITS, row_words};

/// Indicators that are summed side by side: two vectors of eight.
pub const LANES: usize = 16;
/// Words of transposed bits that are counted before the next column: all lanes' stay in the first-level cache.
const BLOCK_WORDS: usize = 128;
/// Rows whose lanes are spread out before they are added: 16 KB.
const BLOCK_ROWS: usize = 128;

/// Rows that show both indicators, by popcounts: `sums` is as in [`Stripe::sums_len`].
///
/// `columns` are the stripe's bits [transposed](super::transpose).
#[inline(always)]
pub fn count_pairs(stripe: Stripe<'_>, columns: PackedRows<'_>, sums: &mut [f64]) -> Result<(), EmError> {
    check_length("sums", sums.len(), stripe.sums_len())?;
    check_length("transposed indicators", columns.rows(), stripe.indicators().bits().columns())?;
    check_length("transposed rows", columns.columns(), stripe.indicators().bits().rows())?;
    sums.fill(0.0);
    let words = row_words(columns.columns());
    for (nth, sums) in sums.chunks_exact_mut(stripe.block_len().max(1)).enumerate() {
        let lanes = lanes_of(stripe, nth);
        for start in (0..words).step_by(BLOCK_WORDS) {
            let part = |indicator: usize| {
                columns.row(indicator).get(start..words.min(start + BLOCK_WORDS)).unwrap_or(&[])
            };
            let lane_words = lanes.map(|lane| lane.map_or(&[][..], part));
            for (indicator, sums) in (stripe.first_indicator()..).zip(sums.as_chunks_mut::<LANES>().0) {
                let own = part(indicator);
                for (sum, lane) in sums.iter_mut().zip(lane_words) {
                    *sum += count_both(own, lane) as f64;
                }
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn count_both(a: &[u64], b: &[u64]) -> u64 {
    a.iter().zip(b).map(|(a, b)| u64::from((a & b).count_ones())).sum()
}

/// Values of scratch that [`weigh_pairs`] needs.
pub const fn weigh_scratch_len() -> usize {
    BLOCK_ROWS * LANES
}

/// Weight of the rows that show both indicators: `weights` is `[rows]`, `sums` as in [`Stripe::sums_len`].
///
/// Rows of weight 0 cost nothing; sums go by ascending row.
#[inline(always)]
pub fn weigh_pairs(
    stripe: Stripe<'_>,
    weights: &[f64],
    sums: &mut [f64],
    scratch: &mut [f64],
) -> Result<(), EmError> {
    let bits = stripe.indicators().bits();
    check_length("sums", sums.len(), stripe.sums_len())?;
    check_length("weights", weights.len(), bits.rows())?;
    check_length("scratch", scratch.len(), weigh_scratch_len())?;
    sums.fill(0.0);
    let spread = scratch.as_chunks_mut::<LANES>().0;
    for (nth, sums) in sums.chunks_exact_mut(stripe.block_len().max(1)).enumerate() {
        let lanes = lanes_of(stripe, nth);
        let sums = sums.as_chunks_mut::<LANES>().0;
        for (block, weights) in weights.chunks(BLOCK_ROWS).enumerate() {
            let mut rows = [0; BLOCK_ROWS];
            let first = block * BLOCK_ROWS;
            let taken = spread_rows(bits, (first, weights), &lanes, &mut rows, spread);
            if let (Some(rows), Some(spread)) = (rows.get(..taken), spread.get(..taken)) {
                add_rows(bits, rows, spread, stripe.first_indicator(), sums);
            }
        }
    }
    Ok(())
}

/// Spreads the lanes of each row that has any: weight where the bit is set, else 0. Returns how many rows have.
#[inline(always)]
fn spread_rows(
    bits: PackedRows<'_>,
    (first, weights): (usize, &[f64]),
    lanes: &[Option<usize>; LANES],
    rows: &mut [usize; BLOCK_ROWS],
    spread: &mut [[f64; LANES]],
) -> usize {
    let mut taken = 0;
    for (row, &weight) in (first..).zip(weights) {
        let words = bits.row(row);
        let mut any = 0;
        let mut values = [0.0; LANES];
        for (value, lane) in values.iter_mut().zip(lanes) {
            let word = lane.and_then(|lane| words.get(lane / WORD_BITS)).copied().unwrap_or(0);
            let bit = word >> (lane.unwrap_or(0) % WORD_BITS) & 1;
            any |= bit;
            // All ones or all zeros: the weight, or nothing.
            *value = f64::from_bits(weight.to_bits() & bit.wrapping_neg());
        }
        if any != 0 && weight != 0.0 {
            if let (Some(place), Some(out)) = (rows.get_mut(taken), spread.get_mut(taken)) {
                (*place, *out) = (row, values);
            }
            taken += 1;
        }
    }
    taken
}

/// `sums[i, ·] += spread[row, ·]` for every indicator `i` that a row shows, 64 indicators at a time.
#[inline(always)]
fn add_rows(
    bits: PackedRows<'_>,
    rows: &[usize],
    spread: &[[f64; LANES]],
    first: usize,
    sums: &mut [[f64; LANES]],
) {
    for word in first / WORD_BITS..row_words(bits.columns()) {
        let start = word * WORD_BITS;
        // The first word may begin before the first indicator that is wanted.
        let before = first.saturating_sub(start);
        let Some(sums) = sums.get_mut((start + before) - first..) else { continue };
        for (&row, values) in rows.iter().zip(spread) {
            let mut set = bits.row(row).get(word).map_or(0, |word| word >> before);
            while set != 0 {
                if let Some(sums) = sums.get_mut(set.trailing_zeros() as usize) {
                    // By value: the compiler then knows that the two do not overlap.
                    let (mut total, values) = (*sums, *values);
                    total.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value);
                    *sums = total;
                }
                set &= set - 1;
            }
        }
    }
}

/// Adds each indicator's weight to `margins` `[indicators]` and returns the weight of all rows.
///
/// `weights` is `[rows]`; none: every row weighs one.
#[inline(always)]
pub fn add_margins(
    bits: PackedRows<'_>,
    weights: Option<&[f64]>,
    margins: &mut [f64],
) -> Result<f64, EmError> {
    check_length("margins", margins.len(), bits.columns())?;
    if let Some(weights) = weights {
        check_length("weights", weights.len(), bits.rows())?;
    }
    let mut mass = 0.0;
    for row in 0..bits.rows() {
        let weight = weights.and_then(|weights| weights.get(row)).copied().unwrap_or(1.0);
        if weight == 0.0 {
            continue;
        }
        mass += weight;
        for (margins, &word) in margins.chunks_mut(WORD_BITS).zip(bits.row(row)) {
            let mut set = word;
            while set != 0 {
                if let Some(margin) = margins.get_mut(set.trailing_zeros() as usize) {
                    *margin += weight;
                }
                set &= set - 1;
            }
        }
    }
    Ok(mass)
}

/// The indicators of a stripe's nth block of lanes.
#[inline(always)]
fn lanes_of(stripe: Stripe<'_>, nth: usize) -> [Option<usize>; LANES] {
    let mut lanes = [None; LANES];
    let indicators = stripe.lanes().skip(nth * LANES).map(Some);
    lanes.iter_mut().zip(indicators).for_each(|(lane, indicator)| *lane = indicator);
    lanes
}
