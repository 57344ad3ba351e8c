//! How many rows an expert may take. Implementations differ, so every rule carries the name of its source.

use core::fmt;

use super::config::{ByPhase, Phase};

/// Rows an expert may take from a group of `T` tokens; `E` experts, `k` of them per token, `f` the factor.
///
/// Factors are `f64` and products are taken in the source's order, so that results equal the sources' to the row.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CapacityRule {
    /// No limit: nothing is dropped (MegaBlocks, Mixtral, OLMoE and later).
    Dropless,
    /// So many rows, whatever the number of tokens (`expert_capacity` of Hugging Face's Switch).
    Fixed(ByPhase<u32>),
    /// The Switch paper, `⌊T·f / E⌋`; 1.25 in training and 2 in evaluation.
    Switch(ByPhase<f64>),
    /// mesh-tensorflow and ST-MoE, `max(min(T, ⌊T·f / E⌋), 4)`; not multiplied by `k`.
    Mesh(ByPhase<f64>),
    /// flaxformer, `max(round(f·T / E), least)`, halves to even; not multiplied by `k`. `least` is 4 (2 in XXL and C).
    Flaxformer {
        /// The factor.
        factor: ByPhase<f64>,
        /// Rows at least.
        least: u32,
    },
    /// GShard, `⌈2·T·f / E⌉`.
    GShard(ByPhase<f64>),
    /// DeepSpeed, `max(⌈T/E · k·f⌉, least)`; `least` is 8 by default there.
    DeepSpeed {
        /// The factor.
        factor: ByPhase<f64>,
        /// Rows at least.
        least: u32,
    },
    /// Tutel, `k·⌊|f|·⌈T/E⌉⌋`, and dropless for `f = 0`. There a negative `f` also shrinks buffers to the largest
    /// load: runs of rows are as long as their load here, so the sign changes nothing.
    Tutel(ByPhase<f64>),
    /// Expert choice, `⌊T·f / E⌋` but at least 1 and at most `T`: `f` experts per token on average.
    ExpertChoice(ByPhase<f64>),
}

/// A capacity in evaluation that is not the one a model was trained with; `Display` is the warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapacityChange {
    /// Tokens of a group.
    pub tokens: usize,
    /// Rows an expert may take by the rule of training; `None` without limit.
    pub trained: Option<u32>,
    /// Rows it may take now.
    pub found: Option<u32>,
}

impl fmt::Display for CapacityChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = |rows: Option<u32>, f: &mut fmt::Formatter<'_>| match rows {
            Some(rows) => write!(f, "{rows} rows"),
            None => write!(f, "any number of rows"),
        };
        write!(f, "an expert may take ")?;
        rows(self.found, f)?;
        write!(f, " of {} tokens in evaluation, the model was trained for ", self.tokens)?;
        rows(self.trained, f)
    }
}

impl CapacityRule {
    /// The rows; `None` for no limit.
    ///
    /// ```
    /// # use mixlet_core::moe::{ByPhase, CapacityRule, Phase};
    /// let factor = ByPhase { train: 1.25, eval: 2.0 };
    /// let rows = |rule: CapacityRule, phase| rule.rows(100, 8, 2, phase);
    /// assert_eq!(rows(CapacityRule::Switch(factor), Phase::Train), Some(15)); // 15.625
    /// assert_eq!(rows(CapacityRule::Flaxformer { factor, least: 4 }, Phase::Train), Some(16));
    /// assert_eq!(rows(CapacityRule::GShard(factor), Phase::Train), Some(32)); // 31.25
    /// assert_eq!(rows(CapacityRule::Switch(factor), Phase::Eval), Some(25));
    /// ```
    pub fn rows(&self, tokens: usize, experts: u32, top_k: u32, phase: Phase) -> Option<u32> {
        let (t, e, k) = (tokens as f64, f64::from(experts.max(1)), f64::from(top_k));
        let f = |factor: &ByPhase<f64>| *factor.of(phase);
        Some(match self {
            Self::Dropless => return None,
            Self::Fixed(rows) => *rows.of(phase),
            Self::Switch(factor) => whole(t * f(factor) / e),
            Self::Mesh(factor) => whole((t * f(factor) / e).min(t)).max(4),
            Self::Flaxformer { factor, least } => whole(libm::rint(f(factor) * t / e)).max(*least),
            Self::GShard(factor) => whole(libm::ceil(2.0 * t * f(factor) / e)),
            Self::DeepSpeed { factor, least } => whole(libm::ceil(t / e * (k * f(factor)))).max(*least),
            Self::Tutel(factor) if f(factor) == 0.0 => return None,
            Self::Tutel(factor) => top_k.saturating_mul(whole(libm::fabs(f(factor)) * libm::ceil(t / e))),
            Self::ExpertChoice(factor) => whole((t * f(factor) / e).max(1.0).min(t)),
        })
    }

