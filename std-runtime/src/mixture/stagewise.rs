//! Stagewise EM: classes split, and columns become active, where the model explains the data least.

use mixlet_core::em::{ActiveColumns, FitSettings};
use mixlet_core::observations::{WORD_BITS, row_words};
use mixlet_core::select::stagewise::{
    Split, floor_probabilities, split_class, split_directions, split_scratch_len,
};

use super::engine::Engine;
use super::pairs::{Classes, ColumnPairs, Dependence, Unexplained};
use super::{Parameters, RowsView};
use crate::error::Result;

/// How stagewise EM goes; the default is that of arXiv:1506.02975.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StagewiseOptions {
    /// Classes to arrive at.
    pub classes: usize,
    /// Rounds at most.
    pub rounds: u32,
    /// What ends the rounds before.
    pub stop: StagewiseStop,
    /// Least gain of [`stop`](Self::stop), in nats.
    pub tolerance: f64,
    /// No probability is below this when a round's expectation starts.
    pub floor: f64,
    /// How far a split moves a class's copies apart.
    pub step: f64,
    /// A round updates the active columns only.
    pub partial: bool,
    /// Rounds of EM with all columns at the end.
    pub refinement_rounds: u32,
}

impl Default for StagewiseOptions {
    fn default() -> Self {
        Self {
            classes: 2,
            rounds: 30,
            stop: StagewiseStop::Likelihood,
            tolerance: 1e-3,
            floor: 0.002,
            step: 0.05,
            partial: false,
            refinement_rounds: 20,
        }
    }
}

/// What ends the rounds of stagewise EM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StagewiseStop {
    /// The log-likelihood gained less than the tolerance, and all classes exist.
    #[default]
    Likelihood,
    /// The largest unexplained information fell by less than the tolerance, and all classes exist.
    Information,
    /// All classes exist.
    Classes,
    /// All rounds are done.
    Rounds,
}

/// A round of stagewise EM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StagewiseRound {
    /// The round, from 1.
    pub round: u32,
    /// The most dependent pair the round began with; none where there are no two columns.
    pub pair: Option<Dependence>,
    /// Number of classes after it.
    pub classes: usize,
    /// Number of active columns after it.
    pub active: usize,
    /// Log-likelihood of all columns after it, each at the probabilities that a full maximisation gives it.
    pub log_likelihood: f64,
    /// `max_(i, j) Σ_k π_k · I_k(i, j)` after it: what the classes leave unexplained.
    pub most_information: f64,
}

/// A mixture found stage by stage.
#[derive(Clone, Debug)]
pub struct StagewiseFit {
    /// The active columns, in the order in which they became so.
    pub active: Vec<u32>,
    /// Every round.
    pub rounds: Vec<StagewiseRound>,
    /// Whether the rounds ended before all were done.
    pub converged: bool,
    /// Parameters of all columns after the last round.
    pub parameters: Parameters,
    /// `[rows, classes]`: responsibilities by the active columns.
    pub responsibilities: Vec<f64>,
    /// The fit after the refinement.
    pub refined: Refined,
}

/// A mixture of all columns.
#[derive(Clone, Debug)]
pub struct Refined {
    /// Its parameters.
    pub parameters: Parameters,
    /// `[rows, classes]`.
    pub responsibilities: Vec<f64>,
    /// Log-likelihood of all columns.
    pub log_likelihood: f64,
}

/// Fits a mixture by stagewise EM; `weights` `[rows]` say how often each row counts, `observe` sees every round.
pub fn stagewise(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    options: &StagewiseOptions,
    observe: &mut dyn FnMut(&StagewiseRound),
) -> Result<StagewiseFit> {
    let mut stages = Stages::new(Engine { rows, weights, pseudocount: 0.0 }, *options)?;
    let mut rounds: Vec<StagewiseRound> = Vec::new();
    let mut converged = false;
    while !converged && (rounds.len() as u32) < options.rounds.max(1) {
        let round = stages.advance(rounds.len() as u32 + 1)?;
        converged = options.is_reached(rounds.last(), &round);
        observe(&round);
        rounds.push(round);
    }
    let refined = stages.refine()?;
    let Stages { active, parameters, responsibilities, .. } = stages;
    Ok(StagewiseFit { active: active.order, rounds, converged, parameters, responsibilities, refined })
}

impl StagewiseOptions {
    fn is_reached(&self, before: Option<&StagewiseRound>, round: &StagewiseRound) -> bool {
        let is_below =
            |gain: &dyn Fn(&StagewiseRound) -> f64| before.is_some_and(|b| gain(b) < self.tolerance);
        round.classes >= self.classes
            && match self.stop {
                StagewiseStop::Likelihood => is_below(&|before| round.log_likelihood - before.log_likelihood),
                StagewiseStop::Information => {
                    is_below(&|before| before.most_information - round.most_information)
                }
                StagewiseStop::Classes => true,
                StagewiseStop::Rounds => false,
            }
    }
}

/// Columns that are active, in their order and as a mask.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub order: Vec<u32>,
    pub mask: Vec<u64>,
}

