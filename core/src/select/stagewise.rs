//! Stagewise EM: one class at first; the pair of columns that the classes explain least splits one in two.
//!
//! ```text
//!   ┌► expectation with the active columns ─► pair tables within classes ─► the most dependent pair
//!   │                                                                           │
//!   └─ expectation, maximisation ◄─ floor ◄─ split its class along the pair ◄───┘ its columns become active
//! ```
//!
//! Two columns that depend on each other within a class are a sign that it is several. The split moves its two
//! copies apart in the one direction that explains the pair best: the leading singular vectors of the pair's
//! centred dependence. No vote and no random start is needed, and what the codes are called does not matter
//! (arXiv:1506.02975).

use crate::em::{EmError, check_length};
use crate::small::eigen;

/// Values of scratch that [`split_directions`] needs for columns of so many codes.
pub fn split_scratch_len(levels: usize, partner_levels: usize) -> usize {
    let fewest = levels.min(partner_levels);
    levels * partner_levels + 2 * fewest * fewest
}

/// The directions in which a class splits along two columns: `u` over the codes of one, `v` over those of the other.
///
/// `counts` is their pair table `[levels, partner's levels]` within the class. With
/// `H[a, b] = P[a, b] / (P[a]·P[b])` they are the leading singular vectors of `(I − 11ᵀ/r)·H·(I − 11ᵀ/s)`, of unit
/// length; for binary columns `±(1, −1)/√2` each, alike where the columns agree more often than by chance. The
/// largest value of `u` is positive. Both are zero where the columns are independent. A code that never shows
/// depends on nothing.
///
/// ```
/// # use mixlet_core::select::stagewise::{split_directions, split_scratch_len};
/// let (mut u, mut v) = ([f64::NAN; 2], [f64::NAN; 2]);
/// let mut scratch = vec![0.0; split_scratch_len(2, 2)];
/// split_directions(&[3.0, 1.0, 1.0, 3.0], &mut u, &mut v, &mut scratch).unwrap();
/// assert!((u[0] - 0.5f64.sqrt()).abs() < 1e-12 && (v[1] + 0.5f64.sqrt()).abs() < 1e-12);
/// ```
pub fn split_directions(
    counts: &[f64],
    u: &mut [f64],
    v: &mut [f64],
    scratch: &mut [f64],
) -> Result<(), EmError> {
    check_length("pair table", counts.len(), u.len() * v.len())?;
    check_length("scratch", scratch.len(), split_scratch_len(u.len(), v.len()))?;
    let (centred, scratch) = scratch.split_at_mut_checked(counts.len()).unwrap_or_default();
    centred_dependence(counts, v.len(), centred);
    // The smaller of H·Hᵀ and Hᵀ·H has the same leading value.
    if u.len() <= v.len() {
        leading_direction(centred, v.len(), false, u, scratch);
        project(centred, v.len(), true, u, v);
    } else {
        leading_direction(centred, v.len(), true, v, scratch);
        project(centred, v.len(), false, v, u);
    }
    let largest =
        u.iter().copied().fold(0.0, |most: f64, value| if value.abs() > most.abs() { value } else { most });
    if largest < 0.0 {
        u.iter_mut().chain(v).for_each(|value| *value = -*value);
    }
    Ok(())
}

/// `P[a, b] / (P[a]·P[b])`, less the means of its rows and columns.
fn centred_dependence(counts: &[f64], levels: usize, out: &mut [f64]) {
    let total: f64 = counts.iter().sum();
    let levels = levels.max(1);
    let column_sum = |b: usize| counts.iter().skip(b).step_by(levels).sum::<f64>();
    for (out, counts) in out.chunks_exact_mut(levels).zip(counts.chunks_exact(levels)) {
        let row_sum: f64 = counts.iter().sum();
        for ((b, out), count) in out.iter_mut().enumerate().zip(counts) {
            let expected = row_sum * column_sum(b);
            *out = if expected > 0.0 { count * total / expected } else { 1.0 };
        }
        let mean = out.iter().sum::<f64>() / levels as f64;
        out.iter_mut().for_each(|value| *value -= mean);
    }
    let rows = (out.len() / levels).max(1) as f64;
    for b in 0..levels {
        let mean = out.iter().skip(b).step_by(levels).sum::<f64>() / rows;
        out.iter_mut().skip(b).step_by(levels).for_each(|value| *value -= mean);
    }
}

