//! Multi-head latent attention: keys and values that were kept in a low rank, unfolded for [`Attention`](super::Attention).

use super::NnError;
use super::error::{check_length, check_setting};

/// The lengths of unfolded keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatentShape {
    /// Tokens.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head's keys, positions included.
    pub head_dim: usize,
    /// How many of these tell the position; they come last.
    pub rotary_dim: usize,
    /// Width of a head's values.
    pub value_dim: usize,
}

impl LatentShape {
    /// An error unless positions have room in a key.
    pub(super) fn check(&self) -> Result<(), NnError> {
        let good = self.rotary_dim <= self.head_dim;
        check_setting("rotary width of latent attention", self.rotary_dim as f64, good, "at most head_dim")
    }

    /// Values of a key without its position.
    pub(super) fn plain_dim(&self) -> usize {
        self.head_dim.saturating_sub(self.rotary_dim)
    }

    /// Values of what a head is unfolded from.
    pub(super) fn folded_dim(&self) -> usize {
        self.plain_dim() + self.value_dim
    }
}

/// Takes the product with the unfolding matrix apart: `k[t, h] = [folded[t, h, ..n], positions[t]]`, `v[t, h] = folded[t, h, n..]`.
///
/// `folded` is `[tokens, heads, n + value_dim]` with `n = head_dim − rotary_dim`, `positions` `[tokens, rotary_dim]`, turned already
/// and shared by all heads; `k` is `[tokens, heads, head_dim]`, `v` `[tokens, heads, value_dim]`. DeepSeek-V2, section 2.1
/// (arXiv:2405.04434).
///
/// ```
/// # use mixlet_core::nn::{unfold_latent, LatentShape};
/// let shape = LatentShape { tokens: 1, heads: 2, head_dim: 2, rotary_dim: 1, value_dim: 1 };
/// let (mut k, mut v) = ([f32::NAN; 4], [f32::NAN; 2]);
/// unfold_latent(shape, &[1.0, 10.0, 2.0, 20.0], &[9.0], &mut k, &mut v)?;
/// assert_eq!((k, v), ([1.0, 9.0, 2.0, 9.0], [10.0, 20.0]));
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn unfold_latent<R: Copy>(
    shape: LatentShape,
    folded: &[R],
    positions: &[R],
    k: &mut [R],
    v: &mut [R],
) -> Result<(), NnError> {
    let LatentShape { tokens, heads, head_dim, rotary_dim, value_dim } = shape;
    shape.check()?;
    check_length("folded keys and values", folded.len(), tokens * heads * shape.folded_dim())?;
    check_length("positions of keys", positions.len(), tokens * rotary_dim)?;
    check_length("keys", k.len(), tokens * heads * head_dim)?;
    check_length("values", v.len(), tokens * heads * value_dim)?;
    let (mut k, mut v) = (k.chunks_exact_mut(head_dim.max(1)), v.chunks_exact_mut(value_dim.max(1)));
    let mut folded = folded.chunks_exact(shape.folded_dim().max(1));
    for token in 0..tokens {
        let position = positions.get(token * rotary_dim..(token + 1) * rotary_dim).unwrap_or_default();
        for folded in folded.by_ref().take(heads) {
            let (plain, value) = folded.split_at_checked(shape.plain_dim()).unwrap_or_default();
            let k = k.next().unwrap_or_default().iter_mut();
            k.zip(plain.iter().chain(position)).for_each(|(out, value)| *out = *value);
            let v = v.next().unwrap_or_default().iter_mut();
            v.zip(value).for_each(|(out, value)| *out = *value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lands_in_its_place() {
        for (tokens, heads, head_dim, rotary_dim, value_dim) in
            [(3, 2, 5, 2, 4), (2, 3, 4, 4, 2), (2, 1, 3, 0, 1), (0, 2, 2, 1, 1), (1, 1, 2, 1, 3)]
        {
            let shape = LatentShape { tokens, heads, head_dim, rotary_dim, value_dim };
            let plain = head_dim - rotary_dim;
            let (mut folded, mut positions) = ([0u32; 64], [0u32; 16]);
            let folded = folded.get_mut(..tokens * heads * (plain + value_dim)).unwrap();
            let positions = positions.get_mut(..tokens * rotary_dim).unwrap();
            (100..).zip(folded.iter_mut()).for_each(|(nth, out)| *out = nth);
            (500..).zip(positions.iter_mut()).for_each(|(nth, out)| *out = nth);
            let (mut k, mut v) = ([0; 64], [0; 64]);
            let k = k.get_mut(..tokens * heads * head_dim).unwrap();
            let v = v.get_mut(..tokens * heads * value_dim).unwrap();
            unfold_latent(shape, folded, positions, k, v).unwrap();
            for token in 0..tokens {
                for head in 0..heads {
                    let row = token * heads + head;
                    for place in 0..head_dim {
                        let expected = match place.checked_sub(plain) {
                            Some(place) => positions.get(token * rotary_dim + place),
                            None => folded.get(row * (plain + value_dim) + place),
                        };
                        assert_eq!(k.get(row * head_dim + place), expected, "{shape:?}");
                    }
                    for place in 0..value_dim {
                        let expected = folded.get(row * (plain + value_dim) + plain + place);
                        assert_eq!(v.get(row * value_dim + place), expected, "{shape:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let good = LatentShape { tokens: 1, heads: 1, head_dim: 2, rotary_dim: 1, value_dim: 1 };
        let length = |what, found, expected| Err(NnError::Length { what, found, expected });
        let cases = [
            (good, Ok(())),
            (LatentShape { heads: 2, ..good }, length("folded keys and values", 2, 4)),
            (LatentShape { head_dim: 3, rotary_dim: 2, ..good }, length("positions of keys", 1, 2)),
            (LatentShape { head_dim: 1, value_dim: 2, ..good }, length("keys", 2, 1)),
        ];
        for (shape, expected) in cases {
            assert_eq!(unfold_latent(shape, &[0; 2], &[0], &mut [0; 2], &mut [0]), expected, "{shape:?}");
        }
        let wide = LatentShape { rotary_dim: 3, ..good };
        assert!(unfold_latent(wide, &[0], &[0; 3], &mut [0; 2], &mut [0]).is_err());
    }
}
