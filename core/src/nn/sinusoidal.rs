//! Sines and cosines of positions, added to embeddings.

use super::error::{check_length, check_setting};
use super::{NnError, Real};

/// `out[t] += [sin a₀ …, cos a₀ …]`, `aᵢ = positions[t] · 10000^(−i / (n − 1))`, `n` half the width; nothing is added to a
/// token without a position.
///
/// `out` is `[tokens, width]`, `width` even and at least 4. The order and the frequencies are those of tensor2tensor, fairseq
/// and NLLB; the paper (Vaswani et al. 2017) has sines and cosines take turns, and `n` instead of `n − 1`.
///
/// ```
/// # use mixlet_core::nn::add_sinusoidal;
/// let mut out = [1.0; 8];
/// add_sinusoidal(&[Some(2), None], 4, &mut out)?;
/// let expected = [2f64.sin(), 2e-4f64.sin(), 2f64.cos(), 2e-4f64.cos()];
/// assert!(out.iter().zip(expected).all(|(out, added)| (out - 1.0 - added).abs() < 1e-15));
/// assert_eq!(out[4..], [1.0; 4]);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
pub fn add_sinusoidal<R: Real>(
    positions: &[Option<u32>],
    width: usize,
    out: &mut [R],
) -> Result<(), NnError> {
    let good = width >= 4 && width.is_multiple_of(2);
    check_setting("width of sinusoidal positions", width as f64, good, "an even number of at least 4")?;
    check_length("embedded tokens", out.len(), positions.len() * width)?;
    let half = width / 2;
    let step = -libm::log(10_000.0) / (half - 1) as f64;
    for (out, position) in out.chunks_exact_mut(width).zip(positions) {
        let (Some(position), Some((sines, cosines))) = (position, out.split_at_mut_checked(half)) else {
            continue;
        };
        for (nth, (sine, cosine)) in sines.iter_mut().zip(cosines).enumerate() {
            let angle = f64::from(*position) * libm::exp(nth as f64 * step);
            *sine += R::from_f64(libm::sin(angle));
            *cosine += R::from_f64(libm::cos(angle));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_and_lengths_are_checked() {
        let setting = |value| NnError::Setting {
            what: "width of sinusoidal positions",
            value,
            expected: "an even number of at least 4",
        };
        let length = NnError::Length { what: "embedded tokens", found: 4, expected: 8 };
        let cases =
            [(4, 1, Ok(())), (2, 2, Err(setting(2.0))), (5, 1, Err(setting(5.0))), (4, 2, Err(length))];
        for (width, tokens, expected) in cases {
            let positions = [Some(0); 2];
            let found = add_sinusoidal(positions.get(..tokens).unwrap(), width, &mut [0.0f32; 4]);
            assert_eq!(found, expected, "{width}, {tokens}");
        }
    }
}
