//! The crowd's page holds what it promises, is well-formed whatever it is given, and refers to nothing outside.

#[path = "common/sample_report.rs"]
mod sample_report;
#[path = "common/well_formed.rs"]
mod well_formed;

use mixlet_runtime::crowd::analysis::{Analysis, AnalysisOptions};
use mixlet_runtime::crowd::answers::Repeats;
use mixlet_runtime::crowd::generate::{CrowdSpec, generate};
use mixlet_runtime::crowd::report::{CrowdReport, DoubtfulTask, GoldSummary, MethodLine, WorkerLine, render};
use mixlet_runtime::crowd::selection::{Choice, Select};
use mixlet_runtime::crowd::{Crowd, page::report};
use proptest::prelude::*;
use sample_report::Sample;
use well_formed::check;

/// Renders and parses; the page must be well-formed and stand alone.
fn page(report: &CrowdReport<'_>) -> String {
    let html = render(report).unwrap();
    check(&html).unwrap_or_else(|error| panic!("{error}\n{html}"));
    html
}

#[test]
fn every_part_of_a_full_report_is_on_the_page() {
    let sample = Sample::new(39, 2);
    let html = page(&sample.report());
    let sections = ["workers", "confusions", "labels", "gold", "fit"];
    for section in sections {
        assert!(html.contains(&format!("<section id=\"{section}\"")), "no section {section}");
    }
    let pictures =
        ["order", "accuracy", "confusion-0", "confusion-38", "shares", "confidence", "gold-map", "objective"];
    for picture in pictures {
        assert!(html.contains(&format!("aria-labelledby=\"{picture}-")), "no picture {picture}");
    }
    for text in ["15 of 39 workers carry the labels", "Tasks most in doubt", "--select 15", "one label only"]
    {
        assert!(html.contains(text), "no '{text}'");
    }
}

#[test]
fn a_comparison_shows_its_methods_and_nothing_empty() {
    let sample = Sample::new(1, 2);
    let html = page(&sample.comparison());
    assert!(html.contains("<section id=\"comparison\"") && html.contains("5.60 %"));
    assert_eq!(html.matches("<section").count(), 1);
}

#[test]
fn nothing_outside_the_page_is_named() {
    let html = page(&Sample::new(39, 4).report());
    let namespaces = ["http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"];
    let rest =
        namespaces.iter().fold(html, |html, namespace| html.replace(&format!("xmlns=\"{namespace}\""), ""));
    for reference in ["http:", "https:", "//www", "url(", "@import", "<link", "<img"] {
        assert!(!rest.contains(reference), "the page names {reference}");
    }
}

#[test]
fn pictures_follow_the_theme() {
    let html = page(&Sample::new(39, 4).report());
    let pictures = html.split("<svg").skip(1).filter_map(|rest| rest.split("</svg>").next());
    for picture in pictures {
        assert!(!picture.contains("=\"#"), "a fixed colour in {picture}");
        assert!(picture.contains("var(--"));
        assert!(picture.contains("role=\"img\"") && picture.contains("<title") && picture.contains("<desc"));
    }
}

#[test]
fn hostile_names_stay_names() {
    for classes in [2, 9, 30] {
        let sample = Sample::new(12, classes).hostile();
        let mut report = sample.report();
        report.title = "</title><script>alert(2)</script>";
        report.command = "mixlet crowd fit '</code><script>'";
        let html = page(&report);
        assert!(!html.contains("<script>alert") && !html.contains("<script>name"));
        assert!(!html.contains("<img"));
        assert!(!html.contains('\u{202e}'), "a name reorders the line");
    }
}

/// Two in three workers guess.
fn mostly_guessing() -> Crowd {
    let spec = CrowdSpec { tasks: 300, workers: 60, spammers: 0.65, ..CrowdSpec::default() };
    let made = generate(&spec.check().unwrap(), 4);
    Crowd::from_arrays(&made.tasks, &made.workers, &made.labels, Repeats::First).unwrap()
}

