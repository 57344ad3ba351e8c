//! Layers of language models.

use mixlet_core::linear::Plain;
use mixlet_core::nn::*;

use crate::call;
use crate::unknown::{Random, Unknown, any};

pub fn all<R: Real + Unknown>() {
    attention::<R>();
    positions::<R>();
    layers::<R>();
    loss::<R>();
}

fn attention<R: Real + Unknown>() {
    call(|| Span::distances(&any()));
    call(|| AttentionShape::q_len(&any()));
    call(|| AttentionShape::k_len(&any()));
    call(|| AttentionShape::v_len(&any()));
    call(|| AttentionShape::out_len(&any()));
    call(|| AttentionShape::log_sums_len(&any()));
    call(|| AttentionShape::distance_bias_len(&any()));
    call(|| attention_forward_scratch_len(any()));
    call(|| attention_forward::<R>(&any(), any(), any(), any()));
    call(|| attention_forward_by_scratch_len(any()));
    call(|| attention_forward_by::<Plain>(&any(), any(), any(), any()));
    call(|| attention_backward_scratch_len(any()));
    call(|| attention_backward::<R>(&any(), any(), any(), any(), any()));
    call(|| unfold_latent::<R>(any(), any(), any(), any(), any()));
    call(|| unfold_latent_backward::<R>(any(), any(), any(), any(), any()));
    call(|| KeyValueCache::<R>::new(any(), any(), any()).is_ok());
    call(|| KeyValueCache::<R>::capacity(&any()));
    call(|| KeyValueCache::<R>::tokens(&any()));
    call(|| KeyValueCache::<R>::keys(&any()).len());
    call(|| KeyValueCache::<R>::values(&any()).len());
    call(|| KeyValueCache::<R>::append(&mut any(), any(), any()));
    call(|| KeyValueCache::<R>::truncate(&mut any(), any()));
}

fn positions<R: Real + Unknown>() {
    call(|| PositionBias::table_len(&any()));
    call(|| PositionBias::bucket(&any(), any()));
    call(|| position_bias_forward::<R>(any(), any(), any(), any()));
    call(|| position_bias_backward::<R>(any(), any(), any(), any()));
    call(|| RotaryScaling::table_factor(&any()));
    call(|| rotary_frequencies(any(), any(), any()));
    call(|| add_sinusoidal::<R>(any(), any(), any()));
    call(|| rotary_table::<R>(any(), any(), any(), any()));
    call(|| rotary_forward::<R>(any(), any(), any()));
    call(|| rotary_backward::<R>(any(), any(), any()));
}

fn layers<R: Real + Unknown>() {
    call(|| Embedding::table_len(&any()));
    call(|| tied_output_scale(any()));
    call(|| embedding_forward::<R>(any(), any(), any(), any()));
    call(|| embedding_rows(any(), any(), any(), any()));
    call(|| embedding_backward::<R>(any(), any(), any(), any()));
    call(|| NormShape::len(&any()));
    call(|| NormShape::is_empty(&any()));
    call(|| layer_norm_forward::<R>(any(), any(), any(), any(), any(), any()));
    call(|| layer_norm_backward::<R>(any(), any(), any(), any(), any()));
    call(|| rms_norm_forward::<R>(any(), any(), any(), any(), any(), any()));
    call(|| rms_norm_backward::<R>(any(), any(), any(), any(), any(), any()));
    call(|| Dropout::draw(any(), &mut Random));
    call(|| Dropout::apply::<R>(&any(), any(), any()));
}

fn loss<R: Real + Unknown>() {
    call(|| CrossEntropy::plain(any()));
    call(|| Loss::total(&any()));
    call(|| Targets::weight(&any()));
    call(|| cross_entropy_forward::<R>(any(), any(), any()));
    call(|| cross_entropy_backward::<R>(any(), any(), any()));
}
