//! Whose answers speak for the labels.
//!
//! A selection is a subset of the answers: those of the first workers of an order. Fitting it is
//! fitting fewer answers; everybody's confusion matrix is estimated afterwards from all of them.

mod auto;

use mixlet_core::em::EmError;
use mixlet_core::observations::{Answers, WorkerTasks};
use mixlet_core::select::{self, Estimator, Pairs, Residue, order_by_information};

use super::fit::{FitOptions, PooledPrior, Start};
use crate::error::{Error, Result};
use crate::threads;

pub use auto::{FOLDS, LEAST_ANSWERS};

/// How many workers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Select {
    /// Everybody.
    #[default]
    All,
    /// As many as the answers themselves justify.
    Auto,
    /// The first so many by information.
    First(usize),
}

/// Who said how many workers speak, and so what they are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// The user; by information: what a worker's answers tell about everybody else's, in nats.
    #[default]
    Asked,
    /// Held-out prediction; by relevance: what a worker's answers tell about the labels, in nats per task.
    HeldOut,
    /// Nobody, as a fit of all answers cannot tell workers apart: everybody speaks; by relevance.
    Open,
}

/// Some of the answers of a crowd.
#[derive(Clone, Debug)]
struct Subset {
    task_offsets: Vec<u32>,
    cells: Vec<u32>,
}

impl Subset {
    /// The answers that `keep(task, cells, out)` appends for each task.
    fn new(answers: Answers<'_>, mut keep: impl FnMut(usize, &[u32], &mut Vec<u32>)) -> Self {
        let (mut task_offsets, mut cells) = (vec![0], Vec::new());
        for (task, all) in answers.rows(0..answers.tasks()).enumerate() {
            keep(task, all, &mut cells);
            task_offsets.push(cells.len() as u32);
        }
        Self { task_offsets, cells }
    }

    fn answers(&self, all: Answers<'_>) -> Result<Answers<'_>> {
        Ok(Answers::new(all.workers() as u32, all.labels() as u32, &self.task_offsets, &self.cells)?)
    }
}

/// The answers that speak.
#[derive(Clone, Debug)]
pub struct Selection {
    /// All workers, best first.
    pub order: Vec<u32>,
    /// How many of them were selected.
    pub count: usize,
    /// Answers that a task keeps at least, also from workers not selected.
    pub least_answers: usize,
    /// Who said how many, and what the order is by.
    pub choice: Choice,
    /// `[workers]`: the numbers that the order is by; empty where only the order was given.
    pub measure: Vec<f64>,
    /// The pooled prior that the selection was made with.
    pooled: Option<PooledPrior>,
    subset: Subset,
}

impl Selection {
    /// The answers of the first `count` workers of an order. A task with fewer than `least_answers` of them
    /// also keeps its best other ones, up to that number.
    pub fn new(answers: Answers<'_>, order: Vec<u32>, count: usize, least_answers: usize) -> Self {
        let ranks = ranks(&order);
        let rank = |cell: u32| ranks[answers.worker(cell)] as usize;
        let mut ranked = Vec::new();
        let subset = Subset::new(answers, |_, task, out| {
            let selected = task.iter().filter(|&&cell| rank(cell) < count).count();
            let least = least_answers.min(task.len());
            // One more than the worst rank that is kept.
            let mut end = count;
            if selected < least {
                ranked.clear();
                ranked.extend(task.iter().map(|&cell| rank(cell)));
                ranked.sort_unstable();
                end = ranked[least - 1] + 1;
            }
            out.extend(task.iter().filter(|&&cell| rank(cell) < end));
        });
        let (choice, measure) = (Choice::Asked, Vec::new());
        Self { order, count, least_answers, choice, measure, pooled: None, subset }
    }

    /// The selected workers, best first.
    pub fn workers(&self) -> &[u32] {
        &self.order[..self.count]
    }