/// The leading eigenvector of `H·Hᵀ`, or of `Hᵀ·H`, for `H` `[·, levels]`.
fn leading_direction(h: &[f64], levels: usize, transposed: bool, out: &mut [f64], scratch: &mut [f64]) {
    let n = out.len();
    let (square, vectors) = scratch.split_at_mut_checked(n * n).unwrap_or_default();
    let entry = |line: usize, place: usize| {
        let index = if transposed { place * levels + line } else { line * levels + place };
        h.get(index).copied().unwrap_or(0.0)
    };
    let places = h.len() / n.max(1);
    for (place, value) in square.iter_mut().enumerate() {
        let (line, column) = (place / n.max(1), place % n.max(1));
        *value = (0..places).map(|other| entry(line, other) * entry(column, other)).sum();
    }
    eigen(square, n, vectors);
    let mut best = (0, f64::NEG_INFINITY);
    for (nth, &value) in square.iter().step_by(n.saturating_add(1)).enumerate() {
        if value > best.1 {
            best = (nth, value);
        }
    }
    let vector = vectors.chunks_exact(n.max(1)).nth(best.0).unwrap_or(&[]);
    // Rounding leaves a trace of 1e-32; a dependence that small is none.
    let is_dependent = best.1 > 1e-24;
    out.iter_mut().zip(vector).for_each(|(out, value)| *out = if is_dependent { *value } else { 0.0 });
}

/// `out = Hᵀ·x`, or `H·x`, at unit length; zero stays zero.
fn project(h: &[f64], levels: usize, transposed: bool, x: &[f64], out: &mut [f64]) {
    let levels = levels.max(1);
    for (place, out) in out.iter_mut().enumerate() {
        *out = if transposed {
            h.iter().skip(place).step_by(levels).zip(x).map(|(h, x)| h * x).sum()
        } else {
            h.iter().skip(place * levels).zip(x).map(|(h, x)| h * x).sum()
        };
    }
    let length = libm::sqrt(out.iter().map(|value| value * value).sum());
    if length > 0.0 {
        out.iter_mut().for_each(|value| *value /= length);
    }
}

/// Where a class is split: two columns' first cells and directions.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    /// The class.
    pub class: usize,
    /// The first cell of each of the two columns.
    pub cells: [usize; 2],
    /// A direction over the codes of each.
    pub directions: [&'a [f64]; 2],
    /// How far each copy moves.
    pub step: f64,
}

/// Splits a class: its copies have half its share each and differ by `± step · direction` in two columns.
///
/// `shares` is `[K]`, `probabilities` `[cells, K]`; the outputs are for `K + 1` classes, the new one last. They need
/// [`floor_probabilities`] before they are used.
pub fn split_class(
    split: Split<'_>,
    shares: &[f64],
    probabilities: &[f64],
    out_shares: &mut [f64],
    out: &mut [f64],
) -> Result<(), EmError> {
    let classes = shares.len();
    check_length("class shares", out_shares.len(), classes + 1)?;
    check_length("probabilities", out.len() * classes, probabilities.len() * (classes + 1))?;
    let half = shares.get(split.class).copied().unwrap_or(0.0) / 2.0;
    for (class, (out, share)) in out_shares.iter_mut().zip(shares.iter().chain([&half])).enumerate() {
        *out = if class == split.class { half } else { *share };
    }
    let cells = out.chunks_exact_mut(classes + 1).zip(probabilities.chunks_exact(classes.max(1)));
    for (cell, (out, values)) in cells.enumerate() {
        let copied = values.get(split.class).copied().unwrap_or(0.0);
        out.iter_mut().zip(values.iter().chain([&copied])).for_each(|(out, value)| *out = *value);
        for (&start, direction) in split.cells.iter().zip(split.directions) {
            let toward = cell.checked_sub(start).and_then(|code| direction.get(code)).copied().unwrap_or(0.0);
            if let Some(value) = out.get_mut(split.class) {
                *value += split.step * toward;
            }
            if let Some(value) = out.last_mut() {
                *value -= split.step * toward;
            }
        }
    }
    Ok(())
}

