//! Mixtures of many binary columns: `P(row, class k) = π_k · Π_c p[c, k]^x_c · (1 − p[c, k])^(1 − x_c)`.
//!
//! Rows are bits, parameters `f64` in memory of the caller. Missing values contribute nothing. Sums over groups of
//! columns are tabulated once a round and looked up, in `f32` or `f64`; sums over words and rows are `f64`.
//!
//! A sweep takes 250 kB of stack with `f32` tables, half as much again with `f64`. Where memory is scarcer,
//! [`BernoulliStream`] learns row by row.

mod absent;
mod columns;
mod counts;
mod shape;
mod stream;
mod tables;

use core::ops::Range;

pub use absent::AbsentColumns;
use columns::BitColumns;
pub use shape::{BernoulliPrior, BernoulliShape};
pub use stream::{BernoulliStream, stream_scratch_len, stream_state_len};
use tables::{logs_of_absence, logs_of_values};

use super::lanes::{Classes, LaneBlock, aligned, aligned_mut, lanes, sweep_scratch_len};
use super::{ActiveColumns, EmError, Lane, LatentClassModel, ModelShape, RowFacts, check_length};
use crate::numeric::{copy, softmax_rows};
use crate::observations::PackedRows;
use crate::rand_core::Rng;

/// A mixture of binary columns over packed rows; `T` is the number its tables of logarithms hold.
///
/// With `f32` a row's log-joint is right to 1e-4 and the total to a millionth; with `f64` both to rounding.
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
/// assert!((responsibilities[0] - 0.9).abs() < 1e-6 && (responsibilities[2] - 0.5).abs() < 1e-6);
/// assert!((log_likelihood - (0.3125f64 * 0.1875).ln()).abs() < 1e-6);
/// ```
#[derive(Debug)]
pub struct Bernoulli<'a, T = f32> {
    rows: PackedRows<'a>,
    shape: BernoulliShape,
    facts: RowFacts<'a>,
    prior: BernoulliPrior,
    active: ActiveColumns<'a>,
    /// What is absent, if it is taken one by one.
    absent: Option<AbsentColumns<'a>>,
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
        let (shares, probabilities) = parameters.split_at_mut_checked(shape.classes).unwrap_or_default();
        shares.fill(1.0 / shape.classes as f64);
        probabilities.fill(0.5);
        let active = ActiveColumns::default();
        let mut model = Self { rows, shape, facts, prior, active, absent: None, parameters, tables };
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
        let (own_shares, own) = self.parameters.split_at_mut_checked(self.shape.classes).unwrap_or_default();
        copy(shares, own_shares);
        for (own, probability) in own.iter_mut().zip(probabilities) {
            *own = self.prior.within_floor(*probability);
        }
        self.tabulate();
        Ok(())
    }

    /// A random start: equal shares; both probabilities of a column uniform in `[0.2, 0.8]`, then normalised.
    pub fn set_random(&mut self, random: &mut impl Rng) {
        let (shares, probabilities) =
            self.parameters.split_at_mut_checked(self.shape.classes).unwrap_or_default();
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
        if self.absent.take().is_some() {
            self.tabulate();
        }
        Ok(())
    }

    /// Lists what the rows lack, which is then taken one by one. Other rows need lists of their own.
    pub fn set_absent(&mut self, absent: AbsentColumns<'a>) -> Result<(), EmError> {
        absent.check(self.rows)?;
        self.absent = self.shape.missing.then_some(absent);
        self.tabulate();
        Ok(())
    }

    #[inline(always)]
    fn tabulate(&mut self) {
        match lanes(self.shape.classes) {
            4 => self.tabulate_lanes::<4>(),
            8 => self.tabulate_lanes::<8>(),
            _ => self.tabulate_lanes::<16>(),
        }
    }

    #[inline(always)]
    fn tabulate_lanes<const L: usize>(&mut self) {
        let BernoulliShape { columns, classes, missing } = self.shape;
        let (active, tables) = (self.active, aligned_mut(self.tables).as_chunks_mut::<L>().0);
        let probabilities = self.parameters.get(classes..).unwrap_or(&[]);
        let (of, entries) = (classes.div_ceil(L), self.shape.entries());
        for (nth, tables) in tables.chunks_exact_mut(entries.max(1)).enumerate() {
            let of_column = |column: usize| {
                let row = probabilities.get(column * classes..(column + 1) * classes).unwrap_or(&[]);
                LaneBlock { nth, place: nth, of }.of_classes::<L>(row, 0.5)
            };
            let tables = tables.as_chunks_mut().0;
            let (values, absence) =
                tables.split_at_mut(if missing { tables.len() / 2 } else { tables.len() });
            tables::fill::<T, L>(values, columns, active, |column| logs_of_values(of_column(column)));
            let logs_of_absence = |column| logs_of_absence(of_column(column));
            if self.absent.is_some() {
                tables::fill_singly(absence.as_flattened_mut(), columns, active, logs_of_absence);
            } else {
                tables::fill::<T, L>(absence, columns, active, logs_of_absence);
            }
        }
    }

    fn classes(&self) -> Classes<'_> {
        Classes { shares: self.shares(), facts: self.facts }
    }

    fn bits(&self) -> BitColumns<'_, T> {
        let classes = self.shape.classes;
        let (active, absent) = (self.active, self.absent);
        BitColumns { rows: self.rows, classes, active, absent, tables: aligned(self.tables) }
    }
}

