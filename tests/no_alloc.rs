//! Kernels of core work in the memory they are given: a counting allocator sees nothing.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use common::crowd::{Crowd, Generated, Naming};
use common::linear::{Format, Stored, numbers};
use common::random::SplitMix;
use mixlet_core::activation::Activation;
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::one_coin::{OneCoin, OneCoinSettings, one_coin_parameters_len};
use mixlet_core::em::pooled::{pooled_confusion, pooled_strength};
use mixlet_core::em::{self, FitSettings, LatentClassModel, RowFacts, spectral, start};
use mixlet_core::half::bf16;
use mixlet_core::linear::{Linear, Operands, Plain, Scratch, linear_backward_weights};
use mixlet_core::matrix::{MatMut, MatRef};
use mixlet_core::moe::experts::{
    Experts, FfnBackward, FfnCache, FfnKind, GroupedRows, experts_backward, experts_forward,
    ffn_backward_scratch_len, ffn_scratch_len,
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

#[test]
fn experts() {
    let (model_dim, ffn_dim, rows) = (64, 96, 90);
    let offsets = [0, 70, 70, 90];
    let kind = FfnKind::Gated(Activation::Silu);
    let mut rng = SplitMix(5);
    let x = numbers(&mut rng, rows * model_dim);
    let grouped = GroupedRows::new(MatRef::new(&x, rows, model_dim).unwrap(), &offsets).unwrap();
    let mut gradients = vec![0.0; 3 * ffn_dim * model_dim];
    for format in Format::ALL {
        let up = Stored::new(format, &numbers(&mut rng, gradients.len()), 3 * ffn_dim, model_dim);
        let down = Stored::new(format, &numbers(&mut rng, gradients.len()), 3 * model_dim, ffn_dim);
        let (up, down) = (Linear::new(up.weights()), Linear::new(down.weights()));
        let experts = Experts::new(3, kind, Some(up), up, down).unwrap();
        let shape = experts.shape(rows);
        let least = ffn_scratch_len(shape).max(ffn_backward_scratch_len(shape));
        let (mut floats, mut halves) = (vec![0.0; least.floats], vec![bf16::ZERO; least.halves]);
        let (mut bytes, mut memory) = (vec![0; least.bytes], vec![0.0; shape.cache_len()]);
        let (mut out, mut grad_x) = (vec![0.0; rows * model_dim], vec![0.0; rows * model_dim]);
        without_allocations("experts", || {
            let mut scratch = Scratch { floats: &mut floats, halves: &mut halves, bytes: &mut bytes };
            for operands in [Operands::Exact, Operands::Rounded] {
                let cache = FfnCache::new(shape, &mut memory).unwrap();
                let out = MatMut::new(&mut out, rows, model_dim).unwrap();
                experts_forward::<Plain>(experts, operands, grouped, cache, out, scratch.lend()).unwrap();
            }
            let cache = FfnCache::new(shape, &mut memory).unwrap();
            let grad_out = MatRef::new(&out, rows, model_dim).unwrap();
            let given = FfnBackward { x: grouped.rows(), cache, grad_out };
            let grad_x = MatMut::new(&mut grad_x, rows, model_dim).unwrap();
            experts_backward::<Plain>(experts, grouped, given, None, grad_x, scratch.lend()).unwrap();
            let grads = MatMut::new(&mut gradients, 3 * ffn_dim, model_dim).unwrap();
            let (grad, x) = (memory.get(..rows * 3 * ffn_dim).unwrap(), grouped.rows());
            let grad = MatRef::new(grad, rows, 3 * ffn_dim).unwrap();
            linear_backward_weights::<Plain>(grad, x, grads, scratch).unwrap();
        });
    }
}
