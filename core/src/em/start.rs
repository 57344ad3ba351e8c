//! Starts of a fit: responsibilities from the vote or given ones, or random parameters.
//!
//! The spectral start has a file of its own, [`spectral`](super::spectral).

use core::ops::Range;

use rand_core::Rng;

use super::dawid_skene::DawidSkene;
use super::{EmError, LatentClassModel, RowFacts};
use crate::observations::Answers;

/// Shares of the votes: `out[t, k]` is the share of task `t`'s answers that say `k`.
///
/// Uniform for a task without such an answer; 1 for a known class. `out` is `[rows, labels]`.
///
/// ```
/// # use mixlet_core::{em::{RowFacts, start::vote_shares}, observations::Answers};
/// let answers = Answers::new(3, 2, &[0, 3, 3], &[0, 3, 5]).unwrap(); // labels 0, 1, 1; then a task nobody answered
/// let mut out = [f64::NAN; 4];
/// vote_shares(answers, RowFacts::default(), 0..2, &mut out);
/// assert_eq!(out, [1.0 / 3.0, 2.0 / 3.0, 0.5, 0.5]);
/// ```
pub fn vote_shares(answers: Answers<'_>, facts: RowFacts<'_>, rows: Range<usize>, out: &mut [f64]) {
    let labels = answers.labels().max(1);
    for (cells, votes) in answers.rows(rows.clone()).zip(out.chunks_exact_mut(labels)) {
        votes.fill(0.0);
        for &cell in cells {
            if let Some(votes) = votes.get_mut(answers.label(cell)) {
                *votes += 1.0;
            }
        }
        let (voters, even) = (cells.len() as f64, 1.0 / labels as f64);
        votes.iter_mut().for_each(|votes| *votes = if voters > 0.0 { *votes / voters } else { even });
    }
    facts.mask(rows.clone(), labels, out, 0.0);
    let Some(known) = facts.known_classes.and_then(|known| known.get(rows)) else {
        return;
    };
    for (votes, &class) in out.chunks_exact_mut(labels).zip(known) {
        if let Some(votes) = votes.get_mut(class as usize) {
            *votes = 1.0;
        }
    }
}

/// Gives the model the parameters that the vote implies: one maximisation from [`vote_shares`].
///
/// `statistics` and `scratch` are as in [`fit`](super::fit()).
pub fn from_vote(
    model: &mut DawidSkene<'_>,
    statistics: &mut [f64],
    scratch: &mut [f64],
) -> Result<(), EmError> {
    let shape = model.shape();
    super::check_length("classes", shape.classes, model.answers().labels())?;
    super::check_length("statistics", statistics.len(), shape.statistics)?;
    super::check_length("scratch", scratch.len(), shape.sweep_scratch_len())?;
    statistics.fill(0.0);
    for start in (0..shape.rows).step_by(super::BLOCK_ROWS) {
        let block = start..shape.rows.min(start + super::BLOCK_ROWS);
        let Some(votes) = scratch.get_mut(..block.len() * shape.classes) else {
            continue;
        };
        vote_shares(model.answers(), model.facts(), block.clone(), votes);
        model.accumulate(block, votes, statistics);
    }
    model.maximize(statistics);
    Ok(())
}

/// Random parameters: uniform class shares, conditionals uniform in `[0.2, 0.8]`, then normalised.
///
/// `shares` is `[classes]`, `conditionals` `[workers · labels, classes]`.
pub fn random_probabilities(
    random: &mut impl Rng,
    labels: usize,
    shares: &mut [f64],
    conditionals: &mut [f64],
) {
    let classes = shares.len();
    shares.fill(1.0 / classes as f64);
    for value in conditionals.iter_mut() {
        *value = 0.2 + 0.6 * uniform(random);
    }
    for rows in conditionals.chunks_exact_mut((labels * classes).max(1)) {
        for class in 0..classes {
            let total = rows.iter().skip(class).step_by(classes).sum::<f64>();
            rows.iter_mut().skip(class).step_by(classes).for_each(|value| *value /= total);
        }
    }
}

