//! Dawid–Skene fits: plain, with the pooled prior, and what remains when class names are lost.

use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior, TwoClasses, two_classes_len};
use mixlet_core::em::pooled::{pooled_confusion, pooled_strength};
use mixlet_core::em::{BLOCK_ROWS, EmError, Fit, FitSettings, LatentClassModel, ModelShape, Round, Stop};

use super::starts::Initial;
use super::{Collapse, CrowdFit, Method, PooledPrior, Pseudocount, Task, collapse};
use crate::error::Result;
use crate::threads::{self, Shards};

/// Rounds of the plain fit whose counts the pooled prior is made of.
pub(super) const PILOT_ROUNDS: u32 = 50;

/// Memory that successive fits of one crowd share.
pub(super) struct Workspace {
    shape: DawidSkeneShape,
    log_parameters: Vec<f64>,
    sums: Sums,
}

/// What rounds add up, and where.
struct Sums {
    statistics: Vec<f64>,
    shards: Shards,
    /// For [`TwoClasses`]; empty where there are more.
    two_classes: Vec<f64>,
}

impl Workspace {
    pub fn new(task: Task<'_>) -> Self {
        let shape = DawidSkeneShape::of(task.answers);
        let model_shape = ModelShape::by_blocks(task.answers.tasks(), shape.classes, shape.parameters_len());
        let two_classes = if shape.classes == 2 { two_classes_len(task.answers.cell_count()) } else { 0 };
        let sums = Sums {
            statistics: vec![0.0; shape.parameters_len()],
            shards: Shards::new(task.answers, model_shape),
            two_classes: vec![0.0; two_classes],
        };
        Self { shape, log_parameters: vec![0.0; shape.parameters_len()], sums }
    }
}

impl Sums {
    /// Starts and fits a model of any number of classes.
    fn fit(
        &mut self,
        model: &mut DawidSkene<'_>,
        initial: &Initial<'_>,
        settings: FitSettings,
        observe: &mut dyn FnMut(Round),
    ) -> Result<Fit, EmError> {
        let Self { statistics, shards, two_classes } = self;
        if two_classes.is_empty() {
            return rounds(model, initial, settings, (statistics, shards), observe);
        }
        let mut model = TwoClasses::new(model, two_classes)?;
        let statistics = &mut statistics[..model.shape().statistics];
        rounds(&mut model, initial, settings, (statistics, shards), observe)
    }
}

/// All rounds, from the maximisation that opens them.
fn rounds<M: LatentClassModel + Sync>(
    model: &mut M,
    initial: &Initial<'_>,
    settings: FitSettings,
    (statistics, shards): (&mut [f64], &mut Shards),
    observe: &mut dyn FnMut(Round),
) -> Result<Fit, EmError> {
    shards.start(model, statistics, |rows, out| initial.fill(rows, out))?;
    shards.fit(model, settings, statistics, observe)
}

pub(super) fn fit(task: Task<'_>, initial: &Initial<'_>, observe: &mut dyn FnMut(Round)) -> Result<CrowdFit> {
    let fitted = fit_unguarded(task, initial, observe)?;
    if fitted.pooled.is_none() {
        return Ok(fitted);
    }
    let Some(class) = collapse::misnamed_class(task.answers, &fitted.posteriors) else {
        return Ok(fitted);
    };
    let replaced = with_vote_confusion(task, initial, observe)?;
    Ok(CrowdFit { pooled: fitted.pooled, collapse: Some(Collapse::Misnamed { class }), ..replaced })
}

/// The fit that the options ask for, even if a class lost its name.
pub(super) fn fit_unguarded(
    task: Task<'_>,
    initial: &Initial<'_>,
    observe: &mut dyn FnMut(Round),
) -> Result<CrowdFit> {
    let mut workspace = Workspace::new(task);
    let plain = plain_prior(task);
    match task.options.pseudocount {
        Pseudocount::Constant(pseudocount) => {
            run(task, initial, Prior { pseudocount, ..plain }, &mut workspace, observe)
        }
        Pseudocount::Pooled if !task.has_shared_tasks() => run(task, initial, plain, &mut workspace, observe),
        Pseudocount::Pooled => {
            let pooled = match &task.options.pooled {
                Some(pooled) => pooled.clone(),
                None => pool(task, initial, plain, &mut workspace)?,
            };
            let pseudocounts = pooled.pseudocounts();
            let prior = Prior { shared: Some(&pseudocounts), ..plain };
            let fitted = run(task, initial, prior, &mut workspace, observe)?;
            Ok(CrowdFit { pooled: Some(pooled), ..fitted })
        }
    }
}

