//! Fits of crowds, and the information of workers.

use crate::common::crowd::{Crowd, Generated, Naming};
use crate::common::random::SplitMix;
use crate::{SETTINGS, without_allocations};
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::one_coin::{OneCoin, OneCoinSettings, one_coin_parameters_len};
use mixlet_core::em::pooled::{pooled_confusion, pooled_strength};
use mixlet_core::em::{self, LatentClassModel, RowFacts, spectral, start};
use mixlet_core::observations::{Answers, WorkerTasks, group_by_task};
use mixlet_core::select::{Estimator, Pairs, Residue, order_by_information, worker_information};
use mixlet_core::small::{Column, assign, eigen};

/// One crowd for every kernel of its own (2 to 8 classes) and one for the general one.
fn crowds() -> impl Iterator<Item = Crowd> {
    (2..=9).map(|labels| {
        let (accuracy, naming) = ((0.5, 0.9), Naming::Shared);
        Generated { tasks: 600, workers: 9, labels, answers_per_task: 5, accuracy, naming, seed: 3 }.crowd()
    })
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
            for estimator in
                [Estimator::Plain, Estimator::Weighted, Estimator::MillerMadow, Estimator::G_TEST]
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
