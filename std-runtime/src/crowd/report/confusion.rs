//! Confusion heat maps: small multiples of the most and the least informative workers.

use plotters::style::text_anchor::HPos;

use super::{CrowdReport, WorkerLine};
use crate::report::PictureError;
use crate::report::chart::{Canvas, Drawn, Picture, Shape};
use crate::report::html::{self, name};
use crate::report::number::{count, percent};
use crate::report::page::{Section, card};
use crate::report::theme::Tone;

/// Workers shown from either end.
const EACH_END: usize = 4;

/// Classes shown; the others are pooled into one column.
const CLASSES: usize = 14;

/// Up to this many classes, cells carry their number.
const NUMBERED: usize = 6;

/// Nothing to say without a known confusion matrix.
pub(super) fn section<'a>(report: &CrowdReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    let classes = report.labels.len();
    let known: Vec<_> =
        report.workers.iter().enumerate().filter(|(_, worker)| is_known(worker, classes)).collect();
    if known.is_empty() {
        return Ok(None);
    }
    let shown = shown_classes(&report.class_shares, classes);
    let groups = if known.len() <= 2 * EACH_END {
        vec![("From most to least informative", known)]
    } else {
        let least = known.get(known.len() - EACH_END..).unwrap_or(&[]).to_vec();
        vec![("Most informative", known.into_iter().take(EACH_END).collect()), ("Least informative", least)]
    };
    // Fewer answers than cells.
    let is_thin = |(_, worker): &(usize, &WorkerLine<'_>)| worker.answers < (classes * classes) as u64;
    let thin = groups.iter().any(|(_, workers)| workers.iter().any(is_thin));
    let mut body = String::new();
    for (title, workers) in groups {
        let pictures: Result<String, _> =
            workers.iter().map(|(i, worker)| multiple(report, &shown, *i, worker)).collect();
        body.push_str(&format!(
            "<p class=\"group\">{title}</p>\n<div class=\"multiples\">\n{}</div>\n",
            pictures?
        ));
    }
    let body = card("Confusion of single workers", &help(classes, shown.len(), thin), &body);
    let lead =
        "A good worker has a strong diagonal. One strong column is a worker who always says the same; \
                a strong cell off the diagonal is one who mixes classes up, which the model can undo."
            .to_owned();
    Ok(Some(Section { id: "confusions", title: "Who confuses what", lead, body }))
}

/// How to read a map.
fn help(classes: usize, shown: usize, thin: bool) -> String {
    let mut help =
        "Rows are true labels, columns what the worker said; the stronger the colour, the more often."
            .to_owned();
    if classes <= NUMBERED {
        help.push_str(" Numbers are percent of a row.");
    } else {
        help.push_str(" Columns follow the order of the rows.");
    }
    if shown < classes {
        help.push_str(&format!(
            " The {shown} commonest of {classes} classes; the last column holds all other answers."
        ));
    }
    if thin {
        help.push_str(" Where a worker gave few answers, the map shows mostly what is assumed of everybody.");
    }
    help
}

/// Whether there is a matrix with anything in it.
fn is_known(worker: &WorkerLine<'_>, classes: usize) -> bool {
    let cells = worker.confusion;
    classes > 0
        && classes.checked_mul(classes) == Some(cells.len())
        && cells.iter().any(|cell| cell.is_finite())
}

/// The commonest classes, in their own order.
pub(super) fn shown_classes(weights: &[f64], classes: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..classes).collect();
    let weight = |class: &usize| weights.get(*class).copied().filter(|w| w.is_finite()).unwrap_or(0.0);
    order.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    order.truncate(CLASSES);
    order.sort_unstable();
    order
}

/// One worker's map with its caption.
fn multiple(
    report: &CrowdReport<'_>,
    shown: &[usize],
    rank: usize,
    worker: &WorkerLine<'_>,
) -> Result<String, PictureError> {
    let map = HeatMap::shares(&report.labels, shown, worker.confusion);
    let title = format!("Confusion of worker {}", html::shorten(worker.name, 60));
    let description = format!("Place {} in the order, accuracy {}.", rank + 1, percent(worker.accuracy, 0));
    let id = format!("confusion-{rank}");
    let picture = Picture { id: &id, title: &title, description: &description, shape: Shape::Small };
    Ok(format!(
        "<div><h4>{}</h4><p>{} right, {} {}</p>\n{}</div>\n",
        name(worker.name, 22),
        percent(worker.accuracy, 0),
        count(worker.answers),
        if worker.answers == 1 { "answer" } else { "answers" },
        picture.draw(|canvas| map.paint(canvas))?
    ))
}

