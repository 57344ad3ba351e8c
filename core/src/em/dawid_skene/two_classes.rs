//! Two classes at half the traffic: one log-ratio and one count a cell instead of two of each.
//!
//! With `r[cell] = ln C[cell, 1] − ln C[cell, 0]` and `d_t = ln π_1 − ln π_0 + Σ_(cells of t) r[cell]`,
//!
//! ```text
//!   P(class 1 | t) = 1 / (1 + e^(−d_t))
//!   log-likelihood = Σ_t w_t · ln(1 + e^(d_t))  +  Σ_t w_t · ln π_0 + Σ_cells n[cell] · ln C[cell, 0]
//!                    └── by block of rows ────┘     └── the constant: once a round ────────────────┘
//! ```
//!
//! where `n` are the weighted answers of every cell, which no round changes: what class 1 does not hold of
//! them is class 0's. The difference is rounded to `10⁻¹⁶ · n`, far below the [`FLOOR`](super::FLOOR) that is added to every
//! count of a worker with less than a million answers; it is never taken below zero.

use core::ops::Range;

use super::DawidSkene;
use crate::em::{EmError, LatentClassModel, ModelShape, check_length};
use crate::numeric::softmax_rows;

/// A [`DawidSkene`] model of two classes while it is fitted: by log-ratios, to the same parameters up to rounding.
///
/// Statistics are the masses of both classes, then `[cells]` expected counts of class 1.
///
/// ```
/// # use mixlet_core::em::{FitSettings, Fit, RowFacts, LatentClassModel, fit, start};
/// # use mixlet_core::em::dawid_skene::{DawidSkene, Prior, TwoClasses, two_classes_len};
/// # use mixlet_core::observations::Answers;
/// // Workers 0 and 1 agree on four tasks; worker 2 contradicts them once.
/// let answers = Answers::new(3, 2, &[0, 3, 6, 9, 12], &[0, 2, 4, 1, 3, 5, 0, 2, 4, 1, 3, 4]).unwrap();
/// let (mut parameters, mut memory) = ([0.0; 14], [0.0; 12]);
/// let mut model = DawidSkene::new(answers, 2, RowFacts::default(), Prior::default(), &mut parameters).unwrap();
/// let mut ratios = TwoClasses::new(&mut model, &mut memory).unwrap();
/// let (mut statistics, mut scratch) = ([0.0; 2 + 6], [0.0; 8]);
/// start::vote_shares(answers, RowFacts::default(), 0..4, &mut scratch);
/// ratios.accumulate(0..4, &scratch, &mut statistics);
/// ratios.maximize(&statistics);
/// let fit = fit(&mut ratios, FitSettings::default(), &mut statistics, &mut scratch).unwrap();
/// // Half of the tasks in each class, worker 2 wrong in half of those of class 1.
/// assert!((fit.last.log_likelihood - 6.0 * 0.5f64.ln()).abs() < 1e-4);
/// assert!((model.log_shares()[1] - 0.5f64.ln()).abs() < 1e-4);
/// ```
#[derive(Debug)]
pub struct TwoClasses<'m, 'a> {
    model: &'m mut DawidSkene<'a>,
    /// `[cells]`: what an answer adds to the log-odds of class 1.
    ratios: &'m mut [f64],
    /// `[cells]`: weighted answers.
    counts: &'m [f64],
    /// The weight of all rows.
    rows_weight: f64,
}

/// Values of memory that [`TwoClasses`] needs beside its model's.
pub fn two_classes_len(cells: usize) -> usize {
    2 * cells
}

impl<'m, 'a> TwoClasses<'m, 'a> {
    /// Counts the answers of every cell. `memory` holds [`two_classes_len`] values; the model has two classes.
    pub fn new(model: &'m mut DawidSkene<'a>, memory: &'m mut [f64]) -> Result<Self, EmError> {
        check_length("classes", model.shape.classes, 2)?;
        let (answers, cells) = (model.answers, model.answers.cell_count());
        check_length("memory of two classes", memory.len(), two_classes_len(cells))?;
        let (ratios, counts) = memory.split_at_mut_checked(cells).unwrap_or_default();
        counts.fill(0.0);
        let weights = model.facts.weights_of(0..answers.tasks());
        let weight = |row: usize| weights.and_then(|weights| weights.get(row)).copied().unwrap_or(1.0);
        let mut rows_weight = 0.0;
        for (row, own) in answers.rows(0..answers.tasks()).enumerate() {
            rows_weight += weight(row);
            for &cell in own {
                if let Some(count) = counts.get_mut(cell as usize) {
                    *count += weight(row);
                }
            }
        }
        let mut model = Self { model, ratios, counts, rows_weight };
        model.tabulate();
        Ok(model)
    }

