//! Reading crowd answers: every good form of a file means the same, every bad one names its place and remedy.

#[path = "../common/files.rs"]
mod files;
mod wrong_input;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use files::{Folder, gzip};
use mixlet_runtime::crowd::answers::NO_LABEL;
use mixlet_runtime::crowd::ids::Ids;
use mixlet_runtime::crowd::read::{
    Crowd, ReadOptions, Repeats, TaskFilter, read_crowd, read_new_answers, read_task_labels,
};
use mixlet_runtime::error::Result;
use mixlet_runtime::table::Table;
use proptest::prelude::*;

fn read(answers: &Path, gold: Option<&Path>, options: &ReadOptions) -> Result<Crowd> {
    read_crowd(answers, gold, options, &mut |_, _| {})
}

fn repeats(repeats: Repeats) -> ReadOptions {
    ReadOptions { repeats, ..ReadOptions::default() }
}

fn renamed(columns: &str) -> ReadOptions {
    ReadOptions { columns: columns.parse().unwrap(), ..ReadOptions::default() }
}

/// The answers of each task as `worker:label`, and the gold label, in words.
fn words(crowd: &Crowd) -> Vec<String> {
    let answers = crowd.answers().unwrap();
    let tasks = crowd.tasks.iter().enumerate().map(|(task, name)| {
        let mut line = name.to_owned();
        for &cell in answers.task(task) {
            let (worker, label) = (answers.worker(cell), answers.label(cell));
            write!(line, " {}:{}", crowd.workers.get(worker), crowd.labels.get(label)).unwrap();
        }
        match crowd.gold.as_ref().map(|gold| gold[task]) {
            Some(label) if label != NO_LABEL => line + " = " + crowd.labels.get(label as usize),
            _ => line,
        }
    });
    tasks.collect()
}

fn names(ids: &Ids) -> Vec<&str> {
    ids.iter().collect()
}

#[test]
fn all_forms_of_the_same_table_read_the_same() {
    let folder = Folder::new();
    let plain = "task,worker,label\nt1,w1,yes\nt1,w2,no\nt2,w1,no\n";
    let expected = ["t1 w1:yes w2:no", "t2 w1:no"];
    let bom = [b"\xef\xbb\xbf", plain.as_bytes()].concat();
    let two_members = [gzip(&plain.as_bytes()[..30]), gzip(&plain.as_bytes()[30..])].concat();
    let cases: [(&str, &str, Vec<u8>); 17] = [
        ("plain", "a.csv", plain.into()),
        ("crlf", "a.csv", plain.replace('\n', "\r\n").into()),
        ("lone cr", "a.csv", plain.replace('\n', "\r").into()),
        ("no last line end", "a.csv", plain.trim_end().into()),
        ("byte order mark", "a.csv", bom.clone()),
        ("gzip", "a.csv.gz", gzip(plain.as_bytes())),
        ("gzip by content", "a.csv", gzip(&bom)),
        ("gzip members", "a.gz", two_members),
        ("tabs by name", "a.tsv", plain.replace(',', "\t").into()),
        ("tabs by name, gzip", "a.TSV.gz", gzip(plain.replace(',', "\t").as_bytes())),
        ("tabs by header", "a.txt", plain.replace(',', "\t").into()),
        ("semicolons by header", "a.csv", plain.replace(',', ";").into()),
        ("blank lines", "a.csv", format!("\n\r\n{}\n\n", plain.replace('\n', "\n\n")).into()),
        ("column order", "a.csv", "label,task,worker\nyes,t1,w1\nno,t1,w2\nno,t2,w1\n".into()),
        (
            "extra columns",
            "a.csv",
            "x,task,,worker,label\n,t1,\"a,\n\",w1,yes\n1,t1,2,w2,no\n,t2,,w1,no\n".into(),
        ),
        (
            "quotes",
            "a.csv",
            "\"task\",worker,\"label\"\n\"t1\",\"w1\",\"yes\"\r\nt1,w2,\"no\"\n\"t2\",w1,no".into(),
        ),
        ("random order", "a.csv", "task,worker,label\nt2,w1,no\nt1,w1,yes\nt1,w2,no\n".into()),
    ];
    for (case, name, bytes) in cases {
        let crowd = read(&folder.file(name, bytes), None, &ReadOptions::default()).expect(case);
        assert_eq!(words(&crowd), expected, "{case}");
        assert_eq!(names(&crowd.labels), ["no", "yes"], "{case}");
    }
    let path = folder.file("who.csv", plain.replace("worker", "who").replace("task", "item"));
    assert_eq!(words(&read(&path, None, &renamed("worker=who,task=item")).unwrap()), expected);
    let path = folder.file("pipes.csv", plain.replace(',', "|"));
    let options = ReadOptions { delimiter: Some(b'|'), ..ReadOptions::default() };
    assert_eq!(words(&read(&path, None, &options).unwrap()), expected);
}

