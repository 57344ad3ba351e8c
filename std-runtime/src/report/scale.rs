//! Where a number lies on an axis, and which ticks the axis shows.
//!
//! Every number is brought to `0..=1` before it reaches the plotting library, so that no data, however large,
//! small or broken, can overflow a pixel or make a tick search endless.

use super::number;

/// Numbers beyond this are drawn at this.
const LIMIT: f64 = 1e150;

/// A stretch of numbers laid out on `0..=1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The lower end, as drawn: the logarithm if the scale is one of powers.
    low: f64,
    /// The upper end, always above `low`.
    high: f64,
    /// Equal steps are equal factors.
    powers: bool,
}

impl Scale {
    /// From `low` to `high`; ends that are equal, swapped or not finite are put right.
    pub fn linear(low: f64, high: f64) -> Self {
        let (low, high) = (tame(low.min(high)), tame(low.max(high)));
        let least = 1e-9 * low.abs().max(high.abs());
        if high - low > least {
            return Self { low, high, powers: false };
        }
        let middle = f64::midpoint(low, high);
        let reach = (middle.abs() * 0.01).max(0.5);
        Self { low: middle - reach, high: middle + reach, powers: false }
    }

    /// From `low` to `high` in powers of ten; both must be positive, otherwise a decade around one is shown.
    pub fn powers(low: f64, high: f64) -> Self {
        let (low, high) = if low > 0.0 && high >= low { (tame(low), tame(high)) } else { (0.1, 1.0) };
        let (low, high) = (low.log10(), high.log10());
        Self { low, high: high.max(low + 0.5), powers: true }
    }

    /// Holds all finite values, and zero.
    pub fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values.chain([0.0])).unwrap_or((0.0, 1.0));
        Self::linear(low, high)
    }

    /// Where a value lies, `0..=1`; `None` for NaN. Beyond the ends it is drawn at the end.
    pub fn at(self, value: f64) -> Option<f64> {
        if value.is_nan() {
            return None;
        }
        let value = if self.powers { value.max(1.0 / LIMIT).log10() } else { value };
        Some(((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0))
    }

    /// Whether equal steps are equal factors.
    pub fn is_powers(self) -> bool {
        self.powers
    }

    /// About `wanted` ticks at round numbers: position on `0..=1` and text.
    pub fn ticks(self, wanted: usize) -> Vec<Tick> {
        if self.powers { self.power_ticks(wanted) } else { self.round_ticks(wanted, 0.0) }
    }

    /// Like [`ticks`](Self::ticks), at whole numbers only.
    pub fn whole_ticks(self, wanted: usize) -> Vec<Tick> {
        self.round_ticks(wanted, 1.0)
    }

    /// Multiples of 1, 2 or 5 times a power of ten, at least `least` apart.
    fn round_ticks(self, wanted: usize, least: f64) -> Vec<Tick> {
        let step = round_step((self.high - self.low) / wanted.max(1) as f64).max(least);
        let places = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let first = (self.low / step).ceil();
        let ticks = (0..=2 * wanted).map(|i| (first + i as f64) * step);
        ticks
            .take_while(|value| *value <= self.high + step * 1e-6)
            .filter_map(|value| Some(Tick { at: self.at(value)?, text: number::decimal(value, places) }))
            .collect()
    }

    /// Whole powers of ten, thinned if there are many.
    fn power_ticks(self, wanted: usize) -> Vec<Tick> {
        let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
        let stride = (last - first).max(0) as usize / wanted.max(1) + 1;
        (first..=last)
            .step_by(stride)
            .map(|power| {
                let at = (f64::from(power) - self.low) / (self.high - self.low);
                Tick { at: at.clamp(0.0, 1.0), text: power_text(power) }
            })
            .collect()
    }
}

/// A labelled place on an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// `0..=1` along the axis.
    pub at: f64,
    /// What stands there.
    pub text: String,
}

/// The smallest and largest finite value, if there is one.
pub fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| v.is_finite()).fold(None, |ends, v| match ends {
        None => Some((v, v)),
        Some((low, high)) => Some((v.min(low), v.max(high))),
    })
}

/// A finite number no larger than [`LIMIT`].
fn tame(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(-LIMIT, LIMIT) }
}

/// The next larger of 1, 2, 5, 10 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= step).unwrap_or(10.0 * power)
}

/// `0.01`, `1`, `1,000` or, far away, `10⁻⁷`.
fn power_text(power: i32) -> String {
    match power {
        0..=4 => number::decimal(10f64.powi(power), 0),
        -3..0 => number::decimal(10f64.powi(power), power.unsigned_abs() as usize),
        _ => format!("10{}", superscript(power)),
    }
}

/// An exponent in raised figures.
fn superscript(power: i32) -> String {
    let raise = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => digit.to_digit(10).and_then(|d| char::from_u32('⁰' as u32 + d)).unwrap_or(digit),
    };
    power.to_string().chars().map(raise).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few_on_any_scale() {
        let texts = |scale: Scale| scale.ticks(5).into_iter().map(|t| t.text).collect::<Vec<_>>();
        assert_eq!(texts(Scale::linear(0.0, 1.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(Scale::powers(1e-5, 0.5)), ["10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1"]);
        let ends = [0.0, -1.0, 1e-300, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0 + 1e-15];
        for low in ends {
            for high in ends {
                for scale in [Scale::linear(low, high), Scale::powers(low, high)] {
                    assert!(scale.ticks(5).len() <= 11, "{low} to {high}");
                    assert!(scale.ticks(5).iter().all(|t| (0.0..=1.0).contains(&t.at)), "{low} to {high}");
                    assert!(scale.at(0.3).is_some_and(|at| (0.0..=1.0).contains(&at)), "{low} to {high}");
                    assert_eq!(scale.at(f64::NAN), None);
                }
            }
        }
    }
}
