//! The two loops over answers: log-joints of the expectation, counts of the accumulation.

use core::ops::Range;

use crate::numeric::copy;
use crate::observations::Answers;

/// `out[t, k] = ln π_k + Σ_(cells of t) ln C[cell, k]`, with the number of classes known to the compiler.
#[inline(always)]
pub(super) fn log_joints<const K: usize>(
    answers: Answers<'_>,
    rows: Range<usize>,
    shares: &[f64],
    table: &[f64],
    out: &mut [f64],
) {
    let table = table.as_chunks::<K>().0;
    let Some(shares) = shares.first_chunk::<K>() else {
        return;
    };
    for (cells, out) in answers.rows(rows).zip(out.as_chunks_mut::<K>().0) {
        let mut sum = *shares;
        for &cell in cells {
            if let Some(row) = table.get(cell as usize) {
                sum.iter_mut().zip(row).for_each(|(sum, log)| *sum += log);
            }
        }
        *out = sum;
    }
}

/// [`log_joints`] for any number of classes.
#[inline(always)]
pub(super) fn any_log_joints(
    answers: Answers<'_>,
    rows: Range<usize>,
    shares: &[f64],
    table: &[f64],
    out: &mut [f64],
) {
    let classes = shares.len().max(1);
    for (cells, out) in answers.rows(rows).zip(out.chunks_exact_mut(classes)) {
        copy(shares, out);
        for &cell in cells {
            let start = cell as usize * classes;
            let row = table.get(start..start + classes).unwrap_or(&[]);
            out.iter_mut().zip(row).for_each(|(sum, log)| *sum += log);
        }
    }
}

/// Adds each row's weighted posterior to the mass of the classes and to the counts of its cells.
#[inline(always)]
pub(super) fn add_rows<const K: usize>(
    answers: Answers<'_>,
    rows: Range<usize>,
    weights: Option<&[f64]>,
    responsibilities: &[f64],
    masses: &mut [f64],
    counts: &mut [f64],
) {
    let counts = counts.as_chunks_mut::<K>().0;
    let mut mass = [0.0; K];
    for (nth, (cells, posterior)) in answers.rows(rows).zip(responsibilities.as_chunks::<K>().0).enumerate() {
        let mut posterior = *posterior;
        if let Some(weight) = weights.and_then(|weights| weights.get(nth)) {
            posterior.iter_mut().for_each(|value| *value *= weight);
        }
        mass.iter_mut().zip(&posterior).for_each(|(mass, value)| *mass += value);
        for &cell in cells {
            if let Some(count) = counts.get_mut(cell as usize) {
                count.iter_mut().zip(&posterior).for_each(|(count, value)| *count += value);
            }
        }
    }
    masses.iter_mut().zip(&mass).for_each(|(total, mass)| *total += mass);
}

/// [`add_rows`] for any number of classes.
#[inline(always)]
pub(super) fn add_any_rows(
    answers: Answers<'_>,
    rows: Range<usize>,
    weights: Option<&[f64]>,
    responsibilities: &[f64],
    masses: &mut [f64],
    counts: &mut [f64],
) {
    let classes = masses.len().max(1);
    for (nth, (cells, posterior)) in
        answers.rows(rows).zip(responsibilities.chunks_exact(classes)).enumerate()
    {
        let weight = weights.and_then(|weights| weights.get(nth)).copied().unwrap_or(1.0);
        masses.iter_mut().zip(posterior).for_each(|(mass, value)| *mass += weight * value);
        for &cell in cells {
            let start = cell as usize * classes;
            let row = counts.get_mut(start..start + classes).unwrap_or(&mut []);
            row.iter_mut().zip(posterior).for_each(|(count, value)| *count += weight * value);
        }
    }
}
