//! Reading rows: every good form of a file means the same, every bad one names its place and remedy.

#[path = "common/array_files.rs"]
mod array_files;
#[path = "common/files.rs"]
mod files;

use std::path::Path;

use array_files::{idx, npy};
use files::{Folder, gzip};
use mixlet_core::em::UNKNOWN;
use mixlet_runtime::error::Result;
use mixlet_runtime::mixture::{RowsView, view};
use mixlet_runtime::rows::{
    Family, Header, ReadOptions, Rows, read_labels, read_more_rows, read_responsibilities, read_rows,
    read_weights,
};
use proptest::prelude::*;

fn read(path: &Path, options: &ReadOptions) -> Result<Rows> {
    read_rows(path, options, &mut |_, _| {})
}

/// The values of each row in words; `?` is missing.
fn words(rows: &Rows) -> Vec<String> {
    let names = |column: usize, code: Option<usize>| match code {
        Some(code) => rows.columns.codes[column].get(code).to_owned(),
        None => "?".to_owned(),
    };

    let value = |row: usize| move |column: usize| names(column, rows.code(row, column));
    let line = |row: usize| (0..rows.columns.len()).map(value(row)).collect::<Vec<_>>().join(" ");
    (0..rows.len()).map(line).collect()
}

fn with(header: Header) -> ReadOptions {
    ReadOptions { header, ..ReadOptions::default() }
}

fn above(threshold: f64) -> ReadOptions {
    ReadOptions { threshold: Some(threshold), ..ReadOptions::default() }
}

#[test]
fn all_forms_of_the_same_table_read_the_same() {
    let folder = Folder::new();
    let plain = "tea,coffee\nyes,no\nno,\nyes,yes\n";
    let expected = ["yes no", "no ?", "yes yes"];
    let bom = [b"\xef\xbb\xbf", plain.as_bytes()].concat();
    let cases: [(&str, &str, Vec<u8>); 8] = [
        ("plain", "a.csv", plain.into()),
        ("crlf", "a.csv", plain.replace('\n', "\r\n").into()),
        ("no last line end", "a.csv", plain.trim_end().into()),
        ("byte order mark", "a.csv", bom.clone()),
        ("gzip", "a.csv.gz", gzip(&bom)),
        ("tabs", "a.tsv", plain.replace(',', "\t").into()),
        ("semicolons", "a.csv", plain.replace(',', ";").into()),
        ("quotes", "a.csv", "\"tea\",coffee\n\"yes\",\"no\"\nno,\"\"\nyes,yes\n".into()),
    ];
    for (case, name, bytes) in cases {
        let rows = read(&folder.file(name, bytes), &ReadOptions::default()).expect(case);
        assert_eq!(words(&rows), expected, "{case}");
        assert_eq!(rows.columns.names, ["tea", "coffee"], "{case}");
        assert_eq!((rows.family(), rows.incomplete()), (Family::Bernoulli, 1), "{case}");
    }
    let path = folder.file("na.csv", plain.replace("no,\n", "no,NA\n"));
    let options = ReadOptions { missing: Some("NA".into()), ..ReadOptions::default() };
    assert_eq!(words(&read(&path, &options).unwrap()), expected);
}

#[test]
fn a_header_is_found_by_its_fields() {
    let folder = Folder::new();
    let cases: [(&str, bool, &[&str]); 7] = [
        ("a,b\n1,0\n0,1\n", true, &["a", "b"]),
        ("1,0\n1,0\n0,1\n", false, &["0", "1"]),
        ("0,1,2,3\n1,0,1,1\n0,0,1,0\n", true, &["0", "1", "2", "3"]),
        (",b\n1,0\n0,1\n", true, &["0", "b"]),
        ("red,small\nblue,small\nred,large\nblue,large\n", false, &["0", "1"]),
        ("red,rare\nred,often\nblue,often\n", false, &["0", "1"]),
        ("colour,often\nred,often\nblue,never\nblue,often\nred,never\n", false, &["0", "1"]),
    ];
    for (table, has_header, names) in cases {
        let path = folder.file("a.csv", table);
        let rows = read(&path, &ReadOptions::default()).unwrap();
        assert_eq!(
            (rows.has_header, rows.columns.names.as_slice()),
            (Some(has_header), &names.map_names()[..])
        );
        let lines = table.lines().count();
        assert_eq!(rows.len(), lines - usize::from(has_header), "{table}");
        if !has_header {
            assert_eq!(words(&rows)[0], table.lines().next().unwrap().replace(',', " "), "{table}");
        }
        for (header, less) in [(Header::Yes, 1), (Header::No, 0)] {
            assert_eq!(read(&path, &with(header)).unwrap().len(), lines - less, "{table}");
        }
    }
}