    /// Whether an expert may take a different number of rows in evaluation than under the rule a model was trained with.
    ///
    /// More room drops fewer tokens, and may still lower quality: experts meet tokens they were not trained on (Flan-MoE,
    /// arXiv:2305.14705, saw it). Evaluate with the factor of pre-training, or warn.
    ///
    /// ```
    /// # use mixlet_core::moe::{ByPhase, CapacityRule};
    /// let trained = CapacityRule::Switch(ByPhase { train: 1.25, eval: 2.0 });
    /// let larger = CapacityRule::Switch(ByPhase { train: 1.25, eval: 4.0 });
    /// assert_eq!(trained.eval_change(&trained, 4096, 128, 1), None);
    /// let change = larger.eval_change(&trained, 4096, 128, 1).unwrap();
    /// assert_eq!((change.trained, change.found), (Some(64), Some(128)));
    /// ```
    pub fn eval_change(
        &self,
        trained: &Self,
        tokens: usize,
        experts: u32,
        top_k: u32,
    ) -> Option<CapacityChange> {
        let [trained, found] = [trained, self].map(|rule| rule.rows(tokens, experts, top_k, Phase::Eval));
        (trained != found).then_some(CapacityChange { tokens, trained, found })
    }

    /// The setting that is not a finite number of at least 0 (Tutel's may be below).
    pub(super) fn invalid_factor(&self) -> Option<f64> {
        let (Self::Switch(factor)
        | Self::Mesh(factor)
        | Self::Flaxformer { factor, .. }
        | Self::GShard(factor)
        | Self::DeepSpeed { factor, .. }
        | Self::Tutel(factor)
        | Self::ExpertChoice(factor)) = self
        else {
            return None;
        };
        let least = if matches!(self, Self::Tutel(_)) { f64::MIN } else { 0.0 };
        [factor.train, factor.eval].into_iter().find(|factor| !(factor.is_finite() && *factor >= least))
    }
}

/// The whole part of a number that is not negative; the largest count beyond 32 bits.
#[allow(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
fn whole(value: f64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_its_sources_formula() {
        struct Case {
            rule: CapacityRule,
            tokens: usize,
            experts: u32,
            top_k: u32,
            train: Option<u32>,
            eval: Option<u32>,
        }
        use CapacityRule::*;
        let factor = ByPhase { train: 1.25, eval: 2.0 };
        let case =
            |rule, tokens, experts, top_k, train, eval| Case { rule, tokens, experts, top_k, train, eval };
        let tutel = |train, eval| Tutel(ByPhase { train, eval });
        let cases = [
            case(Dropless, 100, 8, 2, None, None),
            case(Fixed(ByPhase { train: 0, eval: 7 }), 100, 8, 2, Some(0), Some(7)),
            case(Switch(factor), 4096, 128, 1, Some(40), Some(64)),
            case(Switch(factor), 3, 8, 1, Some(0), Some(0)),
            case(Mesh(factor), 100, 8, 2, Some(15), Some(25)),
            case(Mesh(factor), 3, 1, 2, Some(4), Some(4)),
            // Halves go to even: 12.5 and 20.0.
            case(Flaxformer { factor, least: 4 }, 80, 8, 2, Some(12), Some(20)),
            case(Flaxformer { factor, least: 4 }, 8, 8, 2, Some(4), Some(4)),
            case(GShard(ByPhase { train: 1.0, eval: 0.5 }), 6, 4, 2, Some(3), Some(2)),
            case(DeepSpeed { factor, least: 4 }, 100, 8, 2, Some(32), Some(50)),
            case(DeepSpeed { factor, least: 4 }, 10, 8, 1, Some(4), Some(4)),
            case(tutel(1.25, 0.0), 100, 8, 2, Some(32), None),
            case(tutel(-1.25, 1.0), 100, 8, 2, Some(32), Some(26)),
            case(ExpertChoice(factor), 100, 8, 0, Some(15), Some(25)),
            case(ExpertChoice(factor), 3, 8, 0, Some(1), Some(1)),
            case(ExpertChoice(factor), 3, 1, 0, Some(3), Some(3)),
            case(ExpertChoice(factor), 0, 8, 0, Some(0), Some(0)),
            // 0.7 · 10 is 7 in double precision, and below 7 had the factor been a 32-bit number.
            case(Switch(ByPhase { train: 0.7, eval: 0.7 }), 10, 1, 1, Some(7), Some(7)),
        ];
        for Case { rule, tokens, experts, top_k, train, eval } in cases {
            for (phase, expected) in [(Phase::Train, train), (Phase::Eval, eval)] {
                let found = rule.rows(tokens, experts, top_k, phase);
                assert_eq!(found, expected, "{rule:?}, {tokens} tokens, {experts} experts, {phase:?}");
            }
        }
    }

    #[test]
    fn another_capacity_in_evaluation_is_told() {
        use CapacityRule::*;
        let switch = |eval| Switch(ByPhase { train: 1.0, eval });
        let change = |trained, found| Some(CapacityChange { tokens: 100, trained, found });
        for (rule, trained, expected) in [
            (switch(2.0), switch(2.0), None),
            // Another rule, the same rows.
            (Fixed(ByPhase::both(25)), switch(2.0), None),
            (switch(4.0), switch(2.0), change(Some(25), Some(50))),
            (Dropless, switch(2.0), change(Some(25), None)),
            (switch(2.0), Dropless, change(None, Some(25))),
            (Dropless, Dropless, None),
        ] {
            assert_eq!(rule.eval_change(&trained, 100, 8, 1), expected, "{rule:?}, trained with {trained:?}");
        }
    }
}
