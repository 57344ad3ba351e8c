//! Fitting a crowd: from answers to a posterior for every task and a confusion matrix for every worker.
//!
//! ```text
//!   start (vote, spectral, random, given) ─► pilot ─► pooled prior ─► EM ─► posteriors, conditionals
//!                                            └── only with `Pseudocount::Pooled`
//! ```

pub(super) mod align;
mod collapse;
mod dawid_skene;
pub(super) mod everybody;
mod one_coin;
mod starts;

use mixlet_core::em::{FitSettings, Round, RowFacts, Stop};
use mixlet_core::observations::Answers;

use crate::error::Result;
use starts::Initial;

pub use everybody::judge_unselected;

/// How labels are found.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A confusion matrix per worker.
    #[default]
    DawidSkene,
    /// One accuracy per worker.
    OneCoin,
    /// The label most workers gave.
    MajorityVote,
}

/// Where a fit starts.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// The shares of the votes.
    #[default]
    Vote,
    /// Moments of the answers (Zhang et al. 2016); needs no vote.
    Spectral,
    /// Random confusion matrices.
    Random,
    /// Given posteriors `[tasks, labels]`.
    Given(Vec<f64>),
}

/// What workers are assumed to have answered before.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Pseudocount {
    /// What is typical of the crowd, as strongly as the crowd is alike; nothing where no two workers share a task.
    #[default]
    Pooled,
    /// The same number for every cell; 0 is maximum likelihood.
    Constant(f64),
}

/// How a crowd is fitted; the default is Dawid–Skene from the vote with the pooled prior.
#[derive(Clone, Debug, Default)]
pub struct FitOptions {
    /// How labels are found.
    pub method: Method,
    /// Class shares stay equal.
    pub uniform_shares: bool,
    /// Where the fit starts.
    pub start: Start,
    /// When it ends.
    pub settings: FitSettings,
    /// What workers are assumed to have answered before.
    pub pseudocount: Pseudocount,
    /// `[tasks]`: known labels, or [`UNKNOWN`](mixlet_core::em::UNKNOWN).
    pub known_labels: Option<Vec<u32>>,
    /// `[cells, labels]`: answers that workers gave earlier, by true label.
    pub earlier: Option<Vec<f64>>,
    /// The pooled prior, where it is known already; otherwise a plain fit comes first to find it.
    pub pooled: Option<PooledPrior>,
    /// Seed of the spectral and the random start.
    pub seed: u64,
}

/// A fitted crowd.
#[derive(Clone, Debug)]
pub struct CrowdFit {
    /// How labels were found.
    pub method: Method,
    /// `[tasks, labels]`: the probability of each label.
    pub posteriors: Vec<f64>,
    /// `[labels]`: the share of each class.
    pub class_shares: Vec<f64>,
    /// `[workers · labels, labels]`: `P(answer | class)` of every worker.
    pub conditionals: Vec<f64>,
    /// Every round; none for the majority vote.
    pub rounds: Vec<Round>,
    /// Why the fit ended.
    pub stop: Stop,
    /// The tolerance it was given.
    pub tolerance: f64,
    /// What every worker was assumed to have answered before.
    pub pooled: Option<PooledPrior>,
    /// What is degenerate about the fit.
    pub collapse: Option<Collapse>,
}

/// The crowd's typical confusion, and how much it counts.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PooledPrior {
    /// `[labels, labels]`: `P(answer | class)` of a typical worker.
    pub confusion: Vec<f64>,
    /// Answers per class that it is worth.
    pub strength: f64,
}

impl PooledPrior {
    /// The pseudocounts it stands for.
    pub fn pseudocounts(&self) -> Vec<f64> {
        self.confusion.iter().map(|share| share * self.strength).collect()
    }
}

/// What is degenerate about a fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Collapse {
    /// A class whose label stopped naming it; the fit was replaced by one in which everybody is alike.
    Misnamed {
        /// The class.
        class: usize,
    },
    /// A class that the vote gives many tasks to and the fit next to none.
    Emptied {
        /// The class.
        class: usize,
        /// Its share of the tasks by the vote.
        by_vote: f64,
        /// Its share of the tasks by the fit.
        by_fit: f64,
    },
}

impl CrowdFit {
    /// The last round; none for the majority vote.
    pub fn last(&self) -> Option<Round> {
        self.rounds.last().copied()
    }
}

/// What every method needs to fit.
#[derive(Clone, Copy)]
struct Task<'a> {
    answers: Answers<'a>,
    options: &'a FitOptions,
    facts: RowFacts<'a>,
}

impl Task<'_> {
    /// Whether any two workers answered the same task; otherwise nothing can be said about them.
    fn has_shared_tasks(&self) -> bool {
        let answers = self.answers;
        let same_worker = |a: &u32, b: &u32| answers.worker(*a) == answers.worker(*b);
        answers.rows(0..answers.tasks()).any(|cells| cells.chunk_by(same_worker).nth(1).is_some())
    }
}

/// Fits a crowd; `observe` sees every round.
///
/// Classes that a spectral or random start left in arbitrary order are named by the vote, unless some labels are known.
pub fn fit(answers: Answers<'_>, options: &FitOptions, observe: &mut dyn FnMut(Round)) -> Result<CrowdFit> {
    let facts = RowFacts { known_classes: options.known_labels.as_deref(), weights: None };
    facts.check(answers.tasks(), answers.labels())?;
    let task = Task { answers, options, facts };
    let initial = Initial::new(task)?;
    match options.method {
        Method::DawidSkene => dawid_skene::fit(task, &initial, observe),
        Method::OneCoin => one_coin::fit(task, &initial, observe),
        Method::MajorityVote => dawid_skene::majority_vote(task),
    }
}

/// [`fit`] by Dawid–Skene as it comes out, even if a class lost its name.
pub(super) fn fit_unguarded(answers: Answers<'_>, options: &FitOptions) -> Result<CrowdFit> {
    let facts = RowFacts { known_classes: options.known_labels.as_deref(), weights: None };
    let task = Task { answers, options, facts };
    dawid_skene::fit_unguarded(task, &Initial::new(task)?, &mut |_| ())
}
