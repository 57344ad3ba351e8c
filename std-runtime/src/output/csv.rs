//! CSV files, field by field.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Rows of a CSV file, field by field.
pub(crate) struct Rows<'w> {
    csv: csv::Writer<&'w mut dyn Write>,
    text: String,
}

impl<'w> Rows<'w> {
    /// Writes the header.
    pub fn new(out: &'w mut dyn Write, header: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(header)?;
        Ok(Self { csv, text: String::new() })
    }

    /// A field.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        Ok(self.csv.write_field(text)?)
    }

    /// A number in its shortest form; nothing if it is not finite.
    pub fn number(&mut self, number: f64) -> io::Result<()> {
        self.text.clear();
        if number.is_finite() {
            // The debug form is short for tiny numbers too; writing to a text cannot fail.
            let _ = write!(self.text, "{number:?}");
        }
        Ok(self.csv.write_field(&self.text)?)
    }

    /// A whole number.
    pub fn count(&mut self, count: u64) -> io::Result<()> {
        self.text.clear();
        let _ = write!(self.text, "{count}");
        Ok(self.csv.write_field(&self.text)?)
    }

    /// Ends the row.
    pub fn end(&mut self) -> io::Result<()> {
        Ok(self.csv.write_record(None::<&[u8]>)?)
    }

    /// Hands everything on.
    pub fn flush(&mut self) -> io::Result<()> {
        self.csv.flush()
    }
}

/// Names of columns: some, and more.
pub(crate) fn header(names: &[&str], more: impl Iterator<Item = String>) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).chain(more).collect()
}
