//! GPT-OSS: windows in every other layer, sinks, biases everywhere, a clamped gate.

use mixlet_core::moe::Policy;
use mixlet_core::moe::experts::FfnKind;
use serde_json::Value;

use super::decoders::{Traits, attention, balance, decoder, dropless};
use super::keys::Keys;
use super::*;
use crate::error::ConfigProblem;

/// `model_type` `gpt_oss`.
pub(super) fn gpt_oss(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    let bias = keys.flag("attention_bias", true)?;
    let attention = Attention { in_bias: bias, out_bias: bias, sinks: true, ..attention(keys)? };
    let kind = FfnKind::ClampedSwiglu {
        alpha: keys.positive("swiglu_alpha", 1.702)? as f32,
        limit: keys.positive("swiglu_limit", 7.0)? as f32,
    };
    let network = Network { ffn_dim: keys.width("intermediate_size")?, kind, bias: true };
    let policy = Policy::SoftmaxAfterTopK { top_k: keys.experts("num_experts_per_tok")? };
    let experts = dropless(keys.experts("num_local_experts")?, policy, network, None);
    let experts = Experts { router_bias: true, ..experts };
    let traits = Traits { architecture: Architecture::GptOss, attention, losses: balance(keys, 0.9)? };
    let mut config = decoder(keys, traits, |_| Ok(Block::Experts(experts)))?;
    set_windows(keys, &mut config.decoder)?;
    Ok(config)
}

/// `layer_types` says which layers have a window; where it is absent, every other one does, from the first on.
fn set_windows(keys: Keys<'_>, stack: &mut Stack) -> Result<(), ConfigProblem> {
    let window = keys.width("sliding_window")?;
    let types = keys.list("layer_types")?;
    if types.is_some_and(|types| types.len() != stack.layers.len()) {
        return Err(keys.refuse("layer_types", "one for each layer"));
    }
    for (nth, layer) in stack.layers.iter_mut().enumerate() {
        let kind = types.map(|types| &types[nth]).and_then(Value::as_str);
        let windowed = match (kind, types) {
            (Some("sliding_attention"), _) => true,
            (Some("full_attention"), _) => false,
            (None, None) => nth % 2 == 0,
            _ => return Err(keys.refuse("layer_types", "a list of sliding_attention and full_attention")),
        };
        for block in &mut layer.blocks {
            if let (Block::Attention(attention), true) = (block, windowed) {
                attention.window = Some(window);
            }
        }
    }
    Ok(())
}
