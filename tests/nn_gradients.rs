//! Backward passes against central differences of the forward passes in `f64`, every input; and in `f32` against `f64`.

mod common;

use common::guarded::{added, changed, written};
use common::nn_cases::{attention_cases, forward};
use common::numbers::{assert_close, normal, to_f32, to_f64};
use common::random::SplitMix;
use mixlet_core::nn::*;

/// Against central differences, as a share of the largest gradient (or of 1).
const DIFFERENCES: f64 = 1e-6;
/// Of `f32` against `f64`.
const SINGLE: f64 = 1e-5;

/// `∂ loss / ∂ values` by central differences.
fn differences(values: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let at = |nth: usize, step: f64| {
        let mut values = values.to_vec();
        values[nth] += step;
        loss(&values)
    };
    (0..values.len()).map(|nth| (at(nth, STEP) - at(nth, -STEP)) / (2.0 * STEP)).collect()
}

/// The loss every output is tested with: a weighted sum, whose gradient is the weights.
fn weighted(out: &[f64], weights: &[f64]) -> f64 {
    out.iter().zip(weights).map(|(out, weight)| out * weight).sum()
}

#[test]
fn embedding() {
    let random = &mut SplitMix(1);
    let embedding = Embedding { vocab: 4, model_dim: 3, scale: 2.5 };
    let (ids, table, grad_out) = ([3, 0, 3], normal(random, 12), normal(random, 9));
    let grad = added(12, |grad| embedding_backward(embedding, &ids, &grad_out, grad).unwrap());
    let expected = differences(&table, |table| {
        let out = written(9, |out| embedding_forward(embedding, &ids, table, out).unwrap());
        weighted(&out, &grad_out)
    });
    assert_close("table", &grad, &expected, DIFFERENCES);
}

#[test]
fn rms_norm() {
    for (rows, width, weight_offset) in [(3, 1, 0.0), (2, 17, 1.0), (3, 40, 0.0), (0, 3, 0.0)] {
        let random = &mut SplitMix(width as u64);
        let (norm, shape) = (RmsNorm { epsilon: 1e-2, weight_offset }, NormShape { rows, width });
        let (x, weight) = (normal(random, shape.len()), normal(random, width));
        let grad_out = normal(random, shape.len());
        let forward = |x: &[f64], weight: &[f64]| {
            let mut out = vec![f64::NAN; shape.len()];
            let inverse_rms =
                written(rows, |inverse| rms_norm_forward(norm, shape, x, weight, &mut out, inverse).unwrap());
            (out, inverse_rms)
        };
        let (_, inverse_rms) = forward(&x, &weight);
        let cache = RmsNormCache { x: &x, weight: &weight, inverse_rms: &inverse_rms };
        let mut grad_x = vec![];
        // Parameter gradients are added to what is there.
        let grad_weight = changed(&vec![1.0; width], |grad_weight| {
            grad_x = written(shape.len(), |grad_x| {
                rms_norm_backward(norm, shape, cache, &grad_out, grad_x, grad_weight).unwrap();
            });
        });
        let of_x = differences(&x, |x| weighted(&forward(x, &weight).0, &grad_out));
        let of_weight = differences(&weight, |weight| weighted(&forward(&x, weight).0, &grad_out));
        let of_weight: Vec<f64> = of_weight.iter().map(|slope| slope + 1.0).collect();
        assert_close("x", &grad_x, &of_x, DIFFERENCES);
        assert_close("weight", &grad_weight, &of_weight, DIFFERENCES);

        let (x, weight, inverse_rms) = (to_f32(&x), to_f32(&weight), to_f32(&inverse_rms));
        let cache = RmsNormCache { x: &x, weight: &weight, inverse_rms: &inverse_rms };
        let (mut single_x, mut single_weight) = (vec![f32::NAN; shape.len()], vec![1.0f32; width]);
        rms_norm_backward(norm, shape, cache, &to_f32(&grad_out), &mut single_x, &mut single_weight).unwrap();
        assert_close("x, f32", &to_f64(&single_x), &grad_x, SINGLE);
        assert_close("weight, f32", &to_f64(&single_weight), &grad_weight, SINGLE);
    }
}

