//! Classes: how common each is, and what its rows look like.

use super::pixels::Pixels;
use super::{ClassLine, MixtureReport, class_name};
use crate::report::PictureError;
use crate::report::bars::{self, Bar};
use crate::report::chart::{Picture, Shape};
use crate::report::grid::Grid;
use crate::report::html::name;
use crate::report::number::{count, percent, things};
use crate::report::page::{Section, card};
use crate::report::theme::Tone;

/// Classes that get a bar; the others share one.
const BARS: usize = 16;

/// Classes that get a picture.
const PICTURES: usize = 40;

/// Classes that get a column of the map, and values that get a row.
const MAP: (usize, usize) = (24, 36);

/// Nothing to say without classes.
pub(super) fn section<'a>(report: &MixtureReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    if report.classes.is_empty() {
        return Ok(None);
    }
    let looks = match prototypes(report)? {
        Some(pictures) => pictures,
        None => map(report)?.unwrap_or_default(),
    };
    let lead =
        "Rows of one class differ from each other by chance alone, if the mixture is right.".to_owned();
    Ok(Some(Section { id: "classes", title: "Classes", lead, body: looks + &shares(report)? }))
}

/// A picture per class, where rows are pictures.
fn prototypes(report: &MixtureReport<'_>) -> Result<Option<String>, PictureError> {
    let Some(sides) = report.picture else { return Ok(None) };
    let classes = report.classes.len();
    if report.prototypes.len() != report.columns.len() * classes {
        return Ok(None);
    }
    let mut body = String::new();
    for (place, class) in report.classes.iter().enumerate().take(PICTURES) {
        let values: Vec<f64> = report.prototypes.iter().skip(place).step_by(classes).copied().collect();
        let Some(pixels) = Pixels::new(sides, values.into_iter()) else { return Ok(None) };
        let title = format!("Prototype of class {}", class.number);
        let description = format!("The probability of every pixel, {} of the rows.", percent(class.share, 1));
        let id = format!("prototype-{}", class.number);
        let picture = Picture { id: &id, title: &title, description: &description, shape: Shape::Small };
        let svg = pixels.draw(&picture, Tone::Ink)?;
        body.push_str(&format!("<div><h4>{}</h4><p>{}</p>\n{svg}</div>\n", heading(class), caption(class)));
    }
    let mut help =
        "Each pixel as dark as it is probable in the class; sharp edges are what all its rows share."
            .to_owned();
    if classes > PICTURES {
        help.push_str(&format!(" The {PICTURES} largest of {} classes.", count(classes as u64)));
    }
    Ok(Some(card("What each class looks like", &help, &format!("<div class=\"multiples\">\n{body}</div>\n"))))
}

fn heading(class: &ClassLine<'_>) -> String {
    match class.label {
        Some((label, share)) => {
            format!(
                "Class {} <span class=\"no\">mostly {}, {}</span>",
                class.number,
                name(label, 12),
                percent(share, 0)
            )
        }
        None => format!("Class {}", class.number),
    }
}

fn caption(class: &ClassLine<'_>) -> String {
    format!("{} of the rows, {}", percent(class.share, 1), things(class.rows as usize, "row"))
}

/// Values by class.
fn map(report: &MixtureReport<'_>) -> Result<Option<String>, PictureError> {
    let (most_classes, most_values) = MAP;
    let shown = report.classes.len().min(most_classes);
    let values = report.values.get(..most_values).unwrap_or(&report.values);
    if values.is_empty() {
        return Ok(None);
    }
    let cells = values.iter().flat_map(|value| {
        let of_class = |class| value.probabilities.get(class).copied().unwrap_or(f64::NAN);
        (0..shown).map(move |class| (of_class(class), percent(of_class(class), 0).replace(" %", "")))
    });
    let grid = Grid {
        rows: values.iter().map(|value| value.name.clone()).collect(),
        columns: report.classes.iter().take(shown).map(class_name).collect(),
        cells: cells.collect(),
    };
    let title = "Values by class";
    let mut help =
        "Percent of a class's rows that have the value; the columns that tell most about the class come first.".to_owned();
    if report.values.len() > most_values {
        let all = count(report.values.len() as u64);
        help.push_str(&format!(" The first {most_values} of {all} values."));
    }
    if report.classes.len() > shown {
        help.push_str(&format!(" The {shown} largest of {} classes.", count(report.classes.len() as u64)));
    }
    let picture = Picture { id: "values", title, description: &help, shape: Shape::Wide };
    Ok(Some(card(title, &help, &grid.draw(&picture)?)))
}

/// Bars of class shares.
fn shares(report: &MixtureReport<'_>) -> Result<String, PictureError> {
    let kept = if report.classes.len() <= BARS + 1 { report.classes.len() } else { BARS };
    let (shown, rest) = report.classes.split_at(kept);
    let bar = |name: String, value: f64, tone| Bar { name, value, text: percent(value, 1), tone };
    let mut rows: Vec<Bar> = shown
        .iter()
        .map(|class| bar(format!("Class {}", class_name(class)), class.share, Tone::Accent))
        .collect();
    if !rest.is_empty() {
        rows.push(bar(
            format!("{} others", rest.len()),
            rest.iter().map(|class| class.share).sum(),
            Tone::Other,
        ));
    }
    let (title, help) = ("How common each class is", "Estimated share of the rows, the most common first.");
    let picture = Picture { id: "class-shares", title, description: help, shape: Shape::Wide };
    Ok(card(title, help, &bars::draw(&picture, &rows)?))
}
