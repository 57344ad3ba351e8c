//! Laws of EM, on random crowds and on the shared ones.

mod common;

use common::crowd::{Crowd, Generated, Naming};
use common::panel::{Panel, panels};
use common::random::SplitMix;
use common::shared::{self, SETS};
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior, TwoClasses, two_classes_len};
use mixlet_core::em::one_coin::{OneCoin, OneCoinSettings, one_coin_parameters_len};
use mixlet_core::em::{self, FitSettings, LatentClassModel, RowFacts, UNKNOWN, spectral, start};
use mixlet_core::observations::Answers;
use mixlet_core::select::{Estimator, order_by_information};
use mixlet_runtime::crowd::fit::{CrowdFit, FitOptions, Method, Pseudocount, Start, fit};
use mixlet_runtime::crowd::selection::worker_information;
use proptest::prelude::*;

/// A share of the objective's size that rounding may take.
const ROUNDING: f64 = 1e-12;

/// Maximisations after which two ways to say the same are compared. Each holds for every step, so two are enough; a
/// symmetric crowd, one worker with fifty answers to one task, say, amplifies rounding fiftyfold in every step.
const STEPS: u32 = 2;

/// The objective of every round.
fn objectives(model: &mut impl LatentClassModel, rounds: u32) -> Vec<f64> {
    let shape = model.shape();
    let mut statistics = vec![0.0; shape.statistics];
    let mut scratch = vec![0.0; shape.sweep_scratch_len()];
    let mut objectives = Vec::new();
    let settings = FitSettings { rounds, tolerance: 0.0 };
    let sweep = |model: &_, statistics: &mut [f64]| {
        statistics.fill(0.0);
        em::sweep(model, 0..shape.rows, statistics, &mut scratch)
    };
    em::fit_with(model, settings, &mut statistics, sweep, |round| objectives.push(round.objective)).unwrap();
    objectives
}

#[track_caller]
fn assert_never_falls(what: &str, objectives: &[f64]) {
    for (nth, pair) in objectives.windows(2).enumerate() {
        let slack = ROUNDING * (1.0 + pair[0].abs());
        assert!(pair[1] >= pair[0] - slack, "{what}: round {}: {} after {}", nth + 2, pair[1], pair[0]);
    }
}

fn posteriors(model: &impl LatentClassModel) -> Vec<f64> {
    let shape = model.shape();
    let mut out = vec![f64::NAN; shape.rows * shape.classes];
    model.expectation(0..shape.rows, &mut out).unwrap();
    out
}

/// One maximisation from the vote.
fn start_from_vote(model: &mut impl LatentClassModel, answers: Answers<'_>, facts: RowFacts<'_>) {
    let shape = model.shape();
    let mut votes = vec![f64::NAN; shape.rows * shape.classes];
    start::vote_shares(answers, facts, 0..shape.rows, &mut votes);
    let mut statistics = vec![0.0; shape.statistics];
    model.accumulate(0..shape.rows, &votes, &mut statistics);
    model.maximize(&statistics);
}

