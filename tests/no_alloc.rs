//! Kernels of core work in the memory they are given: a counting allocator sees nothing.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use common::crowd::{Crowd, Generated, Naming};
use common::random::SplitMix;
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::one_coin::{OneCoin, OneCoinSettings, one_coin_parameters_len};
use mixlet_core::em::pooled::{pooled_confusion, pooled_strength};
use mixlet_core::em::{self, FitSettings, LatentClassModel, RowFacts, spectral, start};
use mixlet_core::moe::balance::{
    Calibration, LoadBalance, selection_loss_backward, selection_loss_forward, update_bias,
};
use mixlet_core::moe::logit_losses::{
    TokenLogits, entropy_backward, entropy_forward, z_loss_backward, z_loss_forward,
};
use mixlet_core::moe::noisy::{NoisyLoad, importance_backward, importance_forward};
use mixlet_core::moe::replay::{Recording, record, recording_len};
use mixlet_core::moe::router::{
    RouterShape, input_noise, multiply, router_backward_tokens, router_backward_weights, router_forward,
};
use mixlet_core::moe::{
    Admission, ByPhase, CapacityRule, Groups, InputNoise, NoiseScale, Phase, PlanStorage, Policy, Priority,
    Router, RouterConfig, RouterInput, RoutingStorage, SecondExpert, SoftmaxOver, combine, combine_backward,
    draw, gather, gather_backward, hash, noise_backward, normalise_kept, normalise_kept_backward, order,
    order_len, plan, route, route_backward, usage,
};
use mixlet_core::observations::{Answers, WorkerTasks, group_by_task};
use mixlet_core::select::{Estimator, Pairs, Residue, order_by_information, worker_information};
use mixlet_core::small::{Column, assign, eigen};

thread_local! {
    /// Allocations by this thread: tests run side by side.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator; the counter neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the memory came from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs some work and fails if it allocated.
#[track_caller]
fn without_allocations<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let result = work();
    let allocations = ALLOCATIONS.get() - before;
    assert_eq!(allocations, 0, "{what} allocated");
    result
}

/// One crowd for every kernel of its own (2 to 8 classes) and one for the general one.
fn crowds() -> impl Iterator<Item = Crowd> {
    (2..=9).map(|labels| {
        let (accuracy, naming) = ((0.5, 0.9), Naming::Shared);
        Generated { tasks: 600, workers: 9, labels, answers_per_task: 5, accuracy, naming, seed: 3 }.crowd()
    })
}

