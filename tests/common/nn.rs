//! Layers written from their formulas, in `f64`: the reference for `mixlet_core::nn`.

use mixlet_core::nn::{
    Attention, CrossEntropy, IGNORED, LabelSmoothing, Pairing, Pattern, PositionBias, Reduction, Rotary,
    Targets,
};

/// `x / √(mean x² + ε) · (weight + offset)`.
pub fn rms_norm(x: &[f64], weight: &[f64], epsilon: f64, offset: f64) -> Vec<f64> {
    let row = |x: &[f64]| {
        let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + epsilon).sqrt();
        x.iter().zip(weight).map(|(x, weight)| x / rms * (weight + offset)).collect::<Vec<_>>()
    };
    x.chunks(weight.len()).flat_map(row).collect()
}

/// `(x − mean) / √(variance + ε) · weight + bias`.
pub fn layer_norm(x: &[f64], weight: &[f64], bias: &[f64], epsilon: f64) -> Vec<f64> {
    let row = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let n = x.iter().map(|x| (x - mean) / (variance + epsilon).sqrt());
        n.zip(weight.iter().zip(bias)).map(|(n, (weight, bias))| n * weight + bias).collect::<Vec<_>>()
    };
    x.chunks(weight.len()).flat_map(row).collect()
}

/// Every pair as a complex number times `e^(i · position · frequency)`.
pub fn rotary(rotary: Rotary, positions: &[u32], inverse_frequencies: &[f64], values: &[f64]) -> Vec<f64> {
    let mut out = values.to_vec();
    for (token, position) in positions.iter().enumerate() {
        for head in 0..rotary.heads {
            let start = (token * rotary.heads + head) * rotary.head_dim + rotary.start;
            for (nth, frequency) in inverse_frequencies.iter().enumerate() {
                let (a, b) = match rotary.pairing {
                    Pairing::Halves => (start + nth, start + nth + rotary.width / 2),
                    Pairing::Interleaved => (start + 2 * nth, start + 2 * nth + 1),
                };
                let (length, angle) = (values[a].hypot(values[b]), values[b].atan2(values[a]));
                let turned = angle + f64::from(*position) * frequency;
                (out[a], out[b]) = (length * turned.cos(), length * turned.sin());
            }
        }
    }
    out
}

/// The bias of a head for a key's position minus a query's: the table's row found by comparing with each bucket's start.
pub fn position_bias(bias: PositionBias, table: &[f64], head: usize, distance: i64) -> f64 {
    let buckets = if bias.bidirectional { bias.buckets / 2 } else { bias.buckets };
    let after = if bias.bidirectional && distance > 0 { buckets } else { 0 };
    let back = if bias.bidirectional { distance.abs() } else { (-distance).max(0) } as f64;
    let exact = buckets / 2;
    let start = |bucket: usize| {
        if bucket <= exact {
            return bucket as f64;
        }
        let power = (bucket - exact) as f64 / (buckets - exact) as f64;
        exact as f64 * (bias.max_distance as f64 / exact as f64).powf(power)
    };
    let bucket = (0..buckets).rev().find(|bucket| start(*bucket) <= back + 1e-9).unwrap();
    table[(after + bucket) * bias.heads + head]
}

/// Attention with every score in memory.
pub fn attention(attention: &Attention<'_, f64>) -> Vec<f64> {
    let shape = attention.shape;
    let (queries, keys, first_query) = (shape.span.queries, shape.span.keys, shape.span.first_query);
    let mut out = vec![0.0; queries * shape.heads * shape.value_dim];
    for query in 0..queries {
        for head in 0..shape.heads {
            let kv_head = head / (shape.heads / shape.kv_heads);
            let q = (query * shape.heads + head) * shape.head_dim;
            let score = |key: usize| {
                let k = (key * shape.kv_heads + kv_head) * shape.head_dim;
                let product: f64 = (0..shape.head_dim).map(|d| attention.q[q + d] * attention.k[k + d]).sum();
                let distance = queries - 1 + key - query;
                let bias =
                    attention.distance_bias.map_or(0.0, |bias| bias[head * (queries + keys - 1) + distance]);
                attention.scale * product + bias
            };
            let seen: Vec<usize> =
                (0..keys).filter(|key| sees(attention, first_query, query, *key)).collect();
            let total: f64 = seen.iter().map(|key| score(*key).exp()).sum::<f64>()
                + attention.sinks.map_or(0.0, |sinks| sinks[head].exp());
            for key in seen {
                for d in 0..shape.value_dim {
                    let value = attention.v[(key * shape.kv_heads + kv_head) * shape.value_dim + d];
                    out[(query * shape.heads + head) * shape.value_dim + d] +=
                        score(key).exp() / total * value;
                }
            }
        }
    }
    out
}

fn sees(attention: &Attention<'_, f64>, first_query: usize, query: usize, key: usize) -> bool {
    let position = first_query + query;
    let by_position = match attention.visibility.pattern {
        Pattern::Full => true,
        Pattern::Causal => key <= position,
        Pattern::Window(width) => key <= position && position < key + width,
    };
    by_position
        && attention.visibility.key_mask.is_none_or(|mask| mask[key])
        && attention.visibility.segments.is_none_or(|segments| segments.queries[query] == segments.keys[key])
}

/// Cross entropy and z-loss, with the target's distribution written out.
pub fn cross_entropy(settings: CrossEntropy, targets: Targets<'_>, logits: &[f64]) -> [f64; 2] {
    let vocab = settings.vocab;
    let (mut losses, mut weights) = ([0.0; 2], 0.0);
    for (token, logits) in logits.chunks(vocab).enumerate() {
        if targets.labels[token] == IGNORED {
            continue;
        }
        let label = targets.labels[token] as usize;
        let weight = targets.loss_mask.map_or(1.0, |mask| f64::from(mask[token]));
        let log_sum = logits.iter().map(|logit| (settings.logit_scale * logit).exp()).sum::<f64>().ln();
        let probability = |id: usize| match settings.label_smoothing {
            LabelSmoothing::None => f64::from(u8::from(id == label)),
            LabelSmoothing::AllIds(rate) if id == label => 1.0 - rate + rate / vocab as f64,
            LabelSmoothing::AllIds(rate) => rate / vocab as f64,
            LabelSmoothing::OtherIds(rate) if id == label => 1.0 - rate,
            LabelSmoothing::OtherIds(rate) => rate / (vocab - 1) as f64,
        };
        let term = |id: usize| {
            let of_entropy = match settings.label_smoothing {
                LabelSmoothing::OtherIds(_) if probability(id) > 0.0 => probability(id).ln(),
                _ => 0.0,
            };
            probability(id) * (log_sum - settings.logit_scale * logits[id] + of_entropy)
        };
        losses[0] += weight * (0..vocab).map(term).sum::<f64>();
        losses[1] += weight * settings.z_loss * log_sum * log_sum;
        weights += weight;
    }
    let divisor = match settings.reduction {
        Reduction::Mean if weights == 0.0 => 1.0,
        Reduction::Mean => weights,
        Reduction::Sum => 1.0,
        Reduction::Over(total) => total,
    };
    losses.map(|loss| loss / divisor)
}
