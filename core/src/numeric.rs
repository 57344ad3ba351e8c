//! Exponentials, logarithms and log-sum-exp over whole slices.
//!
//! The slice functions have no branch inside, so the compiler turns them into vector code on every
//! target; a call of `libm` per value costs three times as much. Errors are below 2 units in the
//! last place over the stated range.

/// Values below this have an exponential of exactly zero in [`exp_slice`]; `e⁻⁷⁰⁸` is the last normal one.
const SMALLEST_EXPONENT: f64 = -708.0;
/// `1.5 · 2⁵²`: adding it rounds to an integer, which then stands in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// `ln 2` in two parts: the first has 21 trailing zero bits, so that small integer multiples are exact.
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// `x ← eˣ` for every value of a slice; values must not exceed 709.
///
/// Values below −708 (also −∞) become 0.
///
/// ```
/// # use mixlet_core::numeric::exp_slice;
/// let mut values = [0.0, -1.0, f64::NEG_INFINITY];
/// exp_slice(&mut values);
/// assert_eq!(values[0], 1.0);
/// assert!((values[1] - 0.36787944117144233).abs() < 1e-16);
/// assert_eq!(values[2], 0.0);
/// ```
#[inline(always)]
pub fn exp_slice(values: &mut [f64]) {
    values.iter_mut().for_each(|value| *value = exp(*value));
}

/// `eˣ` without a branch: `x = n·ln 2 + r`, `|r| ≤ ln 2 / 2`, and `eʳ` by its series.
#[inline(always)]
fn exp(x: f64) -> f64 {
    let shifted = x * core::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut series = 1.0 / 6_227_020_800.0; // 1 / 13!
    for inverse_factorial in [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        series = series * r + inverse_factorial;
    }
    // 2ⁿ: the integer n stands in the low bits of `shifted`.
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    if x < SMALLEST_EXPONENT { 0.0 } else { series * power }
}

/// `x ← ln x` for every value of a slice; values must be positive, normal and finite.
///
/// `x = 2ⁿ·m`, `m` in `[√½, √2)`, and `ln m = 2·artanh((m − 1)/(m + 1))` by its series.
///
/// ```
/// # use mixlet_core::numeric::ln_slice;
/// let mut values = [1.0, 10.0, 1e-10];
/// ln_slice(&mut values);
/// assert_eq!(values[0], 0.0);
/// assert!((values[1] - core::f64::consts::LN_10).abs() < 1e-15);
/// assert!((values[2] + 23.025850929940457).abs() < 1e-14);
/// ```
#[inline(always)]
pub fn ln_slice(values: &mut [f64]) {
    const SQRT_HALF: u64 = core::f64::consts::FRAC_1_SQRT_2.to_bits();
    for value in values {
        // Split x so that the mantissa lies around one: subtract √½ in the bits, take the exponent off.
        let above = value.to_bits().wrapping_sub(SQRT_HALF);
        let exponent = (above >> 52) & 0xfff;
        let m = f64::from_bits((above & 0x000f_ffff_ffff_ffff).wrapping_add(SQRT_HALF));
        // A twelve-bit two's-complement number to f64 without a conversion instruction.
        let biased = f64::from_bits((exponent ^ 0x800) | ROUND_TO_BITS);
        let n = biased - (4_503_599_627_370_496.0 + 2048.0);
        let s = (m - 1.0) / (m + 1.0);
        let square = s * s;
        let mut series = 2.0 / 21.0;
        for odd in [
            2.0 / 19.0,
            2.0 / 17.0,
            2.0 / 15.0,
            2.0 / 13.0,
            2.0 / 11.0,
            2.0 / 9.0,
            2.0 / 7.0,
            2.0 / 5.0,
            2.0 / 3.0,
        ] {
            series = series * square + odd;
        }
        *value = n * LN2_HIGH + (2.0 * s + (s * square * series + n * LN2_LOW));
    }
}

/// The bits of `2⁵²`: or-ing in an integer below `2⁵²` gives `2⁵² + integer`.
const ROUND_TO_BITS: u64 = 0x4330_0000_0000_0000;

/// The sum of a slice, in eight interleaved parts: a fixed order that vectors can follow.
///
/// ```
/// # use mixlet_core::numeric::sum;
/// assert_eq!(sum(&[1.0; 100]), 100.0);
/// ```
#[inline(always)]
pub fn sum(values: &[f64]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut parts = [0.0; 8];
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, value)| *part += value);
    }
    parts.iter().sum::<f64>() + rest.iter().sum::<f64>()
}

