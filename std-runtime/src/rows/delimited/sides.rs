//! One entry per row out of a table: classes or weights.

use std::path::Path;

use super::super::{Header, Labels};
use crate::error::{Error, Result, TableProblem};
use crate::table::input::Input;
use crate::table::{ROW_LIMIT, Table};

/// What a column of classes may be called where there are several columns.
const LABEL_NAMES: [&str; 4] = ["label", "class", "truth", "gold"];

/// What a column of weights may be called where there are several columns.
const WEIGHT_NAMES: [&str; 2] = ["weight", "weights"];

/// Reads classes.
pub(in super::super) fn read_labels(path: &Path, input: Input, rows: usize) -> Result<Labels> {
    let texts = read_column(path, input, &LABEL_NAMES, rows)?;
    Ok(Labels::new(texts.iter().map(|(_, text)| Some(text.as_str()).filter(|text| !text.is_empty()))))
}

/// Reads weights.
pub(in super::super) fn read_weights(path: &Path, input: Input, rows: usize) -> Result<Vec<f64>> {
    let number = |(line, text): &(u64, String)| match text.trim().parse() {
        Ok(number) if (0.0..f64::INFINITY).contains(&number) => Ok(number),
        _ => {
            let (column, field) = (WEIGHT_NAMES[0].to_owned(), text.clone());
            let problem = TableProblem::NotANumber { column, field };
            Err(Error::Table { path: path.to_owned(), line: Some(*line), problem: Box::new(problem) })
        }
    };
    read_column(path, input, &WEIGHT_NAMES, rows)?.iter().map(number).collect()
}

/// Reads `[rows, classes]` out of the columns `p_0`, `p_1`, …, each row normalised, equal where all are 0; none if there are no such columns.
pub(in super::super) fn read_shares(path: &Path, classes: usize) -> Result<Option<Vec<f64>>> {
    let mut ignore = |_, _| {};
    let mut table = Table::open(path, None, &mut ignore)?;
    let place = |class: usize| table.header().iter().position(|name| *name == format!("p_{class}"));
    if place(0).is_none() {
        return Ok(None);
    }
    let places: Option<Vec<usize>> = (0..classes).map(place).collect();
    let (Some(places), None) = (places, place(classes)) else {
        let name = format!("p_{}", (0..).find(|&class| place(class).is_none()).unwrap_or(classes));
        let problem = TableProblem::OtherClasses { name, expected: classes };
        return Err(table.problem(Some(table.header_line()), problem));
    };
    let mut shares = Vec::new();
    while let Some(row) = table.next_row()? {
        let start = shares.len();
        for &place in &places {
            shares.push(row.number(place)?);
        }
        let own = shares.get_mut(start..).unwrap_or(&mut []);
        let total: f64 = own.iter().sum();
        let even = 1.0 / classes as f64;
        own.iter_mut().for_each(|share| *share = if total > 0.0 { *share / total } else { even });
    }
    Ok(Some(shares))
}

/// Line and text of every entry of the one column, or of the one with a usual name.
fn read_column(path: &Path, input: Input, names: &[&str], rows: usize) -> Result<Vec<(u64, String)>> {
    let mut ignore = |_, _| {};
    let mut table = Table::of_input(input, ROW_LIMIT, path, None, &mut ignore)?;
    let header = table.header().to_vec();
    let is_named = |name: &&String| names.iter().any(|usual| name.eq_ignore_ascii_case(usual));
    let (place, header_kind) = match header.as_slice() {
        [name] if is_named(&name) => (0, Header::Yes),
        [_] => (0, Header::Auto),
        several => {
            let place = several.iter().position(|name| is_named(&name)).ok_or_else(|| {
                let problem = TableProblem::NoColumn { name: names[0].to_owned(), header: header.clone() };
                table.problem(Some(table.header_line()), problem)
            })?;
            (place, Header::Yes)
        }
    };
    let mut texts = Vec::with_capacity(rows);
    while let Some(row) = table.next_row()? {
        texts.push((row.line(), row.text(place)?.to_owned()));
    }
    // One column without a telling name: the number of rows says whether it has a name at all.
    if header_kind == Header::Auto && texts.len() + 1 == rows {
        texts.insert(0, (table.header_line(), header.into_iter().next().unwrap_or_default()));
    }
    Ok(texts)
}
