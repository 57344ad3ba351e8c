//! Random tokens for routers, and every policy there is.

use super::random::SplitMix;
use mixlet_core::moe::*;
use proptest::prelude::*;

/// Every policy of token choice with every setting, for a number of experts.
pub fn token_choice_policies(experts: u32) -> Vec<Policy> {
    let both = ByPhase::<SecondExpert>::both;
    let mut policies = vec![
        Policy::Switch { choice: ByPhase::both(SwitchChoice::Argmax) },
        Policy::Switch { choice: ByPhase::both(SwitchChoice::Sample { temperature: 1.0 }) },
        Policy::Switch { choice: ByPhase::both(SwitchChoice::Sample { temperature: 0.5 }) },
    ];
    for top_k in [1, 2, 3, experts].into_iter().filter(|&top_k| top_k <= experts) {
        policies.extend([
            Policy::Mesh { top_k, others: both(SecondExpert::All) },
            Policy::Mesh { top_k, others: both(SecondExpert::None) },
            Policy::Mesh { top_k, others: both(SecondExpert::Threshold(0.2)) },
            Policy::Mesh { top_k, others: both(SecondExpert::Random(0.2)) },
            Policy::Flaxformer { top_k },
            Policy::Mixtral { top_k },
            Policy::Olmoe { top_k },
            Policy::SoftmaxAfterTopK { top_k },
            Policy::NoisyTopK { top_k, noise: NoiseScale::Learned { least: 0.01 } },
            Policy::NoisyTopK { top_k, noise: NoiseScale::Fixed(0.5) },
            Policy::DeepSeekV3 { top_k, expert_groups: 1, kept_groups: 1, normalise: false, scale: 1.0 },
        ]);
    }
    if experts >= 2 {
        policies.extend([
            Policy::GShard { second: both(SecondExpert::All) },
            Policy::GShard { second: both(SecondExpert::PAPER_COIN) },
            Policy::DeepSpeedTop2 { sample_second: ByPhase::both(false) },
            Policy::DeepSpeedTop2 { sample_second: ByPhase::both(true) },
        ]);
    }
    for (expert_groups, kept_groups) in [(experts, experts.min(2)), (2, 1), (3, 2)] {
        let len = experts / expert_groups;
        if experts.is_multiple_of(expert_groups) && kept_groups <= expert_groups {
            let top_k = (len * kept_groups).min(3);
            policies.push(Policy::DeepSeekV3 {
                top_k,
                expert_groups,
                kept_groups,
                normalise: true,
                scale: 2.5,
            });
        }
    }
    policies
}

/// Random tokens.
#[derive(Clone, Debug)]
pub struct Batch {
    pub tokens: usize,
    pub experts: usize,
    pub seed: u64,
    /// Logits are multiples of a quarter, so that many are equal.
    pub ties: bool,
    pub padded: bool,
}

pub fn batches() -> impl Strategy<Value = Batch> {
    (0..14_usize, 1..10_usize, any::<u64>(), any::<bool>(), any::<bool>())
        .prop_map(|(tokens, experts, seed, ties, padded)| Batch { tokens, experts, seed, ties, padded })
}

/// The numbers a batch stands for.
pub struct Numbers {
    pub logits: Vec<f64>,
    pub real: Option<Vec<bool>>,
    pub bias: Vec<f64>,
    pub noise_logits: Vec<f64>,
    pub draws: Vec<f64>,
}

impl Batch {
    pub fn numbers(&self, router: &Router, phase: Phase) -> Numbers {
        let mut random = SplitMix(self.seed);
        let mut number = |ties: bool| {
            let value = 6.0 * random.unit() - 3.0;
            if ties { (value * 4.0).round() / 4.0 } else { value }
        };
        let len = self.tokens * self.experts;
        let logits: Vec<f64> = (0..len).map(|_| number(self.ties)).collect();
        let policy = router.config().policy;
        let has_bias = matches!(policy, Policy::DeepSeekV3 { .. });
        let bias = (0..self.experts).filter(|_| has_bias).map(|_| 0.1 * number(false)).collect();
        let learned = matches!(policy, Policy::NoisyTopK { noise: NoiseScale::Learned { .. }, .. });
        let noise_logits =
            (0..len).filter(|_| learned && phase == Phase::Train).map(|_| number(false)).collect();
        let real = self.padded.then(|| (0..self.tokens).map(|_| number(false) > -1.5).collect());
        let mut draws = vec![0.0; router.draws_len(phase, self.tokens)];
        draw(router, phase, &mut random, &mut draws);
        Numbers { logits, real, bias, noise_logits, draws }
    }
}

impl Numbers {
    pub fn input(&self) -> RouterInput<'_, f64> {
        RouterInput {
            logits: &self.logits,
            real: self.real.as_deref(),
            bias: &self.bias,
            noise_logits: &self.noise_logits,
            draws: &self.draws,
            hashed: &[],
        }
    }

    pub fn is_real(&self, token: usize) -> bool {
        self.real.as_ref().is_none_or(|real| real[token])
    }
}
