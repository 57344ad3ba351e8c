//! Information orders workers by quality and is nothing where there is nothing; intervals hold what they promise.

mod common;

use common::crowd::{Crowd, Generated, Naming};
use common::random::SplitMix;
use mixlet_core::observations::{Answers, WorkerTasks};
use mixlet_core::select::null::{chi_square_quantile, null_information};
use mixlet_core::select::{Estimator, Pairs, mutual_information};
use mixlet_runtime::crowd::fit::{FitOptions, Method, fit};
use mixlet_runtime::crowd::selection::worker_information;
use mixlet_runtime::crowd::workers::worker_accuracies;

/// Workers with the given accuracies; every task is answered by all of them. Errors are uniform.
fn one_coin_crowd(accuracies: &[f64], labels: usize, tasks: usize, seed: u64) -> Crowd {
    let mut random = SplitMix(seed);
    let (mut rows, mut gold) = (Vec::new(), Vec::new());
    for task in 0..tasks {
        let truth = random.below(labels);
        gold.push(Some(truth));
        for (worker, &accuracy) in accuracies.iter().enumerate() {
            let slip = if random.unit() < accuracy { 0 } else { 1 + random.below(labels - 1) };
            rows.push([task, worker, (truth + slip) % labels].map(|value| value as u32));
        }
    }
    Crowd::new(accuracies.len() as u32, labels as u32, &rows, gold)
}

