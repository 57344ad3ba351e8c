//! Everything that is shown of a mixture: the fit, the numbers of classes tried, columns, scores, what to beware of.

mod checks;
mod columns;
mod held_out;

use std::ops::RangeInclusive;
use std::time::Instant;

use mixlet_core::em::{ActiveColumns, criteria};
use serde::Serialize;

use super::candidates::{Candidate, best_by_bic};
use super::fit::{FitOptions, MixtureFit, Task};
use super::methods::{Found, MethodOptions, Step, find, select};
use super::model::mask;
use super::tree::{RefineOptions, Tree, TreeOptions};
use super::truth::{TruthScore, label_shares};
use super::view;
use super::{Method, Select};
use crate::error::{Error, MixtureProblem, Result};
use crate::rows::{Labels, Rows};
use columns::free_parameters;
use held_out::HeldOutRows;

pub use super::methods::Progress;
pub use columns::ColumnFacts;

/// What all rows count together at most: with more, a count of one would be lost in sums.
const MOST_WEIGHT: f64 = 1e15;

/// What is asked of an analysis.
#[derive(Clone, Debug)]
pub struct AnalysisOptions {
    /// Numbers of classes to try.
    pub classes: RangeInclusive<usize>,
    /// How classes are found.
    pub method: Method,
    /// How many columns speak for them; in a tree, in every node.
    pub select: Select,
    /// Nodes on a path of a tree at most.
    pub depth: u32,
    /// How the leaves of a tree are refined; none: they are not.
    pub refine: Option<RefineOptions>,
    /// How each number of them is fitted.
    pub fit: FitOptions,
    /// The share of rows that take no part in the fit and test it.
    pub held_out: Option<f64>,
    /// `[rows]`: how often each row counts.
    pub weights: Option<Vec<f64>>,
    /// Known classes that score the fit and take no part in it.
    pub truth: Option<Labels>,
}

impl AnalysisOptions {
    /// A fit of so many classes and nothing more.
    pub fn of_classes(classes: usize) -> Self {
        Self {
            classes: classes..=classes,
            method: Method::Em,
            select: Select::All,
            depth: TreeOptions::default().depth,
            refine: None,
            fit: FitOptions::default(),
            held_out: None,
            weights: None,
            truth: None,
        }
    }
}

/// How long each part took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// Reading.
    pub read: f64,
    /// Fitting.
    pub fit: f64,
}

/// How the fit does on rows that took no part in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// Their number.
    pub rows: usize,
    /// What they count together.
    pub weight: f64,
    /// Log-likelihood of all of them, in nats.
    pub log_likelihood: f64,
    /// The share of them whose label is not the most likely one by class shares of the fitted rows.
    pub error_rate: Option<f64>,
}

/// Known classes beside those found.
#[derive(Clone, Debug)]
pub struct Truth {
    /// What they are called.
    pub names: Vec<String>,
    /// `[classes, labels]`: what the labels of each class's rows say.
    pub label_shares: Vec<f64>,
    /// The score of the rows that were fitted.
    pub score: TruthScore,
}

impl Truth {
    /// Compares the rows that count.
    fn new(
        labels: &Labels,
        posteriors: &[f64],
        classes: usize,
        counts: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let label_shares = label_shares(posteriors, classes, labels, &counts);
        let score = TruthScore::new(posteriors, classes, labels, &label_shares, &counts)?;
        Some(Self { names: labels.names.iter().map(str::to_owned).collect(), label_shares, score })
    }
}

/// A fitted mixture and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// How the classes were found.
    pub method: Method,
    /// All numbers of classes that were tried, in order.
    pub candidates: Vec<Candidate>,
    /// Which of them was chosen.
    pub chosen: usize,
    /// One class, where several numbers were tried: what they have to beat.
    pub baseline: Option<Candidate>,
    /// The chosen fit; classes by their share, the largest first.
    pub fit: MixtureFit,
    /// `[rows, classes]`.
    pub posteriors: Vec<f64>,
    /// What each column tells.
    pub columns: Vec<ColumnFacts>,
    /// The columns that the classes were found by, in the order they were selected; all by number without selection.
    pub selected: Vec<u32>,
    /// Whether only they speak for the classes of rows.
    pub is_selection: bool,
    /// How classes and columns were found one after the other.
    pub steps: Vec<Step>,
    /// Against known classes, by the selected columns alone, where all columns were fitted in the end.
    pub truth_by_selected: Option<TruthScore>,
    /// The tree whose leaves the classes are, or began as.
    pub tree: Option<Tree>,
    /// Rounds of EM with all columns that the leaves had after it; none: the tree speaks for the classes.
    pub refined: Option<u32>,
    /// Against known classes.
    pub truth: Option<Truth>,
    /// On rows that took no part.
    pub held_out: Option<HeldOut>,
    /// What the user must know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub seconds: Seconds,
}

