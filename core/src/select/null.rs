//! What information looks like where there is none: chi-square levels.
//!
//! For independent answers `2·n·I` follows a chi-square law with `(labels − 1)²` degrees of freedom
//! (the G test), so the mean of `I` over `n` shared tasks is about `(labels − 1)² / (2n)`.

/// The information that two independent workers exceed with probability `1 − level`, from `tasks` shared tasks.
///
/// ```
/// # use mixlet_core::select::null::null_information;
/// // The published level for 108 tasks and three degrees of freedom.
/// assert!((null_information(0.99, 3.0, 108.0) - 0.0525).abs() < 5e-5);
/// ```
pub fn null_information(level: f64, freedom: f64, tasks: f64) -> f64 {
    chi_square_quantile(level, freedom) / (2.0 * tasks)
}

/// The value a chi-square variable stays below with probability `level`; 0 without degrees of freedom.
///
/// ```
/// # use mixlet_core::select::null::chi_square_quantile;
/// assert!((chi_square_quantile(0.95, 1.0) - 3.841458820694124).abs() < 1e-9);
/// ```
pub fn chi_square_quantile(level: f64, freedom: f64) -> f64 {
    if level.is_nan() || freedom.is_nan() || level <= 0.0 || freedom <= 0.0 {
        return 0.0;
    }
    if level >= 1.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, freedom + 10.0);
    while lower_gamma(freedom / 2.0, high / 2.0) < level {
        high *= 2.0;
    }
    // Bisection: exact to the last place in at most 2·64 steps, and nothing to tune.
    for _ in 0..128 {
        let middle = 0.5 * (low + high);
        if lower_gamma(freedom / 2.0, middle / 2.0) < level { low = middle } else { high = middle }
    }
    high
}

/// The probability that a chi-square variable stays below a value; 1 without degrees of freedom.
///
/// ```
/// # use mixlet_core::select::null::chi_square_level;
/// assert!((chi_square_level(3.841458820694124, 1.0) - 0.95).abs() < 1e-12);
/// ```
pub fn chi_square_level(value: f64, freedom: f64) -> f64 {
    if freedom > 0.0 { lower_gamma(freedom / 2.0, value / 2.0) } else { 1.0 }
}

/// The regularised lower incomplete gamma function `P(a, x)`: by series below `a + 1`, else by continued fraction.
fn lower_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let scale = libm::exp(a * libm::log(x) - x - libm::lgamma(a));
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * f64::EPSILON {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return (sum * scale).min(1.0);
    }
    // Lentz's method for 1 / (x + 1 − a − 1·(1 − a) / (x + 3 − a − …)).
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut fraction = d;
    for n in 1..1000 {
        let n = f64::from(n);
        let factor = -n * (n - a);
        b += 2.0;
        let denominator = factor * d + b;
        d = 1.0 / if libm::fabs(denominator) < tiny { tiny } else { denominator };
        let ratio = b + factor / c;
        c = if libm::fabs(ratio) < tiny { tiny } else { ratio };
        fraction *= c * d;
        if libm::fabs(c * d - 1.0) < f64::EPSILON {
            break;
        }
    }
    1.0 - fraction * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_tables() {
        // The published levels of Bird: 108 tasks, three degrees of freedom.
        for (level, expected) in
            [(0.99, 0.0525), (0.95, 0.0362), (0.90, 0.0289), (0.75, 0.0190), (0.5, 0.0110)]
        {
            assert!((null_information(level, 3.0, 108.0) - expected).abs() < 5e-5, "{level}");
        }
        for (level, freedom, expected) in [
            (0.95, 2.0, 5.991464547107979),
            (0.99, 9.0, 21.665994333461924),
            (0.5, 100.0, 99.33412923598846),
            (0.05, 16.0, 7.961645572378554),
        ] {
            let found = chi_square_quantile(level, freedom);
            assert!((found - expected).abs() < 1e-8, "{level} {freedom}: {found}");
        }
    }

    #[test]
    fn edges_do_not_loop_forever() {
        for (level, freedom, expected) in [
            (0.0, 3.0, 0.0),
            (-1.0, 3.0, 0.0),
            (f64::NAN, 3.0, 0.0),
            (0.5, 0.0, 0.0),
            (0.5, f64::NAN, 0.0),
            (1.0, 3.0, f64::INFINITY),
        ] {
            assert_eq!(chi_square_quantile(level, freedom), expected, "{level} {freedom}");
        }
    }
}
