//! One coin per worker: right with probability `p`, else any other label equally likely.
//!
//! `C[i, a, k] = p_i` if `a = k`, else `(1 − p_i) / (K − 1)`. Fewer parameters than Dawid–Skene, blind to
//! workers who favour a label; with free class shares it may collapse onto one class.

use core::ops::Range;

use super::{EmError, LatentClassModel, ModelShape, RowFacts, check_length, check_number};
use crate::numeric::softmax_rows;
use crate::observations::Answers;

/// Accuracies stay this far from 0 and 1.
pub const ACCURACY_MARGIN: f64 = 1e-6;

/// Settings of a one-coin model.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OneCoinSettings {
    /// Class shares stay equal instead of being estimated.
    pub uniform_shares: bool,
    /// Added to the mass of every class.
    pub class_pseudocount: f64,
    /// Right answers every worker is assumed to have given before.
    pub right_pseudocount: f64,
    /// Wrong answers every worker is assumed to have given before.
    pub wrong_pseudocount: f64,
}

/// A one-coin model over answers; its parameters live in memory of the caller.
#[derive(Debug)]
pub struct OneCoin<'a> {
    answers: Answers<'a>,
    settings: OneCoinSettings,
    facts: RowFacts<'a>,
    /// `[labels]` log class shares, `[workers]` accuracies, `[workers, 2]` log-probability of a
    /// wrong answer and what a right one adds to it.
    parameters: &'a mut [f64],
}

/// Values the parameters of a [`OneCoin`] model need.
pub fn one_coin_parameters_len(answers: Answers<'_>) -> usize {
    answers.labels() + 3 * answers.workers()
}

impl<'a> OneCoin<'a> {
    /// A model with equal class shares and accuracies half-way between chance and one.
    ///
    /// `parameters` holds [`one_coin_parameters_len`] values.
    pub fn new(
        answers: Answers<'a>,
        settings: OneCoinSettings,
        facts: RowFacts<'a>,
        parameters: &'a mut [f64],
    ) -> Result<Self, EmError> {
        check_length("parameters", parameters.len(), one_coin_parameters_len(answers))?;
        facts.check(answers.tasks(), answers.labels())?;
        check_number("class pseudocount", settings.class_pseudocount)?;
        check_number("right pseudocount", settings.right_pseudocount)?;
        check_number("wrong pseudocount", settings.wrong_pseudocount)?;
        let labels = answers.labels() as f64;
        let mut model = Self { answers, settings, facts, parameters };
        let (shares, accuracies, _) = model.parts();
        shares.fill(-libm::log(labels));
        accuracies.fill(0.5 * (1.0 + 1.0 / labels));
        model.tabulate();
        Ok(model)
    }

    /// `[workers]`: the probability that each worker is right.
    pub fn accuracies(&self) -> &[f64] {
        let start = self.answers.labels();
        self.parameters.get(start..start + self.answers.workers()).unwrap_or(&[])
    }

    /// `[labels]`: the logarithms of the class shares.
    pub fn log_shares(&self) -> &[f64] {
        self.parameters.get(..self.answers.labels()).unwrap_or(&[])
    }

    /// Log class shares, accuracies, table.
    fn parts(&mut self) -> (&mut [f64], &mut [f64], &mut [f64]) {
        let (shares, rest) = self.parameters.split_at_mut(self.answers.labels());
        let (accuracies, table) = rest.split_at_mut(self.answers.workers());
        (shares, accuracies, table)
    }

    /// Fills the table from the accuracies.
    fn tabulate(&mut self) {
        let others = (self.answers.labels().max(2) - 1) as f64;
        let (_, accuracies, table) = self.parts();
        for (accuracy, entry) in accuracies.iter().zip(table.as_chunks_mut::<2>().0) {
            let wrong = libm::log((1.0 - accuracy) / others);
            *entry = [wrong, libm::log(*accuracy) - wrong];
        }
    }
}