/// Names that own their text.
trait MapNames {
    fn map_names(&self) -> Vec<String>;
}

impl MapNames for &[&str] {
    fn map_names(&self) -> Vec<String> {
        self.iter().map(|&name| name.to_owned()).collect()
    }
}

#[test]
fn columns_may_stand_for_classes_weights_or_nothing() {
    let folder = Folder::new();
    let table = "id,a,kind,b,w\n7,1,cat,0,1.5\n8,0,,1,0\n9,1,dog,1,2\n";
    let options = ReadOptions {
        ignore: vec!["id".into()],
        truth: Some("kind".into()),
        weights: Some("w".into()),
        ..ReadOptions::default()
    };
    let path = folder.file("a.csv", table);
    let rows = read(&path, &options).unwrap();
    assert_eq!(
        (words(&rows), rows.columns.names),
        (vec!["1 0".into(), "0 1".into(), "1 1".into()], vec!["a".to_owned(), "b".into()])
    );
    assert_eq!(rows.weights, Some(vec![1.5, 0.0, 2.0]));
    let truth = rows.truth.unwrap();
    assert_eq!(
        (truth.names.iter().collect::<Vec<_>>(), &truth.of_rows[..]),
        (vec!["cat", "dog"], &[0, UNKNOWN, 1][..])
    );
    let options = ReadOptions { truth: Some("sort".into()), ..ReadOptions::default() };
    assert_eq!(
        folder.message(read(&path, &options)),
        "a.csv:1: no column `sort` among `id,a,kind,b,w`, and no file of that name; check the spelling"
    );
    // What is passed over may serve as truth or weight.
    let ignore = ["id", "kind", "w"].map(str::to_owned).to_vec();
    let options = ReadOptions {
        ignore,
        truth: Some("kind".into()),
        weights: Some("w".into()),
        ..ReadOptions::default()
    };
    let again = read(&path, &options).unwrap();
    assert_eq!((again.truth, again.weights), (Some(truth), Some(vec![1.5, 0.0, 2.0])));
    let options =
        ReadOptions { truth: Some("w".into()), weights: Some("w".into()), ..ReadOptions::default() };
    let both = read(&path, &options).unwrap();
    assert_eq!((both.truth.unwrap().of_rows, both.weights), (vec![1, 0, 2], Some(vec![1.5, 0.0, 2.0])));
}

/// Columns by their numbers: an id, a value, a class, a value, a weight.
fn by_number(header: Header) -> ReadOptions {
    let [id, class, weight] = ["0", "2", "4"].map(str::to_owned);
    ReadOptions {
        header,
        ignore: vec![id],
        truth: Some(class),
        weights: Some(weight),
        ..ReadOptions::default()
    }
}

