//! Llama and its relatives: decoders with rotary positions and gated networks.

use mixlet_core::activation::Activation;
use mixlet_core::moe::experts::FfnKind;
use mixlet_core::moe::{Policy, RouterConfig};
use mixlet_core::nn::Pairing;
use serde_json::Value;

use super::hf::{activation, special_ids, stack};
use super::keys::{Keys, MOST_WIDE};
use super::rope::rotary;
use super::*;
use crate::error::ConfigProblem;

/// What differs between the relatives before any layer is looked at.
#[derive(Clone, Copy)]
pub(super) struct Traits {
    pub architecture: Architecture,
    pub attention: Attention,
    pub losses: RouterLosses,
}

/// `model_type` `llama` and `mistral`: dense.
pub(super) fn llama(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    let bias = keys.flag("attention_bias", false)?;
    keys.only("mlp_bias", &Value::from(false))?;
    let window = keys.whole("sliding_window")?;
    let attention = Attention { in_bias: bias, out_bias: bias, window, ..attention(keys)? };
    dense(keys, Traits { architecture: Architecture::Llama, attention, losses: RouterLosses::NONE })
}

/// `model_type` `qwen2`: dense, with biases before attention.
pub(super) fn qwen2(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    no_windows(keys)?;
    let attention = Attention { in_bias: true, ..attention(keys)? };
    dense(keys, Traits { architecture: Architecture::Llama, attention, losses: RouterLosses::NONE })
}

fn dense(keys: Keys<'_>, traits: Traits) -> Result<ModelConfig, ConfigProblem> {
    let network = Network { ffn_dim: keys.width("intermediate_size")?, kind: gated(keys)?, bias: false };
    decoder(keys, traits, |_| Ok(Block::Dense(network)))
}

/// `model_type` `mixtral`.
pub(super) fn mixtral(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    let policy = Policy::Mixtral { top_k: keys.experts("num_experts_per_tok")? };
    let network = Network { ffn_dim: keys.width("intermediate_size")?, kind: gated(keys)?, bias: false };
    let experts = dropless(keys.experts("num_local_experts")?, policy, network, None);
    let attention = Attention { window: keys.whole("sliding_window")?, ..attention(keys)? };
    let losses = balance(keys, 0.001)?;
    decoder(keys, Traits { architecture: Architecture::Mixtral, attention, losses }, |_| {
        Ok(Block::Experts(experts))
    })
}

/// `model_type` `olmoe`.
pub(super) fn olmoe(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    if keys.get("clip_qkv").is_some() {
        return Err(keys.refuse("clip_qkv", "null"));
    }
    let network = Network { ffn_dim: keys.width("intermediate_size")?, kind: gated(keys)?, bias: false };
    let experts = dropless(keys.experts("num_experts")?, softmax_policy(keys)?, network, None);
    let bias = keys.flag("attention_bias", false)?;
    let attention =
        Attention { in_bias: bias, out_bias: bias, qk_norm: Some(QkNorm::Token), ..attention(keys)? };
    let losses = balance(keys, 0.01)?;
    decoder(keys, Traits { architecture: Architecture::Olmoe, attention, losses }, |_| {
        Ok(Block::Experts(experts))
    })
}

/// `model_type` `qwen2_moe`.
pub(super) fn qwen2_moe(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    no_windows(keys)?;
    let kind = gated(keys)?;
    let network = Network { ffn_dim: keys.width("shared_expert_intermediate_size")?, kind, bias: false };
    let attention = Attention { in_bias: keys.flag("qkv_bias", true)?, ..attention(keys)? };
    let traits = Traits { architecture: Architecture::Qwen2Moe, attention, losses: balance(keys, 0.001)? };
    mixed(keys, traits, Some(SharedExpert { network, gated: true }))
}