/// A matrix of shades.
pub(super) struct HeatMap<'a> {
    rows: Vec<&'a str>,
    columns: Vec<&'a str>,
    /// Shade `0..=1` and text of each cell, row by row; NaN is unknown.
    cells: Vec<(f64, String)>,
}

impl<'a> HeatMap<'a> {
    /// Of probabilities `[given, true]`.
    fn shares(labels: &[&'a str], shown: &[usize], conditionals: &[f64]) -> Self {
        let classes = labels.len();
        let row = |class| conditionals.iter().skip(class).step_by(classes).copied();
        let matrix: Vec<f64> = (0..classes).flat_map(row).collect();
        Self::new(labels, shown, &matrix, |value, _| {
            (value, format!("{:.0}", value.clamp(0.0, 9.99) * 100.0))
        })
    }

    /// Of a matrix of counts; shades are shares of the row.
    pub(super) fn counts(labels: &[&'a str], shown: &[usize], matrix: &[f64]) -> Self {
        Self::new(labels, shown, matrix, |value, row_sum| (value / row_sum, count(value.max(0.0) as u64)))
    }

    /// Picks the shown rows and columns and pools the other columns into one.
    fn new(
        labels: &[&'a str],
        shown: &[usize],
        matrix: &[f64],
        cell: impl Fn(f64, f64) -> (f64, String),
    ) -> Self {
        let label = |class: &usize| labels.get(*class).copied().unwrap_or("");
        let rows: Vec<&str> = shown.iter().map(label).collect();
        let pooled = shown.len() < labels.len();
        let columns = rows.iter().copied().chain(pooled.then_some("other")).collect();
        let mut cells = Vec::new();
        for row in shown.iter().filter_map(|class| matrix.chunks(labels.len().max(1)).nth(*class)) {
            let sum: f64 = row.iter().sum();
            let values: Vec<f64> =
                shown.iter().map(|class| row.get(*class).copied().unwrap_or(f64::NAN)).collect();
            let rest = pooled.then(|| sum - values.iter().sum::<f64>());
            cells.extend(values.iter().copied().chain(rest).map(|value| cell(value, sum)));
        }
        Self { rows, columns, cells }
    }

    /// Draws the cells with names along the left and the foot.
    pub(super) fn paint(&self, canvas: &Canvas<'_>) -> Drawn {
        let (left, foot) = (62.0, 24.0);
        let width = (canvas.width - left - 2.0) / self.columns.len().max(1) as f64;
        let height = (canvas.height - foot - 2.0) / self.rows.len().max(1) as f64;
        for (i, (shade, text)) in self.cells.iter().enumerate() {
            let (row, column) = (i / self.columns.len().max(1), i % self.columns.len().max(1));
            let (x, y) = (left + column as f64 * width, 2.0 + row as f64 * height);
            let (tone, alpha) = if shade.is_finite() {
                (Tone::Accent, 0.05 + 0.95 * shade.clamp(0.0, 1.0))
            } else {
                (Tone::Rule, 0.5)
            };
            canvas.rect((x, y), (x + width - 1.0, y + height - 1.0), tone, alpha)?;
            if self.columns.len() <= NUMBERED && shade.is_finite() {
                let ink = if alpha > 0.66 { Tone::OnAccent } else { Tone::Ink };
                canvas.text(text, (x + width / 2.0, y + height / 2.0), HPos::Center, ink)?;
            }
        }
        self.names(canvas, (left, width, height))
    }

    /// Names of rows, and of columns where there is room for them.
    fn names(&self, canvas: &Canvas<'_>, (left, width, height): (f64, f64, f64)) -> Drawn {
        for (i, row) in self.rows.iter().enumerate() {
            let middle = 2.0 + (i as f64 + 0.5) * height;
            canvas.text(&html::plain(row, 7), (left - 6.0, middle), HPos::Right, Tone::Soft)?;
        }
        let room = (width / 7.5) as usize;
        for (i, column) in self.columns.iter().enumerate().filter(|_| room >= 3) {
            let middle = left + (i as f64 + 0.5) * width;
            canvas.text(
                &html::plain(column, room),
                (middle, canvas.height - 10.0),
                HPos::Center,
                Tone::Soft,
            )?;
        }
        Ok(())
    }
}