impl Active {
    pub fn none(columns: usize) -> Self {
        Self { order: Vec::new(), mask: vec![0; row_words(columns)] }
    }

    /// Makes a column active; false if it was.
    pub fn add(&mut self, column: u32) -> bool {
        let (word, bit) = (&mut self.mask[column as usize / WORD_BITS], column as usize % WORD_BITS);
        let is_new = *word >> bit & 1 == 0;
        *word |= 1 << bit;
        if is_new {
            self.order.push(column);
        }
        is_new
    }

    pub fn columns(&self, partial: bool) -> ActiveColumns<'_> {
        ActiveColumns { mask: Some(&self.mask), partial }
    }
}

/// The state between two rounds.
struct Stages<'a> {
    engine: Engine<'a>,
    options: StagewiseOptions,
    pairs: ColumnPairs<'a>,
    level_offsets: Vec<u32>,
    active: Active,
    parameters: Parameters,
    /// By the active columns.
    responsibilities: Vec<f64>,
    classes: Classes,
    unexplained: Unexplained,
}

impl<'a> Stages<'a> {
    /// One class, at the columns' margins; no column is active.
    fn new(engine: Engine<'a>, options: StagewiseOptions) -> Result<Self> {
        let rows = engine.rows;
        let level_offsets = rows.level_offsets();
        let cells = level_offsets.last().map_or(0, |&cells| cells as usize);
        let one = Parameters { shares: vec![1.0], probabilities: vec![1.0; cells] };
        let responsibilities = vec![1.0; rows.rows()];
        let mut parameters = engine.maximized(&one, ActiveColumns::default(), &responsibilities)?;
        floor_probabilities(options.floor, &level_offsets, 1, &mut parameters.probabilities);
        let pairs = ColumnPairs::new(rows)?;
        let classes = pairs.whole(engine.weights)?;
        let unexplained = pairs.unexplained(&classes)?;
        let active = Active::none(rows.columns());
        Ok(Self {
            engine,
            options,
            pairs,
            level_offsets,
            active,
            parameters,
            responsibilities,
            classes,
            unexplained,
        })
    }

    /// Splits along the most dependent pair, if it is not yet active, then one step of EM.
    fn advance(&mut self, round: u32) -> Result<StagewiseRound> {
        let pair = self.unexplained.most_dependent;
        if let Some(pair) = pair {
            let added = pair.columns.map(|column| self.active.add(column));
            if added.contains(&true) && self.parameters.classes() < self.options.classes {
                self.split(pair)?;
            }
        }
        let classes = self.parameters.classes();
        let floor = self.options.floor;
        floor_probabilities(floor, &self.level_offsets, classes, &mut self.parameters.probabilities);
        let (engine, all) = (self.engine, ActiveColumns::default());
        let expected = engine.expectation(&self.parameters, self.active.columns(false))?;
        let full = engine.maximized(&self.parameters, all, &expected.responsibilities)?;
        let log_likelihood = engine.expectation(&full, all)?.log_likelihood;
        self.parameters = match self.options.partial {
            true => {
                engine.maximized(&self.parameters, self.active.columns(true), &expected.responsibilities)?
            }
            false => full,
        };
        self.responsibilities =
            engine.expectation(&self.parameters, self.active.columns(false))?.responsibilities;
        self.classes = self.pairs.within(&self.responsibilities, classes, engine.weights)?;
        self.unexplained = self.pairs.unexplained(&self.classes)?;
        let (active, most_information) = (self.active.order.len(), self.unexplained.most_information);
        Ok(StagewiseRound { round, pair, classes, active, log_likelihood, most_information })
    }

    fn split(&mut self, pair: Dependence) -> Result<()> {
        let table = self.pairs.table(&self.classes, pair.class, pair.columns)?;
        let [first, second] = pair.columns.map(|column| self.engine.rows.levels(column as usize));
        let (mut u, mut v) = (vec![0.0; first], vec![0.0; second]);
        split_directions(&table, &mut u, &mut v, &mut vec![0.0; split_scratch_len(first, second)])?;
        let cells = pair.columns.map(|column| self.level_offsets[column as usize] as usize);
        let split = Split { class: pair.class, cells, directions: [&u, &v], step: self.options.step };
        let Parameters { shares, probabilities } = &self.parameters;
        let classes = shares.len();
        let mut next = Parameters {
            shares: vec![0.0; classes + 1],
            probabilities: vec![0.0; probabilities.len() / classes * (classes + 1)],
        };
        split_class(split, shares, probabilities, &mut next.shares, &mut next.probabilities)?;
        self.parameters = next;
        Ok(())
    }

    /// EM with all columns.
    fn refine(&self) -> Result<Refined> {
        let all = ActiveColumns::default();
        let start = self.engine.maximized(&self.parameters, all, &self.responsibilities)?;
        let settings = FitSettings { rounds: self.options.refinement_rounds, tolerance: 0.0 };
        let (parameters, _) = self.engine.fit(&start, all, settings, &mut |_| ())?;
        let expected = self.engine.expectation(&parameters, all)?;
        Ok(Refined {
            parameters,
            responsibilities: expected.responsibilities,
            log_likelihood: expected.log_likelihood,
        })
    }
}
