//! Expectation–maximisation for latent-class models: one engine, any model.
//!
//! ```text
//!   start ─► maximize ─► ┌ expectation ► accumulate ┐ per block of rows ─► maximize ─► … ─► responsibilities
//!                        └──────── one sweep ───────┘
//! ```
//!
//! A model works on a block of rows, so the call through the trait costs nothing and a model may
//! tabulate. Expected sufficient statistics are one flat slice that adds: over blocks, threads and
//! hosts. The *objective*, log-likelihood + log-prior, never falls.

use core::ops::Range;

mod active;
pub mod bernoulli;
pub mod categorical;
pub mod criteria;
pub mod dawid_skene;
mod error;
mod facts;
mod lanes;
pub mod one_coin;
pub mod pooled;
pub mod spectral;
pub mod start;
pub mod stepwise;

pub use active::ActiveColumns;
pub use error::EmError;
pub(crate) use error::{check_length, check_number};
pub use facts::RowFacts;
pub use lanes::Lane;

/// Marks a row whose class is not known, in a slice of known classes.
pub const UNKNOWN: u32 = u32::MAX;

/// Rows a block holds: its responsibilities stay in the first-level cache.
pub const BLOCK_ROWS: usize = 256;

/// The lengths a latent-class model works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// Rows (tasks, items).
    pub rows: usize,
    /// Latent classes.
    pub classes: usize,
    /// Values in the slice of expected sufficient statistics.
    pub statistics: usize,
    /// Values of scratch that a sweep works in: at least the responsibilities of a block.
    pub scratch: usize,
}

impl ModelShape {
    /// The shape of a model that sweeps block by block.
    pub fn by_blocks(rows: usize, classes: usize, statistics: usize) -> Self {
        Self { rows, classes, statistics, scratch: BLOCK_ROWS.min(rows) * classes }
    }

    /// Values of scratch that [`sweep`] needs.
    pub fn sweep_scratch_len(&self) -> usize {
        self.scratch
    }
}

/// A mixture whose rows are independent given their class.
pub trait LatentClassModel {
    /// The lengths of everything the model reads and writes.
    fn shape(&self) -> ModelShape;

    /// Writes `P(class | row)` `[rows, classes]` and returns the log-likelihood of the rows, but for the
    /// [`constant`](Self::constant).
    fn expectation(&self, rows: Range<usize>, responsibilities: &mut [f64]) -> Result<f64, EmError>;

    /// Adds the rows' expected sufficient statistics.
    fn accumulate(&self, rows: Range<usize>, responsibilities: &[f64], statistics: &mut [f64]);

    /// Expectation and accumulation of the rows: block by block, unless the model knows a better way.
    ///
    /// Returns their log-likelihood; `scratch` holds [`ModelShape::scratch`] values.
    #[inline(always)]
    fn sweep(&self, rows: Range<usize>, statistics: &mut [f64], scratch: &mut [f64]) -> Result<f64, EmError> {
        let classes = self.shape().classes;
        let mut log_likelihood = 0.0;
        for start in rows.clone().step_by(BLOCK_ROWS) {
            let block = start..rows.end.min(start + BLOCK_ROWS);
            let Some(responsibilities) = scratch.get_mut(..block.len() * classes) else {
                continue;
            };
            log_likelihood += self.expectation(block.clone(), responsibilities)?;
            self.accumulate(block, responsibilities, statistics);
        }
        Ok(log_likelihood)
    }

    /// Sets the parameters that maximise the expected objective.
    fn maximize(&mut self, statistics: &[f64]);

    /// The log-density of the parameters under the prior, up to a constant.
    fn log_prior(&self) -> f64;

    /// What the log-likelihood of all rows has beside the sum of what [`expectation`](Self::expectation) returns:
    /// nothing, unless a model can tell a part of it without looking at the rows.
    fn constant(&self) -> f64 {
        0.0
    }
}

/// When a fit ends.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FitSettings {
    /// Rounds at most; at least one is done. A round is a maximisation and an expectation; the start's
    /// maximisation opens the first.
    pub rounds: u32,
    /// Stop when the objective gains less than this share of its size; 0 runs all rounds.
    pub tolerance: f64,
}

