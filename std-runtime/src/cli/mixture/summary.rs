//! What a person reads after a fit.

use std::fmt::Write as _;
use std::path::Path;

use mixlet_core::em::Stop;

use super::options::FitOptions;
use crate::cli::output::Lines;
use crate::error::Shown;
use crate::mixture::Method;
use crate::mixture::analysis::Analysis;
use crate::mixture::candidates::Candidate;
use crate::report::number::{count, decimal, percent, things};
use crate::rows::{Family, Rows};

/// Columns named.
const NAMED: usize = 5;
/// Classes whose sizes are shown.
const SIZES: usize = 20;

/// The summary of a fit.
pub(super) fn fit(rows: &Rows, analysis: &Analysis, options: &FitOptions) -> String {
    let mut lines = Lines::default();
    lines.add("Data", &data(rows));
    if analysis.baseline.is_some() && analysis.candidates.len() > 1 {
        lines.add("Choice", &format!("{} classes have the best BIC", analysis.classes()));
        table(&mut lines, analysis);
    }
    lines.add("Fit", &ending(analysis));
    let chosen = analysis.chosen();
    let separation = chosen.separation.map(|value| format!(", separation {}", decimal(value, 3)));
    lines.add(
        "Criteria",
        &format!(
            "BIC {}, ICL {}{}",
            decimal(chosen.bic, 1),
            decimal(chosen.icl, 1),
            separation.unwrap_or_default()
        ),
    );
    lines.add("Sizes", &first_sizes(&analysis.sizes()));
    if analysis.selected.len() < rows.columns.len() {
        let [selected, all] =
            [analysis.selected.len(), rows.columns.len()].map(|number| count(number as u64));
        lines.add("Selected", &format!("{selected} of {all} columns"));
    }
    lines.add("Telling", &telling(rows, analysis));
    scores(&mut lines, analysis);
    wrote(&mut lines, options, analysis);
    lines.text
}

fn data(rows: &Rows) -> String {
    let kind = match rows.family() {
        Family::Bernoulli => "binary",
        Family::Categorical => "categorical",
    };
    let header = match rows.has_header {
        Some(true) => ", the first line names them",
        Some(false) => ", without names",
        None => "",
    };
    let missing = match rows.incomplete() {
        0 => String::new(),
        incomplete => format!("; {} with missing values", things(incomplete, "row")),
    };
    let columns = things(rows.columns.len(), "column").replacen(' ', &format!(" {kind} "), 1);
    format!("{}, {columns}{header}{missing}", things(rows.len(), "row"))
}

/// A line per number of classes.
fn table(lines: &mut Lines, analysis: &Analysis) {
    let held_out = analysis.candidates.iter().any(|candidate| candidate.held_out.is_some());
    let head = if held_out { "     held out" } else { "" };
    lines.raw(&format!("{:>12}  {:>14}  {:>14}  {:>14}{head}", "classes", "log-likelihood", "BIC", "ICL"));
    let chosen = analysis.classes();
    for candidate in analysis.table() {
        let Candidate { classes, log_likelihood, bic, icl, stop, .. } = candidate;
        let mut line = format!("{:>12}", count(*classes as u64));
        for value in [log_likelihood, bic, icl] {
            let _ = write!(line, "  {:>14}", decimal(*value, 1));
        }
        if let Some(value) = candidate.held_out {
            let _ = write!(line, "  {:>11}", decimal(value, 4));
        }
        let remark = match (*classes == chosen, stop) {
            (true, _) => "  ← chosen",
            (_, Stop::IterationLimit) => "  not converged",
            _ => "",
        };
        lines.raw(&(line + remark));
    }
}

