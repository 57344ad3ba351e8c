//! EM on rows of either family.

use mixlet_core::em::bernoulli::{AbsentColumns, Bernoulli, BernoulliPrior, BernoulliShape};
use mixlet_core::em::categorical::{Categorical, CategoricalPrior, CategoricalShape};
use mixlet_core::em::start::random_probabilities;
use mixlet_core::em::{ActiveColumns, EmError, Fit, FitSettings, Lane, LatentClassModel, Round, RowFacts};
use mixlet_core::observations::PackedRows;

use rand_core::Rng;

use super::{Parameters, RowsView};
use crate::error::Result;
use crate::threads::{self, Shards};

/// Bits up to which tables of logarithms are exact to the last digits; beyond, they are half as large and faster.
const EXACT_VALUES: usize = 1 << 21;

/// Rows to fit, how often each counts, and what every code of a class is assumed to have been seen before.
#[derive(Clone, Copy, Debug)]
pub struct Engine<'a> {
    /// The rows.
    pub rows: RowsView<'a>,
    /// `[rows]`: how often each counts; none: once.
    pub weights: Option<&'a [f64]>,
    /// Added to the expected count of every code, column and class.
    pub pseudocount: f64,
}

/// What an expectation leaves.
#[derive(Clone, Debug)]
pub struct Expected {
    /// `[rows, classes]`.
    pub responsibilities: Vec<f64>,
    /// Of the active columns, in nats.
    pub log_likelihood: f64,
}

impl Engine<'_> {
    /// Responsibilities and log-likelihood by the active columns.
    pub fn expectation(&self, parameters: &Parameters, active: ActiveColumns<'_>) -> Result<Expected> {
        self.with_model(parameters, active, Expect)
    }

    /// One maximisation, of all columns or only the active ones; the others keep their probabilities.
    pub fn maximized(
        &self,
        parameters: &Parameters,
        active: ActiveColumns<'_>,
        responsibilities: &[f64],
    ) -> Result<Parameters> {
        self.with_model(parameters, active, Maximize { responsibilities, columns: self.rows.columns() })
    }

    /// EM from the given parameters.
    pub fn fit(
        &self,
        parameters: &Parameters,
        active: ActiveColumns<'_>,
        settings: FitSettings,
        observe: &mut dyn FnMut(Round),
    ) -> Result<(Parameters, Fit)> {
        self.with_model(parameters, active, Raise { settings, columns: self.rows.columns(), observe })
    }

    /// Random parameters: equal shares, probabilities uniform in `[0.2, 0.8]`, then normalised.
    pub fn random_start(&self, classes: usize, random: &mut impl Rng) -> Parameters {
        let (mut shares, mut probabilities) = (vec![1.0 / classes as f64; classes], Vec::new());
        for column in 0..self.rows.columns() {
            let (start, levels) = (probabilities.len(), self.rows.levels(column));
            probabilities.resize(start + levels * classes, 0.0);
            random_probabilities(random, levels, &mut shares, &mut probabilities[start..]);
        }
        Parameters { shares, probabilities }
    }

    fn with_model<W: Work>(
        &self,
        parameters: &Parameters,
        active: ActiveColumns<'_>,
        work: W,
    ) -> Result<W::Output> {
        let classes = parameters.classes();
        let facts = RowFacts { known_classes: None, weights: self.weights };
        match self.rows {
            RowsView::Bits(bits) if bits.rows().saturating_mul(bits.columns()) > EXACT_VALUES => {
                self.with_bits::<f32, W>(bits, parameters, active, work)
            }
            RowsView::Bits(bits) => self.with_bits::<f64, W>(bits, parameters, active, work),
            RowsView::Codes(codes) => {
                let shape = CategoricalShape::of(codes, classes);
                let prior = CategoricalPrior { pseudocount: self.pseudocount, ..Default::default() };
                let (mut memory, mut tables) =
                    (vec![0.0; shape.parameters_len()], vec![0.0; shape.tables_len()]);
                let mut model = Categorical::new(codes, classes, facts, prior, &mut memory, &mut tables)?;
                model.set_active(active)?;
                model.set(parameters)?;
                Ok(work.run(&mut model)?)
            }
        }
    }
}

