//! A grid of shaded cells with names along the left and the top: the stronger the colour, the larger the number.

use plotters::style::text_anchor::HPos;

use super::chart::{Canvas, Drawn, Picture};
use super::theme::Tone;
use super::{PictureError, html};

/// Height of a row, in shown pixels.
const ROW: f64 = 24.0;

/// Height of the names along the top.
const HEAD: f64 = 24.0;

/// Numbers need so much width.
const NUMBER: f64 = 34.0;

/// Cells with names.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// Names along the left.
    pub rows: Vec<String>,
    /// Names along the top.
    pub columns: Vec<String>,
    /// `[rows, columns]`: how strong the colour is, `0..=1`, and the number; NaN has no colour.
    pub cells: Vec<(f64, String)>,
}

impl Grid {
    /// Draws the grid, as tall as its rows need.
    pub fn draw(&self, picture: &Picture<'_>) -> Result<String, PictureError> {
        let height = HEAD + self.rows.len() as f64 * ROW + 4.0;
        picture.draw_tall(height as u32, |canvas| self.paint(canvas))
    }

    fn paint(&self, canvas: &Canvas<'_>) -> Drawn {
        let most = if canvas.is_narrow() { 14 } else { 26 };
        let longest = self.rows.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(most);
        let left = longest as f64 * 6.9 + 14.0;
        let width = (canvas.width - left - 1.0) / self.columns.len().max(1) as f64;
        for (row, name) in self.rows.iter().enumerate() {
            let middle = HEAD + (row as f64 + 0.5) * ROW;
            canvas.text(&html::plain(name, most), (left - 8.0, middle), HPos::Right, Tone::Ink)?;
        }
        // Names that would touch each other give way to every second, third, … one.
        let widest = self.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(10);
        let every = ((widest as f64 * 7.2 + 6.0) / width).ceil().max(1.0) as usize;
        for (column, name) in self.columns.iter().enumerate().step_by(every) {
            let middle = left + (column as f64 + 0.5) * width;
            canvas.text(&html::plain(name, 10), (middle, HEAD / 2.0), HPos::Center, Tone::Soft)?;
        }
        for (place, (shade, number)) in self.cells.iter().enumerate() {
            let (row, column) = (place / self.columns.len().max(1), place % self.columns.len().max(1));
            let (x, y) = (left + column as f64 * width, HEAD + row as f64 * ROW);
            let (tone, alpha) = match shade.is_finite() {
                true => (Tone::Accent, 0.05 + 0.95 * shade.clamp(0.0, 1.0)),
                false => (Tone::Rule, 0.5),
            };
            canvas.rect((x, y), (x + width - 1.0, y + ROW - 1.0), tone, alpha)?;
            if width >= NUMBER && shade.is_finite() {
                let ink = if alpha > 0.66 { Tone::OnAccent } else { Tone::Ink };
                canvas.text(number, (x + width / 2.0, y + ROW / 2.0), HPos::Center, ink)?;
            }
        }
        Ok(())
    }
}