/// `Σ a·b` over the shorter of two slices.
///
/// ```
/// # use mixlet_core::numeric::dot;
/// assert_eq!(dot(&[1.0, 2.0, 3.0], &[4.0, 5.0]), 14.0);
/// ```
#[inline(always)]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Copies the shorter of two slices: `copy_from_slice` for lengths that are known to be equal, but not to the compiler.
#[inline(always)]
pub(crate) fn copy(from: &[f64], to: &mut [f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// `ln Σ eˣ`, safe from overflow; −∞ for an empty slice.
///
/// ```
/// # use mixlet_core::numeric::log_sum_exp;
/// assert!((log_sum_exp(&[-1000.0, -1000.0]) - (-1000.0 + core::f64::consts::LN_2)).abs() < 1e-12);
/// ```
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + libm::log(values.iter().map(|value| libm::exp(value - largest)).sum())
}

/// Turns rows of log-joints `[rows, classes]` into posteriors, in place.
///
/// Returns `Σ weight · ln Σ_k e^(log-joint)`, the log-likelihood of the rows (`weights` absent: all one),
/// or the first row whose log-joints are all −∞ or contain NaN.
///
/// ```
/// # use mixlet_core::numeric::softmax_rows;
/// let mut rows = [0.25f64.ln(), 0.25f64.ln(), 0.1f64.ln(), 0.3f64.ln()];
/// let log_likelihood = softmax_rows(&mut rows, 2, None).unwrap();
/// assert!((log_likelihood - (0.5f64.ln() + 0.4f64.ln())).abs() < 1e-15);
/// assert!((rows[0] - 0.5).abs() < 1e-15 && (rows[3] - 0.75).abs() < 1e-15);
/// ```
#[inline(always)]
pub fn softmax_rows(rows: &mut [f64], classes: usize, weights: Option<&[f64]>) -> Result<f64, usize> {
    match classes {
        2 => softmax_pairs(rows, weights),
        3 => softmax_rows_of::<3>(rows, 3, weights),
        4 => softmax_rows_of::<4>(rows, 4, weights),
        _ => softmax_rows_of::<0>(rows, classes, weights),
    }
}

/// `Σ weight · ln sum` over rows, with one logarithm for many rows: sums lie in `[1, classes]`, so the
/// product of hundreds is exact enough.
pub(crate) struct LogSums {
    total: f64,
    product: f64,
}

impl LogSums {
    pub const ZERO: Self = Self { total: 0.0, product: 1.0 };

    #[inline(always)]
    pub fn add(&mut self, sum: f64, weight: Option<&f64>) {
        if let Some(weight) = weight {
            self.total += weight * libm::log(sum);
        } else {
            self.product *= sum;
            if self.product > 1e250 {
                self.total += libm::log(self.product);
                self.product = 1.0;
            }
        }
    }

    pub fn total(self) -> f64 {
        self.total + libm::log(self.product)
    }
}

/// [`softmax_rows`] of `K` classes, or of `classes` where `K` is 0.
#[inline(always)]
fn softmax_rows_of<const K: usize>(
    rows: &mut [f64],
    classes: usize,
    weights: Option<&[f64]>,
) -> Result<f64, usize> {
    let classes = if K == 0 { classes.max(1) } else { K };
    // Stage 1: subtract each row's largest value.
    let mut log_likelihood = 0.0;
    for (nth, row) in rows.chunks_exact_mut(classes).enumerate() {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, |a, b| if b > a { b } else { a });
        if row.iter().any(|value| value.is_nan()) || !largest.is_finite() {
            return Err(nth);
        }
        row.iter_mut().for_each(|value| *value -= largest);
        log_likelihood += weights.and_then(|weights| weights.get(nth)).map_or(largest, |w| w * largest);
    }
    // Stage 2: the exponentials of all rows at once.
    exp_slice(rows);
    // Stage 3: divide by the sums.
    let mut log_sums = LogSums::ZERO;
    for (nth, row) in rows.chunks_exact_mut(classes).enumerate() {
        let sum = row.iter().sum::<f64>();
        let scale = 1.0 / sum;
        row.iter_mut().for_each(|value| *value *= scale);
        log_sums.add(sum, weights.and_then(|weights| weights.get(nth)));
    }
    Ok(log_likelihood + log_sums.total())
}

