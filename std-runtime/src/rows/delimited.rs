//! Rows out of a table file: CSV or TSV, with or without names of columns.

mod sides;

use std::collections::HashMap;
use std::path::Path;

use super::draft::Draft;
use super::layout::{Beside, Layout, number, places_of};
use super::{Columns, Header, ReadOptions, Rows, draft_for};
use crate::error::{Error, Result, RowsProblem, TableProblem, ValueProblem};
use crate::table::input::Input;
use crate::table::{Progress, Row, Table, WIDE_ROW_LIMIT};

pub(super) use sides::{Start, read_labels, read_start, read_weights};

/// Reads a table.
pub(super) fn read(
    path: &Path,
    input: Input,
    columns: Option<&Columns>,
    options: &ReadOptions,
    progress: Progress<'_>,
) -> Result<Rows> {
    let mut table = Table::of_input(input, WIDE_ROW_LIMIT, path, None, progress)?;
    let naming = Naming::of(&table, columns, options)?;
    let (layout, extra) = layout(&table, &naming, columns, options)?;
    let names = if naming.is_named { names_of(&layout, &table) } else { layout.numbers() };
    let draft = draft_for(columns, names, options.family);
    let mut reader = RowReader { draft, layout, options, beside: Beside::default() };
    let first = table.header().to_vec();
    if naming.is_sure && !naming.is_named {
        reader.add_first(&table, &first)?;
    }
    while let Some(row) = table.next_row()? {
        reader.add(&row)?;
    }
    let mut has_header = naming.is_named;
    if !naming.is_sure {
        has_header = !reader.has_seen(&first);
        if has_header {
            naming.check_names(&table)?;
            if columns.is_none() {
                reader.draft.rename(names_of(&reader.layout, &table));
            }
        } else {
            reader.add_first(&table, &first)?;
            reader.move_last_to_front();
        }
    }
    reader.finish(&table, has_header, extra)
}

/// Whether the first row names the columns, as far as is known before the rows are read.
struct Naming<'o> {
    is_named: bool,
    /// Nothing in the rows can change it.
    is_sure: bool,
    /// The columns that are looked for.
    wanted: Vec<&'o str>,
}

impl<'o> Naming<'o> {
    /// By what was said, or by what is looked for: where that is numbers alone, they are those of columns without names.
    fn of(table: &Table<'_>, columns: Option<&'o Columns>, options: &'o ReadOptions) -> Result<Self> {
        let asked = options.truth.iter().chain(&options.weights).chain(&options.ignore);
        let of_model = columns.filter(|columns| !columns.are_numbered());
        let wanted: Vec<&str> =
            asked.chain(of_model.iter().flat_map(|columns| &columns.names)).map(String::as_str).collect();
        let are_numbers = || wanted.iter().all(|name| number(name, table.header().len()).is_some());
        let (is_named, is_sure) = match options.header {
            Header::Yes => (true, true),
            Header::No if wanted.iter().any(|name| name.parse::<usize>().is_err()) => {
                let problem =
                    "columns are named, and --header no says that the table has no names; leave it out";
                return Err(Error::Options { problem });
            }
            Header::No => (false, true),
            Header::Auto if wanted.is_empty() => (true, false),
            Header::Auto => (!are_numbers(), !are_numbers()),
        };
        Ok(Self { is_named, is_sure, wanted })
    }

    /// The place of a column; `missing(name, header)` is the problem where a name is not there.
    fn find(
        &self,
        table: &Table<'_>,
        name: &str,
        missing: fn(String, Vec<String>) -> TableProblem,
    ) -> Result<usize> {
        if self.is_named {
            return find(table, name, missing);
        }
        let width = table.header().len();
        let problem = || RowsProblem::NoNumber { name: name.to_owned(), width };
        number(name, width).ok_or_else(|| table.problem(None, problem().into()))
    }

