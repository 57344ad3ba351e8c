//! Published figures, reproduced from the shared data sets; and what the default fit promises on them.

mod common;

use common::shared::{self, SETS};
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::{FitSettings, LatentClassModel, RowFacts, most_likely_class};
use mixlet_core::observations::Answers;
use mixlet_core::select::{Estimator, order_by_information};
use mixlet_runtime::crowd::Crowd;
use mixlet_runtime::crowd::fit::{CrowdFit, FitOptions, Method, Pseudocount, Start, fit};
use mixlet_runtime::crowd::score::Score;
use mixlet_runtime::crowd::selection::{Select, Selection, residue, select, worker_information};
use mixlet_runtime::threads;

/// How the published figures were made: maximum likelihood from the vote, a fixed number of rounds.
fn published(rounds: u32) -> FitOptions {
    FitOptions {
        settings: FitSettings { rounds, tolerance: 0.0 },
        pseudocount: Pseudocount::Constant(0.0),
        ..FitOptions::default()
    }
}

/// A set as a kernel sees it, with its gold.
struct Set {
    name: &'static str,
    crowd: Crowd,
}

impl Set {
    fn all_tasks(name: &'static str) -> Option<Self> {
        Some(Self { name, crowd: shared::all_tasks(name)? })
    }

    fn gold_tasks(name: &'static str) -> Option<Self> {
        Some(Self { name, crowd: shared::gold_tasks(name)? })
    }

    fn answers(&self) -> Answers<'_> {
        self.crowd.answers().unwrap()
    }

    fn gold(&self) -> &[u32] {
        self.crowd.gold.as_deref().unwrap()
    }

    fn fit(&self, options: &FitOptions) -> CrowdFit {
        fit(self.answers(), options, &mut |_| ()).unwrap()
    }

    fn fit_selected(&self, selection: &Selection, options: &FitOptions) -> CrowdFit {
        fit(selection.answers(self.answers()).unwrap(), options, &mut |_| ()).unwrap()
    }

    fn information(&self) -> Vec<f64> {
        worker_information(self.answers(), Estimator::Plain).unwrap()
    }

    fn order(&self) -> Vec<u32> {
        let mut order = vec![0; self.answers().workers()];
        order_by_information(&self.information(), &mut order);
        order
    }

    fn first(&self, count: usize) -> Selection {
        let options = FitOptions::default();
        let first = Select::First(count);
        select(self.answers(), &options, first, &self.information(), &mut |_, _| ()).unwrap().unwrap()
    }

    /// Percent of the gold tasks; a task that no answer speaks for is a guess.
    fn error(&self, speaking: Answers<'_>, posteriors: &[f64]) -> f64 {
        let covered = |task| !speaking.task(task).is_empty();
        100.0 * Score::of_posteriors(posteriors, speaking.labels(), self.gold(), covered).error_rate()
    }

    fn error_of(&self, options: &FitOptions) -> f64 {
        self.error(self.answers(), &self.fit(options).posteriors)
    }

    fn vote_error(&self) -> f64 {
        100.0 * Score::of_vote(self.answers(), self.gold()).error_rate()
    }

    fn gold_posteriors(&self) -> Vec<f64> {
        let labels = self.answers().labels() as u32;
        self.gold()
            .iter()
            .flat_map(|&gold| (0..labels).map(move |k| f64::from(u8::from(k == gold))))
            .collect()
    }

    #[track_caller]
    fn check(&self, what: &str, found: f64, expected: f64, tolerance: f64) {
        let name = self.name;
        assert!((found - expected).abs() <= tolerance, "{name}, {what}: {found}, expected {expected}");
    }
}

