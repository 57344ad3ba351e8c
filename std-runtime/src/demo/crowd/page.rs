//! The crowd stop's part of the report.

use super::kinds::Kinds;
use super::methods::{Attempt, MethodOutcome};
use crate::crowd::Crowd;
use crate::crowd::page::report;
use crate::crowd::report::{CrowdReport, Figure, MethodLine, sections};
use crate::demo::guide::Pictures;
use crate::error::Result;
use crate::report::number::percent;

/// Tasks in doubt that are listed.
const DOUBTFUL: usize = 10;

/// Compares all attempts and shows the workers as the last one sees them.
pub fn pictures(crowd: &Crowd, attempts: &[Attempt; 4], kinds: &Kinds) -> Result<Pictures> {
    let [vote, .., last] = attempts;
    let comparison = attempts.iter().map(|attempt| line(&attempt.outcome)).collect();
    let mut report = CrowdReport { comparison, ..report(crowd, &last.analysis)? };
    report.doubtful.truncate(DOUBTFUL);
    Ok(Pictures {
        verdict: verdict(crowd, vote, last, kinds),
        figures: figures(vote, last, kinds),
        warnings: last.analysis.warnings.clone(),
        sections: sections(&report)?,
    })
}

fn verdict(crowd: &Crowd, vote: &Attempt, last: &Attempt, kinds: &Kinds) -> String {
    format!(
        "The majority vote labels {} of {} photos wrongly, Dawid–Skene with selected workers {}. {}",
        percent(vote.outcome.error_rate, 1),
        crowd.tasks.len(),
        percent(last.outcome.error_rate, 1),
        kinds.sentence()
    )
}

fn figures(vote: &Attempt, last: &Attempt, kinds: &Kinds) -> Vec<Figure> {
    let rate = |attempt: &Attempt| Figure {
        label: attempt.outcome.method.to_owned(),
        value: percent(attempt.outcome.error_rate, 1),
        note: "wrong labels".to_owned(),
    };
    let found =
        [("Experts", kinds.experts), ("Spammers", kinds.spammers), ("Adversaries", kinds.adversaries)];
    let found = found.map(|(label, kind)| Figure {
        label: label.to_owned(),
        value: format!("{} of {}", kind.recognised, kind.generated),
        note: "recognised".to_owned(),
    });
    [rate(vote), rate(last)].into_iter().chain(found).collect()
}

fn line(outcome: &MethodOutcome) -> MethodLine<'_> {
    let MethodOutcome { method, errors, error_rate, seconds, ref note } = *outcome;
    MethodLine { method, errors, error_rate, seconds, note }
}
