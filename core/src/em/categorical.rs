//! Mixtures of categorical columns: `P(row, class k) = π_k · Π_c P[cell of column c, k]`.
//!
//! Each column has as many codes as it needs; missing values contribute nothing.

mod prior;

use core::ops::Range;

pub use prior::{CategoricalPrior, CategoricalShape};

use super::{ActiveColumns, EmError, LatentClassModel, ModelShape, RowFacts, check_length};
use crate::numeric::{copy, ln_slice, softmax_rows};
use crate::observations::{Codes, MISSING};
use crate::rand_core::Rng;

/// A mixture of categorical columns; its parameters live in memory of the caller.
///
/// ```
/// # use mixlet_core::em::categorical::{Categorical, CategoricalPrior, CategoricalShape};
/// # use mixlet_core::em::{LatentClassModel, RowFacts};
/// # use mixlet_core::observations::Codes;
/// // One column of three codes, two classes.
/// let rows = Codes::new(&[0, 3], &[0, 2]).unwrap();
/// let shape = CategoricalShape::of(rows, 2);
/// let (mut parameters, mut tables) = ([0.0; 8], [0.0; 6]);
/// let prior = CategoricalPrior::default();
/// let mut model = Categorical::new(rows, 2, RowFacts::default(), prior, &mut parameters, &mut tables).unwrap();
/// model.set_probabilities(&[0.5, 0.5], &[0.6, 0.2, 0.3, 0.3, 0.1, 0.5]).unwrap();
/// let mut responsibilities = [f64::NAN; 4];
/// let log_likelihood = model.expectation(0..2, &mut responsibilities).unwrap();
/// assert!((responsibilities[0] - 0.75).abs() < 1e-12);
/// assert!((log_likelihood - (0.4f64 * 0.3).ln()).abs() < 1e-12);
/// ```
#[derive(Debug)]
pub struct Categorical<'a> {
    rows: Codes<'a>,
    shape: CategoricalShape,
    facts: RowFacts<'a>,
    prior: CategoricalPrior,
    active: ActiveColumns<'a>,
    /// `[classes]` class shares, then `[cells, classes]` probabilities.
    parameters: &'a mut [f64],
    /// `[cells, classes]`: logarithms of the probabilities, zero where a column is not active.
    tables: &'a mut [f64],
}

impl<'a> Categorical<'a> {
    /// A model with equal shares and codes. `parameters` holds [`parameters_len`](CategoricalShape::parameters_len)
    /// values, `tables` [`tables_len`](CategoricalShape::tables_len).
    pub fn new(
        rows: Codes<'a>,
        classes: usize,
        facts: RowFacts<'a>,
        prior: CategoricalPrior,
        parameters: &'a mut [f64],
        tables: &'a mut [f64],
    ) -> Result<Self, EmError> {
        let shape = CategoricalShape::of(rows, classes);
        check_length("parameters", parameters.len(), shape.parameters_len())?;
        check_length("tables", tables.len(), shape.tables_len())?;
        facts.check(rows.rows(), shape.classes)?;
        prior.check(rows)?;
        let active = ActiveColumns::default();
        let mut model = Self { rows, shape, facts, prior, active, parameters, tables };
        let (shares, probabilities) =
            model.parameters.split_at_mut_checked(shape.classes).unwrap_or_default();
        shares.fill(1.0 / shape.classes as f64);
        for (_, values) in columns_mut(rows, shape.classes, probabilities) {
            let even = shape.classes as f64 / values.len() as f64;
            values.fill(even);
        }
        model.tabulate();
        Ok(model)
    }

    /// The lengths of the model.
    pub fn categorical_shape(&self) -> CategoricalShape {
        self.shape
    }