/// Gives the model the parameters that responsibilities `[rows, classes]` imply: one maximisation from them.
///
/// `statistics` is as in [`fit`](super::fit()).
pub fn from_responsibilities<M: LatentClassModel>(
    model: &mut M,
    responsibilities: &[f64],
    statistics: &mut [f64],
) -> Result<(), EmError> {
    let shape = model.shape();
    super::check_length("statistics", statistics.len(), shape.statistics)?;
    super::check_length("responsibilities", responsibilities.len(), shape.rows * shape.classes)?;
    statistics.fill(0.0);
    for start in (0..shape.rows).step_by(super::BLOCK_ROWS) {
        let block = start..shape.rows.min(start + super::BLOCK_ROWS);
        let values = responsibilities.get(start * shape.classes..block.end * shape.classes);
        model.accumulate(block, values.unwrap_or(&[]), statistics);
    }
    model.maximize(statistics);
    Ok(())
}

/// Class shares in proportion to masses and pseudocounts; equal where there are none.
#[inline(always)]
pub(crate) fn estimate_shares(masses: &[f64], pseudocount: f64, shares: &mut [f64]) {
    let total = masses.iter().map(|mass| mass + pseudocount).sum::<f64>();
    let even = 1.0 / shares.len() as f64;
    for (share, mass) in shares.iter_mut().zip(masses) {
        *share = if total > 0.0 { (mass + pseudocount) / total } else { even };
    }
}

/// A number in `[0, 1)` from the upper 53 bits of a random word.
pub(crate) fn uniform(random: &mut impl Rng) -> f64 {
    (random.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::em::UNKNOWN;

    #[test]
    fn votes_are_shares_and_known_classes_overrule_them() {
        struct Case<'a> {
            name: &'a str,
            cells: &'a [u32],
            known: Option<u32>,
            expected: [f64; 3],
        }
        let third = 1.0 / 3.0;
        let cases = [
            Case { name: "nobody", cells: &[], known: None, expected: [third; 3] },
            Case { name: "one", cells: &[4], known: None, expected: [0.0, 1.0, 0.0] },
            Case { name: "tie", cells: &[0, 5], known: None, expected: [0.5, 0.0, 0.5] },
            Case {
                name: "twice by one worker",
                cells: &[0, 0, 5],
                known: None,
                expected: [2.0 * third, 0.0, third],
            },
            Case { name: "unknown", cells: &[4], known: Some(UNKNOWN), expected: [0.0, 1.0, 0.0] },
            Case { name: "known", cells: &[4, 3], known: Some(1), expected: [0.0, 1.0, 0.0] },
            Case { name: "known against the vote", cells: &[4], known: Some(2), expected: [0.0, 0.0, 1.0] },
            Case { name: "known, nobody", cells: &[], known: Some(0), expected: [1.0, 0.0, 0.0] },
        ];
        for Case { name, cells, known, expected } in cases {
            // The task stands second: ranges are honoured.
            let offsets = [0, 0, u32::try_from(cells.len()).unwrap()];
            let answers = Answers::new(2, 3, &offsets, cells).unwrap();
            let known = known.map(|class| [0, class]);
            let facts = RowFacts { known_classes: known.as_ref().map(|known| &known[..]), weights: None };
            let mut out = [f64::NAN; 3];
            vote_shares(answers, facts, 1..2, &mut out);
            assert_eq!(out, expected, "{name}");
        }
    }

    #[test]
    fn random_parameters_are_distributions_away_from_zero() {
        struct Counter(u64);
        impl rand_core::TryRng for Counter {
            type Error = core::convert::Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
                Ok(0)
            }
            fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                Ok(self.0)
            }
            fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
                Ok(())
            }
        }
        let (mut shares, mut conditionals) = ([f64::NAN; 3], [f64::NAN; 5 * 2 * 3]);
        random_probabilities(&mut Counter(0), 2, &mut shares, &mut conditionals);
        assert_eq!(shares, [1.0 / 3.0; 3]);
        for table in conditionals.chunks_exact(6) {
            for class in 0..3 {
                let column = || table.iter().skip(class).step_by(3);
                assert!((column().sum::<f64>() - 1.0).abs() < 1e-15);
                // The extremes are 0.2 / (0.2 + 0.8) and 0.8 / (0.8 + 0.2).
                assert!(column().all(|value| (0.2..=0.8).contains(value)), "{table:?}");
            }
        }
    }
}
