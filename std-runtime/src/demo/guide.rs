//! The guide: prints what a stop has to say, and collects the report.

use std::io::{self, Write};

use super::DemoOptions;
use crate::error::{Error, Result};
use crate::output::write_file;
use crate::report::page::{Figure, Page, Section};

/// Characters of a printed line: what the tables need.
const WIDTH: usize = 88;

/// Speaks for the stops, on the terminal and in the report.
pub struct Guide<'a> {
    out: &'a mut dyn Write,
    stops: usize,
    verdicts: Vec<String>,
    figures: Vec<Figure>,
    warnings: Vec<String>,
    sections: Vec<Section<'static>>,
}

/// What a stop adds to the report.
#[derive(Debug, Default)]
pub struct Pictures {
    /// The outcome in one sentence.
    pub verdict: String,
    /// Key figures.
    pub figures: Vec<Figure>,
    /// What the reader must know.
    pub warnings: Vec<String>,
    /// Its sections.
    pub sections: Vec<Section<'static>>,
}

impl<'a> Guide<'a> {
    /// A guide that prints to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        let (verdicts, figures, warnings) = (Vec::new(), Vec::new(), Vec::new());
        Self { out, stops: 0, verdicts, figures, warnings, sections: Vec::new() }
    }

    /// Opens a stop: its name, which is also its place in the report, its heading, and what it shows.
    pub fn open(&mut self, name: &'static str, heading: &'static str, lead: &str) -> Result<()> {
        self.stops += 1;
        let gap = if self.stops > 1 { "\n" } else { "" };
        self.print(&format!("{gap}{}. {heading}\n\n", self.stops))?;
        self.say(lead)?;
        self.sections.push(Section { id: name, title: heading, lead: lead.to_owned(), body: String::new() });
        Ok(())
    }

    /// Prints a paragraph.
    pub fn say(&mut self, text: &str) -> Result<()> {
        self.print(&wrap(text))
    }

    /// Prints a table. A head that starts with `#` stands over numbers.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) -> Result<()> {
        self.print(&format!("\n{}\n", text_table(heads, rows)))
    }

    /// Prints lines as they are.
    pub fn drawing(&mut self, lines: &str) -> Result<()> {
        self.print(&format!("\n{lines}\n"))
    }

    /// Adds a stop's pictures to the report.
    pub fn show(&mut self, pictures: Pictures) {
        self.verdicts.push(pictures.verdict);
        self.figures.extend(pictures.figures);
        self.warnings.extend(pictures.warnings);
        self.sections.extend(pictures.sections);
    }

    /// Writes the report and says where it is.
    pub fn write_report(mut self, options: &DemoOptions) -> Result<()> {
        let page = Page {
            kind: "Tour of mixlet",
            title: "What mixlet does, on data it made itself",
            verdict: &self.verdicts.join(" "),
            warnings: &self.warnings,
            figures: &self.figures,
            sections: std::mem::take(&mut self.sections),
            command: &format!("mixlet demo --seed {} --report {}", options.seed, options.report.display()),
        };
        let html = page.render();
        write_file(&options.report, |out| out.write_all(html.as_bytes()))?;
        self.print(&format!("\nThe pictures are in {}.\n", options.report.display()))
    }

    fn print(&mut self, text: &str) -> Result<()> {
        // Flushed, so that a stop is announced before its work begins.
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            // Whoever read the text has seen enough; the report is still wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => {
                written.map_err(|source| Error::Io { path: "standard output".into(), what: "write", source })
            }
        }
    }
}

/// Lines of at most [`WIDTH`] characters, broken between words.
fn wrap(text: &str) -> String {
    let (mut out, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let word_width = word.chars().count();
        if width > 0 {
            let fits = width + 1 + word_width <= WIDTH;
            out.push(if fits { ' ' } else { '\n' });
            width = if fits { width + 1 } else { 0 };
        }
        out.push_str(word);
        width += word_width;
    }
    out + "\n"
}

/// Columns padded to their widest cell, numbers to the right.
fn text_table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let titles: Vec<String> = heads.iter().map(|head| head.trim_start_matches('#').to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&titles]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let cell = |((cell, head), &width): ((&String, &&str), &usize)| match head.starts_with('#') {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        };
        let cells: Vec<String> = cells.iter().zip(heads).zip(&widths).map(cell).collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    let rule: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
    [&titles, &rule].into_iter().chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |name: &str, errors: &str, note: &str| vec![name.into(), errors.into(), note.into()];
        let rows = [row("vote", "12.5", "plain"), row("Dawid–Skene", "3", "")];
        let expected = "  Method       Errors  Note\n  ───────────  ──────  ─────\n  \
                        vote           12.5  plain\n  Dawid–Skene       3\n";
        assert_eq!(text_table(&["Method", "#Errors", "Note"], &rows), expected);
    }

    #[test]
    fn paragraphs_break_between_words() {
        let long = "word ".repeat(18);
        assert_eq!(wrap(&long), format!("{}\nword\n", "word ".repeat(17).trim_end()));
        assert_eq!(wrap("one\n two"), "one two\n");
    }

    #[test]
    fn stops_are_numbered_and_open_a_section() {
        let mut out = Vec::new();
        let mut guide = Guide::new(&mut out);
        guide.open("one", "First", "It is first.").unwrap();
        guide.open("two", "Second", "It is second.").unwrap();
        assert_eq!(guide.sections.iter().map(|section| section.id).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "1. First\n\nIt is first.\n\n2. Second\n\nIt is second.\n"
        );
    }
}
