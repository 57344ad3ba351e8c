//! DeepSeek-V3: attention through low ranks, sigmoid routing within groups, a shared expert.

use mixlet_core::moe::Policy;
use mixlet_core::nn::Pairing;

use super::decoders::{Traits, attention, decoder, dropless, gated};
use super::keys::Keys;
use super::rope::rotary;
use super::*;
use crate::error::ConfigProblem;

/// `model_type` `deepseek_v3`. Layers that predict further tokens (`num_nextn_predict_layers`) are left out, as
/// transformers does.
pub(super) fn deepseek_v3(keys: Keys<'_>) -> Result<ModelConfig, ConfigProblem> {
    let kind = gated(keys)?;
    let dense = Network { ffn_dim: keys.width("intermediate_size")?, kind, bias: false };
    let ffn_dim = keys.width("moe_intermediate_size")?;
    let shared = keys.whole("n_shared_experts")?.unwrap_or(0);
    let shared = (shared > 0).then(|| SharedExpert {
        network: Network { ffn_dim: ffn_dim.saturating_mul(shared), kind, bias: false },
        gated: false,
    });
    let policy = Policy::DeepSeekV3 {
        top_k: keys.experts("num_experts_per_tok")?,
        expert_groups: keys.experts("n_group")?,
        kept_groups: keys.experts("topk_group")?,
        normalise: keys.flag("norm_topk_prob", true)?,
        scale: keys.positive("routed_scaling_factor", 1.0)?,
    };
    let network = Network { ffn_dim, kind, bias: false };
    let experts = dropless(keys.experts("n_routed_experts")?, policy, network, shared);
    let first_sparse = keys.whole("first_k_dense_replace")?.unwrap_or(0);
    let attention = latent_attention(keys)?;
    let traits = Traits { architecture: Architecture::DeepSeekV3, attention, losses: RouterLosses::NONE };
    let mut config = decoder(keys, traits, |layer| {
        Ok(if layer >= first_sparse { Block::Experts(experts) } else { Block::Dense(dense) })
    })?;
    if let Positions::Rotary(rotary) = &mut config.positions
        && keys.flag("rope_interleave", true)?
    {
        rotary.pairing = Pairing::Interleaved;
    }
    Ok(config)
}

/// Heads of `qk_nope_head_dim` values without a position, then `qk_rope_head_dim` with one.
fn latent_attention(keys: Keys<'_>) -> Result<Attention, ConfigProblem> {
    let plain = attention(keys)?;
    if plain.kv_heads != plain.heads {
        return Err(keys.refuse("num_key_value_heads", "the number of heads"));
    }
    let rotary_dim = keys.width("qk_rope_head_dim")?;
    let head_dim = keys.width("qk_nope_head_dim")? + rotary_dim;
    let q_rank = keys.whole("q_lora_rank")?;
    let bias = keys.flag("attention_bias", false)?;
    if bias {
        return Err(keys.refuse("attention_bias", "false"));
    }
    // YaRN raises the scale as well, by the square of the magnitude for all dimensions.
    let magnitude = match rotary(keys, rotary_dim)?.scaling {
        RotaryScaling::Yarn { factor, .. } if factor > 1.0 => {
            let parameters = keys.object("rope_parameters")?.or(keys.object("rope_scaling")?);
            let all = parameters.map_or(Ok(0.0), |parameters| parameters.number("mscale_all_dim", 0.0))?;
            0.1 * all * factor.ln() + 1.0
        }
        _ => 1.0,
    };
    Ok(Attention {
        head_dim,
        value_dim: keys.width("v_head_dim")?,
        scale: magnitude * magnitude / (head_dim as f64).sqrt(),
        latent: Some(Latent { q_rank, kv_rank: keys.width("kv_lora_rank")?, rotary_dim }),
        ..plain
    })
}