#[test]
fn columns_without_names_are_called_by_numbers() {
    let folder = Folder::new();
    let table = "7,1,5,0,2\n8,0,6,1,0\n9,1,5,1,2\n7,0,5,1,2\n";
    let flat: Vec<u8> = table.split(['\n', ',']).filter_map(|text| text.parse().ok()).collect();
    for (name, bytes, header) in [
        ("a.csv", table.as_bytes().to_vec(), Header::Auto),
        ("a.csv", table.as_bytes().to_vec(), Header::No),
        ("a.npy", npy(1, "|u1", false, "(4, 5)", &flat), Header::Auto),
    ] {
        let path = folder.file(name, bytes);
        let rows = read(&path, &by_number(header)).unwrap();
        assert_eq!(words(&rows), ["1 0", "0 1", "1 1", "0 1"], "{name}");
        assert_eq!(
            (&rows.columns.names[..], rows.family()),
            (&["1".to_owned(), "3".into()][..], Family::Bernoulli)
        );
        let truth = rows.truth.unwrap();
        assert_eq!(
            (truth.names.iter().collect::<Vec<_>>(), truth.of_rows),
            (vec!["5", "6"], vec![0, 1, 0, 0])
        );
        assert_eq!(rows.weights, Some(vec![2.0, 0.0, 2.0, 2.0]), "{name}");
        // The same columns of another file without names, or under their numbers.
        let options = ReadOptions { family: Some(Family::Bernoulli), ..ReadOptions::default() };
        let more = |path: &Path| read_more_rows(path, &rows.columns, &options, &mut |_, _| {});
        assert_eq!(words(&more(&path).unwrap()), ["1 0", "0 1", "1 1", "0 1"], "{name}");
        let named = folder.file("named.csv", "3,x,1\n0,8,1\n1,9,0\n");
        assert_eq!(words(&more(&named).unwrap()), ["1 0", "0 1"], "{name}");
        let narrow = folder.file("narrow.csv", "0,1\n1,0\n0,1\n");
        assert_eq!(folder.message(more(&narrow)), "narrow.csv:1: no column `3` among `0,1`; check the name");
    }
    let pixels = folder.file("a.idx", idx(&[2, 1, 5], &[7, 255, 1, 0, 2, 8, 0, 2, 255, 0]));
    let rows = read(&pixels, &by_number(Header::Auto)).unwrap();
    assert_eq!((words(&rows), rows.picture), (vec!["1 0".to_owned(), "0 1".into()], None));
    assert_eq!((rows.truth.unwrap().of_rows, rows.weights), (vec![0, 1], Some(vec![2.0, 0.0])));

    let ignoring = |name: &str| ReadOptions { ignore: vec![name.into()], ..ReadOptions::default() };
    let named = folder.file("n.csv", "a,b\n1,0\n0,1\n1,1\n");
    let message = |path: &Path, options: &ReadOptions| folder.message(read(path, options));
    assert_eq!(message(&named, &ignoring("0")), "n.csv:1: no column `0` among `a,b`; check the name");
    let plain = folder.file("p.csv", "1,0\n0,1\n1,1\n");
    for header in [Header::Auto, Header::No] {
        let rows = read(&plain, &ReadOptions { header, ..ignoring("1") }).unwrap();
        assert_eq!((words(&rows), rows.has_header), (vec!["1".into(), "0".into(), "1".into()], Some(false)));
    }
    let moved = folder.file("m.csv", "9,0\n0,1\n1,1\n");
    assert_eq!(
        message(&moved, &ignoring("0")),
        "m.csv:1: `0` is the name of one column and the number of another; \
         pass --header yes to go by names, or --header no if there are none"
    );
    let named = ReadOptions { header: Header::Yes, ..ignoring("0") };
    assert_eq!(words(&read(&moved, &named).unwrap()), ["0", "1"]);
    let called = folder.file("c.csv", "0,1,2\n5,6,7\n6,7,5\n7,6,5\n");
    let rows = read(&called, &ignoring("1")).unwrap();
    assert_eq!((words(&rows), rows.has_header), (vec!["5 7".into(), "6 5".into(), "7 5".into()], Some(true)));
    assert_eq!(rows.columns.names, ["0", "2"]);
    let numbers = "its columns have no names, and numbers from 0 to 1; name one of these, or check the path";
    let options = ReadOptions { header: Header::No, ..ignoring("2") };
    assert_eq!(message(&plain, &options), format!("p.csv: no column `2`: {numbers}"));
    let array = folder.file("a.npy", npy(1, "|u1", false, "(2, 2)", &[1, 0, 0, 1]));
    assert_eq!(message(&array, &ignoring("01")), format!("a.npy: no column `01`: {numbers}"));
    let none = ReadOptions { ignore: vec!["0".into(), "1".into()], ..ReadOptions::default() };
    assert_eq!(message(&array, &none), "a.npy: none of 2 columns is left to fit; leave fewer out");
    let weights = [1.0, -1.0f64].iter().flat_map(|weight| weight.to_le_bytes()).collect::<Vec<u8>>();
    let array = folder.file("w.npy", npy(1, "<f8", false, "(1, 2)", &weights));
    assert_eq!(
        message(&array, &ReadOptions { weights: Some("1".into()), ..ReadOptions::default() }),
        "w.npy: row 0: column `1` holds -1, expected a number that is not negative"
    );
}

