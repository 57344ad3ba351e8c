//! Layers of language models around the experts, forward and backward.
//!
//! ```text
//!   ids ─► embedding ─► ┌ norm ─► (projections) ─► rotary ─► attention ─► + ┐ per layer ─► norm ─► (head) ─► cross entropy
//!                       └──────── norm ─► experts or dense layer ────────► + ┘
//! ```
//!
//! Products with weight matrices are not here: what attention takes is already projected. Functions take
//! `f32` or `f64` ([`Real`]); training runs in `f32`, gradients are checked in `f64`. Gradients of
//! parameters are added to, gradients of activations overwritten. What is said of shapes is row-major.

mod attention;
mod cross_entropy;
mod dropout;
mod embedding;
mod error;
mod key_value_cache;
mod latent;
mod latent_backward;
mod layer_norm;
mod position_bias;
mod rms_norm;
mod rotary;
mod rotary_scaling;
mod sinusoidal;

pub use crate::real::Real;
pub use attention::{
    Attention, AttentionGrads, AttentionShape, Pattern, Segments, Span, Visibility, attention_backward,
    attention_backward_scratch_len, attention_forward, attention_forward_by,
    attention_forward_by_scratch_len, attention_forward_scratch_len,
};
pub use cross_entropy::{
    CrossEntropy, IGNORED, LabelSmoothing, Loss, Reduction, Targets, cross_entropy_backward,
    cross_entropy_forward,
};
pub use dropout::Dropout;
pub use embedding::{Embedding, embedding_backward, embedding_forward, embedding_rows, tied_output_scale};
pub use error::NnError;
pub use key_value_cache::KeyValueCache;
pub use latent::{LatentShape, unfold_latent};
pub use latent_backward::unfold_latent_backward;
pub use layer_norm::{LayerNorm, LayerNormCache, LayerNormGrads, layer_norm_backward, layer_norm_forward};
pub use position_bias::{PositionBias, position_bias_backward, position_bias_forward};
pub use rms_norm::{NormShape, RmsNorm, RmsNormCache, rms_norm_backward, rms_norm_forward};
pub use rotary::{Pairing, Rotary, rotary_backward, rotary_forward, rotary_table};
pub use rotary_scaling::{RotaryScaling, YarnRamp, rotary_frequencies};
pub use sinusoidal::add_sinusoidal;
