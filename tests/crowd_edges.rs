//! Crowds with next to nothing in them: every step gives numbers or a typed error, never a panic.

mod common;

use common::crowd::Crowd;
use mixlet_core::em::{EmError, FitSettings, UNKNOWN};
use mixlet_core::observations::Answers;
use mixlet_core::select::Estimator;
use mixlet_runtime::crowd::agreement::krippendorff_alpha;
use mixlet_runtime::crowd::analysis::{Analysis, AnalysisOptions};
use mixlet_runtime::crowd::answers;
use mixlet_runtime::crowd::ask_next::expected_gains;
use mixlet_runtime::crowd::fit::{CrowdFit, FitOptions, Method, Pseudocount, Start, fit};
use mixlet_runtime::crowd::score::Score;
use mixlet_runtime::crowd::selection::{Select, residue, select, worker_information};
use mixlet_runtime::crowd::workers::worker_accuracies;
use mixlet_runtime::error::Error;

fn crowds() -> Vec<(&'static str, Crowd)> {
    let every_pair = |tasks: u32, workers: u32, label: fn(u32, u32) -> u32| -> Vec<[u32; 3]> {
        let pairs = (0..tasks).flat_map(|task| (0..workers).map(move |worker| (task, worker)));
        pairs.map(|(task, worker)| [task, worker, label(task, worker)]).collect()
    };
    let crowd =
        |workers, labels, rows: &[[u32; 3]], tasks| Crowd::new(workers, labels, rows, vec![None; tasks]);
    vec![
        ("no tasks", crowd(3, 2, &[], 0)),
        ("no workers", crowd(0, 2, &[], 3)),
        ("nobody answered", crowd(3, 2, &[], 3)),
        ("one task", crowd(4, 3, &every_pair(1, 4, |_, worker| worker % 3), 1)),
        ("one worker", crowd(1, 2, &every_pair(9, 1, |task, _| task % 2), 9)),
        ("one answer", crowd(2, 2, &[[1, 1, 1]], 3)),
        ("one label", crowd(3, 1, &every_pair(5, 3, |_, _| 0), 5)),
        ("one label given of three", crowd(3, 3, &every_pair(5, 3, |_, _| 1), 5)),
        ("everybody right", crowd(4, 2, &every_pair(20, 4, |task, _| task % 2), 20)),
        (
            "everybody against everybody",
            crowd(2, 2, &every_pair(20, 2, |task, worker| (task + worker) % 2), 20),
        ),
        ("the same answer a hundred times", crowd(2, 2, &[[0, 1, 1]; 100], 2)),
    ]
}

fn all_options() -> Vec<FitOptions> {
    let mut all = Vec::new();
    for method in [Method::DawidSkene, Method::OneCoin, Method::MajorityVote] {
        for start in [Start::Vote, Start::Random, Start::Spectral] {
            for pseudocount in [Pseudocount::Pooled, Pseudocount::Constant(0.0), Pseudocount::Constant(1.0)] {
                for uniform_shares in [false, true] {
                    let start = start.clone();
                    all.push(FitOptions {
                        method,
                        start,
                        pseudocount,
                        uniform_shares,
                        ..FitOptions::default()
                    });
                }
            }
        }
    }
    all
}

#[track_caller]
fn assert_distributions(what: &str, rows: &[f64], classes: usize) {
    for row in rows.chunks_exact(classes) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{what}: {row:?}");
    }
}