#[test]
fn an_empty_line_of_one_column_is_a_missing_value() {
    let folder = Folder::new();
    let rows = read(&folder.file("a.csv", "a\n1\n\n0\r\n\r\n1\n"), &ReadOptions::default()).unwrap();
    assert_eq!(words(&rows), ["1", "?", "0", "?", "1"]);
    let rows = read(&folder.file("a.csv", "a,b\n1,0\n\n0,1\n"), &ReadOptions::default()).unwrap();
    assert_eq!(words(&rows), ["1 0", "0 1"]);
    let labels = read_labels(&folder.file("l.csv", "dog\n\ncat\ndog\n"), 4).unwrap();
    assert_eq!(labels.of_rows, [1, UNKNOWN, 0, 1]);
    assert_eq!(
        folder.message(read_weights(&folder.file("w.csv", "1\n\n2\n"), 3)),
        "w.csv:2: column `weight` holds ``, expected a number that is not negative"
    );
}

#[test]
fn arrays_of_every_type_read_the_same() {
    let folder = Folder::new();
    let values = [[1.0, 0.0, 3.0], [0.0, 0.0, 7.0], [1.0, 1.0, 3.0], [0.0, 1.0, 7.0]];
    let flat: Vec<f64> = values.concat();
    for (descr, width) in [
        ("|u1", 1),
        ("|i1", 1),
        ("<u2", 2),
        ("<i2", 2),
        ("<u4", 4),
        ("<i4", 4),
        ("<u8", 8),
        ("<i8", 8),
        ("<f4", 4),
        ("<f8", 8),
    ] {
        let bytes: Vec<u8> = flat.iter().flat_map(|&value| encode(value, descr, width)).collect();
        for version in 1..=3 {
            let path = folder.file("a.npy", npy(version, descr, false, "(4, 3)", &bytes));
            let rows = read(&path, &ReadOptions::default()).unwrap();
            assert_eq!(words(&rows), ["1 0 3", "0 0 7", "1 1 3", "0 1 7"], "{descr}");
            assert_eq!(rows.family(), Family::Bernoulli, "{descr}");
            let rows = read(&path, &above(0.5)).unwrap();
            assert_eq!(words(&rows), ["1 0 1", "0 0 1", "1 1 1", "0 1 1"], "{descr}");
        }
    }
    let truth = npy(1, "|b1", false, "(2, 1, 2)", &[0, 1, 1, 1]);
    let rows = read(&folder.file("b.npy.gz", gzip(&truth)), &ReadOptions::default()).unwrap();
    assert_eq!((words(&rows), rows.picture), (vec!["0 1".to_owned(), "1 1".into()], Some((1, 2))));
    let nan: Vec<u8> =
        [0.25, f64::NAN, 0.75, 0.5].iter().flat_map(|value: &f64| value.to_le_bytes()).collect();
    let rows = read(&folder.file("c.npy", npy(1, "<f8", false, "(2, 2)", &nan)), &above(0.5)).unwrap();
    assert_eq!(words(&rows), ["0 ?", "1 0"]);
}

/// A whole number as numpy stores it.
fn encode(value: f64, descr: &str, width: usize) -> Vec<u8> {
    match descr {
        "<f4" => (value as f32).to_le_bytes().to_vec(),
        "<f8" => value.to_le_bytes().to_vec(),
        _ => (value as u64).to_le_bytes()[..width].to_vec(),
    }
}

