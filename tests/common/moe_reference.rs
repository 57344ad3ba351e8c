//! Routers, plans and losses once more: allocating, in double precision, word for word from their sources.

use mixlet_core::moe::*;

/// One token's choices, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choices {
    pub experts: Vec<u32>,
    pub gates: Vec<f64>,
    pub sent: Vec<bool>,
}

pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = logits.iter().map(|z| (z - most).exp()).collect();
    let total: f64 = exps.iter().sum();
    exps.iter().map(|e| e / total).collect()
}

/// Places by falling value; ties to the lower place.
pub fn descending(values: &[f64]) -> Vec<u32> {
    let mut places: Vec<u32> = (0..values.len() as u32).collect();
    places.sort_by(|&a, &b| values[b as usize].partial_cmp(&values[a as usize]).unwrap());
    places
}

fn best(values: &[f64], count: usize) -> Vec<u32> {
    descending(values)[..count].to_vec()
}

fn gather(values: &[f64], places: &[u32]) -> Vec<f64> {
    places.iter().map(|&place| values[place as usize]).collect()
}

fn divided(values: &[f64], by: f64) -> Vec<f64> {
    values.iter().map(|value| value / by).collect()
}

/// The place of a draw among weights.
fn drawn(weights: &[f64], draw: f64) -> u32 {
    let target = draw * weights.iter().sum::<f64>();
    let mut below = 0.0;
    for (place, weight) in weights.iter().enumerate() {
        below += weight;
        if target < below {
            return place as u32;
        }
    }
    weights.iter().rposition(|&weight| weight > 0.0).unwrap() as u32
}

/// What one token chooses. `bias` and `noise_logits` as the policy needs them, `draws` of this token.
pub fn choices(
    policy: Policy,
    phase: Phase,
    logits: &[f64],
    bias: &[f64],
    noise_logits: &[f64],
    draws: &[f64],
) -> Choices {
    let p = softmax(logits);
    let all = |experts: Vec<u32>, gates: Vec<f64>| {
        let sent = vec![true; experts.len()];
        Choices { experts, gates, sent }
    };
    let shares = |experts: Vec<u32>, least: f64, draws: &[f64], others: SecondExpert| {
        let raw = gather(&p, &experts);
        let gates = divided(&raw, raw.iter().sum::<f64>() + least);
        let mut coins = draws.iter();
        let sent = (0..gates.len())
            .map(|rank| match others {
                _ if rank == 0 => true,
                SecondExpert::All => true,
                SecondExpert::None => false,
                SecondExpert::Threshold(threshold) => gates[rank] > threshold,
                SecondExpert::Random(threshold) => *coins.next().unwrap() < gates[rank] / threshold,
            })
            .collect();
        Choices { experts, gates, sent }
    };
    match policy {
        Policy::Switch { choice } => {
            let expert = match *choice.of(phase) {
                SwitchChoice::Argmax => best(&p, 1)[0],
                SwitchChoice::Sample { temperature } => {
                    drawn(&softmax(&divided(logits, temperature)), draws[0])
                }
            };
            all(vec![expert], vec![p[expert as usize]])
        }
        Policy::GShard { second } => shares(best(&p, 2), 0.0, draws, *second.of(phase)),
        Policy::DeepSpeedTop2 { sample_second } => {
            let mut experts = best(&p, 2);
            if *sample_second.of(phase) {
                let mut others = p.clone();
                others[experts[0] as usize] = 0.0;
                experts[1] = drawn(&others, draws[0]);
            }
            let gates = gather(&p, &experts);
            all(experts, gates)
        }
        Policy::Mesh { top_k, others } => shares(best(&p, top_k as usize), 1e-9, draws, *others.of(phase)),
        Policy::Flaxformer { top_k } | Policy::Olmoe { top_k } => {
            let experts = best(&p, top_k as usize);
            let gates = gather(&p, &experts);
            all(experts, gates)
        }
        Policy::Mixtral { top_k } => shares(best(&p, top_k as usize), 0.0, &[], SecondExpert::All),
        Policy::SoftmaxAfterTopK { top_k } => {
            let experts = best(logits, top_k as usize);
            let gates = softmax(&gather(logits, &experts));
            all(experts, gates)
        }
        Policy::DeepSeekV3 { top_k, expert_groups, kept_groups, normalise, scale } => {
            let s: Vec<f64> = logits.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect();
            let choice: Vec<f64> = s.iter().zip(bias).map(|(s, bias)| s + bias).collect();
            let len = logits.len() / expert_groups as usize;
            let of_group = |group: &[f64]| {
                let order = descending(group);
                order.iter().take(2).map(|&place| group[place as usize]).sum::<f64>()
            };
            let groups = best(&choice.chunks(len).map(of_group).collect::<Vec<_>>(), kept_groups as usize);
            let kept = |place: usize| groups.contains(&((place / len) as u32));
            let masked: Vec<f64> =
                (0..choice.len()).map(|e| if kept(e) { choice[e] } else { f64::NEG_INFINITY }).collect();
            let experts = best(&masked, top_k as usize);
            let mut gates = gather(&s, &experts);
            if normalise {
                gates = divided(&gates, gates.iter().sum::<f64>() + 1e-20);
            }
            all(experts, gates.iter().map(|gate| gate * scale).collect())
        }
        Policy::NoisyTopK { top_k, noise } => {
            let mut h = logits.to_vec();
            if phase == Phase::Train {
                for (place, h) in h.iter_mut().enumerate() {
                    *h += draws[place]
                        * match noise {
                            NoiseScale::Fixed(sigma) => sigma,
                            NoiseScale::Learned { least } => (1.0 + noise_logits[place].exp()).ln() + least,
                        };
                }
            }
            let experts = best(&h, top_k as usize);
            let gates = softmax(&gather(&h, &experts));
            all(experts, gates)
        }
        Policy::Hash | Policy::ExpertChoice { .. } | Policy::CappedExpertChoice { .. } => {
            panic!("{policy:?} is no token choice by logits")
        }
    }
}

