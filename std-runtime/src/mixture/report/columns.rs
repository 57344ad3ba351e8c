//! Columns: what each tells about the class, and which of them found the classes.

use super::pixels::Pixels;
use super::{ColumnLine, MixtureReport};
use crate::report::PictureError;
use crate::report::chart::{Axis, Canvas, Drawn, Picture, Plot, Shape};
use crate::report::html::name;
use crate::report::number::{count, significant};
use crate::report::page::{Row, Section, card, columns as side_by_side, table};
use crate::report::scale::Scale;
use crate::report::theme::Tone;

/// Columns in the table.
const TABLE: usize = 120;

/// Bars of the curve.
const BARS: usize = 240;

/// Nothing to say where no column tells anything.
pub(super) fn section<'a>(report: &MixtureReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    if report.columns.iter().all(|column| column.information <= 0.0) {
        return Ok(None);
    }
    let mut order: Vec<usize> = (0..report.columns.len()).collect();
    order.sort_by(|&a, &b| report.columns[b].information.total_cmp(&report.columns[a].information));
    let body = match maps(report)? {
        Some(maps) => maps,
        None => table_card(report, &order),
    };
    let lead = "A column tells about the class as far as its values differ from class to class: its mutual \
                information with the class, in nats."
        .to_owned();
    let body = order_card(report, &order)? + &body;
    Ok(Some(Section { id: "columns", title: "Columns", lead, body }))
}

/// Columns by their information.
fn order_card(report: &MixtureReport<'_>, order: &[usize]) -> Result<String, PictureError> {
    let title = "Columns by what they tell";
    let selected = report.columns.iter().filter(|column| column.selected).count();
    let all = count(report.columns.len() as u64);
    let help = match selected == report.columns.len() {
        true => format!("All {all} columns found the classes."),
        false => format!("Columns in colour found the classes: {} of {all}.", count(selected as u64)),
    };
    let picture = Picture { id: "information", title, description: &help, shape: Shape::Wide };
    Ok(card(title, &help, &picture.draw(|canvas| paint_order(canvas, report, order))?))
}

/// One bar per column, or per group of neighbours where there are more columns than pixels.
fn paint_order(canvas: &Canvas<'_>, report: &MixtureReport<'_>, order: &[usize]) -> Drawn {
    let information = |column: &usize| report.columns[*column].information;
    let y = Scale::from_zero(order.iter().map(information));
    let x = Scale::linear(0.0, order.len() as f64);
    let ticks = x.whole_ticks(if canvas.is_narrow() { 4 } else { 10 });
    let x = Axis { scale: x, ticks, name: "Columns, the most telling first" };
    let y = Axis { scale: y, ticks: y.ticks(4), name: "Information in nats" };
    let mut plot = Plot::new(canvas, &x, &y)?;
    let size = order.len().div_ceil(BARS).max(1);
    let gap = if order.len() <= 100 { 0.12 } else { 0.0 };
    for (nth, group) in order.chunks(size).enumerate() {
        let start = (nth * size) as f64;
        let used = 2 * group.iter().filter(|&&column| report.columns[column].selected).count() >= group.len();
        let mean = group.iter().map(information).sum::<f64>() / group.len() as f64;
        let tone = if used { Tone::Accent } else { Tone::Off };
        plot.bar((start + gap, start + group.len() as f64 - gap), mean, tone)?;
    }
    Ok(())
}

/// Where the telling columns lie, where rows are pictures.
fn maps(report: &MixtureReport<'_>) -> Result<Option<String>, PictureError> {
    let Some(sides) = report.picture else { return Ok(None) };
    let most = report.columns.iter().map(|column| column.information).fold(0.0, f64::max);
    let told: Vec<f64> = report.columns.iter().map(|column| column.information / most.max(1e-300)).collect();
    let Some(pixels) = Pixels::new(sides, told.into_iter()) else { return Ok(None) };
    let (title, help) = ("Where the classes differ", "The more a pixel tells, the stronger its colour.");
    let picture = Picture { id: "information-map", title, description: help, shape: Shape::Square };
    let mut cards = vec![card(title, help, &pixels.draw(&picture, Tone::Accent)?)];
    let used: Vec<f64> = report.columns.iter().map(|column| f64::from(u8::from(column.selected))).collect();
    let pixels =
        Pixels::new(sides, used.into_iter()).filter(|_| report.columns.iter().any(|column| !column.selected));
    if let Some(pixels) = pixels {
        let (title, help) = ("Pixels that found the classes", "All others took no part in finding them.");
        let picture = Picture { id: "selected-map", title, description: help, shape: Shape::Square };
        cards.push(card(title, help, &pixels.draw(&picture, Tone::Mark)?));
    }
    Ok(Some(side_by_side(&cards)))
}

/// The most telling columns in numbers.
fn table_card(report: &MixtureReport<'_>, order: &[usize]) -> String {
    let line = |(rank, column): (usize, &usize)| {
        let ColumnLine { name: text, information, selected } = report.columns[*column];
        let used = if selected { "yes" } else { "<span class=\"no\">no</span>" };
        Row::Cells(vec![count(rank as u64 + 1), name(text, 60), significant(information), used.to_owned()])
    };
    let mut rows: Vec<Row> = order.iter().enumerate().take(TABLE).map(line).collect();
    if order.len() > TABLE {
        rows.push(Row::Gap(format!("{} further columns are left out", count((order.len() - TABLE) as u64))));
    }
    let heads = ["#Rank", "Column", "#Information", "Found the classes"];
    card(
        "Columns in numbers",
        "The most telling first; information in nats.",
        &table("Columns by information", &heads, &rows),
    )
}