impl Default for FitSettings {
    /// 500 rounds are enough for every set we know; at 1e-7 labels have long stopped changing.
    fn default() -> Self {
        Self { rounds: 500, tolerance: 1e-7 }
    }
}

/// Why a fit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Stop {
    /// The objective gained less than the tolerance.
    Converged,
    /// All rounds were done.
    IterationLimit,
}

/// The state of a fit after a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// The round, from 1.
    pub round: u32,
    /// Log-likelihood of the rows, in nats.
    pub log_likelihood: f64,
    /// Log-likelihood + log-prior: what EM raises.
    pub objective: f64,
}

/// The result of a fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The last round.
    pub last: Round,
    /// Why it was the last.
    pub stop: Stop,
}

/// One pass over a range of rows: expectation and accumulation.
///
/// Adds to `statistics` and returns the rows' log-likelihood, as the expectation does. `scratch` holds
/// [`sweep_scratch_len`](ModelShape::sweep_scratch_len) values. Errors name the row.
#[inline(always)]
pub fn sweep<M: LatentClassModel + ?Sized>(
    model: &M,
    rows: Range<usize>,
    statistics: &mut [f64],
    scratch: &mut [f64],
) -> Result<f64, EmError> {
    let shape = model.shape();
    check_length("statistics", statistics.len(), shape.statistics)?;
    check_length("scratch", scratch.len(), shape.sweep_scratch_len())?;
    model.sweep(rows, statistics, scratch)
}

/// Raises the objective round by round until it gains no more.
///
/// The model must have been given parameters: by a start, or by hand. `sweep` zeroes and fills the
/// statistics and returns what expectations do, summed over all rows: [`fit`] passes [`sweep`](sweep()), a
/// runtime with threads its own. `observe` sees every round.
#[inline(always)]
pub fn fit_with<M: LatentClassModel>(
    model: &mut M,
    settings: FitSettings,
    statistics: &mut [f64],
    mut sweep: impl FnMut(&M, &mut [f64]) -> Result<f64, EmError>,
    mut observe: impl FnMut(Round),
) -> Result<Fit, EmError> {
    check_number("tolerance", settings.tolerance)?;
    check_length("statistics", statistics.len(), model.shape().statistics)?;
    let mut previous = f64::NEG_INFINITY;
    let mut round = 1;
    loop {
        let log_likelihood = sweep(model, statistics)? + model.constant();
        let last = Round { round, log_likelihood, objective: log_likelihood + model.log_prior() };
        if !last.objective.is_finite() {
            return Err(EmError::NotFinite { round });
        }
        observe(last);
        // Without a tolerance a fall in the last place is no reason to stop.
        let gained = last.objective - previous;
        if settings.tolerance > 0.0 && gained < settings.tolerance * libm::fabs(last.objective) {
            return Ok(Fit { last, stop: Stop::Converged });
        }
        if round >= settings.rounds {
            return Ok(Fit { last, stop: Stop::IterationLimit });
        }
        previous = last.objective;
        model.maximize(statistics);
        round += 1;
    }
}

/// [`fit_with`] on one thread. `scratch` holds [`sweep_scratch_len`](ModelShape::sweep_scratch_len) values.
pub fn fit<M: LatentClassModel>(
    model: &mut M,
    settings: FitSettings,
    statistics: &mut [f64],
    scratch: &mut [f64],
) -> Result<Fit, EmError> {
    let one_thread = |model: &M, statistics: &mut [f64]| {
        statistics.fill(0.0);
        sweep(model, 0..model.shape().rows, statistics, scratch)
    };
    fit_with(model, settings, statistics, one_thread, |_| ())
}