    #[inline(always)]
    fn tabulate(&mut self) {
        let logs = self.model.log_table().as_chunks::<2>().0;
        self.ratios.iter_mut().zip(logs).for_each(|(ratio, [first, second])| *ratio = second - first);
    }

    /// Log shares of the classes if ratios do: a known class, or one without any share, takes the logarithms themselves.
    fn log_shares(&self) -> Option<(f64, f64)> {
        match (self.model.facts.known_classes, self.model.log_shares()) {
            (None, &[first, second]) if first.is_finite() && second.is_finite() => Some((first, second)),
            _ => None,
        }
    }
}

impl LatentClassModel for TwoClasses<'_, '_> {
    fn shape(&self) -> ModelShape {
        ModelShape { statistics: 2 + self.counts.len(), ..self.model.shape() }
    }

    #[inline(always)]
    fn expectation(&self, rows: Range<usize>, responsibilities: &mut [f64]) -> Result<f64, EmError> {
        let Some((first, second)) = self.log_shares() else {
            return self.model.expectation(rows, responsibilities);
        };
        check_length("responsibilities", responsibilities.len(), 2 * rows.len())?;
        let pairs = responsibilities.as_chunks_mut::<2>().0;
        let (answers, ratios) = (self.model.answers, &*self.ratios);
        match answers.rows_of_one_length(rows.clone()) {
            Some((3, cells)) => log_odds(chunks::<3>(cells), second - first, ratios, pairs),
            Some((5, cells)) => log_odds(chunks::<5>(cells), second - first, ratios, pairs),
            Some((10, cells)) => log_odds(chunks::<10>(cells), second - first, ratios, pairs),
            _ => log_odds(answers.rows(rows.clone()), second - first, ratios, pairs),
        }
        softmax_rows(responsibilities, 2, self.model.facts.weights_of(rows.clone()))
            .map_err(|nth| EmError::ImpossibleRow { row: rows.start + nth })
    }

    #[inline(always)]
    fn accumulate(&self, rows: Range<usize>, responsibilities: &[f64], statistics: &mut [f64]) {
        let answers = self.model.answers;
        let weights = self.model.facts.weights_of(rows.clone());
        let posteriors = responsibilities.as_chunks::<2>().0;
        match answers.rows_of_one_length(rows.clone()) {
            Some((3, cells)) => add_counts(chunks::<3>(cells), posteriors, weights, statistics),
            Some((5, cells)) => add_counts(chunks::<5>(cells), posteriors, weights, statistics),
            Some((10, cells)) => add_counts(chunks::<10>(cells), posteriors, weights, statistics),
            _ => add_counts(answers.rows(rows), posteriors, weights, statistics),
        }
    }

    #[inline(always)]
    fn maximize(&mut self, statistics: &[f64]) {
        let (masses, seconds) = statistics.split_at_checked(2).unwrap_or((&[], &[]));
        let model = &mut *self.model;
        if model.prior.frozen_conditionals.is_none() {
            let table = model.log_parameters.get_mut(2..).unwrap_or(&mut []);
            for ((row, all), second) in table.as_chunks_mut::<2>().0.iter_mut().zip(self.counts).zip(seconds)
            {
                *row = [(all - second).max(0.0), *second];
            }
        }
        model.maximize_counts(masses);
        self.tabulate();
    }

    fn log_prior(&self) -> f64 {
        self.model.log_prior()
    }

    #[inline(always)]
    fn constant(&self) -> f64 {
        let Some((first, _)) = self.log_shares() else {
            return 0.0;
        };
        let firsts = self.model.log_table().iter().step_by(2);
        self.rows_weight * first + self.counts.iter().zip(firsts).map(|(n, log)| n * log).sum::<f64>()
    }
}

/// Rows of a length the compiler knows: it unrolls the loops over them, for a fifth of the time.
/// Three, five and ten answers a task are what most crowds are asked for.
#[inline(always)]
fn chunks<const LENGTH: usize>(cells: &[u32]) -> impl Iterator<Item = &[u32]> {
    cells.as_chunks::<LENGTH>().0.iter().map(<[u32; LENGTH]>::as_slice)
}

