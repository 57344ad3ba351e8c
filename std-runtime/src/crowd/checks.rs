//! Signs that a fit went wrong, in words for the user.

use mixlet_core::em::{Stop, most_likely_class};
use mixlet_core::observations::Answers;

use super::Crowd;
use super::fit::align::best_labels;
use super::fit::{Collapse, CrowdFit, Method};
use crate::error::Quoted;
use crate::report::number::{count, things};

/// Answers below which one label only means nothing.
const FEW_ANSWERS: usize = 10;
/// Names that a warning lists.
const NAMES: usize = 5;

/// Everything worth a warning about a crowd and its fit; `speaking` are the answers that the fit used.
pub fn warnings(crowd: &Crowd, answers: Answers<'_>, speaking: Answers<'_>, fit: &CrowdFit) -> Vec<String> {
    let mut warnings = Vec::new();
    if fit.method != Method::MajorityVote {
        warnings.extend(not_converged(fit));
        warnings.extend(collapsed(crowd, fit));
        let flipped = flipped_classes(crowd, answers, fit);
        let overruled = || overruled_votes(crowd, answers, fit);
        warnings.extend(flipped.or_else(overruled));
    }
    warnings.extend(vanished_classes(crowd, answers, fit));
    warnings.extend(uncovered_tasks(crowd, speaking));
    warnings.extend(one_label_workers(crowd, answers));
    warnings.extend(unjudged_workers(crowd, answers));
    warnings
}

fn not_converged(fit: &CrowdFit) -> Option<String> {
    (fit.stop == Stop::IterationLimit && fit.tolerance > 0.0).then(|| {
        let rounds = things(fit.rounds.len(), "round");
        format!("the fit stopped after {rounds} before it converged; raise --rounds")
    })
}

/// A degenerate fit.
fn collapsed(crowd: &Crowd, fit: &CrowdFit) -> Option<String> {
    fit.collapse.map(|collapse| match collapse {
        Collapse::Misnamed { class } => format!(
            "the class {} filled with tasks that hardly anyone labels so: the answers do not tell workers apart; \
             all workers were given the confusion that the vote shows instead",
            label(crowd, class)
        ),
        Collapse::Emptied { class, by_vote, by_fit } => format!(
            "the one-coin fit collapsed: {} holds {:.1} % of the tasks by vote and {:.1} % by the fit; \
             use --method dawid-skene or --prior uniform",
            label(crowd, class),
            100.0 * by_vote,
            100.0 * by_fit
        ),
    })
}

/// The tasks that the vote calls `l` and the fit `k`, for all pairs; ties and unanswered tasks are left out.
fn labels_against_vote(answers: Answers<'_>, fit: &CrowdFit) -> Vec<f64> {
    let classes = answers.labels();
    let mut table = vec![0.0; classes * classes];
    let mut votes = vec![0.0; classes];
    for (cells, posterior) in answers.rows(0..answers.tasks()).zip(fit.posteriors.chunks_exact(classes)) {
        votes.fill(0.0);
        cells.iter().for_each(|&cell| votes[answers.label(cell)] += 1.0);
        let leader = most_likely_class(&votes);
        let tied = votes.iter().filter(|&&count| count == votes[leader]).count() > 1;
        if !tied {
            table[most_likely_class(posterior) * classes + leader] += 1.0;
        }
    }
    table
}

/// Share of the votes that a fit may overrule without a word.
const OVERRULED: f64 = 0.3;

/// Tasks with three answers or more, one label that most gave, and another label by the fit.
fn overruled_votes(crowd: &Crowd, answers: Answers<'_>, fit: &CrowdFit) -> Option<String> {
    let labels = answers.labels();
    let (mut votes_won, mut overruled) = (0usize, 0usize);
    let mut votes = vec![0.0; labels];
    for (cells, posterior) in answers.rows(0..answers.tasks()).zip(fit.posteriors.chunks_exact(labels)) {
        votes.fill(0.0);
        cells.iter().for_each(|&cell| votes[answers.label(cell)] += 1.0);
        let leader = most_likely_class(&votes);
        let leaders = votes.iter().filter(|&&count| count == votes[leader]).count();
        if cells.len() >= 3 && leaders == 1 {
            votes_won += 1;
            overruled += usize::from(most_likely_class(posterior) != leader);
        }
    }
    (overruled as f64 > OVERRULED * votes_won as f64).then(|| {
        format!(
            "the fit overrules the vote on {overruled} of {} tasks: a few workers who know better may do so, but also \
             workers who copy each other; compare with --method majority-vote, see --residue",
            crowd.tasks.len()
        )
    })
}