/// [`softmax_rows`] of two classes: one exponential a row, `e = exp(−|difference|)`.
///
/// Rows go through arrays of fixed length, so that every stage but the first and the last is vector code.
#[inline(always)]
fn softmax_pairs(rows: &mut [f64], weights: Option<&[f64]>) -> Result<f64, usize> {
    const ROWS: usize = 64;
    let mut log_likelihood = 0.0;
    for (block, rows) in rows.as_chunks_mut::<2>().0.chunks_mut(ROWS).enumerate() {
        // Stage 1: columns. Rows that are not there have one class, and so no likelihood to add.
        let (mut first, mut second) = ([0.0; ROWS], [f64::NEG_INFINITY; ROWS]);
        for ((row, first), second) in rows.iter().zip(&mut first).zip(&mut second) {
            [*first, *second] = *row;
        }
        // Stage 2: exponentials of differences; a pair of −∞ or a NaN gives NaN, +∞ leaves an infinite largest value.
        let (mut largest, mut smaller) = (first, [0.0; ROWS]);
        for ((largest, smaller), second) in largest.iter_mut().zip(&mut smaller).zip(&second) {
            let difference = second - *largest;
            *largest = if difference > 0.0 { *second } else { *largest };
            *smaller = -libm::fabs(difference);
        }
        if let Some(nth) = smaller.iter().position(|value| value.is_nan()) {
            return Err(block * ROWS + nth);
        }
        exp_slice(&mut smaller);
        // Stage 3: posteriors.
        let mut sums = [0.0; ROWS];
        for (((first, second), smaller), sum) in
            first.iter_mut().zip(&mut second).zip(&smaller).zip(&mut sums)
        {
            *sum = 1.0 + smaller;
            let (more, less) = (1.0 / *sum, smaller / *sum);
            [*first, *second] = if *second > *first { [less, more] } else { [more, less] };
        }
        for ((row, first), second) in rows.iter_mut().zip(&first).zip(&second) {
            *row = [*first, *second];
        }
        // Stage 4: Σ weight · (largest + ln sum); the product of all sums is at most 2⁶⁴.
        match weights.and_then(|weights| weights.get(block * ROWS..)) {
            None => log_likelihood += sum(&largest) + libm::log(product(&sums)),
            Some(weights) => {
                ln_slice(&mut sums);
                largest.iter_mut().zip(&sums).for_each(|(largest, log)| *largest += log);
                log_likelihood += dot(&largest, weights);
            }
        }
    }
    Ok(log_likelihood)
}

/// The product of a slice, in eight interleaved parts.
#[inline(always)]
fn product(values: &[f64]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut parts = [1.0; 8];
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, value)| *part *= value);
    }
    parts.iter().product::<f64>() * rest.iter().product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_agree_with_libm_to_two_units_in_the_last_place() {
        let mut x = -708.0;
        while x <= 1.0 {
            let mut value = [x];
            exp_slice(&mut value);
            let expected = libm::exp(x);
            assert!(
                (value[0] - expected).abs() <= 2.0 * f64::EPSILON * expected,
                "exp({x}): {value:?} {expected}"
            );
            x += 0.0137;
        }
    }

    #[test]
    fn logarithms_agree_with_libm() {
        let mut x = 1e-300;
        while x < 1e300 {
            let mut value = [x];
            ln_slice(&mut value);
            let expected = libm::log(x);
            let bound = 2.0 * f64::EPSILON * expected.abs().max(1e-3);
            assert!((value[0] - expected).abs() <= bound, "ln({x}): {value:?} {expected}");
            x *= 1.0173;
        }
    }

    #[test]
    fn a_row_without_a_possible_class_is_named() {
        let none = f64::NEG_INFINITY;
        for (case, expected) in [
            ([0.0, 0.0, none, none], Err(1)),
            ([f64::NAN, 0.0, 0.0, 0.0], Err(0)),
            ([none, 0.0, 0.0, none], Ok(())),
        ] {
            let mut rows = case;
            assert_eq!(softmax_rows(&mut rows, 2, None).map(|_| ()), expected, "{case:?}");
        }
    }

    #[test]
    fn weights_scale_each_rows_share_of_the_likelihood() {
        let rows = [0.5f64.ln(), 0.2f64.ln(), 0.1f64.ln(), 0.3f64.ln()];
        let total = softmax_rows(&mut rows.clone(), 2, Some(&[2.0, 0.0])).unwrap_or(f64::NAN);
        assert!((total - 2.0 * 0.7f64.ln()).abs() < 1e-15);
    }
}
