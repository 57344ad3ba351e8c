//! Choosing the next token by chance.
//!
//! The order and the formulas are those of transformers (`GenerationMixin._get_logits_processor`, 5.x, and
//! `generation/logits_process.py`): repetition penalty, temperature, top-k, top-p, min-p.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::error::LmProblem;

/// How chance chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by: below 1 the likely becomes likelier.
    pub temperature: f64,
    /// Only so many of the likeliest tokens; `None` for all.
    pub top_k: Option<usize>,
    /// Only the fewest tokens that together have this probability; 1 for all.
    pub top_p: f64,
    /// Only tokens with this share of the likeliest one's probability; 0 for all.
    pub min_p: f64,
    /// What chance begins with.
    pub seed: u64,
}

impl Default for Sampling {
    /// By the model's own probabilities.
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

/// A token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Its probability; those of all candidates have the sum 1.
    pub probability: f64,
}

/// How many candidates are sorted at first, to find those of the largest probabilities.
const FIRST_SORTED: usize = 64;

impl Sampling {
    pub(super) fn check(&self) -> Result<(), LmProblem> {
        let Self { temperature, top_k, top_p, min_p, .. } = *self;
        let settings = [
            ("temperature", temperature, temperature > 0.0 && temperature.is_finite(), "a number above 0"),
            ("top_k", top_k.unwrap_or_default() as f64, top_k != Some(0), "a whole number from 1"),
            ("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "a share above 0, at most 1"),
            ("min_p", min_p, (0.0..1.0).contains(&min_p), "a share from 0, below 1"),
        ];
        let wrong = settings.into_iter().find(|(_, _, is_right, _)| !is_right);
        wrong.map_or(Ok(()), |(what, found, _, expected)| Err(LmProblem::Setting { what, found, expected }))
    }

    /// The chance of a prompt's `nth` sample: the same whatever else is written beside it, another one for other ids.
    pub fn chance(&self, prompt: impl IntoIterator<Item = u32>, nth: usize) -> Pcg64 {
        // Far from each other: neighbours of a seed are seeds that users choose.
        let step = |number: u64, by: u64| (number ^ by).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let prompt = prompt.into_iter().fold(0, |number, id| step(number, u64::from(id) + 1));
        Pcg64::seed_from_u64(self.seed ^ step(prompt, nth as u64))
    }

    /// The token that one random number chooses.
    pub fn choose(&self, logits: &[f32], chance: &mut impl Rng) -> u32 {
        let mut left = (chance.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
        let mut chosen = 0;
        for Candidate { id, probability } in self.candidates(logits) {
            chosen = id;
            left -= probability;
            if left < 0.0 {
                break;
            }
        }
        chosen
    }

    /// The tokens that may come next, by their ids. Of equal logits the lower id is the likelier one.
    ///
    /// `p = softmax(logits / temperature)` over the `top_k` largest; then over the fewest that reach `top_p`; then over those
    /// with `p ≥ min_p · max p`. At least one is left. Unlike transformers, which keeps all that equal the last of `top_k`, there
    /// are never more.
    ///
    /// ```
    /// # use mixlet_runtime::models::generate::Sampling;
    /// let half = Sampling { top_p: 0.5, ..Sampling::default() };
    /// let ids = |sampling: Sampling| -> Vec<u32> {
    ///     sampling.candidates(&[0.3f32.ln(), 0.4f32.ln(), 0.2f32.ln(), 0.1f32.ln()]).iter().map(|it| it.id).collect()
    /// };
    /// assert_eq!(ids(half), [0, 1]);
    /// assert_eq!(ids(Sampling { top_k: Some(1), ..half }), [1]);
    /// ```
    pub fn candidates(&self, logits: &[f32]) -> Vec<Candidate> {
        let scaled = |logit: &f32| f64::from(*logit) / self.temperature;
        let mut all: Vec<Candidate> =
            (0..).zip(logits).map(|(id, logit)| Candidate { id, probability: scaled(logit) }).collect();
        if let Some(top_k) = self.top_k.filter(|top_k| (1..all.len()).contains(top_k)) {
            all.select_nth_unstable_by(top_k - 1, larger_first);
            all.truncate(top_k);
            all.sort_unstable_by_key(|candidate| candidate.id);
        }
        let largest = all.iter().fold(f64::NEG_INFINITY, |largest, it| largest.max(it.probability));
        all.iter_mut().for_each(|it| it.probability = (it.probability - largest).exp());
        if self.top_p < 1.0 {
            keep_most(&mut all, self.top_p);
        }
        // The likeliest has exp(0) = 1.
        all.retain(|it| it.probability >= self.min_p);
        all.sort_unstable_by_key(|candidate| candidate.id);
        let sum: f64 = all.iter().map(|it| it.probability).sum();
        all.iter_mut().for_each(|it| it.probability /= sum);
        all
    }
}

/// Leaves the fewest candidates whose weights reach a share of all.
fn keep_most(all: &mut Vec<Candidate>, share: f64) {
    let enough = share * all.iter().map(|it| it.probability).sum::<f64>();
    let (mut sorted, mut reached) = (0, 0.0);
    // Few reach it mostly: only as many are sorted as that takes, in runs that grow.
    while sorted < all.len() {
        let run = sorted.max(FIRST_SORTED).min(all.len() - sorted);
        let rest = all.get_mut(sorted..).unwrap_or_default();
        if run < rest.len() {
            rest.select_nth_unstable_by(run, larger_first);
        }
        let run = rest.get_mut(..run).unwrap_or_default();
        run.sort_unstable_by(larger_first);
        for candidate in run {
            sorted += 1;
            reached += candidate.probability;
            if reached >= enough {
                return all.truncate(sorted);
            }
        }
    }
}

/// The larger value first; of equals the lower id.
fn larger_first(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.probability.total_cmp(&a.probability).then(a.id.cmp(&b.id))
}

/// Makes tokens that are there already less likely: their logits are divided by the penalty where they are positive, else
/// multiplied by it, each token once (Keskar and others 2019, CTRL, section 4.1).
///
/// ```
/// # use mixlet_runtime::models::generate::penalise;
/// let mut logits = [2.0, -2.0, 2.0];
/// penalise(&mut logits, &[0, 1, 0], 4.0);
/// assert_eq!(logits, [0.5, -8.0, 2.0]);
/// ```
pub fn penalise(logits: &mut [f32], ids: &[u32], penalty: f32) {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}
