//! One wrong input for each way in: what is said, with which code, and that nothing is lost.

use std::fs;

use crate::array_files::{idx, npy};
use crate::folder::Folder;

#[test]
fn wrong_usage_is_one_line_and_code_2() {
    let folder = Folder::new();
    let help = "; --help shows what is possible";
    let cases = [
        ("fit survey.csv", "--classes says how many classes to find: a number, or a range such as 2..12", ""),
        (
            "fit survey.csv --classes 5..2",
            "invalid value '5..2' for '--classes <K|A..B>': expected a number of classes from 1 to 65536, or a range such as 2..12",
            help,
        ),
        (
            "fit survey.csv --classes 2 --select 0",
            "invalid value '0' for '--select <all|auto|N>': expected `all`, `auto` or a number of columns from 1 on",
            help,
        ),
        (
            "fit survey.csv --classes 2 --held-out 1",
            "invalid value '1' for '--held-out <SHARE>': expected a share between 0 and 1",
            help,
        ),
        (
            "fit survey.csv --classes 2 --image 28",
            "invalid value '28' for '--image <HxW>': expected height x width, such as 28x28",
            help,
        ),
        (
            "fit survey.csv --classes 2 --image 28x28",
            "--image shapes the pictures of --report; name its file",
            "",
        ),
        (
            "fit survey.csv --classes 2 --depth 3",
            "--depth is that of a tree; leave it out, or pass --method tree",
            "",
        ),
        (
            "fit survey.csv --classes 2..4 --method stagewise",
            "a range of --classes needs --method em; name one number",
            "",
        ),
        (
            "fit survey.csv --classes 2 --method stagewise --restarts 5",
            "--method stagewise starts from one class; leave out --start and --restarts",
            "",
        ),
        (
            "fit survey.csv --classes 2 --method stagewise --pseudocount 0",
            "--method stagewise goes its own way; leave out --pseudocount, --rounds and --tolerance",
            "",
        ),
        (
            "fit survey.csv --classes 2 --method forward --select all",
            "forward and backward selection choose columns; pass --select auto or a number",
            "",
        ),
        (
            "fit survey.csv --method tree --tolerance 1",
            "every node of a tree has all its rounds; leave out --tolerance",
            "",
        ),
        (
            "fit survey.csv --classes 2 --restarts -3",
            "invalid value '-3' for '--restarts <N>': expected a whole number from 1 to 100000",
            help,
        ),
        (
            "fit survey.csv --method tree --depth -1",
            "invalid value '-1' for '--depth <N>': expected a whole number from 1 to 24",
            help,
        ),
        (
            "fit survey.csv --classes 2 --threads -2",
            "invalid value '-2' for '--threads <N>': expected a whole number from 1 to 1024",
            help,
        ),
        (
            "fit survey.csv --classes 2 --refine 3",
            "--refine is for the leaves of a tree; leave it out, or pass --method tree",
            "",
        ),
        (
            "fit survey.csv --classes 2 --method tree",
            "a tree finds out how many classes there are; leave out --classes, or limit it by --depth",
            "",
        ),
        (
            "fit survey.csv --classes 2 --start groups.csv --restarts 3",
            "--restarts needs random starts; leave it out, or leave out --start FILE",
            "",
        ),
        (
            "fit survey.csv --classes 2 --labels - --json",
            "with --json standard output holds the JSON object; name a file for the other output",
            "",
        ),
        (
            "fit survey.csv --classes 2 --header no --ignore id",
            "columns are named, and --header no says that the table has no names; leave it out",
            "",
        ),
    ];
    let before = folder.names();
    for (arguments, message, end) in cases {
        let run = folder.run(arguments);
        assert_eq!(run.err, format!("error: {message}{end}\n"), "{arguments}");
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{arguments}");
    }
    assert_eq!(folder.names(), before);
}

