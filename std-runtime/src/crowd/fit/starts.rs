//! What a fit starts from: responsibilities, block by block.

use std::borrow::Cow;
use std::ops::Range;

use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::{EmError, spectral, start};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;

use super::align;
use super::{Start, Task};
use crate::error::Result;
use crate::threads;

/// The responsibilities that open a fit.
pub(super) enum Initial<'a> {
    /// The shares of the votes: made where they are needed, nothing is stored.
    Vote(Task<'a>),
    /// `[tasks, labels]`.
    Given(Cow<'a, [f64]>, usize),
}

impl<'a> Initial<'a> {
    pub fn new(task: Task<'a>) -> Result<Self> {
        let labels = task.answers.labels();
        match &task.options.start {
            Start::Vote => Ok(Self::Vote(task)),
            Start::Given(posteriors) => {
                let (what, found) = ("given posteriors", posteriors.len());
                let expected = task.answers.tasks() * labels;
                if found != expected {
                    return Err(EmError::Length { what, found, expected }.into());
                }
                Ok(Self::Given(Cow::Borrowed(posteriors), labels))
            }
            Start::Random => Ok(Self::Given(from_parameters(task, random(task))?.into(), labels)),
            Start::Spectral => Ok(Self::Given(from_parameters(task, spectral(task)?)?.into(), labels)),
        }
    }

    pub fn fill(&self, rows: Range<usize>, out: &mut [f64]) {
        match self {
            Self::Vote(task) => start::vote_shares(task.answers, task.facts, rows, out),
            Self::Given(posteriors, labels) => {
                out.copy_from_slice(&posteriors[rows.start * labels..rows.end * labels]);
            }
        }
    }
}

/// Class shares and conditionals.
type Parameters = (Vec<f64>, Vec<f64>);

/// One expectation turns parameters into responsibilities, whose classes are then named by the vote.
fn from_parameters(task: Task<'_>, (shares, conditionals): Parameters) -> Result<Vec<f64>> {
    let (answers, labels) = (task.answers, task.answers.labels());
    let mut memory = vec![0.0; DawidSkeneShape::of(answers).parameters_len()];
    let mut model = DawidSkene::new(answers, labels, task.facts, Prior::default(), &mut memory)?;
    model.set_probabilities(&shares, &conditionals)?;
    let mut posteriors = threads::posteriors(&model)?;
    if task.facts.known_classes.is_none() {
        align::to_vote(answers, &mut posteriors);
    }
    Ok(posteriors)
}

fn random(task: Task<'_>) -> Parameters {
    let labels = task.answers.labels();
    let mut parameters = empty_parameters(task);
    let mut random = Pcg64::seed_from_u64(task.options.seed);
    start::random_probabilities(&mut random, labels, &mut parameters.0, &mut parameters.1);
    parameters
}

fn spectral(task: Task<'_>) -> Result<Parameters> {
    let (mut shares, mut conditionals) = empty_parameters(task);
    let mut random = Pcg64::seed_from_u64(task.options.seed);
    let mut scratch = vec![0.0; spectral::start_scratch_len(task.answers)];
    spectral::start(task.answers, &mut random, &mut shares, &mut conditionals, &mut scratch)?;
    Ok((shares, conditionals))
}

fn empty_parameters(task: Task<'_>) -> Parameters {
    let shape = DawidSkeneShape::of(task.answers);
    (vec![0.0; shape.classes], vec![0.0; shape.table_len()])
}
