//! Token choice: each token takes its best experts.

use super::best::keep_best;
use super::error::RouterError;
use super::policies::{NoiseScale, Pick, Recipe, Scores, SecondExpert};
use super::routing::{RouterInput, RoutingShape, RoutingStorage, UNSENT};
use super::rows::{nth_row, rows_of, rows_of_mut};
use super::slices::{all_finite, sigmoid, softmax, softplus};
use crate::real::Real;

const MOST_GROUPS: usize = super::config::MOST_EXPERT_GROUPS as usize;

/// One token's slots.
struct Slots<'a, R> {
    chosen: &'a mut [u32],
    experts: &'a mut [u32],
    gates: &'a mut [R],
}

impl<R: Real> Slots<'_, R> {
    fn clear(&mut self) {
        self.chosen.fill(UNSENT);
        self.experts.fill(UNSENT);
        self.gates.fill(R::ZERO);
    }
}

/// Probabilities, chosen experts and gates of every token. Lengths have been checked.
#[inline(always)]
pub(super) fn choose<R: Real>(
    recipe: &Recipe,
    shape: RoutingShape,
    input: &RouterInput<'_, R>,
    storage: &mut RoutingStorage<'_, R>,
) -> Result<(), RouterError> {
    storage.write_even_offsets(recipe.top_k);
    let draws_len = recipe.draws_per_token(shape.experts);
    let rows = rows_of_mut(storage.probabilities, shape.experts);
    let slots = token_slots(recipe.top_k, storage.chosen, storage.experts, storage.gates);
    for (token, (row, mut slots)) in rows.zip(slots).enumerate() {
        slots.clear();
        if !input.is_real(token) {
            row.fill(R::ZERO);
            continue;
        }
        let draws = nth_row(input.draws, token, draws_len);
        recipe.write_scores(input, token, draws, row);
        if !all_finite(row) {
            return Err(RouterError::NonFinite { token });
        }
        recipe.choose(input.bias, row, &mut slots);
        let coins = recipe.resample(row, draws, slots.chosen);
        recipe.write_gates(row, slots.chosen, slots.gates);
        recipe.send(coins, slots);
    }
    Ok(())
}

/// Each token's expert from a table: gate 1, and all probability on it.
#[inline(always)]
pub(super) fn take_hashed<R: Real>(
    shape: RoutingShape,
    input: &RouterInput<'_, R>,
    storage: &mut RoutingStorage<'_, R>,
) -> Result<(), RouterError> {
    storage.write_even_offsets(1);
    let rows = rows_of_mut(storage.probabilities, shape.experts);
    let slots = token_slots(1, storage.chosen, storage.experts, storage.gates);
    for (token, ((row, mut slots), &expert)) in rows.zip(slots).zip(input.hashed).enumerate() {
        slots.clear();
        row.fill(R::ZERO);
        if !input.is_real(token) {
            continue;
        }
        let Some(probability) = row.get_mut(expert as usize) else {
            return Err(RouterError::Expert { slot: token, expert, experts: shape.experts });
        };
        *probability = R::ONE;
        slots.chosen.fill(expert);
        slots.experts.fill(expert);
        slots.gates.fill(R::ONE);
    }
    Ok(())
}

/// Probabilities and gates of experts that have been chosen already.
#[inline(always)]
pub(super) fn gates_of_chosen<R: Real>(
    recipe: &Recipe,
    shape: RoutingShape,
    input: &RouterInput<'_, R>,
    storage: &mut RoutingStorage<'_, R>,
) -> Result<(), RouterError> {
    let draws_len = recipe.draws_per_token(shape.experts);
    let rows = rows_of_mut(storage.probabilities, shape.experts);
    let slots = token_slots(recipe.top_k, storage.chosen, storage.experts, storage.gates);
    for (token, (row, mut slots)) in rows.zip(slots).enumerate() {
        if !input.is_real(token) {
            slots.clear();
            row.fill(R::ZERO);
            continue;
        }
        recipe.write_scores(input, token, nth_row(input.draws, token, draws_len), row);
        if !all_finite(row) {
            return Err(RouterError::NonFinite { token });
        }
        match recipe.scores {
            Scores::Sigmoid { .. } => row.iter_mut().for_each(|value| *value = sigmoid(*value)),
            Scores::Softmax | Scores::Logits | Scores::Noisy(_) => softmax(row),
        }
        recipe.write_gates(row, slots.chosen, slots.gates);
    }
    Ok(())
}