/// Which slots have a row: greedy, in the order given. `groups[slot]` is the group of its token.
pub fn kept_slots(experts: &[u32], order: &[usize], groups: &[usize], capacity: Option<u32>) -> Vec<bool> {
    let mut taken = std::collections::HashMap::new();
    let mut kept = vec![false; experts.len()];
    for &slot in order.iter().filter(|&&slot| experts[slot] != UNSENT) {
        let count: &mut u32 = taken.entry((groups[slot], experts[slot])).or_default();
        kept[slot] = capacity.is_none_or(|capacity| *count < capacity);
        *count += 1;
    }
    kept
}

/// Slots in the order of a priority, for `top_k` slots per token.
pub fn placing_order(
    priority: Priority,
    tokens: usize,
    top_k: usize,
    first_probability: &[f64],
    gates: &[f64],
) -> Vec<usize> {
    let by_rank = |tokens: &[usize]| -> Vec<usize> {
        (0..top_k).flat_map(|rank| tokens.iter().map(move |token| token * top_k + rank)).collect()
    };
    match priority {
        Priority::Ranks => by_rank(&(0..tokens).collect::<Vec<_>>()),
        Priority::Slots => (0..tokens * top_k).collect(),
        Priority::Batch => {
            by_rank(&descending(first_probability).iter().map(|&token| token as usize).collect::<Vec<_>>())
        }
        Priority::Gates => descending(gates).iter().map(|&slot| slot as usize).collect(),
        Priority::Random => panic!("a drawn order is no function of its inputs"),
    }
}

/// Capped expert choice's program by Dykstra's algorithm as it is written down: a matrix `ln A`, a projection on each
/// set in turn, and a matrix of corrections for each of the two inequalities. Returns `A` `[T, E]`.
pub fn dykstra(scores: &[Vec<f64>], rows: f64, cap: f64, temperature: f64, rounds: usize) -> Vec<Vec<f64>> {
    let experts = scores[0].len();
    let mut log_a: Vec<Vec<f64>> =
        scores.iter().map(|row| row.iter().map(|score| score / temperature).collect()).collect();
    let log_sum_exp = |values: &[f64]| {
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + values.iter().map(|value| (value - most).exp()).sum::<f64>().ln()
    };
    let most: Vec<f64> =
        (0..experts).map(|e| log_a.iter().map(|row| row[e]).fold(f64::NEG_INFINITY, f64::max)).collect();
    log_a.iter_mut().for_each(|row| row.iter_mut().zip(&most).for_each(|(value, most)| *value -= most));
    let mut of_cap = vec![vec![0.0; experts]; scores.len()];
    let mut of_box = of_cap.clone();
    for _ in 0..rounds {
        for e in 0..experts {
            let column: Vec<f64> = log_a.iter().map(|row| row[e]).collect();
            let shift = rows.ln() - log_sum_exp(&column);
            log_a.iter_mut().for_each(|row| row[e] += shift);
        }
        for (row, correction) in log_a.iter_mut().zip(&mut of_cap) {
            let before: Vec<f64> = row.iter().zip(&*correction).map(|(value, q)| value + q).collect();
            let over = (log_sum_exp(&before) - cap.ln()).max(0.0);
            *row = before.iter().map(|value| value - over).collect();
            *correction = before.iter().zip(&*row).map(|(before, after)| before - after).collect();
        }
        for (row, correction) in log_a.iter_mut().zip(&mut of_box) {
            let before: Vec<f64> = row.iter().zip(&*correction).map(|(value, q)| value + q).collect();
            *row = before.iter().map(|value| value.min(0.0)).collect();
            *correction = before.iter().zip(&*row).map(|(before, after)| before - after).collect();
        }
    }
    log_a.iter().map(|row| row.iter().map(|value| value.exp()).collect()).collect()
}
