//! One pass over all gradients: their norm, or the first value that is not a number.

use super::OptimError;
use super::clip::{SQUARE_SUM_BLOCK, square_sum};

/// `Σ g²` over all tensors, or the first gradient that is NaN or infinite.
///
/// The sum of squares tells whether a block has such a value, so it is searched for only where it is.
///
/// ```
/// # use mixlet_core::optim::{scan_gradients, OptimError};
/// assert_eq!(scan_gradients([&[3.0f32, 4.0][..], &[], &[2.0]]), Ok(29.0));
/// let bad = scan_gradients([&[3.0f32, 4.0][..], &[1.0, f32::INFINITY]]);
/// assert_eq!(bad, Err(OptimError::NonFinite { tensor: 1, index: 1, value: f32::INFINITY }));
/// ```
#[inline(always)]
pub fn scan_gradients<'a>(tensors: impl IntoIterator<Item = &'a [f32]>) -> Result<f64, OptimError> {
    let mut total = 0.0;
    for (tensor, grads) in tensors.into_iter().enumerate() {
        for (nth, block) in grads.chunks(SQUARE_SUM_BLOCK).enumerate() {
            let sum = square_sum(block);
            if !sum.is_finite()
                && let Some((index, value)) = first_non_finite(block)
            {
                return Err(OptimError::NonFinite { tensor, index: nth * SQUARE_SUM_BLOCK + index, value });
            }
            total += sum;
        }
    }
    Ok(total)
}

/// The first value that is NaN or infinite, and its place.
///
/// ```
/// # use mixlet_core::optim::first_non_finite;
/// assert_eq!(first_non_finite(&[1.0, f32::NEG_INFINITY]), Some((1, f32::NEG_INFINITY)));
/// ```
pub fn first_non_finite(values: &[f32]) -> Option<(usize, f32)> {
    values.iter().copied().enumerate().find(|(_, value)| !value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_value_is_named_wherever_it_is() {
        for place in [0, 7, 8, SQUARE_SUM_BLOCK - 1, SQUARE_SUM_BLOCK, 2 * SQUARE_SUM_BLOCK + 2] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut grads = [1.0; 2 * SQUARE_SUM_BLOCK + 3];
                if let Some(grad) = grads.get_mut(place..) {
                    grad.fill(bad);
                }
                let found = scan_gradients([&[0.5; 3][..], &grads]);
                let Err(OptimError::NonFinite { tensor: 1, index, value }) = found else {
                    panic!("{place}: {found:?}");
                };
                assert_eq!((index, value.to_bits()), (place, bad.to_bits()));
            }
        }
    }

    #[test]
    fn no_tensors_have_no_norm() {
        assert_eq!(scan_gradients([]), Ok(0.0));
    }
}
