//! Numbers of pixels as a picture: equal neighbours of a line are one rectangle.

use crate::report::PictureError;
use crate::report::chart::{Canvas, Drawn, Picture};
use crate::report::theme::Tone;

/// Pixels of a side that are shown at most: larger pictures are averaged.
const MOST_SIDE: usize = 56;

/// Shades that are told apart.
const SHADES: f64 = 16.0;

/// A picture as numbers of `0..=1`; NaN is shown like 0.
#[derive(Clone, Debug)]
pub(super) struct Pixels {
    height: usize,
    width: usize,
    values: Vec<f64>,
}

impl Pixels {
    /// Averages squares of pixels where there are more than can be shown; none if the numbers do not fit the sides.
    pub fn new((height, width): (usize, usize), values: impl ExactSizeIterator<Item = f64>) -> Option<Self> {
        if values.len() == 0 || height.checked_mul(width) != Some(values.len()) {
            return None;
        }
        let block = height.max(width).div_ceil(MOST_SIDE).max(1);
        let (rows, columns) = (height.div_ceil(block), width.div_ceil(block));
        let (mut sums, mut counts) = (vec![0.0; rows * columns], vec![0.0; rows * columns]);
        for (place, value) in values.enumerate() {
            let into = place / width / block * columns + place % width / block;
            sums[into] += if value.is_finite() { value } else { 0.0 };
            counts[into] += 1.0;
        }
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum /= count);
        Some(Self { height: rows, width: columns, values: sums })
    }

    /// Draws the pixels, square and as large as there is room, in a tone.
    pub fn draw(&self, picture: &Picture<'_>, tone: Tone) -> Result<String, PictureError> {
        picture.draw(|canvas| self.paint(canvas, tone))
    }

    fn paint(&self, canvas: &Canvas<'_>, tone: Tone) -> Drawn {
        let side = (canvas.width / self.width as f64).min(canvas.height / self.height as f64);
        let left = (canvas.width - side * self.width as f64) / 2.0;
        let top = (canvas.height - side * self.height as f64) / 2.0;
        let corner = |row: usize, column: usize| (left + column as f64 * side, top + row as f64 * side);
        canvas.rect(corner(0, 0), corner(self.height, self.width), Tone::Rule, 0.35)?;
        for (row, values) in self.values.chunks_exact(self.width).enumerate() {
            let shade = |value: &f64| (value.clamp(0.0, 1.0) * SHADES).round();
            let mut column = 0;
            for run in values.chunk_by(|a, b| shade(a) == shade(b)) {
                let alpha = run.first().map_or(0.0, shade) / SHADES;
                if alpha > 0.0 {
                    canvas.rect(corner(row, column), corner(row + 1, column + run.len()), tone, alpha)?;
                }
                column += run.len();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_are_averaged() {
        let values: Vec<f64> = (0..112 * 60).map(|place| f64::from(u8::from(place % 60 < 30))).collect();
        let pixels = Pixels::new((112, 60), values.into_iter()).unwrap();
        assert_eq!((pixels.height, pixels.width), (56, 30));
        assert_eq!((pixels.values[14], pixels.values[15]), (1.0, 0.0));
        assert!(Pixels::new((2, 3), [0.0; 5].into_iter()).is_none());
    }
}
