//! Clipping by the global norm of all gradients.

/// Values summed at once by [`square_sum`]: threads that take whole blocks and add in order get the same bits.
pub const SQUARE_SUM_BLOCK: usize = 4096;

/// How the factor follows from the norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum ClipRule {
    /// `min(1, max_norm / norm)` (Pascanu et al. 2013, T5X, optax).
    #[default]
    Exact,
    /// `min(1, max_norm / (norm + 1e-6))` (PyTorch).
    Torch,
}

/// What gradients of a norm are multiplied by, so that it becomes at most `max_norm`.
///
/// ```
/// # use mixlet_core::optim::{clip_factor, square_sum, ClipRule};
/// let norm = square_sum(&[3.0, 4.0]).sqrt();
/// assert_eq!(clip_factor(norm, 1.0, ClipRule::Exact), 0.2);
/// assert_eq!(clip_factor(0.0, 1.0, ClipRule::Exact), 1.0);
/// ```
pub fn clip_factor(norm: f64, max_norm: f64, rule: ClipRule) -> f64 {
    let divisor = match rule {
        ClipRule::Exact => norm,
        ClipRule::Torch => norm + 1e-6,
    };
    if divisor > max_norm { max_norm / divisor } else { 1.0 }
}

/// `Σ x²` in `f64`, block by block: no finite values overflow it, and any other makes it infinite or NaN.
#[inline(always)]
pub fn square_sum(values: &[f32]) -> f64 {
    values.chunks(SQUARE_SUM_BLOCK).fold(0.0, |sum, block| sum + block_sum(block))
}

#[inline(always)]
fn block_sum(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut parts = [0.0; 8];
    for chunk in chunks {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *part += f64::from(*value) * f64::from(*value);
        }
    }
    for (part, value) in parts.iter_mut().zip(rest) {
        *part += f64::from(*value) * f64::from(*value);
    }
    parts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_of_edge_norms() {
        struct Case {
            norm: f64,
            max_norm: f64,
            rule: ClipRule,
            expected: f64,
        }
        let cases = [
            Case { norm: 1.0, max_norm: 1.0, rule: ClipRule::Exact, expected: 1.0 },
            Case { norm: 1.0, max_norm: 1.0, rule: ClipRule::Torch, expected: 1.0 / 1.000_001 },
            Case { norm: 4.0, max_norm: 1.0, rule: ClipRule::Exact, expected: 0.25 },
            Case { norm: 0.0, max_norm: 0.0, rule: ClipRule::Exact, expected: 1.0 },
            Case { norm: 5.0, max_norm: 0.0, rule: ClipRule::Exact, expected: 0.0 },
        ];
        for Case { norm, max_norm, rule, expected } in cases {
            assert_eq!(clip_factor(norm, max_norm, rule), expected, "{norm} {max_norm} {rule:?}");
        }
    }

    #[test]
    fn the_largest_gradients_do_not_overflow() {
        let sum = square_sum(&[f32::MAX; 100]);
        assert!((sum / (100.0 * f64::from(f32::MAX) * f64::from(f32::MAX)) - 1.0).abs() < 1e-15);
    }
}
