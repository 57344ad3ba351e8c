//! .npy and idx: every type, every form, every damage.

use std::path::Path;

use mixlet_runtime::mixture::{RowsView, view};
use mixlet_runtime::rows::{Family, ReadOptions, read_labels};

use crate::array_files::{idx, npy};
use crate::files::{Folder, gzip};
use crate::{above, read, words};

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
