//! Rows out of a table file: CSV or TSV, with or without names of columns.

mod sides;

use std::path::Path;

use super::draft::Draft;
use super::{Columns, Header, Labels, ReadOptions, Rows, columns::numbered, draft_for};
use crate::error::{Error, Result, TableProblem, ValueProblem};
use crate::table::input::Input;
use crate::table::{Progress, ROW_LIMIT, Row, Table};

pub(super) use sides::{read_labels, read_shares, read_weights};

/// What a column of the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Value,
    Truth,
    Weight,
    Ignored,
}

/// Reads a table.
pub(super) fn read(
    path: &Path,
    input: Input,
    columns: Option<&Columns>,
    options: &ReadOptions,
    progress: Progress<'_>,
) -> Result<Rows> {
    let mut table = Table::of_input(input, ROW_LIMIT, path, None, progress)?;
    let layout = Layout::of(&table, columns, options)?;
    let first: Vec<Vec<u8>> = table.header().iter().map(|field| field.as_bytes().to_vec()).collect();
    let mut draft = draft_for(columns, layout.places.len(), options.family);
    if layout.is_named {
        layout.name(&mut draft, &table);
    }
    let mut reader = RowReader { draft, layout, options, truth: Vec::new(), weights: Vec::new() };
    let first_line = table.header_line();
    let add_first = |reader: &mut RowReader<'_>, table: &Table<'_>| {
        let field = |column: usize| first.get(column).map_or(&[][..], Vec::as_slice);
        reader.add_values(field).map_err(|problem| table.problem(Some(first_line), problem.into()))
    };
    if options.header == Header::No {
        add_first(&mut reader, &table)?;
    }
    while let Some(row) = table.next_row()? {
        reader.add(&row)?;
    }
    let mut has_header = options.header != Header::No;
    if options.header == Header::Auto && !reader.layout.must_be_named && reader.has_seen(&first) {
        has_header = false;
        add_first(&mut reader, &table)?;
        reader.draft.move_last_to_front();
        reader.draft.rename(numbered(reader.layout.places.len()));
    }
    reader.finish(&table, has_header)
}

/// Which columns of the file hold what.
struct Layout {
    roles: Vec<Role>,
    /// `[columns of the rows]`: the column of the file.
    places: Vec<usize>,
    /// The columns are found by names, so there must be some.
    must_be_named: bool,
    /// The first row is, as far as is known, names.
    is_named: bool,
    extra: Vec<String>,
}

impl Layout {
    fn of(table: &Table<'_>, columns: Option<&Columns>, options: &ReadOptions) -> Result<Self> {
        let header = table.header();
        let asked = options.truth.iter().chain(&options.weights).chain(&options.ignore);
        let is_by_name = columns.is_some_and(|columns| !columns.are_numbered());
        let must_be_named = options.header == Header::Yes || asked.count() > 0 || is_by_name;
        if options.header == Header::No && must_be_named {
            return Err(Error::Options {
                problem: "columns are named, and --header no says that the table has no names; leave it out",
            });
        }
        let mut roles = vec![Role::Value; header.len()];
        let named = [(&options.truth, Role::Truth), (&options.weights, Role::Weight)];
        for (name, role) in named.into_iter().filter_map(|(name, role)| Some((name.as_ref()?, role))) {
            roles[find(table, name)?] = role;
        }
        for name in &options.ignore {
            roles[find(table, name)?] = Role::Ignored;
        }
        let values: Vec<usize> = (0..roles.len()).filter(|&place| roles[place] == Role::Value).collect();
        let mut layout = Self {
            roles,
            places: values,
            must_be_named,
            is_named: options.header != Header::No,
            extra: Vec::new(),
        };
        match columns {
            Some(columns) if is_by_name => layout.find_all(table, columns)?,
            Some(columns) if columns.len() != layout.places.len() => {
                let (found, expected) = (layout.places.len(), columns.len());
                return Err(table.problem(None, TableProblem::OtherColumns { found, expected }));
            }
            _ => {}
        }
        Ok(layout)
    }

    /// Finds the columns of a model, whatever their order.
    fn find_all(&mut self, table: &Table<'_>, columns: &Columns) -> Result<()> {
        self.places = columns.names.iter().map(|name| find(table, name)).collect::<Result<_>>()?;
        let is_extra = |place: &usize| self.roles[*place] == Role::Value && !self.places.contains(place);
        let extra: Vec<usize> = (0..self.roles.len()).filter(is_extra).collect();
        self.extra = extra.iter().map(|&place| table.header()[place].clone()).collect();
        extra.into_iter().for_each(|place| self.roles[place] = Role::Ignored);
        Ok(())
    }

