//! Layers against their formulas, in both precisions; what they write, and laws they keep.

mod common;

use common::guarded::{added, changed, written};
use common::nn;
use common::nn_cases::{attention_cases, attention_cases_of, forward};
use common::numbers::{assert_close, normal, to_f32, to_f64};
use common::random::SplitMix;
use mixlet_core::linear::{Arith, PANEL};
use mixlet_core::nn::*;
use mixlet_runtime::simd::{Level, Product};

/// What `f64` and `f32` kernels may be off, as a share of the largest value.
const DOUBLE: f64 = 1e-12;
const SINGLE: f64 = 2e-6;

#[test]
fn embedding() {
    let random = &mut SplitMix(1);
    let embedding = Embedding { vocab: 7, model_dim: 5, scale: 3.0 };
    let (table, ids) = (normal(random, embedding.table_len()), [6, 0, 3, 3]);
    let out = written(20, |out| embedding_forward(embedding, &ids, &table, out).unwrap());
    let expected: Vec<f64> =
        ids.iter().flat_map(|id| &table[*id as usize * 5..][..5]).map(|value| 3.0 * value).collect();
    assert_eq!(out, expected);

    let grad_out = normal(random, 20);
    let grad = added(35, |grad| embedding_backward(embedding, &ids, &grad_out, grad).unwrap());
    for (id, grad) in grad.chunks(5).enumerate() {
        let mut expected = [0.0; 5];
        for (token, _) in ids.iter().enumerate().filter(|(_, other)| **other as usize == id) {
            expected.iter_mut().zip(&grad_out[token * 5..]).for_each(|(sum, value)| *sum += 3.0 * value);
        }
        assert_eq!(grad, expected, "{id}");
    }
}

#[test]
fn norms() {
    for (rows, width) in [(3, 1), (0, 4), (2, 15), (2, 16), (1, 17), (3, 100)] {
        let random = &mut SplitMix(width as u64);
        let shape = NormShape { rows, width };
        let x: Vec<f64> = normal(random, shape.len()).iter().map(|x| 3.0 * x + 5.0).collect();
        let (weight, bias) = (normal(random, width), normal(random, width));
        let (x32, weight32, bias32) = (to_f32(&x), to_f32(&weight), to_f32(&bias));
        let (mut out32, mut facts) =
            (vec![f32::NAN; shape.len()], [vec![f32::NAN; rows], vec![f32::NAN; rows]]);
        let [mean32, inverse32] = &mut facts;

        let norm = RmsNorm { epsilon: 1e-3, weight_offset: 1.0 };
        let expected = nn::rms_norm(&x, &weight, 1e-3, 1.0);
        written(rows, |inverse| {
            let out =
                written(shape.len(), |out| rms_norm_forward(norm, shape, &x, &weight, out, inverse).unwrap());
            assert_close("RMS norm", &out, &expected, DOUBLE);
        });
        rms_norm_forward(norm, shape, &x32, &weight32, &mut out32, inverse32).unwrap();
        assert_close("RMS norm, f32", &to_f64(&out32), &expected, SINGLE);

        let norm = LayerNorm { weight: &weight, bias: &bias, epsilon: 1e-3 };
        let expected = nn::layer_norm(&x, &weight, &bias, 1e-3);
        written(rows, |inverse| {
            written(rows, |mean| {
                let out = written(shape.len(), |out| {
                    layer_norm_forward(norm, shape, &x, out, mean, inverse).unwrap()
                });
                assert_close("layer norm", &out, &expected, DOUBLE);
            });
        });
        let norm = LayerNorm { weight: &weight32, bias: &bias32, epsilon: 1e-3 };
        layer_norm_forward(norm, shape, &x32, &mut out32, mean32, inverse32).unwrap();
        assert_close("layer norm, f32", &to_f64(&out32), &expected, SINGLE);
    }
}

/// Rotary embedding of three tokens in every variant.
fn rotaries() -> impl Iterator<Item = Rotary> {
    let of = |pairing| {
        let whole = Rotary { heads: 2, head_dim: 8, start: 0, width: 8, pairing };
        [
            whole,
            Rotary { width: 4, ..whole },
            Rotary { start: 2, width: 6, ..whole },
            Rotary { width: 0, ..whole },
        ]
    };
    [Pairing::Halves, Pairing::Interleaved].into_iter().flat_map(of)
}

