//! Rows of many columns, read into packed bits or into codes.
//!
//! ```text
//!   .csv, .tsv ──delimited──▶ fields ─┐                   ┌─▶ bits, one per value
//!   .npy ─────────────npy───▶ numbers ┼─▶ draft (codes) ──┤
//!   idx ──────────────idx───▶ pixels ─┘  or threshold     └─▶ codes, two bytes per value
//! ```
//!
//! What a file is says its content, not its name; gzip is unpacked. Everything streams: beside the rows
//! themselves only a buffer is held. Rows are bits while no column has more than two values, and codes from
//! the first third value on, unless one of the two was asked for.

mod bits;
mod columns;
mod delimited;
mod draft;
mod idx;
mod labels;
mod layout;
mod npy;

use std::path::Path;

use mixlet_core::observations::{Codes, MISSING, RowsError};

use crate::error::{ArrayProblem, Error, Result};
use crate::table::Progress;
use crate::table::input::Input;

pub use bits::Bits;
use draft::Draft;
use layout::Layout;

pub use columns::Columns;
pub use labels::{Labels, read_labels, read_responsibilities, read_weights};

/// What a column's values are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Two values per column: the first in order is 0, the second 1.
    Bernoulli,
    /// Any number of values per column.
    Categorical,
}

/// Whether the first row of a table names its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Header {
    /// It does unless half of its fields come again below them.
    #[default]
    Auto,
    /// It does.
    Yes,
    /// It is a row like all others.
    No,
}

/// How a file is read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// What values are taken for; none: bits if no column has more than two values.
    pub family: Option<Family>,
    /// Whether the first row of a table names its columns.
    pub header: Header,
    /// Numbers above this are 1, all others 0. For idx it is a share of the range, ½ if not said.
    pub threshold: Option<f64>,
    /// What stands for a missing value in a table, beside nothing.
    pub missing: Option<String>,
    /// Columns that are passed over: by name, or by number from 0 where they have no names.
    pub ignore: Vec<String>,
    /// The column that holds known classes; it may be passed over.
    pub truth: Option<String>,
    /// The column that says how often each row counts; it may be passed over.
    pub weights: Option<String>,
}

/// Rows as read.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Names of the columns, and of their codes.
    pub columns: Columns,
    /// The values.
    pub cells: Cells,
    /// Height and width, where a row is a picture.
    pub picture: Option<(usize, usize)>,
    /// Whether the first row of a table was its header; none for other files.
    pub has_header: Option<bool>,
    /// Known classes, from a column of the same table.
    pub truth: Option<Labels>,
    /// How often each row counts, from a column of the same table.
    pub weights: Option<Vec<f64>>,
    /// Numbers above this were 1, all others 0; for idx a share of the range.
    pub threshold: Option<f64>,
    /// Columns that the rows were not asked for and that were left out.
    pub extra_columns: Vec<String>,
}

/// The values of all rows.
#[derive(Clone, Debug)]
pub enum Cells {
    /// One bit per value.
    Bits(Bits),
    /// A code per value.
    Codes(CodeRows),
}

/// Rows of codes in the form of [`Codes`], with the memory they lie in.
#[derive(Clone, Debug)]
pub struct CodeRows {
    /// `[columns + 1]`: where each column's cells start.
    pub level_offsets: Vec<u32>,
    /// `[rows, columns]`, in the order of the codes of each column.
    pub codes: Vec<u16>,
}

impl CodeRows {
    /// The rows as core reads them.
    pub fn view(&self) -> Result<Codes<'_>, RowsError> {
        Codes::new(&self.level_offsets, &self.codes)
    }
}

