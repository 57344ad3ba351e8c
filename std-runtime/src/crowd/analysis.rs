//! Everything that is found out about a crowd: whom to trust, the labels, and how good they are.
//!
//! ```text
//!   answers ─► information ─► selection ─► fit ─► everybody judged ─► accuracies, score, residue, warnings
//!              └ only where somebody asks for it ┘
//! ```
//!
//! The walk over pairs of answers, which information and residue need, costs as much as there are
//! such pairs: it is done only when asked for, or when a number of workers is to be selected.

use std::borrow::Cow;
use std::time::Instant;

use mixlet_core::em::Round;
use mixlet_core::observations::Answers;
use mixlet_core::select::Estimator;

use super::Crowd;
use super::agreement::krippendorff_alpha;
use super::ask_next::{ExpectedGain, expected_gains};
use super::checks;
use super::fit::{CrowdFit, FitOptions, Method, fit, judge_unselected};
use super::score::Score;
use super::selection::{self, Select, Selection};
use super::workers::{WorkerAccuracy, worker_accuracies};
use crate::error::{Error, Result};
use crate::threads;

/// Bytes that confusion matrices, or tables of answer pairs, may take.
const TABLE_LIMIT: u64 = 8 << 30;

/// What is to be found out, and how.
#[derive(Clone, Debug, Default)]
pub struct AnalysisOptions {
    /// How the labels are found.
    pub fit: FitOptions,
    /// Whose answers speak.
    pub select: Select,
    /// Whether every worker's information is wanted.
    pub information: bool,
    /// Whether the residue is wanted.
    pub residue: bool,
}

/// Who wants to know how far an analysis is.
pub trait Progress {
    /// A round of the fit is done, of so many at most.
    fn round(&mut self, round: Round, most: u32);
    /// So many candidates of a selection are tried, of so many.
    fn candidate(&mut self, done: usize, all: usize);
}

/// Nobody does.
impl Progress for () {
    fn round(&mut self, _: Round, _: u32) {}
    fn candidate(&mut self, _: usize, _: usize) {}
}

/// What was found out about a crowd.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The fit, with the conditionals of everybody, also of workers who did not speak.
    pub fit: CrowdFit,
    /// Whose answers spoke; none: everybody's.
    pub selection: Option<Selection>,
    /// `[workers]`: whose answers spoke.
    pub is_selected: Vec<bool>,
    /// `[workers]`: information in nats, where it was asked for.
    pub information: Option<Vec<f64>>,
    /// `[workers]`: accuracy, judged by all answers.
    pub accuracies: Vec<WorkerAccuracy>,
    /// Krippendorff's alpha.
    pub alpha: Option<f64>,
    /// The labels against gold, where there is gold.
    pub gold: Option<GoldScores>,
    /// Dependence between workers, where it was asked for.
    pub residue: Option<Residues>,
    /// What the user must know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub seconds: Seconds,
}

/// The labels against gold, and those of the majority vote.
#[derive(Clone, Debug)]
pub struct GoldScores {
    /// The labels found.
    pub labels: Score,
    /// The majority vote of all answers.
    pub vote: Score,
}

/// Mean information of two workers: unconditional, within classes, and there among those who spoke.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Residues {
    /// Without classes.
    pub raw: f64,
    /// Within classes.
    pub fitted: f64,
    /// Within classes, among the selected workers; none if everybody spoke.
    pub selected: Option<f64>,
}

/// Seconds of wall clock.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Seconds {
    /// Reading; set by whoever read.
    pub read: f64,
    /// From the start of the fit to the end of its first round.
    pub start: f64,
    /// The other rounds, and judging everybody.
    pub fit: f64,
    /// Information and selection.
    pub select: f64,
}

impl Seconds {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.read + self.start + self.fit + self.select
    }
}

