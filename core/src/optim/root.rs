//! Square roots that vectorise: a call per value, or an instruction only `std` may use, would halve the speed of a step.

/// `1 / √x` of a normal positive number, to three units in the last place; about `10¹⁹` for 0.
///
/// A first guess from the exponent's bits, then three of Newton's steps, each squaring the relative error.
#[inline(always)]
pub(super) fn inverse_root(x: f32) -> f32 {
    let half = 0.5 * x;
    let mut y = f32::from_bits(0x5f37_5a86 - (x.to_bits() >> 1));
    for _ in 0..3 {
        y *= 1.5 - half * y * y;
    }
    y
}

/// `√x` of 0 or a normal positive number, to three units in the last place.
#[inline(always)]
pub(super) fn root(x: f32) -> f32 {
    x * inverse_root(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_agree_with_libm() {
        let mut x = f32::MIN_POSITIVE;
        while x < 3e38 {
            let exact = libm::sqrt(f64::from(x));
            let [found, inverse] = [root(x), inverse_root(x)].map(f64::from);
            let bound = 3.0 * f64::from(f32::EPSILON);
            assert!((found / exact - 1.0).abs() < bound, "{x}: {found} {exact}");
            assert!((inverse * exact - 1.0).abs() < bound, "{x}: {inverse} {exact}");
            x *= 1.0137;
        }
        assert_eq!(root(0.0), 0.0);
        assert!(root(f32::NAN).is_nan());
    }
}