#[test]
fn the_first_workers_of_the_page_are_the_selected_ones() {
    let crowd = mostly_guessing();
    for (select, measure, reason) in [
        (Select::Auto, "Relevance in nats per task", "10-fold held-out prediction"),
        (Select::First(17), "Information in nats", "than guessing would"),
    ] {
        let options = AnalysisOptions { select, ..AnalysisOptions::default() };
        let analysis = Analysis::run(&crowd, &options, &mut ()).unwrap();
        let report = report(&crowd, &analysis).unwrap();
        let cut = report.cut.unwrap();
        assert!(0 < cut && cut < crowd.workers.len(), "{select:?} cuts at {cut}");
        let selected: Vec<&str> =
            analysis.selected().into_iter().map(|worker| crowd.workers.get(worker as usize)).collect();
        let (used, others) = report.workers.split_at(cut);
        assert_eq!(used.iter().map(|worker| worker.name).collect::<Vec<_>>(), selected, "{select:?}");
        assert!(used.iter().all(|worker| worker.selected) && !others.iter().any(|worker| worker.selected));
        assert!(report.workers.is_sorted_by(|a, b| a.measure >= b.measure), "{select:?}");

        let html = page(&report);
        for text in [measure, reason, &format!("{cut} used")] {
            assert!(html.contains(text), "{select:?}: no '{text}'");
        }
        assert_eq!(html.contains("guessing would"), select != Select::Auto);
    }
}

#[test]
fn edges_render() {
    let empty = CrowdReport::default();
    page(&empty);
    for (workers, classes) in [(1, 1), (1, 2), (2, 7), (9, 6), (60, 53), (161, 3), (181, 3)] {
        let sample = Sample::new(workers, classes);
        let mut report = sample.report();
        page(&report);
        report.objective.truncate(1);
        report.cut = None;
        report.confidence = vec![7];
        page(&report);
    }
}

#[test]
fn thousands_of_workers_and_many_classes_stay_small() {
    for (workers, classes) in [(5_000, 2), (5_000, 12)] {
        let html = page(&Sample::new(workers, classes).report());
        assert!(html.len() < 1_000_000, "{} bytes for {workers} workers, {classes} classes", html.len());
        assert!(html.contains("4,820 workers between these are left out"));
    }
    let html = page(&Sample::new(300, 60).report());
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
}

/// Numbers as a broken fit may leave them.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..1.0,
        1 => any::<f64>(),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(f64::MAX), Just(f64::MIN_POSITIVE), Just(-0.0)],
    ]
}

/// Any list of such numbers, of any length.
fn numbers() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(number(), 0..30)
}

/// Any text, with what markup is made of more often than chance.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[<>&\"'/\\-\\]\\[!a ]{0,80}", "#FE01[0-9A-F]{2}\"?"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_data_breaks_the_page(
        texts in prop::collection::vec(text(), 1..6),
        names in prop::collection::vec((text(), number(), number(), number(), number(), any::<u64>()), 0..40),
        matrix in numbers(),
        more in (numbers(), numbers(), numbers()),
        bins in prop::collection::vec(any::<u64>(), 0..120),
        cut in prop::option::of(any::<usize>()),
        choice in prop::sample::select(vec![Choice::Asked, Choice::HeldOut, Choice::Open]),
        null in prop::option::of(number()),
    ) {
        let (objective, shares, f1) = more;
        let labels: Vec<&str> = texts.iter().map(String::as_str).collect();
        let square = matrix.get(..labels.len() * labels.len()).unwrap_or(&matrix);
        let report = CrowdReport {
            title: labels[0],
            command: labels[0],
            verdict: texts[0].clone(),
            figures: Vec::new(),
            warnings: &texts,
            workers: names.iter().map(|(name, a, b, c, d, answers)| WorkerLine {
                name, answers: *answers, accuracy: *a, accuracy_low: *b, accuracy_high: *c, measure: *d,
                selected: answers % 2 == 0, confusion: square,
            }).collect(),
            choice,
            cut,
            null_information: null,
            objective,
            confidence: bins.clone(),
            doubtful: names.iter().map(|(name, a, b, c, _, _)| DoubtfulTask {
                task: name, label: name, confidence: *a, entropy: *b, probabilities: shares.clone(),
                votes: bins.clone(), gain: *c,
            }).collect(),
            class_shares: shares,
            comparison: names.iter().map(|(name, a, b, c, _, _)| MethodLine {
                method: name, errors: *a, error_rate: *b, seconds: *c, note: name,
            }).collect(),
            gold: Some(GoldSummary { tasks: cut.unwrap_or(0) as u64, errors: 0.5, error_rate: f64::NAN, f1, confusion: square.to_vec() }),
            labels,
        };
        let html = render(&report).unwrap();
        prop_assert_eq!(check(&html), Ok(()));
    }
}
