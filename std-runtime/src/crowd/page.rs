//! The page of one analysis: its numbers as [`CrowdReport`] wants them.

use mixlet_core::em::{Stop, most_likely_class};
use mixlet_core::observations::Answers;
use mixlet_core::select::Pairs;
use mixlet_core::select::null::null_information;

use super::Crowd;
use super::analysis::{Analysis, GoldScores};
use super::ask_next::entropy;
use super::fit::Method;
use super::report::{CrowdReport, DoubtfulTask, Figure, GoldSummary, WorkerLine, confidence_bins, render};
use super::selection::{Choice, Index, Selection};
use crate::error::Result;
use crate::report::number::{count, decimal, percent};
use crate::threads;

/// Tasks in doubt that are shown.
const DOUBTFUL: usize = 40;
/// Bins of the histogram of confidence.
const BINS: usize = 100;
/// Confidence from which a label passes for sure.
const SURE: f64 = 0.95;

/// Renders an analysis; `command` makes the page again.
pub fn page(crowd: &Crowd, analysis: &Analysis, title: &str, command: &str) -> Result<String> {
    Ok(render(&CrowdReport { title, command, ..report(crowd, analysis)? })?)
}

/// What the page shows of an analysis, without a title.
pub fn report<'a>(crowd: &'a Crowd, analysis: &'a Analysis) -> Result<CrowdReport<'a>> {
    let answers = crowd.answers()?;
    let choice = analysis.selection.as_ref().map_or(Choice::Asked, |selection| selection.choice);
    let confidences = analysis.fit.posteriors.chunks_exact(crowd.labels.len()).map(confidence);
    Ok(CrowdReport {
        verdict: verdict(crowd, analysis),
        figures: figures(crowd, answers, analysis),
        warnings: &analysis.warnings,
        labels: crowd.labels.iter().collect(),
        workers: workers(crowd, analysis),
        choice,
        cut: analysis.selection.as_ref().map(|selection| selection.count),
        null_information: match choice {
            Choice::Asked => guessing_information(answers)?,
            Choice::HeldOut | Choice::Open => None,
        },
        objective: analysis.fit.rounds.iter().map(|round| round.objective).collect(),
        confidence: confidence_bins(confidences, BINS),
        class_shares: analysis.fit.class_shares.clone(),
        doubtful: doubtful(crowd, answers, analysis),
        gold: analysis.gold.as_ref().map(gold),
        ..CrowdReport::default()
    })
}

fn confidence(posterior: &[f64]) -> f64 {
    posterior[most_likely_class(posterior)]
}

/// The outcome in a sentence or two.
pub fn verdict(crowd: &Crowd, analysis: &Analysis) -> String {
    let who = analysis.selection.as_ref().map_or(String::new(), |Selection { count: selected, .. }| {
        let all = crowd.workers.len() as u64;
        format!("{} of {} workers carry the labels. ", count(*selected as u64), count(all))
    });
    let what = match &analysis.gold {
        Some(GoldScores { labels, vote }) if analysis.fit.method != Method::MajorityVote => format!(
            "Of {} tasks with a known label {} came out wrong, by majority vote {}.",
            count(labels.tasks as u64),
            errors(labels.errors),
            errors(vote.errors)
        ),
        Some(GoldScores { labels, .. }) => format!(
            "Of {} tasks with a known label the majority vote gets {} wrong.",
            count(labels.tasks as u64),
            errors(labels.errors)
        ),
        None => {
            let posteriors = analysis.fit.posteriors.chunks_exact(crowd.labels.len());
            let sure = posteriors.filter(|posterior| confidence(posterior) >= SURE).count();
            let share = sure as f64 / crowd.tasks.len() as f64;
            format!("{} of the labels are sure: their probability is {SURE} or more.", percent(share, 0))
        }
    };
    who + &what
}

/// Whole where it is whole.
pub fn errors(errors: f64) -> String {
    decimal(errors, if (errors - errors.round()).abs() < 0.05 { 0 } else { 1 })
}

