//! Methods side by side, and the score against gold.

use super::confusion::{HeatMap, shown_classes};
use super::{CrowdReport, GoldSummary, MethodLine};
use crate::report::PictureError;
use crate::report::bars::{self, Bar};
use crate::report::chart::{Picture, Shape};
use crate::report::html::name;
use crate::report::number::{count, decimal, percent, seconds};
use crate::report::page::{Row, Section, card, columns, table};
use crate::report::theme::Tone;

/// Methods and classes listed.
const MOST: usize = 60;

/// Nothing to say without methods.
pub(super) fn section<'a>(report: &CrowdReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    let methods = report.comparison.get(..MOST).unwrap_or(&report.comparison);
    if methods.is_empty() {
        return Ok(None);
    }
    let best = methods.iter().map(|line| line.error_rate).fold(f64::NAN, f64::min);
    let bar = |line: &MethodLine<'_>| Bar {
        name: line.method.to_owned(),
        value: line.error_rate,
        text: percent(line.error_rate, 2),
        tone: if line.error_rate == best { Tone::Accent } else { Tone::Off },
    };
    let rows: Vec<Bar> = methods.iter().map(bar).collect();
    let (title, help) =
        ("Error by method", "Share of wrong labels: the shorter, the better. The best is in colour.");
    let picture = Picture { id: "methods", title, description: help, shape: Shape::Wide };
    let chart = card(title, help, &bars::draw(&picture, &rows)?);
    let heads = ["Method", "#Errors", "#Error rate", "#Time", "Note"];
    let rows: Vec<Row> = methods.iter().map(|line| Row::Cells(cells(line))).collect();
    let numbers =
        card("The same in numbers", "Ties count in part.", &table("Methods compared", &heads, &rows));
    let lead = "The same answers, labelled by each method and scored against the truth.".to_owned();
    Ok(Some(Section { id: "comparison", title: "Methods compared", lead, body: chart + &numbers }))
}

/// One row of the methods' table.
fn cells(line: &MethodLine<'_>) -> Vec<String> {
    vec![
        name(line.method, 60),
        errors(line.errors),
        percent(line.error_rate, 2),
        seconds(line.seconds),
        format!("<span class=\"remark\">{}</span>", name(line.note, 200)),
    ]
}

/// Whole where it is whole.
fn errors(errors: f64) -> String {
    decimal(errors, if errors.fract() == 0.0 { 0 } else { 1 })
}

/// Nothing to say without gold.
pub(super) fn gold_section<'a>(report: &CrowdReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    let Some(gold) = &report.gold else { return Ok(None) };
    let lead = format!(
        "{} of {} tasks with a known label came out wrong: {}.",
        errors(gold.errors),
        count(gold.tasks),
        percent(gold.error_rate, 2)
    );
    let classes = report.labels.len();
    let mut cards = vec![f1_card(gold, &report.labels)];
    if classes > 0 && classes.checked_mul(classes) == Some(gold.confusion.len()) {
        cards.push(gold_map(gold, &report.labels)?);
    }
    Ok(Some(Section { id: "gold", title: "Against gold", lead, body: columns(&cards) }))
}

/// F1 of each class.
fn f1_card(gold: &GoldSummary, labels: &[&str]) -> String {
    let tasks = |class: usize| {
        gold.confusion.chunks(labels.len().max(1)).nth(class).map(|row| row.iter().sum::<f64>())
    };
    let row = |(class, label): (usize, &&str)| {
        Row::Cells(vec![
            name(label, 40),
            decimal(tasks(class).unwrap_or(f64::NAN), 0),
            decimal(gold.f1.get(class).copied().unwrap_or(f64::NAN), 3),
        ])
    };
    let mut rows: Vec<Row> = labels.iter().enumerate().take(MOST).map(row).collect();
    if labels.len() > MOST {
        rows.push(Row::Gap(format!("{} further classes are left out", labels.len() - MOST)));
    }
    let help =
        "F1 weighs wrong labels of a class against missed ones; 1 is perfect. Rare classes show here first.";
    card("F1 by class", help, &table("F1 by class", &["Class", "#Gold tasks", "#F1"], &rows))
}

/// Tasks by known and fitted label.
fn gold_map(gold: &GoldSummary, labels: &[&str]) -> Result<String, PictureError> {
    let weights: Vec<f64> = gold.confusion.chunks(labels.len().max(1)).map(|row| row.iter().sum()).collect();
    let shown = shown_classes(&weights, labels.len());
    let map = HeatMap::counts(labels, &shown, &gold.confusion);
    let title = "Known against fitted labels";
    let help = "Rows are known labels, columns fitted ones. Everything off the diagonal is an error.";
    let picture = Picture { id: "gold-map", title, description: help, shape: Shape::Square };
    Ok(card(title, help, &picture.draw(|canvas| map.paint(canvas))?))
}