#[inline(always)]
fn token_slots<'a, R>(
    top_k: usize,
    chosen: &'a mut [u32],
    experts: &'a mut [u32],
    gates: &'a mut [R],
) -> impl Iterator<Item = Slots<'a, R>> {
    let parts = rows_of_mut(chosen, top_k).zip(rows_of_mut(experts, top_k));
    parts.zip(rows_of_mut(gates, top_k)).map(|((chosen, experts), gates)| Slots { chosen, experts, gates })
}

impl Recipe {
    /// Whether `σ` of its noise is computed from the tokens.
    pub(super) fn has_learned_noise(&self) -> bool {
        matches!(self.scores, Scores::Noisy(NoiseScale::Learned { .. }))
    }

    /// The logits that are chosen from: with noise, if there is any.
    #[inline(always)]
    fn write_scores<R: Real>(&self, input: &RouterInput<'_, R>, token: usize, noise: &[R], row: &mut [R]) {
        let experts = row.len();
        let logits = nth_row(input.logits, token, experts);
        row.iter_mut().zip(logits).for_each(|(score, &logit)| *score = logit);
        match self.scores {
            Scores::Noisy(NoiseScale::Fixed(scale)) => {
                row.iter_mut().zip(noise).for_each(|(score, &noise)| *score += R::from_f64(scale) * noise);
            }
            Scores::Noisy(NoiseScale::Learned { least }) => {
                let noise_logits = nth_row(input.noise_logits, token, experts);
                for ((score, &noise), &noise_logit) in row.iter_mut().zip(noise).zip(noise_logits) {
                    *score += (softplus(noise_logit) + R::from_f64(least)) * noise;
                }
            }
            Scores::Softmax | Scores::Logits | Scores::Sigmoid { .. } => {}
        }
    }

    /// Turns logits into probabilities and takes the best.
    #[inline(always)]
    fn choose<R: Real>(&self, bias: &[R], row: &mut [R], slots: &mut Slots<'_, R>) {
        let Slots { chosen, gates, .. } = slots;
        match self.scores {
            Scores::Softmax => {
                softmax(row);
                keep_best((0..).zip(row.iter().copied()), chosen, gates);
            }
            Scores::Logits | Scores::Noisy(_) => {
                keep_best((0..).zip(row.iter().copied()), chosen, gates);
                softmax(row);
            }
            Scores::Sigmoid { groups, kept } => {
                row.iter_mut().for_each(|value| *value = sigmoid(*value));
                let biased = (0_u32..).zip(row.iter().zip(bias).map(|(&score, &bias)| score + bias));
                let (group_len, mask) = kept_groups(row, bias, groups, kept);
                let in_kept = |&(expert, _): &(u32, R)| {
                    mask >> expert.checked_div(group_len).unwrap_or(0).min(63) & 1 == 1
                };
                keep_best(biased.filter(in_kept), chosen, gates);
            }
        }
    }

