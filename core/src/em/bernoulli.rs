//! Mixtures of many binary columns: `P(row, class k) = π_k · Π_c p[c, k]^x_c · (1 − p[c, k])^(1 − x_c)`.
//!
//! Rows are bits, parameters `f64` in memory of the caller. Missing values contribute nothing.

mod shape;

use core::ops::Range;

pub use shape::{BernoulliPrior, BernoulliShape};

use super::{ActiveColumns, EmError, Lane, LatentClassModel, ModelShape, RowFacts, check_length};
use crate::numeric::softmax_rows;
use crate::observations::PackedRows;
use crate::rand_core::Rng;

/// A mixture of binary columns over packed rows; `T` is the number its tables of logarithms hold.
///
/// ```
/// # use mixlet_core::em::bernoulli::{Bernoulli, BernoulliPrior, BernoulliShape};
/// # use mixlet_core::em::{LatentClassModel, RowFacts};
/// # use mixlet_core::observations::PackedRows;
/// // Two columns; class 0 has both set three times in four, class 1 one time in four.
/// let rows = PackedRows::new(2, 2, &[0b11, 0b01]).unwrap();
/// let shape = BernoulliShape::of(rows, 2);
/// let (mut parameters, mut tables) = ([0.0; 6], vec![0.0f64; shape.tables_len()]);
/// let prior = BernoulliPrior::default();
/// let mut model = Bernoulli::new(rows, 2, RowFacts::default(), prior, &mut parameters, &mut tables).unwrap();
/// model.set_probabilities(&[0.5, 0.5], &[0.75, 0.25, 0.75, 0.25]).unwrap();
/// let mut responsibilities = [f64::NAN; 4];
/// let log_likelihood = model.expectation(0..2, &mut responsibilities).unwrap();
/// assert!((responsibilities[0] - 0.9).abs() < 1e-12 && (responsibilities[2] - 0.5).abs() < 1e-12);
/// assert!((log_likelihood - (0.3125f64 * 0.1875).ln()).abs() < 1e-12);
/// ```
#[derive(Debug)]
pub struct Bernoulli<'a, T = f32> {
    rows: PackedRows<'a>,
    shape: BernoulliShape,
    facts: RowFacts<'a>,
    prior: BernoulliPrior,
    active: ActiveColumns<'a>,
    /// `[classes]` class shares, then `[columns, classes]` probabilities of a one.
    parameters: &'a mut [f64],
    tables: &'a mut [T],
}

impl<'a, T: Lane> Bernoulli<'a, T> {
    /// A model with equal shares and probabilities of one half. `parameters` holds
    /// [`parameters_len`](BernoulliShape::parameters_len) values, `tables` [`tables_len`](BernoulliShape::tables_len).
    pub fn new(
        rows: PackedRows<'a>,
        classes: usize,
        facts: RowFacts<'a>,
        prior: BernoulliPrior,
        parameters: &'a mut [f64],
        tables: &'a mut [T],
    ) -> Result<Self, EmError> {
        let shape = BernoulliShape::of(rows, classes);
        check_length("parameters", parameters.len(), shape.parameters_len())?;
        check_length("tables", tables.len(), shape.tables_len())?;
        facts.check(rows.rows(), shape.classes)?;
        prior.check()?;
        let (shares, probabilities) = parameters.split_at_mut(shape.classes);
        shares.fill(1.0 / shape.classes as f64);
        probabilities.fill(0.5);
        let active = ActiveColumns::default();
        let mut model = Self { rows, shape, facts, prior, active, parameters, tables };
        model.tabulate();
        Ok(model)
    }

    /// The lengths of the model.
    pub fn bernoulli_shape(&self) -> BernoulliShape {
        self.shape
    }

    /// The rows the model is fitted to.
    pub fn rows(&self) -> PackedRows<'a> {
        self.rows
    }

    /// `[classes]`: the share of each class.
    pub fn shares(&self) -> &[f64] {
        self.parameters.get(..self.shape.classes).unwrap_or(&[])
    }

    /// `[columns, classes]`: the probability of a one.
    pub fn probabilities(&self) -> &[f64] {
        self.parameters.get(self.shape.classes..).unwrap_or(&[])
    }

    /// Sets class shares `[classes]` and probabilities `[columns, classes]`; these are held to the prior's floor.
    pub fn set_probabilities(&mut self, shares: &[f64], probabilities: &[f64]) -> Result<(), EmError> {
        check_length("class shares", shares.len(), self.shape.classes)?;
        check_length("probabilities", probabilities.len(), self.shape.columns * self.shape.classes)?;
        let (own_shares, own) = self.parameters.split_at_mut(self.shape.classes);
        own_shares.copy_from_slice(shares);
        for (own, probability) in own.iter_mut().zip(probabilities) {
            *own = self.prior.within_floor(*probability);
        }
        self.tabulate();
        Ok(())
    }

    /// A random start: equal shares; both probabilities of a column uniform in `[0.2, 0.8]`, then normalised.
    pub fn set_random(&mut self, random: &mut impl Rng) {
        let (shares, probabilities) = self.parameters.split_at_mut(self.shape.classes);
        shares.fill(1.0 / self.shape.classes as f64);
        for probability in probabilities {
            let [zero, one] = [(); 2].map(|()| 0.2 + 0.6 * super::start::uniform(random));
            *probability = one / (zero + one);
        }
        self.tabulate();
    }

    /// Chooses the columns that the expectation uses.
    pub fn set_active(&mut self, active: ActiveColumns<'a>) -> Result<(), EmError> {
        active.check(self.shape.columns)?;
        self.active = active;
        self.tabulate();
        Ok(())
    }

    /// Puts other rows under the same parameters: those held out, or the same ones with other weights.
    ///
    /// Their number is free; columns, and whether values may be missing, are as before.
    pub fn set_rows(&mut self, rows: PackedRows<'a>, facts: RowFacts<'a>) -> Result<(), EmError> {
        let shape = BernoulliShape::of(rows, self.shape.classes);
        check_length("columns", shape.columns, self.shape.columns)?;
        check_length("tables", self.tables.len(), shape.tables_len())?;
        facts.check(rows.rows(), shape.classes)?;
        (self.rows, self.facts, self.shape) = (rows, facts, shape);
        Ok(())
    }

    fn tabulate(&mut self) {
        let classes = self.shape.classes;
        let probabilities = self.parameters.get(classes..).unwrap_or(&[]);
        let columns = probabilities.chunks_exact(classes).zip(self.tables.chunks_exact_mut(2 * classes));
        for (column, (probabilities, table)) in columns.enumerate() {
            let active = self.active.contains(column);
            let log = |value: f64| T::from_f64(if active { libm::log(value) } else { 0.0 });
            let (zeros, ones) = table.split_at_mut(classes);
            for ((zero, one), &probability) in zeros.iter_mut().zip(ones).zip(probabilities) {
                (*zero, *one) = (log(1.0 - probability), log(probability));
            }
        }
    }
}