/// Kendall's tau of two rankings without ties.
fn kendall_tau(a: &[f64], b: &[f64]) -> f64 {
    let pairs = || (0..a.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let concordance = pairs().map(|(i, j)| ((a[i] - a[j]) * (b[i] - b[j])).signum()).sum::<f64>();
    concordance / pairs().count() as f64
}

#[test]
fn information_orders_workers_by_distance_from_chance() {
    // Adversaries among them: |2p − 1| from 0.02 to 0.94, every third worker on the wrong side.
    let accuracies: Vec<f64> = (0..24)
        .map(|nth| 0.51 + 0.02 * f64::from(nth))
        .enumerate()
        .map(|(nth, accuracy)| if nth % 3 == 0 { 1.0 - accuracy } else { accuracy })
        .collect();
    let distance: Vec<f64> = accuracies.iter().map(|accuracy| (2.0 * accuracy - 1.0).abs()).collect();
    let mut taus = Vec::new();
    for tasks in [100, 1000, 10_000] {
        let crowd = one_coin_crowd(&accuracies, 2, tasks, 4);
        let information = worker_information(crowd.answers(), Estimator::Plain).unwrap();
        taus.push(kendall_tau(&information, &distance));
    }
    println!("Kendall's tau with 100, 1,000 and 10,000 tasks: {taus:?}");
    assert!(taus[0] < taus[1] && taus[1] < taus[2], "{taus:?}");
    assert!(taus[0] > 0.6 && taus[1] > 0.9 && taus[2] > 0.97, "{taus:?}");
}

/// `F(t) = ln 2 − h((1 + t)/2)`: the information of two one-coin workers with `|ρ_i ρ_j| = t`.
fn f(t: f64) -> f64 {
    let x_ln_x = |x: f64| if x > 0.0 { x * x.ln() } else { 0.0 };
    2f64.ln() + x_ln_x((1.0 + t) / 2.0) + x_ln_x((1.0 - t) / 2.0)
}

#[test]
fn the_population_formula_of_the_one_coin_model() {
    for i in 0..=20 {
        for j in 0..=20 {
            let [p, q] = [i, j].map(|nth| 0.05 * f64::from(nth));
            let rho = (2.0 * p - 1.0) * (2.0 * q - 1.0);
            // Two classes of one half each; both right, both wrong, one right.
            let same = 0.5 * (p * q + (1.0 - p) * (1.0 - q));
            let table = [same, 0.5 - same, 0.5 - same, same];
            let found = mutual_information(&table, 2);
            assert!((found - f(rho.abs())).abs() < 1e-12, "{p} {q}: {found}");
            // Adding up many tables of the same shape changes nothing.
            let larger = table.map(|share| 1e6 * share);
            assert!((mutual_information(&larger, 2) - found).abs() < 1e-12, "{p} {q}");
        }
    }
    // The series F(t) = t²/2 + t⁴/12 + t⁶/30 + …
    let t: f64 = 0.1;
    assert!((f(t) - (t.powi(2) / 2.0 + t.powi(4) / 12.0 + t.powi(6) / 30.0)).abs() < 1e-9);
}

#[test]
fn a_sample_converges_to_the_population() {
    let accuracies = [0.9, 0.75, 0.2];
    let crowd = one_coin_crowd(&accuracies, 2, 100_000, 9);
    let found = worker_information(crowd.answers(), Estimator::Plain).unwrap();
    for (worker, found) in found.iter().enumerate() {
        let rho = |worker: usize| 2.0 * accuracies[worker] - 1.0;
        let others = (0..3).filter(|&other| other != worker);
        let expected: f64 = others.map(|other| f((rho(worker) * rho(other)).abs())).sum();
        assert!((found - expected).abs() < 0.01, "worker {worker}: {found}, expected {expected}");
    }
}

#[test]
fn several_classes_order_alike() {
    // ρ = (K·p − 1)/(K − 1); joint diagonal (1 + (K − 1)·ρρ')/K², off-diagonal (1 − ρρ')/K².
    for k in 3..=6 {
        let information = |rho: f64| {
            let classes = k as f64;
            let cell = |nth: usize| match nth % (k + 1) {
                0 => (1.0 + (classes - 1.0) * rho) / (classes * classes),
                _ => (1.0 - rho) / (classes * classes),
            };
            let table: Vec<f64> = (0..k * k).map(cell).collect();
            mutual_information(&table, k)
        };
        let rising: Vec<f64> = (0..=20).map(|nth| information(0.05 * f64::from(nth))).collect();
        assert!(rising.windows(2).all(|pair| pair[0] < pair[1]), "{k} classes: {rising:?}");
        assert!((rising[20] - (k as f64).ln()).abs() < 1e-12 && rising[0].abs() < 1e-12);
    }
}

/// The information of every pair of workers, each once.
fn pair_information(answers: Answers<'_>) -> Vec<f64> {
    let (mut offsets, mut tasks) = (vec![0; answers.workers() + 1], vec![0; answers.cells().len()]);
    let pairs = Pairs::new(answers, WorkerTasks::fill(answers, &mut offsets, &mut tasks).unwrap());
    let mut scratch = vec![0.0; pairs.scratch_len()];
    let mut all = Vec::new();
    for worker in 0..answers.workers() {
        let visit = |partner: usize, table: &[f64]| {
            if partner > worker {
                all.push(mutual_information(table, answers.labels()));
            }
        };
        pairs.for_each_partner(worker, &mut scratch, visit).unwrap();
    }
    all
}

#[test]
fn without_dependence_twice_the_sum_of_information_is_chi_square() {
    for labels in [2, 3, 4] {
        // Chance: accuracy 1/K. 80 workers make 3160 pairs.
        let tasks = 400;
        let crowd = one_coin_crowd(&[1.0 / labels as f64; 80], labels, tasks, labels as u64);
        let information = pair_information(crowd.answers());
        let freedom = (labels as f64 - 1.0).powi(2);
        let mean = information.iter().sum::<f64>() / information.len() as f64;
        let expected = freedom / (2.0 * tasks as f64);
        assert!((mean / expected - 1.0).abs() < 0.05, "{labels} labels: mean {mean}, expected {expected}");
        for level in [0.5, 0.75, 0.9, 0.95, 0.99] {
            let null = null_information(level, freedom, tasks as f64);
            assert!((null - chi_square_quantile(level, freedom) / (2.0 * tasks as f64)).abs() < 1e-15);
            let below = information.iter().filter(|&&value| value < null).count() as f64;
            let share = below / information.len() as f64;
            // Three standard deviations of 3160 draws, and a little for the law being asymptotic.
            let slack = 3.0 * (level * (1.0 - level) / information.len() as f64).sqrt() + 0.005;
            assert!((share - level).abs() < slack, "{labels} labels, level {level}: {share}");
        }
    }
}

#[test]
fn a_worker_who_always_says_the_same_has_no_information() {
    let crowd = one_coin_crowd(&[0.9, 0.8, 0.7, 0.6], 3, 300, 5);
    let answers = crowd.answers();
    // Worker 4 says 2 to everything.
    let rows: Vec<[u32; 3]> = (0..300u32)
        .flat_map(|task| {
            let others = answers.task(task as usize).iter().map(move |&cell| [task, cell / 3, cell % 3]);
            others.chain([[task, 4, 2]])
        })
        .collect();
    let crowd = Crowd::new(5, 3, &rows, vec![None; 300]);
    for estimator in [Estimator::Plain, Estimator::Weighted, Estimator::MillerMadow, Estimator::G_TEST] {
        let information = worker_information(crowd.answers(), estimator).unwrap();
        // The floor of the plain estimate leaves a trace.
        assert!(information[4].abs() < 1e-4, "{estimator:?}: {information:?}");
        assert!(information[..4].iter().all(|&value| value > 0.01), "{estimator:?}: {information:?}");
    }
    let exact: f64 = pair_information(crowd.answers()).iter().sum();
    let without: f64 = pair_information(answers).iter().sum();
    assert!((exact - without).abs() < 1e-12);
}

#[test]
fn what_a_worker_calls_the_labels_does_not_matter() {
    let settings = |naming| Generated {
        tasks: 500,
        workers: 12,
        labels: 4,
        answers_per_task: 7,
        accuracy: (0.3, 0.9),
        naming,
        seed: 6,
    };
    // Rotated names draw no random numbers: the answers are the same but for their names.
    let [shared, rotated] = [Naming::Shared, Naming::Rotated].map(|naming| settings(naming).crowd());
    assert_ne!(shared.cells, rotated.cells);
    for estimator in [Estimator::Plain, Estimator::Weighted, Estimator::MillerMadow, Estimator::G_TEST] {
        let [expected, found] =
            [&shared, &rotated].map(|crowd| worker_information(crowd.answers(), estimator).unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-12, "{estimator:?}: {found}, expected {expected}");
        }
    }
}

