//! Any bytes as answers and as gold: the reader returns, and what it returns is consistent.

#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mixlet_runtime::crowd::read::{ReadOptions, Repeats, TaskFilter, read_crowd, read_new_answers};

fuzz_target!(|bytes: &[u8]| {
    // The first byte chooses the options, the second where gold starts.
    let [choice, cut, table @ ..] = bytes else { return };
    let (answers, gold) = table.split_at(table.len() * usize::from(*cut) / 255);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths = ["answers.csv", "gold.csv"].map(|name| folder.path().join(name));
    paths.iter().zip([answers, gold]).for_each(|(path, bytes)| fs::write(path, bytes).expect("a file"));
    let [answers, gold] = &paths;
    let options = ReadOptions {
        repeats: [Repeats::First, Repeats::Last, Repeats::Count, Repeats::Error][usize::from(choice & 3)],
        tasks: [TaskFilter::All, TaskFilter::Gold][usize::from(choice >> 2 & 1)],
        skip_unknown_gold: choice >> 3 & 1 == 1,
        ..ReadOptions::default()
    };
    let gold: Option<&Path> = (choice >> 4 & 1 == 1).then_some(gold);
    if let Ok(crowd) = read_crowd(answers, gold, &options, &mut |_, _| {}) {
        crowd.answers().expect("a consistent crowd");
        let again = read_new_answers(answers, &crowd.workers, &crowd.labels, &options, &mut |_, _| {});
        // Without a filter these are the same answers, and nothing in them is unknown.
        let again = again.map(|new| new.crowd.answers().map(|answers| answers.cells().len()).ok());
        if options.tasks == TaskFilter::All {
            assert_eq!(again.expect("the same answers again"), Some(crowd.cells.len()));
        }
    }
});
