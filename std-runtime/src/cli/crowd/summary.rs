//! What a person reads after a fit.

use std::path::Path;

use mixlet_core::em::Stop;

use super::options::Outputs;
use crate::cli::output::Lines;
use crate::crowd::Crowd;
use crate::crowd::analysis::{Analysis, GoldScores};
use crate::crowd::fit::Method;
use crate::crowd::page::errors;
use crate::error::{Result, Shown};
use crate::report::number::{count, decimal, percent, things};

/// Workers named at either end.
const NAMED: usize = 3;

/// The summary of a fit.
pub(super) fn fit(crowd: &Crowd, analysis: &Analysis, outputs: &Outputs) -> Result<String> {
    let mut lines = Lines::default();
    let answers = crowd.answers()?.cells().len();
    let [tasks, workers, labels] = [crowd.tasks.len(), crowd.workers.len(), crowd.labels.len()];
    lines.add(
        "Crowd",
        &format!(
            "{}, {}, {}, {} ({} per task)",
            things(tasks, "task"),
            things(workers, "worker"),
            things(labels, "label"),
            things(answers, "answer"),
            decimal(answers as f64 / tasks as f64, 1)
        ),
    );
    if crowd.repeats.pairs > 0 {
        let pairs = things(crowd.repeats.pairs as usize, "pair");
        lines.add("Repeats", &format!("{pairs} of task and worker, rule: {}", crowd.repeats.rule));
    }
    if let Some(alpha) = analysis.alpha {
        lines.add(
            "Agreement",
            &format!("{} (Krippendorff's alpha; 1 is perfect, 0 chance)", decimal(alpha, 2)),
        );
    }
    lines.add("Fit", &ending(analysis));
    if let Some(selection) = &analysis.selection {
        let [selected, all] = [selection.count, workers].map(|number| count(number as u64));
        lines.add("Selection", &format!("{selected} of {all} workers speak"));
    }
    if let Some(scores) = &analysis.gold {
        lines.add("Gold", &gold(analysis, scores));
    }
    if let Some(residue) = &analysis.residue {
        let selected = residue.selected.map(|value| format!(", among the selected {}", decimal(value, 5)));
        let [raw, fitted] = [residue.raw, residue.fitted].map(|value| decimal(value, 5));
        let selected = selected.unwrap_or_default();
        lines.add("Residue", &format!("{raw} raw, {fitted} within classes{selected} (nats per pair)"));
    }
    named_workers(&mut lines, crowd, analysis);
    wrote(&mut lines, outputs);
    Ok(lines.text)
}

/// How the fit ended.
fn ending(analysis: &Analysis) -> String {
    let method = match analysis.fit.method {
        Method::DawidSkene => "Dawid–Skene",
        Method::OneCoin => "one coin",
        Method::MajorityVote => "majority vote",
    };
    let Some(last) = analysis.fit.last() else { return method.to_owned() };
    let ended = match analysis.fit.stop {
        Stop::Converged => "converged after",
        Stop::IterationLimit => "stopped after",
    };
    let rounds = things(last.round as usize, "round");
    format!("{method}, {ended} {rounds}, log-likelihood {}", decimal(last.log_likelihood, 1))
}

/// The labels against gold, and the vote beside them.
fn gold(analysis: &Analysis, GoldScores { labels, vote }: &GoldScores) -> String {
    let rate = |score: &crate::crowd::score::Score| percent(score.error_rate(), 2);
    let wrong =
        format!("{} of {} wrong ({})", errors(labels.errors), things(labels.tasks, "task"), rate(labels));
    match analysis.fit.method {
        Method::MajorityVote => wrong,
        _ => format!("{wrong}; by majority vote {} ({})", errors(vote.errors), rate(vote)),
    }
}

/// The best by the lower end of the interval, the worst by the upper one: few answers prove little.
fn named_workers(lines: &mut Lines, crowd: &Crowd, analysis: &Analysis) {
    let mut order: Vec<usize> = (0..crowd.workers.len()).collect();
    order.retain(|&worker| analysis.accuracies[worker].answers > 0);
    let name = |&worker: &usize| {
        let accuracy = &analysis.accuracies[worker];
        let [low, high] = [accuracy.low, accuracy.high].map(|end| decimal(100.0 * end, 0));
        let name = Shown(crowd.workers.get(worker), 24);
        format!("{name}: {} ({low}–{high})", percent(accuracy.accuracy, 0))
    };
    order.sort_by(|&a, &b| analysis.accuracies[b].low.total_cmp(&analysis.accuracies[a].low));
    let best: Vec<String> = order.iter().take(NAMED).map(name).collect();
    lines.add("Best", &best.join(", "));
    order.drain(..NAMED.min(order.len()));
    order.sort_by(|&a, &b| analysis.accuracies[a].high.total_cmp(&analysis.accuracies[b].high));
    let worst: Vec<String> = order.iter().take(NAMED).map(name).collect();
    if !worst.is_empty() {
        lines.add("Worst", &worst.join(", "));
    }
}

/// What was written, or what could be.
fn wrote(lines: &mut Lines, outputs: &Outputs) {
    let shown = |path: &&Path| Shown(&path.to_string_lossy(), usize::MAX).to_string();
    let paths: Vec<String> = outputs.paths().iter().map(shown).collect();
    match paths.is_empty() {
        true => {
            lines.add("Next", "--labels labels.csv writes the labels, --report report.html shows everything")
        }
        false => lines.add("Wrote", &paths.join(", ")),
    }
}