#[test]
fn wrong_files_are_named_with_place_and_remedy_and_code_1() {
    let folder = Folder::new();
    let bytes = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    folder.write("ragged.csv", "a,b\n1,0\n1\n");
    folder.write("three.csv", "a,b\n1,0\n0,1\n2,0\n");
    folder.write("same.csv", "a,b\n1,0\n1,0\n1,0\n");
    folder.write("weightless.csv", "a,b,w\n1,0,0\n0,1,0\n0,0,0\n");
    folder.write("heavy.csv", "a,b,w\n1,0,9e15\n0,1,1e15\n0,0,0\n");
    folder.write("zero.csv", "p_0,p_1\n1,0\n0,0\n");
    folder.write("twice.csv", "row,label\n0,a\n0,b\n");
    folder.write("header.csv", "a,b\n");
    folder.write("empty.csv", "");
    folder.write("short.csv", "red\ngreen\n");
    folder.write("other.json", "{\"format\":\"mixlet crowd\",\"version\":1}");
    bytes("cut-idx3-ubyte", &idx(&[2, 1, 2], &[0, 1, 2]));
    bytes("magic-idx3-ubyte", &[1, 2, 3, 4, 5, 6, 7, 8]);
    bytes("fortran.npy", &npy(1, "|b1", true, "(2, 2)", &[0, 1, 1, 0]));
    bytes("complex.npy", &npy(1, "<c8", false, "(2, 2)", &[0; 32]));
    folder.done("fit survey.csv --classes 2 --ignore id,group --save m.json");
    let cases = [
        (
            "fit none.csv --classes 2",
            "none.csv: cannot open: No such file or directory (os error 2); check the path",
        ),
        (
            "fit ragged.csv --classes 2",
            "ragged.csv:3: 1 field, expected 2 as in the header; complete the row",
        ),
        (
            "fit three.csv --classes 2 --family bernoulli",
            "three.csv:4: column `a` holds `2` beside `1`, `0`, expected two values; \
             pass --family categorical, or --threshold X to compare numbers with X",
        ),
        (
            "fit same.csv --classes 2",
            "nothing in 2 columns tells rows apart: none holds two different values; check the file",
        ),
        (
            "fit weightless.csv --classes 2 --weights w",
            "--weights gives every one of 3 rows a weight of 0, expected some above; check the weights",
        ),
        (
            "fit header.csv --classes 2",
            "header.csv:1: nothing but column names, expected rows below them; check how the file was made",
        ),
        (
            "fit empty.csv --classes 2",
            "empty.csv: the file is empty, expected a line of column names and rows below it",
        ),
        (
            "fit three.csv --classes 4",
            "4 classes of 3 rows, expected no more classes than rows; lower --classes",
        ),
        (
            "fit cut-idx3-ubyte --classes 2",
            "cut-idx3-ubyte: the file ends after 19 bytes, expected 20; copy or make it again",
        ),
        (
            "fit magic-idx3-ubyte --classes 2",
            "magic-idx3-ubyte: begins with 01 02 03 04 05 06, which is not idx; rename the file after what it is",
        ),
        (
            "fit fortran.npy --classes 2",
            "fortran.npy: the array is stored column by column (Fortran order), expected row by row; \
             save numpy.ascontiguousarray(array)",
        ),
        (
            "fit complex.npy --classes 2",
            "complex.npy: holds values of type `<c8`, expected truth values, integers of 1 to 8 bytes or floats of 4 or 8, \
             little-endian; convert it, for instance with array.astype('<f4')",
        ),
        (
            "fit survey.csv --classes 2 --truth short.csv",
            "short.csv: holds classes of 1 row below its name `red`, expected 300; check that both files belong together",
        ),
        (
            "fit survey.csv --classes 2 --truth sort",
            "survey.csv:1: no column `sort` among `id,tea,coffee,meat,bike,car,news,cat,dog,age,group`, and no file of that name; \
             check the spelling",
        ),
        (
            "fit bars-idx3-ubyte --classes 2 --truth halves",
            "bars-idx3-ubyte: no column `halves`: its columns have no names, and numbers from 0 to 23; name one of these, \
             or check the path",
        ),
        (
            "fit survey.csv --classes 2 --start groups.csv --ignore id,group",
            "groups.csv: 3 different classes, expected 2 as in --classes; name another file or number",
        ),
        (
            "fit bars-idx3-ubyte --classes 2 --select 25",
            "--select asks for 25 columns, expected 1 to 24, or `auto`",
        ),
        (
            "fit bars-idx3-ubyte --classes 2 --image 5x5 --report r.html",
            "--image 5x5 does not fit 24 columns, expected sides whose product that is",
        ),
        (
            "predict other.json survey.csv",
            "other.json: not a model, expected a file written with `mixlet mixture fit --save`",
        ),
        (
            "predict m.json three.csv",
            "three.csv:1: none of the model's columns, such as `tea`, is among `a,b`; name the columns in the first line",
        ),
        (
            "fit bars.npy --classes 2 --threshold 300",
            "nothing in 24 columns tells rows apart: all numbers of each lie on one side of 300; pass another --threshold",
        ),
        (
            "fit bars-idx3-ubyte --classes 2 --threshold 127",
            "bars-idx3-ubyte: --threshold 127 is no share of the range of pixels, expected 0 to below 1; divide a shade by 255",
        ),
        (
            "fit heavy.csv --classes 2 --weights w",
            "the weights add up to 1e16, expected at most 1e15; divide all of them by the same number",
        ),
        (
            "fit survey.csv --classes 2 --start zero.csv",
            "zero.csv:3: all of `p_0` to `p_1` are 0, expected one above; write equal shares for a row without a class",
        ),
        (
            "fit survey.csv --classes 2 --truth twice.csv",
            "twice.csv:3: row 0 comes again, first on line 2; keep one line",
        ),
        (
            "predict m.json bars.npy",
            "bars.npy: 24 columns, expected 9 as in the model; check that both come from the same source",
        ),
        (
            "fit survey.csv --classes 2 --labels ./survey.csv",
            "./survey.csv: the output would replace an input; name another path",
        ),
    ];
    let before = folder.names();
    for (arguments, message) in cases {
        let run = folder.run(arguments);
        assert_eq!(run.err, format!("error: {message}\n"), "{arguments}");
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{arguments}");
    }
    assert_eq!(folder.names(), before);
}
