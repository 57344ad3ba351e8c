//! How well texts are predicted: `exp` of the mean negative logarithm of a token's probability, and bits for a byte.
//!
//! A window of tokens slides over a text. The first predicts all its tokens but the first one, every other those that the one
//! before did not reach: each then has at least `window − stride` tokens before it. The first token of a text is not
//! predicted, nor do its bytes count; where a tokenizer puts a begin id before, that is the one.

use serde::Serialize;

use super::plan::TextPlan;
use super::spread::bootstrap;
use super::{EvalProgress, Scored};
use crate::error::Result;
use crate::models::Model;
use crate::models::forward::Watch;

/// How well texts are predicted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// Texts.
    pub texts: usize,
    /// Tokens predicted.
    pub tokens: u64,
    /// Bytes of text that they stand for.
    pub bytes: u64,
    /// `exp` of the mean cross entropy of a token.
    pub perplexity: f64,
    /// Its standard error: by bootstrap over texts, or over windows where there is one text.
    pub perplexity_error: Option<f64>,
    /// Cross entropy of a token, in nats.
    pub cross_entropy: f64,
    /// Cross entropy in bits over bytes: models with different tokenizers can be compared by it.
    pub bits_per_byte: f64,
    /// Share of tokens that the model finds likeliest.
    pub accuracy: f64,
    /// Every text.
    #[serde(skip)]
    pub each: Vec<TextScore>,
}

/// How well a text is predicted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TextScore {
    /// Where it stands.
    pub line: Option<usize>,
    /// Tokens predicted.
    pub tokens: u64,
    /// Bytes that they stand for.
    pub bytes: u64,
    /// The sum of their negative logarithms, in nats.
    pub nats: f64,
    /// Tokens that the model finds likeliest.
    pub best: u64,
}

/// The windows over a text of at least two tokens; none over a shorter one.
///
/// ```
/// # use mixlet_runtime::models::eval::perplexity::windows;
/// let scored = windows(&[1, 2, 3, 4, 5, 6, 7], 4, 2);
/// let facts: Vec<_> = scored.iter().map(|it| (it.output[0], it.output.len(), it.from)).collect();
/// assert_eq!(facts, [(1, 4, 1), (3, 4, 2), (5, 3, 2)]);
/// ```
pub fn windows(ids: &[u32], window: usize, stride: usize) -> Vec<Scored> {
    let (window, stride) = settled(window, stride);
    let (mut all, mut start, mut predicted) = (Vec::new(), 0, 1);
    while predicted < ids.len() {
        let end = ids.len().min(start + window);
        all.push(Scored { input: Vec::new(), output: ids[start..end].to_vec(), from: predicted - start });
        (start, predicted) = (start + stride, end);
    }
    all
}

/// The nearest window and stride that can be: one token to predict, and as far as windows can go, as one token of each was
/// predicted before.
pub fn settled(window: usize, stride: usize) -> (usize, usize) {
    let window = window.max(2);
    (window, stride.clamp(1, window - 1))
}

/// Predicts texts.
pub fn perplexity(
    model: &Model,
    texts: &[TextPlan],
    seed: u64,
    watch: &mut impl Watch,
    progress: EvalProgress<'_>,
) -> Result<Perplexity> {
    let all = texts.iter().map(|text| text.windows.len()).sum();
    let (mut done, mut read) = (0, 0);
    let (mut each, mut windows) = (Vec::new(), Vec::new());
    for text in texts {
        let mut score = TextScore { line: text.line, bytes: text.bytes as u64, ..TextScore::default() };
        for window in &text.windows {
            let likelihoods = window.likelihoods(model, watch)?;
            let nats = -likelihoods.iter().map(|it| it.log).sum::<f64>();
            score.nats += nats;
            score.tokens += likelihoods.len() as u64;
            score.best += likelihoods.iter().filter(|it| it.best).count() as u64;
            windows.push((nats, likelihoods.len() as u64));
            (done, read) = (done + 1, read + window.read() as u64);
            progress(done, all, read);
        }
        each.push(score);
    }
    let texts: Vec<(f64, u64)> = each.iter().map(|text| (text.nats, text.tokens)).collect();
    let pieces = if texts.len() > 1 { texts } else { windows };
    Ok(Perplexity::new(each, bootstrap(&pieces, seed, |pieces| of(pieces))))
}

/// The perplexity of some pieces: nats and tokens.
fn of(pieces: &mut dyn Iterator<Item = &(f64, u64)>) -> f64 {
    let (nats, tokens) = pieces.fold((0.0, 0), |sums, piece| (sums.0 + piece.0, sums.1 + piece.1));
    (nats / tokens as f64).exp()
}

impl Perplexity {
    fn new(each: Vec<TextScore>, perplexity_error: Option<f64>) -> Self {
        let sum = |of: fn(&TextScore) -> u64| each.iter().map(of).sum::<u64>();
        let (tokens, bytes, best) = (sum(|it| it.tokens), sum(|it| it.bytes), sum(|it| it.best));
        let nats: f64 = each.iter().map(|text| text.nats).sum();
        Self {
            texts: each.len(),
            tokens,
            bytes,
            perplexity: (nats / tokens as f64).exp(),
            perplexity_error,
            cross_entropy: nats / tokens as f64,
            bits_per_byte: nats / std::f64::consts::LN_2 / bytes as f64,
            accuracy: best as f64 / tokens as f64,
            each,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_predicted_once_after_enough_others() {
        for (len, window, stride) in
            [(2, 512, 256), (10, 4, 3), (10, 4, 1), (33, 8, 4), (9, 2, 1), (16, 8, 100), (9, 0, 0)]
        {
            let ids: Vec<u32> = (0..len).collect();
            let windows = windows(&ids, window, stride);
            let predicted: Vec<u32> = windows.iter().flat_map(|it| it.output[it.from..].to_vec()).collect();
            assert_eq!(predicted, ids[1..], "{len}, {window}, {stride}");
            let context = window.max(2) - stride.clamp(1, window.max(2) - 1);
            assert!(windows.iter().skip(1).all(|it| it.from >= context), "{len}, {window}, {stride}");
            assert!(windows.iter().all(|it| it.output.len() <= window.max(2)));
        }
        assert_eq!((windows(&[1], 4, 2), windows(&[], 4, 2)), (vec![], vec![]));
    }
}
