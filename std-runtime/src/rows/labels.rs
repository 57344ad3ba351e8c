//! What is known of rows beside their values: classes and weights, in a file with one entry per row.
//!
//! A table with a column `row`, counted from 0, may have its lines in any order; all others have that of the rows.

use std::path::Path;

use mixlet_core::em::UNKNOWN;
use mixlet_core::observations::MISSING;

use super::draft::Draft;
use super::{ArrayProblem, Cells, Format, array_error, delimited, idx, npy};
use crate::crowd::ids::Ids;
use crate::error::Result;
use crate::table::input::Input;

/// Known classes of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// What the classes are called, in order.
    pub names: Ids,
    /// `[rows]`: the class of each row, or [`UNKNOWN`].
    pub of_rows: Vec<u32>,
}

impl Labels {
    /// From names, one per row; none where the class is not known.
    pub fn new<'a>(names: impl Iterator<Item = Option<&'a str>>) -> Self {
        let mut draft = Draft::new(vec!["class".to_owned()], Some(super::Family::Categorical));
        for name in names {
            match name {
                // A class too many is none.
                Some(name) if draft.add(name.as_bytes()).is_ok() => {}
                _ => draft.add_missing(),
            }
            draft.end_row();
        }
        Self::of_draft(draft)
    }

    /// From the codes of one column.
    pub(super) fn of_draft(draft: Draft) -> Self {
        let (columns, cells) = draft.finish();
        let Cells::Codes(rows) = cells else { return Self::new(std::iter::empty()) };
        let class = |code: u16| if code == MISSING { UNKNOWN } else { code.into() };
        let names = columns.codes.into_iter().next().unwrap_or_else(|| Ids::numbers(0));
        Self { names, of_rows: rows.codes.into_iter().map(class).collect() }
    }
}

/// Reads the class of every row: from a table with one column or one called `label`, `class` or `truth`, from
/// idx or from `.npy`. An empty field is a class not known.
pub fn read_labels(path: &Path, rows: usize) -> Result<Labels> {
    let mut input = Input::open(path)?;
    let labels = match Format::of(path, &mut input)? {
        Format::Table => delimited::read_labels(path, input, rows)?,
        Format::Npy => npy::read_labels(path, input)?,
        Format::Idx => idx::read_labels(path, input)?,
    };
    check_rows(path, "classes", labels.of_rows.len(), rows)?;
    Ok(labels)
}

/// Reads how often every row counts: from a table with one column or one called `weight`, or from `.npy`.
pub fn read_weights(path: &Path, rows: usize) -> Result<Vec<f64>> {
    let mut input = Input::open(path)?;
    let weights = match Format::of(path, &mut input)? {
        Format::Table => delimited::read_weights(path, input, rows)?,
        Format::Npy => npy::read_weights(path, input)?,
        Format::Idx => {
            let (expected, remedy) = ("a table or .npy", "write the weights as text, one per line");
            let problem = ArrayProblem::ElementType { found: "idx".to_owned(), expected, remedy };
            return Err(array_error(path, problem));
        }
    };
    check_rows(path, "weights", weights.len(), rows)?;
    Ok(weights)
}

/// Reads responsibilities `[rows, classes]` to start from: a table with columns `p_0`, `p_1`, …, as a fit writes it, or
/// a class per row as in [`read_labels`]. A row without a class has equal shares.
pub fn read_responsibilities(path: &Path, rows: usize, classes: usize) -> Result<Vec<f64>> {
    let mut input = Input::open(path)?;
    let labels = match Format::of(path, &mut input)? {
        Format::Table => match delimited::read_start(path, input, rows, classes)? {
            delimited::Start::Shares(shares) => return Ok(shares),
            delimited::Start::Labels(labels) => labels,
        },
        Format::Npy => npy::read_labels(path, input)?,
        Format::Idx => idx::read_labels(path, input)?,
    };
    check_rows(path, "classes", labels.of_rows.len(), rows)?;
    if labels.names.len() != classes {
        let (found, expected) = (labels.names.len(), classes);
        return Err(array_error(path, ArrayProblem::Classes { found, expected }));
    }
    let share = |class: u32, of: usize| match class {
        UNKNOWN => 1.0 / classes as f64,
        class => f64::from(class as usize == of),
    };
    let shares = labels.of_rows.iter().flat_map(|&class| (0..classes).map(move |of| share(class, of)));
    Ok(shares.collect())
}

fn check_rows(path: &Path, what: &'static str, found: usize, expected: usize) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(array_error(path, ArrayProblem::Rows { what, found, expected, below: None })),
    }
}
