//! Rows as they come: values become codes in the order they appear, which are put in order at the end.

use mixlet_core::observations::{MISSING, WORD_BITS, row_words};

use super::{Bits, Cells, CodeRows, Columns, Family};
use crate::crowd::ids::{Ids, Interner};
use crate::error::ValueProblem;

/// The largest number of codes of a column: the next number stands for a missing value.
pub const MOST_CODES: usize = MISSING as usize;

/// Codes of all columns at most: their cells are numbered with 32 bits.
const MOST_CODES_OF_ALL: usize = u32::MAX as usize - super::MOST_COLUMNS;

/// Values that are found by looking through them; a table is made for more.
const FEW: usize = 8;

/// Rows as they come.
#[derive(Debug)]
pub(super) struct Draft {
    asked: Option<Family>,
    /// The codes are those of an earlier fit.
    is_fixed: bool,
    names: Vec<String>,
    codes: Vec<ColumnCodes>,
    /// Codes of all columns.
    code_count: usize,
    cells: Cells,
    /// The row that is being read.
    row: Vec<u16>,
}

impl Draft {
    /// No rows yet.
    pub fn new(names: Vec<String>, asked: Option<Family>) -> Self {
        let columns = names.len();
        let cells = match asked {
            Some(Family::Categorical) => code_rows(Vec::new()),
            _ => Cells::Bits(Bits::new(columns)),
        };
        let codes = vec![ColumnCodes::default(); columns];
        Self { asked, is_fixed: false, names, codes, code_count: 0, cells, row: Vec::with_capacity(columns) }
    }

    /// Rows whose codes are known.
    pub fn with_codes(columns: &Columns, family: Family) -> Self {
        let codes = columns.codes.iter().map(|names| ColumnCodes::of(names.iter())).collect();
        Self { is_fixed: true, codes, ..Self::new(columns.names.clone(), Some(family)) }
    }

    /// Gives the columns other names.
    pub fn rename(&mut self, names: Vec<String>) {
        self.names = names;
    }

    /// The name of a column.
    pub fn name(&self, column: usize) -> &str {
        self.names.get(column).map_or("", String::as_str)
    }

    /// Whether a value came in a column already.
    pub fn knows(&self, column: usize, value: &[u8]) -> bool {
        self.codes.get(column).is_some_and(|codes| codes.find(value).is_some())
    }

    /// Adds the next value of the row.
    #[inline]
    pub fn add(&mut self, value: &[u8]) -> Result<(), ValueProblem> {
        let column = self.row.len();
        let found = self.codes.get(column).and_then(|codes| codes.find(value));
        match found {
            Some(code) => self.row.push(code),
            None => {
                let code = self.new_code(column, value)?;
                self.row.push(code);
            }
        }
        Ok(())
    }

    /// Adds a missing value.
    pub fn add_missing(&mut self) {
        self.row.push(MISSING);
    }

    /// Ends the row.
    pub fn end_row(&mut self) {
        let is_binary = |&code: &u16| code == MISSING || code < 2;
        if let Cells::Bits(bits) = &self.cells
            && !self.row.iter().all(is_binary)
        {
            self.cells = code_rows(unpack(bits, self.names.len()));
        }
        match &mut self.cells {
            Cells::Bits(bits) => {
                bits.push(self.row.iter().map(|&code| (code != MISSING).then_some(code == 1)))
            }
            Cells::Codes(rows) => rows.codes.extend_from_slice(&self.row),
        }
        self.row.clear();
    }

    /// Moves the last row to the front.
    pub fn move_last_to_front(&mut self) {
        match &mut self.cells {
            Cells::Bits(bits) => bits.move_last_to_front(),
            Cells::Codes(rows) => rows.codes.rotate_right(self.names.len()),
        }
    }