#[test]
fn residues_are_the_published_ones() {
    struct Case {
        name: &'static str,
        raw: f64,
        gold: Option<f64>,
        /// Residue of plain EM and its tolerance.
        plain: Option<(f64, f64)>,
        /// Number of workers selected; residue of all, within the selection.
        selected: &'static [(usize, f64, f64)],
    }
    let cases = [
        Case {
            name: "bird",
            raw: 0.037562,
            gold: Some(0.022573),
            plain: Some((0.014576, 1e-5)),
            selected: &[(15, 0.0147681, 0.0174440), (9, 0.0149995, 0.0126328)],
        },
        Case {
            name: "dog",
            raw: 0.292112,
            gold: Some(0.027166),
            plain: None,
            selected: &[(15, 0.0328653, 0.0359162)],
        },
        Case {
            name: "web",
            raw: 0.053660,
            gold: Some(0.014810),
            plain: Some((0.015562, 1e-4)),
            selected: &[(15, 0.0254051, 0.1176522)],
        },
        Case { name: "rte", raw: 0.012673, gold: None, plain: None, selected: &[] },
    ];
    for Case { name, raw, gold, plain, selected } in cases {
        let Some(set) = Set::gold_tasks(name) else { continue };
        let answers = set.answers();
        set.check("raw residue", residue(answers, None, None).unwrap().0, raw, 1e-5);
        if let Some(expected) = gold {
            let found = residue(answers, Some(&set.gold_posteriors()), None).unwrap().0;
            set.check("residue of the gold posterior", found, expected, 1e-5);
        }
        if let Some((expected, tolerance)) = plain {
            let found = residue(answers, Some(&set.fit(&published(50)).posteriors), None).unwrap().0;
            set.check("residue of plain EM", found, expected, tolerance);
        }
        for &(count, all, within) in selected {
            let selection = set.first(count);
            let fitted = set.fit_selected(&selection, &published(50));
            let found = residue(answers, Some(&fitted.posteriors), Some(&selection)).unwrap();
            set.check(&format!("residue with {count} workers"), found.0, all, 1e-5);
            set.check(&format!("residue within {count} workers"), found.1.unwrap(), within, 1e-5);
        }
    }
}

#[test]
fn workers_rank_in_the_published_order() {
    let cases: [(&str, &[u32]); 5] = [
        (
            "bird",
            &[
                16, 7, 29, 34, 26, 24, 0, 31, 11, 8, 36, 37, 15, 19, 28, 21, 18, 38, 4, 14, 20, 2, 23, 35, 1,
                30, 13, 32, 27, 22, 12, 9, 25, 33, 6, 17, 3, 10, 5,
            ],
        ),
        ("web", &[2, 7, 0, 11, 12, 6, 1, 15, 25, 13, 10, 3, 44, 32, 102, 5, 69, 38, 29, 36]),
        ("dog", &[39, 19, 33, 46, 42, 0, 8, 11, 30, 12, 34, 15, 38, 21, 24, 54, 9, 16, 2, 60]),
        ("rte", &[1, 3, 14, 5, 6, 46, 11, 55, 67, 32, 118, 10, 21, 123, 41, 23, 8, 161, 40, 9]),
        ("trec", &[48, 51, 38, 515, 233, 472, 186, 585, 82, 34]),
    ];
    for (name, expected) in cases {
        let Some(set) = Set::gold_tasks(name) else { continue };
        // Dropping tasks may drop workers: compare the names, which are the numbers of the shared files.
        let order: Vec<u32> = set
            .order()
            .iter()
            .map(|&worker| set.crowd.workers.get(worker as usize).parse().unwrap())
            .collect();
        assert_eq!(order[..expected.len()], *expected, "{name}");
    }
}

#[test]
fn errors_with_selected_workers_are_the_published_ones() {
    /// `count` workers; percent; tolerance in points.
    struct Case {
        name: &'static str,
        selected: &'static [(usize, f64, f64)],
    }
    let cases = [
        Case { name: "bird", selected: &[(39, 10.19, 0.01), (9, 10.19, 0.01), (15, 8.33, 0.01)] },
        Case { name: "web", selected: &[(177, 17.08, 0.01), (10, 8.82, 0.01), (15, 10.18, 0.01)] },
        Case {
            name: "dog",
            selected: &[
                (109, 15.74, 0.5),
                (15, 19.67, 0.01),
                (20, 18.96, 0.5),
                (30, 17.47, 0.5),
                (50, 15.99, 0.5),
                (75, 15.49, 0.5),
            ],
        },
        Case { name: "rte", selected: &[(164, 7.25, 0.5), (30, 10.88, 0.5), (50, 9.25, 0.5)] },
        Case { name: "trec", selected: &[(50, 36.64, 0.5), (100, 35.60, 0.5), (200, 33.12, 0.5)] },
    ];
    for Case { name, selected } in cases {
        let Some(set) = Set::gold_tasks(name) else { continue };
        let (answers, information) = (set.answers(), set.information());
        for &(count, expected, tolerance) in selected {
            let first = Select::First(count);
            let selection = select(answers, &FitOptions::default(), first, &information, &mut |_, _| ());
            let selection = selection.unwrap().unwrap();
            let speaking = selection.answers(answers).unwrap();
            let found = set.error(speaking, &set.fit_selected(&selection, &published(50)).posteriors);
            set.check(&format!("error with {count} workers"), found, expected, tolerance);
        }
    }
}