    /// Makes sure, now that there are names, that the columns that were found by number are called so.
    fn check_names(&self, table: &Table<'_>) -> Result<()> {
        let mut wanted = self.wanted.iter().filter(|_| !self.is_named);
        wanted.try_for_each(|name| {
            let place = find(table, name, no_column)?;
            match number(name, table.header().len()) == Some(place) {
                true => Ok(()),
                false => {
                    let problem = RowsProblem::NameOrNumber { name: (*name).to_owned() };
                    Err(table.problem(Some(table.header_line()), problem.into()))
                }
            }
        })
    }
}

/// Which columns of the file hold what, and the names of those that nobody asked for.
fn layout(
    table: &Table<'_>,
    naming: &Naming<'_>,
    columns: Option<&Columns>,
    options: &ReadOptions,
) -> Result<(Layout, Vec<String>)> {
    let header = table.header();
    let side = |name: &str| {
        naming.find(table, name, |name, header| RowsProblem::NeitherFileNorColumn { name, header }.into())
    };
    let ignored = |name: &str| naming.find(table, name, no_column);
    let mut layout = Layout::new(header.len(), options, side, ignored)?;
    let Some(columns) = columns else { return Ok((layout, Vec::new())) };
    if !naming.is_named || columns.are_numbered() {
        let other = || TableProblem::OtherColumns { found: header.len(), expected: columns.len() };
        layout.places = places_of(columns, header.len()).ok_or_else(|| table.problem(None, other()))?;
        return Ok((layout, Vec::new()));
    }
    layout.places = places_by_name(table, columns)?;
    let mut is_extra = vec![true; header.len()];
    layout.places.iter().for_each(|&place| is_extra[place] = false);
    let extra = header.iter().zip(is_extra).filter(|(_, is_extra)| *is_extra).map(|(name, _)| name.clone());
    Ok((layout, extra.collect()))
}

/// The places of a model's columns, whatever their order. There may be many of them.
fn places_by_name(table: &Table<'_>, columns: &Columns) -> Result<Vec<usize>> {
    let mut places = HashMap::with_capacity(table.header().len());
    for (place, name) in table.header().iter().enumerate() {
        places.entry(name.as_str()).and_modify(|(_, times)| *times += 1).or_insert((place, 1));
    }
    let found: Vec<_> = columns.names.iter().map(|name| places.get(name.as_str())).collect();
    if found.iter().all(Option::is_none) {
        let (name, header) = (columns.names[0].clone(), table.header().to_vec());
        let problem = RowsProblem::NoNames { name, header };
        return Err(table.problem(Some(table.header_line()), problem.into()));
    }
    let place = |(name, found): (&String, Option<&(usize, u32)>)| match found {
        Some(&(place, 1)) => Ok(place),
        // It is not there, or comes again.
        _ => find(table, name, no_column),
    };
    columns.names.iter().zip(found).map(place).collect()
}

/// The names that the columns of the rows have in the file.
fn names_of(layout: &Layout, table: &Table<'_>) -> Vec<String> {
    let name = |(number, place): (usize, &usize)| match table.header().get(*place) {
        Some(name) if !name.is_empty() => name.clone(),
        _ => number.to_string(),
    };
    layout.places.iter().enumerate().map(name).collect()
}

fn no_column(name: String, header: Vec<String>) -> TableProblem {
    TableProblem::NoColumn { name, header }
}

/// The place of a column that comes once.
fn find(table: &Table<'_>, name: &str, missing: fn(String, Vec<String>) -> TableProblem) -> Result<usize> {
    let header = table.header();
    let mut found = (0..header.len()).filter(|&place| header[place] == name);
    let problem = |problem| table.problem(Some(table.header_line()), problem);
    let place = found.next().ok_or_else(|| problem(missing(name.to_owned(), header.to_vec())))?;
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
    beside: Beside,
}

