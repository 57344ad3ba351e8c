//! The fit itself: the objective round by round, and how columns and classes were found.

use super::{MixtureReport, StepLine};
use crate::report::chart::{Picture, Shape};
use crate::report::number::{decimal, things};
use crate::report::page::{Section, card, columns};
use crate::report::{PictureError, curve};

/// Nothing to say without rounds.
pub(super) fn section<'a>(report: &MixtureReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    if report.objective.len() < 2 && report.steps.is_empty() {
        return Ok(None);
    }
    let body = objective(&report.objective)? + &steps(&report.steps)?;
    let lead =
        "Each round sorts the rows into the classes, then learns the classes from their rows.".to_owned();
    Ok(Some(Section { id: "rounds", title: "Fit", lead, body }))
}

/// The objective, round by round.
fn objective(objective: &[f64]) -> Result<String, PictureError> {
    let [first, .., last] = objective else { return Ok(String::new()) };
    let title = "Objective by round";
    let help = format!(
        "Log-likelihood plus log-prior, from {} to {} in {}. A flat end is a finished fit.",
        decimal(*first, 2),
        decimal(*last, 2),
        things(objective.len(), "round"),
    );
    let picture = Picture { id: "mixture-objective", title, description: &help, shape: Shape::Wide };
    let svg = picture.draw(|canvas| curve::by_round(canvas, objective, "Objective"))?;
    Ok(card(title, &help, &svg))
}

/// Columns and their information, round by round.
fn steps(steps: &[StepLine]) -> Result<String, PictureError> {
    let Some(last) = steps.last() else { return Ok(String::new()) };
    let curve = |id, title, help: &str, name: &str, values: Vec<f64>| {
        let picture = Picture { id, title, description: help, shape: Shape::Half };
        let svg = picture.draw(|canvas| curve::by_round(canvas, &values, name))?;
        Ok::<_, PictureError>(card(title, help, &svg))
    };
    let found = format!("{} in the end.", things(last.columns, "column"));
    let active = steps.iter().map(|step| step.columns as f64).collect();
    let information = steps.iter().map(|step| step.information).collect();
    let told = "What the round was about, in nats: two columns that the classes do not explain, or one column's share.";
    Ok(columns(&[
        curve("active", "Selected columns by round", &found, "Columns", active)?,
        curve("step-information", "Information by round", told, "Information in nats", information)?,
    ]))
}
