//! What the user must know before believing a fit.

use mixlet_core::em::Stop;

use super::{Analysis, AnalysisOptions};
use crate::error::Quoted;
use crate::mixture::Method;
use crate::report::number::{count, things};
use crate::rows::Rows;

/// A column with so many values per row holds names.
const NAMES_PER_ROW: f64 = 0.5;
/// Fewer values than this are no names.
const FEWEST_NAMES: usize = 20;
/// Starts that find the best objective to this share of its size found the same.
const SAME: f64 = 1e-6;

/// One sentence each.
pub(super) fn warnings(rows: &Rows, options: &AnalysisOptions, analysis: &Analysis) -> Vec<String> {
    let mut warnings = Vec::new();
    names(rows, &mut warnings);
    constants(rows, &mut warnings);
    number_of_classes(options, analysis, &mut warnings);
    selected(analysis, &mut warnings);
    ending(options, analysis, &mut warnings);
    sizes(analysis, &mut warnings);
    warnings
}

/// Columns that number or name the rows.
fn names(rows: &Rows, warnings: &mut Vec<String>) {
    for (name, codes) in rows.columns.names.iter().zip(&rows.columns.codes) {
        if codes.len() >= FEWEST_NAMES && codes.len() as f64 >= NAMES_PER_ROW * rows.len() as f64 {
            let values = things(codes.len(), "different value");
            warnings.push(format!(
                "column {} holds {values} in {}: if it names the rows, leave it out with --ignore",
                Quoted(name),
                things(rows.len(), "row"),
            ));
        }
    }
}

/// Columns that tell nothing. Pictures have dark margins: nobody needs to hear of them.
fn constants(rows: &Rows, warnings: &mut Vec<String>) {
    if rows.columns.numbers().is_some() {
        return;
    }
    let columns = rows.columns.names.iter().zip(&rows.columns.codes).zip(super::columns::varying(rows));
    let constant = columns.filter(|(_, varies)| !varies).map(|(column, _)| column);
    let (empty, alike): (Vec<_>, Vec<_>) = constant.partition(|(_, codes)| codes.is_empty());
    for (columns, what) in [(empty, "without any value"), (alike, "with one value only")] {
        if let Some((first, _)) = columns.first() {
            let noun = if columns.len() == 1 { "it tells" } else { "they tell" };
            let columns = things(columns.len(), "column");
            warnings.push(format!("{columns} {what}, first {}: {noun} nothing", Quoted(first)));
        }
    }
}

/// Numbers of classes at the end of the range, or no better than one class.
fn number_of_classes(options: &AnalysisOptions, analysis: &Analysis, warnings: &mut Vec<String>) {
    let chosen = analysis.chosen();
    let (first, last) = (*options.classes.start(), *options.classes.end());
    if first < last && chosen.classes == last {
        warnings.push(format!("the largest number of classes is the best by BIC: try more than {last}"));
    }
    if chosen.classes > 1 && analysis.baseline.as_ref().is_some_and(|one| one.bic <= chosen.bic) {
        warnings.push(format!(
            "one class has a better BIC than {}: the rows show no classes",
            count(chosen.classes as u64)
        ));
    }
}

/// A search that found nothing.
fn selected(analysis: &Analysis, warnings: &mut Vec<String>) {
    let what = match analysis.method {
        Method::Tree => "the tree is one leaf: the rows are too few, or fewer than two columns vary",
        _ => "no column depends on the others beyond chance: there are no classes to find",
    };
    if analysis.selected.is_empty() {
        warnings.push(what.to_owned());
    }
}

/// A fit that was cut short, or whose starts disagree.
fn ending(options: &AnalysisOptions, analysis: &Analysis, warnings: &mut Vec<String>) {
    let chosen = analysis.chosen();
    let rounds = things(chosen.rounds, "round");
    match (analysis.method, chosen.stop) {
        // The rounds of a tree are few on purpose.
        (Method::Tree, _) => {}
        (Method::Stagewise, stop) => warnings.extend(unfinished_stages(options, analysis, stop)),
        (_, Stop::Converged) => {}
        (Method::Em, _) => {
            warnings.push(format!("stopped after {rounds} before it converged: --rounds allows more"));
        }
        _ => warnings.push(format!("stopped after {rounds} before it converged")),
    }
    let best = chosen.restarts.iter().map(|start| start.objective).fold(f64::NEG_INFINITY, f64::max);
    let same = chosen.restarts.iter().filter(|start| best - start.objective <= SAME * best.abs()).count();
    if chosen.restarts.len() >= 5 && same == 1 {
        let starts = chosen.restarts.len();
        warnings.push(format!(
            "only 1 of {starts} starts found the best fit: more --restarts may find a better one"
        ));
    }
}

/// Stagewise EM that found fewer classes, or had more columns to find in its last round. Where it had not, the classes
/// only became a little sharper, and the rounds with all columns that follow do that better.
fn unfinished_stages(options: &AnalysisOptions, analysis: &Analysis, stop: Stop) -> Option<String> {
    let (last, before) = analysis.steps.split_last()?;
    let (found, asked) = (last.classes?, *options.classes.end());
    let rounds = things(analysis.steps.len(), "round");
    if found < asked {
        let found = things(found, "class").replace("classs", "classes");
        return Some(format!("only {found} of {asked} after {rounds}: the columns show no more"));
    }
    let joined = last.columns > before.last().map_or(0, |before| before.columns);
    (joined && stop == Stop::IterationLimit)
        .then(|| format!("columns still joined in the last of {rounds}: there may be more that matter"))
}

/// Classes without rows.
fn sizes(analysis: &Analysis, warnings: &mut Vec<String>) {
    let empty = analysis.sizes().iter().filter(|&&size| size == 0).count();
    if empty > 0 {
        let noun = if empty == 1 { "class is" } else { "classes are" };
        warnings.push(format!("{empty} {noun} nobody's most likely one: fewer classes say the same"));
    }
}