/// Works with a Dawid–Skene model that was started from the vote and did some rounds.
fn with_fitted<T>(
    answers: Answers<'_>,
    facts: RowFacts<'_>,
    prior: Prior<'_>,
    rounds: u32,
    work: impl FnOnce(&DawidSkene<'_>) -> T,
) -> T {
    let shape = DawidSkeneShape::of(answers);
    let mut memory = vec![0.0; shape.parameters_len()];
    let mut model = DawidSkene::new(answers, shape.classes, facts, prior, &mut memory).unwrap();
    start_from_vote(&mut model, answers, facts);
    objectives(&mut model, rounds);
    work(&model)
}

/// The posteriors of [`with_fitted`] where there are two classes, fitted by log-ratios.
fn by_ratios(answers: Answers<'_>, facts: RowFacts<'_>, prior: Prior<'_>, rounds: u32) -> Vec<f64> {
    let mut memory = vec![0.0; DawidSkeneShape::of(answers).parameters_len()];
    let mut ratio_memory = vec![0.0; two_classes_len(answers.cell_count())];
    let mut model = DawidSkene::new(answers, 2, facts, prior, &mut memory).unwrap();
    let mut ratios = TwoClasses::new(&mut model, &mut ratio_memory).unwrap();
    start_from_vote(&mut ratios, answers, facts);
    objectives(&mut ratios, rounds);
    posteriors(&model)
}

/// Every kind of prior; tables are full of different numbers.
fn priors<'a>(shared: &'a [f64], earlier: &'a [f64], frozen: &'a [f64]) -> Vec<Prior<'a>> {
    let none = Prior::default();
    vec![
        none,
        Prior { uniform_shares: true, ..none },
        Prior { class_pseudocount: 0.7, ..none },
        Prior { pseudocount: 0.3, ..none },
        Prior { shared: Some(shared), ..none },
        Prior { earlier: Some(earlier), ..none },
        Prior { frozen_conditionals: Some(frozen), ..none },
        Prior {
            class_pseudocount: 2.0,
            pseudocount: 0.01,
            shared: Some(shared),
            earlier: Some(earlier),
            ..none
        },
    ]
}

/// Class shares and conditionals of the starts that need parameters; a crowd may have no spectral one.
fn parameter_starts(answers: Answers<'_>) -> Vec<(Vec<f64>, Vec<f64>)> {
    let shape = DawidSkeneShape::of(answers);
    let (mut shares, mut table) = (vec![0.0; shape.classes], vec![0.0; shape.table_len()]);
    start::random_probabilities(&mut SplitMix(3), shape.labels, &mut shares, &mut table);
    let mut starts = vec![(shares.clone(), table.clone())];
    let mut scratch = vec![0.0; spectral::start_scratch_len(answers)];
    if spectral::start(answers, &mut SplitMix(3), &mut shares, &mut table, &mut scratch).is_ok() {
        starts.push((shares, table));
    }
    starts
}

fn numbers(len: usize) -> Vec<f64> {
    let mut random = SplitMix(11);
    (0..len).map(|_| 3.0 * random.unit()).collect()
}

#[track_caller]
fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    // Equal, also where both are infinite; NaN is neither.
    let is_close = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= tolerance;
    let wrong = found.iter().zip(expected).position(|pair| !is_close(pair));
    if let Some(nth) = wrong {
        panic!("{what}: value {nth} is {}, expected {}", found[nth], expected[nth]);
    }
}

