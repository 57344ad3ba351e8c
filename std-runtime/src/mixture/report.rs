//! The mixture's page: what the classes look like, which columns make them, how many there are and how sure it is.
//!
//! [`render`] is a pure function of [`MixtureReport`], plain data that an analysis fills in. Nothing in it may be trusted
//! to be sane: names are escaped and cut, numbers that are not finite become a dash, long lists are cut and say so, and
//! an empty part is left out.

mod choice;
mod classes;
mod columns;
mod fit;
mod pixels;
mod truth;

use crate::report::PictureError;
pub use crate::report::page::Figure;
use crate::report::page::{Page, Section};

/// Everything the page shows.
#[derive(Clone, Debug, Default)]
pub struct MixtureReport<'a> {
    /// What was fitted, for instance the file's name.
    pub title: &'a str,
    /// The command that makes the page again; may be empty.
    pub command: &'a str,
    /// The outcome in one sentence.
    pub verdict: String,
    /// Key figures, as they are to be read.
    pub figures: Vec<Figure>,
    /// What the reader must know before believing the rest.
    pub warnings: &'a [String],
    /// Classes, the largest first.
    pub classes: Vec<ClassLine<'a>>,
    /// All columns, by number.
    pub columns: Vec<ColumnLine<'a>>,
    /// Values with their probability in each class, those of the most telling columns first.
    pub values: Vec<ValueLine>,
    /// Height and width where a row is a picture.
    pub picture: Option<(usize, usize)>,
    /// `[columns, classes]`: probability of the second value of each column, where columns are binary; else empty.
    pub prototypes: Vec<f64>,
    /// Numbers of classes that were tried.
    pub candidates: Vec<CandidateLine>,
    /// Objective after each round.
    pub objective: Vec<f64>,
    /// How classes and columns were found one after the other.
    pub steps: Vec<StepLine>,
    /// Against known classes.
    pub truth: Option<TruthSummary<'a>>,
}

/// One class.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClassLine<'a> {
    /// What it is called.
    pub number: usize,
    /// Its share of the rows.
    pub share: f64,
    /// Rows whose most likely class it is.
    pub rows: u64,
    /// The known label that most of its rows have, and the share of them.
    pub label: Option<(&'a str, f64)>,
}

/// One column.
#[derive(Clone, Copy, Debug, Default)]
pub struct ColumnLine<'a> {
    /// Name as read.
    pub name: &'a str,
    /// What it tells about the class, in nats.
    pub information: f64,
    /// Whether the classes were found by it.
    pub selected: bool,
}

/// One value of a column.
#[derive(Clone, Debug, Default)]
pub struct ValueLine {
    /// Column, or column and value.
    pub name: String,
    /// `[classes]`: its probability.
    pub probabilities: Vec<f64>,
}

/// One number of classes.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandidateLine {
    /// The number.
    pub classes: usize,
    /// Log-likelihood, in nats.
    pub log_likelihood: f64,
    /// Bayesian information criterion.
    pub bic: f64,
    /// Integrated completed likelihood.
    pub icl: f64,
    /// Log-likelihood of a row that took no part; NaN where there is none.
    pub held_out: f64,
    /// Whether its fit converged.
    pub converged: bool,
    /// Whether it was chosen.
    pub chosen: bool,
}

/// One round in which classes or columns may have been added.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepLine {
    /// Selected columns after it.
    pub columns: usize,
    /// Log-likelihood after it.
    pub log_likelihood: f64,
    /// What the classes leave unexplained, or what the column tells, in nats.
    pub information: f64,
}

/// Score against known classes.
#[derive(Clone, Debug, Default)]
pub struct TruthSummary<'a> {
    /// What the known classes are called.
    pub labels: Vec<&'a str>,
    /// `[labels, classes]`: rows by known label and class.
    pub confusion: Vec<f64>,
    /// Rows with a known class.
    pub rows: u64,
    /// Share of wrong rows after the best one-to-one match.
    pub aligned_error: f64,
    /// Share of wrong rows by the labels of each class's rows.
    pub share_error: f64,
}

/// The whole page as one self-contained HTML file.
///
/// Fails only if the plotting library does; no data makes it panic.
pub fn render(report: &MixtureReport<'_>) -> Result<String, PictureError> {
    let page = Page {
        kind: "Mixture report",
        title: report.title,
        verdict: &report.verdict,
        warnings: report.warnings,
        figures: &report.figures,
        sections: sections(report)?,
        command: report.command,
    };
    Ok(page.render())
}

/// The sections alone, for a page of which the mixture is a part.
pub fn sections<'a>(report: &MixtureReport<'_>) -> Result<Vec<Section<'a>>, PictureError> {
    let parts = [
        classes::section(report)?,
        columns::section(report)?,
        choice::section(report)?,
        truth::section(report)?,
        fit::section(report)?,
    ];
    Ok(parts.into_iter().flatten().collect())
}

/// What a class is called: its label where most of its rows have one.
fn class_name(class: &ClassLine<'_>) -> String {
    match class.label {
        Some((label, _)) if !label.is_empty() => format!("{} · {label}", class.number),
        _ => class.number.to_string(),
    }
}