#[test]
fn layer_norm() {
    for (rows, width) in [(3, 2), (2, 17), (3, 40), (0, 3)] {
        let random = &mut SplitMix(width as u64);
        let shape = NormShape { rows, width };
        let [x, grad_out] = [(); 2].map(|()| normal(random, shape.len()));
        let [weight, bias] = [(); 2].map(|()| normal(random, width));
        let forward = |x: &[f64], weight: &[f64], bias: &[f64]| {
            let norm = LayerNorm { weight, bias, epsilon: 1e-2 };
            let (mut out, mut mean) = (vec![f64::NAN; shape.len()], vec![f64::NAN; rows]);
            let inverse = written(rows, |inverse| {
                layer_norm_forward(norm, shape, x, &mut out, &mut mean, inverse).unwrap();
            });
            (out, mean, inverse)
        };
        let (_, mean, inverse_deviation) = forward(&x, &weight, &bias);
        let norm = LayerNorm { weight: &weight, bias: &bias, epsilon: 1e-2 };
        let cache = LayerNormCache { x: &x, mean: &mean, inverse_deviation: &inverse_deviation };
        let (mut grad_weight, mut grad_bias) = (vec![0.0; width], vec![0.0; width]);
        let grad_x = written(shape.len(), |x| {
            let grads = LayerNormGrads { x, weight: &mut grad_weight, bias: &mut grad_bias };
            layer_norm_backward(norm, shape, cache, &grad_out, grads).unwrap();
        });
        let of_x = differences(&x, |x| weighted(&forward(x, &weight, &bias).0, &grad_out));
        let of_weight = differences(&weight, |weight| weighted(&forward(&x, weight, &bias).0, &grad_out));
        let of_bias = differences(&bias, |bias| weighted(&forward(&x, &weight, bias).0, &grad_out));
        assert_close("x", &grad_x, &of_x, DIFFERENCES);
        assert_close("weight", &grad_weight, &of_weight, DIFFERENCES);
        assert_close("bias", &grad_bias, &of_bias, DIFFERENCES);

        let [x, mean, inverse_deviation, weight, bias] =
            [&x, &mean, &inverse_deviation, &weight, &bias].map(|values| to_f32(values));
        let norm = LayerNorm { weight: &weight, bias: &bias, epsilon: 1e-2 };
        let cache = LayerNormCache { x: &x, mean: &mean, inverse_deviation: &inverse_deviation };
        let mut singles = [shape.len(), width, width].map(|len| vec![0.0f32; len]);
        let [x, weight, bias] = &mut singles;
        layer_norm_backward(norm, shape, cache, &to_f32(&grad_out), LayerNormGrads { x, weight, bias })
            .unwrap();
        for (single, double) in singles.iter().zip([grad_x, grad_weight, grad_bias]) {
            assert_close("f32", &to_f64(single), &double, SINGLE);
        }
    }
}

#[test]
fn rotary() {
    for pairing in [Pairing::Halves, Pairing::Interleaved] {
        let random = &mut SplitMix(3);
        let rotary = Rotary { heads: 2, head_dim: 7, start: 1, width: 4, pairing };
        let (values, grad_out) = (normal(random, 28), normal(random, 28));
        let table = written(8, |table| rotary_table(&[2, 9], &[1.0, 0.3], 1.1, table).unwrap());
        let grad = changed(&grad_out, |grad| rotary_backward(rotary, &table, grad).unwrap());
        let expected = differences(&values, |values| {
            weighted(&changed(values, |values| rotary_forward(rotary, &table, values).unwrap()), &grad_out)
        });
        assert_close("values", &grad, &expected, DIFFERENCES);
    }
}

#[test]
fn position_bias() {
    for bidirectional in [true, false] {
        let random = &mut SplitMix(4);
        let bias = PositionBias { heads: 2, buckets: 8, max_distance: 16, bidirectional };
        let span = Span { queries: 11, keys: 13, first_query: 1 };
        let (table, grad_line) = (normal(random, 16), normal(random, 46));
        let grad = added(16, |grad| position_bias_backward(bias, span, &grad_line, grad).unwrap());
        let expected = differences(&table, |table| {
            let line = written(46, |line| position_bias_forward(bias, span, table, line).unwrap());
            weighted(&line, &grad_line)
        });
        assert_close("table", &grad, &expected, DIFFERENCES);
    }
}

/// The gradients of q, k, v, bias and sinks; the last two are added to ones.
fn attention_grads<R: Real>(
    attention: &Attention<'_, R>,
    log_sums: &[R],
    grad_out: &[R],
    [nan, one]: [R; 2],
) -> [Vec<R>; 5] {
    let shape = attention.shape;
    let mut grads = [(shape.q_len(), nan), (shape.k_len(), nan), (shape.v_len(), nan)]
        .map(|(len, value)| vec![value; len])
        .to_vec();
    let [bias, sinks] = [attention.distance_bias, attention.sinks].map(|it| it.map_or(0, <[R]>::len));
    grads.extend([vec![one; bias], vec![one; sinks]]);
    let mut grads: [Vec<R>; 5] = grads.try_into().unwrap_or_else(|_| unreachable!());
    let [q, k, v, bias, sinks] = &mut grads;
    let all = AttentionGrads {
        q,
        k,
        v,
        distance_bias: attention.distance_bias.map(|_| &mut bias[..]),
        sinks: attention.sinks.map(|_| &mut sinks[..]),
    };
    let mut scratch = vec![nan; attention_backward_scratch_len(shape)];
    attention_backward(attention, log_sums, grad_out, all, &mut scratch).unwrap();
    grads
}

