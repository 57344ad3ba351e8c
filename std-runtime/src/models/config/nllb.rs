//! NLLB-MoE: biases everywhere, layer norms, sinusoidal positions, GShard routing.

use mixlet_core::moe::experts::FfnKind;
use mixlet_core::moe::{ByPhase, CapacityRule, Policy, Priority, RouterConfig, SecondExpert};
use serde_json::Value;

use super::hf::{activation, special_ids, stack};
use super::keys::{Keys, MOST_WIDE};
use super::*;
use crate::error::ConfigProblem;

/// `model_type` `nllb-moe`.
pub(super) fn nllb(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    let model_dim = keys.width("d_model")?;
    let kind = FfnKind::Plain(activation(keys, "activation_function", "relu")?);
    let side = |layers: &'static str, heads, ffn_dim, step, cross: bool| {
        let (heads, step) = (keys.width(heads)?, keys.whole(step)?.unwrap_or(4));
        let network = Network { ffn_dim: keys.width(ffn_dim)?, kind, bias: true };
        let (own, experts) = (attention(keys, model_dim, heads)?, experts(keys, network)?);
        stack(keys.layers(layers)?, |layer| {
            let is_sparse = step > 0 && (layer + 1).is_multiple_of(step);
            let network = if is_sparse { Block::Experts(experts) } else { Block::Dense(network) };
            let cross = cross.then_some(Block::CrossAttention(own));
            Ok(Layer { blocks: [Block::Attention(own)].into_iter().chain(cross).chain([network]).collect() })
        })
    };
    let encoder =
        side("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "encoder_sparse_step", false)?;
    let decoder =
        side("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", "decoder_sparse_step", true)?;
    let mut ids = special_ids(keys)?;
    let pad = *ids.pad.get_or_insert(1);
    ids.decoder_start = ids.decoder_start.or(ids.end.first().copied());
    let first = pad.checked_add(1).ok_or_else(|| keys.refuse("pad_token_id", "an id"))?;
    Ok(ModelConfig {
        architecture: Architecture::Nllb,
        vocab: keys.width("vocab_size")?,
        model_dim,
        embedding_scale: if keys.flag("scale_embedding", true)? { (model_dim as f64).sqrt() } else { 1.0 },
        positions: Positions::Sinusoidal { first },
        norm: Norm::Layer { epsilon: 1e-5 },
        head: Head { tied: keys.flag("tie_word_embeddings", true)?, scale: 1.0 },
        encoder: Some(encoder),
        decoder,
        // The published code adds nothing to the loss: it fails where it is asked to.
        router_losses: RouterLosses::NONE,
        ids,
        max_positions: None,
    })
}

fn attention(keys: Keys<'_>, model_dim: usize, heads: usize) -> Result<Attention, ConfigProblem> {
    if !model_dim.is_multiple_of(heads) {
        return Err(keys.refuse("d_model", "a multiple of the heads"));
    }
    Ok(Attention { in_bias: true, out_bias: true, ..Attention::plain(heads, model_dim / heads) })
}

fn experts(keys: Keys<'_>, network: Network) -> Result<Experts, ConfigProblem> {
    if keys.text("second_expert_policy")?.unwrap_or("all") != "all" {
        return Err(keys.refuse("second_expert_policy", "all: the others are random"));
    }
    let normalise_first = keys.flag("normalize_router_prob_before_dropping", false)?;
    let policy = if normalise_first {
        Policy::GShard { second: ByPhase::both(SecondExpert::All) }
    } else {
        Policy::DeepSpeedTop2 { sample_second: ByPhase::both(false) }
    };
    let by_rank = !keys.flag("batch_prioritized_routing", false)?;
    let experts = keys.experts("num_experts")?;
    Ok(Experts {
        router: RouterConfig {
            experts,
            policy,
            capacity: capacity(keys, experts)?,
            priority: if by_rank { Priority::Ranks } else { Priority::Batch },
            ..RouterConfig::default()
        },
        by_sequence: false,
        router_bias: keys.flag("router_bias", false)?,
        // The key says the opposite of what the published code does with it.
        routes_padding: keys.get("router_ignore_padding_tokens") == Some(&Value::from(true)),
        network,
        shared: None,
    })
}

/// In evaluation a share of the tokens where that is above 0 (nothing is dropped from 1 on), else a number.
fn capacity(keys: Keys<'_>, experts: u32) -> Result<CapacityRule, ConfigProblem> {
    let share = keys.number("moe_eval_capacity_token_fraction", 1.0)?;
    if share >= 1.0 {
        return Ok(CapacityRule::Dropless);
    }
    if share > 0.0 {
        // GShard's rule is ⌈2·T·f / E⌉.
        return Ok(CapacityRule::GShard(ByPhase::both(share * f64::from(experts) / 2.0)));
    }
    match keys.get("expert_capacity") {
        Some(_) => Ok(CapacityRule::Fixed(ByPhase::both(keys.count("expert_capacity", MOST_WIDE)? as u32))),
        None => Err(keys.refuse("expert_capacity", "a number of tokens")),
    }
}