/// One number of classes, fitted and judged.
struct Tried {
    candidate: Candidate,
    found: Found,
    posteriors: Vec<f64>,
}

impl Analysis {
    /// Fits every number of classes and keeps the one with the best BIC.
    pub fn run(rows: &Rows, options: &AnalysisOptions, progress: &dyn Progress) -> Result<Self> {
        let clock = Instant::now();
        check(rows, options)?;
        let held_out = options.held_out.map(|share| HeldOutRows::draw(rows.len(), share, options));
        let given = Given::new(rows, options, held_out.as_ref(), progress)?;
        let mut tried: Option<(usize, Tried)> = None;
        let mut candidates: Vec<Candidate> = Vec::new();
        for classes in options.classes.clone() {
            let next = Tried::run(&given, classes, progress)?;
            candidates.push(next.candidate.clone());
            let place = candidates.len() - 1;
            // Only the best so far is kept: posteriors are large.
            if best_by_bic(&candidates) == Some(place) {
                tried = Some((place, next));
            }
        }
        // The range is not empty.
        let Some((chosen, best)) = tried else {
            return Err(Error::Options { problem: "no number of classes" });
        };
        let baseline = baseline(&given, &candidates)?;
        let fit_seconds = clock.elapsed().as_secs_f64();
        let mut analysis = Self::describe(rows, options, held_out, (candidates, chosen, best))?;
        analysis.baseline = baseline;
        analysis.seconds.fit = fit_seconds;
        analysis.warnings = checks::warnings(rows, options, &analysis);
        Ok(analysis)
    }

    fn describe(
        rows: &Rows,
        options: &AnalysisOptions,
        held_out: Option<HeldOutRows>,
        (candidates, chosen, best): (Vec<Candidate>, usize, Tried),
    ) -> Result<Self> {
        let Tried { found, posteriors, .. } = best;
        let Found { fit, selected, is_fitted_by_selected, steps, by_selected, tree, refined } = found;
        let classes = fit.parameters.classes();
        let is_fitted = |row: usize| held_out.as_ref().is_none_or(|held_out| !held_out.contains(row));
        let against_truth =
            |posteriors: &[f64]| Truth::new(options.truth.as_ref()?, posteriors, classes, is_fitted);
        let truth = against_truth(&posteriors);
        let active = selected.as_ref().filter(|_| is_fitted_by_selected);
        let active = active.map(|selected| mask(selected, rows.columns.len()));
        let held_out = held_out.as_ref().map(|held_out| {
            held_out.score(rows, &fit, active.as_deref(), &posteriors, options, truth.as_ref())
        });
        let columns = columns::facts(&view(rows)?.level_offsets(), &fit.parameters, selected.as_deref());
        Ok(Self {
            method: options.method,
            baseline: None,
            selected: selected.unwrap_or_else(|| (0..columns.len() as u32).collect()),
            is_selection: is_fitted_by_selected,
            steps,
            tree,
            refined,
            truth_by_selected: by_selected.and_then(|alone| against_truth(&alone)).map(|truth| truth.score),
            candidates,
            chosen,
            fit,
            posteriors,
            columns,
            truth,
            held_out: held_out.transpose()?,
            warnings: Vec::new(),
            seconds: Seconds::default(),
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.fit.parameters.shares.len()
    }

    /// How the chosen number of classes was judged.
    pub fn chosen(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }

    /// The numbers of classes that were tried and, before them, one class.
    pub fn table(&self) -> Vec<&Candidate> {
        let baseline = self.baseline.iter().filter(|_| self.candidates.iter().all(|other| other.classes > 1));
        baseline.chain(&self.candidates).collect()
    }

    /// The share of wrong rows against known classes: after the best match, by class labels for a tree.
    pub fn error_rate(&self) -> Option<f64> {
        Some(self.error_of(&self.truth.as_ref()?.score))
    }

    /// The same by the selected columns alone, or by the tree alone, where all columns were fitted in the end.
    pub fn selected_error_rate(&self) -> Option<f64> {
        Some(self.error_of(self.truth_by_selected.as_ref()?))
    }

    fn error_of(&self, score: &TruthScore) -> f64 {
        if self.tree.is_some() { score.share_error } else { score.aligned_error }
    }

    /// The tree, where it speaks for the classes of rows.
    pub fn speaking_tree(&self) -> Option<&Tree> {
        self.tree.as_ref().filter(|_| self.refined.is_none())
    }

    /// Nodes on the longest path of a tree; none without one.
    pub fn depth(&self) -> Option<u32> {
        let nodes = &self.tree.as_ref()?.nodes;
        Some(nodes.iter().map(|node| node.depth + 1).max().unwrap_or(0))
    }

    /// `[classes]`: rows whose most likely class it is.
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.classes()];
        for posterior in self.posteriors.chunks_exact(self.classes()) {
            sizes[mixlet_core::em::most_likely_class(posterior)] += 1;
        }
        sizes
    }
}