#[test]
fn pictures_are_cut_at_half_of_their_range() {
    let folder = Folder::new();
    let bytes = idx(&[2, 2, 3], &[0, 127, 128, 255, 1, 200, 90, 91, 92, 128, 127, 126]);
    for (name, bytes) in
        [("a-idx3-ubyte", bytes.clone()), ("a.idx.gz", gzip(&bytes)), ("whatever", bytes.clone())]
    {
        let rows = read(&folder.file(name, bytes), &ReadOptions::default()).unwrap();
        assert_eq!(words(&rows), ["0 0 1 1 0 1", "0 0 0 1 0 0"], "{name}");
        assert_eq!(rows.picture, Some((2, 3)), "{name}");
    }
    let path = folder.file("a", &bytes);
    assert_eq!(words(&read(&path, &above(0.0)).unwrap())[0], "0 1 1 1 1 1");
    let shades = ReadOptions { family: Some(Family::Categorical), ..ReadOptions::default() };
    assert_eq!(words(&read(&path, &shades).unwrap())[1], "90 91 92 128 127 126");
}

#[test]
fn more_rows_follow_the_names_of_the_first_ones() {
    let folder = Folder::new();
    let first =
        read(&folder.file("a.csv", "a,b,c\nx,1,no\ny,2,yes\nz,1,no\n"), &ReadOptions::default()).unwrap();
    let options = ReadOptions { family: Some(first.family()), ..ReadOptions::default() };
    let more =
        |table: &str| read_more_rows(&folder.file("b.csv", table), &first.columns, &options, &mut |_, _| {});
    let rows = more("c,extra,a,b\nyes,7,z,\nno,8,x,2\n").unwrap();
    assert_eq!(
        (words(&rows), rows.extra_columns),
        (vec!["z ? yes".to_owned(), "x 2 no".into()], vec!["extra".to_owned()])
    );
    assert_eq!(folder.message(more("a,b\nx,1\n")), "b.csv:1: no column `c` among `a,b`; check the name");
    assert_eq!(
        folder.message(more("a,b,c\nx,1,no\nw,1,no\n")),
        "b.csv:3: column `a` holds `w`, which the model has not seen, expected one of `x`, `y`, `z`; \
         correct the value or leave it empty"
    );
    let array = folder.file("b.npy", npy(1, "|b1", false, "(2, 2)", &[0, 1, 1, 1]));
    assert_eq!(
        folder.message(read_more_rows(&array, &first.columns, &options, &mut |_, _| {})),
        "b.npy: 2 columns, expected 3 as in the model; check that both come from the same source"
    );
}

#[test]
fn classes_and_weights_come_one_per_row() {
    let folder = Folder::new();
    let expected = vec![1, 0, 1];
    let table = "label\ndog\ncat\ndog\n";
    for (name, bytes) in [
        ("named.csv", table.as_bytes().to_vec()),
        ("plain.csv", b"dog\ncat\ndog\n".to_vec()),
        ("other.csv.gz", gzip(b"animal\ndog\ncat\ndog\n")),
        ("many.csv", b"row,class\n0,dog\n1,cat\n2,dog\n".to_vec()),
        ("a.npy", npy(1, "<i4", false, "(3,)", &[7, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0])),
        ("a-idx1-ubyte.gz", gzip(&idx(&[3], &[9, 4, 9]))),
    ] {
        assert_eq!(read_labels(&folder.file(name, bytes), 3).unwrap().of_rows, expected, "{name}");
    }
    let unknown = folder.file("u.csv", "row,label\n0,b\n1,\n2,a\n");
    assert_eq!(read_labels(&unknown, 3).unwrap().of_rows, [1, UNKNOWN, 0]);
    assert_eq!(read_weights(&folder.file("w.csv", "w\n1\n0.5\n2e3\n"), 3).unwrap(), [1.0, 0.5, 2000.0]);
    let path = folder.file("l.csv", table);
    assert_eq!(
        folder.message(read_labels(&path, 5)),
        "l.csv: holds classes of 3 rows, expected 5; check that both files belong together"
    );
    // A first line that comes again, or is a number, names nothing.
    for (text, found) in [
        ("dog\ncat\ndog\n", "3 rows"),
        ("dog\ncat\n", "1 row below its name `dog`"),
        ("7\n8\n9\n", "3 rows"),
        ("kind\n8\n9\n", "2 rows below its name `kind`"),
    ] {
        assert_eq!(
            folder.message(read_labels(&folder.file("s.csv", text), 9)),
            format!("s.csv: holds classes of {found}, expected 9; check that both files belong together")
        );
    }
    for (text, found) in [("1\n2\n", "2 rows"), ("w\n1\n2\n", "2 rows below its name `w`")] {
        assert_eq!(
            folder.message(read_weights(&folder.file("s.csv", text), 3)),
            format!("s.csv: holds weights of {found}, expected 3; check that both files belong together")
        );
    }
    assert_eq!(
        folder.message(read_weights(&folder.file("s.csv", "-1\n2\n"), 2)),
        "s.csv:1: column `weight` holds `-1`, expected a number that is not negative"
    );
    let path = folder.file("x.csv", "a,b\n1,2\n");
    assert_eq!(
        folder.message(read_labels(&path, 1)),
        "x.csv:1: no column `label` among `a,b`; check the name"
    );
    let path = folder.file("w.csv", "weight\n1\n-1\n");
    assert_eq!(
        folder.message(read_weights(&path, 2)),
        "w.csv:3: column `weight` holds `-1`, expected a number that is not negative"
    );
    let path = folder.file("a-idx3-ubyte", idx(&[1, 1, 2], &[9, 4]));
    assert_eq!(
        folder.message(read_labels(&path, 1)),
        "a-idx3-ubyte: an array of 3 dimensions, expected 1, a class per row; reshape it, rows first"
    );
    let path = folder.file("w.npy", npy(1, "<i2", false, "(2,)", &[1, 0, 0xff, 0xff]));
    assert_eq!(
        folder.message(read_weights(&path, 2)),
        "w.npy: row 1: column `weight` holds -1, expected a number that is not negative"
    );
}

