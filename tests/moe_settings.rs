//! Settings of single sources against these sources' formulas: mesh's importance, Tutel's loss, DeepSpeed's random selection.

mod common;

use common::moe::*;
use common::moe_reference::{descending, softmax};
use common::random::SplitMix;
use mixlet_core::moe::balance::{Calibration, LoadBalance};
use mixlet_core::moe::importance::{limit, limit_backward};
use mixlet_core::moe::noisy::TutelLoss;
use mixlet_core::moe::*;

const TOKENS: usize = 12;
const EXPERTS: usize = 5;

fn numbers(len: usize, random: &mut SplitMix) -> Vec<f64> {
    (0..len).map(|_| 4.0 * random.unit() - 2.0).collect()
}

/// A token's first and second expert with their gates, where it has them.
type Choices = [Option<(u32, f64)>; 2];

/// mesh's top-2 with importance, as it is written there: the gates `[T, E]` of both passes before capacity, and the loss.
fn mesh(logits: &[f64], importance: &[f64]) -> (Vec<Choices>, f64) {
    let mut slots = Vec::new();
    let (mut density, mut proxy) = ([0.0; EXPERTS], [0.0; EXPERTS]);
    for (row, &importance) in logits.chunks(EXPERTS).zip(importance) {
        let raw = softmax(row);
        let is_one = f64::from(u8::from(importance == 1.0));
        let first = descending(&raw)[0] as usize;
        let mut without_first = raw.clone();
        without_first[first] *= 1.0 - is_one;
        let second = descending(&without_first)[0] as usize;
        let (gate_1, gate_2) = (raw[first] * is_one, without_first[second]);
        let denominator = gate_1 + gate_2 + 1e-9;
        let slot = |sent: bool, expert: usize, gate: f64| sent.then_some((expert as u32, gate / denominator));
        slots.push([slot(is_one == 1.0, first, gate_1), slot(importance > 0.0, second, gate_2)]);
        density[first] += is_one / TOKENS as f64;
        raw.iter().zip(&mut proxy).for_each(|(raw, proxy)| *proxy += is_one * raw / TOKENS as f64);
    }
    let products = density.iter().zip(proxy).map(|(density, proxy)| density * proxy);
    (slots, products.sum::<f64>() / EXPERTS as f64 * (EXPERTS * EXPERTS) as f64)
}

#[test]
fn importance_is_meshs() {
    let mut random = SplitMix(3);
    let policy = Policy::Mesh { top_k: 2, others: ByPhase::both(SecondExpert::All) };
    let config = RouterConfig { experts: EXPERTS as u32, policy, ..RouterConfig::default() };
    let router = config.check().unwrap();
    for case in 0..20 {
        let logits = numbers(TOKENS * EXPERTS, &mut random);
        let importance: Vec<f64> = (0..TOKENS).map(|_| [1.0, 0.4, 0.0][random.below(3)]).collect();
        let mut routed = routed(&router, Phase::Train, TOKENS, &RouterInput::of_logits(&logits)).unwrap();
        let cache = routed.clone();
        limit(&importance, &cache.cache(), &mut routed.experts, &mut routed.gates).unwrap();
        let (expected, loss) = mesh(&logits, &importance);
        for (token, expected) in expected.iter().enumerate() {
            for (slot, expected) in routed.slots(token).zip(expected) {
                let (expert, gate) = expected.unwrap_or((UNSENT, 0.0));
                assert_eq!(routed.experts[slot], expert, "case {case}, token {token}");
                assert!((routed.gates[slot] - gate).abs() < 1e-12, "case {case}, token {token}");
            }
        }
        let counts: Vec<bool> = importance.iter().map(|&importance| importance == 1.0).collect();
        let balance = LoadBalance::new(&router, Calibration::Mesh, cache.cache(), Some(&counts)).unwrap();
        let found = balance.forward(&mut vec![f64::NAN; balance.fractions_len()]).unwrap();
        assert!((found - loss).abs() < 1e-12, "case {case}: {found}, expected {loss}");
        // In any group of all tokens of importance 1 mesh's loss is Switch's.
        let [mesh, switch] = [Calibration::Mesh, Calibration::Switch].map(|calibration| {
            let balance = LoadBalance::new(&router, calibration, cache.cache(), None).unwrap();
            balance.forward(&mut vec![f64::NAN; balance.fractions_len()]).unwrap()
        });
        assert_eq!(mesh, switch, "case {case}");
    }
}

#[test]
fn tokens_of_little_importance_come_after_all_first_choices() {
    // Both want expert 0, which has one row; the first token counts less.
    let policy = Policy::Mesh { top_k: 2, others: ByPhase::both(SecondExpert::All) };
    let capacity = CapacityRule::Fixed(ByPhase::both(1));
    let config = RouterConfig { experts: 3, policy, capacity, ..RouterConfig::default() };
    let router = config.check().unwrap();
    let logits = [3.0, 0.0, 0.0, 3.0, 1.0, 0.0];
    let mut routed = routed(&router, Phase::Train, 2, &RouterInput::of_logits(&logits)).unwrap();
    let cache = routed.clone();
    limit(&[0.5, 1.0], &cache.cache(), &mut routed.experts, &mut routed.gates).unwrap();
    let plan = planned_by(&router, &routed);
    assert_eq!(plan.slot_rows[..2], [DROPPED; 2], "{plan:?}");
    assert_eq!(plan.row_tokens, [1, 1], "{plan:?}");
    let mut grad_gates = vec![1.0; 4];
    limit_backward(&[0.5, 1.0], &cache.cache(), &mut grad_gates).unwrap();
    assert_eq!(grad_gates, [0.0, 0.0, 1.0, 1.0]);
}

