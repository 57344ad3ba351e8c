//! Classes against known labels.

use super::{MixtureReport, TruthSummary, class_name};
use crate::report::PictureError;
use crate::report::chart::{Picture, Shape};
use crate::report::grid::Grid;
use crate::report::number::{count, decimal, percent};
use crate::report::page::{Section, card};

/// Labels and classes shown.
const MOST: usize = 24;

/// Nothing to say without known labels.
pub(super) fn section<'a>(report: &MixtureReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    let Some(truth) = &report.truth else { return Ok(None) };
    let lead = format!(
        "Of {} rows with a known label {} are wrong after the best one-to-one match of classes and labels, {} if every \
         class may speak for any label.",
        count(truth.rows),
        percent(truth.aligned_error, 2),
        percent(truth.share_error, 2)
    );
    let body = map(report, truth)?.unwrap_or_default();
    Ok(Some(Section { id: "truth", title: "Against known labels", lead, body }))
}

/// Rows by known label and class.
fn map(report: &MixtureReport<'_>, truth: &TruthSummary<'_>) -> Result<Option<String>, PictureError> {
    let (labels, classes) = (truth.labels.len(), report.classes.len());
    if labels == 0 || classes == 0 || labels.checked_mul(classes) != Some(truth.confusion.len()) {
        return Ok(None);
    }
    let shown = classes.min(MOST);
    let rows = truth.labels.iter().zip(truth.confusion.chunks_exact(classes)).take(MOST);
    let cells = rows.clone().flat_map(|(_, counts)| {
        let sum: f64 = counts.iter().sum();
        counts.iter().take(shown).map(move |count| (count / sum, decimal(*count, 0)))
    });
    let grid = Grid {
        rows: rows.clone().map(|(label, _)| (*label).to_owned()).collect(),
        columns: report.classes.iter().take(shown).map(class_name).collect(),
        cells: cells.collect(),
    };
    let title = "Known labels by class";
    let mut help =
        "Rows are known labels, columns classes; the stronger the colour, the larger the share of the label."
            .to_owned();
    if classes > shown || labels > MOST {
        help.push_str(&format!(" The first {MOST} of each."));
    }
    let picture = Picture { id: "truth-map", title, description: &help, shape: Shape::Wide };
    Ok(Some(card(title, &help, &grid.draw(&picture)?)))
}