/// The panel with known classes below two, and every task's first answers alone: `each`, or all where it is 0.
fn of_two_classes(panel: Panel, each: u32) -> Panel {
    let known = panel.known.iter().map(|&class| if class == UNKNOWN { class } else { class % 2 }).collect();
    let rows = match each {
        0 => panel.rows.clone(),
        _ => {
            let answer = |nth: u32| {
                let mut row =
                    panel.rows.get(nth as usize).copied().unwrap_or([0, nth % panel.workers, nth % 2]);
                row[0] = nth / each;
                row
            };
            (0..panel.tasks * each).map(answer).collect()
        }
    };
    Panel { known, rows, ..panel }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_objective_of_dawid_skene_never_falls(panel in panels()) {
        let (crowd, weights) = (panel.crowd(), panel.float_weights());
        let (answers, facts) = (crowd.answers(), panel.facts(&weights));
        let shape = DawidSkeneShape::of(answers);
        let (shared, earlier) = (numbers(shape.labels * shape.classes), numbers(shape.table_len()));
        let starts = parameter_starts(answers);
        let mut memory = vec![0.0; shape.parameters_len()];
        for prior in priors(&shared, &earlier, &starts[0].1) {
            let mut model = DawidSkene::new(answers, shape.classes, facts, prior, &mut memory).unwrap();
            start_from_vote(&mut model, answers, facts);
            assert_never_falls(&format!("vote, {prior:?}"), &objectives(&mut model, 30));
            for (shares, table) in &starts {
                // A start that the prior rules out may be better than all it allows.
                let even = vec![1.0 / shape.classes as f64; shape.classes];
                model.set_probabilities(if prior.uniform_shares { &even } else { shares }, table).unwrap();
                assert_never_falls(&format!("parameters, {prior:?}"), &objectives(&mut model, 30));
            }
        }
    }

    #[test]
    fn two_classes_fit_the_same_by_ratios(panel in panels(), each in prop_oneof![Just(0), Just(3), Just(5), Just(10)]) {
        let panel = of_two_classes(panel, each);
        let (crowd, weights) = (panel.crowd(), panel.float_weights());
        let answers = crowd.answers();
        let shape = DawidSkeneShape { classes: 2, ..DawidSkeneShape::of(answers) };
        let (shared, earlier) = (numbers(shape.labels * 2), numbers(shape.table_len()));
        let frozen: Vec<f64> = numbers(shape.table_len()).iter().map(|number| 0.1 + 0.2 * number).collect();
        let (mut memory, mut other_memory) = (vec![0.0; shape.parameters_len()], vec![0.0; shape.parameters_len()]);
        let mut ratio_memory = vec![f64::NAN; two_classes_len(answers.cell_count())];
        let none = RowFacts::default();
        for facts in [none, RowFacts { weights: Some(&weights), ..none }, panel.facts(&weights)] {
            for prior in priors(&shared, &earlier, &frozen) {
                let mut model = DawidSkene::new(answers, 2, facts, prior, &mut memory).unwrap();
                let mut same = DawidSkene::new(answers, 2, facts, prior, &mut other_memory).unwrap();
                // Class shares and conditionals that differ, so that classes do not stay alike.
                model.set_probabilities(&[0.3, 0.7], &frozen).unwrap();
                same.set_probabilities(&[0.3, 0.7], &frozen).unwrap();
                let mut ratios = TwoClasses::new(&mut same, &mut ratio_memory).unwrap();
                let (expected, found) = (objectives(&mut model, STEPS), objectives(&mut ratios, STEPS));
                let what = format!("{facts:?} {prior:?}");
                // A count of class 0 is rounded to 10⁻¹⁶ an answer. Where only the floor of 10⁻¹⁰ stands beside it, its
                // logarithm is known to 2·10⁻⁶ an answer.
                let has_counts = prior.pseudocount > 0.0 || prior.shared.is_some() || prior.earlier.is_some();
                let weight: f64 = 3.0 * answers.cells().len() as f64;
                let is_known = has_counts || prior.frozen_conditionals.is_some();
                let tolerance = if is_known { 1e-7 } else { 2e-6 * (1.0 + weight) };
                assert_close(&what, &found, &expected, tolerance);
                assert_close(&what, &posteriors(&ratios), &posteriors(&model), tolerance);
                assert_never_falls(&what, &objectives(&mut ratios, 30));
            }
        }
    }

    #[test]
    fn the_objective_of_one_coin_never_falls(panel in panels()) {
        let (crowd, weights) = (panel.crowd(), panel.float_weights());
        let (answers, facts) = (crowd.answers(), panel.facts(&weights));
        let mut memory = vec![0.0; one_coin_parameters_len(answers)];
        let plain = OneCoinSettings::default();
        for settings in [
            plain,
            OneCoinSettings { uniform_shares: true, ..plain },
            OneCoinSettings { class_pseudocount: 1.0, right_pseudocount: 2.0, wrong_pseudocount: 0.5, ..plain },
        ] {
            let mut model = OneCoin::new(answers, settings, facts, &mut memory).unwrap();
            assert_never_falls(&format!("as made, {settings:?}"), &objectives(&mut model, 30));
            start_from_vote(&mut model, answers, facts);
            assert_never_falls(&format!("vote, {settings:?}"), &objectives(&mut model, 30));
        }
    }

    #[test]
    fn posteriors_are_distributions_and_honour_known_labels(panel in panels()) {
        let (crowd, weights) = (panel.crowd(), panel.float_weights());
        let facts = panel.facts(&weights);
        let labels = panel.labels as usize;
        let dawid_skene = with_fitted(crowd.answers(), facts, Prior::default(), 10, |model| posteriors(model));
        let mut memory = vec![0.0; one_coin_parameters_len(crowd.answers())];
        let settings = OneCoinSettings::default();
        let mut model = OneCoin::new(crowd.answers(), settings, facts, &mut memory).unwrap();
        objectives(&mut model, 10);
        for posteriors in [dawid_skene, posteriors(&model)] {
            for (posterior, &known) in posteriors.chunks_exact(labels).zip(&panel.known) {
                prop_assert!((posterior.iter().sum::<f64>() - 1.0).abs() < 1e-14, "{posterior:?}");
                prop_assert!(posterior.iter().all(|probability| (0.0..=1.0).contains(probability)));
                if known != UNKNOWN {
                    let exact = (0..labels).map(|class| if class == known as usize { 1.0 } else { 0.0 });
                    prop_assert!(posterior.iter().copied().eq(exact), "{known}: {posterior:?}");
                }
            }
        }
    }

    #[test]
    fn a_weight_counts_as_so_many_equal_tasks(panel in panels()) {
        let (crowd, weights) = (panel.crowd(), panel.float_weights());
        let prior = Prior { pseudocount: 0.1, ..Prior::default() };
        let answers = crowd.answers();
        let both = |model: &DawidSkene<'_>| (posteriors(model), model.log_table().to_vec());
        let (weighted, table) = with_fitted(answers, panel.facts(&weights), prior, STEPS, both);

        // Task t stands weights[t] times; copies are adjacent.
        let copies: Vec<u32> =
            (0..panel.tasks).flat_map(|task| (0..panel.weights[task as usize]).map(move |_| task)).collect();
        let rows: Vec<[u32; 3]> = (copies.iter().zip(0..))
            .flat_map(|(&task, copy)| answers.task(task as usize).iter().map(move |&cell| [copy, cell]))
            .map(|[copy, cell]| [copy, cell / panel.labels, cell % panel.labels])
            .collect();
        let repeated = Crowd::new(panel.workers, panel.labels, &rows, vec![None; copies.len()]);
        let known: Vec<u32> = copies.iter().map(|&task| panel.known[task as usize]).collect();
        let facts = RowFacts { known_classes: Some(&known), weights: None };
        let (found, found_table) = with_fitted(repeated.answers(), facts, prior, STEPS, both);
        let expected: Vec<f64> = copies
            .iter()
            .flat_map(|&task| &weighted[task as usize * panel.labels as usize..][..panel.labels as usize])
            .copied()
            .collect();
        assert_close("posteriors", &found, &expected, 1e-9);
        assert_close("conditionals", &found_table, &table, 1e-9);
    }

    #[test]
    fn an_answer_given_twice_counts_as_two_workers_who_agree(panel in panels()) {
        let facts = RowFacts { known_classes: Some(&panel.known), weights: None };
        let twice: Vec<[u32; 3]> = panel.rows.iter().flat_map(|&row| [row, row]).collect();
        let agreeing: Vec<[u32; 3]> = panel
            .rows
            .iter()
            .flat_map(|&[task, worker, label]| [[task, worker, label], [task, worker + panel.workers, label]])
            .collect();
        let tasks = vec![None; panel.tasks as usize];
        let twice = Crowd::new(panel.workers, panel.labels, &twice, tasks.clone());
        let agreeing = Crowd::new(2 * panel.workers, panel.labels, &agreeing, tasks);
        // Twice the answers outweigh twice the pseudocount as once the answers do once.
        let fitted = |crowd: &Crowd, pseudocount| {
            let prior = Prior { pseudocount, ..Prior::default() };
            with_fitted(crowd.answers(), facts, prior, STEPS, |model| posteriors(model))
        };
        // The floor of 1e-10 is not doubled.
        assert_close("posteriors", &fitted(&twice, 2.0), &fitted(&agreeing, 1.0), 1e-8);
    }

    #[test]
    fn statistics_of_shards_add_up(panel in panels(), cut in 0.0..1.0) {
        let (crowd, weights) = (panel.crowd(), panel.float_weights());
        with_fitted(crowd.answers(), panel.facts(&weights), Prior::default(), 3, |model| {
            let shape = model.shape();
            let cut = (cut * shape.rows as f64) as usize;
            let mut scratch = vec![0.0; shape.sweep_scratch_len()];
            let (mut whole, mut parts) = (vec![0.0; shape.statistics], vec![0.0; shape.statistics]);
            let likelihood = em::sweep(model, 0..shape.rows, &mut whole, &mut scratch).unwrap();
            let sum = em::sweep(model, 0..cut, &mut parts, &mut scratch).unwrap()
                + em::sweep(model, cut..shape.rows, &mut parts, &mut scratch).unwrap();
            assert_close("statistics", &parts, &whole, 1e-11);
            assert_close("log-likelihood", &[sum], &[likelihood], 1e-11 * (1.0 + likelihood.abs()));
        });
    }

    #[test]
    fn numbers_are_only_names(panel in panels(), seed in any::<u64>()) {
        let mut random = SplitMix(seed);
        let [tasks, workers, labels] =
            [panel.tasks, panel.workers, panel.labels].map(|count| order(&mut random, count));
        let other = panel.renumbered(&tasks, &workers, &labels);
        let fitted = |panel: &Panel| {
            let (crowd, weights, prior) = (panel.crowd(), panel.float_weights(), Prior::default());
            with_fitted(crowd.answers(), panel.facts(&weights), prior, STEPS, |model| posteriors(model))
        };
        let classes = labels.len();
        let expected = fitted(&panel);
        let mut renamed = vec![f64::NAN; expected.len()];
        for (nth, &value) in expected.iter().enumerate() {
            renamed[tasks[nth / classes] as usize * classes + labels[nth % classes] as usize] = value;
        }
        assert_close("posteriors", &fitted(&other), &renamed, 1e-9);

        for estimator in [Estimator::Plain, Estimator::Weighted, Estimator::MillerMadow, Estimator::G_TEST] {
            let [expected, found] =
                [&panel, &other].map(|panel| worker_information(panel.crowd().answers(), estimator).unwrap());
            let found: Vec<f64> = workers.iter().map(|&worker| found[worker as usize]).collect();
            assert_close("information", &found, &expected, 1e-9);
        }
    }
}