#[test]
fn attention() {
    for case in attention_cases() {
        let attention = case.attention();
        let grad_out = normal(&mut SplitMix(6), case.shape.out_len());
        let [_, log_sums] = forward(&attention);
        let grads = attention_grads(&attention, &log_sums, &grad_out, [f64::NAN, 1.0]);
        let loss = |attention: &Attention<'_, f64>| weighted(&forward(attention)[0], &grad_out);
        let inputs = [
            differences(attention.q, |q| loss(&Attention { q, ..attention })),
            differences(attention.k, |k| loss(&Attention { k, ..attention })),
            differences(attention.v, |v| loss(&Attention { v, ..attention })),
        ];
        let parameters = [
            attention.distance_bias.map_or(vec![], |bias| {
                differences(bias, |bias| loss(&Attention { distance_bias: Some(bias), ..attention }))
            }),
            attention.sinks.map_or(vec![], |sinks| {
                differences(sinks, |sinks| loss(&Attention { sinks: Some(sinks), ..attention }))
            }),
        ]
        .map(|slopes| slopes.iter().map(|slope| slope + 1.0).collect());
        for ((name, found), expected) in
            ["q", "k", "v", "bias", "sinks"].iter().zip(&grads).zip(inputs.into_iter().chain(parameters))
        {
            assert_close(&format!("{} of {}", name, case.name), found, &expected, DIFFERENCES);
        }

        let single = case.single();
        let attention = case.single_attention(&single);
        let singles = attention_grads(&attention, &to_f32(&log_sums), &to_f32(&grad_out), [f32::NAN, 1.0]);
        for (single, double) in singles.iter().zip(&grads) {
            assert_close(&format!("{}, f32", case.name), &to_f64(single), double, SINGLE);
        }
    }
}

#[test]
fn frozen_biases_and_sinks_cost_nothing_and_change_nothing() {
    let case = attention_cases().into_iter().find(|case| case.name == "everything at once").unwrap();
    let attention = case.attention();
    let [_, log_sums] = forward(&attention);
    let grad_out = normal(&mut SplitMix(6), case.shape.out_len());
    let all = attention_grads(&attention, &log_sums, &grad_out, [f64::NAN, 1.0]);
    let [mut q, mut k, mut v] =
        [case.shape.q_len(), case.shape.k_len(), case.shape.v_len()].map(|len| vec![f64::NAN; len]);
    let grads = AttentionGrads { q: &mut q, k: &mut k, v: &mut v, distance_bias: None, sinks: None };
    let mut scratch = vec![f64::NAN; attention_backward_scratch_len(case.shape)];
    attention_backward(&attention, &log_sums, &grad_out, grads, &mut scratch).unwrap();
    assert_eq!([q, k, v], [all[0].clone(), all[1].clone(), all[2].clone()]);
}

#[test]
fn cross_entropy() {
    let labels = [4, IGNORED, 0, 2];
    for label_smoothing in [LabelSmoothing::None, LabelSmoothing::AllIds(0.1), LabelSmoothing::OtherIds(0.3)]
    {
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::Over(7.0)] {
            for loss_mask in [None, Some(&[1.0, 1.0, 0.5, 0.0][..])] {
                let settings =
                    CrossEntropy { vocab: 19, logit_scale: 0.7, label_smoothing, z_loss: 0.05, reduction };
                let targets = Targets { labels: &labels, loss_mask };
                let logits = normal(&mut SplitMix(5), 4 * 19);
                let loss = |logits: &[f64]| cross_entropy_forward(settings, targets, logits).unwrap().total();
                let grad = changed(&logits, |logits| {
                    cross_entropy_backward(settings, targets, logits).unwrap();
                });
                let what = format!("{settings:?} {targets:?}");
                assert_close(&what, &grad, &differences(&logits, loss), DIFFERENCES);
                let mut single = to_f32(&logits);
                cross_entropy_backward(settings, targets, &mut single).unwrap();
                assert_close(&what, &to_f64(&single), &grad, SINGLE);
            }
        }
    }
}

#[test]
fn dropout() {
    let dropout = Dropout::draw(0.4, &mut SplitMix(2)).unwrap();
    let random = &mut SplitMix(7);
    let (x, grad_out) = (normal(random, 50), normal(random, 50));
    let grad = changed(&grad_out, |grad| dropout.apply(9, grad));
    let expected = differences(&x, |x| weighted(&changed(x, |x| dropout.apply(9, x)), &grad_out));
    assert_close("x", &grad, &expected, DIFFERENCES);
    assert!(grad.iter().filter(|value| **value == 0.0).count() > 9);
}
