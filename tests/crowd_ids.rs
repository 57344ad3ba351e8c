//! Ids of tasks: plain integers are their own numbers while a file is read, others are names.
//! Whatever they are and wherever they change, the crowd is that of a naive reader.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mixlet_runtime::crowd::read::{Crowd, ReadOptions, Repeats, read_crowd};
use mixlet_runtime::error::Result;
use proptest::prelude::*;
use tempfile::TempDir;

/// An answer without its label, which follows from its place in the file.
type Rows<'a> = Vec<(&'a str, &'a str)>;

fn label(row: usize) -> &'static str {
    if row.is_multiple_of(2) { "no" } else { "yes" }
}

fn write(folder: &TempDir, rows: &[(&str, &str)]) -> PathBuf {
    let path = folder.path().join("answers.csv");
    let lines =
        rows.iter().enumerate().map(|(row, (task, worker))| format!("{task},{worker},{}\n", label(row)));
    fs::write(&path, format!("task,worker,label\n{}", lines.collect::<String>())).unwrap();
    path
}

fn read(answers: &Path, gold: Option<&Path>, repeats: Repeats) -> Result<Crowd> {
    read_crowd(answers, gold, &ReadOptions { repeats, ..ReadOptions::default() }, &mut |_, _| {})
}

/// The answers of every task, `worker:label`, sorted.
fn answers_of(crowd: &Crowd) -> Vec<(String, Vec<String>)> {
    let answers = crowd.answers().unwrap();
    let task = |(task, id): (usize, &str)| {
        let cells = answers.task(task).iter();
        let word = |&cell| {
            let (worker, label) = (answers.worker(cell), answers.label(cell));
            format!("{}:{}", crowd.workers.get(worker), crowd.labels.get(label))
        };
        (id.to_owned(), sorted(cells.map(word).collect()))
    };
    crowd.tasks.iter().enumerate().map(task).collect()
}

/// The same by a map, and the order by its definition: numeric if all ids are integers, else by bytes.
fn expected_answers(rows: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
    let mut tasks: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (row, (task, worker)) in rows.iter().enumerate() {
        tasks.entry(task).or_default().push(format!("{worker}:{}", label(row)));
    }
    let value = |id: &str| id.parse::<i128>().ok().filter(|_| !id.starts_with('+'));
    let mut tasks: Vec<(&str, Vec<String>)> = tasks.into_iter().collect();
    if tasks.iter().all(|(id, _)| value(id).is_some()) {
        // Stable: equal values stay in the order of their bytes.
        tasks.sort_by_key(|(id, _)| value(id));
    }
    tasks.into_iter().map(|(id, answers)| (id.to_owned(), sorted(answers))).collect()
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

#[test]
fn integers_and_names_are_read_alike_wherever_the_first_name_stands() {
    let folder = tempfile::tempdir().unwrap();
    let plain: Vec<String> = (0..300).map(|step| (step * 7919 % 300).to_string()).collect();
    let cases: [(&str, &[&str]); 12] = [
        ("dense", &[]),
        ("sparse", &["99999999", "12345678", "70000000"]),
        ("nine digits", &["100000000", "99999999"]),
        ("near the end of 32 bits", &["4294967294", "4294967295", "4294967296", "4294967297"]),
        ("near the end of 64 bits", &["18446744073709551615", "18446744073709551616", "9223372036854775808"]),
        ("huge", &["123456789012345678901234567890", "2"]),
        ("text", &["x", "image-7", "7"]),
        ("leading zeros", &["007", "7", "07", "00", "0"]),
        ("nine digits with leading zeros", &["000000007", "7"]),
        ("below zero", &["-7", "-0", "0", "-100000001"]),
        ("plus sign", &["+7", "7"]),
        ("spaces", &[" 7", "7 ", "7"]),
    ];
    for (case, others) in cases {
        for at in [0, 1, 31, 32, 150, 300] {
            let mut ids: Vec<&str> = plain.iter().map(String::as_str).collect();
            ids.splice(at..at, others.iter().copied());
            // Everything comes twice, from different workers: ids before the first name and behind it are one.
            let again = ids.iter().map(|&id| (id, "w2"));
            let rows: Rows<'_> = ids.iter().map(|&id| (id, "w1")).chain(again).collect();
            let crowd = read(&write(&folder, &rows), None, Repeats::Count).unwrap();
            assert_eq!(answers_of(&crowd), expected_answers(&rows), "{case} at {at}");
        }
    }
}

#[test]
fn seven_and_007_are_two_tasks_in_answers_and_gold() {
    let folder = tempfile::tempdir().unwrap();
    let gold = folder.path().join("gold.csv");
    for (rows, is_there) in [
        (vec![("7", "a"), ("8", "a")], false),
        (vec![("7", "a"), ("007", "a")], true),
        (vec![("007", "a"), ("7", "a")], true),
    ] {
        let answers = write(&folder, &rows);
        fs::write(&gold, "task,label\n7,yes\n007,no\n").unwrap();
        let crowd = read(&answers, Some(&gold), Repeats::First);
        if !is_there {
            let message = crowd.unwrap_err().to_string();
            assert!(message.contains("gold.csv:3: ") && message.contains("`007`"), "{message}");
            continue;
        }
        let crowd = crowd.unwrap();
        assert_eq!(crowd.tasks.iter().collect::<Vec<_>>(), ["007", "7"]);
        assert_eq!(crowd.gold, Some(vec![0, 1]));
    }
}

#[test]
fn gold_finds_its_tasks_among_integers_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let gold = folder.path().join("gold.csv");
    fs::write(&gold, "task,label\n40,yes\n99999999,no\n3,yes\n").unwrap();
    let rows = [("99999999", "a"), ("3", "b"), ("40", "a"), ("41", "b")];
    for last in [None, Some("x"), Some("100000000")] {
        let rows: Rows<'_> = rows.into_iter().chain(last.map(|id| (id, "a"))).collect();
        let crowd = read(&write(&folder, &rows), Some(&gold), Repeats::First).unwrap();
        let known = |id: &str| crowd.tasks.find(id).map(|task| crowd.gold.as_ref().unwrap()[task as usize]);
        let yes = crowd.labels.find("yes");
        assert_eq!(
            [known("40"), known("3"), known("99999999")],
            [yes, yes, crowd.labels.find("no")],
            "{last:?}"
        );
    }
}

#[test]
fn an_error_behind_the_first_name_still_names_the_lines_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [("5", "a"), ("70", "a"), ("5", "b"), ("x", "a"), ("70", "b"), ("5", "a")];
    let message = read(&write(&folder, &rows), None, Repeats::Error).unwrap_err().to_string();
    assert!(message.contains("answers.csv:7: ") && message.contains("line 2"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_ids_are_read_as_a_naive_reader_does(
        ids in prop::collection::vec("[0-9]{1,3}|[0-9]{7,10}|[-+x0]?[0-9]{1,2}", 1..60),
        integers in prop::collection::vec("0|[1-9][0-9]{0,7}", 1..60),
        at in 0..60_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let at = at.min(integers.len());
        let all = integers[..at].iter().chain(&ids).chain(&integers[at..]);
        let mut rows: Rows<'_> = all.map(|id| (id.as_str(), "a")).collect();
        // Two labels there must be.
        rows.push(("1", "b"));
        rows.push(("1", "b"));
        let crowd = read(&write(&folder, &rows), None, Repeats::Count).unwrap();
        prop_assert_eq!(answers_of(&crowd), expected_answers(&rows));
    }
}
