//! Labels: how common each class is, how sure the fit is, and the tasks most in doubt.

use super::{CrowdReport, DoubtfulTask};
use crate::report::PictureError;
use crate::report::bars::{self, Bar};
use crate::report::chart::{Axis, Canvas, Drawn, Picture, Plot, Shape};
use crate::report::html::{self, name};
use crate::report::number::{count, decimal, percent, significant};
use crate::report::page::{Row, Section, card, columns, table};
use crate::report::scale::Scale;
use crate::report::theme::{CLASS_TONES, Tone};

/// Classes that get a bar; the others share one.
const SHARES: usize = 9;

/// Tasks listed.
const TASKS: usize = 40;

/// Nothing to say without shares, confidences or tasks.
pub(super) fn section<'a>(report: &CrowdReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    let cards: Vec<String> = [shares_card(report)?, confidence_card(report)?].into_iter().flatten().collect();
    let doubtful = doubtful_card(report);
    if cards.is_empty() && doubtful.is_none() {
        return Ok(None);
    }
    let pictures = if cards.is_empty() { String::new() } else { columns(&cards) };
    let body = pictures + &doubtful.unwrap_or_default();
    let lead = "What the answers add up to, and how far to trust it.".to_owned();
    Ok(Some(Section { id: "labels", title: "Labels", lead, body }))
}

/// Bars of class shares, the commonest first.
fn shares_card(report: &CrowdReport<'_>) -> Result<Option<String>, PictureError> {
    let mut shares: Vec<(usize, f64)> = report.class_shares.iter().copied().enumerate().collect();
    if shares.is_empty() {
        return Ok(None);
    }
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let bar = |name: String, value: f64, tone| Bar { name, value, text: percent(value, 1), tone };
    let label = |class: usize| report.labels.get(class).copied().unwrap_or("?").to_owned();
    let kept = if shares.len() <= SHARES + 1 { shares.len() } else { SHARES };
    let (shown, rest) = shares.split_at(kept);
    let mut rows: Vec<Bar> =
        shown.iter().map(|(class, share)| bar(label(*class), *share, Tone::of_class(*class))).collect();
    if !rest.is_empty() {
        rows.push(bar(
            format!("{} others", rest.len()),
            rest.iter().map(|(_, share)| share).sum(),
            Tone::Other,
        ));
    }
    let (title, help) = ("Classes", "Estimated share of the tasks in each class, the commonest first.");
    let picture = Picture { id: "shares", title, description: help, shape: Shape::Half };
    Ok(Some(card(title, help, &bars::draw(&picture, &rows)?)))
}

/// Histogram of confidence.
fn confidence_card(report: &CrowdReport<'_>) -> Result<Option<String>, PictureError> {
    let bins = &report.confidence;
    let total: f64 = bins.iter().map(|tasks| *tasks as f64).sum();
    if total == 0.0 {
        return Ok(None);
    }
    let sure: f64 = bins.iter().skip((bins.len() * 19).div_ceil(20)).map(|tasks| *tasks as f64).sum();
    let title = "Confidence";
    let help = format!(
        "Tasks by the probability of their label: {} of them lie at 0.95 or above, the right end. \
         Tall bars on the left would be guesses.",
        percent(sure / total, 0)
    );
    let picture = Picture { id: "confidence", title, description: &help, shape: Shape::Half };
    let svg = picture.draw(|canvas| paint_confidence(canvas, bins))?;
    Ok(Some(card(title, &help, &svg)))
}

/// Bars from the first bin that holds a task.
fn paint_confidence(canvas: &Canvas<'_>, bins: &[u64]) -> Drawn {
    // Neighbouring bins are joined, so that a bar stays a bar.
    let size = bins.len().div_ceil(50).max(1);
    let tasks: Vec<f64> =
        bins.chunks(size).map(|some| some.iter().map(|tasks| *tasks as f64).sum()).collect();
    let edge = |i: usize| ((i * size) as f64 / bins.len() as f64).min(1.0);
    let first = tasks.iter().position(|tasks| *tasks > 0.0).unwrap_or(0);
    let (x, y) = (Scale::linear(edge(first).min(0.9), 1.0), Scale::from_zero(tasks.iter().copied()));
    let x = Axis { scale: x, ticks: x.ticks(5), name: "Probability of the label" };
    let y = Axis { scale: y, ticks: y.whole_ticks(4), name: "Tasks" };
    let mut plot = Plot::new(canvas, &x, &y)?;
    let gap = 0.08 * size as f64 / bins.len() as f64;
    for (i, tasks) in tasks.iter().enumerate().skip(first).filter(|(_, tasks)| **tasks > 0.0) {
        plot.bar((edge(i) + gap, edge(i + 1) - gap), *tasks, Tone::Accent)?;
    }
    Ok(())
}