impl RowReader<'_> {
    #[inline]
    fn add(&mut self, row: &Row<'_>) -> Result<()> {
        self.add_values(|column| row.field(column)).map_err(|problem| match problem {
            ValueProblem::NotUtf8 => row.not_utf8(),
            problem => row.problem(problem.into()),
        })?;
        if let Some(place) = self.layout.truth {
            self.beside
                .truth
                .push(label(row.text(place)?, row.column(place)).map_err(|nul| row.problem(nul))?);
        }
        if let Some(place) = self.layout.weights {
            self.beside.weights.push(row.number(place)?);
        }
        Ok(())
    }

    /// Adds the first row, which names nothing.
    fn add_first(&mut self, table: &Table<'_>, first: &[String]) -> Result<()> {
        let problem = |problem| table.problem(Some(table.header_line()), problem);
        let field = |column: usize| first.get(column).map_or("", String::as_str);
        self.add_values(|column| field(column).as_bytes()).map_err(|other| problem(other.into()))?;
        if let Some(place) = self.layout.truth {
            self.beside.truth.push(label(field(place), &place.to_string()).map_err(problem)?);
        }
        if let Some(place) = self.layout.weights {
            let (column, text) = (place.to_string(), field(place).to_owned());
            let weight =
                weight(&text).ok_or_else(|| problem(TableProblem::NotANumber { column, field: text }))?;
            self.beside.weights.push(weight);
        }
        Ok(())
    }

    /// Puts the first row, which was added last, in its place. The columns have no names.
    fn move_last_to_front(&mut self) {
        self.draft.move_last_to_front();
        self.draft.rename(self.layout.numbers());
        self.beside.move_last_to_front();
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
                Some(threshold) => match value(field) {
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
    fn has_seen(&self, first: &[String]) -> bool {
        let missing = self.options.missing.as_deref().unwrap_or("").as_bytes();
        let fields =
            self.layout.places.iter().map(|&place| first.get(place).map_or(&[][..], String::as_bytes));
        let fields = fields.enumerate().filter(|(_, field)| !field.is_empty() && *field != missing);
        let (mut all, mut seen) = (0, 0);
        for (column, field) in fields {
            all += 1;
            seen += usize::from(match self.options.threshold {
                Some(_) => value(field).is_some(),
                None => self.draft.knows(column, field),
            });
        }
        2 * seen >= all
    }

    fn finish(self, table: &Table<'_>, has_header: bool, extra_columns: Vec<String>) -> Result<Rows> {
        let Self { draft, layout, beside, options } = self;
        let (columns, cells) = draft.finish();
        let problem = |problem| table.problem(Some(table.header_line()), problem);
        if columns.is_empty() {
            return Err(problem(TableProblem::NoValueColumns));
        }
        if has_header {
            if let Some(name) = columns.names.iter().find(|name| name.contains('\0')) {
                let problem = ValueProblem::Nul { column: name.clone(), value: name.clone() };
                return Err(table.problem(Some(table.header_line()), problem.into()));
            }
            if let Some(name) = columns.repeated() {
                return Err(problem(TableProblem::RepeatedColumn { name: name.to_owned() }));
            }
        }
        let (truth, weights) = beside.finish(&layout);
        let (has_header, threshold) = (Some(has_header), options.threshold);
        let rows = Rows { has_header, truth, weights, threshold, extra_columns, ..Rows::of(columns, cells) };
        if rows.is_empty() {
            return Err(problem(TableProblem::HeaderOnly));
        }
        Ok(rows)
    }
}

/// A class; none where the field is empty.
fn label(text: &str, column: &str) -> Result<Option<String>, TableProblem> {
    match text.contains('\0') {
        true => Err(ValueProblem::Nul { column: column.to_owned(), value: text.to_owned() }.into()),
        false => Ok((!text.is_empty()).then(|| text.to_owned())),
    }
}

/// How often a row counts.
fn weight(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|weight| (0.0..f64::INFINITY).contains(weight))
}

fn value(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

#[cold]
fn not_a_number(column: &str, field: &[u8]) -> ValueProblem {
    ValueProblem::NotANumber { column: column.to_owned(), value: String::from_utf8_lossy(field).into_owned() }
}
