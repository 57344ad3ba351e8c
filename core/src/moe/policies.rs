//! Which experts a token gets, and with what gates: every policy by the name of its source.
//!
//! All policies of token choice are one recipe with different settings (the private `Recipe`): scores,
//! the best `top_k` of them, gates, and which choices after the first are sent at all.

use super::config::{ByPhase, Phase};

/// How tokens and experts find each other. `p = softmax(logits)` over experts unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Policy {
    /// Switch Transformer (arXiv:2101.03961): one expert, gate `p`, not renormalised.
    Switch {
        /// How the expert is chosen.
        choice: ByPhase<SwitchChoice>,
    },
    /// GShard (arXiv:2006.16668, algorithm 1): two experts, gates `p₁/(p₁+p₂)` and `p₂/(p₁+p₂)`.
    GShard {
        /// Whether the second expert is used; the paper's coin `2·g₂ > U` is [`SecondExpert::PAPER_COIN`].
        second: ByPhase<SecondExpert>,
    },
    /// DeepSpeed's top-2: as GShard, but gates are normalised over what is left *after* dropping
    /// (see [`normalise_kept`](super::normalise_kept)), so a single survivor has gate 1.
    DeepSpeedTop2 {
        /// Draws the second expert from `softmax` of the others (Gumbel-max) instead of taking the best.
        sample_second: ByPhase<bool>,
    },
    /// ST-MoE and mesh-tensorflow (arXiv:2202.08906): gates `p / (Σ p + 1e-9)` over the `top_k` best.
    Mesh {
        /// Experts per token; 2 in the paper's models.
        top_k: u32,
        /// Whether choices after the first are used; mesh's default is `Random(0.2)` in both phases.
        others: ByPhase<SecondExpert>,
    },
    /// flaxformer's `TokensChoose`, which T5X checkpoints use: gates are raw `p`.
    Flaxformer {
        /// Experts per token.
        top_k: u32,
    },
    /// Mixtral (arXiv:2401.04088): gates are `p` divided by their sum over the chosen.
    Mixtral {
        /// Experts per token.
        top_k: u32,
    },
    /// OLMoE (arXiv:2409.02060): gates are raw `p`.
    Olmoe {
        /// Experts per token.
        top_k: u32,
    },
    /// gpt-oss: the best *logits*, then a softmax over them alone.
    SoftmaxAfterTopK {
        /// Experts per token.
        top_k: u32,
    },
    /// DeepSeek-V3 (arXiv:2412.19437): `s = sigmoid(logits)`; chosen by `s + bias` within the best groups of
    /// experts (a group's score is the sum of its two best); gates are `s`, not `s + bias`.
    DeepSeekV3 {
        /// Experts per token.
        top_k: u32,
        /// Groups that the experts are cut into; 1 for none.
        expert_groups: u32,
        /// Groups that a token may use.
        kept_groups: u32,
        /// Divide gates by `Σ s + 1e-20`.
        normalise: bool,
        /// Factor on the gates (`routed_scaling_factor`).
        scale: f64,
    },
    /// Noisy top-k (Shazeer et al. 2017, arXiv:1701.06538): `H = logits + N(0, 1)·σ` in training, the `top_k` best `H`,
    /// gates are a softmax over these.
    NoisyTopK {
        /// Experts per token.
        top_k: u32,
        /// Where `σ` comes from.
        noise: NoiseScale,
    },
    /// Hash layers (arXiv:2106.04426): a fixed table names each token's expert; gate 1, no logits.
    Hash,
    /// Expert choice (arXiv:2202.09368): each expert takes its best tokens, as many as its capacity.
    ExpertChoice {
        /// What the softmax runs over.
        softmax: SoftmaxOver,
    },
    /// Expert choice with at most `cap` experts per token: the entropic linear program
    /// `max ⟨S, A⟩ + temperature · H(A)`, rows of experts summing to their capacity, tokens to at most `cap`.
    CappedExpertChoice {
        /// Experts per token at most.
        cap: u32,
        /// Weight of the entropy; 0.001 is usual.
        temperature: f64,
        /// Rounds of Dykstra's projections at most; 100 is usual.
        rounds: u32,
    },
}

/// How Switch chooses its one expert.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SwitchChoice {
    /// The most probable.
    Argmax,
    /// Drawn from `softmax(logits / temperature)`; the gate stays `p` at temperature 1.
    Sample {
        /// Above 1 flatter, below 1 sharper.
        temperature: f64,
    },
}

/// Whether a choice after the first, with normalised gate `g`, is sent to its expert.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SecondExpert {
    /// Always.
    All,
    /// Never: a top-1 router whose gate is normalised over the `top_k` best.
    None,
    /// If `g` is larger than this.
    Threshold(f64),
    /// With probability `min(1, g / threshold)`.
    Random(f64),
}

impl SecondExpert {
    /// GShard's coin: sent with probability `min(1, 2·g)`.
    pub const PAPER_COIN: Self = Self::Random(0.5);
}

/// Where the noise of [`Policy::NoisyTopK`] gets its size.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum NoiseScale {
    /// `σ = softplus(noise logits) + least`, the noise logits being a second product with the tokens; the paper has
    /// `least = 0`, its published code 0.01.
    Learned {
        /// Added to every `σ`.
        least: f64,
    },
    /// The same `σ` everywhere; Tutel's is its `gate_noise / experts`.
    Fixed(f64),
}

