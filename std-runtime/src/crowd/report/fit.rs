//! The fit itself: the objective, round by round.

use super::CrowdReport;
use crate::report::PictureError;
use crate::report::chart::{Axis, Canvas, Drawn, Picture, Plot, Shape};
use crate::report::number::{count, decimal};
use crate::report::page::{Section, card};
use crate::report::scale::{Scale, extent};
use crate::report::theme::Tone;

/// Points of the line; more rounds are thinned.
const POINTS: usize = 400;

/// Nothing to say without rounds.
pub(super) fn section<'a>(report: &CrowdReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    let objective = &report.objective[..];
    let (Some(first), Some(last)) = (objective.first(), objective.last()) else { return Ok(None) };
    let title = "Objective by round";
    let help = format!(
        "Log-likelihood plus log-prior, from {} to {} in {} {}. It may only rise; a flat end is a finished fit.",
        decimal(*first, 2),
        decimal(*last, 2),
        count(objective.len() as u64),
        if objective.len() == 1 { "round" } else { "rounds" }
    );
    let picture = Picture { id: "objective", title, description: &help, shape: Shape::Wide };
    let svg = picture.draw(|canvas| paint(canvas, objective))?;
    let lead =
        "Each round estimates the labels from the workers, then the workers from the labels.".to_owned();
    Ok(Some(Section { id: "fit", title: "Fit", lead, body: card(title, &help, &svg) }))
}

/// A line over the rounds, with dots while they can be told apart.
fn paint(canvas: &Canvas<'_>, objective: &[f64]) -> Drawn {
    let (low, high) = extent(objective.iter().copied()).unwrap_or((0.0, 1.0));
    let y = Scale::linear(low - 0.04 * (high - low), high);
    let x = Scale::linear(1.0, objective.len() as f64);
    let x = Axis { scale: x, ticks: x.whole_ticks(if canvas.is_narrow() { 4 } else { 10 }), name: "Round" };
    let y = Axis { scale: y, ticks: y.ticks(4), name: "Objective" };
    let mut plot = Plot::new(canvas, &x, &y)?;
    let last = objective.len().saturating_sub(1);
    let step = objective.len().div_ceil(POINTS).max(1);
    let points: Vec<(f64, f64)> = (0..last)
        .step_by(step)
        .chain([last])
        .filter_map(|i| Some((i as f64 + 1.0, objective.get(i).copied().filter(|v| v.is_finite())?)))
        .collect();
    plot.line(points.iter().copied(), Tone::Accent)?;
    if points.len() <= 40 {
        for (round, value) in points {
            plot.dot(round, value, Tone::Accent)?;
        }
    }
    Ok(())
}