/// The tiles on top.
fn figures(crowd: &Crowd, answers: Answers<'_>, analysis: &Analysis) -> Vec<Figure> {
    let figure = |label: &str, value: String, note: String| Figure { label: label.to_owned(), value, note };
    let total = answers.cells().len();
    let selected = match &analysis.selection {
        Some(selection) => format!("{} of them used", count(selection.count as u64)),
        None => "all of them used".to_owned(),
    };
    let repeats = match crowd.repeats.pairs {
        0 => "no repeats".to_owned(),
        pairs => format!("{} repeated, rule {}", count(pairs), crowd.repeats.rule),
    };
    let each = format!("{} answers each", decimal(total as f64 / crowd.tasks.len() as f64, 1));
    let mut figures = vec![
        figure("Tasks", count(crowd.tasks.len() as u64), each),
        figure("Workers", count(crowd.workers.len() as u64), selected),
        figure("Answers", count(total as u64), repeats),
    ];
    if let Some(GoldScores { labels, .. }) = &analysis.gold {
        let note = format!("{} of {} tasks", errors(labels.errors), count(labels.tasks as u64));
        figures.push(figure("Wrong against gold", percent(labels.error_rate(), 2), note));
    }
    let alpha = decimal(analysis.alpha.unwrap_or(f64::NAN), 2);
    figures.push(figure("Agreement", alpha, "Krippendorff’s alpha".to_owned()));
    if let Some(last) = analysis.fit.last() {
        let ended = match analysis.fit.stop {
            Stop::Converged => "converged",
            Stop::IterationLimit => "all that were allowed",
        };
        figures.push(figure(
            "Log-likelihood",
            decimal(last.log_likelihood, 1),
            "natural logarithm".to_owned(),
        ));
        figures.push(figure("Rounds", count(last.round.into()), ended.to_owned()));
    }
    figures
}

/// Workers in order.
fn workers<'a>(crowd: &'a Crowd, analysis: &'a Analysis) -> Vec<WorkerLine<'a>> {
    let cells = crowd.labels.len() * crowd.labels.len();
    let line = |worker: u32| {
        let worker = worker as usize;
        let accuracy = &analysis.accuracies[worker];
        WorkerLine {
            name: crowd.workers.get(worker),
            answers: accuracy.answers.into(),
            accuracy: accuracy.accuracy,
            accuracy_low: accuracy.low,
            accuracy_high: accuracy.high,
            measure: analysis.measure().map_or(f64::NAN, |measure| measure[worker]),
            selected: analysis.is_selected[worker],
            confusion: &analysis.fit.conditionals[worker * cells..][..cells],
        }
    };
    analysis.order().into_iter().map(line).collect()
}

/// The tasks that one more answer tells most about.
fn doubtful<'a>(crowd: &'a Crowd, answers: Answers<'_>, analysis: &Analysis) -> Vec<DoubtfulTask<'a>> {
    let labels = crowd.labels.len();
    let line = |gain: &super::ask_next::ExpectedGain| {
        let task = gain.task as usize;
        let posterior = &analysis.fit.posteriors[task * labels..][..labels];
        let mut votes = vec![0; labels];
        answers.task(task).iter().for_each(|&cell| votes[answers.label(cell)] += 1);
        DoubtfulTask {
            task: crowd.tasks.get(task),
            label: crowd.labels.get(most_likely_class(posterior)),
            confidence: confidence(posterior),
            entropy: entropy(posterior.iter().copied()),
            probabilities: posterior.to_vec(),
            votes,
            gain: gain.gain,
        }
    };
    analysis.gains(answers).iter().take(DOUBTFUL).map(line).collect()
}

fn gold(gold: &GoldScores) -> GoldSummary {
    let score = &gold.labels;
    GoldSummary {
        tasks: score.tasks as u64,
        errors: score.errors,
        error_rate: score.error_rate(),
        f1: score.f1.iter().map(|f1| f1.unwrap_or(f64::NAN)).collect(),
        confusion: score.confusion.clone(),
    }
}

/// The information that 95 of 100 workers who guess stay below; none where no two share a task.
///
/// With `p` partners and `n_j` shared tasks, `Σ_j I(i, j)` is about a chi-square variable with
/// `p·(labels − 1)²` degrees of freedom over twice the harmonic mean of the `n_j`; both are taken
/// over all workers, so the level is that of a typical one. None also where pairs share so few tasks that
/// chance would look like half of all the information there can be: the law does not hold there.
fn guessing_information(answers: Answers<'_>) -> Result<Option<f64>> {
    let mut index = Index::new(answers);
    let pairs = Pairs::new(answers, index.fill(answers)?);
    let shared = threads::map_workers(answers.workers(), pairs.scratch_len(), |worker, scratch| {
        let (mut partners, mut reciprocals) = (0.0, 0.0);
        pairs.for_each_partner(worker, scratch, |_, counts| {
            partners += 1.0;
            reciprocals += 1.0 / counts.iter().sum::<f64>();
        })?;
        Ok((partners, reciprocals))
    })?;
    let (partners, reciprocals) =
        shared.iter().fold((0.0, 0.0), |sum: (f64, f64), one| (sum.0 + one.0, sum.1 + one.1));
    let freedom = (answers.labels() as f64 - 1.0).powi(2) * partners / answers.workers() as f64;
    let tasks = partners / reciprocals;
    let labels = answers.labels() as f64;
    let by_chance = (labels - 1.0).powi(2) / (2.0 * tasks);
    Ok((partners > 0.0 && by_chance <= 0.5 * labels.ln()).then(|| null_information(0.95, freedom, tasks)))
}
