//! Optimisers against their formulas, over several steps, in every setting.

mod common;

use common::numbers::{assert_close, normal, to_f32, to_f64};
use common::optim::{self, Tensor};
use common::random::SplitMix;
use mixlet_core::optim::*;

const TOLERANCE: f64 = 2e-6;

/// Steps whose gradients are of quite different sizes, one of them zero.
fn steps() -> impl Iterator<Item = (Step, f64)> {
    let sizes = [1.0, 1e-3, 0.0, 30.0, 1.0, 1e-6];
    (1..)
        .zip(sizes)
        .map(|(number, size)| (Step { number, lr: 0.1 / f64::from(number), grad_scale: 0.5 }, size))
}

/// Gradients that are the same number in both precisions.
fn gradients(random: &mut SplitMix, len: usize, size: f64) -> (Vec<f32>, Vec<f64>) {
    let single: Vec<f32> = normal(random, len).iter().map(|value| (value * size) as f32).collect();
    let double = to_f64(&single);
    (single, double)
}

#[test]
fn adamw() {
    let plain = AdamW::default();
    let settings = [
        plain,
        AdamW { epsilon_place: EpsilonPlace::BeforeCorrection, epsilon: 1e-3, ..plain },
        AdamW { epsilon: 1e-3, weight_decay: 0.1, ..plain },
        AdamW { decay_rule: DecayRule::Alone, weight_decay: 0.02, ..plain },
        AdamW { beta1: 0.0, beta2: 0.5, weight_decay: 0.0, ..plain },
    ];
    for (adamw, len) in settings.into_iter().flat_map(|adamw| [0, 1, 16, 37].map(|len| (adamw, len))) {
        let random = &mut SplitMix(len as u64);
        let mut weights = to_f32(&normal(random, len));
        let (mut mean, mut square) = (vec![0.0; len], vec![0.0; len]);
        let mut expected = Tensor::new(&to_f64(&weights), 1, 1, len);
        for (step, size) in steps() {
            let (single, double) = gradients(random, len, size);
            let state = AdamWState { mean: &mut mean, square: &mut square };
            adamw_step(adamw, step, &mut weights, &single, state).unwrap();
            optim::adamw(adamw, step, &mut expected, &double);
            let what = format!("{adamw:?} {step:?}");
            assert_close(&what, &to_f64(&weights), &expected.weights, TOLERANCE);
            assert_close(&what, &to_f64(&mean), &expected.mean, TOLERANCE);
            assert_close(&what, &to_f64(&square), &expected.square, TOLERANCE);
        }
    }
}

#[test]
fn adafactor() {
    let t5x = Adafactor::default();
    let transformers = Adafactor { averaging: Averaging::Tensor, decay_rule: DecayRule::TimesLr, ..t5x };
    let settings = [
        t5x,
        transformers,
        Adafactor { clip_threshold: None, ..t5x },
        Adafactor { clip_threshold: Some(0.3), parameter_scale: false, ..transformers },
        Adafactor { momentum: Some(0.9), ..t5x },
        Adafactor { momentum: Some(0.5), weight_decay: 0.1, ..transformers },
        Adafactor { weight_decay: 0.1, decay_rate: 0.5, epsilon_square: 1e-4, epsilon_scale: 2.0, ..t5x },
    ];
    let shapes = [
        AdafactorShape::plain(5),
        AdafactorShape::matrix(4, 20),
        AdafactorShape { factored: true, ..AdafactorShape::matrix(4, 20) },
        AdafactorShape::of_experts(3, 17, 5),
        AdafactorShape { factored: false, ..AdafactorShape::of_experts(3, 2, 18) },
        AdafactorShape::of_experts(2, 1, 1),
        AdafactorShape::of_experts(0, 3, 4),
        AdafactorShape::plain(0),
    ];
    for (settings, shape) in settings.into_iter().flat_map(|settings| shapes.map(|shape| (settings, shape))) {
        let random = &mut SplitMix(shape.len() as u64);
        let mut weights = to_f32(&normal(random, shape.len()));
        let mut state = vec![0.0; adafactor_state_len(settings, shape)];
        let mut expected = Tensor::new(&to_f64(&weights), shape.experts, shape.rows, shape.columns);
        for (step, size) in steps() {
            let (single, double) = gradients(random, shape.len(), size);
            let scratch = &mut vec![f32::NAN; adafactor_scratch_len(shape)];
            let memory = AdafactorMemory { state: &mut state, scratch };
            adafactor_step(settings, step, shape, &mut weights, &single, memory).unwrap();
            optim::adafactor(settings, step, shape, &mut expected, &double);
            assert_close(
                &format!("{settings:?} {shape:?} {step:?}"),
                &to_f64(&weights),
                &expected.weights,
                TOLERANCE,
            );
        }
    }
}

#[test]
fn experts_are_apart_only_where_averages_are() {
    // An expert whose gradient is far larger than the others' does not shrink their updates in T5X, but in transformers.
    let shape = AdafactorShape::of_experts(2, 4, 4);
    let grads: Vec<f32> = normal(&mut SplitMix(1), 32).iter().map(|value| *value as f32).collect();
    let run = |averaging, size: f32| {
        let settings = Adafactor { averaging, ..Adafactor::default() };
        let mut weights = vec![1.0; 32];
        let mut state = vec![0.0; adafactor_state_len(settings, shape)];
        for number in [1, 2] {
            let mut grads = grads.clone();
            let factor = if number == 2 { size } else { 1.0 };
            grads[16..].iter_mut().for_each(|grad| *grad *= factor);
            let memory = AdafactorMemory { state: &mut state, scratch: &mut [0.0; 8] };
            let step = Step { number, lr: 0.1, grad_scale: 1.0 };
            adafactor_step(settings, step, shape, &mut weights, &grads, memory).unwrap();
        }
        weights[..16].to_vec()
    };
    assert_eq!(run(Averaging::Matrix, 1.0), run(Averaging::Matrix, 100.0));
    assert_ne!(run(Averaging::Tensor, 1.0), run(Averaging::Tensor, 100.0));
}

#[test]
fn the_norm_is_the_same_from_blocks_as_from_the_whole() {
    let grads = to_f32(&normal(&mut SplitMix(4), 3 * SQUARE_SUM_BLOCK + 77));
    let blocks: f64 = grads.chunks(SQUARE_SUM_BLOCK).map(square_sum).sum();
    assert_eq!(square_sum(&grads), blocks);
    assert_eq!(scan_gradients([&grads[..]]), Ok(blocks));
    let exact: f64 = to_f64(&grads).iter().map(|grad| grad * grad).sum();
    // Adding 12,000 terms one after the other is itself off by up to 12,000 · 2⁻⁵³.
    assert!((blocks / exact - 1.0).abs() < 1.5e-12);
}