impl Analysis {
    /// Analyses a crowd.
    ///
    /// ```
    /// # use mixlet_runtime::crowd::{Crowd, analysis::{Analysis, AnalysisOptions}, answers::Repeats};
    /// // Workers 0 and 1 agree on every task, worker 2 always says 0.
    /// let (tasks, workers) = ([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]);
    /// let crowd = Crowd::from_arrays(&tasks, &workers, &[0, 0, 0, 1, 1, 0], Repeats::First).unwrap();
    /// let analysis = Analysis::run(&crowd, &AnalysisOptions::default(), &mut ()).unwrap();
    /// assert_eq!(analysis.labels(), [0, 1]);
    /// ```
    pub fn run(crowd: &Crowd, options: &AnalysisOptions, progress: &mut dyn Progress) -> Result<Self> {
        let answers = crowd.answers()?;
        check_confusions(answers)?;
        let clock = Instant::now();
        let needs_information = options.information || matches!(options.select, Select::First(_));
        let remedy = "leave out --workers, --report and --select";
        let information =
            needs_information.then(|| information(answers, Estimator::Plain, remedy)).transpose()?;
        let selection = selection::select(
            answers,
            &options.fit,
            options.select,
            information.as_deref().unwrap_or(&[]),
            &mut |done, all| progress.candidate(done, all),
        )?;
        let select = clock.elapsed().as_secs_f64();

        let mut is_selected = vec![selection.is_none(); answers.workers()];
        let selected = selection.iter().flat_map(Selection::workers);
        selected.for_each(|&worker| is_selected[worker as usize] = true);
        let (fit, seconds) = timed_fit(answers, selection.as_ref(), &is_selected, options, progress)?;

        let speaking = speaking(answers, selection.as_ref())?;
        let gold = crowd.gold.as_deref().map(|gold| GoldScores {
            labels: score(speaking, &fit, options, gold),
            vote: Score::of_vote(answers, gold),
        });
        Ok(Self {
            is_selected,
            information,
            accuracies: worker_accuracies(answers, &fit.posteriors),
            alpha: krippendorff_alpha(answers),
            gold,
            residue: options.residue.then(|| residues(answers, &fit, selection.as_ref())).transpose()?,
            warnings: checks::warnings(crowd, answers, speaking, &fit),
            seconds: Seconds { select, ..seconds },
            fit,
            selection,
        })
    }

    /// Number of labels.
    pub fn label_count(&self) -> usize {
        self.fit.class_shares.len()
    }

    /// The most likely label of every task; ties go to the lower label.
    pub fn labels(&self) -> Vec<usize> {
        let posteriors = self.fit.posteriors.chunks_exact(self.label_count());
        posteriors.map(mixlet_core::em::most_likely_class).collect()
    }

    /// `[workers]`: what [`order`](Self::order) is by: the selection's measure, else information.
    pub fn measure(&self) -> Option<&[f64]> {
        match &self.selection {
            Some(selection) => Some(&selection.measure),
            None => self.information.as_deref(),
        }
    }

    /// All workers: as they were ordered to be selected, else by information, else by number.
    pub fn order(&self) -> Vec<u32> {
        if let Some(selection) = &self.selection {
            return selection.order.clone();
        }
        let mut order: Vec<u32> = (0..self.accuracies.len() as u32).collect();
        if let Some(information) = &self.information {
            mixlet_core::select::order_by_information(information, &mut order);
        }
        order
    }

    /// The workers who spoke: best first after a selection, else by number.
    pub fn selected(&self) -> Vec<u32> {
        match &self.selection {
            Some(selection) => selection.workers().to_vec(),
            None => (0..self.accuracies.len() as u32).collect(),
        }
    }

    /// All tasks, the one that one more answer tells most about first.
    pub fn gains(&self, answers: Answers<'_>) -> Vec<ExpectedGain> {
        expected_gains(answers, &self.fit.posteriors, &self.fit.conditionals, |worker| {
            self.is_selected[worker]
        })
    }
}

