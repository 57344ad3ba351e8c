//! Dawid–Skene: a categorical mixture whose columns are workers.
//!
//! `P(answers of task t, class k) = π_k · Π_(worker i said a) C[i, a, k]`, with `C[i, ·, k]` worker `i`'s
//! answers to tasks of class `k` (Dawid & Skene 1979). Labels and classes need not be the same sets:
//! any mixture of sparse categorical columns with equally many codes is this model.
//!
//! *Why a table of logarithms in cell order:* the expectation of a task is then a sum of table rows,
//! one per answer, `classes` values each, and nothing else.

mod rows;
mod two_classes;

use core::ops::Range;

pub use two_classes::{TwoClasses, two_classes_len};

use rows::{add_any_rows, add_rows, any_log_joints, log_joints};

use super::{EmError, LatentClassModel, ModelShape, RowFacts, check_length, check_number};
use crate::numeric::{copy, dot, ln_slice, softmax_rows, sum};
use crate::observations::Answers;

/// Added to every count, so that no probability is zero: small enough to change no published figure.
pub const FLOOR: f64 = 1e-10;

/// Pseudocounts: what a worker is assumed to have answered before. The default is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prior<'a> {
    /// Class shares stay equal instead of being estimated.
    pub uniform_shares: bool,
    /// `[cells, classes]`: conditionals that stay as they are; only the class shares are estimated.
    pub frozen_conditionals: Option<&'a [f64]>,
    /// Added to the mass of every class.
    pub class_pseudocount: f64,
    /// Added to every count of every worker.
    pub pseudocount: f64,
    /// `[labels, classes]`: added to the counts of every worker.
    pub shared: Option<&'a [f64]>,
    /// `[cells, classes]`: added to the counts of each worker on its own, such as those of an earlier fit.
    pub earlier: Option<&'a [f64]>,
}

/// The lengths of a Dawid–Skene model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DawidSkeneShape {
    /// Number of workers.
    pub workers: usize,
    /// Labels a worker may give.
    pub labels: usize,
    /// Latent classes.
    pub classes: usize,
}

impl DawidSkeneShape {
    /// The shape for a set of answers with as many classes as labels.
    pub fn of(answers: Answers<'_>) -> Self {
        Self { workers: answers.workers(), labels: answers.labels(), classes: answers.labels() }
    }

    /// Values in a table `[workers · labels, classes]`.
    pub fn table_len(&self) -> usize {
        self.workers * self.labels * self.classes
    }

    /// Values the model keeps, and as many expected sufficient statistics: `classes + table_len`.
    pub fn parameters_len(&self) -> usize {
        self.classes + self.table_len()
    }
}

/// A Dawid–Skene model over answers; its parameters live in memory of the caller.
#[derive(Debug)]
pub struct DawidSkene<'a> {
    answers: Answers<'a>,
    shape: DawidSkeneShape,
    facts: RowFacts<'a>,
    prior: Prior<'a>,
    /// `[classes]` log class shares, then `[cells, classes]` log conditionals.
    log_parameters: &'a mut [f64],
    /// The largest value that the pseudocounts' part of the log-prior can have.
    log_prior_mode: f64,
}

impl<'a> DawidSkene<'a> {
    /// A model with uniform parameters. `log_parameters` holds
    /// [`parameters_len`](DawidSkeneShape::parameters_len) values.
    pub fn new(
        answers: Answers<'a>,
        classes: usize,
        facts: RowFacts<'a>,
        prior: Prior<'a>,
        log_parameters: &'a mut [f64],
    ) -> Result<Self, EmError> {
        let shape = DawidSkeneShape { classes: classes.max(1), ..DawidSkeneShape::of(answers) };
        check_length("parameters", log_parameters.len(), shape.parameters_len())?;
        facts.check(answers.tasks(), shape.classes)?;
        prior.check(shape)?;
        let (shares, table) = log_parameters.split_at_mut_checked(shape.classes).unwrap_or_default();
        shares.fill(-libm::log(shape.classes as f64));
        match prior.frozen_conditionals {
            Some(conditionals) => {
                copy(conditionals, table);
                ln_slice(table);
            }
            None => table.fill(-libm::log(shape.labels as f64)),
        }
        let log_prior_mode = prior.mode(shape);
        Ok(Self { answers, shape, facts, prior, log_parameters, log_prior_mode })
    }

