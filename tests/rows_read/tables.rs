//! Tables: headers, columns that stand for something, missing values, wrong input.

use std::path::Path;

use mixlet_core::em::UNKNOWN;
use mixlet_runtime::rows::{Family, Header, ReadOptions, read_labels, read_more_rows, read_weights};

use crate::array_files::{idx, npy};
use crate::files::{Folder, gzip};
use crate::{above, read, with, words};

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
