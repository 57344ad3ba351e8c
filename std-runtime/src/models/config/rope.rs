//! Rotary positions: `rope_parameters` of transformers 5, `rope_theta` and `rope_scaling` before it.

use mixlet_core::nn::{Pairing, RotaryScaling, YarnRamp};

use super::RotaryConfig;
use super::keys::Keys;
use crate::error::ConfigProblem;

/// The base where files do not name one.
const THETA: f64 = 10_000.0;

/// Rotary positions over `width` values of a head, from the first on.
pub(super) fn rotary(keys: Keys<'_>, width: usize) -> Result<RotaryConfig, ConfigProblem> {
    let parameters = match keys.object("rope_parameters")? {
        Some(parameters) => Some(parameters),
        None => keys.object("rope_scaling")?,
    };
    let theta = keys.positive("rope_theta", THETA)?;
    let theta = parameters.map_or(Ok(theta), |parameters| parameters.positive("rope_theta", theta))?;
    let scaling = parameters.map_or(Ok(RotaryScaling::None), |parameters| scaling(keys, parameters))?;
    let partial = parameters.map_or(Ok(1.0), |parameters| parameters.number("partial_rotary_factor", 1.0))?;
    if keys.number("partial_rotary_factor", partial)? != 1.0 {
        return Err(keys.refuse("partial_rotary_factor", "1"));
    }
    Ok(RotaryConfig { width, start: 0, pairing: Pairing::Halves, theta, scaling })
}

fn scaling(keys: Keys<'_>, parameters: Keys<'_>) -> Result<RotaryScaling, ConfigProblem> {
    let kind = match parameters.text("rope_type")? {
        Some(kind) => Some(kind),
        None => parameters.text("type")?,
    };
    let original = |keys: Keys<'_>| {
        let trained = keys.positive("max_position_embeddings", 2048.0)?;
        parameters.positive("original_max_position_embeddings", trained)
    };
    match kind.unwrap_or("default") {
        "default" => Ok(RotaryScaling::None),
        "linear" => Ok(RotaryScaling::Linear { factor: parameters.positive("factor", 1.0)? }),
        "llama3" => Ok(RotaryScaling::Llama3 {
            factor: parameters.positive("factor", 8.0)?,
            low: parameters.positive("low_freq_factor", 1.0)?,
            high: parameters.positive("high_freq_factor", 4.0)?,
            original: original(keys)?,
        }),
        "yarn" => {
            let factor = parameters.positive("factor", 1.0)?;
            let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
            let (all, one) = (parameters.number("mscale_all_dim", 0.0)?, parameters.number("mscale", 0.0)?);
            let usual =
                if all != 0.0 && one != 0.0 { magnitude(one) / magnitude(all) } else { magnitude(1.0) };
            Ok(RotaryScaling::Yarn {
                factor,
                original: original(keys)?,
                ramp: YarnRamp {
                    fast: parameters.positive("beta_fast", 32.0)?,
                    slow: parameters.positive("beta_slow", 1.0)?,
                    whole: parameters.flag("truncate", true)?,
                },
                attention_factor: parameters.positive("attention_factor", usual)?,
            })
        }
        _ => Err(parameters.refuse("rope_type", "one of default, linear, llama3, yarn")),
    }
}
