//! Choosing the next token, by the book: every rule in turn over the whole vocabulary.

use mixlet_runtime::models::generate::Sampling;

/// The probability of every id; 0 for those that may not come.
pub fn probabilities(how: &Sampling, logits: &[f32]) -> Vec<f64> {
    let scaled: Vec<f64> = logits.iter().map(|logit| f64::from(*logit) / how.temperature).collect();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| scaled[*b].total_cmp(&scaled[*a]));
    let mut left = order.clone();
    left.truncate(how.top_k.unwrap_or(left.len()));

    let softmax = |left: &[usize]| {
        let mut out = vec![0.0; logits.len()];
        let sum: f64 = left.iter().map(|id| (scaled[*id] - scaled[order[0]]).exp()).sum();
        left.iter().for_each(|id| out[*id] = (scaled[*id] - scaled[order[0]]).exp() / sum);
        out
    };
    let before = softmax(&left);
    if how.top_p < 1.0 {
        // The first place from which on the sum reaches the share.
        let reaches = |count: &usize| left[..*count].iter().map(|id| before[*id]).sum::<f64>() >= how.top_p;
        let count = (1..=left.len()).find(reaches).unwrap_or(left.len());
        left.truncate(count);
    }
    left.retain(|id| before[*id] >= how.min_p * before[order[0]]);
    softmax(&left)
}

/// Logits after the penalty for ids that are there already.
pub fn penalised(logits: &[f32], ids: &[u32], penalty: f32) -> Vec<f32> {
    let one = |(id, logit): (u32, &f32)| match (ids.contains(&id), *logit > 0.0) {
        (false, _) => *logit,
        (true, true) => logit / penalty,
        (true, false) => logit * penalty,
    };
    (0..).zip(logits).map(one).collect()
}