    /// The answers the model is fitted to.
    pub fn answers(&self) -> Answers<'a> {
        self.answers
    }

    /// `[cells, classes]`: logarithms of the conditionals.
    pub fn log_table(&self) -> &[f64] {
        self.log_parameters.get(self.shape.classes..).unwrap_or(&[])
    }

    /// `[classes]`: logarithms of the class shares.
    pub fn log_shares(&self) -> &[f64] {
        self.log_parameters.get(..self.shape.classes).unwrap_or(&[])
    }

    /// The facts about tasks that the model honours.
    pub fn facts(&self) -> RowFacts<'a> {
        self.facts
    }

    /// Sets the parameters: class shares `[classes]` and conditionals `[cells, classes]`, all positive.
    pub fn set_probabilities(&mut self, shares: &[f64], conditionals: &[f64]) -> Result<(), EmError> {
        check_length("class shares", shares.len(), self.shape.classes)?;
        check_length("conditionals", conditionals.len(), self.shape.table_len())?;
        let (log_shares, table) =
            self.log_parameters.split_at_mut_checked(self.shape.classes).unwrap_or_default();
        copy(shares, log_shares);
        copy(conditionals, table);
        self.take_logarithms();
        Ok(())
    }

    /// The parameters that maximise the expected objective, given the statistics.
    ///
    /// `π_k = (N_k + c) / Σ (N_l + c)`, `C[i, a, k] = (n[i, a, k] + s[i, a, k]) / Σ_b (n[i, b, k] + s[i, b, k])`
    /// with `n` the statistics and `s` the pseudocounts, plus [`FLOOR`]. A worker without answers gets the prior's mean.
    pub fn probabilities(&self, statistics: &[f64], shares: &mut [f64], conditionals: &mut [f64]) {
        let (masses, counts) = statistics.split_at_checked(self.shape.classes).unwrap_or((&[], &[]));
        conditionals.iter_mut().zip(counts).for_each(|(value, count)| *value = *count);
        estimate_shares(&self.prior, masses, shares);
        estimate_conditionals(self.shape, &self.prior, conditionals);
    }

    /// The maximisation, given the masses of the classes and counts `[cells, classes]` where the table is.
    #[inline(always)]
    fn maximize_counts(&mut self, masses: &[f64]) {
        let (shares, table) =
            self.log_parameters.split_at_mut_checked(self.shape.classes).unwrap_or_default();
        estimate_shares(&self.prior, masses, shares);
        if self.prior.frozen_conditionals.is_some() {
            return shares.iter_mut().for_each(|share| *share = libm::log(*share));
        }
        estimate_conditionals(self.shape, &self.prior, table);
        self.take_logarithms();
    }

    /// Turns probabilities held in `log_parameters` into what the expectation adds.
    #[inline(always)]
    fn take_logarithms(&mut self) {
        let (shares, table) =
            self.log_parameters.split_at_mut_checked(self.shape.classes).unwrap_or_default();
        shares.iter_mut().for_each(|share| *share = libm::log(*share));
        ln_slice(table);
    }
}

impl Prior<'_> {
    fn check(&self, shape: DawidSkeneShape) -> Result<(), EmError> {
        check_number("class pseudocount", self.class_pseudocount)?;
        check_number("pseudocount", self.pseudocount)?;
        for (what, values, expected) in [
            ("shared pseudocounts", self.shared, shape.labels * shape.classes),
            ("earlier counts", self.earlier, shape.table_len()),
            ("frozen conditionals", self.frozen_conditionals, shape.table_len()),
        ] {
            if let Some(values) = values {
                check_length(what, values.len(), expected)?;
                values.iter().try_for_each(|&value| check_number(what, value))?;
            }
        }
        Ok(())
    }

    /// What every cell of every worker gets.
    fn constant(&self) -> f64 {
        FLOOR + self.pseudocount
    }

    /// `Σ s · ln(s / Σ s)` over all cells: the log-prior where every worker answers as the pseudocounts say.
    /// The log-prior counts from there, so that it measures how far workers are from it and no more.
    fn mode(&self, shape: DawidSkeneShape) -> f64 {
        let table_len = shape.labels * shape.classes;
        let pseudocount = |worker: usize, nth: usize| {
            let shared = self.shared.and_then(|shared| shared.get(nth)).copied().unwrap_or(0.0);
            let earlier = self.earlier_of(worker * table_len, table_len).get(nth).copied().unwrap_or(0.0);
            self.constant() + shared + earlier
        };
        let of_worker = |worker: usize| {
            let of_class = |class: usize| {
                let cells =
                    || (class..table_len).step_by(shape.classes.max(1)).map(|nth| pseudocount(worker, nth));
                let total = cells().sum::<f64>();
                cells().map(|count| count * libm::log(count / total)).sum::<f64>()
            };
            (0..shape.classes).map(of_class).sum::<f64>()
        };
        match self.earlier {
            Some(_) => (0..shape.workers).map(of_worker).sum(),
            None => shape.workers as f64 * of_worker(0),
        }
    }

    /// The earlier counts of the worker whose table starts at `start`.
    fn earlier_of(&self, start: usize, table_len: usize) -> &[f64] {
        self.earlier.and_then(|earlier| earlier.get(start..start + table_len)).unwrap_or(&[])
    }
}