#[test]
fn rotary() {
    let positions = [0, 5, 1000];
    for rotary in rotaries() {
        let values = normal(&mut SplitMix(5), 3 * 2 * 8);
        let frequencies: Vec<f64> = (0..rotary.width / 2)
            .map(|nth| 10_000f64.powf(-2.0 * nth as f64 / rotary.width as f64))
            .collect();
        let table =
            written(3 * rotary.width, |table| rotary_table(&positions, &frequencies, 1.0, table).unwrap());
        let turned = changed(&values, |values| rotary_forward(rotary, &table, values).unwrap());
        let expected = nn::rotary(rotary, &positions, &frequencies, &values);
        assert_close(&format!("{rotary:?}"), &turned, &expected, DOUBLE);
        let back = changed(&turned, |values| rotary_backward(rotary, &table, values).unwrap());
        assert_close("turned back", &back, &values, DOUBLE);

        let (mut table, mut values) = (vec![f32::NAN; 3 * rotary.width], to_f32(&values));
        rotary_table(&positions, &frequencies, 1.0, &mut table).unwrap();
        rotary_forward(rotary, &table, &mut values).unwrap();
        assert_close(&format!("{rotary:?}, f32"), &to_f64(&values), &expected, SINGLE);
    }
}

#[test]
fn position_biases_by_distance() {
    let settings =
        [(32, 128, true), (32, 128, false), (8, 16, true), (8, 16, false), (5, 9, true), (2, 3, false)];
    for (buckets, max_distance, bidirectional) in settings {
        let bias = PositionBias { heads: 3, buckets, max_distance, bidirectional };
        let table = normal(&mut SplitMix(buckets as u64), bias.table_len());
        for (queries, keys, first_query) in [(150, 150, 0), (1, 200, 199), (4, 7, 1), (0, 3, 0)] {
            let span = Span { queries, keys, first_query };
            let line = written(3 * span.distances(), |line| {
                position_bias_forward(bias, span, &table, line).unwrap();
            });
            for query in 0..queries {
                for key in 0..keys {
                    for head in 0..3 {
                        let distance = key as i64 - (first_query + query) as i64;
                        let found = line[head * span.distances() + queries - 1 + key - query];
                        assert_eq!(
                            found,
                            nn::position_bias(bias, &table, head, distance),
                            "{bias:?} {distance}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn attention() {
    for case in attention_cases() {
        let attention = case.attention();
        let expected = nn::attention(&attention);
        let shape = case.shape;
        let mut scratch = vec![f64::NAN; attention_forward_scratch_len(shape)];
        let mut log_sums = vec![f64::NAN; shape.log_sums_len()];
        let out = written(shape.out_len(), |out| {
            attention_forward(&attention, out, &mut log_sums, &mut scratch).unwrap();
        });
        assert!(!log_sums.iter().any(|log_sum| log_sum.is_nan()), "{}", case.name);
        assert_close(case.name, &out, &expected, DOUBLE);

        let single = case.single();
        let mut scratch = vec![f32::NAN; attention_forward_scratch_len(shape)];
        let (mut out, mut log_sums) = (vec![f32::NAN; shape.out_len()], vec![f32::NAN; shape.log_sums_len()]);
        attention_forward(&case.single_attention(&single), &mut out, &mut log_sums, &mut scratch).unwrap();
        assert_close(&format!("{}, f32", case.name), &to_f64(&out), &expected, SINGLE);
    }
}

/// [`attention_forward_by`] at a level.
struct Panels<'a> {
    attention: &'a Attention<'a, f32>,
    out: &'a mut [f32],
    log_sums: &'a mut [f32],
}

impl Product for Panels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arith>(self) {
        let mut scratch = vec![f32::NAN; attention_forward_by_scratch_len(self.attention.shape)];
        attention_forward_by::<A>(self.attention, self.out, self.log_sums, &mut scratch).unwrap();
    }
}

fn by_panels(level: Level, attention: &Attention<'_, f32>) -> [Vec<f32>; 2] {
    let shape = attention.shape;
    let (mut out, mut log_sums) = (vec![f32::NAN; shape.out_len()], vec![f32::NAN; shape.log_sums_len()]);
    level.run(Panels { attention, out: &mut out, log_sums: &mut log_sums }).unwrap();
    [out, log_sums]
}

#[test]
fn attention_by_panels() {
    for case in [1, 6, 23].into_iter().flat_map(attention_cases_of) {
        let name = format!("{}, {} queries", case.name, case.shape.span.queries);
        let (expected, [_, log_sums]) = (nn::attention(&case.attention()), forward(&case.attention()));
        let single = case.single();
        let attention = case.single_attention(&single);
        for level in Level::ALL.into_iter().filter(|level| level.is_here()) {
            let [out, own_log_sums] = by_panels(level, &attention);
            assert_close(&format!("{name}, {level:?}"), &to_f64(&out), &expected, SINGLE);
            for (own, expected) in own_log_sums.iter().zip(&log_sums) {
                let is_close = (f64::from(*own) - expected).abs() <= SINGLE * expected.abs().max(1.0);
                assert!(is_close || f64::from(*own) == *expected, "{name}, {level:?}: {own} {expected}");
            }
        }
    }
}

#[test]
fn attention_of_whole_panels_has_the_bits_of_the_whole() {
    for case in attention_cases_of(23).into_iter().filter(|case| case.distance_bias.is_none()) {
        let single = case.single();
        let whole = case.single_attention(&single);
        let [out, _] = by_panels(Level::found(), &whole);
        let (span, heads) = (case.shape.span, case.shape.heads);
        let (q_width, out_width) = (heads * case.shape.head_dim, heads * case.shape.value_dim);
        for start in (0..span.queries).step_by(PANEL) {
            let end = (start + PANEL).min(span.queries);
            let mut part = whole;
            part.shape.span = Span { queries: end - start, first_query: span.first_query + start, ..span };
            part.q = &whole.q[start * q_width..end * q_width];
            part.visibility.segments =
                whole.visibility.segments.map(|all| Segments { queries: &all.queries[start..end], ..all });
            // A short rest is alone where it is few.
            if end - start == PANEL || case.dropout.is_some() {
                let [part_out, _] = by_panels(Level::found(), &part);
                assert_eq!(part_out, out[start * out_width..end * out_width], "{} {start}..{end}", case.name);
            }
        }
    }
}

#[test]
fn attention_by_panels_keeps_what_is_no_number() {
    let mut case = attention_cases_of(6).into_iter().find(|case| case.name == "causal, lanes").unwrap();
    case.q[3 * 2 * 16] = f64::NAN;
    let single = case.single();
    let [out, log_sums] = by_panels(Level::found(), &case.single_attention(&single));
    let is_nan = |query: usize, head: usize| {
        let of_query = &out[(query * 2 + head) * 16..][..16];
        assert_eq!(of_query.iter().all(|value| value.is_nan()), log_sums[query * 2 + head].is_nan());
        log_sums[query * 2 + head].is_nan()
    };
    assert!(is_nan(3, 0) && !is_nan(3, 1) && !is_nan(2, 0) && !is_nan(4, 0));
}

#[test]
fn attention_of_a_run_of_queries_has_the_bits_of_the_whole() {
    for case in attention_cases() {
        let whole = case.attention();
        let [out, log_sums] = forward(&whole);
        let (span, heads) = (case.shape.span, case.shape.heads);
        let [q_width, out_width] = [heads * case.shape.head_dim, heads * case.shape.value_dim];
        for run in [1, 2, 3, 5] {
            for start in (0..span.queries).step_by(run) {
                let end = (start + run).min(span.queries);
                let mut part = whole;
                let queries = end - start;
                part.shape.span = Span { queries, first_query: span.first_query + start, ..span };
                part.q = &whole.q[start * q_width..end * q_width];
                let segments = whole.visibility.segments;
                part.visibility.segments =
                    segments.map(|all| Segments { queries: &all.queries[start..end], ..all });
                // Distances of the run: the line without what only other queries need.
                let bias: Option<Vec<f64>> = whole.distance_bias.map(|bias| {
                    let of_head =
                        |line: &[f64]| line[span.queries - end..][..queries + span.keys - 1].to_vec();
                    bias.chunks(span.distances()).flat_map(of_head).collect()
                });
                part.distance_bias = bias.as_deref();
                let [part_out, part_log_sums] = forward(&part);
                assert_eq!(part_out, out[start * out_width..end * out_width], "{} {start}..{end}", case.name);
                assert_eq!(
                    part_log_sums,
                    log_sums[start * heads..end * heads],
                    "{} {start}..{end}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn attention_from_a_cache_has_the_bits_of_the_whole() {
    for case in attention_cases() {
        let whole = case.attention();
        let shape = case.shape;
        if shape.span.queries != shape.span.keys
            || whole.visibility != causal()
            || whole.distance_bias.is_some()
        {
            continue;
        }
        let [out, _] = forward(&whole);
        let widths = [shape.head_dim, shape.value_dim].map(|width| width * shape.kv_heads);
        let (mut keys, mut values) = (vec![f64::NAN; shape.k_len()], vec![f64::NAN; shape.v_len()]);
        let mut cache = KeyValueCache::new(&mut keys, &mut values, widths).unwrap();
        // A prompt of two tokens, then one by one.
        let mut first_query = 0;
        while first_query < shape.span.queries {
            let queries = if first_query == 0 { 2 } else { 1 };
            let of = |values: &'_ [f64], width| values[first_query * width..][..queries * width].to_vec();
            cache.append(&of(whole.k, widths[0]), &of(whole.v, widths[1])).unwrap();
            let q = of(whole.q, shape.heads * shape.head_dim);
            let mut step = whole;
            step.shape.span = Span { queries, keys: cache.tokens(), first_query };
            (step.q, step.k, step.v) = (&q, cache.keys(), cache.values());
            assert_eq!(
                forward(&step)[0],
                of(&out, shape.heads * shape.value_dim),
                "{} {first_query}",
                case.name
            );
            first_query += queries;
        }
        assert_eq!(cache.tokens(), cache.capacity());
    }
}

fn causal() -> Visibility<'static> {
    Visibility { pattern: Pattern::Causal, ..Visibility::default() }
}

#[test]
fn a_packed_sequence_attends_as_it_does_alone() {
    let packed = attention_cases().into_iter().find(|case| case.name == "packed").unwrap();
    let [out, _] = forward(&packed.attention());
    let width = packed.shape.heads * packed.shape.head_dim;
    for start in (0..packed.shape.span.queries).step_by(3) {
        let tokens = (packed.shape.span.queries - start).min(3);
        let part = start * width..(start + tokens) * width;
        let mut alone = packed.attention();
        alone.shape.span = Span { queries: tokens, keys: tokens, first_query: 0 };
        (alone.q, alone.k, alone.v) =
            (&packed.q[part.clone()], &packed.k[part.clone()], &packed.v[part.clone()]);
        alone.visibility.segments = None;
        assert_close("alone", &forward(&alone)[0], &out[part], DOUBLE);
    }
}

#[test]
fn scores_too_large_for_an_exponential_are_fine() {
    let shape = AttentionShape {
        span: Span { queries: 1, keys: 2, first_query: 0 },
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        value_dim: 1,
    };
    for (k, expected) in [([1e4, 1e4], 15.0), ([-1e4, -1e4], 15.0), ([1e30, -1e30], 10.0)] {
        let attention = Attention {
            shape,
            scale: 1.0,
            visibility: Visibility::default(),
            q: &[1.0f32],
            k: &k,
            v: &[10.0, 20.0],
            distance_bias: None,
            sinks: None,
            dropout: None,
        };
        let (mut out, mut log_sums, mut scratch) = ([f32::NAN], [f32::NAN], [f32::NAN; 8]);
        attention_forward(&attention, &mut out, &mut log_sums, &mut scratch).unwrap();
        assert_eq!(out, [expected], "{k:?}");
    }
}

#[test]
fn numbers_that_are_none_stay_visible() {
    let mut case = attention_cases().into_iter().find(|case| case.name == "causal, lanes").unwrap();
    let width = case.shape.heads * case.shape.head_dim;
    case.q[5 * width] = f64::NAN;
    let attention = case.attention();
    let [out, log_sums] = forward(&attention);
    let bad = out.chunks(16).map(|head| head.iter().all(|value| value.is_nan()));
    assert_eq!(bad.collect::<Vec<_>>(), (0..14).map(|head| head == 10).collect::<Vec<_>>());
    assert!(log_sums[10].is_nan());
}

#[test]
fn cross_entropy() {
    let random = &mut SplitMix(8);
    let smoothings = [LabelSmoothing::None, LabelSmoothing::AllIds(0.1), LabelSmoothing::OtherIds(0.3)];
    let reductions = [Reduction::Mean, Reduction::Sum, Reduction::Over(7.0)];
    for vocab in [2, 16, 37, 300] {
        let logits: Vec<f64> = normal(random, 4 * vocab).iter().map(|logit| 4.0 * logit).collect();
        let label = (vocab - 1) as u32;
        let labels = [[label, 0, 1, label], [0, IGNORED, 1, IGNORED]];
        for (label_smoothing, reduction) in smoothings.into_iter().flat_map(|s| reductions.map(|r| (s, r))) {
            for (labels, loss_mask) in
                labels.iter().flat_map(|l| [(l, None), (l, Some([1.0, 1.0, 0.0, 0.25]))])
            {
                let settings =
                    CrossEntropy { vocab, logit_scale: 0.5, label_smoothing, z_loss: 0.01, reduction };
                let targets = Targets { labels, loss_mask: loss_mask.as_ref().map(|mask| &mask[..]) };
                let expected = nn::cross_entropy(settings, targets, &logits);
                let what = format!("{settings:?} {targets:?}");
                let loss = cross_entropy_forward(settings, targets, &logits).unwrap();
                assert_close(&what, &[loss.cross_entropy, loss.z_loss], &expected, DOUBLE);
                changed(&logits, |logits| {
                    assert_eq!(cross_entropy_backward(settings, targets, logits), Ok(loss), "{what}");
                });
                let loss = cross_entropy_forward(settings, targets, &to_f32(&logits)).unwrap();
                assert_close(&what, &[loss.cross_entropy, loss.z_loss], &expected, SINGLE);
            }
        }
    }
}