/// `model_type` `qwen3_moe`.
pub(super) fn qwen3_moe(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    no_windows(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    let attention =
        Attention { in_bias: bias, out_bias: bias, qk_norm: Some(QkNorm::Heads), ..attention(keys)? };
    let traits = Traits { architecture: Architecture::Qwen3Moe, attention, losses: balance(keys, 0.001)? };
    mixed(keys, traits, None)
}

/// Experts in every so many layers, as Qwen's files say it.
fn mixed(keys: Keys<'_>, traits: Traits, shared: Option<SharedExpert>) -> Result<ModelConfig, ConfigProblem> {
    let kind = gated(keys)?;
    let dense = Network { ffn_dim: keys.width("intermediate_size")?, kind, bias: false };
    let network = Network { ffn_dim: keys.width("moe_intermediate_size")?, kind, bias: false };
    let experts = dropless(keys.experts("num_experts")?, softmax_policy(keys)?, network, shared);
    let step = keys.count_or("decoder_sparse_step", MOST_WIDE, 1)?;
    let always_dense = keys.list("mlp_only_layers")?.unwrap_or_default();
    decoder(keys, traits, |layer| {
        let is_sparse = (layer + 1) % step == 0 && !always_dense.contains(&Value::from(layer));
        Ok(if is_sparse { Block::Experts(experts) } else { Block::Dense(dense) })
    })
}

/// A decoder whose layers differ in their networks alone.
pub(super) fn decoder(
    keys: Keys<'_>,
    traits: Traits,
    network: impl Fn(usize) -> Result<Block, ConfigProblem>,
) -> Result<ModelConfig, ConfigProblem> {
    let layer = |layer| Ok(Layer { blocks: vec![Block::Attention(traits.attention), network(layer)?] });
    let (width, start) = match traits.attention.latent {
        Some(latent) => (latent.rotary_dim, traits.attention.head_dim - latent.rotary_dim),
        None => (traits.attention.head_dim, 0),
    };
    Ok(ModelConfig {
        architecture: traits.architecture,
        vocab: keys.width("vocab_size")?,
        model_dim: keys.width("hidden_size")?,
        embedding_scale: 1.0,
        positions: Positions::Rotary(RotaryConfig {
            width,
            start,
            pairing: Pairing::Halves,
            ..rotary(keys, width)?
        }),
        norm: Norm::Rms { epsilon: keys.positive("rms_norm_eps", 1e-6)? },
        head: Head { tied: keys.flag("tie_word_embeddings", false)?, scale: 1.0 },
        encoder: None,
        decoder: stack(keys.layers("num_hidden_layers")?, layer)?,
        router_losses: traits.losses,
        ids: special_ids(keys)?,
        max_positions: Some(keys.width("max_position_embeddings")?),
    })
}

/// Attention by `num_attention_heads`, `num_key_value_heads` and `head_dim`.
pub(super) fn attention(keys: Keys<'_>) -> Result<Attention, ConfigProblem> {
    let heads = keys.width("num_attention_heads")?;
    let kv_heads = keys.count_or("num_key_value_heads", MOST_WIDE, heads)?;
    let share = keys.width("hidden_size")? / heads;
    let head_dim = keys.count_or("head_dim", MOST_WIDE, share.max(1))?;
    Ok(Attention { kv_heads, ..Attention::plain(heads, head_dim) })
}

/// Experts that drop nothing.
pub(super) fn dropless(
    experts: u32,
    policy: Policy,
    network: Network,
    shared: Option<SharedExpert>,
) -> Experts {
    Experts {
        router: RouterConfig { experts, policy, ..RouterConfig::default() },
        by_sequence: false,
        router_bias: false,
        routes_padding: true,
        network,
        shared,
    }
}

/// A softmax over all experts; gates are divided by their sum if `norm_topk_prob` says so.
fn softmax_policy(keys: Keys<'_>) -> Result<Policy, ConfigProblem> {
    let top_k = keys.experts("num_experts_per_tok")?;
    let normalised = keys.flag("norm_topk_prob", false)?;
    Ok(if normalised { Policy::Mixtral { top_k } } else { Policy::Olmoe { top_k } })
}

pub(super) fn gated(keys: Keys<'_>) -> Result<FfnKind, ConfigProblem> {
    let activation: Activation = activation(keys, "hidden_act", "silu")?;
    Ok(FfnKind::Gated(activation))
}

pub(super) fn balance(keys: Keys<'_>, default: f64) -> Result<RouterLosses, ConfigProblem> {
    let balance = keys.number("router_aux_loss_coef", default)?;
    Ok(RouterLosses { balance, over: LossScope::Tokens, ..RouterLosses::NONE })
}

/// Qwen's windows differ by layer and are off in every published file.
fn no_windows(keys: Keys<'_>) -> Result<(), ConfigProblem> {
    keys.only("use_sliding_window", &Value::from(false))
}
