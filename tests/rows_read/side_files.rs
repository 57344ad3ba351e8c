//! Files beside the rows: classes, weights, starts.

use mixlet_core::em::UNKNOWN;
use mixlet_runtime::rows::{read_labels, read_responsibilities, read_weights};

use crate::array_files::{idx, npy};
use crate::files::{Folder, gzip};

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