/// Turns counts `[cells, classes]` into conditionals; see [`DawidSkene::probabilities`].
#[inline(always)]
fn estimate_conditionals(shape: DawidSkeneShape, prior: &Prior<'_>, table: &mut [f64]) {
    let table_len = shape.labels * shape.classes;
    for (worker, table) in table.chunks_exact_mut(table_len.max(1)).enumerate() {
        let constant = prior.constant();
        table.iter_mut().for_each(|value| *value += constant);
        for more in [prior.shared.unwrap_or(&[]), prior.earlier_of(worker * table_len, table_len)] {
            table.iter_mut().zip(more).for_each(|(value, count)| *value += count);
        }
        normalize(table, shape.classes);
    }
}

/// Divides every column of a table `[labels, classes]` by its sum, eight columns at a time.
#[inline(always)]
fn normalize(table: &mut [f64], classes: usize) {
    const LANES: usize = 8;
    for first in (0..classes).step_by(LANES) {
        let mut scales = [0.0; LANES];
        for row in table.chunks_exact(classes) {
            let columns = row.get(first..).unwrap_or(&[]);
            scales.iter_mut().zip(columns).for_each(|(sum, value)| *sum += value);
        }
        scales.iter_mut().for_each(|scale| *scale = 1.0 / *scale);
        for row in table.chunks_exact_mut(classes) {
            let columns = row.get_mut(first..).unwrap_or(&mut []);
            columns.iter_mut().zip(&scales).for_each(|(value, scale)| *value *= scale);
        }
    }
}

/// The class shares, from the masses of the classes.
fn estimate_shares(prior: &Prior<'_>, masses: &[f64], shares: &mut [f64]) {
    let total = masses.iter().map(|mass| mass + prior.class_pseudocount).sum::<f64>();
    let even = prior.uniform_shares || total <= 0.0;
    let classes = shares.len() as f64;
    for (share, mass) in shares.iter_mut().zip(masses) {
        *share = if even { 1.0 / classes } else { (mass + prior.class_pseudocount) / total };
    }
}