impl<T: Lane> LatentClassModel for Bernoulli<'_, T> {
    fn shape(&self) -> ModelShape {
        let rows = self.rows.rows();
        let classes = self.shape.classes;
        ModelShape {
            rows,
            classes,
            statistics: self.shape.statistics_len(),
            scratch: sweep_scratch_len(rows, classes),
        }
    }

    #[inline(always)]
    fn expectation(&self, rows: Range<usize>, responsibilities: &mut [f64]) -> Result<f64, EmError> {
        let classes = self.shape.classes;
        check_length("responsibilities", responsibilities.len(), rows.len() * classes)?;
        match lanes(classes) {
            4 => self.classes().unpadded_log_joints::<4>(&self.bits(), rows.clone(), responsibilities),
            8 => self.classes().unpadded_log_joints::<8>(&self.bits(), rows.clone(), responsibilities),
            _ => self.classes().unpadded_log_joints::<16>(&self.bits(), rows.clone(), responsibilities),
        }
        softmax_rows(responsibilities, classes, self.facts.weights_of(rows.clone()))
            .map_err(|nth| EmError::ImpossibleRow { row: rows.start + nth })
    }

    /// Statistics: `[classes]` masses, `[columns, classes]` ones and, where values may be missing, as many values present.
    #[inline(always)]
    fn accumulate(&self, rows: Range<usize>, responsibilities: &[f64], statistics: &mut [f64]) {
        match lanes(self.shape.classes) {
            4 => self.classes().count_unpadded::<4>(&self.bits(), rows, responsibilities, statistics),
            8 => self.classes().count_unpadded::<8>(&self.bits(), rows, responsibilities, statistics),
            _ => self.classes().count_unpadded::<16>(&self.bits(), rows, responsibilities, statistics),
        }
    }

    #[inline(always)]
    fn sweep(&self, rows: Range<usize>, statistics: &mut [f64], scratch: &mut [f64]) -> Result<f64, EmError> {
        match lanes(self.shape.classes) {
            4 => self.classes().sweep::<4>(&self.bits(), rows, statistics, scratch),
            8 => self.classes().sweep::<8>(&self.bits(), rows, statistics, scratch),
            _ => self.classes().sweep::<16>(&self.bits(), rows, statistics, scratch),
        }
    }

    /// `π_k = (N_k + c) / Σ (N_l + c)`, `p = (ones + a) / (present + a + b)` within the floor. A class without
    /// mass keeps its probabilities.
    #[inline(always)]
    fn maximize(&mut self, statistics: &[f64]) {
        let classes = self.shape.classes.max(1);
        let (shares, probabilities) = self.parameters.split_at_mut_checked(classes).unwrap_or_default();
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