/// The tasks most in doubt, with a stacked bar each.
fn doubtful_card(report: &CrowdReport<'_>) -> Option<String> {
    if report.doubtful.is_empty() {
        return None;
    }
    let heads = ["Task", "Probabilities", "Label", "#Confidence", "#Entropy", "Answers", "#Gain"];
    let mut rows: Vec<Row> =
        report.doubtful.iter().take(TASKS).map(|task| Row::Cells(cells(task, &report.labels))).collect();
    if report.doubtful.len() > TASKS {
        rows.push(Row::Gap(format!(
            "{} further tasks are left out",
            count((report.doubtful.len() - TASKS) as u64)
        )));
    }
    let help = "The label could still turn. Gain is how much one more answer is expected to lower the entropy, in \
                nats: ask again where it is highest.";
    let body = legend(&report.labels) + &table("Tasks most in doubt", &heads, &rows);
    Some(card("Tasks most in doubt", help, &body))
}

/// Which colour is which class.
fn legend(labels: &[&str]) -> String {
    let item = |tone: Tone, text: String| {
        format!(
            "<li><span class=\"swatch\" style=\"background:var({})\"></span>{text}</li>\n",
            tone.variable()
        )
    };
    let mut items: String = labels
        .iter()
        .take(CLASS_TONES)
        .enumerate()
        .map(|(class, label)| item(Tone::of_class(class), name(label, 24)))
        .collect();
    if labels.len() > CLASS_TONES {
        items.push_str(&item(Tone::Other, others(labels.len() - CLASS_TONES)));
    }
    format!("<ul class=\"legend\" aria-label=\"Colours of the classes\">\n{items}</ul>\n")
}

/// Classes that share a name and a colour.
fn others(classes: usize) -> String {
    format!("{classes} {}", if classes == 1 { "other" } else { "others" })
}

/// One row of the table.
fn cells(task: &DoubtfulTask<'_>, labels: &[&str]) -> Vec<String> {
    vec![
        name(task.task, 40),
        stack(&task.probabilities, labels),
        name(task.label, 24),
        percent(task.confidence, 1),
        decimal(task.entropy, 3),
        votes(&task.votes, labels),
        significant(task.gain),
    ]
}

/// A stacked bar of class probabilities; unlikely classes are left as ground.
fn stack(probabilities: &[f64], labels: &[&str]) -> String {
    let likely = |(_, p): &(usize, &f64)| p.is_finite() && **p >= 0.005;
    let part = |(class, p): (usize, &f64)| {
        let width = p.min(1.0) * 100.0;
        format!(
            "<span style=\"width:{width:.1}%;background:var({})\"></span>",
            Tone::of_class(class).variable()
        )
    };
    let said = |(class, p): (usize, &f64)| {
        format!("{} {}", html::shorten(labels.get(class).copied().unwrap_or("?"), 24), percent(*p, 0))
    };
    let parts: String = probabilities.iter().enumerate().filter(likely).take(60).map(part).collect();
    let words: Vec<String> = probabilities.iter().enumerate().filter(likely).take(6).map(said).collect();
    let words = html::escape(&words.join(", "));
    format!("<div class=\"stack\" role=\"img\" aria-label=\"{words}\" title=\"{words}\">{parts}</div>")
}

/// Answers by class, the most first.
fn votes(votes: &[u64], labels: &[&str]) -> String {
    let mut given: Vec<(usize, u64)> =
        votes.iter().copied().enumerate().filter(|(_, votes)| *votes > 0).collect();
    given.sort_by_key(|(class, votes)| (std::cmp::Reverse(*votes), *class));
    let more = if given.len() > 3 { ", …" } else { "" };
    let words: Vec<String> = given
        .iter()
        .take(3)
        .map(|(class, votes)| {
            format!("{}: {}", name(labels.get(*class).copied().unwrap_or("?"), 16), count(*votes))
        })
        .collect();
    format!("<span class=\"together\">{}{more}</span>", words.join(", "))
}