impl LatentClassModel for DawidSkene<'_> {
    fn shape(&self) -> ModelShape {
        ModelShape::by_blocks(self.answers.tasks(), self.shape.classes, self.shape.parameters_len())
    }

    #[inline(always)]
    fn expectation(&self, rows: Range<usize>, responsibilities: &mut [f64]) -> Result<f64, EmError> {
        let classes = self.shape.classes;
        check_length("responsibilities", responsibilities.len(), rows.len() * classes)?;
        let (shares, table) = self.log_parameters.split_at_checked(classes).unwrap_or_default();
        match classes {
            2 => log_joints::<2>(self.answers, rows.clone(), shares, table, responsibilities),
            3 => log_joints::<3>(self.answers, rows.clone(), shares, table, responsibilities),
            4 => log_joints::<4>(self.answers, rows.clone(), shares, table, responsibilities),
            5 => log_joints::<5>(self.answers, rows.clone(), shares, table, responsibilities),
            6 => log_joints::<6>(self.answers, rows.clone(), shares, table, responsibilities),
            7 => log_joints::<7>(self.answers, rows.clone(), shares, table, responsibilities),
            8 => log_joints::<8>(self.answers, rows.clone(), shares, table, responsibilities),
            _ => any_log_joints(self.answers, rows.clone(), shares, table, responsibilities),
        }
        self.facts.mask(rows.clone(), classes, responsibilities, f64::NEG_INFINITY);
        softmax_rows(responsibilities, classes, self.facts.weights_of(rows.clone()))
            .map_err(|nth| EmError::ImpossibleRow { row: rows.start + nth })
    }

    #[inline(always)]
    fn accumulate(&self, rows: Range<usize>, responsibilities: &[f64], statistics: &mut [f64]) {
        let classes = self.shape.classes;
        let weights = self.facts.weights_of(rows.clone());
        let Some((masses, counts)) = statistics.split_at_mut_checked(classes) else {
            return;
        };
        match classes {
            2 => add_rows::<2>(self.answers, rows, weights, responsibilities, masses, counts),
            3 => add_rows::<3>(self.answers, rows, weights, responsibilities, masses, counts),
            4 => add_rows::<4>(self.answers, rows, weights, responsibilities, masses, counts),
            5 => add_rows::<5>(self.answers, rows, weights, responsibilities, masses, counts),
            6 => add_rows::<6>(self.answers, rows, weights, responsibilities, masses, counts),
            7 => add_rows::<7>(self.answers, rows, weights, responsibilities, masses, counts),
            8 => add_rows::<8>(self.answers, rows, weights, responsibilities, masses, counts),
            _ => add_any_rows(self.answers, rows, weights, responsibilities, masses, counts),
        }
    }

    #[inline(always)]
    fn maximize(&mut self, statistics: &[f64]) {
        let (masses, counts) = statistics.split_at_checked(self.shape.classes).unwrap_or((&[], &[]));
        let table = self.log_parameters.get_mut(self.shape.classes..).unwrap_or(&mut []);
        if self.prior.frozen_conditionals.is_none() {
            table.iter_mut().zip(counts).for_each(|(value, count)| *value = *count);
        }
        self.maximize_counts(masses);
    }

    #[inline(always)]
    fn log_prior(&self) -> f64 {
        let (shares, table) = self.log_parameters.split_at_checked(self.shape.classes).unwrap_or_default();
        let mut total = 0.0;
        if self.prior.class_pseudocount > 0.0 {
            total += self.prior.class_pseudocount * shares.iter().sum::<f64>();
        }
        if self.prior.frozen_conditionals.is_some() {
            return total;
        }
        total += self.prior.constant() * sum(table) - self.log_prior_mode;
        let table_len = self.shape.labels * self.shape.classes;
        for (worker, logs) in table.chunks_exact(table_len.max(1)).enumerate() {
            total += dot(self.prior.shared.unwrap_or(&[]), logs);
            total += dot(self.prior.earlier_of(worker * table_len, table_len), logs);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class masses, then `[worker, label, class]`; worker 1 answered nothing.
    const STATISTICS: [f64; 10] = [3.0, 1.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    const OFFSETS: [u32; 5] = [0, 1, 2, 3, 4];
    const CELLS: [u32; 4] = [0, 0, 0, 1];

    fn answers() -> Answers<'static> {
        Answers::new(2, 2, &OFFSETS, &CELLS).unwrap()
    }

    #[test]
    fn estimates_are_counts_and_pseudocounts_normalised() {
        struct Case<'a> {
            name: &'a str,
            prior: Prior<'a>,
            shares: [f64; 2],
            /// `[worker, label, class]`.
            conditionals: [f64; 8],
        }
        let (third, none) = (1.0 / 3.0, Prior::default());
        // Worker 0 said 0 twice and 1 once to class 0, and 0 once to class 1.
        let plain = [2.0 * third, 1.0, third, 0.0, 0.5, 0.5, 0.5, 0.5];
        let cases = [
            Case { name: "none", prior: none, shares: [0.75, 0.25], conditionals: plain },
            Case {
                name: "uniform shares",
                prior: Prior { uniform_shares: true, ..none },
                shares: [0.5, 0.5],
                conditionals: plain,
            },
            Case {
                name: "class pseudocount",
                prior: Prior { class_pseudocount: 2.0, ..none },
                shares: [5.0 / 8.0, 3.0 / 8.0],
                conditionals: plain,
            },
            Case {
                name: "pseudocount",
                prior: Prior { pseudocount: 1.0, ..none },
                shares: [0.75, 0.25],
                conditionals: [0.6, 2.0 * third, 0.4, third, 0.5, 0.5, 0.5, 0.5],
            },
            Case {
                name: "shared: the same for every worker",
                prior: Prior { shared: Some(&[3.0, 1.0, 2.0, 4.0]), ..none },
                shares: [0.75, 0.25],
                conditionals: [5.0 / 8.0, 2.0 / 6.0, 3.0 / 8.0, 4.0 / 6.0, 0.6, 0.2, 0.4, 0.8],
            },
            Case {
                name: "earlier: each worker's own",
                prior: Prior { earlier: Some(&[1.0, 0.0, 0.0, 1.0, 1.0, 3.0, 3.0, 0.0]), ..none },
                shares: [0.75, 0.25],
                conditionals: [0.75, 0.5, 0.25, 0.5, 0.25, 1.0, 0.75, 0.0],
            },
            Case {
                name: "all together",
                prior: Prior {
                    class_pseudocount: 1.0,
                    pseudocount: 1.0,
                    shared: Some(&[0.0, 0.0, 1.0, 1.0]),
                    earlier: Some(&[1.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]),
                    ..none
                },
                shares: [4.0 / 6.0, 2.0 / 6.0],
                conditionals: [4.0 / 7.0, 3.0 / 5.0, 3.0 / 7.0, 2.0 / 5.0, third, 0.6, 2.0 * third, 0.4],
            },
        ];
        for Case { name, prior, shares, conditionals } in cases {
            let mut memory = [f64::NAN; 10];
            let mut model = DawidSkene::new(answers(), 2, RowFacts::default(), prior, &mut memory).unwrap();
            let (mut found_shares, mut found) = ([f64::NAN; 2], [f64::NAN; 8]);
            model.probabilities(&STATISTICS, &mut found_shares, &mut found);
            model.maximize(&STATISTICS);
            for (nth, (found, expected)) in
                found_shares.iter().chain(&found).zip(shares.iter().chain(&conditionals)).enumerate()
            {
                assert!((found - expected).abs() < 1e-9, "{name}, {nth}: {found}, expected {expected}");
                let log = model.log_shares().iter().chain(model.log_table()).nth(nth).unwrap();
                assert!((log - libm::log(*found)).abs() < 1e-12, "{name}, {nth}: {log}");
            }
            // ln of the density: pseudocounts times logarithms, counted from where it is largest.
            let mut log_prior = prior.class_pseudocount * model.log_shares().iter().sum::<f64>();
            for (nth, log) in model.log_table().iter().enumerate() {
                let of = |table: Option<&[f64]>, nth: usize| table.map_or(0.0, |table| table[nth]);
                let pseudocount = |nth: usize| {
                    FLOOR + prior.pseudocount + of(prior.shared, nth % 4) + of(prior.earlier, nth)
                };
                // The other label of the same worker and class stands two places on or back.
                let both = pseudocount(nth) + pseudocount(nth ^ 2);
                log_prior += pseudocount(nth) * (log - libm::log(pseudocount(nth) / both));
            }
            assert!(
                (model.log_prior() - log_prior).abs() < 1e-12,
                "{name}: {} {log_prior}",
                model.log_prior()
            );
        }
    }

    #[test]
    fn frozen_conditionals_stay() {
        let conditionals = [0.9, 0.2, 0.1, 0.8, 0.7, 0.4, 0.3, 0.6];
        let prior = Prior { frozen_conditionals: Some(&conditionals), ..Prior::default() };
        let mut memory = [f64::NAN; 10];
        let mut model = DawidSkene::new(answers(), 2, RowFacts::default(), prior, &mut memory).unwrap();
        model.maximize(&STATISTICS);
        for (log, expected) in model.log_table().iter().zip(conditionals) {
            assert!((log - libm::log(expected)).abs() < 1e-15);
        }
        assert!((model.log_shares()[0] - libm::log(0.75)).abs() < 1e-15);
        assert_eq!(model.log_prior(), 0.0);
    }

    #[test]
    fn a_class_without_mass_keeps_no_share_and_no_opinion() {
        let mut memory = [f64::NAN; 10];
        let mut model =
            DawidSkene::new(answers(), 2, RowFacts::default(), Prior::default(), &mut memory).unwrap();
        model.maximize(&[4.0, 0.0, 3.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(model.log_shares(), [0.0, f64::NEG_INFINITY]);
        assert!((model.log_table()[1] - libm::log(0.5)).abs() < 1e-15);
        let mut posteriors = [f64::NAN; 8];
        model.expectation(0..4, &mut posteriors).unwrap();
        assert_eq!(posteriors, [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        // Nothing at all: shares are equal.
        model.maximize(&[0.0; 10]);
        assert_eq!(model.log_shares(), [libm::log(0.5); 2]);
    }
}