#[test]
fn names_are_kept_as_they_are_and_sorted() {
    let folder = Folder::new();
    let table = "task,worker,label\n10,\"a,b\",☂\n9,\"say \"\"hi\"\"\", x\n-1,é\u{0}\u{1F600} ,x\n9,\"two\nlines\",x\n";
    let crowd = read(&folder.file("a.csv", table), None, &ReadOptions::default()).unwrap();
    assert_eq!(names(&crowd.tasks), ["-1", "9", "10"]);
    assert_eq!(names(&crowd.workers), ["a,b", "say \"hi\"", "two\nlines", "é\u{0}\u{1F600} "]);
    assert_eq!(names(&crowd.labels), [" x", "x", "☂"]);
    assert_eq!(words(&crowd)[1], "9 say \"hi\": x two\nlines:x");

    let long = "task,worker,label\n100000000000000000000,007,1\n99999999999999999999,7,0\n99999999999999999999,007,1\n";
    let crowd = read(&folder.file("a.csv", long), None, &ReadOptions::default()).unwrap();
    assert_eq!(words(&crowd), ["99999999999999999999 7:0 007:1", "100000000000000000000 007:1"]);
    assert_eq!(names(&crowd.workers), ["007", "7"]);
}

#[test]
fn more_labels_than_a_byte_holds() {
    let folder = Folder::new();
    let mut table = String::from("task,worker,label\n");
    (0..1000).rev().for_each(|label| writeln!(table, "{},{},{label}", label / 3, label % 3).unwrap());
    let crowd = read(&folder.file("a.csv", table), None, &ReadOptions::default()).unwrap();
    assert_eq!(crowd.labels.len(), 1000);
    assert_eq!(words(&crowd)[100], "100 2:302 1:301 0:300");
}

#[test]
fn the_rule_for_repeats_is_applied_and_reported() {
    let folder = Folder::new();
    let table = "task,worker,label\nt,a,x\nu,a,y\n\nt,b,x\nt,a,y\nt,a,z\n";
    let path = folder.file("a.csv", table);
    for (rule, expected) in
        [(Repeats::First, "t a:x b:x"), (Repeats::Last, "t b:x a:z"), (Repeats::Count, "t a:x a:y a:z b:x")]
    {
        let crowd = read(&path, None, &repeats(rule)).unwrap();
        assert_eq!(words(&crowd), [expected, "u a:y"], "{rule}");
        let summary = crowd.repeats;
        assert_eq!((summary.rule, summary.pairs, summary.extra_answers), (rule, 1, 2), "{rule}");
    }
    assert_eq!(
        folder.message(read(&path, None, &repeats(Repeats::Error))),
        "a.csv:6: worker `a` answers task `t` again, first on line 2; \
         keep one row, or pass --repeats first, last or count"
    );
    let grouped = folder.file("a.csv", "task,worker,label\nt,a,x\nt,b,y\nu,b,\"x\"\nu,b,x\n");
    let message = folder.message(read(&grouped, None, &repeats(Repeats::Error)));
    assert!(message.starts_with("a.csv:5: worker `b` answers task `u` again, first on line 4"), "{message}");
}

