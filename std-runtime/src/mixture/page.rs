//! The page of one analysis: its numbers as [`MixtureReport`] wants them.

use mixlet_core::em::Stop;

use super::analysis::{Analysis, Truth};
use super::candidates::Candidate;
use super::report::{
    CandidateLine, ClassLine, ColumnLine, Figure, MixtureReport, StepLine, TruthSummary, ValueLine, render,
};
use super::{Method, view};
use crate::error::Result;
use crate::report::number::{count, decimal, percent};
use crate::rows::{Family, Rows};

/// Values that the page may show.
const VALUES: usize = 200;

/// Renders an analysis; `picture` are the sides of a row that is one, `command` makes the page again.
pub fn page(
    rows: &Rows,
    analysis: &Analysis,
    picture: Option<(usize, usize)>,
    title: &str,
    command: &str,
) -> Result<String> {
    Ok(render(&MixtureReport { title, command, picture, ..report(rows, analysis)? })?)
}

/// What the page shows of an analysis, without a title.
pub fn report<'a>(rows: &'a Rows, analysis: &'a Analysis) -> Result<MixtureReport<'a>> {
    let classes = analysis.classes();
    let ones = analysis.fit.parameters.probabilities.chunks_exact(classes.max(1)).skip(1).step_by(2);
    Ok(MixtureReport {
        verdict: verdict(rows, analysis),
        figures: figures(rows, analysis),
        warnings: &analysis.warnings,
        classes: class_lines(analysis),
        columns: column_lines(rows, analysis),
        values: value_lines(rows, analysis)?,
        picture: rows.picture,
        prototypes: match rows.family() {
            Family::Bernoulli => ones.flatten().copied().collect(),
            Family::Categorical => Vec::new(),
        },
        candidates: analysis
            .table()
            .into_iter()
            .map(|candidate| candidate_line(candidate, analysis))
            .collect(),
        objective: analysis.fit.rounds.iter().map(|round| round.objective).collect(),
        steps: analysis.steps.iter().map(step_line).collect(),
        truth: analysis.truth.as_ref().map(truth_summary),
        ..MixtureReport::default()
    })
}

/// The outcome in a sentence or two.
fn verdict(rows: &Rows, analysis: &Analysis) -> String {
    let [all, columns] = [rows.len(), rows.columns.len()].map(|number| count(number as u64));
    let classes = analysis.classes();
    let largest = analysis.fit.parameters.shares.iter().copied().fold(0.0, f64::max);
    let mut text = match classes {
        1 => format!("{all} rows of {columns} columns are one class."),
        _ => format!(
            "{all} rows of {columns} columns fall into {} classes; the largest holds {} of them.",
            count(classes as u64),
            percent(largest, 0)
        ),
    };
    if analysis.selected.len() < rows.columns.len() {
        text.push_str(&format!(
            " {} columns are enough to find them.",
            count(analysis.selected.len() as u64)
        ));
    }
    if let Some(separation) = analysis.chosen().separation {
        text.push_str(match separation {
            sure if sure > 0.95 => " Nearly every row is sure of its class.",
            fair if fair > 0.8 => " Most rows are sure of their class.",
            _ => " Many rows lie between classes.",
        });
    }
    text
}

fn figures(rows: &Rows, analysis: &Analysis) -> Vec<Figure> {
    let figure = |label: &str, value: String, note: String| Figure { label: label.to_owned(), value, note };
    let chosen = analysis.chosen();
    let missing = match rows.incomplete() {
        0 => "none is incomplete".to_owned(),
        some => format!("{} with missing values", count(some as u64)),
    };
    let mut figures = vec![
        figure("Rows", count(rows.len() as u64), missing),
        figure("Columns", count(rows.columns.len() as u64), used(analysis)),
        figure("Classes", count(analysis.classes() as u64), method(analysis).to_owned()),
        figure("BIC", decimal(chosen.bic, 0), format!("{} parameters", count(chosen.free_parameters as u64))),
    ];
    if let Some(separation) = chosen.separation {
        figures.push(figure("Separation", decimal(separation, 3), "1 if every row is sure".to_owned()));
    }
    if let Some(error_rate) = analysis.error_rate() {
        let by = if analysis.tree.is_some() { "by each class's labels" } else { "after the best match" };
        figures.push(figure("Wrong", percent(error_rate, 1), by.to_owned()));
    }
    if let (Some(_), Some(error_rate)) = (analysis.refined, analysis.selected_error_rate()) {
        let note = "by the leaves' labels, before they were refined".to_owned();
        figures.push(figure("Wrong by the tree", percent(error_rate, 1), note));
    }
    figures
}