fn check(name: &str, answers: Answers<'_>, fitted: &CrowdFit) {
    let labels = answers.labels();
    assert_eq!(fitted.posteriors.len(), answers.tasks() * labels, "{name}");
    assert_distributions(name, &fitted.posteriors, labels);
    assert_distributions(name, &fitted.class_shares, labels);
    assert!(fitted.conditionals.iter().all(|value| (0.0..=1.0 + 1e-9).contains(value)), "{name}");
    for accuracy in worker_accuracies(answers, &fitted.posteriors) {
        assert!(
            (0.0..=1.0).contains(&accuracy.low) && (accuracy.low..=1.0).contains(&accuracy.high),
            "{name}"
        );
        assert_eq!(accuracy.accuracy.is_nan(), accuracy.answers == 0, "{name}");
    }
    let gains = expected_gains(answers, &fitted.posteriors, &fitted.conditionals, |_| true);
    assert_eq!(gains.len(), answers.tasks(), "{name}");
    assert!(gains.iter().all(|gain| (0.0..=3f64.ln()).contains(&gain.gain)), "{name}: {gains:?}");
    let (all, within) = residue(answers, Some(&fitted.posteriors), None).unwrap();
    assert!((0.0..=3f64.ln()).contains(&all) && within.is_none(), "{name}: {all}");
    let score = Score::of_posteriors(&fitted.posteriors, labels, &vec![0; answers.tasks()], |_| true);
    assert_eq!(score.tasks, answers.tasks(), "{name}");
}

#[test]
fn every_fit_of_a_crowd_at_the_edge_gives_numbers() {
    for (name, crowd) in crowds() {
        let answers = crowd.answers();
        for options in all_options() {
            let what = format!("{name}: {options:?}");
            match fit(answers, &options, &mut |_| ()) {
                Ok(fitted) => check(&what, answers, &fitted),
                Err(Error::Spectral(_)) => assert!(matches!(options.start, Start::Spectral), "{what}"),
                Err(error) => panic!("{what}: {error}"),
            }
        }
        assert!(krippendorff_alpha(answers).is_none_or(|alpha| alpha <= 1.0), "{name}");
    }
}

#[test]
fn every_selection_of_a_crowd_at_the_edge_is_one() {
    for (name, crowd) in crowds() {
        let answers = crowd.answers();
        let options = FitOptions::default();
        let information = worker_information(answers, Estimator::Plain).unwrap();
        assert!(
            information.iter().all(|value| *value >= 0.0 && value.is_finite()),
            "{name}: {information:?}"
        );
        for asked in [Select::Auto, Select::First(1), Select::First(answers.workers())] {
            let what = format!("{name}: {asked:?}");
            let selection = match select(answers, &options, asked, &information, &mut |_, _| ()) {
                Ok(selection) => selection.unwrap(),
                Err(Error::Select { asked: count, workers }) => {
                    assert!(count == 0 || count > workers, "{what}");
                    continue;
                }
                Err(error) => panic!("{what}: {error}"),
            };
            let speaking = selection.answers(answers).unwrap();
            assert_eq!(
                (speaking.tasks(), speaking.workers()),
                (answers.tasks(), answers.workers()),
                "{what}"
            );
            let fitted = fit(speaking, &selection.fit_options(answers, &options), &mut |_| ()).unwrap();
            check(&what, speaking, &fitted);
        }
    }
}

#[test]
fn settings_that_do_not_fit_the_crowd_are_typed_errors() {
    let crowd = Crowd::new(2, 2, &[[0, 0, 1], [0, 1, 0], [1, 0, 0]], vec![None; 3]);
    let length = |what, found, expected| EmError::Length { what, found, expected };
    let number = |what, value| EmError::NotANonNegativeNumber { what, value };
    let good = FitOptions::default();
    for (options, expected) in [
        (FitOptions { start: Start::Given(vec![0.5; 5]), ..good.clone() }, length("given posteriors", 5, 6)),
        (FitOptions { start: Start::Given(vec![0.5; 8]), ..good.clone() }, length("given posteriors", 8, 6)),
        (FitOptions { known_labels: Some(vec![0; 2]), ..good.clone() }, length("known classes", 2, 3)),
        (
            FitOptions { known_labels: Some(vec![0, 2, UNKNOWN]), ..good.clone() },
            EmError::KnownClass { row: 1, class: 2, classes: 2 },
        ),
        (FitOptions { earlier: Some(vec![1.0; 7]), ..good.clone() }, length("earlier counts", 7, 8)),
        (
            FitOptions { pseudocount: Pseudocount::Constant(-1.0), ..good.clone() },
            number("pseudocount", -1.0),
        ),
        (
            FitOptions { settings: FitSettings { rounds: 5, tolerance: -1.0 }, ..good.clone() },
            number("tolerance", -1.0),
        ),
    ] {
        for method in [Method::DawidSkene, Method::OneCoin] {
            // The one-coin model has no use for confusion matrices, and two pseudocounts of its own.
            let of_dawid_skene = options.earlier.is_some() || options.pseudocount != good.pseudocount;
            if method == Method::OneCoin && of_dawid_skene {
                continue;
            }
            match fit(crowd.answers(), &FitOptions { method, ..options.clone() }, &mut |_| ()) {
                Err(Error::Em(error)) => assert_eq!(error, expected, "{method:?}"),
                other => panic!("{method:?}: {other:?}, expected {expected}"),
            }
        }
    }
}

