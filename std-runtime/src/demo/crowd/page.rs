//! The crowd stop's part of the report.

use mixlet_core::em::most_likely_class;
use mixlet_core::observations::Answers;

use super::kinds::{Judgement, Kinds};
use super::methods::{Attempt, MethodOutcome, speaking};
use crate::crowd::Crowd;
use crate::crowd::ask_next::{entropy, expected_gains};
use crate::crowd::checks::warnings;
use crate::crowd::report::{
    CrowdReport, DoubtfulTask, Figure, GoldSummary, MethodLine, WorkerLine, confidence_bins, sections,
};
use crate::crowd::selection::Selection;
use crate::demo::guide::Pictures;
use crate::error::Result;
use crate::report::number::percent;

/// Tasks in doubt that are listed.
const DOUBTFUL: usize = 10;
/// Bars of the confidence histogram.
const CONFIDENCE_BINS: usize = 50;

/// Compares all attempts and shows the workers as the last one sees them.
pub fn pictures(
    crowd: &Crowd,
    attempts: &[Attempt; 4],
    judgement: &Judgement,
    kinds: &Kinds,
) -> Result<Pictures> {
    let answers = crowd.answers()?;
    let [vote, .., last] = attempts;
    let speaking = speaking(last.selection.as_ref(), answers)?;
    let workers = workers(crowd, last.selection.as_ref(), judgement);
    let objective: Vec<f64> = last.fit.rounds.iter().map(|round| round.objective).collect();
    let report = CrowdReport {
        labels: crowd.labels.iter().collect(),
        cut: cut(&workers),
        workers,
        null_information: Some(judgement.guessing(answers.cells().len() as f64 / answers.workers() as f64)),
        objective: &objective,
        confidence: confidence_bins(confidences(last, answers.labels()), CONFIDENCE_BINS),
        class_shares: last.fit.class_shares.clone(),
        doubtful: doubtful(crowd, speaking, last),
        comparison: attempts.iter().map(|attempt| line(&attempt.outcome)).collect(),
        gold: Some(gold(last)),
        ..CrowdReport::default()
    };
    Ok(Pictures {
        verdict: verdict(vote, last, kinds),
        figures: figures(vote, last, kinds),
        warnings: warnings(crowd, answers, speaking, &last.fit),
        sections: sections(&report)?,
    })
}

fn verdict(vote: &Attempt, last: &Attempt, kinds: &Kinds) -> String {
    format!(
        "The majority vote labels {} of {} photos wrongly, {} {}. {}",
        percent(vote.outcome.error_rate, 1),
        vote.score.tasks,
        last.outcome.method,
        percent(last.outcome.error_rate, 1),
        kinds.sentence()
    )
}

fn figures(vote: &Attempt, last: &Attempt, kinds: &Kinds) -> Vec<Figure> {
    let rate = |attempt: &Attempt| Figure {
        label: format!("Errors: {}", attempt.outcome.method),
        value: percent(attempt.outcome.error_rate, 1),
        note: attempt.outcome.note.clone(),
    };
    let found =
        [("Experts", kinds.experts), ("Spammers", kinds.spammers), ("Adversaries", kinds.adversaries)];
    let found = found.map(|(label, kind)| Figure {
        label: label.to_owned(),
        value: format!("{} of {}", kind.recognised, kind.generated),
        note: "recognised".to_owned(),
    });
    [rate(vote), rate(last)].into_iter().chain(found).collect()
}

/// All workers, the most informative first.
fn workers<'a>(
    crowd: &'a Crowd,
    selection: Option<&Selection>,
    judgement: &'a Judgement,
) -> Vec<WorkerLine<'a>> {
    let mut is_selected = vec![selection.is_none(); crowd.workers.len()];
    selection
        .into_iter()
        .flat_map(Selection::workers)
        .for_each(|&worker| is_selected[worker as usize] = true);
    let line = |(worker, selected)| {
        let accuracy = judgement.accuracies[worker];
        WorkerLine {
            name: crowd.workers.get(worker),
            answers: accuracy.answers.into(),
            accuracy: accuracy.accuracy,
            accuracy_low: accuracy.low,
            accuracy_high: accuracy.high,
            information: judgement.information[worker],
            selected,
            confusion: judgement.confusion(worker),
        }
    };
    let mut lines: Vec<_> = is_selected.into_iter().enumerate().map(line).collect();
    lines.sort_by(|a, b| b.information.total_cmp(&a.information));
    lines
}

/// Where the line between the workers used and the others is, if there is one in this order.
fn cut(workers: &[WorkerLine<'_>]) -> Option<usize> {
    let selected = workers.iter().take_while(|worker| worker.selected).count();
    let is_prefix = !workers[selected..].iter().any(|worker| worker.selected);
    (is_prefix && selected < workers.len()).then_some(selected)
}

fn confidences(attempt: &Attempt, labels: usize) -> impl Iterator<Item = f64> {
    attempt.fit.posteriors.chunks_exact(labels).map(|posterior| posterior[most_likely_class(posterior)])
}

/// The tasks that one more answer tells most about.
fn doubtful<'a>(crowd: &'a Crowd, speaking: Answers<'_>, attempt: &Attempt) -> Vec<DoubtfulTask<'a>> {
    let (fit, labels) = (&attempt.fit, speaking.labels());
    let gains = expected_gains(speaking, &fit.posteriors, &fit.conditionals, |_| true);
    let task = |task: usize, gain| {
        let posterior = &fit.posteriors[task * labels..][..labels];
        let label = most_likely_class(posterior);
        let mut votes = vec![0; labels];
        speaking.task(task).iter().for_each(|&cell| votes[speaking.label(cell)] += 1);
        DoubtfulTask {
            task: crowd.tasks.get(task),
            label: crowd.labels.get(label),
            confidence: posterior[label],
            entropy: entropy(posterior.iter().copied()),
            probabilities: posterior.to_vec(),
            votes,
            gain,
        }
    };
    gains.iter().take(DOUBTFUL).map(|expected| task(expected.task as usize, expected.gain)).collect()
}

fn line(outcome: &MethodOutcome) -> MethodLine<'_> {
    let MethodOutcome { method, errors, error_rate, seconds, ref note } = *outcome;
    MethodLine { method, errors, error_rate, seconds, note }
}

fn gold(attempt: &Attempt) -> GoldSummary {
    let score = &attempt.score;
    GoldSummary {
        tasks: score.tasks as u64,
        errors: score.errors,
        error_rate: score.error_rate(),
        f1: score.f1.iter().map(|f1| f1.unwrap_or(f64::NAN)).collect(),
        confusion: score.confusion.clone(),
    }
}