/// Tutel's loss as it is written there; the noise is on logits, the thresholds are the last of the chosen noisy ones.
fn tutel(logits: &[f64], draws: &[f64], top_k: usize, sigma: f64, real: &[bool]) -> f64 {
    let phi = |x: f64| 0.5 * (1.0 + libm::erf(x / 2.0_f64.sqrt()));
    let (mut importance, mut load) = ([0.0; EXPERTS], [0.0; EXPERTS]);
    for ((row, draws), _) in
        logits.chunks(EXPERTS).zip(draws.chunks(EXPERTS)).zip(real).filter(|(_, real)| **real)
    {
        let noisy: Vec<f64> = row.iter().zip(draws).map(|(z, draw)| z + sigma * draw).collect();
        let threshold = noisy[descending(&noisy)[top_k - 1] as usize];
        for (expert, p) in softmax(row).into_iter().enumerate() {
            importance[expert] += p;
            load[expert] += phi((p - threshold) / sigma);
        }
    }
    let variation = |x: [f64; EXPERTS]| {
        let mean = x.iter().sum::<f64>() / EXPERTS as f64;
        let squares: f64 = x.iter().map(|x| (x - mean) * (x - mean)).sum();
        squares / (EXPERTS - 1) as f64 / (mean * mean + 1e-10)
    };
    (variation(importance) + variation(load)) / 2.0
}

#[test]
fn tutels_loss_is_tutels() {
    let mut random = SplitMix(8);
    for top_k in 1..=EXPERTS as u32 {
        let policy = Policy::NoisyTopK { top_k, noise: NoiseScale::Fixed(1.0 / EXPERTS as f64) };
        let config = RouterConfig { experts: EXPERTS as u32, policy, ..RouterConfig::default() };
        let router = config.check().unwrap();
        let logits = numbers(TOKENS * EXPERTS, &mut random);
        let mut draws = vec![0.0; router.draws_len(Phase::Train, TOKENS)];
        draw(&router, Phase::Train, &mut random, &mut draws);
        let real: Vec<bool> = (0..TOKENS).map(|token| token % 5 != 1).collect();
        let input = RouterInput { draws: &draws, real: Some(&real), ..RouterInput::of_logits(&logits) };
        let routed = routed(&router, Phase::Train, TOKENS, &input).unwrap();
        let loss = TutelLoss::new(&router, input, routed.cache()).unwrap();
        let (mut importance, mut load) = (vec![f64::NAN; EXPERTS], vec![f64::NAN; EXPERTS]);
        let found = loss.forward(&mut importance, &mut load).unwrap();
        let expected = tutel(&logits, &draws, top_k as usize, 1.0 / EXPERTS as f64, &real);
        assert!((found - expected).abs() < 1e-10 * expected, "top {top_k}: {found}, expected {expected}");
    }
    let learned = Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Learned { least: 0.1 } };
    let router = RouterConfig { experts: 2, policy: learned, ..RouterConfig::default() }.check().unwrap();
    let cache =
        RoutingCache { shape: router.shape(Phase::Train, 0).unwrap(), probabilities: &[], chosen: &[] };
    let error = TutelLoss::new(&router, RouterInput::<f64>::of_logits(&[]), cache).unwrap_err();
    assert_eq!(error, RouterError::NotNoisy);
}

#[test]
fn a_random_order_gives_every_token_the_same_chance() {
    // Eight tokens in two groups want one expert, which takes two of each group.
    let config = RouterConfig {
        experts: 2,
        policy: Policy::Flaxformer { top_k: 1 },
        capacity: CapacityRule::Fixed(ByPhase::both(2)),
        priority: Priority::Random,
        groups: Groups::Exactly(4),
        ..RouterConfig::default()
    };
    let router = config.check().unwrap();
    assert!(!router.is_causal(Phase::Train), "a later token may take an earlier one's place");
    let logits: Vec<f64> = [2.0, 0.0].repeat(8);
    let routed = routed(&router, Phase::Train, 8, &RouterInput::of_logits(&logits)).unwrap();
    let shape = routed.shape;
    let (mut random, mut kept) = (SplitMix(1), [0; 8]);
    const ROUNDS: u32 = 4000;
    for _ in 0..ROUNDS {
        let mut memory = vec![99; order_len(&router, shape)];
        let order = random_order(&router, shape, &mut random, &mut memory).unwrap();
        let Order::RanksOf(tokens) = order else { panic!("{order:?}") };
        for (group, first) in tokens.chunks(4).zip([0, 4]) {
            let mut sorted = group.to_vec();
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(first..first + 4), "{tokens:?}");
        }
        let plan = planned(&routed.routing(), 2, Admission::new(shape, order)).unwrap();
        assert_eq!(plan.row_slots.len(), 4);
        plan.row_tokens.iter().for_each(|&token| kept[token as usize] += 1);
    }
    // Half of the rounds each, within five standard deviations.
    let most = 5.0 * f64::from(ROUNDS / 4).sqrt();
    for (token, kept) in kept.iter().enumerate() {
        assert!((f64::from(*kept) - f64::from(ROUNDS / 2)).abs() < most, "token {token}: {kept} of {ROUNDS}");
    }
    let mut memory = [0; 8];
    let needs = order(&router, &routed.cache(), &routed.gates, &mut memory);
    assert_eq!(needs, Err(RouterError::NeedsGenerator));
    let ranks = RouterConfig { priority: Priority::Ranks, ..config }.check().unwrap();
    assert_eq!(random_order(&ranks, shape, &mut random, &mut []), Err(RouterError::NotRandom));
}