/// What the softmax of expert choice runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SoftmaxOver {
    /// The experts of a token, as in the paper: the gate is the score.
    Experts,
    /// The tokens of a group, as mesh-tensorflow's `expert_selection` does: the gate is the score divided by the
    /// number of experts that took the token.
    Tokens,
}

/// A token-choice policy, taken apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recipe {
    pub top_k: usize,
    pub scores: Scores,
    pub first: Pick,
    pub second: Pick,
    pub gates: GateRule,
    pub others: SecondExpert,
}

/// What is computed from the logits, and what the best are chosen by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scores {
    /// Softmax; chosen by probability.
    Softmax,
    /// Softmax; chosen by logit.
    Logits,
    /// As `Logits`, with noise added first.
    Noisy(NoiseScale),
    /// Sigmoid; chosen by `s + bias` within groups.
    Sigmoid { groups: usize, kept: usize },
}

/// How one choice is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pick {
    Best,
    Sample { temperature: f64 },
}

/// Gates from the scores of the chosen: `scale · s`, or `scale · s / (Σ s + least)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct GateRule {
    /// `Some(least)` divides by the sum.
    pub normalise: Option<f64>,
    pub scale: f64,
}

impl GateRule {
    const RAW: Self = Self { normalise: None, scale: 1.0 };
    const SHARES: Self = Self { normalise: Some(0.0), scale: 1.0 };
}

impl Policy {
    /// Mixtral's two of eight, the most common router today.
    pub const MIXTRAL: Self = Self::Mixtral { top_k: 2 };

    /// Experts each token chooses; `None` where experts choose.
    pub fn top_k(&self) -> Option<u32> {
        match *self {
            Self::Switch { .. } | Self::Hash => Some(1),
            Self::GShard { .. } | Self::DeepSpeedTop2 { .. } => Some(2),
            Self::Mesh { top_k, .. }
            | Self::Flaxformer { top_k }
            | Self::Mixtral { top_k }
            | Self::Olmoe { top_k }
            | Self::SoftmaxAfterTopK { top_k }
            | Self::DeepSeekV3 { top_k, .. }
            | Self::NoisyTopK { top_k, .. } => Some(top_k),
            Self::ExpertChoice { .. } | Self::CappedExpertChoice { .. } => None,
        }
    }

    /// The recipe of a token-choice policy; none for a hash and for expert choice.
    pub(super) fn recipe(&self, phase: Phase) -> Option<Recipe> {
        let plain = Recipe {
            top_k: self.top_k()? as usize,
            scores: Scores::Softmax,
            first: Pick::Best,
            second: Pick::Best,
            gates: GateRule::RAW,
            others: SecondExpert::All,
        };
        Some(match *self {
            Self::Switch { choice } => match *choice.of(phase) {
                SwitchChoice::Argmax => plain,
                SwitchChoice::Sample { temperature } => {
                    Recipe { first: Pick::Sample { temperature }, ..plain }
                }
            },
            Self::GShard { second } => Recipe { gates: GateRule::SHARES, others: *second.of(phase), ..plain },
            Self::DeepSpeedTop2 { sample_second } if *sample_second.of(phase) => {
                Recipe { second: Pick::Sample { temperature: 1.0 }, ..plain }
            }
            Self::DeepSpeedTop2 { .. } | Self::Flaxformer { .. } | Self::Olmoe { .. } => plain,
            Self::Mesh { others, .. } => {
                let gates = GateRule { normalise: Some(1e-9), scale: 1.0 };
                Recipe { gates, others: *others.of(phase), ..plain }
            }
            Self::Mixtral { .. } => Recipe { gates: GateRule::SHARES, ..plain },
            Self::SoftmaxAfterTopK { .. } => {
                Recipe { scores: Scores::Logits, gates: GateRule::SHARES, ..plain }
            }
            Self::DeepSeekV3 { expert_groups, kept_groups, normalise, scale, .. } => {
                let scores = Scores::Sigmoid { groups: expert_groups as usize, kept: kept_groups as usize };
                Recipe { scores, gates: GateRule { normalise: normalise.then_some(1e-20), scale }, ..plain }
            }
            Self::NoisyTopK { noise, .. } => {
                let scores = if phase == Phase::Train { Scores::Noisy(noise) } else { Scores::Logits };
                Recipe { scores, gates: GateRule::SHARES, ..plain }
            }
            Self::Hash | Self::ExpertChoice { .. } | Self::CappedExpertChoice { .. } => return None,
        })
    }
}

impl Recipe {
    /// Random numbers that a token needs: normal ones for noise, else uniform ones of `[0, 1)`.
    pub(super) fn draws_per_token(&self, experts: usize) -> usize {
        let picks = [self.first, self.second].iter().filter(|pick| **pick != Pick::Best).count();
        let coins = if matches!(self.others, SecondExpert::Random(_)) { self.top_k - 1 } else { 0 };
        let noise = if matches!(self.scores, Scores::Noisy(_)) { experts } else { 0 };
        picks + coins + noise
    }
}
