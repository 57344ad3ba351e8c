//! Rows of a table file (CSV, TSV; gzip or not), read in one pass over a bounded buffer.
//!
//! A row is its fields' places in the buffer: nothing is copied unless a field is quoted. Rows
//! without quotes are split by a loop over their bytes, the others by `csv-core`. Line numbers are
//! those an editor shows, also behind quoted line breaks.
//!
//! *Why two ways:* on rows of 14 bytes (`benches/read.rs`) reading took 110 ns a row with the plain
//! loop and 138 with `csv-core`, that is 124 and 99 MB/s of the 120 asked for. The plain loop is 30
//! lines, and a property test holds both to the `csv` package.

pub(crate) mod input;
mod split;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, TableProblem};
use input::Input;
use split::{QuotedSplit, Span, Split, split_plain};

/// The longest accepted row, in bytes with its line end.
pub const ROW_LIMIT: usize = 1 << 20;

/// The longest accepted row of a file with columns for every label, for every two of them, or of many values.
pub const WIDE_ROW_LIMIT: usize = 256 << 20;

/// Bytes asked of the file at a time; as many as the row has already, where these are more.
const CHUNK: usize = 1 << 18;

/// Told how many bytes of how many (0 if unknown) have been read from a file.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// An open table file behind its header.
pub struct Table<'p> {
    path: PathBuf,
    input: Input,
    progress: Progress<'p>,
    header: Vec<String>,
    delimiter: u8,
    row_limit: usize,
    /// `buffer[start..filled]` is read from the file and not yet split.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    ended: bool,
    /// The line at `start`.
    line: u64,
    header_line: u64,
    spans: Vec<Span>,
    quoted: QuotedSplit,
}

/// One row of a [`Table`], with as many fields as the header.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    path: &'a Path,
    header: &'a [String],
    line: u64,
    raw: &'a [u8],
    text: &'a [u8],
    spans: &'a [Span],
}

impl<'p> Table<'p> {
    /// Opens a file and reads its header.
    ///
    /// Without a delimiter, names ending in `.tsv` or `.tab` (or these and `.gz`) mean tabs; otherwise
    /// it is the first of comma, tab and semicolon that the header contains.
    pub fn open(path: &Path, delimiter: Option<u8>, progress: Progress<'p>) -> Result<Self> {
        Self::of_input(Input::open(path)?, ROW_LIMIT, path, delimiter, progress)
    }

    /// Opens a file whose rows may be as long as [`WIDE_ROW_LIMIT`].
    pub fn open_wide(path: &Path, delimiter: Option<u8>, progress: Progress<'p>) -> Result<Self> {
        Self::of_input(Input::open(path)?, WIDE_ROW_LIMIT, path, delimiter, progress)
    }

    /// The same of an input that is open already.
    pub(crate) fn of_input(
        input: Input,
        row_limit: usize,
        path: &Path,
        delimiter: Option<u8>,
        progress: Progress<'p>,
    ) -> Result<Self> {
        let mut table = Self {
            path: path.to_owned(),
            input,
            progress,
            header: Vec::new(),
            delimiter: b',',
            row_limit,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            ended: false,
            line: 1,
            header_line: 1,
            spans: Vec::new(),
            quoted: QuotedSplit::new(b','),
        };
        table.refill()?;
        if table.text().starts_with(b"\xef\xbb\xbf") {
            table.start = 3;
        }
        table.delimiter = delimiter.unwrap_or_else(|| sniff_delimiter(path, table.text()));
        table.quoted = QuotedSplit::new(table.delimiter);
        let Some(row) = table.split_row()? else {
            return Err(table.problem(None, TableProblem::EmptyFile));
        };
        let header: Result<Vec<String>> =
            (0..row.spans.len()).map(|at| row.text(at).map(Into::into)).collect();
        let (header, header_line) = (header?, row.line);
        (table.header, table.header_line) = (header, header_line);
        Ok(table)
    }

    /// The line of the header.
    pub fn header_line(&self) -> u64 {
        self.header_line
    }