impl Engine<'_> {
    /// Does something with a model of bits whose tables hold numbers of type `T`.
    fn with_bits<T: Lane, W: Work>(
        &self,
        bits: PackedRows<'_>,
        parameters: &Parameters,
        active: ActiveColumns<'_>,
        work: W,
    ) -> Result<W::Output> {
        let classes = parameters.classes();
        let facts = RowFacts { known_classes: None, weights: self.weights };
        let shape = BernoulliShape::of(bits, classes);
        let prior = BernoulliPrior { ones: self.pseudocount, zeros: self.pseudocount, ..Default::default() };
        let (mut memory, mut tables) =
            (vec![0.0; shape.parameters_len()], vec![T::default(); shape.tables_len()]);
        let mut model = Bernoulli::new(bits, classes, facts, prior, &mut memory, &mut tables)?;
        let (mut offsets, mut columns);
        if let (true, Some(absent)) = (W::OF_ROUNDS, AbsentColumns::few(bits)) {
            (offsets, columns) = (vec![0; bits.rows() + 1], vec![0; absent]);
            model.set_absent(AbsentColumns::list(bits, &mut offsets, &mut columns)?)?;
        }
        model.set_active(active)?;
        model.set(parameters)?;
        Ok(work.run(&mut model)?)
    }
}

/// A model whose parameters are those of either family.
trait DenseModel: LatentClassModel + Sync {
    fn parameters(&self) -> Parameters;
    fn set(&mut self, parameters: &Parameters) -> Result<(), EmError>;
}

impl<T: Lane> DenseModel for Bernoulli<'_, T> {
    fn parameters(&self) -> Parameters {
        let classes = self.shares().len();
        let columns = self.probabilities().chunks_exact(classes);
        let probabilities =
            columns.flat_map(|ones| ones.iter().map(|one| 1.0 - one).chain(ones.iter().copied())).collect();
        Parameters { shares: self.shares().to_vec(), probabilities }
    }

    fn set(&mut self, parameters: &Parameters) -> Result<(), EmError> {
        let classes = parameters.classes();
        let cells = parameters.probabilities.chunks_exact(classes);
        let ones: Vec<f64> = cells.skip(1).step_by(2).flatten().copied().collect();
        self.set_probabilities(&parameters.shares, &ones)
    }
}

impl DenseModel for Categorical<'_> {
    fn parameters(&self) -> Parameters {
        Parameters { shares: self.shares().to_vec(), probabilities: self.probabilities().to_vec() }
    }

    fn set(&mut self, parameters: &Parameters) -> Result<(), EmError> {
        self.set_probabilities(&parameters.shares, &parameters.probabilities)
    }
}

/// Something to do with a model of either family.
trait Work {
    type Output;
    /// Whether it goes over the rows so often that listing what they lack pays.
    const OF_ROUNDS: bool = false;
    fn run<M: DenseModel>(self, model: &mut M) -> Result<Self::Output, EmError>;
}

struct Expect;

impl Work for Expect {
    type Output = Expected;

    fn run<M: DenseModel>(self, model: &mut M) -> Result<Expected, EmError> {
        let (responsibilities, log_likelihood) = threads::expectations(model)?;
        Ok(Expected { responsibilities, log_likelihood })
    }
}

struct Maximize<'a> {
    responsibilities: &'a [f64],
    columns: usize,
}

impl Work for Maximize<'_> {
    type Output = Parameters;

    fn run<M: DenseModel>(self, model: &mut M) -> Result<Parameters, EmError> {
        let shape = model.shape();
        let mut statistics = vec![0.0; shape.statistics];
        Shards::of_rows(self.columns, shape).start(model, &mut statistics, |rows, out| {
            let start = rows.start * shape.classes;
            out.copy_from_slice(&self.responsibilities[start..start + out.len()]);
        })?;
        Ok(model.parameters())
    }
}

struct Raise<'a> {
    settings: FitSettings,
    columns: usize,
    observe: &'a mut dyn FnMut(Round),
}

impl Work for Raise<'_> {
    type Output = (Parameters, Fit);
    const OF_ROUNDS: bool = true;

    fn run<M: DenseModel>(self, model: &mut M) -> Result<Self::Output, EmError> {
        let shape = model.shape();
        let mut statistics = vec![0.0; shape.statistics];
        let mut shards = Shards::of_rows(self.columns, shape);
        let fit = shards.fit(model, self.settings, &mut statistics, self.observe)?;
        Ok((model.parameters(), fit))
    }
}