/// A random order of `0..count`.
fn order(random: &mut SplitMix, count: u32) -> Vec<u32> {
    random.choose(count as usize, count as usize).into_iter().map(|place| place as u32).collect()
}

/// A crowd of which everything can be told: no ties, no symmetry.
fn clear_crowd(tasks: usize, answers_per_task: usize) -> Crowd {
    let (accuracy, naming) = ((0.45, 0.95), Naming::Shared);
    Generated { tasks, workers: 30, labels: 3, answers_per_task, accuracy, naming, seed: 8 }.crowd()
}

fn options(method: Method, pseudocount: Pseudocount, start: Start) -> FitOptions {
    let settings = FitSettings { rounds: 15, tolerance: 0.0 };
    FitOptions { method, pseudocount, start, settings, ..FitOptions::default() }
}

#[test]
fn numbers_are_only_names_to_the_pooled_fit_and_to_the_order() {
    let crowd = clear_crowd(400, 6);
    let (answers, mut random) = (crowd.answers(), SplitMix(2));
    let [tasks, workers, labels] = [400, 30, 3].map(|count| order(&mut random, count));
    let rows: Vec<[u32; 3]> = (0..400)
        .flat_map(|task| answers.task(task).iter().map(move |&cell| (task, cell)))
        .map(|(task, cell)| [tasks[task], workers[answers.worker(cell)], labels[answers.label(cell)]])
        .collect();
    let other = Crowd::new(30, 3, &rows, vec![None; 400]);
    for method in [Method::DawidSkene, Method::OneCoin] {
        let options = options(method, Pseudocount::Pooled, Start::Vote);
        let [expected, found] =
            [answers, other.answers()].map(|answers| fit(answers, &options, &mut |_| ()).unwrap());
        let found: Vec<f64> = (0..400 * 3)
            .map(|nth| found.posteriors[tasks[nth / 3] as usize * 3 + labels[nth % 3] as usize])
            .collect();
        assert_close("posteriors", &found, &expected.posteriors, 1e-9);
    }
    let [expected, found] = [answers, other.answers()].map(|answers| {
        let mut order = vec![0; 30];
        order_by_information(&worker_information(answers, Estimator::Plain).unwrap(), &mut order);
        order
    });
    let renamed: Vec<u32> = expected.iter().map(|&worker| workers[worker as usize]).collect();
    assert_eq!(found, renamed);
}