impl Rows {
    /// Rows without anything beside them.
    pub fn of(columns: Columns, cells: Cells) -> Self {
        let (picture, has_header, truth, weights, threshold) = (None, None, None, None, None);
        Self { columns, cells, picture, has_header, truth, weights, threshold, extra_columns: Vec::new() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.cells {
            Cells::Bits(bits) => bits.rows(),
            Cells::Codes(rows) => rows.codes.len().checked_div(self.columns.len()).unwrap_or(0),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the values were taken for.
    pub fn family(&self) -> Family {
        match self.cells {
            Cells::Bits(_) => Family::Bernoulli,
            Cells::Codes(_) => Family::Categorical,
        }
    }

    /// Rows with at least one missing value.
    pub fn incomplete(&self) -> usize {
        let columns = self.columns.len().max(1);
        match &self.cells {
            Cells::Bits(bits) => bits.incomplete(),
            Cells::Codes(rows) => {
                rows.codes.chunks_exact(columns).filter(|row| row.contains(&MISSING)).count()
            }
        }
    }

    /// The code of a value; none where it is missing.
    pub fn code(&self, row: usize, column: usize) -> Option<usize> {
        match &self.cells {
            Cells::Bits(bits) => bits.value(row, column).map(usize::from),
            Cells::Codes(rows) => {
                let code = rows.codes.get(row * self.columns.len() + column).copied()?;
                (code != MISSING).then_some(code.into())
            }
        }
    }
}

/// Reads rows to fit.
pub fn read_rows(path: &Path, options: &ReadOptions, progress: Progress<'_>) -> Result<Rows> {
    read(path, None, options, progress)
}

/// Reads rows that have the columns and the codes of earlier ones. Columns of a table are found by their names,
/// whatever their order.
pub fn read_more_rows(
    path: &Path,
    columns: &Columns,
    options: &ReadOptions,
    progress: Progress<'_>,
) -> Result<Rows> {
    read(path, Some(columns), options, progress)
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Table,
    Npy,
    Idx,
}

impl Format {
    /// Looks at the first bytes; a name that promises an array must keep it.
    fn of(path: &Path, input: &mut Input) -> Result<Self> {
        let head = input.peek::<6>(path)?;
        if head.starts_with(npy::MAGIC) {
            return Ok(Self::Npy);
        }
        if head.starts_with(idx::MAGIC) {
            return Ok(Self::Idx);
        }
        let name =
            path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let promised = match name {
            name if name.ends_with(".npy") => ".npy",
            name if name.ends_with("-ubyte") || name.ends_with(".idx") => "idx",
            _ => return Ok(Self::Table),
        };
        Err(array_error(path, ArrayProblem::WrongMagic { format: promised, head }))
    }
}

fn read(
    path: &Path,
    columns: Option<&Columns>,
    options: &ReadOptions,
    progress: Progress<'_>,
) -> Result<Rows> {
    let mut input = Input::open(path)?;
    match Format::of(path, &mut input)? {
        Format::Table => delimited::read(path, input, columns, options, progress),
        Format::Npy => npy::read(path, input, columns, options, progress),
        Format::Idx => idx::read(path, input, columns, options, progress),
    }
}

/// Columns at most: more is a mistaken shape.
const MOST_COLUMNS: usize = 1 << 24;

/// A draft of rows: of new ones, or of more of those that have the given columns.
fn draft_for(columns: Option<&Columns>, names: Vec<String>, family: Option<Family>) -> Draft {
    match columns {
        Some(columns) => Draft::with_codes(columns, family.unwrap_or(Family::Categorical)),
        None => Draft::new(names, family),
    }
}

/// The layout of an array of so many columns, which have no names.
fn array_layout(
    path: &Path,
    columns: Option<&Columns>,
    width: usize,
    options: &ReadOptions,
) -> Result<Layout> {
    let no_number = |name: &str| ArrayProblem::NoNumber { name: name.to_owned(), width };
    let find = |name: &str| layout::number(name, width).ok_or_else(|| array_error(path, no_number(name)));
    let mut layout = Layout::new(width, options, find, find)?;
    if let Some(columns) = columns {
        let other = || ArrayProblem::Columns { found: width, expected: columns.len() };
        layout.places = layout::places_of(columns, width).ok_or_else(|| array_error(path, other()))?;
    }
    match layout.places.is_empty() {
        true => Err(array_error(path, ArrayProblem::NoValueColumns { width })),
        false => Ok(layout),
    }
}

/// A problem of an array file.
fn array_error(path: &Path, problem: ArrayProblem) -> Error {
    Error::Array { path: path.to_owned(), problem }
}