/// Raises probabilities `[cells, classes]` to a floor and makes each column's sum to one again.
///
/// `level_offsets` `[columns + 1]` says where columns start.
///
/// ```
/// # use mixlet_core::select::stagewise::floor_probabilities;
/// let mut probabilities = [1.05, 0.4, -0.05, 0.6]; // one column of two codes, two classes
/// floor_probabilities(0.002, &[0, 2], 2, &mut probabilities);
/// assert!((probabilities[2] - 0.002 / 1.052).abs() < 1e-12 && probabilities[3] == 0.6);
/// ```
pub fn floor_probabilities(floor: f64, level_offsets: &[u32], classes: usize, probabilities: &mut [f64]) {
    probabilities.iter_mut().for_each(|value| *value = value.max(floor));
    for pair in level_offsets.windows(2) {
        let &[start, end] = pair else { continue };
        let Some(column) = probabilities.get_mut(start as usize * classes..end as usize * classes) else {
            continue;
        };
        for class in 0..classes {
            let total: f64 = column.iter().skip(class).step_by(classes).sum();
            column.iter_mut().skip(class).step_by(classes).for_each(|value| *value /= total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_those_of_the_strongest_dependence() {
        struct Case<'a> {
            name: &'a str,
            counts: &'a [f64],
            u: &'a [f64],
            v: &'a [f64],
        }
        let half = core::f64::consts::FRAC_1_SQRT_2;
        let (two, one) = (libm::sqrt(2.0 / 3.0), libm::sqrt(1.0 / 6.0));
        let cases = [
            Case { name: "alike", counts: &[3.0, 1.0, 1.0, 3.0], u: &[half, -half], v: &[half, -half] },
            Case { name: "opposed", counts: &[1.0, 5.0, 5.0, 1.0], u: &[half, -half], v: &[-half, half] },
            Case { name: "independent", counts: &[2.0, 4.0, 1.0, 2.0], u: &[0.0; 2], v: &[0.0; 2] },
            Case { name: "never shown", counts: &[2.0, 2.0, 0.0, 0.0], u: &[0.0; 2], v: &[0.0; 2] },
            Case { name: "empty", counts: &[0.0; 4], u: &[0.0; 2], v: &[0.0; 2] },
            Case { name: "one code", counts: &[3.0, 1.0], u: &[0.0], v: &[0.0; 2] },
            // Code 0 of three goes with code 0 of two; the other two do not differ.
            Case {
                name: "three by two",
                counts: &[8.0, 2.0, 1.0, 4.0, 1.0, 4.0],
                u: &[two, -one, -one],
                v: &[half, -half],
            },
            Case {
                name: "two by three",
                counts: &[8.0, 1.0, 1.0, 2.0, 4.0, 4.0],
                u: &[half, -half],
                v: &[two, -one, -one],
            },
        ];
        for Case { name, counts, u, v } in cases {
            let (mut found_u, mut found_v) = ([f64::NAN; 3], [f64::NAN; 3]);
            let (found_u, found_v) = (&mut found_u[..u.len()], &mut found_v[..v.len()]);
            let mut scratch = [f64::NAN; 24];
            let scratch = &mut scratch[..split_scratch_len(u.len(), v.len())];
            split_directions(counts, found_u, found_v, scratch).unwrap();
            for (found, expected) in found_u.iter().zip(u).chain(found_v.iter().zip(v)) {
                assert!((found - expected).abs() < 1e-9, "{name}: {found_u:?} {found_v:?}");
            }
        }
    }

    #[test]
    fn a_split_halves_the_share_and_moves_the_copies_apart() {
        let split = Split { class: 1, cells: [0, 2], directions: [&[1.0, -1.0], &[-1.0, 1.0]], step: 0.1 };
        let probabilities = [0.3, 0.5, 0.7, 0.5, 0.2, 0.6, 0.8, 0.4];
        let (mut shares, mut out) = ([f64::NAN; 3], [f64::NAN; 12]);
        split_class(split, &[0.4, 0.6], &probabilities, &mut shares, &mut out).unwrap();
        assert_eq!(shares, [0.4, 0.3, 0.3]);
        let expected = [0.3, 0.6, 0.4, 0.7, 0.4, 0.6, 0.2, 0.5, 0.7, 0.8, 0.5, 0.3];
        assert!(
            out.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12),
            "{out:?}"
        );
    }
}