/// Everything a fit found, as bits.
fn bits(fitted: &CrowdFit) -> Vec<u64> {
    let rounds = fitted.rounds.iter().flat_map(|round| [round.log_likelihood, round.objective]);
    let values = [&fitted.posteriors, &fitted.class_shares, &fitted.conditionals].into_iter().flatten();
    values.copied().chain(rounds).map(f64::to_bits).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let crowd = clear_crowd(9000, 15);
    let answers = crowd.answers();
    // A shard holds at least 2¹⁵ answers: four of them.
    assert_eq!(answers.cells().len() >> 15, 4);
    let on_threads = |threads: usize, options: &FitOptions| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| bits(&fit(answers, options, &mut |_| ()).unwrap()))
    };
    let given = crowd.gold.iter().flat_map(|gold| (0..3).map(|k| if *gold == Some(k) { 0.8 } else { 0.1 }));
    for options in [
        options(Method::DawidSkene, Pseudocount::Pooled, Start::Vote),
        options(Method::DawidSkene, Pseudocount::Constant(0.0), Start::Spectral),
        options(Method::DawidSkene, Pseudocount::Constant(0.1), Start::Random),
        options(Method::DawidSkene, Pseudocount::Constant(0.0), Start::Given(given.collect())),
        options(Method::OneCoin, Pseudocount::Pooled, Start::Vote),
        options(Method::MajorityVote, Pseudocount::Pooled, Start::Vote),
    ] {
        let alone = on_threads(1, &options);
        for threads in [2, 3, 8] {
            assert!(on_threads(threads, &options) == alone, "{threads} threads, {:?}", options.method);
        }
    }
    let information = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| worker_information(answers, Estimator::Plain).unwrap())
    };
    assert_eq!(information(3), information(1));
}

