//! Attention in all its variants, with inputs that own their memory.

use super::numbers::{normal, to_f32};
use super::random::SplitMix;
use mixlet_core::nn::{
    Attention, AttentionShape, Dropout, Pattern, Segments, Span, Visibility, attention_forward,
    attention_forward_scratch_len,
};

/// One variant.
pub struct AttentionCase {
    pub name: &'static str,
    pub shape: AttentionShape,
    pub scale: f64,
    pub pattern: Pattern,
    pub key_mask: Option<Vec<bool>>,
    pub query_segments: Option<Vec<u32>>,
    pub key_segments: Option<Vec<u32>>,
    pub q: Vec<f64>,
    pub k: Vec<f64>,
    pub v: Vec<f64>,
    pub distance_bias: Option<Vec<f64>>,
    pub sinks: Option<Vec<f64>>,
    pub dropout: Option<Dropout>,
}

/// The slices of a case in single precision.
pub struct Single {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub distance_bias: Option<Vec<f32>>,
    pub sinks: Option<Vec<f32>>,
}

impl AttentionCase {
    pub fn attention(&self) -> Attention<'_, f64> {
        Attention {
            shape: self.shape,
            scale: self.scale,
            visibility: self.visibility(),
            q: &self.q,
            k: &self.k,
            v: &self.v,
            distance_bias: self.distance_bias.as_deref(),
            sinks: self.sinks.as_deref(),
            dropout: self.dropout,
        }
    }

    pub fn single(&self) -> Single {
        Single {
            q: to_f32(&self.q),
            k: to_f32(&self.k),
            v: to_f32(&self.v),
            distance_bias: self.distance_bias.as_deref().map(to_f32),
            sinks: self.sinks.as_deref().map(to_f32),
        }
    }

    pub fn single_attention<'a>(&'a self, single: &'a Single) -> Attention<'a, f32> {
        Attention {
            shape: self.shape,
            scale: self.scale,
            visibility: self.visibility(),
            q: &single.q,
            k: &single.k,
            v: &single.v,
            distance_bias: single.distance_bias.as_deref(),
            sinks: single.sinks.as_deref(),
            dropout: self.dropout,
        }
    }

    fn visibility(&self) -> Visibility<'_> {
        let segments = self.query_segments.as_deref().zip(self.key_segments.as_deref());
        Visibility {
            pattern: self.pattern,
            key_mask: self.key_mask.as_deref(),
            segments: segments.map(|(queries, keys)| Segments { queries, keys }),
        }
    }
}

/// The output of the kernel, and its log-sums.
pub fn forward(attention: &Attention<'_, f64>) -> [Vec<f64>; 2] {
    let shape = attention.shape;
    let (mut out, mut log_sums) = (vec![f64::NAN; shape.out_len()], vec![f64::NAN; shape.log_sums_len()]);
    let mut scratch = vec![f64::NAN; attention_forward_scratch_len(shape)];
    attention_forward(attention, &mut out, &mut log_sums, &mut scratch).unwrap();
    [out, log_sums]
}

fn shape(span: [usize; 3], heads: [usize; 2], dims: [usize; 2]) -> AttentionShape {
    let ([queries, keys, first_query], [heads, kv_heads], [head_dim, value_dim]) = (span, heads, dims);
    let span = Span { queries, keys, first_query };
    AttentionShape { span, heads, kv_heads, head_dim, value_dim }
}

/// A case without masks, bias and sinks.
pub fn plain(name: &'static str, pattern: Pattern, shape: AttentionShape) -> AttentionCase {
    let random = &mut SplitMix(name.len() as u64);
    AttentionCase {
        name,
        shape,
        scale: 1.0 / (shape.head_dim as f64).sqrt(),
        pattern,
        key_mask: None,
        query_segments: None,
        key_segments: None,
        q: normal(random, shape.q_len()),
        k: normal(random, shape.k_len()),
        v: normal(random, shape.v_len()),
        distance_bias: None,
        sinks: None,
        dropout: None,
    }
}

/// Every variant alone and some together; widths below, at and above the kernel's lanes.
pub fn attention_cases() -> Vec<AttentionCase> {
    attention_cases_of(1)
}