#[test]
fn a_task_with_one_answer_gets_it_as_its_label() {
    // Nobody's answer can be judged by another's: labels keep their meaning.
    let tasks: Vec<u32> = (0..90).collect();
    let workers: Vec<u32> = tasks.iter().map(|task| task % 7).collect();
    for labels in 2..5 {
        let given: Vec<u32> = tasks.iter().map(|task| task * task % labels).collect();
        let crowd = answers::Crowd::from_arrays(&tasks, &workers, &given, answers::Repeats::First).unwrap();
        for method in [Method::DawidSkene, Method::OneCoin, Method::MajorityVote] {
            let options =
                AnalysisOptions { fit: FitOptions { method, ..FitOptions::default() }, ..Default::default() };
            let found = Analysis::run(&crowd, &options, &mut ()).unwrap().labels();
            assert!(
                found.iter().zip(&given).all(|(found, given)| *found == *given as usize),
                "{method:?} {labels}"
            );
        }
    }
}

#[test]
fn too_many_labels_are_an_error_that_states_the_memory() {
    let tasks: Vec<u32> = (0..20_000).collect();
    let workers: Vec<u32> = tasks.iter().map(|task| task % 100).collect();
    let crowd = answers::Crowd::from_arrays(&tasks, &workers, &tasks, answers::Repeats::First).unwrap();
    let error = Analysis::run(&crowd, &AnalysisOptions::default(), &mut ()).unwrap_err().to_string();
    assert!(error.contains("1788.1 GiB") && error.contains("is `label` the right column?"), "{error}");
}

#[test]
fn the_order_of_repeated_answers_in_a_file_does_not_matter() {
    let rows =
        [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 0, 0), (1, 1, 0), (1, 2, 0), (2, 2, 1), (2, 0, 1), (1, 2, 1)];
    let posteriors = |rows: &[(u32, u32, u32)]| {
        let column = |nth: fn(&(u32, u32, u32)) -> u32| rows.iter().map(nth).collect::<Vec<u32>>();
        let (tasks, workers, labels) = (column(|row| row.0), column(|row| row.1), column(|row| row.2));
        let crowd = answers::Crowd::from_arrays(&tasks, &workers, &labels, answers::Repeats::Count).unwrap();
        fit(crowd.answers().unwrap(), &FitOptions::default(), &mut |_| ()).unwrap().posteriors
    };
    let mut turned = rows;
    turned.reverse();
    for (a, b) in posteriors(&rows).iter().zip(posteriors(&turned)) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

#[test]
fn an_infinite_objective_is_an_error() {
    let crowd =
        answers::Crowd::from_arrays(&[0, 0, 1], &[0, 1, 0], &[0, 1, 1], answers::Repeats::First).unwrap();
    let options = FitOptions { pseudocount: Pseudocount::Constant(f64::MAX), ..FitOptions::default() };
    let error = fit(crowd.answers().unwrap(), &options, &mut |_| ()).unwrap_err().to_string();
    assert_eq!(error, "the objective of round 1 is not finite, expected smaller pseudocounts or counts");
}
