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

/// `model_type` `qwen3`: dense, with norms of the heads' queries and keys.
pub(super) fn qwen3(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    let attention = qwen3_attention(keys)?;
    dense(keys, Traits { architecture: Architecture::Llama, attention, losses: RouterLosses::NONE })
}

fn qwen3_attention(keys: Keys<'_>) -> Result<Attention, ConfigProblem> {
    no_windows(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    Ok(Attention { in_bias: bias, out_bias: bias, qk_norm: Some(QkNorm::Heads), ..attention(keys)? })
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
    let losses = balance(keys, 0.001)?;
    let traits = Traits { architecture: Architecture::Qwen3Moe, attention: qwen3_attention(keys)?, losses };
    mixed(keys, traits, None)
}

/// Experts in every so many layers, as Qwen's files say it. transformers 5 writes `num_local_experts` for Qwen3.
fn mixed(keys: Keys<'_>, traits: Traits, shared: Option<SharedExpert>) -> Result<ModelConfig, ConfigProblem> {
    let kind = gated(keys)?;
    let dense = Network { ffn_dim: keys.width("intermediate_size")?, kind, bias: false };
    let network = Network { ffn_dim: keys.width("moe_intermediate_size")?, kind, bias: false };
    let old = keys.get("num_experts").is_some() || keys.get("num_local_experts").is_none();
    let count = keys.experts(if old { "num_experts" } else { "num_local_experts" })?;
    let experts = dropless(count, softmax_policy(keys)?, network, shared);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of the Qwen3 family, with further keys.
    fn qwen3(kind: &str, more: &str) -> Result<ModelConfig, ConfigProblem> {
        let shape = r#""vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40"#;
        ModelConfig::from_hf(&format!(
            r#"{{"model_type": "{kind}", {shape}, "head_dim": 12, "max_position_embeddings": 64{more}}}"#
        ))
    }

    #[test]
    fn qwen3_counts_experts_under_either_key() {
        let sparse = |key: &str| {
            let more = format!(r#", "moe_intermediate_size": 24, "num_experts_per_tok": 2, "{key}": 6"#);
            qwen3("qwen3_moe", &more)
        };
        let old = sparse("num_experts").unwrap();
        assert_eq!(sparse("num_local_experts").unwrap(), old);
        let Block::Experts(experts) = old.decoder.layers[0].blocks[1] else { panic!("a dense layer") };
        assert_eq!((experts.router.experts, experts.network.ffn_dim), (6, 24));
        assert_eq!(sparse("experts").unwrap_err(), ConfigProblem::Missing { key: "num_experts" });
    }

    #[test]
    fn qwen3_norms_the_queries_and_keys_of_each_head() {
        let config = qwen3("qwen3", "").unwrap();
        let Block::Attention(attention) = config.decoder.layers[1].blocks[0] else { panic!("no attention") };
        assert_eq!((attention.qk_norm, attention.head_dim), (Some(QkNorm::Heads), 12));
        assert!(qwen3("qwen3", r#", "use_sliding_window": true"#).is_err());
    }
}
