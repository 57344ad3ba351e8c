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
    ending(analysis, &mut warnings);
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
    if rows.columns.are_numbered() {
        return;
    }
    let varies = super::columns::varying(rows);
    let constant: Vec<&String> =
        rows.columns.names.iter().zip(varies).filter(|(_, varies)| !varies).map(|(name, _)| name).collect();
    if let Some(first) = constant.first() {
        let columns = things(constant.len(), "column");
        warnings.push(format!("{columns} with one value only, first {}: they tell nothing", Quoted(first)));
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
    if analysis.selected.is_empty() {
        warnings
            .push("no column depends on the others beyond chance: there are no classes to find".to_owned());
    }
}

/// A fit that was cut short, or whose starts disagree.
fn ending(analysis: &Analysis, warnings: &mut Vec<String>) {
    let chosen = analysis.chosen();
    // The rounds of a tree are few on purpose.
    if chosen.stop == Stop::IterationLimit && analysis.method != Method::Tree {
        let rounds = things(chosen.rounds, "round");
        let more = if analysis.method == Method::Em { ": --rounds allows more" } else { "" };
        warnings.push(format!("stopped after {rounds} before it converged{more}"));
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

/// Classes without rows.
fn sizes(analysis: &Analysis, warnings: &mut Vec<String>) {
    let empty = analysis.sizes().iter().filter(|&&size| size == 0).count();
    if empty > 0 {
        let noun = if empty == 1 { "class is" } else { "classes are" };
        warnings.push(format!("{empty} {noun} nobody's most likely one: fewer classes say the same"));
    }
}
