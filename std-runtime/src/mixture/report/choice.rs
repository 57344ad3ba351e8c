//! How many classes: the criteria over the numbers that were tried.

use super::{CandidateLine, MixtureReport};
use crate::report::PictureError;
use crate::report::chart::{Axis, Canvas, Drawn, Picture, Plot, Shape};
use crate::report::number::{count, decimal};
use crate::report::page::{Row, Section, card, table};
use crate::report::scale::{Scale, extent};
use crate::report::theme::Tone;

/// Nothing to say about one number.
pub(super) fn section<'a>(report: &MixtureReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    let candidates = &report.candidates;
    if candidates.len() < 2 {
        return Ok(None);
    }
    let title = "BIC and ICL by number of classes";
    let help = "The lower, the better. BIC weighs fit against parameters; ICL, the lighter line, also asks that rows be \
                sure of their class. Where both turn, further classes only follow chance.";
    let picture = Picture { id: "criteria", title, description: help, shape: Shape::Wide };
    let chart = card(title, help, &picture.draw(|canvas| paint(canvas, candidates))?);
    let rows: Vec<Row> = candidates.iter().map(|candidate| Row::Cells(cells(candidate))).collect();
    let heads = ["#Classes", "#Log-likelihood", "#BIC", "#ICL", "#Held out, per row", "Note"];
    let numbers = card(
        "The same in numbers",
        "One class is what all others have to beat.",
        &table("Numbers of classes", &heads, &rows),
    );
    let lead = match candidates.iter().find(|candidate| candidate.chosen) {
        Some(chosen) => format!("{} were kept: the best by BIC.", classes(chosen.classes)),
        None => "None of them was kept.".to_owned(),
    };
    Ok(Some(Section { id: "choice", title: "How many classes", lead, body: chart + &numbers }))
}

fn classes(number: usize) -> String {
    if number == 1 { "One class".to_owned() } else { format!("{} classes", count(number as u64)) }
}

/// Two lines over the numbers of classes.
fn paint(canvas: &Canvas<'_>, candidates: &[CandidateLine]) -> Drawn {
    let values = candidates.iter().flat_map(|candidate| [candidate.bic, candidate.icl]);
    let (low, high) = extent(values).unwrap_or((0.0, 1.0));
    let y = Scale::linear(low - 0.06 * (high - low), high);
    let numbers = || candidates.iter().map(|candidate| candidate.classes as f64);
    let (first, last) = extent(numbers()).unwrap_or((1.0, 2.0));
    let x = Scale::linear(first, last);
    let ticks = x.whole_ticks(if canvas.is_narrow() { 5 } else { 12 });
    let x = Axis { scale: x, ticks, name: "Classes" };
    let y = Axis { scale: y, ticks: y.ticks(4), name: "Criterion" };
    let mut plot = Plot::new(canvas, &x, &y)?;
    plot.line(candidates.iter().map(|candidate| (candidate.classes as f64, candidate.icl)), Tone::Off)?;
    plot.line(candidates.iter().map(|candidate| (candidate.classes as f64, candidate.bic)), Tone::Accent)?;
    for candidate in candidates {
        plot.dot(candidate.classes as f64, candidate.icl, Tone::Off)?;
        plot.dot(candidate.classes as f64, candidate.bic, Tone::Accent)?;
    }
    match candidates.iter().find(|candidate| candidate.chosen) {
        Some(chosen) => {
            plot.mark_x(chosen.classes as f64, &format!("{} chosen", count(chosen.classes as u64)))
        }
        None => Ok(()),
    }
}

fn cells(candidate: &CandidateLine) -> Vec<String> {
    let note = match (candidate.chosen, candidate.converged) {
        (true, _) => "chosen",
        (false, false) => "did not converge",
        _ => "",
    };
    vec![
        count(candidate.classes as u64),
        decimal(candidate.log_likelihood, 1),
        decimal(candidate.bic, 1),
        decimal(candidate.icl, 1),
        decimal(candidate.held_out, 4),
        note.to_owned(),
    ]
}
