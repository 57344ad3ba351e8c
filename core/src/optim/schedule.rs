//! Learning rates by step.

/// What follows the warm-up. Every factor is 1 where the warm-up ends, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum LrDecay {
    /// 1.
    Constant,
    /// Straight down to `end` at `total_steps`, and `end` from there on.
    Linear {
        /// The step at which it ends.
        total_steps: u64,
        /// The last factor.
        end: f64,
    },
    /// Half a cosine down to `end` at `total_steps`, and `end` from there on.
    Cosine {
        /// The step at which it ends.
        total_steps: u64,
        /// The last factor.
        end: f64,
    },
    /// `√(from / max(step, from))`: 1 up to the step `from`.
    InverseSqrt {
        /// The step from which it falls; usually the warm-up's end.
        from: u64,
    },
    /// `min(hold, 1 / √t)` at the t-th step, from 1: Adafactor's relative step, for a peak of 1.
    Relative {
        /// 1e-2, or none for `1e-6 · t` (transformers' `warmup_init`).
        hold: Option<f64>,
    },
}

/// A learning rate with a linear warm-up and a decay.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LrSchedule {
    /// What factors multiply.
    pub peak: f64,
    /// Steps over which the rate rises from 0.
    pub lr_warmup_steps: u64,
    /// What follows.
    pub decay: LrDecay,
}

impl LrSchedule {
    /// T5's pre-training, `1 / √max(step, 10⁴)`: constant at 0.01 for 10,000 steps (Raffel et al. 2020).
    pub const T5: Self =
        Self { peak: 0.01, lr_warmup_steps: 0, decay: LrDecay::InverseSqrt { from: 10_000 } };

    /// The same after a linear warm-up: ST-MoE's pre-training in T5X.
    pub const ST_MOE: Self = Self { lr_warmup_steps: 10_000, ..Self::T5 };

    /// Fine-tuning of T5X's MoE models: 1e-3 after 1000 steps.
    pub const FINE_TUNE: Self = Self { peak: 1e-3, lr_warmup_steps: 1000, decay: LrDecay::Constant };

    /// The rate of a step, counted from 0 as transformers and T5X do: with a warm-up the first step's is 0.
    ///
    /// ```
    /// # use mixlet_core::optim::{LrDecay, LrSchedule};
    /// assert_eq!([0, 5000, 10_000, 40_000].map(|step| LrSchedule::ST_MOE.lr_at(step)), [0.0, 0.005, 0.01, 0.005]);
    /// let decay = LrDecay::Cosine { total_steps: 30, end: 0.0 };
    /// let cosine = LrSchedule { peak: 1.0, lr_warmup_steps: 10, decay };
    /// assert!((cosine.lr_at(15) - 0.8535533905932737).abs() < 1e-15);
    /// ```
    pub fn lr_at(&self, step: u64) -> f64 {
        let warmup = self.lr_warmup_steps;
        let risen = if step < warmup { step as f64 / warmup as f64 } else { 1.0 };
        // How far the way from the warm-up's end to the last step is done.
        let done = |total: u64| {
            let (passed, all) = (step.saturating_sub(warmup), total.saturating_sub(warmup));
            if passed < all { passed as f64 / all as f64 } else { 1.0 }
        };
        let factor = match self.decay {
            LrDecay::Constant => 1.0,
            LrDecay::Linear { total_steps, end } => 1.0 + (end - 1.0) * done(total_steps),
            LrDecay::Cosine { total_steps, end } => {
                end + (1.0 - end) * 0.5 * (1.0 + libm::cos(core::f64::consts::PI * done(total_steps)))
            }
            LrDecay::InverseSqrt { from } => libm::sqrt(from.max(1) as f64 / step.max(from).max(1) as f64),
            LrDecay::Relative { hold } => {
                let nth = step as f64 + 1.0;
                hold.unwrap_or(1e-6 * nth).min(1.0 / libm::sqrt(nth))
            }
        };
        self.peak * risen * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_at_the_corners() {
        let schedule = |lr_warmup_steps, decay| LrSchedule { peak: 2.0, lr_warmup_steps, decay };
        let linear = LrDecay::Linear { total_steps: 20, end: 0.1 };
        let cosine = LrDecay::Cosine { total_steps: 20, end: 0.1 };
        let cases = [
            (schedule(0, LrDecay::Constant), 0, 2.0),
            (schedule(4, LrDecay::Constant), 0, 0.0),
            (schedule(4, LrDecay::Constant), 3, 1.5),
            (schedule(4, LrDecay::Constant), 4, 2.0),
            (schedule(10, linear), 5, 1.0),
            (schedule(10, linear), 10, 2.0),
            (schedule(10, linear), 15, 1.1),
            (schedule(10, linear), 20, 0.2),
            (schedule(10, linear), u64::MAX, 0.2),
            (schedule(10, cosine), 10, 2.0),
            (schedule(10, cosine), 15, 1.1),
            (schedule(10, cosine), 21, 0.2),
            // No steps between the warm-up and the end.
            (schedule(20, linear), 20, 0.2),
            (schedule(30, cosine), 40, 0.2),
            (schedule(0, LrDecay::InverseSqrt { from: 0 }), 0, 2.0),
            (schedule(0, LrDecay::InverseSqrt { from: 0 }), 4, 1.0),
            (schedule(0, LrDecay::InverseSqrt { from: 16 }), 64, 1.0),
            (schedule(0, LrDecay::Relative { hold: Some(1e-2) }), 0, 2e-2),
            (schedule(0, LrDecay::Relative { hold: Some(1e-2) }), 39_999, 1e-2),
            (schedule(0, LrDecay::Relative { hold: None }), 9, 2e-5),
            (LrSchedule::T5, 10_000, 0.01),
            (LrSchedule::T5, 1_000_000, 0.001),
            (LrSchedule::FINE_TUNE, 500, 5e-4),
        ];
        for (schedule, step, expected) in cases {
            let found = schedule.lr_at(step);
            assert!((found - expected).abs() < 1e-15, "{schedule:?} {step}: {found}, expected {expected}");
        }
    }
}
