//! EM agrees with its formulas, also where there is next to nothing to fit.

mod common;

use common::crowd::{Crowd, Generated, Naming};
use common::dawid_skene::{self, Responsibilities};
use common::one_coin;
use common::random::SplitMix;
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::one_coin::{OneCoin, OneCoinSettings, one_coin_parameters_len};
use mixlet_core::em::{EmError, LatentClassModel, RowFacts, UNKNOWN, start, sweep};
use mixlet_core::observations::Answers;

const TOLERANCE: f64 = 1e-9;
const ROUNDS: usize = 5;

/// A crowd of random answers: missing ones, repeated ones, tasks and workers without any.
fn noise(tasks: usize, workers: usize, labels: usize, answers: usize, seed: u64) -> Crowd {
    let mut random = SplitMix(seed);
    let mut row = |_| [tasks, workers, labels].map(|count| random.below(count) as u32);
    let rows: Vec<[u32; 3]> = (0..answers).map(&mut row).collect();
    Crowd::new(workers as u32, labels as u32, &rows, vec![None; tasks])
}

fn crowds() -> Vec<(String, Crowd)> {
    let mut crowds = Vec::new();
    for labels in 2..=9 {
        let accuracy = (0.4, 0.9);
        for (tasks, workers, answers_per_task) in [(60, 9, 4), (300, 5, 5)] {
            let (naming, seed) = (Naming::Shared, labels as u64);
            let settings = Generated { tasks, workers, labels, answers_per_task, accuracy, naming, seed };
            crowds.push((format!("{settings:?}"), settings.crowd()));
        }
        crowds.push((format!("noise of {labels} labels"), noise(40, 12, labels, 90, labels as u64)));
    }
    let case = |name: &str, crowd| (name.to_owned(), crowd);
    crowds.extend([
        case("one task", noise(1, 4, 3, 6, 1)),
        case("one worker", noise(20, 1, 3, 25, 2)),
        case("one task, one worker", noise(1, 1, 2, 1, 3)),
        case("nobody answered", noise(4, 3, 2, 0, 4)),
        case("one label", noise(6, 3, 1, 12, 5)),
        case("no tasks", Crowd::new(3, 2, &[], Vec::new())),
        case("no workers", Crowd::new(0, 2, &[], vec![None; 3])),
        case("everybody agrees", Crowd::new(2, 2, &[[0, 0, 1], [0, 1, 1], [1, 0, 1]], vec![None; 2])),
    ]);
    crowds
}

#[track_caller]
fn assert_close(name: &str, what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{name}: {what}");
    for (nth, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Also where both are −∞.
        let is_close = found == expected || (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0);
        assert!(is_close, "{name}: {what} {nth} is {found}, expected {expected}");
    }
}

fn posteriors(model: &impl LatentClassModel) -> (Vec<f64>, f64) {
    let shape = model.shape();
    let mut out = vec![f64::NAN; shape.rows * shape.classes];
    let log_likelihood = model.expectation(0..shape.rows, &mut out).unwrap();
    (out, log_likelihood)
}

/// One maximisation from responsibilities.
fn maximize(model: &mut impl LatentClassModel, responsibilities: &[f64]) {
    let shape = model.shape();
    let mut statistics = vec![0.0; shape.statistics];
    model.accumulate(0..shape.rows, responsibilities, &mut statistics);
    model.maximize(&statistics);
}

fn flat(responsibilities: &Responsibilities) -> Vec<f64> {
    responsibilities.concat()
}

fn exponentials(logs: &[f64]) -> Vec<f64> {
    logs.iter().map(|log| log.exp()).collect()
}

#[test]
fn dawid_skene_agrees_with_its_formulas() {
    for (name, crowd) in crowds() {
        let answers = crowd.answers();
        let shape = DawidSkeneShape::of(answers);
        let mut memory = vec![f64::NAN; shape.parameters_len()];
        let facts = RowFacts::default();
        let mut model =
            DawidSkene::new(answers, shape.classes, facts, Prior::default(), &mut memory).unwrap();
        let mut expected = dawid_skene::vote(answers);
        let mut votes = vec![f64::NAN; answers.tasks() * shape.classes];
        start::vote_shares(answers, facts, 0..answers.tasks(), &mut votes);
        assert_close(&name, "vote", &votes, &flat(&expected));
        let mut found = votes;
        for _ in 0..ROUNDS {
            maximize(&mut model, &found);
            let (shares, conditionals) = dawid_skene::maximize(answers, &expected);
            let log_likelihood;
            (expected, log_likelihood) = dawid_skene::expectation(answers, &shares, &conditionals);
            let found_log_likelihood;
            (found, found_log_likelihood) = posteriors(&model);
            if answers.tasks() > 0 {
                assert_close(&name, "share", &exponentials(model.log_shares()), &shares);
            }
            assert_close(&name, "conditional", &exponentials(model.log_table()), &conditionals);
            assert_close(&name, "posterior", &found, &flat(&expected));
            assert_close(&name, "log-likelihood", &[found_log_likelihood], &[log_likelihood]);
        }
    }
}