impl<T: Lane> LatentClassModel for Bernoulli<'_, T> {
    fn shape(&self) -> ModelShape {
        ModelShape {
            rows: self.rows.rows(),
            classes: self.shape.classes,
            statistics: self.shape.statistics_len(),
        }
    }

    #[inline(always)]
    fn expectation(&self, rows: Range<usize>, responsibilities: &mut [f64]) -> Result<f64, EmError> {
        let classes = self.shape.classes;
        check_length("responsibilities", responsibilities.len(), rows.len() * classes)?;
        for (row, out) in rows.clone().zip(responsibilities.chunks_exact_mut(classes)) {
            out.iter_mut().zip(self.shares()).for_each(|(out, share)| *out = libm::log(*share));
            for (column, table) in self.tables.chunks_exact(2 * classes).enumerate() {
                let Some(value) = self.rows.value(row, column) else { continue };
                let (zeros, ones) = table.split_at(classes);
                let logs = if value { ones } else { zeros };
                out.iter_mut().zip(logs).for_each(|(out, log)| *out += log.to_f64());
            }
        }
        self.facts.mask(rows.clone(), classes, responsibilities, f64::NEG_INFINITY);
        softmax_rows(responsibilities, classes, self.facts.weights_of(rows.clone()))
            .map_err(|nth| EmError::ImpossibleRow { row: rows.start + nth })
    }

    /// Statistics: `[classes]` masses, `[columns, classes]` ones and, where values may be missing, as many values present.
    #[inline(always)]
    fn accumulate(&self, rows: Range<usize>, responsibilities: &[f64], statistics: &mut [f64]) {
        let classes = self.shape.classes;
        let weights = self.facts.weights_of(rows.clone());
        let Some((masses, counts)) = statistics.split_at_mut_checked(classes) else { return };
        let Some((ones, present)) = counts.split_at_mut_checked(self.shape.columns * classes) else { return };
        for (nth, (row, responsibilities)) in rows.zip(responsibilities.chunks_exact(classes)).enumerate() {
            let weight = weights.and_then(|weights| weights.get(nth)).copied().unwrap_or(1.0);
            let add = |sums: &mut [f64]| {
                sums.iter_mut().zip(responsibilities).for_each(|(sum, q)| *sum += weight * q);
            };
            add(masses);
            for column in 0..self.shape.columns {
                let Some(value) = self.rows.value(row, column) else { continue };
                let cells = column * classes..(column + 1) * classes;
                if let Some(present) = present.get_mut(cells.clone()) {
                    add(present);
                }
                if let (true, Some(ones)) = (value, ones.get_mut(cells)) {
                    add(ones);
                }
            }
        }
    }

    /// `π_k = (N_k + c) / Σ (N_l + c)`, `p = (ones + a) / (present + a + b)` within the floor. A class without
    /// mass keeps its probabilities.
    #[inline(always)]
    fn maximize(&mut self, statistics: &[f64]) {
        let classes = self.shape.classes;
        let (shares, probabilities) = self.parameters.split_at_mut(classes);
        let Some((masses, counts)) = statistics.split_at_checked(classes) else { return };
        let Some((ones, present)) = counts.split_at_checked(self.shape.columns * classes) else { return };
        super::start::estimate_shares(masses, self.prior.class_pseudocount, shares);
        let columns = probabilities.chunks_exact_mut(classes).zip(ones.chunks_exact(classes));
        for (column, (probabilities, ones)) in columns.enumerate() {
            if self.active.maximizes(column) {
                let present = present.get(column * classes..(column + 1) * classes).unwrap_or(masses);
                self.prior.estimate(ones, present, probabilities);
            }
        }
        self.tabulate();
    }

    fn log_prior(&self) -> f64 {
        self.prior.log_density(self.shares(), self.probabilities(), self.active)
    }
}
