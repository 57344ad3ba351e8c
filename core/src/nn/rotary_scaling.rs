//! Frequencies of rotary positions, and how they are stretched for contexts longer than those of training.

use super::NnError;
use super::error::check_setting;

/// How frequencies are stretched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum RotaryScaling {
    /// Not at all.
    #[default]
    None,
    /// All divided by the factor: position interpolation (Chen et al. 2023, arXiv:2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Slow ones divided by the factor, fast ones kept, a blend between them: Llama 3.1.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Turns over the original context up to which a frequency is slow; 1.
        low: f64,
        /// Turns from which it is fast; 4.
        high: f64,
        /// Tokens of the original context.
        original: f64,
    },
    /// The same idea with a ramp over the dimensions, and a factor on the table (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// The factor.
        factor: f64,
        /// Tokens of the original context.
        original: f64,
        /// Where the blend begins and ends.
        ramp: YarnRamp,
        /// What the table is multiplied by; `0.1 · ln factor + 1` in the paper.
        attention_factor: f64,
    },
}

/// Where YaRN's blend begins and ends.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct YarnRamp {
    /// Turns over the original context from which a frequency is kept; 32.
    pub fast: f64,
    /// Turns up to which it is divided; 1.
    pub slow: f64,
    /// Whether the ends are rounded outwards to whole dimensions: yes in the paper's code, no in GPT-OSS.
    pub whole: bool,
}

impl RotaryScaling {
    /// What [`rotary_table`](super::rotary_table) takes as `factor`.
    pub fn table_factor(&self) -> f64 {
        match *self {
            Self::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }
}

/// The inverse frequencies `θ^(−i / n)`, `i = 0..n`, stretched; `n = out.len()` is half the width that is turned.
///
/// ```
/// # use mixlet_core::nn::{rotary_frequencies, RotaryScaling};
/// let mut out = [f64::NAN; 2];
/// rotary_frequencies(10_000.0, RotaryScaling::Linear { factor: 4.0 }, &mut out)?;
/// assert!((out[0] - 0.25).abs() < 1e-15 && (out[1] - 0.0025).abs() < 1e-15);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
pub fn rotary_frequencies(theta: f64, scaling: RotaryScaling, out: &mut [f64]) -> Result<(), NnError> {
    let positive =
        |what, value: f64| check_setting(what, value, value > 0.0 && value.is_finite(), "a positive number");
    positive("rotary base", theta)?;
    let pairs = out.len() as f64;
    for (nth, frequency) in out.iter_mut().enumerate() {
        *frequency = libm::pow(theta, -(nth as f64) / pairs);
    }
    match scaling {
        RotaryScaling::None => {}
        RotaryScaling::Linear { factor } => {
            positive("rotary factor", factor)?;
            out.iter_mut().for_each(|frequency| *frequency /= factor);
        }
        RotaryScaling::Llama3 { factor, low, high, original } => {
            positive("rotary factor", factor)?;
            check_setting("high frequency factor", high, high > low, "more than the low one")?;
            for frequency in out.iter_mut() {
                let turns = original * *frequency / core::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                *frequency = blend(*frequency, factor, kept);
            }
        }
        RotaryScaling::Yarn { factor, original, ramp, .. } => {
            positive("rotary factor", factor)?;
            let (start, end) = ramp.ends(theta, original, 2.0 * pairs);
            for (nth, frequency) in out.iter_mut().enumerate() {
                let divided = ((nth as f64 - start) / (end - start)).clamp(0.0, 1.0);
                *frequency = blend(*frequency, factor, 1.0 - divided);
            }
        }
    }
    Ok(())
}

/// A frequency of which a share is kept, the rest divided.
fn blend(frequency: f64, factor: f64, kept: f64) -> f64 {
    frequency / factor * (1.0 - kept) + frequency * kept
}

impl YarnRamp {
    /// The pairs between which the blend runs; never the same.
    fn ends(self, theta: f64, original: f64, width: f64) -> (f64, f64) {
        // The pair that turns so many times over the original context.
        let pair = |turns: f64| {
            width * libm::log(original / (turns * core::f64::consts::TAU)) / (2.0 * libm::log(theta))
        };
        let (start, end) = (pair(self.fast), pair(self.slow));
        let (start, end) = if self.whole { (libm::floor(start), libm::ceil(end)) } else { (start, end) };
        let (start, end) = (start.max(0.0), end.min(width - 1.0));
        (start, if start == end { end + 0.001 } else { end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(theta: f64, scaling: RotaryScaling) -> [f64; 8] {
        let mut out = [f64::NAN; 8];
        rotary_frequencies(theta, scaling, &mut out).unwrap();
        out
    }

    #[test]
    fn slow_frequencies_are_divided_and_fast_ones_kept() {
        let plain = frequencies(10_000.0, RotaryScaling::None);
        let ramp = YarnRamp { fast: 32.0, slow: 1.0, whole: true };
        let cases = [
            RotaryScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 1024.0 },
            RotaryScaling::Yarn { factor: 8.0, original: 1024.0, ramp, attention_factor: 1.2 },
            RotaryScaling::Yarn {
                factor: 8.0,
                original: 1024.0,
                ramp: YarnRamp { whole: false, ..ramp },
                attention_factor: 1.2,
            },
        ];
        for scaling in cases {
            let found = frequencies(10_000.0, scaling);
            for (found, plain) in found.iter().zip(plain) {
                let turns = 1024.0 * plain / core::f64::consts::TAU;
                // 163, 52, 16, 5.2, 1.6, 0.5, … turns: the first is fast and the last slow by either rule.
                let share = found / plain;
                assert!((0.125 - 1e-12..=1.0 + 1e-12).contains(&share), "{scaling:?}");
                assert!(turns < 60.0 || (share - 1.0).abs() < 1e-12, "{scaling:?}: {turns}");
                assert!(turns > 0.3 || (share - 0.125).abs() < 1e-12, "{scaling:?}: {turns}");
            }
        }
    }

    #[test]
    fn blends_are_those_of_the_formulas() {
        // Pair 3 turns 5.153… times: with `low` 4 and `high` 8 a share of 0.288… is kept.
        let turns = 1024.0 * 10f64.powf(-1.5) / core::f64::consts::TAU;
        let kept = (turns - 4.0) / 4.0;
        let llama = RotaryScaling::Llama3 { factor: 8.0, low: 4.0, high: 8.0, original: 1024.0 };
        let expected = 10f64.powf(-1.5) * (kept + (1.0 - kept) / 8.0);
        assert!((frequencies(10_000.0, llama)[3] - expected).abs() < 1e-15);
        // Of 16 dimensions, 32 turns fall on pair 1.413… and one on pair 4.424…: rounded outwards, 1 and 5.
        let ramp = YarnRamp { fast: 32.0, slow: 1.0, whole: true };
        let yarn = RotaryScaling::Yarn { factor: 8.0, original: 1024.0, ramp, attention_factor: 1.0 };
        let expected = 10f64.powf(-1.5) * (0.5 + 0.5 / 8.0);
        assert!((frequencies(10_000.0, yarn)[3] - expected).abs() < 1e-15);
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        let refused = |theta, scaling| rotary_frequencies(theta, scaling, &mut [0.0; 2]).is_err();
        assert!(refused(0.0, RotaryScaling::None));
        assert!(refused(f64::INFINITY, RotaryScaling::None));
        assert!(refused(1e4, RotaryScaling::Linear { factor: 0.0 }));
        assert!(refused(1e4, RotaryScaling::Llama3 { factor: 8.0, low: 4.0, high: 4.0, original: 1e3 }));
    }
}
