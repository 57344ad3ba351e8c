//! One entry per row out of a table: classes, weights, or where EM starts.
//!
//! A column `row` says which row a line is about, counted from 0; without one, lines are in the order of the rows.

use std::path::Path;

use super::super::{ArrayProblem, array_error};
use super::{label, weight};
use crate::error::{Result, RowsProblem, TableProblem};
use crate::rows::Labels;
use crate::table::input::Input;
use crate::table::{Row, Table, WIDE_ROW_LIMIT};

/// What a column of classes may be called where there are several columns.
const LABEL_NAMES: [&str; 4] = ["label", "class", "truth", "gold"];

/// What a column of weights may be called where there are several columns.
const WEIGHT_NAMES: [&str; 2] = ["weight", "weights"];

/// What the column is called that says which row a line is about.
const ROW_NAME: &str = "row";

/// Reads classes.
pub(in super::super) fn read_labels(path: &Path, input: Input, rows: usize) -> Result<Labels> {
    with_table(path, input, |table| labels(table, path, rows))
}

/// Reads weights.
pub(in super::super) fn read_weights(path: &Path, input: Input, rows: usize) -> Result<Vec<f64>> {
    with_table(path, input, |table| {
        let lines = Lines::read(table, &WEIGHT_NAMES, rows, |first, _| is_number(first))?;
        lines.in_order(path, "weights", |line, text| {
            let not_a_number =
                || TableProblem::NotANumber { column: WEIGHT_NAMES[0].to_owned(), field: text.to_owned() };
            weight(text).ok_or_else(|| table.problem(Some(line), not_a_number()))
        })
    })
}

/// What a file says about where EM starts.
pub(in super::super) enum Start {
    /// `[rows, classes]`, normalised.
    Shares(Vec<f64>),
    /// A class per row.
    Labels(Labels),
}

/// Reads where EM starts: shares out of the columns `p_0`, `p_1`, …, or a class per row if there are no such columns.
pub(in super::super) fn read_start(path: &Path, input: Input, rows: usize, classes: usize) -> Result<Start> {
    with_table(path, input, |table| match place_of_share(table, 0) {
        Some(_) => shares(table, path, rows, classes).map(Start::Shares),
        None => labels(table, path, rows).map(Start::Labels),
    })
}

