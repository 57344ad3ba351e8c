//! Components of a small symmetric tensor, by power iteration.

use super::count_of;
use crate::numeric::{copy, dot};
use crate::small::add_scaled;
use rand_core::Rng;

/// Random directions tried for each component.
const RESTARTS: usize = 24;

/// Power steps of each restart; as many polish the winner.
const STEPS: usize = 40;

/// Finds orthonormal `v_h` with `tensor ≈ Σ_h λ_h · v_h ⊗ v_h ⊗ v_h`, roughly in falling order of `λ_h`.
///
/// For each component [`RESTARTS`] random directions take [`STEPS`] steps `v ← T(·, v, v) / |T(·, v, v)|`; the one of
/// largest `λ = T(v, v, v)` takes as many more, and `λ · v ⊗ v ⊗ v` is taken off. Every `v` is kept orthogonal to those
/// before it. `tensor` `[n, n, n]` is used up, row `h` of `vectors` `[n, n]` is `v_h`, `scratch` is `[2 n]`.
/// Anandkumar, Ge, Hsu, Kakade, Telgarsky, *Tensor decompositions for learning latent variable models*,
/// JMLR 15 (2014), algorithm 1.
pub(super) fn components(
    tensor: &mut [f64],
    n: usize,
    random: &mut impl Rng,
    vectors: &mut [f64],
    scratch: &mut [f64],
) {
    let Some((v, next)) = scratch.split_at_mut_checked(n) else { return };
    for component in 0..n {
        let Some((found, rest)) = vectors.split_at_mut_checked(component * n) else { return };
        let Some(best) = rest.get_mut(..n) else { return };
        best.fill(0.0);
        let mut largest = f64::NEG_INFINITY;
        for _ in 0..RESTARTS {
            v.iter_mut().for_each(|value| *value = symmetric_unit(random));
            let value = power_steps(tensor, found, v, next);
            if value > largest {
                largest = value;
                copy(v, best);
            }
        }
        let value = power_steps(tensor, found, best, next);
        deflate(tensor, value, best);
    }
}

/// A number of `[-1, 1)`.
pub(super) fn symmetric_unit(random: &mut impl Rng) -> f64 {
    f64::from(random.next_u32()) / f64::from(1u32 << 31) - 1.0
}

/// Takes power steps from `v`, orthogonal to the rows of `found`; returns `T(v, v, v)`.
fn power_steps(tensor: &[f64], found: &[f64], v: &mut [f64], next: &mut [f64]) -> f64 {
    let n = count_of(v.len());
    for _ in 0..STEPS {
        contract_twice(tensor, v, next);
        for row in found.chunks_exact(n) {
            add_scaled(next, -dot(next, row), row);
        }
        let norm = libm::sqrt(dot(next, next));
        if norm <= f64::MIN_POSITIVE {
            break;
        }
        v.iter_mut().zip(&*next).for_each(|(value, step)| *value = step / norm);
    }
    contract_twice(tensor, v, next);
    dot(next, v)
}

/// `out = T(·, v, v)`.
fn contract_twice(tensor: &[f64], v: &[f64], out: &mut [f64]) {
    let n = count_of(v.len());
    for (sum, plane) in out.iter_mut().zip(tensor.chunks_exact(n * n)) {
        *sum = plane.chunks_exact(n).zip(v).map(|(row, &x)| x * dot(row, v)).sum();
    }
}

/// `tensor −= value · v ⊗ v ⊗ v`.
fn deflate(tensor: &mut [f64], value: f64, v: &[f64]) {
    let n = count_of(v.len());
    for (plane, &x) in tensor.chunks_exact_mut(n * n).zip(v) {
        for (row, &y) in plane.chunks_exact_mut(n).zip(v) {
            add_scaled(row, -value * x * y, v);
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use core::convert::Infallible;

    /// A linear congruential generator: enough to draw directions.
    struct Directions(u64);

    impl rand_core::TryRng for Directions {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Ok(u32::try_from(self.0 >> 32).unwrap())
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(u64::from(self.try_next_u32()?) << 32 | u64::from(self.try_next_u32()?))
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            bytes.fill_with(|| self.next_u32().to_le_bytes()[3]);
            Ok(())
        }
    }

    #[test]
    fn components_of_an_orthogonal_tensor_are_its_vectors() {
        let (sin, cos) = (0.6, 0.8);
        let cases = [
            ("axes", [3.0, 2.0], [[1.0, 0.0], [0.0, 1.0]]),
            ("turned", [3.0, 2.0], [[cos, sin], [-sin, cos]]),
            ("equal weights", [1.5, 1.5], [[cos, sin], [-sin, cos]]),
        ];
        for (name, values, wanted) in cases {
            let mut tensor = [0.0; 8];
            deflate(&mut tensor, -values[0], &wanted[0]);
            deflate(&mut tensor, -values[1], &wanted[1]);
            let mut vectors = [f64::NAN; 4];
            components(&mut tensor, 2, &mut Directions(7), &mut vectors, &mut [f64::NAN; 4]);
            for target in wanted {
                let along = vectors.chunks(2).map(|found| dot(found, &target)).fold(f64::MIN, f64::max);
                assert!((along - 1.0).abs() < 1e-9, "{name}: {target:?} is not among {vectors:?}");
            }
        }
    }

    #[test]
    fn components_of_a_zero_tensor_are_finite() {
        let mut vectors = [f64::NAN; 9];
        components(&mut [0.0; 27], 3, &mut Directions(7), &mut vectors, &mut [f64::NAN; 6]);
        assert!(vectors.iter().all(|value| value.is_finite()));
    }
}