    /// The names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Finds the column that stands for each role: `(role, name)` in, places out.
    pub fn columns<const N: usize>(&self, wanted: [(&'static str, &str); N]) -> Result<[usize; N]> {
        let mut places = [0; N];
        for (done, (role, name)) in wanted.into_iter().enumerate() {
            let mut found = self.header.iter().enumerate().filter(|(_, column)| *column == name);
            let Some((place, _)) = found.next() else {
                let free = |column: &&String| wanted.iter().all(|(_, name)| column != name);
                return Err(self.header_problem(TableProblem::MissingColumn {
                    role,
                    name: name.to_owned(),
                    header: self.header.clone(),
                    candidate: self.header.iter().find(free).cloned(),
                }));
            };
            if found.next().is_some() {
                return Err(self.header_problem(TableProblem::RepeatedColumn { name: name.to_owned() }));
            }
            if places.iter().take(done).any(|&other| other == place) {
                return Err(self.header_problem(TableProblem::SharedColumn { name: name.to_owned() }));
            }
            places[done] = place;
        }
        Ok(places)
    }

    /// The next row; blank lines are passed over where there are several columns.
    #[inline]
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        let expected = self.header.len();
        match self.split_row()? {
            Some(row) if row.spans.len() != expected => {
                Err(row.problem(TableProblem::FieldCount { found: row.spans.len(), expected }))
            }
            row => Ok(row),
        }
    }

    /// Shows one field of each row that comes next, as far as they are in memory already.
    ///
    /// Quotes are not looked at: it is a guess, for those who want to prepare.
    pub fn upcoming(&self, column: usize, rows: usize) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.text();
        let row = move || {
            let (row, after) = rest.split_at_checked(memchr::memchr(b'\n', rest)?)?;
            rest = after.get(1..)?;
            row.split(|&byte| byte == self.delimiter).nth(column)
        };
        std::iter::from_fn(row).take(rows)
    }

    /// A problem of the whole file, or of one of its lines.
    pub fn problem(&self, line: Option<u64>, problem: TableProblem) -> Error {
        Error::Table { path: self.path.clone(), line, problem: Box::new(problem) }
    }

    fn header_problem(&self, problem: TableProblem) -> Error {
        self.problem(Some(self.header_line), problem)
    }

    fn text(&self) -> &[u8] {
        self.buffer.get(self.start..self.filled).unwrap_or(&[])
    }

    #[inline]
    fn split_row(&mut self) -> Result<Option<Row<'_>>> {
        let (len, is_quoted) = loop {
            let text = self.buffer.get(self.start..self.filled).unwrap_or(&[]);
            match split_plain(text, self.delimiter, &mut self.spans) {
                Split::Row(len) => break (len, false),
                // In a table of one column an empty line is a row with an empty field.
                Split::Blank(len) if self.header.len() == 1 => {
                    self.spans.push(Span::default());
                    break (len, false);
                }
                Split::Blank(len) => {
                    self.start += len;
                    self.line += 1;
                    continue;
                }
                Split::Quoted => {
                    if let Split::Row(len) = self.quoted.split(text, &mut self.spans) {
                        break (len, true);
                    }
                }
                Split::Partial => {}
            }
            if !self.refill()? {
                return Ok(None);
            }
        };
        if len > self.row_limit {
            return Err(self.problem(Some(self.line), TableProblem::RowTooLong { limit: self.row_limit }));
        }
        let raw = self.buffer.get(self.start..self.start + len).unwrap_or(&[]);
        let line = self.line;
        self.start += len;
        self.line += if is_quoted { split::line_ends(raw) } else { 1 };
        let text = if is_quoted { self.quoted.text() } else { raw };
        Ok(Some(Row { path: &self.path, header: &self.header, line, raw, text, spans: &self.spans }))
    }

    /// Reads more of the file behind what is left of the buffer; false at the end of the file.
    fn refill(&mut self) -> Result<bool> {
        let pending = self.filled - self.start;
        if self.ended {
            // The file ends with a line end (one is added), so only an open quote goes past it.
            return match pending {
                0 => Ok(false),
                _ => Err(self.problem(Some(self.line), TableProblem::UnterminatedQuote)),
            };
        }
        if pending > self.row_limit {
            let problem = match self.row_closes()? {
                true => TableProblem::RowTooLong { limit: self.row_limit },
                false => TableProblem::UnterminatedQuote,
            };
            return Err(self.problem(Some(self.line), problem));
        }
        self.buffer.copy_within(self.start..self.filled, 0);
        (self.start, self.filled) = (0, pending);
        // A long row is split anew each time: doubling keeps that linear.
        let wanted = CHUNK.max(pending);
        if self.buffer.len() < pending + wanted + 1 {
            self.buffer.resize(pending + wanted + 1, 0);
        }
        let space = self.buffer.get_mut(pending..pending + wanted).unwrap_or(&mut []);
        let read = self.input.read(&self.path, space)?;
        self.filled += read;
        if read < wanted {
            self.ended = true;
            let last = self.filled.checked_sub(1).and_then(|last| self.buffer.get(last));
            if last.is_some_and(|&byte| byte != b'\n') {
                self.buffer[self.filled] = b'\n';
                self.filled += 1;
            }
        }
        (self.progress)(self.input.bytes_read(), self.input.bytes_total());
        Ok(true)
    }

    /// Whether a row that is longer than accepted ends before the file does; reads on to find out.
    fn row_closes(&mut self) -> Result<bool> {
        if memchr::memchr(b'"', self.text()).is_none() {
            return Ok(true);
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = self.input.read(&self.path, &mut chunk)?;
            // The file ends with a line end.
            let text = if read == 0 { b"\n" } else { chunk.get(..read).unwrap_or(&[]) };
            match self.quoted.goes_on(text) {
                true if read > 0 => {}
                goes_on => return Ok(!goes_on),
            }
        }
    }
}

