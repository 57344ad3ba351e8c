//! Routing, forward and backward.

use crate::common::random::SplitMix;
use crate::without_allocations;
use mixlet_core::moe::balance::{
    Calibration, LoadBalance, selection_loss_backward, selection_loss_forward, update_bias,
};
use mixlet_core::moe::importance::{limit, limit_backward};
use mixlet_core::moe::logit_losses::{
    TokenLogits, entropy_backward, entropy_forward, z_loss_backward, z_loss_forward,
};
use mixlet_core::moe::noisy::{NoisyLoad, TutelLoss, importance_backward, importance_forward};
use mixlet_core::moe::replay::{Recording, record, recording_len};
use mixlet_core::moe::router::{
    RouterShape, input_noise, multiply, router_backward_tokens, router_backward_weights, router_forward,
};
use mixlet_core::moe::{
    Admission, ByPhase, CapacityRule, Groups, InputNoise, NoiseScale, Phase, PlanStorage, Policy, Priority,
    Router, RouterConfig, RouterInput, RoutingStorage, SecondExpert, SoftmaxOver, combine, combine_backward,
    draw, gather, gather_backward, hash, noise_backward, normalise_kept, normalise_kept_backward, order,
    order_len, plan, random_order, route, route_backward, usage,
};

const TOKENS: usize = 24;
const MODEL_DIM: usize = 20;
const EXPERTS: usize = 6;

/// One router of each kind: a recipe with everything random, with a bias, with noise, a hash, and experts that choose.
fn routers() -> Vec<Router> {
    let policies = [
        Policy::Mesh { top_k: 3, others: ByPhase::both(SecondExpert::Random(0.2)) },
        Policy::DeepSpeedTop2 { sample_second: ByPhase::both(true) },
        Policy::DeepSeekV3 { top_k: 2, expert_groups: 3, kept_groups: 2, normalise: true, scale: 2.5 },
        Policy::NoisyTopK { top_k: 2, noise: NoiseScale::Learned { least: 0.01 } },
        Policy::NoisyTopK { top_k: 2, noise: NoiseScale::Fixed(0.5) },
        Policy::Hash,
        Policy::ExpertChoice { softmax: SoftmaxOver::Experts },
        Policy::ExpertChoice { softmax: SoftmaxOver::Tokens },
        Policy::CappedExpertChoice { cap: 2, temperature: 0.05, rounds: 20 },
    ];
    let priorities = [Priority::Ranks, Priority::Random, Priority::Slots, Priority::Batch, Priority::Gates];
    let router = |(policy, priority)| {
        let capacity = CapacityRule::Fixed(ByPhase::both(3));
        let (groups, experts) = (Groups::AtMost(10), EXPERTS as u32);
        RouterConfig { experts, policy, capacity, priority, groups, ..RouterConfig::default() }
            .check()
            .unwrap()
    };
    policies.into_iter().zip(priorities.into_iter().cycle()).map(router).collect()
}