#[test]
fn a_column_of_row_numbers_says_what_lines_are_about() {
    let folder = Folder::new();
    let labels = folder.file("l.csv", "row,kind\n2,dog\n0,cat\n1,\n");
    assert_eq!(read_labels(&labels, 3).unwrap().of_rows, [0, UNKNOWN, 1]);
    let weights = folder.file("w.csv", "weight,Row\n3,1\n0.5,0\n");
    assert_eq!(read_weights(&weights, 2).unwrap(), [0.5, 3.0]);
    let shares = folder.file("p.csv", "row,class,confidence,p_0,p_1\n1,0,1,3,1\n0,1,1,0,2\n");
    assert_eq!(read_responsibilities(&shares, 2, 2).unwrap(), [0.0, 1.0, 0.75, 0.25]);

    let rename = "rename the column if the lines are in the order of the rows";
    for (lines, message) in [
        (
            "0,a\n3,b\n1,b\n",
            format!("l.csv:3: column `row` holds `3`, expected a number from 0 to 2; {rename}"),
        ),
        (
            "0,a\n-1,b\n1,b\n",
            format!("l.csv:3: column `row` holds `-1`, expected a number from 0 to 2; {rename}"),
        ),
        ("p7,a\n", format!("l.csv:2: column `row` holds `p7`, expected a number from 0 to 2; {rename}")),
        ("0,a\n1,b\n0,a\n", "l.csv:4: row 0 comes again, first on line 2; keep one line".into()),
        (
            "2,a\n0,b\n",
            "l.csv: holds classes of other rows, but not of row 1, expected all of 3; add a line for it"
                .into(),
        ),
    ] {
        let path = folder.file("l.csv", format!("row,label\n{lines}"));
        assert_eq!(folder.message(read_labels(&path, 3)), message, "{lines}");
    }
}

#[test]
fn starts_have_as_many_classes_as_are_asked_for() {
    let folder = Folder::new();
    let start = |text: &str, classes| read_responsibilities(&folder.file("s.csv", text), 2, classes);
    assert_eq!(start("a\nb\n", 2).unwrap(), [1.0, 0.0, 0.0, 1.0]);
    let other = "different classes, expected 3 as in --classes; name another file or number";
    assert_eq!(folder.message(start("a\nb\n", 3)), format!("s.csv: 2 {other}"));
    for (classes, columns) in [(1, "1"), (3, "3")] {
        assert_eq!(
            folder.message(start("p_0,p_1\n1,0\n0,1\n", classes)),
            format!(
                "s.csv:1: 2 columns of shares, from `p_0` on, expected {columns} as in --classes; \
                 pass --classes 2, or another file"
            )
        );
    }
    assert_eq!(
        folder.message(start("p_0,p_1\n1,0\n0,0\n", 2)),
        "s.csv:3: all of `p_0` to `p_1` are 0, expected one above; write equal shares for a row without a class"
    );
}

