//! The crowd's page: who answered well, who was used, which labels to believe and which tasks to ask again.
//!
//! [`render`] is a pure function of [`CrowdReport`], plain data that a fit fills in. Nothing in it may be trusted
//! to be sane: names are escaped and cut, numbers that are not finite become a dash, long lists are cut in the
//! middle and say so, and an empty part is left out.

mod comparison;
mod confusion;
mod fit;
mod labels;
mod workers;

use super::selection::Choice;
use crate::report::PictureError;
pub use crate::report::page::Figure;
use crate::report::page::{Page, Section};

/// Everything the page shows.
#[derive(Clone, Debug, Default)]
pub struct CrowdReport<'a> {
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
    /// `[K]`: names of the classes.
    pub labels: Vec<&'a str>,
    /// Workers, the most informative first.
    pub workers: Vec<WorkerLine<'a>>,
    /// Who said how many of them are used, and what they are ordered by.
    pub choice: Choice,
    /// How many of the first workers were used, if a selection was made.
    pub cut: Option<usize>,
    /// Information that a worker who guesses would show by chance, in nats.
    pub null_information: Option<f64>,
    /// Objective after each round.
    pub objective: Vec<f64>,
    /// Tasks per equal-width bin of confidence over `0..=1`; see [`confidence_bins`].
    pub confidence: Vec<u64>,
    /// `[K]`: share of tasks in each class.
    pub class_shares: Vec<f64>,
    /// Tasks most in doubt, the most doubtful first.
    pub doubtful: Vec<DoubtfulTask<'a>>,
    /// Methods on the same answers; empty where nothing is compared.
    pub comparison: Vec<MethodLine<'a>>,
    /// Score against known labels, if there are any.
    pub gold: Option<GoldSummary>,
}

/// One worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerLine<'a> {
    /// Id as read.
    pub name: &'a str,
    /// How many answers.
    pub answers: u64,
    /// Estimated share of right answers.
    pub accuracy: f64,
    /// Lower end of its interval.
    pub accuracy_low: f64,
    /// Upper end of its interval.
    pub accuracy_high: f64,
    /// What workers are ordered by; [`Choice`] says what it is.
    pub measure: f64,
    /// Whether the labels rest on this worker.
    pub selected: bool,
    /// `[K (given), K (true)]`: probability of each answer; NaN where unknown, empty if all is.
    pub confusion: &'a [f64],
}

/// One task that more answers would help.
#[derive(Clone, Debug, Default)]
pub struct DoubtfulTask<'a> {
    /// Id as read.
    pub task: &'a str,
    /// The label it got.
    pub label: &'a str,
    /// Probability of that label.
    pub confidence: f64,
    /// Entropy of the class probabilities, in nats.
    pub entropy: f64,
    /// `[K]`: probability of each class.
    pub probabilities: Vec<f64>,
    /// `[K]`: answers for each class.
    pub votes: Vec<u64>,
    /// Expected fall of the entropy by one more answer, in nats.
    pub gain: f64,
}

/// One method of a comparison.
#[derive(Clone, Copy, Debug, Default)]
pub struct MethodLine<'a> {
    /// What it is called.
    pub method: &'a str,
    /// Wrong labels; ties count in part.
    pub errors: f64,
    /// Wrong labels as a fraction of one.
    pub error_rate: f64,
    /// How long it took.
    pub seconds: f64,
    /// What else to say; may be empty.
    pub note: &'a str,
}

/// Score against known labels.
#[derive(Clone, Debug, Default)]
pub struct GoldSummary {
    /// Tasks with a known label.
    pub tasks: u64,
    /// Wrong labels; may be fractional.
    pub errors: f64,
    /// Wrong labels as a fraction of one.
    pub error_rate: f64,
    /// `[K]`: F1 of each class.
    pub f1: Vec<f64>,
    /// `[K, K]`: tasks by known label (row) and fitted label (column).
    pub confusion: Vec<f64>,
}

/// The whole page as one self-contained HTML file.
///
/// Fails only if the plotting library does; no data makes it panic.
pub fn render(report: &CrowdReport<'_>) -> Result<String, PictureError> {
    let page = Page {
        kind: if report.workers.is_empty() { "Crowd comparison" } else { "Crowd report" },
        title: report.title,
        verdict: &report.verdict,
        warnings: report.warnings,
        figures: &report.figures,
        sections: sections(report)?,
        command: report.command,
    };
    Ok(page.render())
}

/// The sections alone, for a page of which the crowd is a part.
pub fn sections<'a>(report: &CrowdReport<'_>) -> Result<Vec<Section<'a>>, PictureError> {
    let parts = [
        comparison::section(report)?,
        workers::section(report)?,
        confusion::section(report)?,
        labels::section(report)?,
        comparison::gold_section(report)?,
        fit::section(report)?,
    ];
    Ok(parts.into_iter().flatten().collect())
}

/// Counts confidences into equal-width bins over `0..=1`, the last one closed; NaN is not counted.
///
/// ```
/// # use mixlet_runtime::crowd::report::confidence_bins;
/// assert_eq!(confidence_bins([0.5, 0.99, 1.0, f64::NAN], 4), [0, 0, 1, 2]);
/// ```
pub fn confidence_bins(confidences: impl IntoIterator<Item = f64>, bins: usize) -> Vec<u64> {
    let mut counts = vec![0; bins];
    for confidence in confidences {
        // Truncation is the floor here, and NaN and negatives fall out before it.
        let bin = (confidence * bins as f64) as usize;
        let last = bins.saturating_sub(1);
        if let Some(count) = counts.get_mut(bin.min(last)).filter(|_| confidence >= 0.0) {
            *count += 1;
        }
    }
    counts
}

/// At most `most` ranges of equal length (but for the last) that cover `0..len`.
fn buckets(len: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let size = len.div_ceil(most.max(1)).max(1);
    (0..len).step_by(size).map(move |start| start..(start + size).min(len))
}

/// Mean of the finite values; NaN if there is none.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.filter(|v| v.is_finite()).fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    sum / count
}