/// How the fit ended.
fn ending(analysis: &Analysis) -> String {
    if analysis.method == Method::Tree {
        let leaves = things(analysis.classes(), "leaf").replace("leafs", "leaves");
        let likelihood = decimal(analysis.chosen().log_likelihood, 1);
        let as_one = if analysis.refined.is_some() { "" } else { " of its leaves as one mixture" };
        let refined =
            |rounds: u32| format!(", refined with all columns by {}", things(rounds as usize, "round"));
        let refined = analysis.refined.map(refined).unwrap_or_default();
        let depth = analysis.depth().unwrap_or(0);
        return format!("{leaves} of a tree, depth {depth}{refined}, log-likelihood {likelihood}{as_one}");
    }
    let method = match analysis.method {
        Method::Em => "EM",
        Method::Stagewise => "stagewise EM",
        Method::Forward => "forward selection",
        Method::Backward => "backward selection",
        Method::Tree => "tree",
    };
    let chosen = analysis.chosen();
    let ended = match chosen.stop {
        Stop::Converged => "converged after",
        Stop::IterationLimit => "stopped after",
    };
    let starts = match chosen.restarts.len() {
        1 => String::new(),
        starts => format!(", best of {} starts", count(starts as u64)),
    };
    format!(
        "{} by {method}, {ended} {}{starts}, log-likelihood {}",
        things(analysis.classes(), "class").replace("classs", "classes"),
        things(chosen.rounds, "round"),
        decimal(chosen.log_likelihood, 1)
    )
}

/// The columns that tell most about the classes.
fn telling(rows: &Rows, analysis: &Analysis) -> String {
    let mut order: Vec<usize> = (0..analysis.columns.len()).collect();
    let information = |column: usize| analysis.columns[column].information;
    order.sort_by(|&a, &b| information(b).total_cmp(&information(a)));
    let name = |&column: &usize| {
        format!("{} ({})", Shown(&rows.columns.names[column], 24), decimal(information(column), 3))
    };
    let named: Vec<String> = order.iter().take(NAMED).map(name).collect();
    format!("{} nats about the class", named.join(", "))
}

/// Against known classes, and on rows that took no part.
fn scores(lines: &mut Lines, analysis: &Analysis) {
    if let Some(truth) = &analysis.truth {
        let score = &truth.score;
        lines.add(
            "Truth",
            &match analysis.method {
                Method::Tree => {
                    let alone = analysis.selected_error_rate();
                    let alone = alone.map(|rate| format!("; {} by the tree alone", percent(rate, 2)));
                    format!(
                        "{} of {} wrong by each class's labels{}",
                        percent(score.share_error, 2),
                        things(score.rows, "row"),
                        alone.unwrap_or_default()
                    )
                }
                _ => format!(
                    "{} of {} wrong after the best match of classes and labels; {} by each class's labels",
                    percent(score.aligned_error, 2),
                    things(score.rows, "row"),
                    percent(score.share_error, 2)
                ),
            },
        );
    }
    if let Some(held_out) = &analysis.held_out {
        let per_row = held_out.log_likelihood / held_out.weight;
        let error = held_out.error_rate.map(|rate| format!(", {} wrong by class labels", percent(rate, 2)));
        let error = error.unwrap_or_default();
        lines.add(
            "Held out",
            &format!("{}, log-likelihood {} each{error}", things(held_out.rows, "row"), decimal(per_row, 4)),
        );
    }
}

/// Rows of the first classes, and how many classes there are where that is not all of them.
pub(super) fn first_sizes(sizes: &[usize]) -> String {
    let shown: Vec<String> = sizes.iter().take(SIZES).map(|&size| count(size as u64)).collect();
    match sizes.len() {
        all if all > SIZES => format!("{}, … ({} in all)", shown.join(", "), count(all as u64)),
        _ => shown.join(", "),
    }
}

/// What was written, or what could be.
fn wrote(lines: &mut Lines, options: &FitOptions, analysis: &Analysis) {
    let shown = |path: &&Path| Shown(&path.to_string_lossy(), usize::MAX).to_string();
    let paths: Vec<String> = options.outputs.paths().iter().map(shown).collect();
    if !paths.is_empty() {
        return lines.add("Wrote", &paths.join(", "));
    }
    let is_random = analysis.method == Method::Em && !options.model.is_given_start();
    let may_restart = is_random && analysis.classes() > 1;
    let next = match may_restart && analysis.chosen().restarts.len() == 1 {
        true => "--restarts 10 looks for a better fit, --report report.html shows this one",
        false => "--labels labels.csv writes the classes, --report report.html shows everything",
    };
    lines.add("Next", next);
}
