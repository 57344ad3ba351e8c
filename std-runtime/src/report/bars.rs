//! Horizontal bars with names: for a handful of named numbers that want comparing.

use plotters::style::text_anchor::HPos;

use super::chart::{Canvas, Drawn, Picture};
use super::scale::Scale;
use super::theme::Tone;
use super::{PictureError, html};

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// How long it is; a value that is not finite, or negative, has no bar.
    pub value: f64,
    /// What stands at its end.
    pub text: String,
    /// Its colour.
    pub tone: Tone,
}

/// Draws bars from zero, the longest as long as there is room.
pub fn draw(picture: &Picture<'_>, bars: &[Bar]) -> Result<String, PictureError> {
    let height = bars.len() as f64 * step(bars.len()) + 8.0;
    picture.draw_tall(height as u32, |canvas| paint(canvas, bars))
}

/// One row per bar: name, bar, number.
fn paint(canvas: &Canvas<'_>, bars: &[Bar]) -> Drawn {
    let most = if canvas.is_narrow() { 18 } else { 26 };
    let longest =
        |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0).min(most) as f64 * 6.9 + 16.0;
    let left = longest(&mut bars.iter().map(|bar| bar.name.chars().count()));
    let right = canvas.width - longest(&mut bars.iter().map(|bar| bar.text.chars().count()));
    let scale = Scale::from_zero(bars.iter().map(|bar| bar.value.max(0.0)));
    canvas.line((left, 2.0), (left, canvas.height - 2.0), Tone::Rule)?;
    let step = step(bars.len());
    for (i, bar) in bars.iter().enumerate() {
        let middle = (i as f64 + 0.5) * step + 4.0;
        let length = scale.at(bar.value.max(0.0)).filter(|_| bar.value.is_finite()).unwrap_or(0.0);
        let end = left + length * (right - left);
        canvas.text(&html::plain(&bar.name, most), (left - 9.0, middle), HPos::Right, Tone::Ink)?;
        canvas.rect(
            (left, middle - 0.34 * step),
            (end.max(left + 1.0), middle + 0.34 * step),
            bar.tone,
            1.0,
        )?;
        canvas.text(&html::plain(&bar.text, most), (end + 8.0, middle), HPos::Left, Tone::Ink)?;
    }
    Ok(())
}

/// Height of one bar with its gap, in shown pixels: few bars are thicker, so that the picture keeps its size.
fn step(bars: usize) -> f64 {
    (200.0 / bars.max(1) as f64).clamp(30.0, 52.0)
}