const SETTINGS: FitSettings = FitSettings { rounds: 4, tolerance: 1e-7 };

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(black_box(vec![1u8; 100]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

#[test]
fn grouping() {
    let (tasks, workers, labels) = ([2, 0, 1, 1, 0], [0, 1, 1, 0, 2], [1, 0, 1, 1, 0]);
    let (mut offsets, mut cells) = ([0; 4], [0; 5]);
    let (mut worker_offsets, mut worker_tasks) = ([0; 4], [0; 5]);
    without_allocations("grouping", || {
        group_by_task((3, 2), &tasks, &workers, &labels, &mut offsets, &mut cells).unwrap();
        let answers = Answers::new(3, 2, &offsets, &cells).unwrap();
        let by_worker = WorkerTasks::fill(answers, &mut worker_offsets, &mut worker_tasks).unwrap();
        assert_eq!(by_worker.worker(1), [0, 1]);
    });
}

#[test]
fn dawid_skene() {
    for crowd in crowds() {
        let answers = crowd.answers();
        let shape = DawidSkeneShape::of(answers);
        let (known, weights) = (vec![em::UNKNOWN; answers.tasks()], vec![1.5; answers.tasks()]);
        let facts = RowFacts { known_classes: Some(&known), weights: Some(&weights) };
        let shared = vec![0.5; shape.labels * shape.classes];
        let prior = Prior { shared: Some(&shared), ..Prior::default() };
        let [mut memory, mut statistics, mut table] = [(); 3].map(|()| vec![0.0; shape.parameters_len()]);
        let mut posteriors = vec![0.0; answers.tasks() * shape.classes];
        without_allocations("Dawid–Skene", || {
            let mut model = DawidSkene::new(answers, shape.classes, facts, prior, &mut memory).unwrap();
            let scratch = &mut posteriors[..model.shape().sweep_scratch_len()];
            start::from_vote(&mut model, &mut statistics, scratch).unwrap();
            em::fit(&mut model, SETTINGS, &mut statistics, scratch).unwrap();
            em::sweep(&model, 0..answers.tasks(), &mut statistics, scratch).unwrap();
            let (shares, conditionals) = table.split_at_mut(shape.classes);
            model.probabilities(&statistics, shares, conditionals);
            model.set_probabilities(shares, conditionals).unwrap();
            model.expectation(0..answers.tasks(), &mut posteriors).unwrap();
        });
    }
}

#[test]
fn one_coin() {
    for crowd in crowds() {
        let answers = crowd.answers();
        let mut memory = vec![0.0; one_coin_parameters_len(answers)];
        let mut statistics = vec![0.0; answers.labels() + 2 * answers.workers()];
        let mut scratch = vec![0.0; em::BLOCK_ROWS * answers.labels()];
        without_allocations("one coin", || {
            let settings = OneCoinSettings::default();
            let mut model = OneCoin::new(answers, settings, RowFacts::default(), &mut memory).unwrap();
            em::fit(&mut model, SETTINGS, &mut statistics, &mut scratch).unwrap();
        });
    }
}

#[test]
fn the_pooled_prior() {
    for crowd in crowds() {
        let answers = crowd.answers();
        let shape = DawidSkeneShape::of(answers);
        let [mut memory, mut statistics] = [(); 2].map(|()| vec![0.0; shape.parameters_len()]);
        let mut reciprocals = vec![0.0; shape.table_len()];
        let mut posteriors = vec![0.0; answers.tasks() * shape.classes];
        let mut pooled = vec![0.0; shape.labels * shape.classes];
        let mut scratch = vec![0.0; shape.classes];
        let (rows, facts) = (0..answers.tasks(), RowFacts::default());
        let strength = without_allocations("the pooled prior", || {
            let mut model =
                DawidSkene::new(answers, shape.classes, facts, Prior::default(), &mut memory).unwrap();
            let block = &mut posteriors[..model.shape().sweep_scratch_len()];
            start::from_vote(&mut model, &mut statistics, block).unwrap();
            model.expectation(rows.clone(), &mut posteriors).unwrap();
            model.reciprocals(&mut reciprocals);
            model.accumulate_cavity(rows, &posteriors, &reciprocals, &mut statistics, &mut scratch);
            pooled_confusion(shape, &statistics, &mut pooled);
            pooled_strength(shape, &statistics, &pooled)
        });
        assert!(strength > 0.0);
    }
}

#[test]
fn starts_from_parameters() {
    for crowd in crowds() {
        let answers = crowd.answers();
        let shape = DawidSkeneShape::of(answers);
        let (mut shares, mut table) = (vec![0.0; shape.classes], vec![0.0; shape.table_len()]);
        let mut scratch = vec![0.0; spectral::start_scratch_len(answers)];
        let mut random = SplitMix(1);
        without_allocations("starts", || {
            start::random_probabilities(&mut random, shape.labels, &mut shares, &mut table);
            spectral::start(answers, &mut random, &mut shares, &mut table, &mut scratch).unwrap();
        });
    }
}

#[test]
fn information() {
    for crowd in crowds() {
        let answers = crowd.answers();
        let (mut offsets, mut tasks) = (vec![0; answers.workers() + 1], vec![0; answers.cells().len()]);
        let by_worker = WorkerTasks::fill(answers, &mut offsets, &mut tasks).unwrap();
        let posteriors = vec![1.0 / answers.labels() as f64; answers.tasks() * answers.labels()];
        let raw = Pairs::new(answers, by_worker);
        let within = raw.within_classes(&posteriors, answers.labels()).unwrap();
        let mut scratch = vec![0.0; within.scratch_len()];
        let mut masses = vec![0.0; answers.labels()];
        let (mut information, mut order) = (vec![0.0; answers.workers()], vec![0; answers.workers()]);
        without_allocations("information", || {
            let raw_scratch = &mut scratch[..raw.scratch_len()];
            for estimator in [Estimator::Plain, Estimator::Weighted, Estimator::MillerMadow, Estimator::GTest]
            {
                for (worker, information) in information.iter_mut().enumerate() {
                    *information = worker_information(&raw, worker, estimator, raw_scratch).unwrap();
                }
                order_by_information(&information, &mut order);
            }
            within.class_masses(&mut masses);
            let mut residue = Residue::default();
            for worker in 0..answers.workers() {
                residue += Residue::of_worker(&within, worker, &masses, None, &mut scratch).unwrap();
            }
            assert!(residue.mean_of_all(answers.workers()) > 0.0);
        });
    }
}

#[test]
fn an_order_of_many_workers() {
    let information: Vec<f64> = (0..5000).map(|nth| f64::from(nth * 7919 % 5003)).collect();
    let mut order = vec![0; information.len()];
    without_allocations("the order", || order_by_information(&information, &mut order));
}

#[test]
fn small_matrices() {
    let (mut matrix, mut vectors) = ([2.0, 1.0, 0.0, 1.0, 3.0, 0.5, 0.0, 0.5, 1.0], [0.0; 9]);
    without_allocations("matrices", || {
        assign(&matrix, &mut [Column::default(); 3]);
        eigen(&mut matrix, 3, &mut vectors);
    });
}

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
        Policy::Hash,
        Policy::ExpertChoice { softmax: SoftmaxOver::Experts },
        Policy::ExpertChoice { softmax: SoftmaxOver::Tokens },
        Policy::CappedExpertChoice { cap: 2, temperature: 0.05, rounds: 20 },
    ];
    let priorities = [Priority::Ranks, Priority::Slots, Priority::Batch, Priority::Gates];
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
        let noisy = matches!(policy, Policy::NoisyTopK { .. });
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
        let [mut log_sums, mut of_experts] = [zeros(TOKENS), zeros(EXPERTS)];
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
            let order = order(&router, &cache, routing.gates, &mut orders).unwrap();
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