#[test]
fn gold_adds_labels_and_may_choose_the_tasks() {
    let folder = Folder::new();
    let answers = folder.file("a.csv", "task,worker,label\nt3,c,maybe\nt1,a,no\nt2,b,no\nt1,b,no\n");
    let gold = folder.file("gold.csv", "label,task\nyes,t1\nno,t2\nyes,t1\n");
    let crowd = read(&answers, Some(&gold), &ReadOptions::default()).unwrap();
    assert_eq!(words(&crowd), ["t1 a:no b:no = yes", "t2 b:no = no", "t3 c:maybe"]);
    assert_eq!(names(&crowd.labels), ["maybe", "no", "yes"]);

    let only_gold = ReadOptions { tasks: TaskFilter::Gold, ..ReadOptions::default() };
    let crowd = read(&answers, Some(&gold), &only_gold).unwrap();
    assert_eq!(words(&crowd), ["t1 a:no b:no = yes", "t2 b:no = no"]);
    assert_eq!((names(&crowd.labels), names(&crowd.workers)), (vec!["no", "yes"], vec!["a", "b", "c"]));
    assert_eq!(
        folder.message(read(&answers, None, &only_gold)),
        "--tasks gold needs gold labels; name their file with --gold"
    );

    // Labels of gold rows that are passed over do not become classes.
    let gold = folder.file("gold.csv", "task,label\nt9,other\nt2,no\n");
    let skip = ReadOptions { skip_unknown_gold: true, ..ReadOptions::default() };
    let crowd = read(&answers, Some(&gold), &skip).unwrap();
    assert_eq!(names(&crowd.labels), ["maybe", "no"]);

    // Columns renamed for the answers may have either name in gold.
    let answers = folder.file("a.csv", "item,worker,label\nt1,a,no\nt1,b,yes\n");
    for header in ["item,label", "task,label"] {
        let gold = folder.file("gold.csv", format!("{header}\nt1,no\n"));
        assert_eq!(
            words(&read(&answers, Some(&gold), &renamed("task=item")).unwrap()),
            ["t1 a:no b:yes = no"]
        );
    }
}

#[test]
fn known_labels_and_new_answers_speak_the_language_of_a_crowd() {
    let folder = Folder::new();
    let path = folder.file("a.csv", "task,worker,label\nt1,a,no\nt2,b,yes\n");
    let crowd = read(&path, None, &ReadOptions::default()).unwrap();
    let options = ReadOptions::default();
    let known = folder.file("known.csv", "task,label\nt2,no\n");
    assert_eq!(read_task_labels(&known, &crowd, &options).unwrap(), [NO_LABEL, 0]);
    for (rows, message) in [
        (
            "t1,mabye",
            "known.csv:2: unknown label `mabye`, expected one of `no`, `yes`; correct it or remove the row",
        ),
        ("t1,no\nt7,no", "known.csv:3: task `t7` has no answers; remove the row or pass --skip-unknown-gold"),
        (
            "t7,no",
            "known.csv: none of its tasks is among those of the answers; check that both use the same ids",
        ),
    ] {
        let known = folder.file("known.csv", format!("task,label\n{rows}\n"));
        assert_eq!(folder.message(read_task_labels(&known, &crowd, &options)), message);
    }

    let predict = |rows: &str| {
        let path = folder.file("new.csv", format!("task,worker,label\n{rows}\n"));
        read_new_answers(&path, &crowd.workers, &crowd.labels, &options, &mut |_, _| {})
    };
    let new = predict("n2,b,no\nn1,stranger,yes\nn2,other,no\nn2,other,yes\nn2,a,no").unwrap();
    assert_eq!(words(&new.crowd), ["n1", "n2 b:no a:no"]);
    assert_eq!((new.unknown_workers, new.unknown_answers), (2, 3));
    assert_eq!(new.crowd.workers, crowd.workers);
    assert_eq!(
        folder.message(predict("n1,a,no\nn1,b,mabye")),
        "new.csv:3: unknown label `mabye`, expected one of `no`, `yes`; correct it or remove the row"
    );
}