#[test]
fn bad_tables_name_file_line_and_remedy() {
    let folder = Folder::new();
    let plain = ReadOptions::default();
    let bernoulli = ReadOptions { family: Some(Family::Bernoulli), ..ReadOptions::default() };
    let cases: [(&[u8], &ReadOptions, &str); 11] = [
        (b"", &plain, "a.csv: the file is empty, expected a line of column names and rows below it"),
        (
            b"a,b\n",
            &plain,
            "a.csv:1: nothing but column names, expected rows below them; check how the file was made",
        ),
        (b"a,b\n0,1\n0\n", &plain, "a.csv:3: 1 field, expected 2 as in the header; complete the row"),
        (
            b"a,b\n0,1\n1,0\n2,0\n",
            &bernoulli,
            "a.csv:4: column `a` holds `2` beside `0`, `1`, expected two values; \
             pass --family categorical, or --threshold X to compare numbers with X",
        ),
        (b"a,a\n0,1\n1,0\n", &plain, "a.csv:1: two columns are named `a`, expected one; rename the other"),
        (
            b"a,b\n0,1\n1\0,0\n",
            &plain,
            "a.csv:3: column `a` holds `1\\u{0}`, which has a NUL byte and is no text; save the file as UTF-8, or make it again",
        ),
        (
            b"a,\0b\n0,1\n1,0\n",
            &plain,
            "a.csv:1: column `\\u{0}b` holds `\\u{0}b`, which has a NUL byte and is no text; save the file as UTF-8, \
             or make it again",
        ),
        (b"a,b\n0,\xff\n", &plain, "a.csv:2: byte 3 is not UTF-8; save the file as UTF-8"),
        (
            b"a,b\n0,\"1\n",
            &plain,
            "a.csv:2: a quote opens in this row and does not close; close it, or double it where it is text",
        ),
        (
            b"a,b\n0.2,0.7\n0.1,x\n",
            &above(0.5),
            "a.csv:3: column `b` holds `x`, expected a number; correct it or leave it empty",
        ),
        (
            &gzip(b"a,b\n0,1\n1,0\n")[..20],
            &plain,
            "a.csv: damaged gzip data (incomplete deflate stream); copy or compress the file again",
        ),
    ];
    for (bytes, options, message) in cases {
        let path = folder.file("a.csv", bytes);
        assert_eq!(folder.message(read(&path, options)), message, "{}", String::from_utf8_lossy(bytes));
    }
    let distinct: String = (0..70_000).map(|row| format!("{row},{}\n", row % 2)).collect();
    let path = folder.file("a.csv", format!("id,b\n{distinct}"));
    assert_eq!(
        folder.message(read(&path, &plain)),
        "a.csv:65537: column `id` holds more than 65535 different values; leave it out with --ignore"
    );
}

