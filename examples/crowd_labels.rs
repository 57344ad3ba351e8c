//! Labels out of a crowd's answers, and the workers to trust: arrays in, arrays out.
//!
//! `cargo run --release --example crowd_labels`

use mixlet_core::em::most_likely_class;
use mixlet_runtime::crowd::Crowd;
use mixlet_runtime::crowd::answers::Repeats;
use mixlet_runtime::crowd::fit::{FitOptions, fit};
use mixlet_runtime::crowd::generate::{CrowdSpec, WorkerKind, generate};
use mixlet_runtime::crowd::score::Score;
use mixlet_runtime::crowd::workers::worker_accuracies;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // One value per answer in each array: which task, by whom, and what they said.
    let made = generate(&CrowdSpec::default().check()?, 0);
    let (tasks, workers, labels): (&[u32], &[u32], &[u32]) = (&made.tasks, &made.workers, &made.labels);

    // Fit: a confusion matrix per worker, a probability of every label per task.
    let crowd = Crowd::from_arrays(tasks, workers, labels, Repeats::First)?;
    let answers = crowd.answers()?;
    let fitted = fit(answers, &FitOptions::default(), &mut |_| ())?;

    // Labels: the most likely one of each task.
    let found: Vec<usize> = fitted.posteriors.chunks_exact(answers.labels()).map(most_likely_class).collect();
    let wrong = found.iter().zip(&made.truth).filter(|(found, truth)| **found != **truth as usize).count();
    let wrong_by_vote = Score::of_vote(answers, &made.truth).errors;
    println!("{} tasks: the vote is wrong on {wrong_by_vote}, the fit on {wrong}", found.len());

    // Workers to trust: right more often than not, with 97.5 % confidence.
    let accuracies = worker_accuracies(answers, &fitted.posteriors);
    let trusted: Vec<usize> = (0..accuracies.len()).filter(|&worker| accuracies[worker].low > 0.5).collect();
    println!("trusted workers: {trusted:?}");

    assert!((wrong as f64) < 0.6 * wrong_by_vote);
    let experts = made.kinds.iter().filter(|kind| **kind == WorkerKind::Expert).count();
    let trusted_experts = trusted.iter().filter(|worker| made.kinds[**worker] == WorkerKind::Expert).count();
    assert_eq!(trusted_experts, experts, "every expert is trusted");
    assert!(trusted.iter().all(|worker| made.kinds[*worker] != WorkerKind::Adversary));
    Ok(())
}
