//! No bytes make a reader panic, and what is written is read.

use mixlet_runtime::mixture::view;
use mixlet_runtime::rows::{Family, Header, ReadOptions, read_labels, read_more_rows, read_weights};
use proptest::prelude::*;

use crate::array_files::npy;
use crate::files::Folder;
use crate::{read, words};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_reader_panic(
        start in prop_oneof![
            Just(Vec::new()),
            Just(npy(1, "|b1", false, "(2, 2)", &[])),
            Just(npy(2, "<f8", false, "(2, 3, 4)", &[])),
            Just(vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3]),
            Just(vec![0, 0, 8, 1, 0, 0, 0, 5]),
        ],
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), "([ab01\",\r\n;\t]|é){0,200}".prop_map(String::into_bytes)],
    ) {
        let folder = Folder::new();
        let mut start = start;
        if let Some((place, byte)) = change.filter(|_| !start.is_empty()) {
            let place = place.index(start.len());
            start[place] = byte;
        }
        let path = folder.file("a", [start, bytes].concat());
        for family in [None, Some(Family::Bernoulli), Some(Family::Categorical)] {
            for threshold in [None, Some(0.5)] {
                let options = ReadOptions { family, threshold, ..ReadOptions::default() };
                if let Ok(rows) = read(&path, &options) {
                    prop_assert!(!rows.is_empty() && rows.columns.codes.len() == rows.columns.len());
                    prop_assert!(view(&rows).is_ok());
                    let again = ReadOptions { family: Some(rows.family()), ..options };
                    let more = read_more_rows(&path, &rows.columns, &again, &mut |_, _| {});
                    prop_assert!(more.is_ok() || rows.has_header.is_some());
                }
            }
        }
        let _ = read_labels(&path, 3);
        let _ = read_weights(&path, 3);
    }

    #[test]
    fn random_tables_read_back(
        rows in prop::collection::vec(["[0-9]{1,2}|", "[a-c\", \n\ré]{1,4}", "yes|no|", "0|1"], 2..40),
        line_end in prop_oneof![Just("\n"), Just("\r\n")],
        family in prop_oneof![Just(None), Just(Some(Family::Categorical))],
    ) {
        let folder = Folder::new();
        let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
        let line = |row: &[String; 4]| row.iter().map(quoted).collect::<Vec<_>>().join(",") + line_end;
        let table: String = rows.iter().map(line).collect();
        let expected: Vec<String> = rows.iter().map(|row| row.each_ref().map(|field| if field.is_empty() { "?" } else { field }).join(" ")).collect();
        let options = ReadOptions { header: Header::No, family, ..ReadOptions::default() };
        let found = read(&folder.file("a.csv", &table), &options).unwrap();
        prop_assert_eq!(words(&found), expected.clone());
        let named = read(&folder.file("b.csv", format!("p,q,r,s{line_end}{table}")), &ReadOptions { header: Header::Yes, ..options }).unwrap();
        prop_assert_eq!(words(&named), expected);
    }
}