#[test]
fn classes_need_not_be_labels() {
    for classes in 1..=10 {
        let crowd = noise(50, 6, 3, 200, classes as u64);
        let answers = crowd.answers();
        let shape = DawidSkeneShape { classes, ..DawidSkeneShape::of(answers) };
        let (mut shares, mut conditionals) = (vec![0.0; classes], vec![0.0; shape.table_len()]);
        start::random_probabilities(&mut SplitMix(7), shape.labels, &mut shares, &mut conditionals);
        let mut memory = vec![f64::NAN; shape.parameters_len()];
        let facts = RowFacts::default();
        let mut model = DawidSkene::new(answers, classes, facts, Prior::default(), &mut memory).unwrap();
        model.set_probabilities(&shares, &conditionals).unwrap();
        for _ in 0..ROUNDS {
            let name = format!("{classes} classes");
            let (expected, log_likelihood) = dawid_skene::expectation(answers, &shares, &conditionals);
            let (found, found_log_likelihood) = posteriors(&model);
            assert_close(&name, "posterior", &found, &flat(&expected));
            assert_close(&name, "log-likelihood", &[found_log_likelihood], &[log_likelihood]);
            maximize(&mut model, &found);
            (shares, conditionals) = dawid_skene::maximize(answers, &expected);
        }
    }
}

#[test]
fn one_coin_agrees_with_its_formulas() {
    for (name, crowd) in crowds() {
        // One label: the formula divides by zero. A test of the module covers it.
        if crowd.labels > 1 {
            check_one_coin(&name, crowd.answers(), false);
            check_one_coin(&name, crowd.answers(), true);
        }
    }
}

fn check_one_coin(name: &str, answers: Answers<'_>, uniform_shares: bool) {
    let mut memory = vec![f64::NAN; one_coin_parameters_len(answers)];
    let settings = OneCoinSettings { uniform_shares, ..OneCoinSettings::default() };
    let mut model = OneCoin::new(answers, settings, RowFacts::default(), &mut memory).unwrap();
    let mut expected = dawid_skene::vote(answers);
    let mut found = flat(&expected);
    let mut accuracies = model.accuracies().to_vec();
    for _ in 0..ROUNDS {
        maximize(&mut model, &found);
        let shares;
        (shares, accuracies) = one_coin::maximize(answers, &expected, uniform_shares, &accuracies);
        let log_likelihood;
        (expected, log_likelihood) = one_coin::expectation(answers, &shares, &accuracies);
        let found_log_likelihood;
        (found, found_log_likelihood) = posteriors(&model);
        if answers.tasks() > 0 {
            assert_close(name, "share", &exponentials(model.log_shares()), &shares);
        }
        assert_close(name, "accuracy", model.accuracies(), &accuracies);
        assert_close(name, "posterior", &found, &flat(&expected));
        assert_close(name, "log-likelihood", &[found_log_likelihood], &[log_likelihood]);
    }
}

/// The first error of an expectation over all rows, and of one over the rows from 1 on.
fn errors(model: &impl LatentClassModel) -> [Option<EmError>; 2] {
    let shape = model.shape();
    [0, 1].map(|first| {
        let mut out = vec![f64::NAN; (shape.rows - first) * shape.classes];
        model.expectation(first..shape.rows, &mut out).err()
    })
}

#[test]
fn an_impossible_row_is_named() {
    for labels in 2..=9 {
        // Four tasks. The last is known to be of class 1, which the parameters rule out.
        let crowd = noise(4, 2, labels, 8, 0);
        let answers = crowd.answers();
        let known = [UNKNOWN, UNKNOWN, UNKNOWN, 1];
        let facts = RowFacts { known_classes: Some(&known), weights: None };
        let shape = DawidSkeneShape::of(answers);
        let mut memory = vec![0.0; shape.parameters_len()];
        let mut model = DawidSkene::new(answers, labels, facts, Prior::default(), &mut memory).unwrap();
        let mut shares = vec![1.0 / (labels as f64 - 1.0); labels];
        shares[1] = 0.0;
        let table = vec![1.0 / labels as f64; shape.table_len()];
        model.set_probabilities(&shares, &table).unwrap();
        assert_eq!(errors(&model), [Some(EmError::ImpossibleRow { row: 3 }); 2], "{labels} labels");

        // A parameter that is no number spoils the first row it touches.
        let mut model =
            DawidSkene::new(answers, labels, RowFacts::default(), Prior::default(), &mut memory).unwrap();
        model.set_probabilities(&vec![f64::NAN; labels], &table).unwrap();
        let named = [0, 1].map(|row| Some(EmError::ImpossibleRow { row }));
        assert_eq!(errors(&model), named, "{labels} labels");
    }
}

#[test]
fn an_impossible_row_behind_the_first_block_is_named_by_a_fit() {
    let tasks = 700;
    let crowd = noise(tasks, 3, 2, 2000, 1);
    let mut known = vec![UNKNOWN; tasks];
    known[601] = 1;
    let facts = RowFacts { known_classes: Some(&known), weights: None };
    let answers = crowd.answers();
    let shape = DawidSkeneShape::of(answers);
    let mut memory = vec![0.0; shape.parameters_len()];
    let mut model = DawidSkene::new(answers, 2, facts, Prior::default(), &mut memory).unwrap();
    model.set_probabilities(&[1.0, 0.0], &vec![0.5; shape.table_len()]).unwrap();
    let mut statistics = vec![0.0; shape.parameters_len()];
    let mut scratch = vec![0.0; model.shape().sweep_scratch_len()];
    let found = sweep(&model, 0..tasks, &mut statistics, &mut scratch);
    assert_eq!(found, Err(EmError::ImpossibleRow { row: 601 }));
}