impl<'a> Row<'a> {
    /// The line the row starts on, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The bytes of a field; none if there is no such column.
    #[inline]
    pub fn field(&self, column: usize) -> &'a [u8] {
        let span = self.spans.get(column).copied().unwrap_or_default();
        self.text.get(span.start as usize..span.end as usize).unwrap_or(&[])
    }

    /// A field as text.
    pub fn text(&self, column: usize) -> Result<&'a str> {
        std::str::from_utf8(self.field(column)).map_err(|_| self.not_utf8())
    }

    /// The name of a column; empty if there is none.
    pub fn column(&self, column: usize) -> &'a str {
        self.header.get(column).map_or("", String::as_str)
    }

    /// A field as a number that is not negative.
    pub fn number(&self, column: usize) -> Result<f64> {
        let field = self.text(column)?;
        match field.trim().parse() {
            Ok(number) if (0.0..f64::INFINITY).contains(&number) => Ok(number),
            _ => {
                let column = self.header.get(column).cloned().unwrap_or_default();
                Err(self.problem(TableProblem::NotANumber { column, field: field.to_owned() }))
            }
        }
    }

    /// A problem of this row.
    #[cold]
    pub fn problem(&self, problem: TableProblem) -> Error {
        Error::Table { path: self.path.to_owned(), line: Some(self.line), problem: Box::new(problem) }
    }

    /// The problem of an empty field.
    #[cold]
    pub fn empty_field(&self, column: usize) -> Error {
        let column = self.header.get(column).cloned().unwrap_or_default();
        self.problem(TableProblem::EmptyField { column })
    }

    /// The problem of the row's first byte that is not UTF-8.
    #[cold]
    pub fn not_utf8(&self) -> Error {
        let valid = std::str::from_utf8(self.raw).err().map_or(0, |error| error.valid_up_to());
        let before = self.raw.get(..valid).unwrap_or(&[]);
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let place = Row { line: self.line + split::line_ends(before), ..*self };
        place.problem(TableProblem::NotUtf8 { byte: valid - line_start + 1 })
    }
}

/// The delimiter that the file's name or its header suggests.
fn sniff_delimiter(path: &Path, text: &[u8]) -> u8 {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    if name.ends_with(".tsv") || name.ends_with(".tab") {
        return b'\t';
    }
    let mut lines = text.split(|byte| matches!(byte, b'\r' | b'\n'));
    let header = lines.find(|line| !line.is_empty()).unwrap_or(&[]);
    [b',', b'\t', b';'].into_iter().find(|delimiter| header.contains(delimiter)).unwrap_or(b',')
}