impl LatentClassModel for OneCoin<'_> {
    fn shape(&self) -> ModelShape {
        ModelShape {
            rows: self.answers.tasks(),
            classes: self.answers.labels(),
            statistics: self.answers.labels() + 2 * self.answers.workers(),
        }
    }

    #[inline(always)]
    fn expectation(&self, rows: Range<usize>, responsibilities: &mut [f64]) -> Result<f64, EmError> {
        let (answers, classes) = (self.answers, self.answers.labels());
        check_length("responsibilities", responsibilities.len(), rows.len() * classes)?;
        let (shares, rest) = self.parameters.split_at(classes);
        let table = rest.get(answers.workers()..).unwrap_or(&[]).as_chunks::<2>().0;
        for (cells, out) in answers.rows(rows.clone()).zip(responsibilities.chunks_exact_mut(classes)) {
            out.copy_from_slice(shares);
            let mut all_wrong = 0.0;
            for &cell in cells {
                let Some([wrong, right]) = table.get(answers.worker(cell)) else { continue };
                all_wrong += wrong;
                if let Some(sum) = out.get_mut(answers.label(cell)) {
                    *sum += right;
                }
            }
            out.iter_mut().for_each(|sum| *sum += all_wrong);
        }
        self.facts.mask(rows.clone(), classes, responsibilities, f64::NEG_INFINITY);
        softmax_rows(responsibilities, classes, self.facts.weights_of(rows.clone()))
            .map_err(|nth| EmError::ImpossibleRow { row: rows.start + nth })
    }

    /// Statistics: `[labels]` class masses, then `[workers, 2]` right answers and all answers.
    #[inline(always)]
    fn accumulate(&self, rows: Range<usize>, responsibilities: &[f64], statistics: &mut [f64]) {
        let (answers, classes) = (self.answers, self.answers.labels());
        let weights = self.facts.weights_of(rows.clone());
        let Some((masses, counts)) = statistics.split_at_mut_checked(classes) else {
            return;
        };
        let counts = counts.as_chunks_mut::<2>().0;
        for (nth, (cells, posterior)) in
            answers.rows(rows).zip(responsibilities.chunks_exact(classes)).enumerate()
        {
            let weight = weights.and_then(|weights| weights.get(nth)).copied().unwrap_or(1.0);
            masses.iter_mut().zip(posterior).for_each(|(mass, value)| *mass += weight * value);
            for &cell in cells {
                let right = posterior.get(answers.label(cell)).copied().unwrap_or(0.0);
                if let Some([right_sum, all]) = counts.get_mut(answers.worker(cell)) {
                    *right_sum += weight * right;
                    *all += weight;
                }
            }
        }
    }

    fn maximize(&mut self, statistics: &[f64]) {
        let settings = self.settings;
        let Some((masses, counts)) = statistics.split_at_checked(self.answers.labels()) else {
            return;
        };
        let (shares, accuracies, _) = self.parts();
        if !settings.uniform_shares {
            let total = masses.iter().map(|mass| mass + settings.class_pseudocount).sum::<f64>();
            for (share, mass) in shares.iter_mut().zip(masses) {
                *share = libm::log((mass + settings.class_pseudocount) / total);
            }
        }
        let earlier = settings.right_pseudocount + settings.wrong_pseudocount;
        for (accuracy, [right, all]) in accuracies.iter_mut().zip(counts.as_chunks::<2>().0) {
            let estimate = (right + settings.right_pseudocount) / (all + earlier);
            if estimate.is_finite() {
                *accuracy = estimate.clamp(ACCURACY_MARGIN, 1.0 - ACCURACY_MARGIN);
            }
        }
        self.tabulate();
    }

    fn log_prior(&self) -> f64 {
        let settings = self.settings;
        let mut total = 0.0;
        if !settings.uniform_shares && settings.class_pseudocount > 0.0 {
            total += settings.class_pseudocount * self.log_shares().iter().sum::<f64>();
        }
        for accuracy in self.accuracies() {
            total += settings.right_pseudocount * libm::log(*accuracy)
                + settings.wrong_pseudocount * libm::log(1.0 - accuracy);
        }
        total
    }
}
