//! Files that cannot be read: each error names file, line and remedy.

use std::fmt::Write as _;

use mixlet_runtime::crowd::read::{ReadOptions, TaskFilter};
use mixlet_runtime::table::ROW_LIMIT;

use crate::files::{Folder, gzip};
use crate::{read, renamed};

#[test]
fn bad_answers_name_file_line_and_remedy() {
    let folder = Folder::new();
    let quote = "a quote opens in this row and does not close; close it, or double it where it is text";
    let too_long = "a row longer than 1048576 bytes; check the line ends and quotes of the file";
    let ok = "task,worker,label\nt1,w1,yes\n";
    let long_line = format!("{ok}t1,w2,{}\n", "x".repeat(10_000_000));
    let many_lines = format!("{ok}t1,w2,\"{}\n", "x\n".repeat(ROW_LIMIT));
    let long_field = format!("{ok}t1,w2,\"{}\"\nt1,w3,no\n", "x\n".repeat(5_000_000));
    let last_field = format!("{ok}t1,w2,\"{}\"", "x\n".repeat(ROW_LIMIT));
    let long_after_quotes = format!("{ok}\"t\n1\",w2,{}", "x".repeat(2 * ROW_LIMIT));
    let cases: [(&[u8], &str); 27] = [
        (b"", "a.csv: the file is empty, expected a line of column names and rows below it"),
        (
            b"\xef\xbb\xbf\r\n\n",
            "a.csv: the file is empty, expected a line of column names and rows below it",
        ),
        (
            b"task,worker,label\n\n",
            "a.csv:1: nothing but column names, expected rows below them; check how the file was made",
        ),
        (
            b"task,who,label\nt,w,l\n",
            "a.csv:1: no column `worker` among `task,who,label`; name it with --columns worker=who",
        ),
        (b"\nid\nt\n", "a.csv:2: no column `task` among `id`; name it with --columns task=id"),
        (
            b"task,label\nt,l\n",
            "a.csv:1: no column `worker` among `task,label`; name it with --columns worker=NAME",
        ),
        (
            b"task,worker,label,task\na,b,c,d\n",
            "a.csv:1: two columns are named `task`, expected one; rename the other",
        ),
        (b"task,worker,label\nt1,w1\n", "a.csv:2: 2 fields, expected 3 as in the header; complete the row"),
        (b"task,worker,label\n\nt1\n", "a.csv:3: 1 field, expected 3 as in the header; complete the row"),
        (
            b"task,worker,label\nt1,w1,a,b\n",
            "a.csv:2: 4 fields, expected 3 as in the header; quote fields that contain the delimiter",
        ),
        (
            b"task,worker,label\n\"a\nb\",w,yes\nt1\n",
            "a.csv:4: 1 field, expected 3 as in the header; complete the row",
        ),
        (b"task,worker,label\nt1,w\xff1,yes\n", "a.csv:2: byte 5 is not UTF-8; save the file as UTF-8"),
        (
            b"task,worker,label\n\"t\r\n\xe9\",w1,yes\n",
            "a.csv:3: byte 1 is not UTF-8; save the file as UTF-8",
        ),
        (b"\xff\xfet\0a\0s\0k\0\n\0", "a.csv:1: byte 1 is not UTF-8; save the file as UTF-8"),
        (
            b"task,worker,label\nt1,w1,yes\nt1,w2,\n",
            "a.csv:3: column `label` is empty; fill it in or remove the row",
        ),
        (b"task,worker,label\n,w1,yes\n", "a.csv:2: column `task` is empty; fill it in or remove the row"),
        (
            b"task,worker,label\nt1,\"\",yes\n",
            "a.csv:2: column `worker` is empty; fill it in or remove the row",
        ),
        (
            b"task,worker,label\nt1,w1,yes\nt2,w1,yes\n",
            "a.csv: every label is `yes`, expected at least two different ones; check the label column",
        ),
        (b"task,worker,label\nt1,w1,yes\nt1,\"w2,no\n\nt3,w1,no", &format!("a.csv:3: {quote}")),
        (long_line.as_bytes(), &format!("a.csv:3: {too_long}")),
        (many_lines.as_bytes(), &format!("a.csv:3: {quote}")),
        (long_field.as_bytes(), &format!("a.csv:3: {too_long}")),
        (last_field.as_bytes(), &format!("a.csv:3: {too_long}")),
        (long_after_quotes.as_bytes(), &format!("a.csv:3: {too_long}")),
        (&vec![b'x'; 2 * ROW_LIMIT], &format!("a.csv:1: {too_long}")),
        (
            &gzip(b"task,worker,label\nt1,w1,yes\nt2,w2,no\n")[..30],
            "a.csv: damaged gzip data (incomplete deflate stream); copy or compress the file again",
        ),
        (
            b"\x1f\x8bnot gzip",
            "a.csv: damaged gzip data (invalid gzip header); copy or compress the file again",
        ),
    ];
    for (bytes, message) in cases {
        let path = folder.file("a.csv", bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
        assert_eq!(folder.message(read(&path, None, &ReadOptions::default())), message, "{shown}");
    }
    let path = folder.file("a.csv", ok);
    assert_eq!(
        folder.message(read(&path, None, &renamed("worker=task"))),
        "a.csv:1: column `task` is to stand for two things; give each its own with --columns"
    );
    assert_eq!(
        folder.message(read(&folder.path().join("none.csv"), None, &ReadOptions::default())),
        "none.csv: cannot open: No such file or directory (os error 2); check the path"
    );
    let message = read(folder.path(), None, &ReadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("cannot read: Is a directory"), "{message}");
}

#[test]
fn too_many_cells_are_refused() {
    let folder = Folder::new();
    let mut table = String::from("task,worker,label\n");
    (0..1 << 16).for_each(|row| writeln!(table, "t,{row},{row}").unwrap());
    assert_eq!(
        folder.message(read(&folder.file("a.csv", table), None, &ReadOptions::default())),
        "a.csv: 65536 workers times 65536 labels, expected a product below 2^32; \
         check that the label column holds classes"
    );
}

#[test]
fn bad_gold_names_file_line_and_remedy() {
    let folder = Folder::new();
    let answers = folder.file("a.csv", "task,worker,label\nt1,w1,yes\nt1,w2,no\nt2,w1,no\n");
    let cases: [(&str, &str); 5] = [
        (
            "task,label\nt1,yes\nt9,no\n",
            "gold.csv:3: task `t9` has no answers; remove the row or pass --skip-unknown-gold",
        ),
        (
            "task,label\nt9,no\n",
            "gold.csv: none of its tasks is among those of a.csv; check that both use the same ids",
        ),
        (
            "task,label\nt1,yes\nt2,no\nt1,no\n",
            "gold.csv:4: task `t1` is `no` here and `yes` on line 2; keep one row",
        ),
        (
            "task,truth\nt1,yes\n",
            "gold.csv:1: no column `label` among `task,truth`; name it with --columns gold=truth",
        ),
        ("task,label\nt1,\n", "gold.csv:2: column `label` is empty; fill it in or remove the row"),
    ];
    for (table, message) in cases {
        let gold = folder.file("gold.csv", table);
        assert_eq!(folder.message(read(&answers, Some(&gold), &ReadOptions::default())), message);
    }
}

#[test]
fn gold_without_rows_is_no_gold() {
    let folder = Folder::new();
    let answers = folder.file("a.csv", "task,worker,label\nt1,w1,yes\nt1,w2,no\n");
    let gold = folder.file("gold.csv", "task,label\n");
    assert_eq!(read(&answers, Some(&gold), &ReadOptions::default()).unwrap().gold, None);
    let only_gold = ReadOptions { tasks: TaskFilter::Gold, ..ReadOptions::default() };
    assert_eq!(
        folder.message(read(&answers, Some(&gold), &only_gold)),
        "gold.csv:1: nothing but column names, and --tasks gold reads only tasks in gold; \
         add rows, or leave out --tasks gold"
    );
}
