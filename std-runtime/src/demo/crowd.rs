//! The crowd stop: labels out of answers that disagree, and which workers to trust.
//!
//! A generated crowd names the bird on photos. Four methods label the photos from the same answers, none
//! of them sees the truth, and all are scored against it.

mod birds;
mod kinds;
mod methods;
mod page;

use serde::Serialize;

use crate::crowd::generate::{CrowdSpec, GeneratedCrowd, WorkerKind, generate};
use crate::demo::{DemoOptions, Guide};
use crate::error::Result;
use crate::report::number::{decimal, percent, seconds};
pub use kinds::{KindOutcome, Kinds};
use methods::Attempt;
pub use methods::MethodOutcome;

/// What the crowd stop found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CrowdOutcome {
    /// Number of photos.
    pub tasks: usize,
    /// Number of workers.
    pub workers: usize,
    /// Number of answers.
    pub answers: usize,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Each method, the simplest first.
    pub methods: Vec<MethodOutcome>,
    /// How well the kinds of workers were recognised.
    pub kinds: Kinds,
}

/// Half of the workers are of no use to a vote, and sixty answers each are few to tell who.
fn spec() -> CrowdSpec {
    CrowdSpec {
        tasks: birds::PHOTOS,
        workers: birds::WORKERS.len() as u32,
        answers_per_task: 10,
        class_shares: vec![0.5, 0.38, 0.12],
        experts: 0.2,
        spammers: 0.35,
        adversaries: 0.15,
        ..CrowdSpec::default()
    }
}

/// The generated crowd of a seed.
fn generated(seed: u64) -> Result<GeneratedCrowd> {
    Ok(generate(&spec().check()?, seed))
}

/// Shows the stop.
pub fn visit(options: &DemoOptions, guide: &mut Guide<'_>) -> Result<CrowdOutcome> {
    let made = generated(options.seed)?;
    guide.open("crowd", "A crowd: the truth out of answers that disagree", &lead(&made))?;
    if let Some(folder) = &options.data {
        birds::write(&made, folder)?;
    }
    let crowd = birds::crowd(&made)?;
    let answers = crowd.answers()?;
    let attempts = methods::run_all(&crowd, options.seed)?;
    guide.table(&["Method", "#Errors", "#Error rate", "#Time", "Note"], &rows(&attempts))?;
    // What a user of `--select auto` would look at.
    let [.., last] = &attempts;
    let kinds = Kinds::compare(&made.kinds, &kinds::recognise(answers, &last.analysis.fit.posteriors));
    guide.say(&kinds.sentence())?;
    guide.show(page::pictures(&crowd, &attempts, &kinds)?);
    Ok(CrowdOutcome {
        tasks: answers.tasks(),
        workers: answers.workers(),
        answers: answers.cells().len(),
        classes: crowd.labels.iter().map(str::to_owned).collect(),
        methods: attempts.into_iter().map(|attempt| attempt.outcome).collect(),
        kinds,
    })
}

/// What the stop shows, in two sentences.
fn lead(made: &GeneratedCrowd) -> String {
    let count = |kind| made.kinds.iter().filter(|found| **found == kind).count();
    format!(
        "{} volunteers name the bird on {} photos, {} of them per photo: {} are experts, {} click without looking, \
         {} mix up the names. mixlet sees the answers alone, and works out the labels and whom to trust.",
        made.kinds.len(),
        made.truth.len(),
        spec().answers_per_task,
        count(WorkerKind::Expert),
        count(WorkerKind::Spammer),
        count(WorkerKind::Adversary),
    )
}

fn rows(attempts: &[Attempt]) -> Vec<Vec<String>> {
    let row = |MethodOutcome { method, errors, error_rate, seconds: time, note }: &MethodOutcome| {
        let errors = decimal(*errors, if errors.fract() == 0.0 { 0 } else { 1 });
        vec![(*method).to_owned(), errors, percent(*error_rate, 1), seconds(*time), note.clone()]
    };
    attempts.iter().map(|attempt| row(&attempt.outcome)).collect()
}
