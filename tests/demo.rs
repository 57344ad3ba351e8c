//! The tour tells a true story whatever the seed, and the committed example data is what it wrote.

#[path = "common/well_formed.rs"]
mod well_formed;

use std::fs;
use std::path::Path;

use mixlet_runtime::demo::{DemoOptions, Tour, run};

/// Walks the tour in a folder of its own; returns what it found, printed and drew.
fn walk(seed: u64, folder: &Path) -> (Tour, String, String) {
    let report = folder.join("demo.html");
    let options = DemoOptions { seed, report: report.clone(), data: Some(folder.to_owned()) };
    let mut out = Vec::new();
    let tour = run(&options, &mut out).unwrap();
    (tour, String::from_utf8(out).unwrap(), fs::read_to_string(report).unwrap())
}

#[test]
fn the_example_data_is_what_the_demo_writes() {
    let folder = tempfile::tempdir().unwrap();
    walk(0, folder.path());
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/crowd");
    let mut bytes = 0;
    for name in ["answers.csv", "gold.csv"] {
        let (made, kept) =
            (fs::read(folder.path().join(name)).unwrap(), fs::read(committed.join(name)).unwrap());
        assert!(made == kept, "{name} differs; write it again as examples/data/README.md says");
        bytes += kept.len();
    }
    assert!(bytes < 150_000, "{bytes} bytes");
}

#[test]
fn knowing_the_workers_beats_the_vote_on_every_seed() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..20 {
        let (tour, ..) = walk(seed, folder.path());
        let [vote, coin, dawid_skene, selected] = &tour.crowd.methods[..] else { panic!("four methods") };
        let names = [vote, coin, dawid_skene, selected].map(|outcome| outcome.method);
        assert_eq!(names, ["Majority vote", "One coin", "Dawid–Skene", "Dawid–Skene, selected"]);
        assert!(coin.errors < vote.errors, "seed {seed}: {coin:?}");
        for outcome in [dawid_skene, selected] {
            assert!(outcome.errors < 0.6 * vote.errors, "seed {seed}: {outcome:?}, vote {}", vote.errors);
        }
        let kinds = tour.crowd.kinds;
        for (kind, most_missed) in [(kinds.experts, 3), (kinds.spammers, 3), (kinds.adversaries, 1)] {
            let missed = kind.generated - kind.recognised;
            assert!(missed <= most_missed && kind.mistaken <= 3, "seed {seed}: {kind:?}");
        }
    }
}

#[test]
fn the_tour_prints_one_table_and_draws_one_page() {
    let folder = tempfile::tempdir().unwrap();
    let (tour, printed, html) = walk(1, folder.path());
    let rows: Vec<&str> = printed.lines().filter(|line| line.contains(" %  ")).collect();
    assert_eq!(rows.len(), 4, "{printed}");
    for (row, outcome) in rows.iter().zip(&tour.crowd.methods) {
        assert!(row.trim_start().starts_with(outcome.method) && row.ends_with(&outcome.note), "{row}");
    }
    assert!(printed.contains("demo.html"), "{printed}");

    well_formed::check(&html).unwrap();
    for section in ["crowd", "comparison", "workers", "confusions", "labels", "gold", "fit"] {
        assert!(html.contains(&format!("<section id=\"{section}\"")), "no section {section}");
    }
    assert!(html.contains("sparrow") && html.contains("photo-") && html.contains("mixlet demo --seed 1"));
}

#[test]
fn the_outcome_is_one_json_object() {
    let folder = tempfile::tempdir().unwrap();
    let (tour, ..) = walk(2, folder.path());
    let json = serde_json::to_value(&tour).unwrap();
    assert_eq!(json["seed"], 2);
    assert_eq!(json["crowd"]["classes"], serde_json::json!(["robin", "sparrow", "wren"]));
    assert_eq!(json["crowd"]["methods"][0]["method"], "Majority vote");
    assert_eq!(json["crowd"]["kinds"]["spammers"]["generated"], 18);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let options = DemoOptions { data: Some("no/such/folder".into()), ..DemoOptions::default() };
    let error = run(&options, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("answers.csv") && error.ends_with("create its directory first"), "{error}");
}