/// What the options say beside the pseudocounts.
fn plain_prior(task: Task<'_>) -> Prior<'_> {
    Prior {
        uniform_shares: task.options.uniform_shares,
        earlier: task.options.earlier.as_deref(),
        ..Prior::default()
    }
}

/// Starts and fits a model with the given prior.
fn run(
    task: Task<'_>,
    initial: &Initial<'_>,
    prior: Prior<'_>,
    workspace: &mut Workspace,
    observe: &mut dyn FnMut(Round),
) -> Result<CrowdFit> {
    let Workspace { shape, log_parameters, sums } = workspace;
    let mut model = DawidSkene::new(task.answers, shape.classes, task.facts, prior, log_parameters)?;
    let mut rounds = Vec::new();
    let fit = sums.fit(&mut model, initial, task.options.settings, &mut |round| {
        rounds.push(round);
        observe(round);
    })?;
    finish(task, &model, rounds, fit.stop)
}

/// The pooled confusion and its strength, from the cavity counts of a plain fit.
fn pool(
    task: Task<'_>,
    initial: &Initial<'_>,
    prior: Prior<'_>,
    workspace: &mut Workspace,
) -> Result<PooledPrior, EmError> {
    let Workspace { shape, log_parameters, sums } = workspace;
    let mut model = DawidSkene::new(task.answers, shape.classes, task.facts, prior, log_parameters)?;
    let settings =
        FitSettings { rounds: PILOT_ROUNDS.min(task.options.settings.rounds), ..task.options.settings };
    sums.fit(&mut model, initial, settings, &mut |_| ())?;
    let Sums { statistics, shards, .. } = sums;
    cavity_counts(&model, shards, statistics)?;
    let mut confusion = vec![0.0; shape.labels * shape.classes];
    pooled_confusion(*shape, statistics, &mut confusion);
    let strength = pooled_strength(*shape, statistics, &confusion);
    Ok(PooledPrior { confusion, strength })
}

/// Every worker's expected counts, judged by the others' answers.
pub(super) fn cavity_counts(
    model: &DawidSkene<'_>,
    shards: &mut Shards,
    statistics: &mut [f64],
) -> Result<(), EmError> {
    let classes = model.shape().classes;
    let mut reciprocals = vec![0.0; model.log_table().len()];
    model.reciprocals(&mut reciprocals);
    shards.add_up(statistics, |rows, statistics, scratch| {
        let mut cavity = vec![0.0; classes];
        for start in rows.clone().step_by(BLOCK_ROWS) {
            let block = start..rows.end.min(start + BLOCK_ROWS);
            let out = &mut scratch[..block.len() * classes];
            model.expectation(block.clone(), out)?;
            model.accumulate_cavity(block, out, &reciprocals, statistics, &mut cavity);
        }
        Ok(0.0)
    })?;
    Ok(())
}

/// Everybody gets the confusion that the vote shows, and only the class shares are fitted.
fn with_vote_confusion(
    task: Task<'_>,
    initial: &Initial<'_>,
    observe: &mut dyn FnMut(Round),
) -> Result<CrowdFit> {
    let everybody = confusion_with_vote(task).repeat(task.answers.workers());
    let prior = Prior { frozen_conditionals: Some(&everybody), ..plain_prior(task) };
    run(task, initial, prior, &mut Workspace::new(task), observe)
}

/// How the crowd's answers go with the votes of the others: `[labels, labels]`, each count one higher.
fn confusion_with_vote(task: Task<'_>) -> Vec<f64> {
    let labels = task.answers.labels();
    let mut confusion = vec![1.0; labels * labels];
    let mut votes = vec![0.0; labels];
    for cells in task.answers.rows(0..task.answers.tasks()).filter(|cells| cells.len() > 1) {
        votes.fill(0.0);
        cells.iter().for_each(|&cell| votes[task.answers.label(cell)] += 1.0);
        let others = cells.len() as f64 - 1.0;
        for &cell in cells {
            let answer = task.answers.label(cell);
            for (class, votes) in votes.iter().enumerate() {
                let own = if class == answer { 1.0 } else { 0.0 };
                confusion[answer * labels + class] += (votes - own) / others;
            }
        }
    }
    for class in 0..labels {
        let total: f64 = confusion.iter().skip(class).step_by(labels).sum();
        confusion.iter_mut().skip(class).step_by(labels).for_each(|value| *value /= total);
    }
    confusion
}

fn finish(task: Task<'_>, model: &DawidSkene<'_>, rounds: Vec<Round>, stop: Stop) -> Result<CrowdFit> {
    Ok(CrowdFit {
        method: Method::DawidSkene,
        posteriors: threads::posteriors(model)?,
        // What the labels were found with, not what they would lead to.
        class_shares: model.log_shares().iter().map(|log| log.exp()).collect(),
        conditionals: model.log_table().iter().map(|log| log.exp()).collect(),
        rounds,
        stop,
        tolerance: task.options.settings.tolerance,
        pooled: None,
        collapse: None,
    })
}

/// The vote's shares as posteriors, and the confusion matrices they imply.
pub(super) fn majority_vote(task: Task<'_>) -> Result<CrowdFit> {
    let initial = Initial::Vote(task);
    let mut workspace = Workspace::new(task);
    let Workspace { shape, log_parameters, sums: Sums { statistics, shards, .. } } = &mut workspace;
    let mut model =
        DawidSkene::new(task.answers, shape.classes, task.facts, Prior::default(), log_parameters)?;
    shards.start(&mut model, statistics, |rows, out| initial.fill(rows, out))?;
    let mut fitted = finish(task, &model, Vec::new(), Stop::Converged)?;
    fitted.method = Method::MajorityVote;
    threads::fill_blocks(&mut fitted.posteriors, task.answers.labels(), |rows, out| initial.fill(rows, out));
    Ok(fitted)
}
