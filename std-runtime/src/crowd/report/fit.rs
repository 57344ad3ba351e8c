//! The fit itself: the objective, round by round.

use super::CrowdReport;
use crate::report::chart::{Picture, Shape};
use crate::report::number::{count, decimal};
use crate::report::page::{Section, card};
use crate::report::{PictureError, curve};

/// Nothing to say without rounds.
pub(super) fn section<'a>(report: &CrowdReport<'_>) -> Result<Option<Section<'a>>, PictureError> {
    let objective = &report.objective[..];
    let (Some(first), Some(last)) = (objective.first(), objective.last()) else { return Ok(None) };
    let title = "Objective by round";
    let help = format!(
        "Log-likelihood plus log-prior, from {} to {} in {} {}. It may only rise; a flat end is a finished fit.",
        decimal(*first, 2),
        decimal(*last, 2),
        count(objective.len() as u64),
        if objective.len() == 1 { "round" } else { "rounds" }
    );
    let picture = Picture { id: "objective", title, description: &help, shape: Shape::Wide };
    let svg = picture.draw(|canvas| curve::by_round(canvas, objective, "Objective"))?;
    let lead =
        "Each round estimates the labels from the workers, then the workers from the labels.".to_owned();
    Ok(Some(Section { id: "fit", title: "Fit", lead, body: card(title, &help, &svg) }))
}
