//! A line over rounds.

use super::chart::{Axis, Canvas, Drawn, Plot};
use super::scale::{Scale, extent};
use super::theme::Tone;

/// Points of the line; more rounds are thinned.
const POINTS: usize = 400;

/// Draws values by round, with dots while they can be told apart; `name` says what they are.
pub fn by_round(canvas: &Canvas<'_>, values: &[f64], name: &str) -> Drawn {
    let (low, high) = extent(values.iter().copied()).unwrap_or((0.0, 1.0));
    let y = Scale::linear(low - 0.04 * (high - low), high);
    let x = Scale::linear(1.0, values.len() as f64);
    let x = Axis { scale: x, ticks: x.whole_ticks(if canvas.is_narrow() { 4 } else { 10 }), name: "Round" };
    let y = Axis { scale: y, ticks: y.ticks(4), name };
    let mut plot = Plot::new(canvas, &x, &y)?;
    let last = values.len().saturating_sub(1);
    let step = values.len().div_ceil(POINTS).max(1);
    let points: Vec<(f64, f64)> = (0..last)
        .step_by(step)
        .chain([last])
        .filter_map(|i| Some((i as f64 + 1.0, values.get(i).copied().filter(|v| v.is_finite())?)))
        .collect();
    plot.line(points.iter().copied(), Tone::Accent)?;
    if points.len() <= 40 {
        for (round, value) in points {
            plot.dot(round, value, Tone::Accent)?;
        }
    }
    Ok(())
}
