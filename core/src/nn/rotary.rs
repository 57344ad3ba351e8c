//! Rotary position embedding: pairs of a head's values turned by an angle that grows with the position.
//!
//! Su et al. 2021 (arXiv:2104.09864). Long-context variants (linear, NTK, YaRN, Llama 3) are the caller's choice of
//! inverse frequencies, plus one factor on the whole table where they ask for it.

use super::error::{check_length, check_setting};
use super::{NnError, Real};

/// Which values make a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Pairing {
    /// `(i, i + width / 2)`: GPT-NeoX, and Llama, Mixtral, OLMoE, Qwen and GPT-OSS in transformers.
    Halves,
    /// `(2i, 2i + 1)`: the paper, GPT-J, DeepSeek-V3, Llama as published by its authors.
    Interleaved,
}

/// What is turned in a slice `[tokens, heads, head_dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotary {
    /// Heads of the slice.
    pub heads: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// The first value that is turned: 0, except in DeepSeek-V3, where the last `width` values are.
    pub start: usize,
    /// How many values are turned, an even number; the others stay as they are.
    pub width: usize,
    /// Which values make a pair.
    pub pairing: Pairing,
}

impl Rotary {
    fn check(&self, table: usize, values: usize) -> Result<(), NnError> {
        let expected = "an even number, at most head_dim - start";
        let good = self.width.is_multiple_of(2) && self.start.saturating_add(self.width) <= self.head_dim;
        check_setting("rotary width", self.width as f64, good, expected)?;
        let token = self.heads * self.head_dim;
        let tokens = values / token.max(1);
        check_length("rotated values", values, tokens * token)?;
        check_length("rotary table", table, tokens * self.width)
    }
}

/// The table of a run of tokens: `out[t] = [cos a₀ …, sin a₀ …] · factor`, `aᵢ = positions[t] · inverse_frequencies[i]`.
///
/// `out` is `[tokens, width]` with `width = 2 · inverse_frequencies.len()`; one table serves every layer and head. The
/// usual inverse frequencies are `base^(−2i / width)`; `factor` is 1 but for YaRN's attention factor.
///
/// ```
/// # use mixlet_core::nn::rotary_table;
/// let mut table = [f32::NAN; 8];
/// rotary_table(&[0, 3], &[1.0, 0.01], 1.0, &mut table)?;
/// assert_eq!(table[..4], [1.0, 1.0, 0.0, 0.0]);
/// let expected = [3f32.cos(), 0.03f32.cos(), 3f32.sin(), 0.03f32.sin()];
/// assert!(table[4..].iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-7));
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
pub fn rotary_table<R: Real>(
    positions: &[u32],
    inverse_frequencies: &[f64],
    factor: f64,
    out: &mut [R],
) -> Result<(), NnError> {
    let pairs = inverse_frequencies.len();
    check_length("rotary table", out.len(), positions.len() * 2 * pairs)?;
    for (position, out) in positions.iter().zip(out.chunks_exact_mut(2 * pairs.max(1))) {
        let Some((cosines, sines)) = out.split_at_mut_checked(pairs) else { break };
        for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(inverse_frequencies) {
            let angle = f64::from(*position) * frequency;
            *cosine = R::from_f64(libm::cos(angle) * factor);
            *sine = R::from_f64(libm::sin(angle) * factor);
        }
    }
    Ok(())
}

/// Turns queries or keys `[tokens, heads, head_dim]` in place: `(a, b) ← (a cos − b sin, b cos + a sin)`.
///
/// ```
/// # use mixlet_core::nn::{rotary_forward, rotary_table, Pairing, Rotary};
/// let quarter = core::f64::consts::FRAC_PI_2;
/// let mut table = [f32::NAN; 2];
/// rotary_table(&[1], &[quarter], 1.0, &mut table)?;
/// let rotary = Rotary { heads: 1, head_dim: 3, start: 0, width: 2, pairing: Pairing::Halves };
/// let mut values = [2.0, 5.0, 9.0]; // the third is not turned
/// rotary_forward(rotary, &table, &mut values)?;
/// assert!((values[0] + 5.0).abs() < 1e-6 && (values[1] - 2.0).abs() < 1e-6 && values[2] == 9.0);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn rotary_forward<R: Real>(rotary: Rotary, table: &[R], values: &mut [R]) -> Result<(), NnError> {
    turn::<false, R>(rotary, table, values)
}

/// The gradient of [`rotary_forward`], in place: it turns back.
///
/// ```
/// # use mixlet_core::nn::{Pairing, Rotary, rotary_backward, rotary_forward};
/// let rotary = Rotary { heads: 1, head_dim: 2, start: 0, width: 2, pairing: Pairing::Halves };
/// let table = [0.6, 0.8]; // a cosine and a sine
/// let mut values = [5.0_f64, 10.0];
/// rotary_forward(rotary, &table, &mut values)?;
/// rotary_backward(rotary, &table, &mut values)?;
/// assert!((values[0] - 5.0).abs() < 1e-12 && (values[1] - 10.0).abs() < 1e-12);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn rotary_backward<R: Real>(rotary: Rotary, table: &[R], grad: &mut [R]) -> Result<(), NnError> {
    turn::<true, R>(rotary, table, grad)
}

#[inline(always)]
fn turn<const BACK: bool, R: Real>(rotary: Rotary, table: &[R], values: &mut [R]) -> Result<(), NnError> {
    rotary.check(table.len(), values.len())?;
    let Rotary { heads, head_dim, start, width, pairing } = rotary;
    let tokens = values.chunks_exact_mut((heads * head_dim).max(1));
    for (values, table) in tokens.zip(table.chunks_exact(width.max(1))) {
        let Some((cosines, sines)) = table.split_at_checked(width / 2) else { break };
        for head in values.chunks_exact_mut(head_dim.max(1)) {
            let turned = head.get_mut(start..start + width).unwrap_or_default();
            let angles = cosines.iter().zip(sines);
            match pairing {
                Pairing::Halves => {
                    let Some((first, second)) = turned.split_at_mut_checked(width / 2) else { break };
                    first
                        .iter_mut()
                        .zip(second)
                        .zip(angles)
                        .for_each(|((a, b), angle)| pair::<BACK, R>(a, b, angle));
                }
                Pairing::Interleaved => {
                    let pairs = turned.as_chunks_mut::<2>().0.iter_mut();
                    pairs.zip(angles).for_each(|([a, b], angle)| pair::<BACK, R>(a, b, angle));
                }
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn pair<const BACK: bool, R: Real>(a: &mut R, b: &mut R, (cosine, sine): (&R, &R)) {
    let sine = if BACK { -*sine } else { *sine };
    (*a, *b) = (*a * *cosine - *b * sine, *b * *cosine + *a * sine);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_that_do_not_fit_are_refused() {
        let good = Rotary { heads: 1, head_dim: 4, start: 0, width: 4, pairing: Pairing::Halves };
        let width = |value| {
            Err(NnError::Setting {
                what: "rotary width",
                value,
                expected: "an even number, at most head_dim - start",
            })
        };
        let cases = [
            (good, Ok(())),
            (Rotary { width: 3, ..good }, width(3.0)),
            (Rotary { start: 2, ..good }, width(4.0)),
            (Rotary { start: usize::MAX, ..good }, width(4.0)),
            (
                Rotary { width: 2, ..good },
                Err(NnError::Length { what: "rotary table", found: 4, expected: 2 }),
            ),
        ];
        for (rotary, expected) in cases {
            assert_eq!(rotary_forward(rotary, &[0.0; 4], &mut [0.0f32; 4]), expected, "{rotary:?}");
        }
    }
}