/// Classes that the fit uses for what the vote calls otherwise.
fn flipped_classes(crowd: &Crowd, answers: Answers<'_>, fit: &CrowdFit) -> Option<String> {
    let classes = crowd.labels.len();
    let table = labels_against_vote(answers, fit);
    let best = best_labels(&table, classes);
    let agreeing: f64 = table.iter().step_by(classes + 1).sum();
    let reassigned: f64 = best.iter().enumerate().map(|(class, &vote)| table[class * classes + vote]).sum();
    // A permutation that merely ties, or moves empty classes, is no flip.
    (reassigned > agreeing).then(|| {
        let moved = (best.iter().enumerate())
            .filter(|&(class, &vote)| class != vote && table[class * classes + vote] > 0.0)
            .map(|(class, &vote)| {
                format!("{} where the vote says {}", label(crowd, class), label(crowd, vote))
            });
        format!(
            "the fit turned classes against the vote ({}): workers may be adversaries, or the classes swapped; \
             compare with --method majority-vote or fix some --known-labels",
            first_names(moved)
        )
    })
}

/// Classes that were answered but that no task ended in.
fn vanished_classes(crowd: &Crowd, answers: Answers<'_>, fit: &CrowdFit) -> Option<String> {
    let classes = answers.labels();
    let mut answered = vec![0usize; classes];
    answers.cells().iter().for_each(|&cell| answered[answers.label(cell)] += 1);
    let mut labelled = vec![0usize; classes];
    for posterior in fit.posteriors.chunks_exact(classes) {
        labelled[most_likely_class(posterior)] += 1;
    }
    let mut gone = (0..classes)
        .filter(|&class| answered[class] > 0 && labelled[class] == 0)
        .map(|class| format!("{} ({})", label(crowd, class), things(answered[class], "answer")))
        .peekable();
    gone.peek().is_some().then(|| format!("no task was given the label {}", first_names(gone)))
}

fn uncovered_tasks(crowd: &Crowd, speaking: Answers<'_>) -> Option<String> {
    let uncovered = speaking.rows(0..speaking.tasks()).filter(|cells| cells.is_empty()).count();
    (uncovered > 0).then(|| {
        let tasks = things(crowd.tasks.len(), "task");
        let verbs = if uncovered == 1 { ["has", "its"] } else { ["have", "their"] };
        let ([has, their], uncovered) = (verbs, count(uncovered as u64));
        format!("{uncovered} of {tasks} {has} no answer by a selected worker; {their} label is a guess")
    })
}

/// Workers with enough answers who gave one label only.
fn one_label_workers(crowd: &Crowd, answers: Answers<'_>) -> Option<String> {
    let mut counts = vec![0usize; answers.cell_count()];
    answers.cells().iter().for_each(|&cell| counts[cell as usize] += 1);
    let constant: Vec<usize> = (counts.chunks_exact(answers.labels()).enumerate())
        .filter(|(_, given)| {
            given.iter().sum::<usize>() >= FEW_ANSWERS
                && given.iter().filter(|&&count| count > 0).count() == 1
        })
        .map(|(worker, _)| worker)
        .collect();
    list_workers(crowd, &constant, &format!("gave one label only, in {FEW_ANSWERS} answers or more"))
}

/// Workers who answered no task with gold, where there is gold.
fn unjudged_workers(crowd: &Crowd, answers: Answers<'_>) -> Option<String> {
    let gold = crowd.gold.as_ref()?;
    let mut judged = vec![false; answers.workers()];
    for (cells, _) in answers.rows(0..answers.tasks()).zip(gold).filter(|(_, gold)| **gold != u32::MAX) {
        cells.iter().for_each(|&cell| judged[answers.worker(cell)] = true);
    }
    let unjudged: Vec<usize> = (0..judged.len()).filter(|&worker| !judged[worker]).collect();
    list_workers(crowd, &unjudged, "answered no task with gold, so gold says nothing about them")
}

fn list_workers(crowd: &Crowd, workers: &[usize], what: &str) -> Option<String> {
    let names = workers.iter().map(|&worker| Quoted(crowd.workers.get(worker)).to_string());
    let number = things(workers.len(), "worker");
    (!workers.is_empty()).then(|| format!("{number} {what}: {}", first_names(names)))
}

fn label(crowd: &Crowd, class: usize) -> Quoted<'_> {
    Quoted(crowd.labels.get(class))
}

/// As many names as a warning lists, and a sign that there are more.
fn first_names(mut names: impl Iterator<Item = String>) -> String {
    let mut listed: Vec<String> = names.by_ref().take(NAMES).collect();
    listed.extend(names.next().map(|_| "…".to_owned()));
    listed.join(", ")
}