#[test]
fn gold_may_call_its_labels_otherwise() {
    let folder = Folder::new();
    let answers = folder.file("a.csv", "item,who,said\nt1,w1,yes\nt1,w2,no\n");
    let gold = folder.file("gold.csv", "item,label,truth\nt1,no,yes\n");
    let columns = "task=item,worker=who,label=said";
    for (gold_column, label) in [("", "no"), (",gold=truth", "yes")] {
        let options = renamed(&format!("{columns}{gold_column}"));
        let crowd = read(&answers, Some(&gold), &options).unwrap();
        assert_eq!(words(&crowd), [format!("t1 w1:yes w2:no = {label}")]);
        let known = read_task_labels(&gold, &crowd, &options).unwrap();
        assert_eq!(crowd.labels.get(known[0] as usize), label);
    }
    assert_eq!(
        folder.message(read(&answers, Some(&gold), &renamed(&format!("{columns},gold=trth")))),
        "gold.csv:1: no column `trth` among `item,label,truth`; name it with --columns gold=label"
    );
}

#[test]
fn progress_ends_at_the_size_of_the_file() {
    let folder = Folder::new();
    let mut table = String::from("task,worker,label\n");
    (0..100_000).for_each(|row| writeln!(table, "{},{},{}", row / 5, row % 5, row % 2).unwrap());
    let plain = folder.file("a.csv", &table);
    let packed = folder.file("b.csv", gzip(table.as_bytes()));
    for path in [plain, packed] {
        let mut calls = Vec::new();
        read_crowd(&path, None, &ReadOptions::default(), &mut |read, total| calls.push((read, total)))
            .unwrap();
        let size = fs::metadata(&path).unwrap().len();
        assert_eq!(calls.last(), Some(&(size, size)));
        assert!(calls.len() > 2 && calls.is_sorted());
    }
}

/// Folder, tasks, workers, classes, answers, gold labels, repeated answers.
const SHARED: [(&str, [usize; 6]); 14] = [
    ("bird", [108, 39, 2, 4_212, 108, 0]),
    ("rte", [800, 164, 2, 8_000, 800, 0]),
    ("trec", [19_033, 762, 2, 88_385, 2_275, 0]),
    ("dog", [807, 109, 4, 8_070, 807, 0]),
    ("web", [2_665, 177, 5, 15_567, 2_653, 0]),
    ("anaesthetist", [45, 5, 4, 315, 0, 90]),
    ("product", [8_315, 176, 2, 24_945, 8_315, 0]),
    ("possent", [1_000, 85, 2, 20_000, 1_000, 0]),
    ("relevance", [20_232, 766, 4, 98_453, 4_460, 1_570]),
    ("adult", [11_040, 825, 4, 92_721, 333, 2_922]),
    ("face", [584, 27, 4, 5_242, 584, 0]),
    ("sp", [4_999, 203, 2, 27_746, 4_999, 0]),
    ("sp_amt", [500, 143, 2, 10_000, 500, 0]),
    ("fact_eval", [42_624, 57, 3, 216_725, 576, 1_810]),
];

#[test]
fn public_sets_have_the_published_counts() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/crowd");
    if !shared.is_dir() {
        let required = std::env::var("MIXLET_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "shared"), "{} is absent", shared.display());
        eprintln!("skipped: {} is absent", shared.display());
        return;
    }
    for (name, expected) in SHARED {
        // A set without gold has a gold file without rows.
        let gold = Some(shared.join(name).join("gold.csv")).filter(|_| expected[4] > 0);
        let options = repeats(Repeats::Count);
        let crowd = read(&shared.join(name).join("answers.csv"), gold.as_deref(), &options).expect(name);
        let gold = crowd.gold.iter().flatten().filter(|&&label| label != NO_LABEL).count();
        let (tasks, workers, classes) = (crowd.tasks.len(), crowd.workers.len(), crowd.labels.len());
        let extra = crowd.repeats.extra_answers as usize;
        assert_eq!([tasks, workers, classes, crowd.cells.len(), gold, extra], expected, "{name}");
    }
}

/// One way to write a table.
fn write_table(rows: &[[String; 3]], line_end: &str, quote: bool) -> String {
    let mut table = format!("task,worker,label{line_end}");
    for row in rows {
        let fields = row.iter().map(|field| {
            let must = field.contains(['"', ',', '\n', '\r']);
            if must || quote { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() }
        });
        table += &fields.collect::<Vec<_>>().join(",");
        table += line_end;
    }
    table
}