/// The answers that speak.
fn speaking<'a>(all: Answers<'a>, selection: Option<&'a Selection>) -> Result<Answers<'a>> {
    selection.map_or(Ok(all), |selection| selection.answers(all))
}

/// Fits the answers that speak, judges everybody, and says how long it took.
fn timed_fit(
    answers: Answers<'_>,
    selection: Option<&Selection>,
    is_selected: &[bool],
    options: &AnalysisOptions,
    progress: &mut dyn Progress,
) -> Result<(CrowdFit, Seconds)> {
    let clock = Instant::now();
    let speaking = speaking(answers, selection)?;
    let fit_options = match selection {
        Some(selection) => Cow::Owned(selection.fit_options(answers, &options.fit)),
        None => Cow::Borrowed(&options.fit),
    };
    let mut first_round = None;
    let mut fit = fit(speaking, &fit_options, &mut |round| {
        first_round.get_or_insert_with(|| clock.elapsed().as_secs_f64());
        progress.round(round, options.fit.settings.rounds);
    })?;
    if selection.is_some() {
        judge_unselected(answers, &fit_options, is_selected, &mut fit)?;
    }
    let start = first_round.unwrap_or(0.0);
    Ok((fit, Seconds { start, fit: clock.elapsed().as_secs_f64() - start, ..Seconds::default() }))
}

/// The labels against gold; ties of the vote are shared, unless known labels took part in it.
fn score(speaking: Answers<'_>, fit: &CrowdFit, options: &AnalysisOptions, gold: &[u32]) -> Score {
    if fit.method == Method::MajorityVote && options.fit.known_labels.is_none() {
        return Score::of_vote(speaking, gold);
    }
    let is_known = |task: usize| {
        options.fit.known_labels.as_ref().is_some_and(|known| known[task] != mixlet_core::em::UNKNOWN)
    };
    let is_covered = |task: usize| !speaking.task(task).is_empty() || is_known(task);
    Score::of_posteriors(&fit.posteriors, speaking.labels(), gold, is_covered)
}

/// Every worker's information, in nats; the remedy is what to do where it would take too much memory.
pub fn information(answers: Answers<'_>, estimator: Estimator, remedy: &'static str) -> Result<Vec<f64>> {
    check_pair_tables(answers, 1, remedy)?;
    selection::worker_information(answers, estimator)
}

fn residues(answers: Answers<'_>, fit: &CrowdFit, selection: Option<&Selection>) -> Result<Residues> {
    check_pair_tables(answers, answers.labels(), "leave out --residue")?;
    let (raw, _) = selection::residue(answers, None, None)?;
    let (fitted, selected) = selection::residue(answers, Some(&fit.posteriors), selection)?;
    Ok(Residues { raw, fitted, selected })
}

/// Makes sure that every thread can have its tables of answer pairs.
/// Makes sure that a confusion matrix per worker fits; a fit holds about six sets of them.
fn check_confusions(answers: Answers<'_>) -> Result<()> {
    let table = (answers.cell_count() as u64).saturating_mul((answers.labels() * size_of::<f64>()) as u64);
    let needed = table.saturating_mul(6);
    let remedy =
        "is `label` the right column? join rare labels, or name the column with --columns label=NAME";
    match needed > TABLE_LIMIT {
        true => Err(Error::Memory {
            what: "confusion matrices of so many labels",
            needed,
            limit: TABLE_LIMIT,
            remedy,
        }),
        false => Ok(()),
    }
}

fn check_pair_tables(answers: Answers<'_>, classes: usize, remedy: &'static str) -> Result<()> {
    let tables = answers.cell_count() as u64 * (answers.labels() * classes * size_of::<f64>()) as u64;
    let needed = tables.saturating_mul(threads::count() as u64);
    let limit = TABLE_LIMIT;
    match needed > limit {
        true => Err(Error::Memory { what: "the tables of answer pairs", needed, limit, remedy }),
        false => Ok(()),
    }
}