#[test]
fn a_selections_model_extends_to_all_workers() {
    for (name, expected) in [("bird", 9.26), ("web", 12.21)] {
        let Some(set) = Set::gold_tasks(name) else { continue };
        let answers = set.answers();
        let posteriors = set.fit_selected(&set.first(15), &published(50)).posteriors;
        // Everybody's confusion matrix from the selection's posteriors, then everybody's answers.
        let shape = DawidSkeneShape::of(answers);
        let (mut memory, mut statistics) =
            (vec![0.0; shape.parameters_len()], vec![0.0; shape.parameters_len()]);
        let facts = RowFacts::default();
        let mut model =
            DawidSkene::new(answers, shape.classes, facts, Prior::default(), &mut memory).unwrap();
        model.accumulate(0..answers.tasks(), &posteriors, &mut statistics);
        model.maximize(&statistics);
        let found = set.error(answers, &threads::posteriors(&model).unwrap());
        set.check("error of all workers under the model of 15", found, expected, 0.01);
    }
}

/// Section 6.3: errors in percent on all tasks, from the vote, maximum likelihood.
struct Reference {
    name: &'static str,
    vote: f64,
    ten_rounds: f64,
    fifty_rounds: f64,
    one_coin: f64,
    one_coin_uniform: f64,
    log_likelihood: f64,
    /// Half a unit of the last printed digit.
    log_likelihood_tolerance: f64,
}

#[rustfmt::skip]
const REFERENCES: [Reference; 12] = [
    Reference { name: "bird", vote: 24.07, ten_rounds: 10.19, fifty_rounds: 10.19, one_coin: 41.67, one_coin_uniform: 27.78, log_likelihood: -1888.117, log_likelihood_tolerance: 5e-4 },
    Reference { name: "rte", vote: 10.31, ten_rounds: 7.25, fifty_rounds: 7.25, one_coin: 7.50, one_coin_uniform: 7.50, log_likelihood: -3679.629, log_likelihood_tolerance: 5e-4 },
    Reference { name: "trec", vote: 34.86, ten_rounds: 29.41, fifty_rounds: 29.67, one_coin: 43.96, one_coin_uniform: 42.99, log_likelihood: -34750.88, log_likelihood_tolerance: 5e-3 },
    Reference { name: "dog", vote: 17.78, ten_rounds: 15.61, fifty_rounds: 15.74, one_coin: 16.98, one_coin_uniform: 16.98, log_likelihood: -4745.550, log_likelihood_tolerance: 5e-4 },
    Reference { name: "web", vote: 26.93, ten_rounds: 16.36, fifty_rounds: 17.08, one_coin: 19.22, one_coin_uniform: 16.02, log_likelihood: -17236.63, log_likelihood_tolerance: 5e-3 },
    Reference { name: "product", vote: 10.34, ten_rounds: 6.42, fifty_rounds: 6.04, one_coin: 9.16, one_coin_uniform: 7.20, log_likelihood: -7568.862, log_likelihood_tolerance: 5e-4 },
    Reference { name: "possent", vote: 6.65, ten_rounds: 4.00, fifty_rounds: 4.00, one_coin: 5.20, one_coin_uniform: 4.90, log_likelihood: -8889.091, log_likelihood_tolerance: 5e-4 },
    Reference { name: "face", vote: 36.33, ten_rounds: 35.79, fifty_rounds: 35.96, one_coin: 38.87, one_coin_uniform: 37.16, log_likelihood: -4088.792, log_likelihood_tolerance: 5e-4 },
    Reference { name: "sp", vote: 11.41, ten_rounds: 8.48, fifty_rounds: 8.50, one_coin: 8.32, one_coin_uniform: 8.34, log_likelihood: -13729.64, log_likelihood_tolerance: 5e-3 },
    Reference { name: "sp_amt", vote: 5.70, ten_rounds: 5.60, fifty_rounds: 5.60, one_coin: 5.40, one_coin_uniform: 5.40, log_likelihood: -2741.501, log_likelihood_tolerance: 5e-4 },
    Reference { name: "relevance", vote: 45.67, ten_rounds: 38.57, fifty_rounds: 38.68, one_coin: 75.27, one_coin_uniform: 51.52, log_likelihood: -71820.43, log_likelihood_tolerance: 5e-3 },
    Reference { name: "adult", vote: 24.17, ten_rounds: 23.42, fifty_rounds: 25.23, one_coin: 28.23, one_coin_uniform: 27.93, log_likelihood: -36077.91, log_likelihood_tolerance: 5e-3 },
];

