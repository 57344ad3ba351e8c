//! Reading rows: every good form of a file means the same, every bad one names its place and remedy.

#[path = "../common/array_files.rs"]
mod array_files;
#[path = "../common/files.rs"]
mod files;

mod arrays;
mod laws;
mod side_files;
mod tables;

use std::path::Path;

use mixlet_runtime::error::Result;
use mixlet_runtime::rows::{Header, ReadOptions, Rows, read_rows};

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
