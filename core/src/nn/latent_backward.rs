//! The gradients of unfolded keys and values, folded again.

use super::error::check_length;
use super::{LatentShape, NnError, Real};

/// The gradients of [`unfold_latent`](super::unfold_latent), overwritten: with `n = head_dim − rotary_dim`,
/// `grad_folded[t, h] = [grad_k[t, h, ..n], grad_v[t, h]]`, `grad_positions[t] = Σ_h grad_k[t, h, n..]`, heads in order.
///
/// ```
/// # use mixlet_core::nn::{LatentShape, unfold_latent_backward};
/// let shape = LatentShape { tokens: 1, heads: 2, head_dim: 2, rotary_dim: 1, value_dim: 1 };
/// let (mut folded, mut positions) = ([f32::NAN; 4], [f32::NAN]);
/// unfold_latent_backward(shape, &[1.0, 3.0, 2.0, 4.0], &[10.0, 20.0], &mut folded, &mut positions)?;
/// assert_eq!((folded, positions), ([1.0, 10.0, 2.0, 20.0], [7.0]));
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn unfold_latent_backward<R: Real>(
    shape: LatentShape,
    grad_k: &[R],
    grad_v: &[R],
    grad_folded: &mut [R],
    grad_positions: &mut [R],
) -> Result<(), NnError> {
    let LatentShape { tokens, heads, head_dim, rotary_dim, value_dim } = shape;
    shape.check()?;
    let (plain_dim, folded_dim) = (shape.plain_dim(), shape.folded_dim());
    check_length("gradient of the keys", grad_k.len(), tokens * heads * head_dim)?;
    check_length("gradient of the values", grad_v.len(), tokens * heads * value_dim)?;
    check_length("gradient of the folded", grad_folded.len(), tokens * heads * folded_dim)?;
    check_length("gradient of the positions", grad_positions.len(), tokens * rotary_dim)?;
    grad_positions.fill(R::ZERO);
    let mut grad_folded = grad_folded.chunks_exact_mut(folded_dim.max(1));
    for row in 0..tokens * heads {
        let k = grad_k.get(row * head_dim..(row + 1) * head_dim).unwrap_or_default();
        let v = grad_v.get(row * value_dim..(row + 1) * value_dim).unwrap_or_default();
        let (plain, position) = k.split_at_checked(plain_dim).unwrap_or_default();
        let out = grad_folded.next().unwrap_or_default().iter_mut();
        out.zip(plain.iter().chain(v)).for_each(|(out, grad)| *out = *grad);
        let token = row / heads.max(1) * rotary_dim;
        let sums = grad_positions.get_mut(token..token + rotary_dim).unwrap_or_default();
        sums.iter_mut().zip(position).for_each(|(sum, grad)| *sum += *grad);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::unfold_latent;

    /// Unfolding is linear, so `⟨unfold(a), g⟩ = ⟨a, backward(g)⟩` for all `a` and `g`: whole numbers, exactly.
    #[test]
    fn it_is_the_adjoint_of_unfolding() {
        for (tokens, heads, head_dim, rotary_dim, value_dim) in
            [(3, 2, 5, 2, 4), (2, 3, 4, 4, 2), (2, 1, 3, 0, 1), (0, 2, 2, 1, 1), (1, 1, 2, 1, 3)]
        {
            let shape = LatentShape { tokens, heads, head_dim, rotary_dim, value_dim };
            let folded_len = tokens * heads * (head_dim - rotary_dim + value_dim);
            let lens =
                [folded_len, tokens * rotary_dim, tokens * heads * head_dim, tokens * heads * value_dim];
            let numbers = |seed: u32| {
                let mut values = [0.0_f64; 64];
                let each = (seed..).zip(values.iter_mut());
                each.for_each(|(nth, value)| *value = f64::from(nth * nth * 7 % 23) - 11.0);
                values
            };
            let [folded, positions, grad_k, grad_v] = [1, 2, 3, 4].map(numbers);
            let [folded, positions, grad_k, grad_v] =
                [(&folded, lens[0]), (&positions, lens[1]), (&grad_k, lens[2]), (&grad_v, lens[3])]
                    .map(|(values, len)| values.get(..len).unwrap());
            let (mut k, mut v, mut of_folded, mut of_positions) =
                ([f64::NAN; 64], [f64::NAN; 64], [f64::NAN; 64], [f64::NAN; 64]);
            let (k, v) = (k.get_mut(..lens[2]).unwrap(), v.get_mut(..lens[3]).unwrap());
            let of_folded = of_folded.get_mut(..lens[0]).unwrap();
            let of_positions = of_positions.get_mut(..lens[1]).unwrap();
            unfold_latent(shape, folded, positions, k, v).unwrap();
            unfold_latent_backward(shape, grad_k, grad_v, of_folded, of_positions).unwrap();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let forward = dot(k, grad_k) + dot(v, grad_v);
            assert_eq!(forward, dot(folded, of_folded) + dot(positions, of_positions), "{shape:?}");
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let good = LatentShape { tokens: 1, heads: 1, head_dim: 2, rotary_dim: 1, value_dim: 1 };
        let length = |what, found, expected| Err(NnError::Length { what, found, expected });
        let cases = [
            (good, Ok(())),
            (LatentShape { heads: 2, ..good }, length("gradient of the keys", 2, 4)),
            (LatentShape { value_dim: 2, ..good }, length("gradient of the values", 1, 2)),
            (LatentShape { rotary_dim: 0, ..good }, length("gradient of the folded", 2, 3)),
            (LatentShape { rotary_dim: 2, ..good }, length("gradient of the folded", 2, 1)),
        ];
        for (shape, expected) in cases {
            let found = unfold_latent_backward(shape, &[0.0; 2], &[0.0], &mut [0.0; 2], &mut [0.0]);
            assert_eq!(found, expected, "{shape:?}");
        }
        let wide = LatentShape { rotary_dim: 3, ..good };
        assert!(unfold_latent_backward(wide, &[0.0; 2], &[0.0], &mut [0.0], &mut [0.0; 3]).is_err());
    }
}