#[test]
fn errors_and_likelihoods_on_all_tasks_are_the_reference_ones() {
    for reference in REFERENCES {
        let Some(set) = Set::all_tasks(reference.name) else { continue };
        set.check("vote", set.vote_error(), reference.vote, 0.01);

        let mut rounds = published(50);
        let fitted = set.fit(&rounds);
        let error = set.error(set.answers(), &fitted.posteriors);
        set.check("Dawid–Skene", error, reference.fifty_rounds, 0.5);
        let log_likelihood = fitted.last().unwrap().log_likelihood;
        let tolerance = reference.log_likelihood_tolerance;
        set.check("log-likelihood", log_likelihood, reference.log_likelihood, tolerance);

        set.check("Dawid–Skene, 10 rounds", set.error_of(&published(10)), reference.ten_rounds, 0.5);
        rounds.method = Method::OneCoin;
        set.check("one coin", set.error_of(&rounds), reference.one_coin, 0.5);
        rounds.uniform_shares = true;
        set.check("one coin, uniform shares", set.error_of(&rounds), reference.one_coin_uniform, 0.5);
    }
}

#[test]
fn the_most_active_workers_of_dog_give_the_figures_of_the_papers() {
    let Some(set) = Set::all_tasks("dog") else { return };
    let mut activity = vec![0.0; set.answers().workers()];
    set.answers().cells().iter().for_each(|&cell| activity[set.answers().worker(cell)] += 1.0);
    let mut order = vec![0; activity.len()];
    order_by_information(&activity, &mut order);
    let selection = Selection::new(set.answers(), order, 52, 0);
    let speaking = selection.answers(set.answers()).unwrap();
    assert_eq!(speaking.cells().len(), 7354);
    let vote = 100.0 * Score::of_vote(speaking, set.gold()).error_rate();
    set.check("vote of 52 workers", vote, 17.91, 0.01);
    for rounds in [10, 50] {
        let found = set.error(speaking, &set.fit_selected(&selection, &published(rounds)).posteriors);
        set.check(&format!("52 workers, {rounds} rounds"), found, 15.74, 0.01);
    }
}

#[test]
fn the_anaesthetists_of_1979_are_reproduced() {
    let Some(crowd) = shared::anaesthetist() else { return };
    let answers = crowd.answers().unwrap();
    assert_eq!(answers.cells().len(), 315);
    let fitted = fit(answers, &published(50), &mut |_| ()).unwrap();
    let log_likelihood = fitted.last().unwrap().log_likelihood;
    assert!((log_likelihood - -192.890881).abs() < 1e-5, "{log_likelihood}");
    for (found, expected) in fitted.class_shares.iter().zip([0.3996, 0.4220, 0.1118, 0.0667]) {
        assert!((found - expected).abs() < 5e-5, "{:?}", fitted.class_shares);
    }
    // [class, answer]
    let observer =
        [[0.89, 0.11, 0.0, 0.0], [0.07, 0.88, 0.05, 0.0], [0.0, 0.34, 0.66, 0.0], [0.0, 0.0, 0.56, 0.44]];
    for (class, row) in observer.iter().enumerate() {
        for (answer, expected) in row.iter().enumerate() {
            let found = fitted.conditionals[answer * 4 + class];
            assert!((found - expected).abs() < 0.006, "class {class}, answer {answer}: {found}");
        }
    }
    let classes: Vec<usize> =
        fitted.posteriors.chunks_exact(4).map(|posterior| most_likely_class(posterior) + 1).collect();
    let expected = [
        1, 4, 2, 2, 2, 2, 1, 3, 2, 2, 4, 3, 1, 2, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 2, 1, 1, 1, 1, 3, 1, 2,
        2, 4, 2, 3, 3, 1, 1, 1, 2, 1, 2,
    ];
    assert_eq!(classes, expected);
}