/// The index of the largest value; ties go to the lower index.
///
/// ```
/// # use mixlet_core::em::most_likely_class;
/// assert_eq!(most_likely_class(&[0.2, 0.4, 0.4]), 1);
/// ```
pub fn most_likely_class(posterior: &[f64]) -> usize {
    let mut best = 0;
    let mut largest = f64::NEG_INFINITY;
    for (class, &probability) in posterior.iter().enumerate() {
        if probability > largest {
            (best, largest) = (class, probability);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::dawid_skene::{DawidSkene, Prior};
    use super::*;
    use crate::observations::Answers;

    /// Two tasks, two workers, two labels.
    const OFFSETS: [u32; 3] = [0, 2, 3];
    const CELLS: [u32; 3] = [0, 2, 1];
    const PARAMETERS: usize = 10;

    fn answers() -> Answers<'static> {
        Answers::new(2, 2, &OFFSETS, &CELLS).unwrap()
    }

    const fn length(what: &'static str, found: usize, expected: usize) -> EmError {
        EmError::Length { what, found, expected }
    }

    #[test]
    fn every_invalid_fact_is_its_own_error() {
        struct Case<'a> {
            known: Option<&'a [u32]>,
            weights: Option<&'a [f64]>,
            expected: Result<(), EmError>,
        }
        let weight = |value| Err(EmError::NotANonNegativeNumber { what: "weight", value });
        let class = |row, class| Err(EmError::KnownClass { row, class, classes: 2 });
        let cases = [
            Case { known: None, weights: None, expected: Ok(()) },
            Case { known: Some(&[UNKNOWN, 1]), weights: Some(&[0.0, 2.5]), expected: Ok(()) },
            Case { known: Some(&[1]), weights: None, expected: Err(length("known classes", 1, 2)) },
            Case { known: Some(&[0, 2]), weights: None, expected: class(1, 2) },
            Case { known: Some(&[UNKNOWN - 1, 0]), weights: None, expected: class(0, UNKNOWN - 1) },
            Case { known: None, weights: Some(&[1.0; 3]), expected: Err(length("weights", 3, 2)) },
            Case { known: None, weights: Some(&[1.0, -1.0]), expected: weight(-1.0) },
            Case { known: None, weights: Some(&[f64::INFINITY, 0.0]), expected: weight(f64::INFINITY) },
        ];
        for Case { known, weights, expected } in cases {
            let facts = RowFacts { known_classes: known, weights };
            assert_eq!(facts.check(2, 2), expected, "{facts:?}");
            let made =
                DawidSkene::new(answers(), 2, facts, Prior::default(), &mut [0.0; PARAMETERS]).map(drop);
            assert_eq!(made, expected, "{facts:?}");
        }
        let facts = RowFacts { known_classes: None, weights: Some(&[f64::NAN, 0.0]) };
        let Err(EmError::NotANonNegativeNumber { what: "weight", value }) = facts.check(2, 2) else {
            panic!("a weight that is no number");
        };
        assert!(value.is_nan());
    }

    #[test]
    fn every_invalid_prior_is_its_own_error() {
        struct Case<'a> {
            prior: Prior<'a>,
            expected: EmError,
        }
        let number = |what, value| EmError::NotANonNegativeNumber { what, value };
        let none = Prior::default();
        let cases = [
            Case {
                prior: Prior { class_pseudocount: -1.0, ..none },
                expected: number("class pseudocount", -1.0),
            },
            Case {
                prior: Prior { pseudocount: f64::INFINITY, ..none },
                expected: number("pseudocount", f64::INFINITY),
            },
            Case {
                prior: Prior { shared: Some(&[1.0; 3]), ..none },
                expected: length("shared pseudocounts", 3, 4),
            },
            Case {
                prior: Prior { shared: Some(&[0.0, 0.0, -2.0, 0.0]), ..none },
                expected: number("shared pseudocounts", -2.0),
            },
            Case {
                prior: Prior { earlier: Some(&[1.0; 9]), ..none },
                expected: length("earlier counts", 9, 8),
            },
            Case {
                prior: Prior { earlier: Some(&[-3.0; 8]), ..none },
                expected: number("earlier counts", -3.0),
            },
        ];
        for Case { prior, expected } in cases {
            let mut memory = [0.0; PARAMETERS];
            let made = DawidSkene::new(answers(), 2, RowFacts::default(), prior, &mut memory);
            assert_eq!(made.map(drop), Err(expected), "{prior:?}");
        }
    }

    #[test]
    fn every_wrong_length_and_tolerance_is_its_own_error() {
        let make = |memory: &mut [f64]| {
            DawidSkene::new(answers(), 2, RowFacts::default(), Prior::default(), memory).map(drop)
        };
        assert_eq!(make(&mut [0.0; 11]), Err(length("parameters", 11, PARAMETERS)));

        let mut memory = [0.0; PARAMETERS];
        let facts = RowFacts::default();
        let mut model = DawidSkene::new(answers(), 2, facts, Prior::default(), &mut memory).unwrap();
        struct Case {
            tolerance: f64,
            statistics: usize,
            scratch: usize,
            expected: Result<Stop, EmError>,
        }
        let good =
            Case { tolerance: 0.0, statistics: PARAMETERS, scratch: 4, expected: Ok(Stop::IterationLimit) };
        let cases = [
            Case { statistics: 9, expected: Err(length("statistics", 9, PARAMETERS)), ..good },
            Case { scratch: 5, expected: Err(length("scratch", 5, 4)), ..good },
            Case {
                tolerance: -0.1,
                expected: Err(EmError::NotANonNegativeNumber { what: "tolerance", value: -0.1 }),
                ..good
            },
            Case { tolerance: 1e9, expected: Ok(Stop::Converged), ..good },
            good,
        ];
        for Case { tolerance, statistics, scratch, expected } in cases {
            let (mut statistics_memory, mut scratch_memory) = ([0.0; 11], [0.0; 5]);
            let statistics = statistics_memory.get_mut(..statistics).unwrap();
            let scratch = scratch_memory.get_mut(..scratch).unwrap();
            let settings = FitSettings { rounds: 2, tolerance };
            let fit = fit(&mut model, settings, statistics, scratch);
            assert_eq!(fit.map(|fit| fit.stop), expected);
        }
        assert_eq!(model.expectation(0..2, &mut [0.0; 3]), Err(length("responsibilities", 3, 4)));
        assert_eq!(model.set_probabilities(&[1.0], &[0.5; 8]), Err(length("class shares", 1, 2)));
        assert_eq!(model.set_probabilities(&[0.5; 2], &[0.5; 7]), Err(length("conditionals", 7, 8)));
        assert_eq!(
            start::from_vote(&mut model, &mut [0.0; 9], &mut [0.0; 4]),
            Err(length("statistics", 9, 10))
        );
        assert_eq!(start::from_vote(&mut model, &mut [0.0; 10], &mut [0.0; 3]), Err(length("scratch", 3, 4)));
    }

    #[test]
    fn at_least_one_round_is_done_and_rounds_count_maximisations() {
        for (rounds, done) in [(0, 1), (1, 1), (2, 2), (7, 7)] {
            let (mut memory, mut statistics, mut scratch) = ([0.0; PARAMETERS], [0.0; PARAMETERS], [0.0; 4]);
            let facts = RowFacts::default();
            let mut model = DawidSkene::new(answers(), 2, facts, Prior::default(), &mut memory).unwrap();
            start::from_vote(&mut model, &mut statistics, &mut scratch).unwrap();
            let settings = FitSettings { rounds, tolerance: 0.0 };
            let fit = fit(&mut model, settings, &mut statistics, &mut scratch).unwrap();
            assert_eq!((fit.last.round, fit.stop), (done, Stop::IterationLimit), "{rounds}");
        }
    }

    #[test]
    fn the_likeliest_class_of_anything_is_an_index() {
        for (posterior, expected) in [
            (&[][..], 0),
            (&[0.3], 0),
            (&[0.5, 0.5], 0),
            (&[f64::NAN, 0.1, 0.2], 2),
            (&[f64::NEG_INFINITY; 2], 0),
        ] {
            assert_eq!(most_likely_class(posterior), expected, "{posterior:?}");
        }
    }
}