    /// Replaces the choice that is drawn, if one is; returns the draws that are left.
    #[inline(always)]
    fn resample<'d, R: Real>(&self, row: &[R], draws: &'d [R], chosen: &mut [u32]) -> &'d [R] {
        let (pick, excluded, place) = match (self.first, self.second) {
            (pick @ Pick::Sample { .. }, _) => (pick, UNSENT, 0),
            (Pick::Best, pick) => (pick, chosen.first().copied().unwrap_or(UNSENT), 1),
        };
        let (Pick::Sample { temperature }, Some((&draw, rest))) = (pick, draws.split_first()) else {
            return draws;
        };
        if let Some(place) = chosen.get_mut(place) {
            *place = sample(row, temperature, excluded, draw);
        }
        rest
    }

    /// Gates from the probabilities of the chosen.
    #[inline(always)]
    fn write_gates<R: Real>(&self, row: &[R], chosen: &[u32], gates: &mut [R]) {
        let mut total = R::ZERO;
        for (gate, &expert) in gates.iter_mut().zip(chosen) {
            *gate = row.get(expert as usize).copied().unwrap_or(R::ZERO);
            total += *gate;
        }
        let scale = match self.gates.normalise {
            Some(least) => R::from_f64(self.gates.scale) / (total + R::from_f64(least)),
            None => R::from_f64(self.gates.scale),
        };
        gates.iter_mut().for_each(|gate| *gate *= scale);
    }

    /// Sends the first choice, and the others as the policy says.
    #[inline(always)]
    fn send<R: Real>(&self, coins: &[R], slots: Slots<'_, R>) {
        let choices = slots.experts.iter_mut().zip(slots.chosen.iter()).zip(slots.gates.iter());
        for (rank, ((expert, &chosen), &gate)) in choices.enumerate() {
            let sent = rank == 0
                || match self.others {
                    SecondExpert::All => true,
                    SecondExpert::None => false,
                    SecondExpert::Threshold(threshold) => gate > R::from_f64(threshold),
                    SecondExpert::Random(threshold) => {
                        coins.get(rank - 1).is_some_and(|&coin| coin * R::from_f64(threshold) < gate)
                    }
                };
            if sent {
                *expert = chosen;
            }
        }
    }
}

/// Experts of a group, and a bit for each group that is kept: those whose two best scores have the largest sum.
#[inline(always)]
fn kept_groups<R: Real>(row: &[R], bias: &[R], groups: usize, kept: usize) -> (u32, u64) {
    let len = (row.len() / groups.max(1)).max(1);
    let sum_of_two = |(row, bias): (&[R], &[R])| {
        let (mut best, mut second) = (R::from_f64(f64::NEG_INFINITY), R::from_f64(f64::NEG_INFINITY));
        for (&score, &bias) in row.iter().zip(bias) {
            let score = score + bias;
            if score > best {
                (best, second) = (score, best);
            } else if score > second {
                second = score;
            }
        }
        // A group of one has no second.
        if len > 1 { best + second } else { best }
    };
    let sums = rows_of(row, len).zip(rows_of(bias, len)).map(sum_of_two);
    let (mut best, mut scores) = ([UNSENT; MOST_GROUPS], [R::ZERO; MOST_GROUPS]);
    let best = best.get_mut(..kept).unwrap_or(&mut []);
    keep_best((0..).zip(sums), best, scores.get_mut(..kept).unwrap_or(&mut []));
    let bits = best.iter().fold(0, |bits, &group| bits | 1_u64.checked_shl(group).unwrap_or(0));
    (u32::try_from(len).unwrap_or(u32::MAX), bits)
}

/// The expert that a uniform draw falls on, with chances in the proportion of `p^(1/temperature)` among all but one.
#[inline(always)]
fn sample<R: Real>(row: &[R], temperature: f64, excluded: u32, draw: R) -> u32 {
    let weight = |(expert, &p): (u32, &R)| {
        let weight = if temperature == 1.0 { p } else { (p.ln() / R::from_f64(temperature)).exp() };
        (expert, if expert == excluded { R::ZERO } else { weight })
    };
    let total = (0..).zip(row).map(weight).fold(R::ZERO, |sum, (_, weight)| sum + weight);
    let (mut below, mut drawn) = (R::ZERO, UNSENT);
    for (expert, weight) in (0..).zip(row).map(weight) {
        // The last expert with a chance takes what rounding leaves over.
        if weight > R::ZERO && (below <= draw * total || drawn == UNSENT) {
            drawn = expert;
        }
        below += weight;
    }
    drawn
}
