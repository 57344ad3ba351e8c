//! Where tokens are: tables of turns, sines on embeddings, biases by distance.

use mixlet_core::nn::{
    NnError, PositionBias, Span, add_sinusoidal, position_bias_forward, rotary_frequencies, rotary_table,
};

use super::stack::Run;
use crate::linear::memory::sized;
use crate::models::config::{Attention, ModelConfig, Positions, Relative};

/// The inverse frequencies of a model's rotary positions; none where it has others.
pub(crate) fn frequencies(config: &ModelConfig) -> Result<Vec<f64>, NnError> {
    let Positions::Rotary(rotary) = config.positions else { return Ok(Vec::new()) };
    let mut out = vec![0.0; rotary.width / 2];
    rotary_frequencies(rotary.theta, rotary.scaling, &mut out)?;
    Ok(out)
}

/// The turns of a run's tokens, `[sequences, tokens, width]`. `mask` `[sequences, past + tokens]` is false for padding; the
/// first token that is none has position 0.
pub(crate) fn table(run: &Run<'_>, frequencies: &[f64], mask: Option<&[bool]>) -> Result<Vec<f32>, NnError> {
    let Positions::Rotary(rotary) = run.model.config.positions else { return Ok(Vec::new()) };
    let seen = run.past + run.tokens;
    let before = |sequence: usize| {
        let own = mask.and_then(|mask| mask.get(sequence * seen..(sequence + 1) * seen));
        own.and_then(|own| own.iter().position(|real| *real)).unwrap_or(0)
    };
    let positions: Vec<u32> = (0..run.sequences)
        .flat_map(|sequence| {
            let before = before(sequence);
            (run.past..seen).map(move |place| place.saturating_sub(before) as u32)
        })
        .collect();
    let mut out = vec![0.0; positions.len() * rotary.width];
    rotary_table(&positions, frequencies, rotary.scaling.table_factor(), &mut out)?;
    Ok(out)
}

/// Adds sines and cosines to the embeddings of `[sequences, tokens]` ids. Padding, by its id, has no position and counts for
/// none.
pub(crate) fn add(
    config: &ModelConfig,
    (ids, tokens): (&[u32], usize),
    first: usize,
    out: &mut [f32],
) -> Result<(), NnError> {
    let mut positions = Vec::with_capacity(ids.len());
    for sequence in ids.chunks(tokens.max(1)) {
        let mut next = first as u32;
        for id in sequence {
            let is_real = config.ids.pad != Some(*id);
            positions.push(is_real.then_some(next));
            next += u32::from(is_real);
        }
    }
    add_sinusoidal(&positions, config.model_dim, out)
}

/// Writes the biases of a stack, `[heads, distances]`, where a block brings a table.
pub(crate) fn biases(
    attention: &Attention,
    table: Option<&[f32]>,
    span: Span,
    out: &mut Vec<f32>,
) -> Result<(), NnError> {
    let (Some(relative), Some(table)) = (attention.relative, table) else { return Ok(()) };
    let Relative { buckets, max_distance, bidirectional, .. } = relative;
    let bias = PositionBias { heads: attention.heads, buckets, max_distance, bidirectional };
    let line = sized(out, attention.heads * span.distances());
    position_bias_forward(bias, span, table, line)
}