/// What crowd-kit's best method that finishes on all 13 sets reaches.
const BEST_OF_CROWD_KIT: f64 = 0.8353;

#[test]
fn the_default_fit_keeps_up_with_the_vote_and_with_plain_dawid_skene() {
    let mut accuracies = Vec::new();
    for set in SETS.into_iter().filter_map(Set::all_tasks) {
        let (vote, plain) = (set.vote_error(), set.error_of(&published(50)));
        let fitted = set.fit(&FitOptions::default());
        let error = set.error(set.answers(), &fitted.posteriors);
        println!("{}: vote {vote:.2}, plain {plain:.2}, default {error:.2}", set.name);
        assert!(error <= vote + 0.3, "{}: {error}, vote {vote}", set.name);
        if plain <= vote - 0.5 {
            assert!(error <= vote - 0.5, "{}: {error}, vote {vote}, plain {plain}", set.name);
        }
        accuracies.push(1.0 - error / 100.0);
    }
    if accuracies.len() == SETS.len() {
        let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
        println!("mean accuracy {mean:.4}");
        assert!(mean > BEST_OF_CROWD_KIT, "{mean}");
    }
}

#[test]
fn a_collapsed_one_coin_fit_is_noticed_and_no_other() {
    for set in SETS.into_iter().filter_map(Set::all_tasks) {
        for options in [published(50), FitOptions::default()] {
            let fitted = set.fit(&FitOptions { method: Method::OneCoin, ..options });
            let expected = ["trec", "bird", "relevance"].contains(&set.name);
            assert_eq!(fitted.collapse.is_some(), expected, "{}, {:?}", set.name, fitted.pooled);
        }
    }
}

#[test]
fn the_spectral_start_keeps_up_with_the_vote_start() {
    for set in ["bird", "dog", "rte"].into_iter().filter_map(Set::all_tasks) {
        for options in [published(50), FitOptions::default()] {
            let from_vote = set.error_of(&options);
            let from_moments = set.error_of(&FitOptions { start: Start::Spectral, ..options });
            set.check("spectral start", from_moments, from_vote, 1.0);
        }
    }
}

#[test]
fn the_automatic_choice_never_costs_much_and_gains_on_bird_and_web() {
    /// Answers that every task keeps, if it has them.
    const LEAST_ANSWERS: usize = 3;
    for set in SETS.into_iter().filter_map(Set::all_tasks) {
        let (answers, options) = (set.answers(), FitOptions::default());
        let everybody = set.error_of(&options);
        let selection = select(answers, &options, Select::Auto, &set.information(), &mut |_, _| ());
        let selection = selection.unwrap().unwrap();
        let speaking = selection.answers(answers).unwrap();
        let options = selection.fit_options(answers, &options);
        let error = set.error(speaking, &set.fit_selected(&selection, &options).posteriors);
        println!(
            "{}: {} of {} workers, {error:.2} %, everybody {everybody:.2} %",
            set.name,
            selection.count,
            answers.workers()
        );
        assert!(error <= everybody + 0.5, "{}: {error}, everybody {everybody}", set.name);
        if ["bird", "web"].contains(&set.name) {
            assert!(error < everybody, "{}: {error}, everybody {everybody}", set.name);
        }
        for task in 0..answers.tasks() {
            let least = answers.task(task).len().min(LEAST_ANSWERS);
            assert!(speaking.task(task).len() >= least, "{}: task {task}", set.name);
        }
    }
}
