//! Random numbers in slices, in either precision, and how far they are apart.

use super::random::SplitMix;

/// Standard normal numbers.
pub fn normal(random: &mut SplitMix, len: usize) -> Vec<f64> {
    let draw = |random: &mut SplitMix| {
        let (radius, angle) =
            ((-2.0 * (1.0 - random.unit()).ln()).sqrt(), random.unit() * std::f64::consts::TAU);
        radius * angle.cos()
    };
    (0..len).map(|_| draw(random)).collect()
}

pub fn to_f32(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

pub fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// The largest difference, as a share of the largest expected value (1 if that is smaller).
#[track_caller]
pub fn difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|value| value.is_finite()), "not finite: {found:?}");
    let largest = expected.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs())) / largest
}

/// Fails unless two slices are as close as `tolerance` says, in [`difference`].
#[track_caller]
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    let difference = difference(found, expected);
    assert!(difference <= tolerance, "{what}: {difference:e} apart, expected at most {tolerance:e}");
}
