//! Attention as a block: projections, norms, turns, the sequences one by one, and the projection back.

mod heads;

use mixlet_core::nn::{LatentShape, Pattern, Rotary, unfold_latent};

use super::cache::{Encoded, Lines};
use super::kernels::RotaryForward;
use super::linear::{linear, linears};
use super::norm::rms_norm_in_place;
use super::space::Space;
use super::stack::Run;
use super::watch::Side;
use crate::error::Result;
use crate::linear::memory::sized;
use crate::models::config::{Attention, Latent, Norm, Positions};
use crate::models::tensor::Linear;
use crate::models::weights::{AttentionWeights, LatentQuery, LatentWeights, Projection};
use crate::simd::wide;
use heads::Attend;

/// Added to the mean square in the norms between matrices of low rank, whatever the configuration says of other norms.
pub(crate) const LATENT_EPSILON: f64 = 1e-6;

/// Whose keys and values are attended to.
pub(super) enum Sources<'a> {
    /// Those of the run's tokens alone.
    Run,
    /// Those of all tokens of the stack so far; the run's are added.
    Cache {
        /// Where they lie.
        lines: &'a mut Lines,
        /// Tokens of a sequence that fit there.
        capacity: usize,
        /// `[sequences, past + tokens]`: false for padding.
        mask: Option<&'a [bool]>,
    },
    /// Those of the encoder.
    Encoded {
        /// Where they lie.
        lines: &'a Lines,
        /// How many there are, and whose.
        encoded: &'a Encoded,
    },
}

/// What attention adds to the normed tokens in `space.normed`, into `space.out`.
pub(super) fn attend_block(
    run: &Run<'_>,
    (attention, weights): (&Attention, &AttentionWeights),
    sources: Sources<'_>,
    turns: &[f32],
    space: &mut Space,
) -> Result<()> {
    let rows = run.sequences * run.tokens;
    match (&weights.projection, &sources) {
        (_, Sources::Encoded { .. }) => project_queries(run, (attention, weights), turns, space)?,
        (Projection::Plain(plain), _) => project_all(run, (attention, weights), plain, turns, space)?,
        (Projection::Latent(_), _) => {
            project_queries(run, (attention, weights), turns, space)?;
            project_keys(run, (attention, weights), turns, space)?;
        }
    }
    let Space { q, k, v, attended, out, biases, .. } = space;
    let (k, v) = (&k[..], &v[..]);
    let attended = sized(attended, rows * attention.out_width());
    let span = run.span();
    let call = Attend {
        attention,
        span,
        pattern: pattern(run.side, attention.window),
        q: &q[..rows * attention.q_width()],
        keys: k,
        values: v,
        stride: run.tokens,
        mask: run.real,
        inputs: None,
        biases: attention.relative.map(|_| &biases[..attention.heads * span.distances()]),
        sinks: weights.sinks.as_deref(),
    };
    match sources {
        Sources::Run => call.run(attended)?,
        Sources::Cache { lines, capacity, mask } => {
            let (k, v) = (&k[..rows * attention.k_width()], &v[..rows * attention.v_width()]);
            lines.write(attention, (capacity, run.past), k, v);
            let (keys, values) = (&lines.keys[..], &lines.values[..]);
            Attend { keys, values, stride: capacity, mask, ..call }.run(attended)?;
        }
        Sources::Encoded { lines, encoded } => call.to_encoded(lines, encoded).run(attended)?,
    }
    linear(weights.out.get()?, run.operands, attended, &mut out[..rows * run.model.config.model_dim])?;
    Ok(())
}

/// Which tokens of its own stack a token sees.
pub(crate) fn pattern(side: Side, window: Option<usize>) -> Pattern {
    match (side, window) {
        (Side::Encoder, _) => Pattern::Full,
        (Side::Decoder, None) => Pattern::Causal,
        (Side::Decoder, Some(window)) => Pattern::Window(window),
    }
}

/// Keys and values of the encoder's states for one block of the decoder.
pub(super) fn project_cross(
    run: &Run<'_>,
    attention: &Attention,
    weights: &AttentionWeights,
    states: &[f32],
    space: &mut Space,
) -> Result<Lines> {
    sized(&mut space.normed, states.len()).copy_from_slice(states);
    project_keys(run, (attention, weights), &[], space)?;
    let rows = run.sequences * run.tokens;
    let (keys, values) = (&space.k[..rows * attention.k_width()], &space.v[..rows * attention.v_width()]);
    Ok(Lines { keys: keys.to_vec(), values: values.to_vec() })
}

/// `space.q`, `space.k` and `space.v` at once, where each has a matrix of its own: threads share all three.
fn project_all(
    run: &Run<'_>,
    (attention, weights): (&Attention, &AttentionWeights),
    [to_q, to_k, to_v]: &[Linear; 3],
    turns: &[f32],
    space: &mut Space,
) -> Result<()> {
    let rows = run.sequences * run.tokens;
    let Space { normed, q, k, v, low: [spare, ..], .. } = space;
    let x = &normed[..rows * run.model.config.model_dim];
    let (q, k) = (sized(q, rows * attention.q_width()), sized(k, rows * attention.k_width()));
    let v = sized(v, rows * attention.v_width());
    linears(run.operands, x, [(to_q.get()?, &mut *q), (to_k.get()?, &mut *k), (to_v.get()?, v)])?;
    if let Some([of_q, of_k]) = &weights.qk_norms {
        rms_norm_in_place(epsilon(run), of_q, q, spare)?;
        rms_norm_in_place(epsilon(run), of_k, k, spare)?;
    }
    turn(run, attention, attention.heads, turns, q)?;
    turn(run, attention, attention.kv_heads, turns, k)
}