#[test]
fn bad_arrays_name_file_and_remedy() {
    let folder = Folder::new();
    let good = idx(&[2, 1, 2], &[0, 255, 255, 0]);
    let array = npy(1, "|b1", false, "(2, 2)", &[0, 1, 1, 1]);
    let header = array.len() - 4;
    let wrong = |array: &[u8], at: usize, byte: u8| {
        let mut array = array.to_vec();
        array[at] = byte;
        array
    };
    let again = "copy or make it again";
    let cases: [(&str, Vec<u8>, String); 17] = [
        ("a-idx3-ubyte", good[..18].to_vec(), format!("the file ends after 18 bytes, expected 20; {again}")),
        ("a.idx", good[..9].to_vec(), format!("the file ends after 9 bytes, expected 16; {again}")),
        ("a.idx", good[..3].to_vec(), format!("the file ends after 3 bytes, expected 4; {again}")),
        ("a.idx", [good.clone(), vec![7]].concat(), format!("the file goes on behind its array of 20 bytes; {again}")),
        (
            "a.idx",
            wrong(&good, 2, 0x0d),
            "holds values of type `0x0d`, expected 0x08, unsigned bytes; save the values as bytes, or as .npy".into(),
        ),
        (
            "t10k-images-idx3-ubyte",
            wrong(&good, 0, 1),
            "begins with 01 00 08 03 00 00, which is not idx; rename the file after what it is".into(),
        ),
        ("a.idx", idx(&[3], &[1, 2, 3]), "an array of 1 dimension, expected 2 or more, a row per picture; reshape it, rows first".into()),
        ("a.idx", idx(&[0, 2], &[]), "an array of shape [0, 2] holds no values; check how it was made".into()),
        (
            "a.idx",
            idx(&[1, u32::MAX, u32::MAX], &[1]),
            "an array of shape [1, 4294967295, 4294967295] is more than memory can address; split it".into(),
        ),
        ("a.npy", array[..header + 3].to_vec(), format!("the file ends after {} bytes, expected {}; {again}", header + 3, header + 4)),
        ("a.npy", array[..20].to_vec(), format!("the file ends after 20 bytes, expected {header}; {again}")),
        ("a.npy", wrong(&array, 1, b'M'), "begins with 93 4d 55 4d 50 59, which is not .npy; rename the file after what it is".into()),
        ("a.npy", wrong(&array, 6, 9), "version 9.0 of the .npy format, expected 1.0, 2.0 or 3.0; save it with numpy.save".into()),
        (
            "a.npy",
            npy(1, "|b1", true, "(2, 2)", &[0, 1, 1, 1]),
            "the array is stored column by column (Fortran order), expected row by row; save numpy.ascontiguousarray(array)".into(),
        ),
        (
            "a.npy",
            npy(1, ">f4", false, "(2, 2)", &[0; 16]),
            "holds values of type `>f4`, expected truth values, integers of 1 to 8 bytes or floats of 4 or 8, little-endian; \
             convert it, for instance with array.astype('<f4')"
                .into(),
        ),
        (
            "a.npy",
            npy(1, "<f4", false, "(1, 2)", &[0, 0, 0, 0, 0, 0, 0, 63]),
            "row 0: column `1` holds 0.5, expected a whole number; pass --threshold X to compare with X".into(),
        ),
        ("a.npy", npy(1, "|b1", false, "(4,)", &[0, 1, 1, 1]), "an array of 1 dimension, expected 2 or more, rows first; reshape it, rows first".into()),
    ];
    for (name, bytes, message) in cases {
        let path = folder.file(name, bytes);
        assert_eq!(folder.message(read(&path, &ReadOptions::default())), format!("{name}: {message}"));
    }
    let bernoulli = ReadOptions { family: Some(Family::Bernoulli), ..ReadOptions::default() };
    let path = folder.file("a.npy", npy(1, "|u1", false, "(3, 2)", &[0, 1, 1, 1, 2, 0]));
    assert_eq!(
        folder.message(read(&path, &bernoulli)),
        "a.npy: row 2: column `0` holds `2` beside `0`, `1`, expected two values; \
         pass --family categorical, or --threshold X to compare numbers with X"
    );
}

#[test]
fn the_shared_pictures_are_read() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/mnist");
    if !shared.is_dir() {
        let required = std::env::var("MIXLET_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "shared"), "{} is absent", shared.display());
        eprintln!("skipped: {} is absent", shared.display());
        return;
    }
    let rows = read(&shared.join("t10k-images-idx3-ubyte.gz"), &ReadOptions::default()).unwrap();
    assert_eq!((rows.len(), rows.columns.len(), rows.picture), (10_000, 784, Some((28, 28))));
    let labels = read_labels(&shared.join("t10k-labels-idx1-ubyte.gz"), rows.len()).unwrap();
    assert_eq!((labels.names.len(), &labels.of_rows[..5]), (10, &[7, 2, 1, 0, 4][..]));
    let Ok(RowsView::Bits(bits)) = view(&rows) else { panic!("pictures are bits") };
    let ones: u32 = bits.values().iter().map(|word| word.count_ones()).sum();
    assert_eq!(ones, 1_052_359);
}

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