#[test]
fn intervals_of_accuracy_hold_the_true_one_about_95_times_of_100() {
    for (method, labels, answers_per_task) in [
        (Method::DawidSkene, 2, 10),
        (Method::DawidSkene, 4, 8),
        (Method::OneCoin, 3, 8),
        (Method::DawidSkene, 2, 5),
    ] {
        let (mut held, mut workers) = (0, 0);
        for seed in 0..8 {
            let (tasks, accuracy, naming) = (800, (0.55, 0.95), Naming::Shared);
            let settings = Generated { tasks, workers: 40, labels, answers_per_task, accuracy, naming, seed };
            let crowd = settings.crowd();
            let options = FitOptions { method, ..FitOptions::default() };
            let fitted = fit(crowd.answers(), &options, &mut |_| ()).unwrap();
            // The generator draws a worker's accuracy first, in order.
            let mut random = SplitMix(seed);
            for found in worker_accuracies(crowd.answers(), &fitted.posteriors) {
                let truth = 0.55 + 0.4 * random.unit();
                held += usize::from((found.low..=found.high).contains(&truth));
                workers += 1;
            }
        }
        let coverage = held as f64 / workers as f64;
        println!("{method:?}, {labels} labels, {answers_per_task} answers per task: {coverage:.3}");
        assert!((0.90..=0.99).contains(&coverage), "{method:?}, {labels} labels: {held} of {workers}");
    }
}