/// The field of the next row of one that has something in it.
fn next_filled(rows: &mut Table<'_>) -> Result<Option<Vec<u8>>> {
    loop {
        match rows.next_row()?.map(|row| row.field(0).to_vec()) {
            Some(field) if field.is_empty() => {}
            field => return Ok(field),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "(task,worker,label\n)?([ab\",\r\n;\t]|é|\u{feff}){0,200}".prop_map(String::into_bytes),
        ],
        gold in "task,label\n([ab\",\r\n]){0,40}",
    ) {
        let folder = Folder::new();
        let (answers, gold) = (folder.file("a.csv", bytes), folder.file("gold.csv", gold));
        for rule in [Repeats::First, Repeats::Last, Repeats::Count, Repeats::Error] {
            for gold in [None, Some(gold.as_path())] {
                if let Ok(crowd) = read(&answers, gold, &repeats(rule)) {
                    prop_assert!(crowd.answers().is_ok());
                }
            }
        }
    }

    #[test]
    fn random_tables_read_back_in_every_form(
        rows in prop::collection::vec(["[0-9]{1,2}|[a-c\", \n\ré]{1,10}", "[w-z]{1,9}|-?[0-9]{1,3}", "[a-e☂,\"]"], 1..40),
    ) {
        let rows: Vec<[String; 3]> = rows.into_iter().chain(["l", "m"].map(|label| ["t", "w", label].map(Into::into))).collect();
        let folder = Folder::new();
        // Repeats stand by worker, so that answers are compared as sets.
        let mut expected: Vec<[&str; 3]> = rows.iter().map(|row| row.each_ref().map(String::as_str)).collect();
        expected.sort();
        for (line_end, quote) in [("\n", false), ("\r\n", false), ("\n", true), ("\r\n", true)] {
            let table = write_table(&rows, line_end, quote);
            for bytes in [table.clone().into_bytes(), gzip(table.as_bytes())] {
                let crowd = read(&folder.file("a.csv", bytes), None, &repeats(Repeats::Count)).unwrap();
                let answers = crowd.answers().unwrap();
                let row = |task: usize, cell: u32| {
                    [crowd.tasks.get(task), crowd.workers.get(answers.worker(cell)), crowd.labels.get(answers.label(cell))]
                };
                let mut found: Vec<[&str; 3]> = (0..answers.tasks())
                    .flat_map(|task| answers.task(task).iter().map(move |&cell| (task, cell)))
                    .map(|(task, cell)| row(task, cell))
                    .collect();
                found.sort();
                prop_assert_eq!(&found, &expected, "{:?} quoted {}", line_end, quote);
            }
        }
    }

    #[test]
    fn rows_are_those_of_the_csv_package(table in "h\n([ab\",\r\n]|é){0,60}") {
        let folder = Folder::new();
        let path = folder.file("a.csv", &table);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(table.as_bytes());
        let expected: Vec<csv::ByteRecord> = reader.byte_records().map(|record| record.unwrap()).collect();
        let mut ignore = |_, _| {};
        let mut rows = Table::open(&path, Some(b','), &mut ignore).unwrap();
        // The package passes over empty lines, which in a table of one column are rows.
        let is_empty = |record: &csv::ByteRecord| record.len() == 1 && record[0].is_empty();
        for record in expected[1..].iter().filter(|record| !is_empty(record)) {
            match next_filled(&mut rows) {
                Ok(Some(row)) => prop_assert_eq!((1, &row[..]), (record.len(), &record[0])),
                Ok(None) => prop_assert!(false, "a row is missing"),
                // Stricter than the package: an open quote is an error, and so are rows of other lengths.
                Err(error) => {
                    let is_open = error.to_string().contains("does not close");
                    prop_assert!(is_open || record.len() != 1, "{error}");
                    return Ok(());
                }
            }
        }
        prop_assert!(matches!(next_filled(&mut rows), Ok(None) | Err(_)));
    }
}
