//! Dawid–Skene: a categorical mixture whose columns are workers.
//!
//! `P(answers of task t, class k) = π_k · Π_(worker i said a) C[i, a, k]`, with `C[i, ·, k]` worker `i`'s
//! answers to tasks of class `k` (Dawid & Skene 1979). Labels and classes need not be the same sets:
//! any mixture of sparse categorical columns with equally many codes is this model.
//!
//! *Why a table of logarithms in cell order:* the expectation of a task is then a sum of table rows,
//! one per answer, `classes` values each, and nothing else.

use core::ops::Range;

use super::{EmError, LatentClassModel, ModelShape, RowFacts, check_length, check_number};
use crate::numeric::{ln_slice, softmax_rows};
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
        let (shares, table) = log_parameters.split_at_mut(shape.classes);
        shares.fill(-libm::log(shape.classes as f64));
        match prior.frozen_conditionals {
            Some(conditionals) => {
                table.copy_from_slice(conditionals);
                ln_slice(table);
            }
            None => table.fill(-libm::log(shape.labels as f64)),
        }
        Ok(Self { answers, shape, facts, prior, log_parameters })
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
        let (log_shares, table) = self.log_parameters.split_at_mut(self.shape.classes);
        log_shares.copy_from_slice(shares);
        table.copy_from_slice(conditionals);
        self.take_logarithms();
        Ok(())
    }

    /// The parameters that maximise the expected objective, given the statistics.
    ///
    /// `π_k = (N_k + c) / Σ (N_l + c)`, `C[i, a, k] = (n[i, a, k] + s[i, a, k]) / Σ_b (n[i, b, k] + s[i, b, k])`
    /// with `n` the statistics and `s` the pseudocounts, plus [`FLOOR`]. A worker without answers gets the prior's mean.
    pub fn probabilities(&self, statistics: &[f64], shares: &mut [f64], conditionals: &mut [f64]) {
        estimate(self.shape, &self.prior, statistics, shares, conditionals);
    }

    /// Turns probabilities held in `log_parameters` into what the expectation adds.
    fn take_logarithms(&mut self) {
        let (shares, table) = self.log_parameters.split_at_mut(self.shape.classes);
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

    /// The pseudocount of a worker's `nth` value, out of `table_row` = labels · classes.
    #[inline(always)]
    fn of(&self, worker: usize, nth: usize, table_row: usize) -> f64 {
        let shared = self.shared.and_then(|shared| shared.get(nth)).copied().unwrap_or(0.0);
        let start = worker * table_row + nth;
        let earlier = self.earlier.and_then(|earlier| earlier.get(start)).copied().unwrap_or(0.0);
        FLOOR + self.pseudocount + shared + earlier
    }
}

/// The maximisation step; see [`DawidSkene::probabilities`].
fn estimate(
    shape: DawidSkeneShape,
    prior: &Prior<'_>,
    statistics: &[f64],
    shares: &mut [f64],
    conditionals: &mut [f64],
) {
    estimate_shares(prior, statistics, shares);
    let counts = statistics.get(shape.classes..).unwrap_or(&[]);
    let table_row = shape.labels * shape.classes;
    let workers = conditionals.chunks_exact_mut(table_row).zip(counts.chunks_exact(table_row));
    for (worker, (rows, counts)) in workers.enumerate() {
        for (nth, (probability, count)) in rows.iter_mut().zip(counts).enumerate() {
            *probability = count + prior.of(worker, nth, table_row);
        }
        for class in 0..shape.classes {
            let total = rows.iter().skip(class).step_by(shape.classes).sum::<f64>();
            let of_class = rows.iter_mut().skip(class).step_by(shape.classes);
            of_class.for_each(|probability| *probability /= total);
        }
    }
}

/// The class shares alone, from the first statistics.
fn estimate_shares(prior: &Prior<'_>, statistics: &[f64], shares: &mut [f64]) {
    let masses = statistics.get(..shares.len()).unwrap_or(&[]);
    let total = masses.iter().map(|mass| mass + prior.class_pseudocount).sum::<f64>();
    let even = prior.uniform_shares || total <= 0.0;
    let classes = shares.len() as f64;
    for (share, mass) in shares.iter_mut().zip(masses) {
        *share = if even { 1.0 / classes } else { (mass + prior.class_pseudocount) / total };
    }
}

impl LatentClassModel for DawidSkene<'_> {
    fn shape(&self) -> ModelShape {
        ModelShape {
            rows: self.answers.tasks(),
            classes: self.shape.classes,
            statistics: self.shape.parameters_len(),
        }
    }

    #[inline(always)]
    fn expectation(&self, rows: Range<usize>, responsibilities: &mut [f64]) -> Result<f64, EmError> {
        let classes = self.shape.classes;
        check_length("responsibilities", responsibilities.len(), rows.len() * classes)?;
        let (shares, table) = self.log_parameters.split_at(classes);
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

    fn maximize(&mut self, statistics: &[f64]) {
        let (shares, table) = self.log_parameters.split_at_mut(self.shape.classes);
        if self.prior.frozen_conditionals.is_some() {
            estimate_shares(&self.prior, statistics, shares);
            return shares.iter_mut().for_each(|share| *share = libm::log(*share));
        }
        estimate(self.shape, &self.prior, statistics, shares, table);
        self.take_logarithms();
    }

    fn log_prior(&self) -> f64 {
        let (shares, table) = self.log_parameters.split_at(self.shape.classes);
        let mut total = 0.0;
        if self.prior.class_pseudocount > 0.0 {
            total += self.prior.class_pseudocount * shares.iter().sum::<f64>();
        }
        if self.prior.frozen_conditionals.is_some() {
            return total;
        }
        let table_row = self.shape.labels * self.shape.classes;
        for (worker, rows) in table.chunks_exact(table_row).enumerate() {
            let weigh = |(nth, log): (usize, &f64)| self.prior.of(worker, nth, table_row) * log;
            total += rows.iter().enumerate().map(weigh).sum::<f64>();
        }
        total
    }
}

/// `out[t, k] = ln π_k + Σ_(cells of t) ln C[cell, k]`, with the number of classes known to the compiler.
#[inline(always)]
fn log_joints<const K: usize>(
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
fn any_log_joints(answers: Answers<'_>, rows: Range<usize>, shares: &[f64], table: &[f64], out: &mut [f64]) {
    let classes = shares.len();
    for (cells, out) in answers.rows(rows).zip(out.chunks_exact_mut(classes)) {
        out.copy_from_slice(shares);
        for &cell in cells {
            let start = cell as usize * classes;
            let row = table.get(start..start + classes).unwrap_or(&[]);
            out.iter_mut().zip(row).for_each(|(sum, log)| *sum += log);
        }
    }
}

/// Adds each row's weighted posterior to the mass of the classes and to the counts of its cells.
#[inline(always)]
fn add_rows<const K: usize>(
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
fn add_any_rows(
    answers: Answers<'_>,
    rows: Range<usize>,
    weights: Option<&[f64]>,
    responsibilities: &[f64],
    masses: &mut [f64],
    counts: &mut [f64],
) {
    let classes = masses.len();
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