    /// The columns with their codes in order, and the values in these codes.
    pub fn finish(self) -> (Columns, Cells) {
        let Self { is_fixed, names, codes, mut cells, .. } = self;
        let is_binary = matches!(cells, Cells::Bits(_));
        let mut places = Vec::with_capacity(codes.len());
        let in_order = |codes: ColumnCodes| {
            let (ids, of_code) = if is_binary && !is_fixed { codes.finish_binary() } else { codes.finish() };
            places.push(of_code);
            ids
        };
        let codes: Vec<Ids> = codes.into_iter().map(in_order).collect();
        match &mut cells {
            Cells::Bits(bits) => bits.flip(&flips(&places)),
            Cells::Codes(rows) => {
                for row in rows.codes.chunks_exact_mut(names.len().max(1)) {
                    for (code, places) in row.iter_mut().zip(&places) {
                        // A missing value has no place and stays what it is.
                        *code = places.get(usize::from(*code)).map_or(*code, |&place| place as u16);
                    }
                }
                rows.level_offsets = level_offsets(&codes);
            }
        }
        (Columns { names, codes }, cells)
    }

    #[cold]
    fn new_code(&mut self, column: usize, value: &[u8]) -> Result<u16, ValueProblem> {
        let name = || self.name(column).to_owned();
        let Ok(text) = std::str::from_utf8(value) else {
            return Err(ValueProblem::NotUtf8);
        };
        if text.contains('\0') {
            return Err(ValueProblem::Nul { column: name(), value: text.to_owned() });
        }
        let Some(codes) = self.codes.get(column) else { return Ok(MISSING) };
        let known = || codes.names.iter().take(5).cloned().collect();
        if self.is_fixed {
            let value = text.to_owned();
            return Err(ValueProblem::UnknownCode { column: name(), value, known: known() });
        }
        if self.asked == Some(Family::Bernoulli) && codes.names.len() >= 2 {
            return Err(ValueProblem::NotBinary { column: name(), value: text.to_owned(), known: known() });
        }
        if codes.names.len() >= MOST_CODES || self.code_count >= MOST_CODES_OF_ALL {
            return Err(ValueProblem::TooManyCodes { column: name(), most: MOST_CODES });
        }
        self.code_count += 1;
        Ok(self.codes.get_mut(column).map_or(MISSING, |codes| codes.push(text)))
    }
}

/// Rows of codes whose columns are not finished.
fn code_rows(codes: Vec<u16>) -> Cells {
    Cells::Codes(CodeRows { level_offsets: Vec::new(), codes })
}

/// `[columns + 1]`: where each column's cells start. A column without any value has one cell.
fn level_offsets(codes: &[Ids]) -> Vec<u32> {
    let mut offsets = vec![0];
    let ends = codes.iter().scan(0, |end, codes| {
        *end += codes.len().max(1) as u32;
        Some(*end)
    });
    offsets.extend(ends);
    offsets
}

/// The values of a column in the order they came.
#[derive(Clone, Debug, Default)]
struct ColumnCodes {
    names: Vec<String>,
    /// Finds the names where there are many.
    table: Option<Box<TableOfNames>>,
}

/// Codes by name.
type TableOfNames = hashbrown::HashMap<Box<[u8]>, u16, foldhash::fast::RandomState>;

impl ColumnCodes {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut codes = Self::default();
        for name in names {
            codes.push(name);
        }
        codes
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<u16> {
        match &self.table {
            Some(table) => table.get(name).copied(),
            None => self.names.iter().position(|known| known.as_bytes() == name).map(|place| place as u16),
        }
    }

    fn push(&mut self, name: &str) -> u16 {
        let code = self.names.len() as u16;
        self.names.push(name.to_owned());
        if self.names.len() > FEW {
            let table = self.table.get_or_insert_default();
            let start = table.len();
            let rest = self.names.iter().enumerate().skip(start);
            for (code, name) in rest {
                table.insert(name.as_bytes().into(), code as u16);
            }
        }
        code
    }

    /// The names in order, and for every code the place it went to.
    fn finish(self) -> (Ids, Vec<u32>) {
        sorted(&self.names)
    }

