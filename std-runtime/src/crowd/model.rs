//! A fitted crowd in one JSON file, and labels for new tasks from its workers.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use mixlet_core::em::RowFacts;
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::start::vote_shares;
use serde::{Deserialize, Serialize};

use super::Crowd;
use super::analysis::Analysis;
use super::fit::{Method, PooledPrior};
use super::ids::Ids;
use super::selection::Selection;
use crate::error::{Error, ModelProblem, Result};
use crate::threads;

/// What a model file says it is.
const FORMAT: &str = "mixlet crowd";
/// The version written and read.
const VERSION: u64 = 1;

/// What is known about workers and classes after a fit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CrowdModel {
    format: String,
    version: u64,
    /// How labels were found.
    pub method: Method,
    /// The labels, which are also the classes.
    pub labels: Ids,
    /// The workers.
    pub workers: Ids,
    /// `[labels]`: the share of each class.
    pub class_shares: Vec<f64>,
    /// `[workers · labels, labels]`: `P(answer | class)` of every worker.
    pub conditionals: Vec<f64>,
    /// What an unknown worker may be taken for.
    pub pooled: Option<PooledPrior>,
    /// Whose answers speak; none: everybody's.
    pub selection: Option<SavedSelection>,
}

/// The order that a selection cuts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedSelection {
    /// All workers, best first.
    pub order: Vec<u32>,
    /// How many of them were selected.
    pub count: usize,
    /// Answers that a task keeps at least.
    pub least_answers: usize,
}

/// The first words of a model file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    format: String,
    version: u64,
}

impl CrowdModel {
    /// What a fit learned.
    pub fn new(crowd: &Crowd, analysis: &Analysis) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            method: analysis.fit.method,
            labels: crowd.labels.clone(),
            workers: crowd.workers.clone(),
            class_shares: analysis.fit.class_shares.clone(),
            conditionals: analysis.fit.conditionals.clone(),
            pooled: analysis.fit.pooled.clone(),
            selection: analysis.selection.as_ref().map(|selection| SavedSelection {
                order: selection.order.clone(),
                count: selection.count,
                least_answers: selection.least_answers,
            }),
        }
    }

    /// Writes the model; see [`write_file`](crate::output::write_file).
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    /// Reads and checks a model.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes =
            fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), what: "open", source })?;
        Self::parse(&bytes).map_err(|problem| Error::Model { path: path.to_owned(), problem })
    }

    fn parse(bytes: &[u8]) -> Result<Self, ModelProblem> {
        let not_a_model = || ModelProblem::NotAModel { command: "crowd" };
        let head: Head = serde_json::from_slice(bytes).map_err(|_| not_a_model())?;
        if head.format != FORMAT {
            return Err(not_a_model());
        }
        if head.version != VERSION {
            return Err(ModelProblem::Version { found: head.version, expected: VERSION });
        }
        let model: Self = serde_json::from_slice(bytes)
            .map_err(|error| ModelProblem::Damaged { reason: error.to_string() })?;
        model.check()?;
        Ok(model)
    }

    /// Every length and number that computing relies on.
    fn check(&self) -> Result<(), ModelProblem> {
        let (labels, workers) = (self.labels.len(), self.workers.len());
        let cells = workers.saturating_mul(labels);
        if labels == 0 {
            return Err(ModelProblem::Length { what: "labels", found: 0, expected: 2 });
        }
        check_probabilities("class_shares", &self.class_shares, (labels, labels), 1)?;
        check_probabilities(
            "conditionals",
            &self.conditionals,
            (cells.saturating_mul(labels), labels * labels),
            labels,
        )?;
        if let Some(pooled) = &self.pooled {
            check_probabilities(
                "the pooled confusion",
                &pooled.confusion,
                (labels * labels, labels * labels),
                labels,
            )?;
        }
        let Some(SavedSelection { order, count, .. }) = &self.selection else { return Ok(()) };
        let mut is_named = vec![false; workers];
        order.iter().for_each(|&worker| {
            is_named.get_mut(worker as usize).into_iter().for_each(|named| *named = true)
        });
        match order.len() == workers && *count <= workers && is_named.iter().all(|named| *named) {
            true => Ok(()),
            false => Err(ModelProblem::Order),
        }
    }

    /// The posteriors `[tasks, labels]` of new tasks; the crowd has this model's workers and labels.
    pub fn predict(&self, crowd: &Crowd) -> Result<Vec<f64>> {
        let answers = crowd.answers()?;
        let selection = self
            .selection
            .as_ref()
            .map(|saved| Selection::new(answers, saved.order.clone(), saved.count, saved.least_answers));
        let answers = match &selection {
            Some(selection) => selection.answers(answers)?,
            None => answers,
        };
        if self.method == Method::MajorityVote {
            let mut shares = vec![0.0; answers.tasks() * answers.labels()];
            vote_shares(answers, RowFacts::default(), 0..answers.tasks(), &mut shares);
            return Ok(shares);
        }
        let mut memory = vec![0.0; DawidSkeneShape::of(answers).parameters_len()];
        let labels = self.labels.len();
        let mut model = DawidSkene::new(answers, labels, RowFacts::default(), Prior::default(), &mut memory)?;
        model.set_probabilities(&self.class_shares, &self.conditionals)?;
        Ok(threads::posteriors(&model)?)
    }
}

/// Checks `(length, block)`, the range, and that within each block every `step`-th value sums to 1.
fn check_probabilities(
    what: &'static str,
    values: &[f64],
    (length, block): (usize, usize),
    step: usize,
) -> Result<(), ModelProblem> {
    if values.len() != length {
        return Err(ModelProblem::Length { what, found: values.len(), expected: length });
    }
    let mut blocks = values.chunks_exact(block).enumerate();
    blocks.try_for_each(|(nth, values)| ModelProblem::check_sums(what, values, nth * block, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_good_model_is_named() {
        let good = r#"{"format":"mixlet crowd","version":1,"method":"dawid-skene","labels":["a","b"],"workers":["w"],
            "class_shares":[0.5,0.5],"conditionals":[0.9,0.2,0.1,0.8],"pooled":null,"selection":null}"#;
        CrowdModel::parse(good.as_bytes()).unwrap();
        for (from, to, message) in [
            ("mixlet crowd", "other", "not a model, expected a file written with `mixlet crowd fit --save`"),
            ("{", "task,worker\n", "not a model, expected a file written with `mixlet crowd fit --save`"),
            (
                "\"version\":1",
                "\"version\":7",
                "version 7 of the model file, expected 1; save it again with this mixlet",
            ),
            ("0.5,0.5", "1.0", "class_shares of the model holds 1 values, expected 2; save it again"),
            ("0.9", "1.9", "value 0 of conditionals is 1.9, expected a probability; save it again"),
            ("0.9", "-0.1", "value 0 of conditionals is -0.1, expected a probability; save it again"),
            (
                "0.9",
                "0.7",
                "the probabilities from value 0 of conditionals sum to 0.7999999999999999, expected 1; save it again",
            ),
            (
                "\"selection\":null",
                "\"selection\":{\"order\":[1],\"count\":1,\"least_answers\":0}",
                "the model's order of workers does not name every worker once; save it again",
            ),
        ] {
            let problem = CrowdModel::parse(good.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!(problem.to_string(), message);
        }
        let damaged = CrowdModel::parse(good.replace("[\"w\"]", "3").as_bytes()).unwrap_err();
        assert!(damaged.to_string().starts_with("damaged model (`invalid type: integer `3`"), "{damaged}");
    }
}
