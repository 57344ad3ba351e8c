//! T5 (v1.0 and v1.1) and Switch Transformers.

use mixlet_core::activation::Activation;
use mixlet_core::moe::experts::FfnKind;
use mixlet_core::moe::{ByPhase, CapacityRule, Policy, RouterConfig, SwitchChoice};
use mixlet_core::nn::tied_output_scale;
use serde_json::Value;

use super::hf::{activation, special_ids, stack};
use super::keys::{Keys, MOST_LAYERS, MOST_WIDE};
use super::*;
use crate::error::ConfigProblem;

/// `model_type` `t5`.
pub(super) fn t5(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    let ffn_dim = keys.width("d_ff")?;
    let dense = Network { ffn_dim, kind: network_kind(keys)?, bias: false };
    model(keys, Architecture::T5, RouterLosses::NONE, |_, _| Block::Dense(dense))
}

/// `model_type` `switch_transformers`.
pub(super) fn switch(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    // The number of layers over that of sparse ones; files hold both.
    let steps = [keys.whole("encoder_sparse_step")?, keys.whole("decoder_sparse_step")?];
    let kind = FfnKind::Plain(activation(keys, "dense_act_fn", "relu")?);
    let network = Network { ffn_dim: keys.width("d_ff")?, kind, bias: false };
    let capacity = keys.count("expert_capacity", MOST_WIDE)? as u32;
    let experts = Experts {
        router: RouterConfig {
            experts: keys.experts("num_experts")?,
            policy: Policy::Switch { choice: ByPhase::both(SwitchChoice::Argmax) },
            capacity: CapacityRule::Fixed(ByPhase::both(capacity)),
            ..RouterConfig::default()
        },
        by_sequence: true,
        router_bias: keys.flag("router_bias", false)?,
        // `router_ignore_padding_tokens` is a setting that the published code does not look at.
        routes_padding: true,
        network,
        shared: None,
    };
    let losses = RouterLosses {
        balance: keys.number("router_aux_loss_coef", 0.001)?,
        z: keys.number("router_z_loss_coef", 0.001)?,
        over: LossScope::Sequences,
        ..RouterLosses::NONE
    };
    model(keys, Architecture::Switch, losses, |side, layer| match steps[side] {
        Some(1) => Block::Experts(experts),
        Some(step) if step > 1 && layer % step == 1 => Block::Experts(experts),
        _ => Block::Dense(network),
    })
}

/// Both, but for the network of each layer, which is asked for by stack (0 is the encoder) and layer.
fn model(
    keys: Keys<'_>,
    architecture: Architecture,
    router_losses: RouterLosses,
    network: impl Fn(usize, usize) -> Block,
) -> Result<ModelConfig, ConfigProblem> {
    keys.only("is_encoder_decoder", &Value::from(true))?;
    let model_dim = keys.width("d_model")?;
    let (encoder, decoder) = stacks(keys, network)?;
    let tied = keys.flag("tie_word_embeddings", true)?;
    // Later files say so themselves, and tie heads whose logits are not scaled.
    let is_scaled = keys.flag("scale_decoder_outputs", tied)?;
    let mut ids = special_ids(keys)?;
    ids.pad = ids.pad.or(Some(0));
    ids.decoder_start = ids.decoder_start.or(ids.pad);
    Ok(ModelConfig {
        architecture,
        vocab: keys.width("vocab_size")?,
        model_dim,
        embedding_scale: 1.0,
        positions: Positions::Relative,
        norm: Norm::Rms { epsilon: keys.positive("layer_norm_epsilon", 1e-6)? },
        head: Head { tied, scale: if is_scaled { tied_output_scale(model_dim) } else { 1.0 } },
        encoder: Some(encoder),
        decoder,
        router_losses,
        ids,
        max_positions: None,
    })
}

/// The encoder and the decoder.
fn stacks(keys: Keys<'_>, network: impl Fn(usize, usize) -> Block) -> Result<(Stack, Stack), ConfigProblem> {
    let layers = keys.layers("num_layers")?;
    let decoder_layers = keys.count_or("num_decoder_layers", MOST_LAYERS, layers)?;
    let attention = attention(keys)?;
    let own = |layer: usize, bidirectional| Attention {
        relative: attention.relative.map(|it| Relative { bidirectional, own_table: layer == 0, ..it }),
        ..attention
    };
    let cross = Attention { relative: None, ..attention };
    let encoder = stack(layers, |layer| {
        Ok(Layer { blocks: vec![Block::Attention(own(layer, true)), network(0, layer)] })
    })?;
    let decoder = stack(decoder_layers, |layer| {
        let blocks =
            vec![Block::Attention(own(layer, false)), Block::CrossAttention(cross), network(1, layer)];
        Ok(Layer { blocks })
    })?;
    Ok((encoder, decoder))
}

fn attention(keys: Keys<'_>) -> Result<Attention, ConfigProblem> {
    let (heads, head_dim) = (keys.width("num_heads")?, keys.width("d_kv")?);
    let buckets = keys.count_or("relative_attention_num_buckets", MOST_WIDE, 32)?;
    if buckets < 4 {
        return Err(keys.refuse("relative_attention_num_buckets", "at least 4"));
    }
    let max_distance = keys.count_or("relative_attention_max_distance", MOST_WIDE, 128)?;
    if max_distance <= buckets / 2 {
        return Err(keys.refuse("relative_attention_max_distance", "more than half the buckets"));
    }
    let relative = Relative { buckets, max_distance, bidirectional: true, own_table: false };
    Ok(Attention { scale: 1.0, relative: Some(relative), ..Attention::plain(heads, head_dim) })
}

/// `feed_forward_proj`: an activation, with `gated-` before it where there is a gate; `gated-gelu` means the approximation.
fn network_kind(keys: Keys<'_>) -> Result<FfnKind, ConfigProblem> {
    match keys.text("feed_forward_proj")?.unwrap_or("relu") {
        "relu" => Ok(FfnKind::Plain(Activation::Relu)),
        "gelu" => Ok(FfnKind::Plain(Activation::GeluErf)),
        "silu" => Ok(FfnKind::Plain(Activation::Silu)),
        "gated-gelu" => Ok(FfnKind::Gated(Activation::GeluTanh)),
        "gated-relu" => Ok(FfnKind::Gated(Activation::Relu)),
        "gated-silu" => Ok(FfnKind::Gated(Activation::Silu)),
        _ => Err(keys.refuse("feed_forward_proj", "an activation such as relu or gated-gelu")),
    }
}