    /// The same of a column of bits, where 0 and 1 are what they are although only one of them came.
    fn finish_binary(mut self) -> (Ids, Vec<u32>) {
        match self.names.as_slice() {
            [zero] if zero == "0" => self.names.push("1".to_owned()),
            [one] if one == "1" => self.names.push("0".to_owned()),
            _ => {}
        }
        self.finish()
    }
}

/// Names in order, and for every one the place it went to.
fn sorted(names: &[String]) -> (Ids, Vec<u32>) {
    let mut interner = Interner::new();
    for name in names {
        // They are text, and few enough.
        let _ = interner.intern(name.as_bytes());
    }
    interner.finish()
}

/// Sorted, distinct names.
pub(super) fn ids<'a>(names: impl IntoIterator<Item = &'a str>) -> Ids {
    sorted(&names.into_iter().map(str::to_owned).collect::<Vec<_>>()).0
}

/// The codes `[rows, columns]` of rows of bits.
fn unpack(bits: &Bits, columns: usize) -> Vec<u16> {
    let Ok(view) = bits.view() else { return Vec::new() };
    let row = |row| (0..columns).map(move |column| view.value(row, column).map_or(MISSING, u16::from));
    (0..bits.rows()).flat_map(row).collect()
}

/// The columns whose first code is the second in order, as bits.
fn flips(places: &[Vec<u32>]) -> Vec<u64> {
    let mut flips = vec![0; row_words(places.len())];
    for (column, _) in places.iter().enumerate().filter(|(_, places)| places.first() == Some(&1)) {
        flips[column / WORD_BITS] |= 1 << (column % WORD_BITS);
    }
    flips
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(asked: Option<Family>, rows: &[&[&str]]) -> Result<(Columns, Cells), ValueProblem> {
        let mut draft = Draft::new(super::super::columns::numbered(rows[0].len()), asked);
        for row in rows {
            for value in *row {
                if value.is_empty() { draft.add_missing() } else { draft.add(value.as_bytes())? }
            }
            draft.end_row();
        }
        Ok(draft.finish())
    }

    #[test]
    fn bits_become_codes_at_the_third_value() {
        let rows: [&[&str]; 3] = [&["yes", "10"], &["no", ""], &["yes", "9"]];
        let (columns, cells) = draft(None, &rows).unwrap();
        let Cells::Bits(bits) = &cells else { panic!("two values per column are bits") };
        let values = |row| [0, 1].map(|column| bits.view().unwrap().value(row, column));
        assert_eq!(
            [0, 1, 2].map(values),
            [[Some(true), Some(true)], [Some(false), None], [Some(true), Some(false)]]
        );
        assert_eq!(columns.codes[1].iter().collect::<Vec<_>>(), ["9", "10"]);

        let more = [rows.as_slice(), &[&["yes", "11"]]].concat();
        let Cells::Codes(rows) = draft(None, &more).unwrap().1 else { panic!("three values are codes") };
        assert_eq!(rows.codes, [1, 1, 0, MISSING, 1, 0, 1, 2]);
        let problem = draft(Some(Family::Bernoulli), &more).unwrap_err();
        let known = vec!["10".to_owned(), "9".to_owned()];
        assert_eq!(problem, ValueProblem::NotBinary { column: "1".into(), value: "11".into(), known });
    }

    #[test]
    fn many_codes_are_found_again_and_sorted() {
        let names: Vec<String> = (0..300).map(|name| ((name * 7) % 300).to_string()).collect();
        let rows: Vec<Vec<&str>> = names.iter().chain(&names).map(|name| vec![name.as_str()]).collect();
        let rows: Vec<&[&str]> = rows.iter().map(Vec::as_slice).collect();
        let (columns, Cells::Codes(CodeRows { codes, .. })) = draft(None, &rows).unwrap() else {
            panic!("codes")
        };
        assert_eq!(columns.codes[0].len(), 300);
        assert!(codes.iter().zip(names.iter().chain(&names)).all(|(code, name)| code.to_string() == *name));
    }
}
