//! The two families of mixtures behind one face: what is done to a model is written once.

use mixlet_core::em::bernoulli::{Bernoulli, BernoulliPrior, BernoulliShape};
use mixlet_core::em::categorical::{Categorical, CategoricalPrior, CategoricalShape};
use mixlet_core::em::{ActiveColumns, EmError, Lane, LatentClassModel, RowFacts};
use mixlet_core::rand_core::Rng;

use super::Parameters;
use crate::error::Result;
use crate::rows::Data;

/// Values up to which tables of logarithms are exact to the last digits; beyond, they are fast.
const EXACT_VALUES: usize = 1 << 21;

/// A mixture whose parameters can be set and read.
pub(super) trait Mixture: LatentClassModel + Sync {
    /// Sets random parameters.
    fn set_random(&mut self, random: &mut impl Rng);
    /// Sets parameters.
    fn set(&mut self, parameters: &Parameters) -> Result<(), EmError>;
    /// Reads parameters.
    fn get(&self) -> Parameters;
}

/// Something done to a model of either family.
pub(super) trait Work {
    /// What comes of it.
    type Output;
    /// Does it.
    fn run<M: Mixture>(self, model: &mut M) -> Result<Self::Output>;
}

/// What a model is made with, beside its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    /// Number of classes.
    pub classes: usize,
    /// Added to every expected count.
    pub pseudocount: f64,
    /// How often each row counts.
    pub weights: Option<&'a [f64]>,
    /// The columns that speak for the classes.
    pub active: Option<&'a [u64]>,
}

/// Makes a model of the family of the rows and does something to it.
pub(super) fn with_model<W: Work>(data: Data<'_>, setting: Setting<'_>, work: W) -> Result<W::Output> {
    match data {
        Data::Bits(rows) if rows.rows().saturating_mul(rows.columns()) <= EXACT_VALUES => {
            with_bernoulli::<f64, W>(rows, setting, work)
        }
        Data::Bits(rows) => with_bernoulli::<f32, W>(rows, setting, work),
        Data::Codes(rows) => {
            let Setting { classes, pseudocount, .. } = setting;
            let shape = CategoricalShape::of(rows, classes);
            let (mut parameters, mut tables) =
                (vec![0.0; shape.parameters_len()], vec![0.0; shape.tables_len()]);
            let prior = CategoricalPrior { pseudocount, ..CategoricalPrior::default() };
            let mut model =
                Categorical::new(rows, classes, setting.facts(), prior, &mut parameters, &mut tables)?;
            model.set_active(setting.active())?;
            work.run(&mut model)
        }
    }
}

fn with_bernoulli<T: Lane, W: Work>(
    rows: mixlet_core::observations::PackedRows<'_>,
    setting: Setting<'_>,
    work: W,
) -> Result<W::Output> {
    let Setting { classes, pseudocount, .. } = setting;
    let shape = BernoulliShape::of(rows, classes);
    let (mut parameters, mut tables) =
        (vec![0.0; shape.parameters_len()], vec![T::default(); shape.tables_len()]);
    let prior = BernoulliPrior { ones: pseudocount, zeros: pseudocount, ..BernoulliPrior::default() };
    let mut model = Bernoulli::new(rows, classes, setting.facts(), prior, &mut parameters, &mut tables)?;
    model.set_active(setting.active())?;
    work.run(&mut model)
}

impl<'a> Setting<'a> {
    fn facts(&self) -> RowFacts<'a> {
        RowFacts { known_classes: None, weights: self.weights }
    }

    fn active(&self) -> ActiveColumns<'a> {
        ActiveColumns { mask: self.active, partial: false }
    }
}

impl<T: Lane> Mixture for Bernoulli<'_, T> {
    fn set_random(&mut self, random: &mut impl Rng) {
        Bernoulli::set_random(self, random);
    }

    fn set(&mut self, parameters: &Parameters) -> Result<(), EmError> {
        self.set_probabilities(&parameters.shares, &parameters.probabilities)
    }

    fn get(&self) -> Parameters {
        Parameters { shares: self.shares().to_vec(), probabilities: self.probabilities().to_vec() }
    }
}

impl Mixture for Categorical<'_> {
    fn set_random(&mut self, random: &mut impl Rng) {
        Categorical::set_random(self, random);
    }

    fn set(&mut self, parameters: &Parameters) -> Result<(), EmError> {
        self.set_probabilities(&parameters.shares, &parameters.probabilities)
    }

    fn get(&self) -> Parameters {
        Parameters { shares: self.shares().to_vec(), probabilities: self.probabilities().to_vec() }
    }
}
