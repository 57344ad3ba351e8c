//! Layers and optimisers.

use crate::common::nn_cases::{attention_cases, attention_cases_of};
use crate::common::random::SplitMix;
use crate::without_allocations;
use mixlet_core::linear::Plain;
use mixlet_core::nn::{self, NormShape};
use mixlet_core::optim::{self, Adafactor, AdafactorShape, LrDecay, LrSchedule};

#[test]
fn attention() {
    for case in attention_cases() {
        let (attention, shape) = (case.attention(), case.shape);
        let zeros = |len| vec![0.0; len];
        let (mut out, mut log_sums) = (zeros(shape.out_len()), zeros(shape.log_sums_len()));
        let [mut q, mut k, mut v] = [shape.q_len(), shape.k_len(), shape.v_len()].map(zeros);
        let [mut bias, mut sinks] = [shape.distance_bias_len(), shape.heads].map(zeros);
        let mut forward_scratch = zeros(nn::attention_forward_scratch_len(shape));
        let mut backward_scratch = zeros(nn::attention_backward_scratch_len(shape));
        without_allocations(case.name, || {
            nn::attention_forward(&attention, &mut out, &mut log_sums, &mut forward_scratch).unwrap();
            let grads = nn::AttentionGrads {
                q: &mut q,
                k: &mut k,
                v: &mut v,
                distance_bias: Some(&mut bias),
                sinks: Some(&mut sinks),
            };
            nn::attention_backward(&attention, &log_sums, &out, grads, &mut backward_scratch).unwrap();
        });
    }
}

#[test]
fn attention_by_panels() {
    for case in attention_cases_of(6) {
        let (single, shape) = (case.single(), case.shape);
        let attention = case.single_attention(&single);
        let zeros = |len| vec![0.0; len];
        let (mut out, mut log_sums) = (zeros(shape.out_len()), zeros(shape.log_sums_len()));
        let mut scratch = zeros(nn::attention_forward_by_scratch_len(shape));
        without_allocations(case.name, || {
            nn::attention_forward_by::<Plain>(&attention, &mut out, &mut log_sums, &mut scratch).unwrap();
        });
    }
}

#[test]
fn layers() {
    let (ids, labels) = ([2, 0, 1], [3, nn::IGNORED, 0]);
    let (x, weight, bias) = ([0.5f32; 12], [1.5; 4], [0.1; 4]);
    let (mut table, mut out, mut grad, mut grad_weight, mut grad_bias) =
        ([0.1; 12], [0.0; 12], [0.0; 12], [0.0; 4], [0.0; 4]);
    let (mut mean, mut inverse, mut line) = ([0.0; 3], [0.0; 3], [0.0f32; 10]);
    let (mut keys, mut values) = ([0.0; 12], [0.0; 12]);
    let shape = NormShape { rows: 3, width: 4 };
    let embedding = nn::Embedding { vocab: 3, model_dim: 4, scale: 1.0 };
    let rotary = nn::Rotary { heads: 1, head_dim: 4, start: 0, width: 4, pairing: nn::Pairing::Halves };
    let biases = nn::PositionBias { heads: 2, buckets: 4, max_distance: 8, bidirectional: true };
    let span = nn::Span { queries: 3, keys: 3, first_query: 0 };
    let mut random = SplitMix(1);
    without_allocations("layers", || {
        nn::embedding_forward(embedding, &ids, &table, &mut out).unwrap();
        nn::embedding_backward(embedding, &ids, &out, &mut table).unwrap();
        let norm = nn::RmsNorm::default();
        nn::rms_norm_forward(norm, shape, &x, &weight, &mut out, &mut inverse).unwrap();
        let cache = nn::RmsNormCache { x: &x, weight: &weight, inverse_rms: &inverse };
        nn::rms_norm_backward(norm, shape, cache, &out, &mut grad, &mut grad_weight).unwrap();
        let norm = nn::LayerNorm { weight: &weight, bias: &bias, epsilon: 1e-5 };
        nn::layer_norm_forward(norm, shape, &x, &mut out, &mut mean, &mut inverse).unwrap();
        let cache = nn::LayerNormCache { x: &x, mean: &mean, inverse_deviation: &inverse };
        let grads = nn::LayerNormGrads { x: &mut grad, weight: &mut grad_weight, bias: &mut grad_bias };
        nn::layer_norm_backward(norm, shape, cache, &out, grads).unwrap();
        nn::rotary_table(&ids, &[1.0, 0.1], 1.0, &mut grad).unwrap();
        nn::rotary_forward(rotary, &grad, &mut out).unwrap();
        nn::rotary_backward(rotary, &grad, &mut out).unwrap();
        nn::position_bias_forward(biases, span, &x[..8], &mut line).unwrap();
        nn::position_bias_backward(biases, span, &line, &mut out[..8]).unwrap();
        let mut cache = nn::KeyValueCache::new(&mut keys, &mut values, [4, 4]).unwrap();
        cache.append(&x, &x).unwrap();
        nn::Dropout::draw(0.5, &mut random).unwrap().apply(0, &mut out);
        let targets = nn::Targets { labels: &labels, loss_mask: None };
        nn::cross_entropy_forward(nn::CrossEntropy::plain(4), targets, &out).unwrap();
        nn::cross_entropy_backward(nn::CrossEntropy::plain(4), targets, &mut out).unwrap();
    });
}

#[test]
fn optimisers() {
    let (mut weights, mut mean, mut square, grads) = ([1.0; 24], [0.0; 24], [0.0; 24], [0.1f32; 24]);
    let settings = Adafactor { momentum: Some(0.9), ..Adafactor::default() };
    let shape = AdafactorShape::of_experts(2, 3, 4);
    let mut state = vec![0.0; optim::adafactor_state_len(settings, shape)];
    let mut scratch = vec![0.0; optim::adafactor_scratch_len(shape)];
    let schedule =
        LrSchedule { decay: LrDecay::Cosine { total_steps: 9, end: 0.0 }, ..LrSchedule::FINE_TUNE };
    without_allocations("optimisers", || {
        let norm = optim::scan_gradients([&grads[..]]).unwrap().sqrt();
        let grad_scale = optim::clip_factor(norm, 1.0, optim::ClipRule::Torch);
        let step = optim::Step { number: 1, lr: schedule.lr_at(5), grad_scale };
        let adamw_state = optim::AdamWState { mean: &mut mean, square: &mut square };
        optim::adamw_step(optim::AdamW::default(), step, &mut weights, &grads, adamw_state).unwrap();
        let memory = optim::AdafactorMemory { state: &mut state, scratch: &mut scratch };
        optim::adafactor_step(settings, step, shape, &mut weights, &grads, memory).unwrap();
    });
}