fn used(analysis: &Analysis) -> String {
    match analysis.columns.iter().filter(|column| column.selected).count() {
        all if all == analysis.columns.len() => "all were used".to_owned(),
        some => format!("{} found the classes", count(some as u64)),
    }
}

fn method(analysis: &Analysis) -> &'static str {
    match analysis.method {
        Method::Em => "by EM",
        Method::Stagewise => "by stagewise EM",
        Method::Forward => "by forward selection",
        Method::Backward => "by backward selection",
        Method::Tree if analysis.refined.is_some() => "leaves of a tree, refined",
        Method::Tree => "leaves of a tree",
    }
}

fn class_lines(analysis: &Analysis) -> Vec<ClassLine<'_>> {
    let label = |class: usize| {
        let truth = analysis.truth.as_ref()?;
        let shares = truth.label_shares.get(class * truth.names.len()..)?.get(..truth.names.len())?;
        let best = mixlet_core::em::most_likely_class(shares);
        Some((truth.names.get(best)?.as_str(), shares[best]))
    };
    let sizes = analysis.sizes();
    let line = |(number, share): (usize, &f64)| ClassLine {
        number,
        share: *share,
        rows: sizes[number] as u64,
        label: label(number),
    };
    analysis.fit.parameters.shares.iter().enumerate().map(line).collect()
}

fn column_lines<'a>(rows: &'a Rows, analysis: &Analysis) -> Vec<ColumnLine<'a>> {
    let facts = rows.columns.names.iter().zip(&analysis.columns);
    facts
        .map(|(name, facts)| ColumnLine { name, information: facts.information, selected: facts.selected })
        .collect()
}

/// Values of the columns that tell most: the second one of two, all of more.
fn value_lines(rows: &Rows, analysis: &Analysis) -> Result<Vec<ValueLine>> {
    let level_offsets = view(rows)?.level_offsets();
    let classes = analysis.classes();
    let mut order: Vec<usize> = (0..analysis.columns.len()).collect();
    order.sort_by(|&a, &b| analysis.columns[b].information.total_cmp(&analysis.columns[a].information));
    let mut lines = Vec::new();
    for column in order {
        let (start, end) = (level_offsets[column] as usize, level_offsets[column + 1] as usize);
        let (name, codes) = (&rows.columns.names[column], &rows.columns.codes[column]);
        for cell in if end - start == 2 { start + 1..end } else { start..end } {
            let value = codes.get(cell - start);
            let name = if value == "1" { name.clone() } else { format!("{name} = {value}") };
            let probabilities = analysis.fit.parameters.probabilities[cell * classes..][..classes].to_vec();
            lines.push(ValueLine { name, probabilities });
        }
        if lines.len() >= VALUES {
            break;
        }
    }
    Ok(lines)
}

fn candidate_line(candidate: &Candidate, analysis: &Analysis) -> CandidateLine {
    CandidateLine {
        classes: candidate.classes,
        log_likelihood: candidate.log_likelihood,
        bic: candidate.bic,
        icl: candidate.icl,
        held_out: candidate.held_out.unwrap_or(f64::NAN),
        converged: candidate.stop == Stop::Converged,
        chosen: candidate.classes == analysis.classes(),
    }
}

fn step_line(step: &super::methods::Step) -> StepLine {
    StepLine { columns: step.columns, log_likelihood: step.log_likelihood, information: step.information }
}

fn truth_summary(truth: &Truth) -> TruthSummary<'_> {
    TruthSummary {
        labels: truth.names.iter().map(String::as_str).collect(),
        confusion: truth.score.confusion.clone(),
        rows: truth.score.rows as u64,
        aligned_error: truth.score.aligned_error,
        share_error: truth.score.share_error,
    }
}
