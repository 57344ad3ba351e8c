//! What grows stage by stage: active columns, classes, and what the classes leave unexplained.

use mixlet_core::em::{ActiveColumns, FitSettings};
use mixlet_core::observations::{WORD_BITS, row_words};
use mixlet_core::select::stagewise::{
    Split, floor_probabilities, split_class, split_directions, split_scratch_len,
};

use super::Parameters;
use super::engine::Engine;
use super::pairs::{Classes, ColumnPairs, Dependence, Unexplained};
use crate::error::Result;

/// Columns that are active, in their order and as a mask.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub order: Vec<u32>,
    mask: Vec<u64>,
}

impl Active {
    pub fn none(columns: usize) -> Self {
        Self { order: Vec::new(), mask: vec![0; row_words(columns)] }
    }

    pub fn all(columns: usize) -> Self {
        let mut active = Self::none(columns);
        (0..columns as u32).for_each(|column| _ = active.add(column));
        active
    }

    pub fn only(columns: usize, column: u32) -> Self {
        let mut active = Self::none(columns);
        active.add(column);
        active
    }

    pub fn contains(&self, column: u32) -> bool {
        self.columns(false).contains(column as usize)
    }

    /// Makes a column active; false if it was.
    pub fn add(&mut self, column: u32) -> bool {
        let is_new = !self.contains(column);
        self.mask[column as usize / WORD_BITS] |= 1 << (column as usize % WORD_BITS);
        if is_new {
            self.order.push(column);
        }
        is_new
    }

    pub fn remove(&mut self, column: u32) {
        self.mask[column as usize / WORD_BITS] &= !(1 << (column as usize % WORD_BITS));
        self.order.retain(|&active| active != column);
    }

    pub fn columns(&self, partial: bool) -> ActiveColumns<'_> {
        ActiveColumns { mask: Some(&self.mask), partial }
    }
}

/// A mixture that grows, and what it leaves unexplained.
pub(super) struct Stages<'a> {
    pub engine: Engine<'a>,
    pub pairs: ColumnPairs<'a>,
    pub active: Active,
    pub parameters: Parameters,
    /// By the active columns.
    pub responsibilities: Vec<f64>,
    /// The same, as weights of pair tables.
    pub classes: Classes,
    /// As of the last [`look`](Self::look).
    pub unexplained: Unexplained,
    level_offsets: Vec<u32>,
    settings: Splits,
}

/// How classes are split.
#[derive(Clone, Copy, Debug)]
pub(super) struct Splits {
    /// Of probabilities, before an expectation.
    pub floor: f64,
    /// How far a class's copies move apart.
    pub step: f64,
    /// Only dependence that chance does not explain at this level counts as unexplained.
    pub level: Option<f64>,
}

impl<'a> Stages<'a> {
    /// One class, at the columns' margins; no column is active.
    pub fn new(engine: Engine<'a>, settings: Splits) -> Result<Self> {
        let level_offsets = engine.rows.level_offsets();
        let cells = level_offsets.last().map_or(0, |&cells| cells as usize);
        let one = Parameters { shares: vec![1.0], probabilities: vec![1.0; cells] };
        let responsibilities = vec![1.0; engine.rows.rows()];
        let parameters = engine.maximized(&one, ActiveColumns::default(), &responsibilities)?;
        let pairs = ColumnPairs::new(engine.rows)?;
        let classes = pairs.whole(engine.weights)?;
        let unexplained = pairs.unexplained(&classes, settings.level)?;
        let active = Active::none(engine.rows.columns());
        let mut stages = Self {
            engine,
            pairs,
            active,
            parameters,
            responsibilities,
            classes,
            unexplained,
            level_offsets,
            settings,
        };
        stages.floor();
        Ok(stages)
    }

    /// Holds all probabilities to the floor.
    pub fn floor(&mut self) {
        let classes = self.parameters.classes();
        let probabilities = &mut self.parameters.probabilities;
        floor_probabilities(self.settings.floor, &self.level_offsets, classes, probabilities);
    }

    /// Splits a class along a pair of columns.
    pub fn split(&mut self, pair: Dependence) -> Result<()> {
        let table = self.pairs.table(&self.classes, pair.class, pair.columns)?;
        let [first, second] = pair.columns.map(|column| self.engine.rows.levels(column as usize));
        let (mut u, mut v) = (vec![0.0; first], vec![0.0; second]);
        split_directions(&table, &mut u, &mut v, &mut vec![0.0; split_scratch_len(first, second)])?;
        let cells = pair.columns.map(|column| self.level_offsets[column as usize] as usize);
        let split = Split { class: pair.class, cells, directions: [&u, &v], step: self.settings.step };
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

    /// Takes new parameters, and weighs rows by them; returns the log-likelihood of the active columns.
    pub fn set(&mut self, parameters: Parameters) -> Result<f64> {
        self.parameters = parameters;
        let (engine, classes) = (self.engine, self.parameters.classes());
        let expected = engine.expectation(&self.parameters, self.active.columns(false))?;
        self.responsibilities = expected.responsibilities;
        self.classes = self.pairs.within(&self.responsibilities, classes, engine.weights)?;
        Ok(expected.log_likelihood)
    }

    /// Finds what the classes leave unexplained now.
    pub fn look(&mut self) -> Result<()> {
        self.unexplained = self.pairs.unexplained(&self.classes, self.settings.level)?;
        Ok(())
    }

    /// EM with the active columns, from the parameters held to the floor; returns their log-likelihood.
    pub fn fit(&mut self, settings: FitSettings) -> Result<f64> {
        self.floor();
        let (parameters, _) =
            self.engine.fit(&self.parameters, self.active.columns(false), settings, &mut |_| ())?;
        self.set(parameters)
    }
}