#[test]
fn the_vectors_of_any_cpu_give_the_same_bits() {
    // The runtime compiles core's sweep for wide vectors; core's own is for any CPU. One shard: sums in one order.
    for labels in 2..=9 {
        let (accuracy, naming) = ((0.4, 0.9), Naming::Shared);
        let crowd =
            Generated { tasks: 700, workers: 9, labels, answers_per_task: 4, accuracy, naming, seed: 1 }
                .crowd();
        let options = options(Method::DawidSkene, Pseudocount::Constant(0.0), Start::Vote);
        let fitted = fit(crowd.answers(), &options, &mut |_| ()).unwrap();
        let (facts, prior) = (RowFacts::default(), Prior::default());
        let expected = match labels {
            2 => by_ratios(crowd.answers(), facts, prior, 15),
            _ => with_fitted(crowd.answers(), facts, prior, 15, |model| posteriors(model)),
        };
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&fitted.posteriors), bits(&expected), "{labels} labels");
    }
}

#[test]
fn the_objective_never_falls_on_the_shared_sets() {
    let crowds = SETS.into_iter().map(|name| (name, shared::all_tasks(name)));
    for (name, crowd) in crowds.chain([("anaesthetist", shared::anaesthetist())]) {
        let Some(crowd) = crowd else { continue };
        for method in [Method::DawidSkene, Method::OneCoin] {
            for pseudocount in [Pseudocount::Constant(0.0), Pseudocount::Pooled] {
                let settings = FitSettings { rounds: 60, tolerance: 0.0 };
                let options = FitOptions { settings, ..options(method, pseudocount, Start::Vote) };
                let fitted = fit(crowd.answers().unwrap(), &options, &mut |_| ()).unwrap();
                let objectives: Vec<f64> = fitted.rounds.iter().map(|round| round.objective).collect();
                assert_never_falls(&format!("{name}, {method:?}, {pseudocount:?}"), &objectives);
            }
        }
    }
}
