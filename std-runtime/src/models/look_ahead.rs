//! Routers that a decoder cannot have: those that look at tokens which are not written yet.
//!
//! Where experts choose their tokens, and where places go by probability, a token's experts depend on the tokens after it. A
//! decoder that reads a text at once then sees what it is to predict (arXiv:2408.15664, appendix D, puts the leak at 5.6 bits
//! a token and layer for 16 experts), and a token that is decoded alone is chosen by every expert. So
//! [`Session`](super::forward::Session) refuses such a model, until its configuration says how tokens choose instead.
//!
//! Ranks are let pass: there a later token's first choice can take the place of an earlier one's second, but only where a
//! capacity is full, and NLLB-MoE is published so.

use mixlet_core::moe::{CapacityRule, Phase, Policy, Priority, RouterConfig};

use super::config::{Block, Experts, ModelConfig};
use crate::error::LmProblem;

impl ModelConfig {
    /// An error that names the first router of the decoder that looks at later tokens.
    pub fn check_causal(&self) -> Result<(), LmProblem> {
        let layers = self.decoder.layers.iter().enumerate();
        let mut routers = layers.flat_map(|(nth, layer)| layer.blocks.iter().map(move |block| (nth, block)));
        let found = routers.find_map(|(layer, block)| match block {
            Block::Experts(experts) => how(&experts.router).map(|how| LmProblem::LooksAhead { layer, how }),
            _ => None,
        });
        found.map_or(Ok(()), Err)
    }

    /// Lets every token of the decoder choose for itself where its router would look at later tokens.
    ///
    /// Where experts chose, a token now takes as many experts as chose one on average, at least one, those of its highest
    /// probabilities, which weigh them as before, and none is dropped. Where places went by probability or by chance, they go in
    /// the order of the tokens. The encoder stays as it is.
    ///
    /// ```
    /// # use mixlet_core::moe::{Policy, Priority, RouterConfig};
    /// # use mixlet_runtime::models::{config::Block, presets};
    /// let mut config = presets::find("switch_base_8").unwrap();
    /// for block in config.decoder.layers.iter_mut().flat_map(|layer| &mut layer.blocks) {
    ///     if let Block::Experts(experts) = block {
    ///         experts.router.priority = Priority::Batch;
    ///     }
    /// }
    /// assert!(config.check_causal().is_err());
    /// config.choose_by_token();
    /// assert_eq!(Some(config), presets::find("switch_base_8"));
    /// ```
    pub fn choose_by_token(&mut self) {
        let blocks = self.decoder.layers.iter_mut().flat_map(|layer| &mut layer.blocks);
        for block in blocks {
            if let Block::Experts(Experts { router, .. }) = block {
                if router.policy.top_k().is_none() {
                    router.policy = Policy::Flaxformer { top_k: experts_per_token(router) };
                    router.capacity = CapacityRule::Dropless;
                }
                if looks_at_the_batch(router.priority) {
                    router.priority = Priority::Ranks;
                }
            }
        }
    }
}

/// What a router does that depends on later tokens.
fn how(router: &RouterConfig) -> Option<&'static str> {
    match router.policy.top_k() {
        None => Some("experts choose their tokens"),
        Some(top_k) => {
            let drops = router.capacity.rows(1, router.experts, top_k, Phase::Eval).is_some();
            let looks = drops && looks_at_the_batch(router.priority);
            looks.then_some("places do not go by the order of tokens")
        }
    }
}

fn looks_at_the_batch(priority: Priority) -> bool {
    match priority {
        Priority::Ranks | Priority::Slots => false,
        Priority::Batch | Priority::Gates | Priority::Random => true,
    }
}

/// Experts that a token is chosen by, on average.
pub(super) fn experts_per_token(router: &RouterConfig) -> u32 {
    /// So many tokens that rounding does not matter.
    const MANY: usize = 1 << 20;
    let places = router.capacity.rows(MANY, router.experts, 1, Phase::Eval).unwrap_or(0);
    let average = (u64::from(places) * u64::from(router.experts)).div_ceil(MANY as u64) as u32;
    average.clamp(1, router.experts.max(1))
}
