//! The mixture's page holds what it promises, is well-formed whatever it is given, and refers to nothing outside.

#[path = "common/sample_mixture.rs"]
mod sample_mixture;
#[path = "common/well_formed.rs"]
mod well_formed;

use mixlet_runtime::mixture::analysis::{Analysis, AnalysisOptions};
use mixlet_runtime::mixture::generate::{GLYPH_NAMES, SparseSpec, glyphs, labels, sparse};
use mixlet_runtime::mixture::page::report;
use mixlet_runtime::mixture::report::{
    CandidateLine, ClassLine, ColumnLine, MixtureReport, StepLine, TruthSummary, ValueLine, render,
};
use mixlet_runtime::mixture::{Method, Select};
use proptest::prelude::*;
use sample_mixture::MixtureSample;
use well_formed::check;

/// Names that try to break out of the page.
const HOSTILE: [&str; 5] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "a\u{202e}b",
    "",
    "control\u{0}\u{ffff}",
];

/// Renders and parses; the page must be well-formed and stand alone.
fn page(report: &MixtureReport<'_>) -> String {
    let html = render(report).unwrap();
    check(&html).unwrap_or_else(|error| panic!("{error}\n{html}"));
    html
}

#[test]
fn every_part_of_a_full_report_is_on_the_page() {
    for (columns, pictures) in
        [(20, &["values"][..]), (49, &["prototype-0", "prototype-3", "information-map", "selected-map"])]
    {
        let sample = MixtureSample::new(columns, 4);
        let html = page(&sample.report());
        for section in ["classes", "columns", "choice", "truth", "rounds"] {
            assert!(html.contains(&format!("<section id=\"{section}\"")), "no section {section}");
        }
        let always = [
            "class-shares",
            "information",
            "criteria",
            "truth-map",
            "mixture-objective",
            "active",
            "step-information",
        ];
        for picture in always.iter().chain(pictures) {
            assert!(html.contains(&format!("aria-labelledby=\"{picture}-")), "no picture {picture}");
        }
        for text in ["4 classes were kept", "did not converge", "12.00 %", "kind 2"] {
            assert!(html.contains(text), "no '{text}'");
        }
    }
}

#[test]
fn nothing_outside_the_page_is_named_and_colours_follow_the_theme() {
    let html = page(&MixtureSample::new(49, 4).report());
    let namespaces = ["http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"];
    let rest = namespaces.iter().fold(html, |html, space| html.replace(&format!("xmlns=\"{space}\""), ""));
    for reference in ["http:", "https:", "url(", "@import", "<link", "<img"] {
        assert!(!rest.contains(reference), "the page names {reference}");
    }
    for picture in rest.split("<svg").skip(1).filter_map(|rest| rest.split("</svg>").next()) {
        assert!(!picture.contains("=\"#") && picture.contains("var(--"), "a fixed colour in {picture}");
        assert!(picture.contains("role=\"img\"") && picture.contains("<title") && picture.contains("<desc"));
    }
}

#[test]
fn hostile_names_stay_names() {
    for columns in [12, 16] {
        let sample = MixtureSample::new(columns, 3).hostile(&HOSTILE);
        let html = page(&MixtureReport { title: HOSTILE[0], command: HOSTILE[1], ..sample.report() });
        assert!(!html.contains("<script>alert") && !html.contains("<img") && !html.contains('\u{202e}'));
    }
}

#[test]
fn edges_render_and_stay_small() {
    assert_eq!(page(&MixtureReport::default()).matches("<section").count(), 0);
    for (columns, classes) in [(1, 1), (1, 2), (2, 1), (4, 3), (3_000, 5), (784, 40), (16_384, 3), (50, 200)]
    {
        let html = page(&MixtureSample::new(columns, classes).report());
        assert!(html.len() < 3_000_000, "{} bytes for {columns} columns, {classes} classes", html.len());
    }
}

#[test]
fn the_page_shows_what_was_found() {
    let made = sparse(&SparseSpec::default(), 1);
    let asked = AnalysisOptions { method: Method::Stagewise, ..AnalysisOptions::of_classes(2) };
    let analysis = Analysis::run(&made.rows, &asked, &()).unwrap();
    let shown = report(&made.rows, &analysis).unwrap();
    let selected = shown.columns.iter().filter(|column| column.selected).count();
    assert_eq!((selected, shown.steps.last().unwrap().columns), (analysis.selected.len(), selected));
    let most = shown.columns.iter().max_by(|a, b| a.information.total_cmp(&b.information)).unwrap();
    let experts: Vec<&str> = made.experts.iter().map(|&column| shown.columns[column as usize].name).collect();
    assert!(experts.contains(&most.name), "{} tells most, and is no expert", most.name);
    assert!(page(&shown).contains("Columns in colour found the classes"));

    let made = glyphs(200, 1);
    let mut asked = AnalysisOptions { select: Select::First(60), ..AnalysisOptions::of_classes(6) };
    asked.truth = Some(labels(&made.truth, &GLYPH_NAMES));
    let analysis = Analysis::run(&made.rows, &asked, &()).unwrap();
    let html = page(&report(&made.rows, &analysis).unwrap());
    for text in ["prototype-5-small-t", "selected-map", "mostly", "60 columns are enough to find them"] {
        assert!(html.contains(text), "no '{text}'");
    }
}

/// Numbers as a broken fit may leave them.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..1.0,
        1 => any::<f64>(),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(f64::MAX), Just(-0.0)],
    ]
}

fn numbers() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(number(), 0..40)
}

/// Any text, with what markup is made of more often than chance.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[<>&\"'/\\-\\]\\[!a ]{0,80}", "#FE01[0-9A-F]{2}\"?"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_data_breaks_the_page(
        texts in prop::collection::vec(text(), 1..5),
        lines in prop::collection::vec((number(), number(), number(), any::<u16>()), 0..12),
        (prototypes, objective, confusion) in (numbers(), numbers(), numbers()),
        picture in prop::option::of((0usize..7, 0usize..7)),
    ) {
        let named = |nth: usize| texts[nth % texts.len()].as_str();
        let lined = || lines.iter().enumerate();
        let report = MixtureReport {
            title: named(0),
            command: named(1),
            verdict: texts[0].clone(),
            figures: Vec::new(),
            warnings: &texts,
            classes: lined().map(|(nth, (a, b, _, rows))| ClassLine {
                number: nth, share: *a, rows: u64::from(*rows), label: Some((named(nth), *b)),
            }).collect(),
            columns: lined().map(|(nth, (a, _, _, rows))| ColumnLine {
                name: named(nth), information: *a, selected: rows % 2 == 0,
            }).collect(),
            values: lined().map(|(nth, _)| ValueLine { name: named(nth).to_owned(), probabilities: prototypes.clone() }).collect(),
            picture,
            prototypes: prototypes.clone(),
            candidates: lined().map(|(_, (a, b, c, rows))| CandidateLine {
                classes: usize::from(*rows), log_likelihood: *a, bic: *b, icl: *c, held_out: *a,
                converged: rows % 3 == 0, chosen: rows % 5 == 0,
            }).collect(),
            objective: objective.clone(),
            steps: lined().map(|(_, (a, b, _, rows))| StepLine {
                columns: usize::from(*rows), log_likelihood: *a, information: *b,
            }).collect(),
            truth: Some(TruthSummary {
                labels: texts.iter().map(String::as_str).collect(),
                confusion, rows: 3, aligned_error: f64::NAN, share_error: 2.0,
            }),
        };
        let html = render(&report).unwrap();
        prop_assert_eq!(check(&html), Ok(()));
    }
}
