//! Tables for the user: classes of rows, and what columns tell.
//!
//! Numbers are in the shortest form that reads back as the same number; what is not known is empty.

use std::io::{self, Write};

use mixlet_core::em::most_likely_class;

use super::Parameters;
use super::analysis::ColumnFacts;
use crate::output::csv::{Rows as Lines, header};
use crate::rows::Rows;

/// What gives a row its label, from its posterior.
pub type Namer<'a> = &'a dyn Fn(&[f64]) -> String;

/// `row,class,confidence,p_<class>…`, a line per row; rows and classes are counted from 0. With labels of the classes
/// there is a column `label` behind `class`.
pub fn labels(
    out: &mut dyn Write,
    posteriors: &[f64],
    classes: usize,
    label: Option<Namer<'_>>,
) -> io::Result<()> {
    let names: &[&str] = match label {
        Some(_) => &["row", "class", "label", "confidence"],
        None => &["row", "class", "confidence"],
    };
    let mut lines = Lines::new(out, header(names, (0..classes).map(|class| format!("p_{class}"))))?;
    for (row, posterior) in posteriors.chunks_exact(classes.max(1)).enumerate() {
        let class = most_likely_class(posterior);
        lines.count(row as u64)?;
        lines.count(class as u64)?;
        if let Some(label) = label {
            lines.text(&label(posterior))?;
        }
        lines.number(posterior[class])?;
        posterior.iter().try_for_each(|&probability| lines.number(probability))?;
        lines.end()?;
    }
    lines.flush()
}

/// `column,value,information,selected,p_<class>…`: a line per value of every column, of two values only the second;
/// information is the column's, in nats.
pub fn columns(
    out: &mut dyn Write,
    rows: &Rows,
    facts: &[ColumnFacts],
    parameters: &Parameters,
) -> io::Result<()> {
    let classes = parameters.shares.len().max(1);
    let names = ["column", "value", "information", "selected"];
    let mut lines = Lines::new(out, header(&names, (0..classes).map(|class| format!("p_{class}"))))?;
    let mut cells = parameters.probabilities.chunks_exact(classes);
    let level_offsets = super::view(rows).map_err(io::Error::other)?.level_offsets();
    let columns = rows.columns.names.iter().zip(&rows.columns.codes).zip(level_offsets.windows(2));
    for (((name, codes), offsets), facts) in columns.zip(facts) {
        // A column that holds one value may have room for another one.
        let values = (offsets[1] - offsets[0]) as usize;
        for value in 0..values {
            let probabilities = cells.next().unwrap_or(&[]);
            if values == 2 && value == 0 {
                continue;
            }
            lines.text(name)?;
            lines.text(codes.get(value))?;
            lines.number(facts.information)?;
            lines.text(if facts.selected { "true" } else { "false" })?;
            probabilities.iter().try_for_each(|&probability| lines.number(probability))?;
            lines.end()?;
        }
    }
    lines.flush()
}