/// `space.q` from `space.normed`: projected, normed, turned.
fn project_queries(
    run: &Run<'_>,
    (attention, weights): (&Attention, &AttentionWeights),
    turns: &[f32],
    space: &mut Space,
) -> Result<()> {
    let rows = run.sequences * run.tokens;
    let x = &space.normed[..rows * run.model.config.model_dim];
    let q = sized(&mut space.q, rows * attention.q_width());
    let plain = match &weights.projection {
        Projection::Plain(plain) => &plain[0],
        Projection::Latent(latent) => match &latent.query {
            LatentQuery::Plain(plain) => plain,
            LatentQuery::Low { down, norm, up } => {
                let [low, spare, _] = &mut space.low;
                let low = sized(low, rows * norm.len());
                linear(down.get()?, run.operands, x, low)?;
                rms_norm_in_place(LATENT_EPSILON, norm, low, spare)?;
                linear(up.get()?, run.operands, low, q)?;
                return turn(run, attention, attention.heads, turns, q);
            }
        },
    };
    linear(plain.get()?, run.operands, x, q)?;
    if let Some([weight, _]) = &weights.qk_norms {
        rms_norm_in_place(epsilon(run), weight, q, &mut space.low[0])?;
    }
    turn(run, attention, attention.heads, turns, q)
}

/// `space.k` and `space.v` from `space.normed`: projected, normed, turned.
fn project_keys(
    run: &Run<'_>,
    (attention, weights): (&Attention, &AttentionWeights),
    turns: &[f32],
    space: &mut Space,
) -> Result<()> {
    let rows = run.sequences * run.tokens;
    let [_, to_k, to_v] = match &weights.projection {
        Projection::Plain(plain) => &**plain,
        Projection::Latent(latent) => return unfold(run, attention, latent, turns, space),
    };
    let x = &space.normed[..rows * run.model.config.model_dim];
    let k = sized(&mut space.k, rows * attention.k_width());
    linear(to_k.get()?, run.operands, x, k)?;
    linear(to_v.get()?, run.operands, x, sized(&mut space.v, rows * attention.v_width()))?;
    if let Some([_, weight]) = &weights.qk_norms {
        rms_norm_in_place(epsilon(run), weight, k, &mut space.low[0])?;
    }
    turn(run, attention, attention.kv_heads, turns, k)
}

/// The same through a low rank: what tells positions is split off, the rest normed and unfolded.
fn unfold(
    run: &Run<'_>,
    attention: &Attention,
    weights: &LatentWeights,
    turns: &[f32],
    space: &mut Space,
) -> Result<()> {
    let Some(Latent { kv_rank, rotary_dim, .. }) = attention.latent else { return Ok(()) };
    let rows = run.sequences * run.tokens;
    let [low, positions, folded] = &mut space.low;
    let all = sized(&mut space.v, rows * (kv_rank + rotary_dim));
    linear(weights.down.get()?, run.operands, &space.normed[..rows * run.model.config.model_dim], all)?;
    low.clear();
    positions.clear();
    for row in all.chunks_exact(kv_rank + rotary_dim) {
        low.extend_from_slice(&row[..kv_rank]);
        positions.extend_from_slice(&row[kv_rank..]);
    }
    let pairing = match run.model.config.positions {
        Positions::Rotary(rotary) => rotary.pairing,
        _ => return Ok(()),
    };
    let rotary = Rotary { heads: 1, head_dim: rotary_dim, start: 0, width: rotary_dim, pairing };
    wide(RotaryForward { rotary, table: turns, values: positions })?;
    rms_norm_in_place(LATENT_EPSILON, &weights.norm, low, folded)?;
    let folded = sized(folded, rows * weights.up.matrix.outputs());
    linear(weights.up.get()?, run.operands, low, folded)?;
    let Attention { heads, head_dim, value_dim, .. } = *attention;
    let shape = LatentShape { tokens: rows, heads, head_dim, rotary_dim, value_dim };
    let k = sized(&mut space.k, rows * attention.k_width());
    let v = sized(&mut space.v, rows * attention.v_width());
    unfold_latent(shape, folded, positions, k, v)?;
    Ok(())
}

/// Turns queries or keys, where the model has rotary positions and the block is no cross attention.
fn turn(run: &Run<'_>, attention: &Attention, heads: usize, turns: &[f32], values: &mut [f32]) -> Result<()> {
    if let (Positions::Rotary(rotary), false) = (run.model.config.positions, turns.is_empty()) {
        let (head_dim, start, width) = (attention.head_dim, rotary.start, rotary.width);
        let rotary = Rotary { heads, head_dim, start, width, pairing: rotary.pairing };
        wide(RotaryForward { rotary, table: turns, values })?;
    }
    Ok(())
}

fn epsilon(run: &Run<'_>) -> f64 {
    match run.model.config.norm {
        Norm::Rms { epsilon } | Norm::Layer { epsilon } => epsilon,
    }
}