    /// The answers that speak.
    pub fn answers(&self, all: Answers<'_>) -> Result<Answers<'_>> {
        self.subset.answers(all)
    }

    /// How to fit the answers that speak, given how all would be fitted.
    ///
    /// A number of workers that the answers chose themselves keeps the pooled prior it was chosen with and starts from
    /// everybody's votes: adversaries may be the majority of a selection.
    pub fn fit_options(&self, all: Answers<'_>, options: &FitOptions) -> FitOptions {
        let Some(pooled) = &self.pooled else {
            return options.clone();
        };
        let start = match &options.start {
            Start::Vote => Start::Given(auto::all_vote_shares(all, options)),
            start => start.clone(),
        };
        FitOptions { start, pooled: Some(pooled.clone()), ..options.clone() }
    }
}

/// The place of every worker, or task, in an order.
fn ranks(order: &[u32]) -> Vec<u32> {
    let mut ranks = vec![0; order.len()];
    (0..).zip(order).for_each(|(rank, &worker)| ranks[worker as usize] = rank);
    ranks
}

/// Selects workers; none: everybody speaks. `information` `[workers]` orders them where a number is given.
pub fn select(
    answers: Answers<'_>,
    options: &FitOptions,
    select: Select,
    information: &[f64],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Option<Selection>> {
    match select {
        Select::All => Ok(None),
        Select::First(count) if count > answers.workers() || count == 0 => {
            Err(Error::Select { asked: count, workers: answers.workers() })
        }
        Select::First(count) => {
            let mut order = vec![0; answers.workers()];
            order_by_information(information, &mut order);
            let selection = Selection::new(answers, order, count, 0);
            Ok(Some(Selection { measure: information.to_vec(), ..selection }))
        }
        Select::Auto => auto::selection(answers, options, progress).map(Some),
    }
}

/// The other direction of the answers, in memory of its own.
pub(super) struct Index {
    offsets: Vec<u32>,
    tasks: Vec<u32>,
}

impl Index {
    pub fn new(answers: Answers<'_>) -> Self {
        Self { offsets: vec![0; answers.workers() + 1], tasks: vec![0; answers.cells().len()] }
    }

    pub fn fill(&mut self, answers: Answers<'_>) -> Result<WorkerTasks<'_>> {
        Ok(WorkerTasks::fill(answers, &mut self.offsets, &mut self.tasks)?)
    }
}

/// Every worker's information: the sum of the mutual information with all others, in nats.
pub fn worker_information(answers: Answers<'_>, estimator: Estimator) -> Result<Vec<f64>> {
    let mut index = Index::new(answers);
    let pairs = Pairs::new(answers, index.fill(answers)?);
    let one = |worker, scratch: &mut [f64]| select::worker_information(&pairs, worker, estimator, scratch);
    Ok(threads::map_workers(answers.workers(), pairs.scratch_len(), one)?)
}

/// The residue of all workers and within a selection; without posteriors the raw one.
pub fn residue(
    answers: Answers<'_>,
    posteriors: Option<&[f64]>,
    selection: Option<&Selection>,
) -> Result<(f64, Option<f64>)> {
    let mut index = Index::new(answers);
    let mut pairs = Pairs::new(answers, index.fill(answers)?);
    if let Some(posteriors) = posteriors {
        pairs = pairs.within_classes(posteriors, answers.labels())?;
    }
    let mut masses = vec![0.0; pairs.classes()];
    pairs.class_masses(&mut masses);
    let mut selected = vec![selection.is_none(); answers.workers()];
    selection.into_iter().flat_map(Selection::workers).for_each(|&worker| selected[worker as usize] = true);
    let one = |worker, scratch: &mut [f64]| -> Result<Residue, EmError> {
        Residue::of_worker(&pairs, worker, &masses, Some(&selected), scratch)
    };
    let mut total = Residue::default();
    for part in threads::map_workers(answers.workers(), pairs.scratch_len(), one)? {
        total += part;
    }
    let within = selection.map(|selection| total.mean_within(selection.count));
    Ok((total.mean_of_all(answers.workers()), within))
}