fn with_table<T>(path: &Path, input: Input, read: impl Fn(&mut Table<'_>) -> Result<T>) -> Result<T> {
    let mut ignore = |_, _| {};
    read(&mut Table::of_input(input, WIDE_ROW_LIMIT, path, None, &mut ignore)?)
}

fn labels(table: &mut Table<'_>, path: &Path, rows: usize) -> Result<Labels> {
    let lines = Lines::read(table, &LABEL_NAMES, rows, |first, lines| {
        let others = || lines.iter().map(|(_, text)| text.as_str()).filter(|text| !text.is_empty());
        let are_numbers = others().next().is_some() && others().all(is_number);
        let is_expected = lines.len() + 1 == rows;
        is_expected || others().any(|text| text == first) || are_numbers && is_number(first)
    })?;
    let texts = lines.in_order(path, "classes", |line, text| {
        label(text, LABEL_NAMES[0]).map_err(|nul| table.problem(Some(line), nul))
    })?;
    Ok(Labels::new(texts.iter().map(Option::as_deref)))
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok()
}

fn place_of_share(table: &Table<'_>, class: usize) -> Option<usize> {
    table.header().iter().position(|name| *name == format!("p_{class}"))
}

fn shares(table: &mut Table<'_>, path: &Path, rows: usize, classes: usize) -> Result<Vec<f64>> {
    let places: Vec<usize> = (0..).map_while(|class| place_of_share(table, class)).collect();
    if places.len() != classes {
        let problem = RowsProblem::OtherClasses { found: places.len(), expected: classes };
        return Err(table.problem(Some(table.header_line()), problem.into()));
    }
    let mut order = Order::of(table, rows);
    let mut shares: Vec<Vec<f64>> = Vec::new();
    while let Some(row) = table.next_row()? {
        order.take(&row)?;
        let own: Vec<f64> = places.iter().map(|&place| row.number(place)).collect::<Result<_>>()?;
        let total: f64 = own.iter().sum();
        if total == 0.0 {
            return Err(row.problem(RowsProblem::NoShare { classes }.into()));
        }
        shares.push(own.iter().map(|share| share / total).collect());
    }
    order.check(path, "starts", shares.len(), None)?;
    Ok(order.sort(shares).concat())
}

/// The lines of one column.
struct Lines {
    order: Order,
    /// Line and text.
    texts: Vec<(u64, String)>,
    /// What the first line says, where it was taken for the column's name and may be an entry.
    name: Option<String>,
}

impl Lines {
    /// Reads the one column, or the one with a usual name.
    ///
    /// The first line of a single column without such a name is an entry if `is_entry(first, others)`.
    fn read(
        table: &mut Table<'_>,
        names: &[&str],
        rows: usize,
        is_entry: impl Fn(&str, &[(u64, String)]) -> bool,
    ) -> Result<Self> {
        let header = table.header().to_vec();
        let is_named = |name: &&String| names.iter().any(|usual| name.eq_ignore_ascii_case(usual));
        let values = |name: &&String| !name.eq_ignore_ascii_case(ROW_NAME);
        let place = match header.iter().position(|name| is_named(&name)) {
            Some(place) => place,
            None if header.len() == 1 => 0,
            // Beside the number of the row there is one column.
            None if header.len() == 2 && header.iter().filter(values).count() == 1 => {
                usize::from(!values(&&header[0]))
            }
            None => {
                let problem = TableProblem::NoColumn { name: names[0].to_owned(), header };
                return Err(table.problem(Some(table.header_line()), problem));
            }
        };
        let mut order = Order::of(table, rows);
        let mut texts = Vec::with_capacity(rows);
        while let Some(row) = table.next_row()? {
            order.take(&row)?;
            texts.push((row.line(), row.text(place)?.to_owned()));
        }
        let [first] = header.as_slice() else { return Ok(Self { order, texts, name: None }) };
        if is_named(&first) {
            return Ok(Self { order, texts, name: None });
        }
        if is_entry(first, &texts) {
            texts.insert(0, (table.header_line(), first.clone()));
            return Ok(Self { order, texts, name: None });
        }
        Ok(Self { order, texts, name: Some(first.clone()) })
    }

    /// One value per row, in the order of the rows.
    fn in_order<T: Default + Clone>(
        self,
        path: &Path,
        what: &'static str,
        value: impl Fn(u64, &str) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.order.check(path, what, self.texts.len(), self.name)?;
        let values = self.texts.iter().map(|(line, text)| value(*line, text)).collect::<Result<_>>()?;
        Ok(self.order.sort(values))
    }
}

/// Which row each line is about.
struct Order {
    rows: usize,
    /// The column that says it.
    place: Option<usize>,
    /// By line, where there is such a column.
    row_of: Vec<usize>,
    /// By row: the line that is about it; 0 for none.
    line_of: Vec<u64>,
}

impl Order {
    fn of(table: &Table<'_>, rows: usize) -> Self {
        let header = table.header();
        let place = header.iter().position(|name| name.eq_ignore_ascii_case(ROW_NAME));
        let place = place.filter(|_| header.len() > 1);
        Self { rows, place, row_of: Vec::new(), line_of: vec![0; if place.is_some() { rows } else { 0 }] }
    }

    /// Takes the next line.
    fn take(&mut self, line: &Row<'_>) -> Result<()> {
        let Some(place) = self.place else { return Ok(()) };
        let text = line.text(place)?;
        let row = text.trim().parse().ok().filter(|row| *row < self.rows).ok_or_else(|| {
            line.problem(RowsProblem::NoRow { found: text.to_owned(), rows: self.rows }.into())
        })?;
        match &mut self.line_of[row] {
            0 => self.line_of[row] = line.line(),
            first => return Err(line.problem(RowsProblem::RepeatedRow { row, first_line: *first }.into())),
        }
        self.row_of.push(row);
        Ok(())
    }

    /// Makes sure that every row has its line.
    fn check(&self, path: &Path, what: &'static str, found: usize, below: Option<String>) -> Result<()> {
        let expected = self.rows;
        if self.place.is_none() && found != expected {
            return Err(array_error(path, ArrayProblem::Rows { what, found, expected, below }));
        }
        match self.line_of.iter().position(|&line| line == 0) {
            Some(row) => Err(array_error(path, ArrayProblem::MissingRow { what, row, rows: expected })),
            None => Ok(()),
        }
    }

    /// What lines say, in the order of the rows.
    fn sort<T: Default + Clone>(self, values: Vec<T>) -> Vec<T> {
        if self.place.is_none() {
            return values;
        }
        let mut sorted = vec![T::default(); self.rows];
        self.row_of.into_iter().zip(values).for_each(|(row, value)| sorted[row] = value);
        sorted
    }
}