    /// Gives the columns of the rows the names they have in the file.
    fn name(&self, draft: &mut Draft, table: &Table<'_>) {
        let name = |(number, place): (usize, &usize)| match table.header().get(*place) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => number.to_string(),
        };
        draft.rename(self.places.iter().enumerate().map(name).collect());
    }
}

/// The place of a column that comes once.
fn find(table: &Table<'_>, name: &str) -> Result<usize> {
    let header = table.header();
    let mut found = (0..header.len()).filter(|&place| header[place] == name);
    let problem = |problem| table.problem(Some(table.header_line()), problem);
    let place = found
        .next()
        .ok_or_else(|| problem(TableProblem::NoColumn { name: name.to_owned(), header: header.to_vec() }))?;
    match found.next() {
        None => Ok(place),
        Some(_) => Err(problem(TableProblem::RepeatedColumn { name: name.to_owned() })),
    }
}

/// Rows as they are read.
struct RowReader<'o> {
    draft: Draft,
    layout: Layout,
    options: &'o ReadOptions,
    truth: Vec<Option<String>>,
    weights: Vec<f64>,
}

impl RowReader<'_> {
    #[inline]
    fn add(&mut self, row: &Row<'_>) -> Result<()> {
        self.add_values(|column| row.field(column)).map_err(|problem| match problem {
            ValueProblem::NotUtf8 => row.not_utf8(),
            problem => row.problem(problem.into()),
        })?;
        if self.options.truth.is_none() && self.options.weights.is_none() {
            return Ok(());
        }
        for (column, role) in self.layout.roles.iter().enumerate() {
            match role {
                Role::Truth => {
                    let text = row.text(column)?;
                    self.truth.push((!text.is_empty()).then(|| text.to_owned()));
                }
                Role::Weight => self.weights.push(row.number(column)?),
                _ => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn add_values<'f>(&mut self, field: impl Fn(usize) -> &'f [u8]) -> Result<(), ValueProblem> {
        let missing = self.options.missing.as_deref().unwrap_or("").as_bytes();
        for (column, &place) in self.layout.places.iter().enumerate() {
            let field = field(place);
            if field.is_empty() || field == missing {
                self.draft.add_missing();
                continue;
            }
            match self.options.threshold {
                None => self.draft.add(field)?,
                Some(threshold) => match number(field) {
                    Some(number) if number.is_nan() => self.draft.add_missing(),
                    Some(number) => self.draft.add(if number > threshold { b"1" } else { b"0" })?,
                    None => return Err(not_a_number(self.draft.name(column), field)),
                },
            }
        }
        self.draft.end_row();
        Ok(())
    }

    /// Whether the first row looks like the others: half of its fields come again in their columns.
    fn has_seen(&self, first: &[Vec<u8>]) -> bool {
        let missing = self.options.missing.as_deref().unwrap_or("").as_bytes();
        let fields = self.layout.places.iter().map(|&place| first.get(place).map_or(&[][..], Vec::as_slice));
        let fields = fields.enumerate().filter(|(_, field)| !field.is_empty() && *field != missing);
        let (mut all, mut seen) = (0, 0);
        for (column, field) in fields {
            all += 1;
            seen += usize::from(match self.options.threshold {
                Some(_) => number(field).is_some(),
                None => self.draft.knows(column, field),
            });
        }
        2 * seen >= all
    }

    fn finish(self, table: &Table<'_>, has_header: bool) -> Result<Rows> {
        let Self { draft, layout, options, truth, weights } = self;
        let (columns, cells) = draft.finish();
        let problem = |problem| table.problem(Some(table.header_line()), problem);
        if columns.is_empty() {
            return Err(problem(TableProblem::NoValueColumns));
        }
        if has_header && let Some(name) = repeated(&columns.names) {
            return Err(problem(TableProblem::RepeatedColumn { name }));
        }
        let rows = Rows {
            has_header: Some(has_header),
            truth: options.truth.as_ref().map(|_| Labels::new(truth.iter().map(Option::as_deref))),
            weights: options.weights.as_ref().map(|_| weights),
            extra_columns: layout.extra,
            ..Rows::of(columns, cells)
        };
        if rows.is_empty() {
            return Err(problem(TableProblem::HeaderOnly));
        }
        Ok(rows)
    }
}

fn number(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

#[cold]
fn not_a_number(column: &str, field: &[u8]) -> ValueProblem {
    ValueProblem::NotANumber { column: column.to_owned(), value: String::from_utf8_lossy(field).into_owned() }
}

/// A name that comes twice.
fn repeated(names: &[String]) -> Option<String> {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_unstable();
    sorted
        .windows(2)
        .find(|pair| pair.first() == pair.last())
        .and_then(|pair| pair.first())
        .map(|name| (*name).clone())
}