    /// The rows the model is fitted to.
    pub fn rows(&self) -> Codes<'a> {
        self.rows
    }

    /// `[classes]`: the share of each class.
    pub fn shares(&self) -> &[f64] {
        self.parameters.get(..self.shape.classes).unwrap_or(&[])
    }

    /// `[cells, classes]`: the probability of each code of each column.
    pub fn probabilities(&self) -> &[f64] {
        self.parameters.get(self.shape.classes..).unwrap_or(&[])
    }

    /// Sets class shares `[classes]` and probabilities `[cells, classes]`; each column is held to the prior's
    /// floor and normalised.
    pub fn set_probabilities(&mut self, shares: &[f64], probabilities: &[f64]) -> Result<(), EmError> {
        check_length("class shares", shares.len(), self.shape.classes)?;
        check_length("probabilities", probabilities.len(), self.shape.cells * self.shape.classes)?;
        let classes = self.shape.classes;
        let (own_shares, own) = self.parameters.split_at_mut_checked(classes).unwrap_or_default();
        copy(shares, own_shares);
        copy(probabilities, own);
        columns_mut(self.rows, classes, own).for_each(|(_, column)| self.prior.normalize(column, classes));
        self.tabulate();
        Ok(())
    }

    /// A random start: equal shares, probabilities uniform in `[0.2, 0.8]`, then normalised.
    pub fn set_random(&mut self, random: &mut impl Rng) {
        let classes = self.shape.classes;
        let (shares, probabilities) = self.parameters.split_at_mut_checked(classes).unwrap_or_default();
        shares.fill(1.0 / classes as f64);
        for (_, column) in columns_mut(self.rows, classes, probabilities) {
            column.iter_mut().for_each(|value| *value = 0.2 + 0.6 * super::start::uniform(random));
            self.prior.normalize(column, classes);
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

    /// Puts other rows with the same codes under the same parameters: those held out, or the same with other weights.
    pub fn set_rows(&mut self, rows: Codes<'a>, facts: RowFacts<'a>) -> Result<(), EmError> {
        check_length("columns", rows.columns(), self.shape.columns)?;
        check_length("cells", rows.cell_count(), self.shape.cells)?;
        facts.check(rows.rows(), self.shape.classes)?;
        (self.rows, self.facts) = (rows, facts);
        Ok(())
    }

    #[inline(always)]
    fn tabulate(&mut self) {
        let classes = self.shape.classes;
        let Some(probabilities) = self.parameters.get(classes..) else { return };
        copy(probabilities, self.tables);
        for (column, logs) in columns_mut(self.rows, classes, self.tables) {
            if self.active.contains(column) { ln_slice(logs) } else { logs.fill(0.0) }
        }
    }
}

/// Each column with its part of a table `[cells, classes]`.
#[inline(always)]
fn columns_mut<'t>(
    rows: Codes<'_>,
    classes: usize,
    table: &'t mut [f64],
) -> impl Iterator<Item = (usize, &'t mut [f64])> {
    let mut rest = table;
    (0..rows.columns()).map_while(move |column| {
        let (head, tail) = core::mem::take(&mut rest).split_at_mut_checked(rows.levels(column) * classes)?;
        rest = tail;
        Some((column, head))
    })
}

/// The cells of one row's present values.
#[inline(always)]
fn cells(rows: Codes<'_>, row: usize) -> impl Iterator<Item = usize> {
    let present = rows.row(row).iter().zip(rows.level_offsets()).filter(|&(&code, _)| code != MISSING);
    present.map(|(&code, &offset)| offset as usize + usize::from(code))
}

impl LatentClassModel for Categorical<'_> {
    fn shape(&self) -> ModelShape {
        ModelShape::by_blocks(self.rows.rows(), self.shape.classes, self.shape.parameters_len())
    }

    #[inline(always)]
    fn expectation(&self, rows: Range<usize>, responsibilities: &mut [f64]) -> Result<f64, EmError> {
        let classes = self.shape.classes.max(1);
        check_length("responsibilities", responsibilities.len(), rows.len() * classes)?;
        for (row, out) in rows.clone().zip(responsibilities.chunks_exact_mut(classes)) {
            out.iter_mut().zip(self.shares()).for_each(|(out, share)| *out = libm::log(*share));
            for cell in cells(self.rows, row) {
                let logs = self.tables.get(cell * classes..(cell + 1) * classes).unwrap_or(&[]);
                out.iter_mut().zip(logs).for_each(|(out, log)| *out += log);
            }
        }
        self.facts.mask(rows.clone(), classes, responsibilities, f64::NEG_INFINITY);
        softmax_rows(responsibilities, classes, self.facts.weights_of(rows.clone()))
            .map_err(|nth| EmError::ImpossibleRow { row: rows.start + nth })
    }

    /// Statistics: `[classes]` masses, `[cells, classes]` expected counts.
    #[inline(always)]
    fn accumulate(&self, rows: Range<usize>, responsibilities: &[f64], statistics: &mut [f64]) {
        let classes = self.shape.classes.max(1);
        let weights = self.facts.weights_of(rows.clone());
        let Some((masses, counts)) = statistics.split_at_mut_checked(classes) else { return };
        for (nth, (row, responsibilities)) in rows.zip(responsibilities.chunks_exact(classes)).enumerate() {
            let weight = weights.and_then(|weights| weights.get(nth)).copied().unwrap_or(1.0);
            masses.iter_mut().zip(responsibilities).for_each(|(mass, q)| *mass += weight * q);
            for cell in cells(self.rows, row) {
                let counts = counts.get_mut(cell * classes..(cell + 1) * classes).unwrap_or(&mut []);
                counts.iter_mut().zip(responsibilities).for_each(|(count, q)| *count += weight * q);
            }
        }
    }

    /// `π_k = (N_k + c) / Σ (N_l + c)`, `P[a, k] = (n[a, k] + s) / Σ_b (n[b, k] + s)`, none below the floor. A class
    /// without mass keeps its probabilities.
    #[inline(always)]
    fn maximize(&mut self, statistics: &[f64]) {
        let classes = self.shape.classes;
        let (shares, probabilities) = self.parameters.split_at_mut_checked(classes).unwrap_or_default();
        let Some((masses, mut counts)) = statistics.split_at_checked(classes) else { return };
        super::start::estimate_shares(masses, self.prior.class_pseudocount, shares);
        for (column, probabilities) in columns_mut(self.rows, classes, probabilities) {
            let Some((of_column, rest)) = counts.split_at_checked(probabilities.len()) else { return };
            counts = rest;
            if self.active.maximizes(column) {
                self.prior.estimate(of_column, classes, probabilities);
            }
        }
        self.tabulate();
    }

    fn log_prior(&self) -> f64 {
        self.prior.log_density(self.rows, self.shares(), self.probabilities(), self.active)
    }
}