/// The same with so many times as many queries and keys.
pub fn attention_cases_of(times: usize) -> Vec<AttentionCase> {
    use Pattern::{Causal, Full, Window};
    let with = |mut case: AttentionCase, change: &dyn Fn(&mut AttentionCase, &mut SplitMix)| {
        change(&mut case, &mut SplitMix(99));
        case
    };
    let bias: &dyn Fn(&mut AttentionCase, &mut SplitMix) =
        &|case, random| case.distance_bias = Some(normal(random, case.shape.distance_bias_len()));
    let sinks: &dyn Fn(&mut AttentionCase, &mut SplitMix) =
        &|case, random| case.sinks = Some(normal(random, case.shape.heads));
    let mask: &dyn Fn(&mut AttentionCase, &mut SplitMix) =
        &|case, _| case.key_mask = Some((0..case.shape.span.keys).map(|key| key % 3 != 1).collect());
    let segments: &dyn Fn(&mut AttentionCase, &mut SplitMix) = &|case, _| {
        let of = |count: usize| Some((0..count).map(|token| (token / 3) as u32).collect());
        (case.query_segments, case.key_segments) = (of(case.shape.span.queries), of(case.shape.span.keys));
    };
    let no_scale: &dyn Fn(&mut AttentionCase, &mut SplitMix) = &|case, _| case.scale = 1.0;
    let dropout: &dyn Fn(&mut AttentionCase, &mut SplitMix) =
        &|case, random| case.dropout = Some(Dropout::draw(0.3, random).unwrap());
    let all_hidden: &dyn Fn(&mut AttentionCase, &mut SplitMix) = &|case, _| {
        case.key_mask = Some((0..case.shape.span.keys).map(|key| key > 3).collect());
    };
    let shape = |span: [usize; 3], heads, dims| shape(span.map(|tokens| tokens * times), heads, dims);
    vec![
        plain("full", Full, shape([5, 5, 0], [2, 2], [3, 3])),
        plain("causal, lanes", Causal, shape([7, 7, 0], [2, 2], [16, 16])),
        plain("cross, wide heads", Full, shape([3, 9, 0], [3, 3], [19, 35])),
        plain("one key head", Causal, shape([6, 6, 0], [4, 1], [17, 16])),
        plain("grouped heads", Full, shape([6, 5, 0], [6, 2], [4, 5])),
        plain("after a past", Causal, shape([2, 9, 7], [4, 2], [8, 8])),
        plain("one query after a past of more than a chunk", Causal, shape([1, 40, 39], [3, 3], [4, 4])),
        plain("window", Window(3), shape([40, 40, 0], [1, 1], [4, 4])),
        plain("window of nothing", Window(0), shape([3, 3, 0], [1, 1], [2, 2])),
        plain("queries beyond the keys", Window(2), shape([4, 3, 1], [1, 1], [2, 2])),
        plain("no queries", Full, shape([0, 3, 0], [2, 2], [4, 4])),
        plain("no keys", Full, shape([3, 0, 0], [2, 2], [4, 4])),
        plain("no heads", Full, shape([3, 3, 0], [0, 1], [4, 4])),
        with(plain("T5 encoder", Full, shape([6, 6, 0], [2, 2], [8, 8])), &|case, random| {
            bias(case, random);
            no_scale(case, random);
        }),
        with(plain("bias of grouped heads after a past", Causal, shape([3, 8, 5], [4, 2], [8, 8])), bias),
        with(plain("sinks", Causal, shape([6, 6, 0], [2, 1], [8, 8])), sinks),
        with(plain("padding", Full, shape([5, 7, 0], [2, 2], [8, 8])), mask),
        with(plain("packed", Causal, shape([11, 11, 0], [2, 2], [8, 8])), segments),
        with(plain("some queries see nothing", Causal, shape([6, 6, 0], [2, 2], [8, 8])), all_hidden),
        with(
            plain("a sink for those who see nothing", Causal, shape([6, 6, 0], [2, 2], [8, 8])),
            &|case, random| {
                all_hidden(case, random);
                sinks(case, random);
            },
        ),
        with(plain("dropout", Causal, shape([20, 20, 0], [2, 2], [8, 8])), dropout),
        with(
            plain("everything but dropout", Window(5), shape([13, 13, 0], [4, 2], [18, 21])),
            &|case, random| {
                [bias, sinks, mask, segments].iter().for_each(|change| change(case, random));
            },
        ),
        with(
            plain("everything at once", Window(5), shape([13, 13, 0], [4, 2], [18, 20])),
            &|case, random| {
                [bias, sinks, mask, segments, dropout].iter().for_each(|change| change(case, random));
            },
        ),
    ]
}