/// What every number of classes is fitted to.
struct Given<'a> {
    rows: &'a Rows,
    options: &'a AnalysisOptions,
    held_out: Option<&'a HeldOutRows>,
    weights: Option<&'a [f64]>,
    /// The columns that speak, where they are selected beforehand.
    selected: Option<Vec<u32>>,
}

impl<'a> Given<'a> {
    fn new(
        rows: &'a Rows,
        options: &'a AnalysisOptions,
        held_out: Option<&'a HeldOutRows>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let weights =
            held_out.map_or(options.weights.as_deref(), |held_out| Some(held_out.fit_weights.as_slice()));
        let selected = select(view(rows)?, weights, (options.method, options.select), progress)?;
        Ok(Self { rows, options, held_out, weights, selected })
    }
}

impl Tried {
    fn run(given: &Given<'_>, classes: usize, progress: &dyn Progress) -> Result<Self> {
        let &Given { rows, options, held_out, weights, ref selected } = given;
        let &AnalysisOptions { method, select, depth, refine, ref fit, .. } = options;
        let method = MethodOptions { method, select, selected: selected.as_deref(), depth, refine, fit };
        let found = find(view(rows)?, weights, classes, method, progress)?;
        let active = found.selected.as_ref().filter(|_| found.is_fitted_by_selected);
        let active = active.map(|selected| mask(selected, rows.columns.len()));
        let columns = ActiveColumns { mask: active.as_deref(), partial: false };
        let task = Task { rows: view(rows)?, weights, active: columns };
        let fit = &found.fit;
        let (posteriors, log_likelihood) = found.posteriors(task)?;
        // The leaves of a tree are as many as there are.
        let classes = fit.parameters.classes();
        let mass = weights.map_or(rows.len() as f64, |weights| weights.iter().sum());
        let free_parameters = free_parameters(rows, classes, columns);
        let entropy = criteria::entropy(&posteriors, classes, weights);
        let bic = criteria::bic(log_likelihood, free_parameters, mass);
        let held_out_log_likelihood =
            held_out.map(|held_out| held_out.log_likelihood(rows, fit, active.as_deref())).transpose()?;
        let candidate = Candidate {
            classes,
            log_likelihood,
            free_parameters,
            bic,
            icl: criteria::icl(bic, entropy),
            entropy,
            separation: (classes > 1).then(|| criteria::separation(entropy, mass, classes)),
            held_out: held_out.zip(held_out_log_likelihood).map(|(rows, all)| all / rows.mass()),
            rounds: fit.rounds.len(),
            stop: fit.stop,
            restarts: fit.restarts.clone(),
        };
        Ok(Self { candidate, found, posteriors })
    }
}

/// One class, where several numbers were tried.
fn baseline(given: &Given<'_>, candidates: &[Candidate]) -> Result<Option<Candidate>> {
    let is_range = given.options.classes.start() < given.options.classes.end();
    match candidates.iter().find(|candidate| candidate.classes == 1) {
        None if is_range => Ok(Some(Tried::run(given, 1, &())?.candidate)),
        one => Ok(one.cloned()),
    }
}

/// Whether there is anything to fit.
fn check(rows: &Rows, options: &AnalysisOptions) -> Result<()> {
    let (asked, count) = (*options.classes.end(), rows.len());
    if asked > count {
        return Err(Error::Mixture(MixtureProblem::Classes { asked, rows: count }));
    }
    if columns::varying(rows).all(|varies| !varies) {
        let (columns, threshold) = (rows.columns.len(), rows.threshold);
        return Err(Error::Mixture(MixtureProblem::AllConstant { columns, threshold }));
    }
    match options.weights.as_ref().map(|weights| weights.iter().sum::<f64>()) {
        Some(0.0) => Err(Error::Mixture(MixtureProblem::NoWeight { rows: count })),
        Some(total) if total > MOST_WEIGHT => {
            Err(Error::Mixture(MixtureProblem::TooMuchWeight { total, most: MOST_WEIGHT }))
        }
        _ => Ok(()),
    }
}
