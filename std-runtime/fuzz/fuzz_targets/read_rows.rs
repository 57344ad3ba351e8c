//! Any bytes as rows, classes and weights: the readers return, and what they return is consistent.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use mixlet_runtime::rows::{
    Family, Header, ReadOptions, read_labels, read_more_rows, read_rows, read_weights,
};

fuzz_target!(|bytes: &[u8]| {
    // The first byte chooses the options.
    let [choice, file @ ..] = bytes else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(["rows.csv", "rows.npy", "rows.idx", "rows.csv.gz"][usize::from(choice >> 6)]);
    fs::write(&path, file).expect("a file");
    let options = ReadOptions {
        family: [None, None, Some(Family::Bernoulli), Some(Family::Categorical)][usize::from(choice & 3)],
        header: [Header::Auto, Header::Auto, Header::Yes, Header::No][usize::from(choice >> 2 & 3)],
        threshold: (choice >> 4 & 1 == 1).then_some(0.5),
        missing: (choice >> 5 & 1 == 1).then(|| "NA".to_owned()),
        ..ReadOptions::default()
    };
    let mut ignore = |_, _| {};
    if let Ok(rows) = read_rows(&path, &options, &mut ignore) {
        mixlet_runtime::mixture::view(&rows).expect("consistent rows");
        let family = Some(rows.family());
        if let Ok(again) = read_more_rows(&path, &rows.columns, &ReadOptions { family, ..options }, &mut ignore) {
            assert!(again.len() >= rows.len(), "rows are lost");
        }
    }
    let _ = read_labels(&path, 3);
    let _ = read_weights(&path, 3);
});
