//! Tables for the user: classes of rows, and what columns tell.
//!
//! Numbers are in the shortest form that reads back as the same number; what is not known is empty.

use std::io::{self, Write};

use mixlet_core::em::most_likely_class;

use super::Parameters;
use super::analysis::ColumnFacts;
use crate::output::csv::{Rows as Lines, header};
use crate::rows::{Columns, Family};

/// `row,class,confidence,p_<class>…`, a line per row; rows and classes are counted from 0. With labels of the classes
/// there is a column `label` behind `class`.
pub fn labels(
    out: &mut dyn Write,
    posteriors: &[f64],
    classes: usize,
    label: Option<&dyn Fn(&[f64]) -> String>,
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

/// `column,value,information,selected,p_<class>…`: a line per column for its second value where columns are binary,
/// otherwise one per value; information is the column's, in nats.
pub fn columns(
    out: &mut dyn Write,
    columns: &Columns,
    family: Family,
    facts: &[ColumnFacts],
    parameters: &Parameters,
) -> io::Result<()> {
    let classes = parameters.shares.len().max(1);
    let names = ["column", "value", "information", "selected"];
    let mut lines = Lines::new(out, header(&names, (0..classes).map(|class| format!("p_{class}"))))?;
    let mut cells = parameters.probabilities.chunks_exact(classes);
    for ((name, codes), facts) in columns.names.iter().zip(&columns.codes).zip(facts) {
        let values = match family {
            Family::Bernoulli => 1..2,
            Family::Categorical => 0..codes.len().max(1),
        };
        for value in values {
            lines.text(name)?;
            lines.text(codes.get(value))?;
            lines.number(facts.information)?;
            lines.text(if facts.selected { "true" } else { "false" })?;
            cells.next().unwrap_or(&[]).iter().try_for_each(|&probability| lines.number(probability))?;
            lines.end()?;
        }
    }
    lines.flush()
}