/// A training step of routing, from tokens to gradients, with every loss.
#[test]
fn routing() {
    for router in routers() {
        let shape = router.shape(Phase::Train, TOKENS).unwrap();
        let policy = router.config().policy;
        let zeros = |len: usize| vec![0.0_f32; len];
        let mut random = SplitMix(7);
        let tokens: Vec<f32> = (0..TOKENS * MODEL_DIM).map(|_| random.unit() as f32).collect();
        let weights: Vec<f32> = (0..EXPERTS * MODEL_DIM).map(|_| random.unit() as f32 - 0.5).collect();
        let (is_hash, has_bias) = (policy == Policy::Hash, matches!(policy, Policy::DeepSeekV3 { .. }));
        let noisy = matches!(policy, Policy::NoisyTopK { noise: NoiseScale::Learned { .. }, .. });
        let bias = zeros(if has_bias { EXPERTS } else { 0 });
        let noise_logits = zeros(if noisy { shape.logits_len() } else { 0 });
        let mut draws = zeros(router.draws_len(Phase::Train, TOKENS));
        let mut hashed = vec![0; if is_hash { TOKENS } else { 0 }];
        let real: Vec<bool> = (0..TOKENS).map(|token| token % 7 != 3).collect();
        let [mut factors, mut noised, mut grad_tokens, mut out] = [(); 4].map(|()| zeros(TOKENS * MODEL_DIM));
        let [mut logits, mut grad_logits, mut scratch] = [(); 3].map(|()| zeros(shape.logits_len()));
        let mut grad_noise = zeros(noise_logits.len());
        let (mut reals, mut integers) = (zeros(shape.reals_len()), vec![0; shape.integers_len()]);
        let (mut replay_reals, mut replay_integers) = (reals.clone(), integers.clone());
        let (mut orders, mut memory) =
            (vec![0; order_len(&router, shape)], vec![0; PlanStorage::len(shape.slots, EXPERTS)]);
        let mut replay_memory = memory.clone();
        let [mut rows, mut grad_rows] = [(); 2].map(|()| zeros(shape.slots * MODEL_DIM));
        let [mut gates, mut grad_gates, mut raw_gates] = [(); 3].map(|()| zeros(shape.slots));
        let [mut log_sums, mut of_experts, mut importance] = [zeros(TOKENS), zeros(EXPERTS), zeros(EXPERTS)];
        let mut experts = vec![0; shape.slots];
        let [mut fractions, mut grad_weights] = [zeros(3 * EXPERTS), zeros(weights.len())];
        let mut words = vec![0; recording_len(TOKENS, shape.slots)];
        let product = RouterShape { tokens: TOKENS, model_dim: MODEL_DIM, experts: EXPERTS };
        without_allocations("routing", || {
            // Forward.
            input_noise(InputNoise::Jitter(0.01), &mut random, &mut factors);
            multiply(&factors, &tokens, &mut noised).unwrap();
            router_forward(product, &noised, &weights, &mut logits).unwrap();
            draw(&router, Phase::Train, &mut random, &mut draws);
            hash::random_table(&mut random, EXPERTS as u32, &mut hashed).unwrap();
            let of_hash: &[f32] = if is_hash { &[] } else { &logits };
            let input = RouterInput {
                logits: of_hash,
                real: Some(&real),
                bias: &bias,
                noise_logits: &noise_logits,
                draws: &draws,
                hashed: &hashed,
            };
            let storage = RoutingStorage::new(shape, &mut reals, &mut integers).unwrap();
            let routed = route(&router, Phase::Train, &input, storage).unwrap();
            let (routing, cache) = (routed.routing, routed.cache);
            let order = match router.config().priority {
                Priority::Random => random_order(&router, shape, &mut random, &mut orders),
                _ => order(&router, &cache, routing.gates, &mut orders),
            };
            let order = order.unwrap();
            let storage = PlanStorage::new(shape.slots, EXPERTS, &mut memory).unwrap();
            let plan = plan(&routing, Admission::new(shape, order), storage).unwrap();
            let slots = routing.gates.len();
            let (gates, grad_gates, raw_gates) =
                (&mut gates[..slots], &mut grad_gates[..slots], &mut raw_gates[..slots]);
            normalise_kept(&plan, &routing, gates).unwrap();
            let (rows, grad_rows) =
                (&mut rows[..plan.rows() * MODEL_DIM], &mut grad_rows[..plan.rows() * MODEL_DIM]);
            gather(&plan, &tokens, MODEL_DIM, rows).unwrap();
            combine(&plan, &routing, rows, MODEL_DIM, &mut out).unwrap();
            usage(shape, &plan, &routing, Some(&real)).unwrap();

            // Backward.
            combine_backward(&plan, &routing, rows, &tokens, grad_rows, grad_gates).unwrap();
            gather_backward(&plan, &routing, grad_rows, MODEL_DIM, &mut grad_tokens).unwrap();
            normalise_kept_backward(&plan, &routing, gates, grad_gates, raw_gates).unwrap();
            importance_forward(&routing, &mut of_experts).unwrap();
            importance_backward(&routing, &of_experts, 0.1, grad_gates).unwrap();
            let by_logits = if is_hash { &mut [] } else { &mut grad_logits[..] };
            route_backward(&router, Phase::Train, &routing, &cache, grad_gates, by_logits).unwrap();
            noise_backward(&router, Phase::Train, &input, &grad_logits, &mut grad_noise).unwrap();
            let all = TokenLogits { logits: &logits, experts: EXPERTS, real: Some(&real) };
            z_loss_forward(&all, &mut log_sums).unwrap();
            z_loss_backward(&all, &log_sums, 0.1, &mut grad_logits).unwrap();
            entropy_forward(&all, &mut log_sums).unwrap();
            entropy_backward(&all, &log_sums, 0.1, &mut grad_logits).unwrap();
            selection_loss_forward(&cache, &mut log_sums).unwrap();
            selection_loss_backward(&cache, &log_sums, 0.1, &mut grad_logits, &mut scratch).unwrap();
            if let Ok(mut balance) = LoadBalance::new(&router, Calibration::TopK, cache, Some(&real)) {
                balance.group_tokens = shape.group_tokens;
                balance.forward(&mut fractions).unwrap();
                balance.backward(&fractions, 0.1, &mut grad_logits).unwrap();
            }
            if let Ok(load) = NoisyLoad::new(&router, input, cache) {
                load.forward(&mut of_experts).unwrap();
                load.backward(&of_experts, 0.1, &mut grad_logits, &mut grad_noise).unwrap();
            }
            router_backward_weights(product, &noised, &grad_logits, &mut grad_weights).unwrap();
            router_backward_tokens(product, &weights, &grad_logits, &mut grad_tokens).unwrap();
            update_bias(&mut of_experts, plan.expert_load, 0.001).unwrap();

            if let Ok(tutel) = TutelLoss::new(&router, input, cache) {
                tutel.forward(&mut importance, &mut of_experts).unwrap();
                tutel.backward(&importance, &of_experts, 0.1, &mut grad_logits).unwrap();
            }
            if shape.top_k.is_some() {
                raw_gates.copy_from_slice(routing.gates);
                experts[..slots].copy_from_slice(routing.experts);
                limit(&log_sums, &cache, &mut experts[..slots], raw_gates).unwrap();
                limit_backward(&log_sums, &cache, raw_gates).unwrap();
            }

            // Once more.
            let words = &mut words[..recording_len(TOKENS, slots)];
            record(&routing, &cache, &plan, words).unwrap();
            let recording = Recording::parse(words).unwrap();
            let storage = RoutingStorage::new(shape, &mut replay_reals, &mut replay_integers).unwrap();
            let again = recording.route(&router, Phase::Train, &input, storage).unwrap();
            let storage = PlanStorage::new(shape.slots, EXPERTS, &mut replay_memory).unwrap();
            assert_eq!(recording.plan(&again.routing, storage).unwrap(), plan, "{policy:?}");
        });
    }
    let (mut loads, mut order, mut table) = ([0; 4], [0; 100], [0; 100]);
    let frequencies: Vec<u64> = (0..100).map(|id| 1000 / (id + 1)).collect();
    without_allocations("hash tables", || {
        hash::balanced_table(&frequencies, &mut loads, &mut order, &mut table).unwrap();
        let mut experts = [0; 3];
        hash::look_up(&table, &[5, 99, 0], &mut experts).unwrap();
    });
}