/// `out[t] = [0, prior + Σ_(cells of t) ratio]`: log-joints of both classes, less those of class 0.
#[inline(always)]
fn log_odds<'c>(rows: impl Iterator<Item = &'c [u32]>, prior: f64, ratios: &[f64], out: &mut [[f64; 2]]) {
    for (cells, out) in rows.zip(out) {
        let mut odds = prior;
        for &cell in cells {
            if let Some(ratio) = ratios.get(cell as usize) {
                odds += ratio;
            }
        }
        *out = [0.0, odds];
    }
}

/// Adds weighted posteriors to the masses of both classes, and those of class 1 to the counts of the cells.
#[inline(always)]
fn add_counts<'c>(
    rows: impl Iterator<Item = &'c [u32]>,
    posteriors: &[[f64; 2]],
    weights: Option<&[f64]>,
    statistics: &mut [f64],
) {
    let Some((masses, counts)) = statistics.split_first_chunk_mut::<2>() else {
        return;
    };
    let mut mass = [0.0; 2];
    for (nth, (cells, posterior)) in rows.zip(posteriors).enumerate() {
        let mut posterior = *posterior;
        if let Some(weight) = weights.and_then(|weights| weights.get(nth)) {
            posterior.iter_mut().for_each(|value| *value *= weight);
        }
        mass.iter_mut().zip(&posterior).for_each(|(mass, value)| *mass += value);
        let [_, second] = posterior;
        for &cell in cells {
            if let Some(count) = counts.get_mut(cell as usize) {
                *count += second;
            }
        }
    }
    masses.iter_mut().zip(mass).for_each(|(total, mass)| *total += mass);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::em::RowFacts;
    use crate::em::dawid_skene::Prior;
    use crate::observations::Answers;

    #[test]
    fn other_numbers_of_classes_and_lengths_of_memory_are_errors() {
        struct Case {
            classes: usize,
            memory: usize,
            expected: Result<(), EmError>,
        }
        let length = |what, found, expected| Err(EmError::Length { what, found, expected });
        let cases = [
            Case { classes: 2, memory: 8, expected: Ok(()) },
            Case { classes: 1, memory: 8, expected: length("classes", 1, 2) },
            Case { classes: 3, memory: 8, expected: length("classes", 3, 2) },
            Case { classes: 2, memory: 7, expected: length("memory of two classes", 7, 8) },
        ];
        for Case { classes, memory, expected } in cases {
            let answers = Answers::new(2, 2, &[0, 2], &[0, 3]).unwrap();
            let (mut parameters, mut values) = ([0.0; 15], [0.0; 8]);
            let parameters = parameters.get_mut(..classes + 4 * classes).unwrap();
            let (facts, prior) = (RowFacts::default(), Prior::default());
            let mut model = DawidSkene::new(answers, classes, facts, prior, parameters).unwrap();
            let made = TwoClasses::new(&mut model, values.get_mut(..memory).unwrap()).map(drop);
            assert_eq!(made, expected);
        }
    }

    #[test]
    fn a_class_without_mass_is_nobodys_class() {
        let answers = Answers::new(2, 2, &[0, 1, 2, 3, 4], &[0, 0, 0, 1]).unwrap();
        let (mut parameters, mut memory) = ([0.0; 10], [0.0; 8]);
        let mut model =
            DawidSkene::new(answers, 2, RowFacts::default(), Prior::default(), &mut parameters).unwrap();
        let mut model = TwoClasses::new(&mut model, &mut memory).unwrap();
        for (masses, expected) in [([4.0, 0.0], [1.0, 0.0]), ([0.0, 4.0], [0.0, 1.0])] {
            let [_, second] = masses;
            model.maximize(&[masses[0], second, 0.75 * second, 0.25 * second, 0.0, 0.0]);
            let mut posteriors = [f64::NAN; 8];
            let log_likelihood = model.expectation(0..4, &mut posteriors).unwrap() + model.constant();
            assert_eq!(posteriors.as_chunks::<2>().0, [expected; 4]);
            // Three answers with probability 3/4, one with 1/4.
            assert!((log_likelihood - libm::log(27.0 / 256.0)).abs() < 1e-8, "{log_likelihood}");
        }
    }
}
