//! Synthetic crowds with known truth: for demonstrations, benchmarks and tests.
//!
//! A worker of kind `k` answers class `j` on a task of class `c` with probability `confusion[c, j]`:
//!
//! ```text
//!   expert, ordinary   confusion[c, c] drawn for each class from the kind's range, errors spread unevenly
//!   adversary          an ordinary worker whose answers are shifted, so that no class keeps its name
//!   spammer            all rows equal: every other one gives one label only, the rest their own mixture
//! ```
//!
//! Only integers and `+ − · /` on `f64` are used, so a seed gives the same crowd on every platform.

mod csv;
mod spec;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

pub use csv::Names;
pub use spec::{CheckedCrowdSpec, CrowdSpec, CrowdSpecError, MAX_CONFUSIONS};

/// How a worker treats the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerKind {
    /// Right more often than not, if the spec says so.
    Ordinary,
    /// Nearly always right.
    Expert,
    /// Answers without looking at the task.
    Spammer,
    /// Recognises the class, then answers another one.
    Adversary,
}

/// Answers with the truth behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedCrowd {
    /// `[answers]`: the task of each answer, ascending.
    pub tasks: Vec<u32>,
    /// `[answers]`: the worker of each answer; the workers of a task differ.
    pub workers: Vec<u32>,
    /// `[answers]`: the class each answer names.
    pub labels: Vec<u32>,
    /// `[tasks]`: the class each task has.
    pub truth: Vec<u32>,
    /// `[workers]`: how each worker answers.
    pub kinds: Vec<WorkerKind>,
    /// `[workers]`: probability of a right answer, `Σ_c share(c) · confusion[c, c]`.
    pub accuracy: Vec<f64>,
    /// Number of classes.
    pub classes: u32,
}

/// The crowd of a seed. Kinds are exact shares of the workers, in random places.
///
/// Takes 12 bytes per answer and `4 · workers · classes²` for the confusion matrices.
///
/// ```
/// # use mixlet_runtime::crowd::generate::{CrowdSpec, WorkerKind, generate};
/// let spec = CrowdSpec { tasks: 20, workers: 10, answers_per_task: 3, ..CrowdSpec::default() }.check()?;
/// let crowd = generate(&spec, 7);
/// assert_eq!((crowd.truth.len(), crowd.labels.len()), (20, 60));
/// assert_eq!(crowd.kinds.iter().filter(|kind| **kind == WorkerKind::Spammer).count(), 3);
/// # Ok::<(), mixlet_runtime::crowd::generate::CrowdSpecError>(())
/// ```
pub fn generate(spec: &CheckedCrowdSpec, seed: u64) -> GeneratedCrowd {
    let spec = &spec.0;
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let class_shares = normalised(&spec.class_shares);
    let classes = class_shares.len();
    let mut class_thresholds = Vec::with_capacity(classes - 1);
    push_thresholds(&class_shares, &mut class_thresholds);
    let people = draw_people(spec, &class_shares, &mut rng);

    let answers = spec.tasks as usize * spec.answers_per_task as usize;
    let mut crowd = GeneratedCrowd {
        tasks: Vec::with_capacity(answers),
        workers: Vec::with_capacity(answers),
        labels: Vec::with_capacity(answers),
        truth: Vec::with_capacity(spec.tasks as usize),
        kinds: people.kinds,
        accuracy: people.accuracy,
        classes: classes as u32,
    };
    let mut last_task = vec![u32::MAX; spec.workers as usize];
    for task in 0..spec.tasks {
        let truth = pick(&class_thresholds, rng.next_u32());
        crowd.truth.push(truth);
        // Floyd's sample without repetition: any worker up to `newest`, or `newest` if that one is taken.
        for newest in spec.workers - spec.answers_per_task..spec.workers {
            let random = rng.next_u64();
            let mut worker = scale((random >> 32) as u32, newest + 1);
            if last_task[worker as usize] == task {
                worker = newest;
            }
            last_task[worker as usize] = task;
            let row = (worker as usize * classes + truth as usize) * (classes - 1);
            crowd.tasks.push(task);
            crowd.workers.push(worker);
            crowd.labels.push(pick(&people.thresholds[row..row + classes - 1], random as u32));
        }
    }
    crowd
}

/// What is known of each worker.
struct People {
    kinds: Vec<WorkerKind>,
    accuracy: Vec<f64>,
    /// `[workers, classes, classes − 1]`: confusion matrices as thresholds.
    thresholds: Vec<u32>,
}

fn draw_people(spec: &CrowdSpec, class_shares: &[f64], rng: &mut impl Rng) -> People {
    let classes = class_shares.len();
    let kinds = draw_kinds(spec, rng);
    let mut accuracy = Vec::with_capacity(kinds.len());
    let mut thresholds = Vec::with_capacity(kinds.len() * classes * (classes - 1));
    let mut spammers = 0;
    for kind in &kinds {
        let confusion = match kind {
            WorkerKind::Expert => diagonal_confusion(classes, spec.expert_accuracy, 0, rng),
            WorkerKind::Ordinary => diagonal_confusion(classes, spec.ordinary_accuracy, 0, rng),
            WorkerKind::Adversary => {
                let shift = 1 + below(rng, classes as u32 - 1) as usize;
                diagonal_confusion(classes, spec.ordinary_accuracy, shift, rng)
            }
            WorkerKind::Spammer => {
                spammers += 1;
                spam_confusion(classes, spammers % 2 == 1, rng)
            }
        };
        let diagonal = confusion.iter().step_by(classes + 1);
        accuracy.push(class_shares.iter().zip(diagonal).map(|(share, right)| share * right).sum());
        confusion.chunks_exact(classes).for_each(|row| push_thresholds(row, &mut thresholds));
    }
    People { kinds, accuracy, thresholds }
}

fn normalised(weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// The kinds in random order; the rounded cumulative shares say how many of each.
fn draw_kinds(spec: &CrowdSpec, rng: &mut impl Rng) -> Vec<WorkerKind> {
    let end = |share: f64| (share * f64::from(spec.workers) + 0.5) as usize;
    let ends = [
        (end(spec.experts), WorkerKind::Expert),
        (end(spec.experts + spec.spammers), WorkerKind::Spammer),
        (end(spec.experts + spec.spammers + spec.adversaries), WorkerKind::Adversary),
    ];
    let mut kinds: Vec<_> = (0..spec.workers as usize)
        .map(|worker| {
            ends.iter().find(|(end, _)| worker < *end).map_or(WorkerKind::Ordinary, |(_, kind)| *kind)
        })
        .collect();
    for last in (1..spec.workers).rev() {
        kinds.swap(last as usize, below(rng, last + 1) as usize);
    }
    kinds
}

/// `[classes, classes]`: the right class with a probability from `range`, drawn anew for each class; every answer
/// is then moved on by `shift` classes.
fn diagonal_confusion(classes: usize, range: (f64, f64), shift: usize, rng: &mut impl Rng) -> Vec<f64> {
    let mut confusion = vec![0.0; classes * classes];
    for (class, row) in confusion.chunks_exact_mut(classes).enumerate() {
        let right = range.0 + (range.1 - range.0) * unit(rng);
        // The other classes share the errors unevenly.
        row.iter_mut().for_each(|weight| *weight = 0.25 + unit(rng));
        row[class] = 0.0;
        let others: f64 = row.iter().sum();
        row.iter_mut().for_each(|weight| *weight *= (1.0 - right) / others);
        row[class] = right;
        row.rotate_right(shift);
    }
    confusion
}

/// `[classes, classes]` with equal rows: one label only, or a mixture of the worker's own.
fn spam_confusion(classes: usize, one_label: bool, rng: &mut impl Rng) -> Vec<f64> {
    let row = if one_label {
        let mut row = vec![0.0; classes];
        row[below(rng, classes as u32) as usize] = 1.0;
        row
    } else {
        normalised(&(0..classes).map(|_| 0.25 + unit(rng)).collect::<Vec<_>>())
    };
    row.repeat(classes)
}

/// A random number below this is below probability one: thresholds of probability one fit into 32 bits.
const PROBABILITY_ONE: u32 = 1 << 31;

/// Appends the `classes − 1` inner borders of the cumulative distribution.
fn push_thresholds(probabilities: &[f64], thresholds: &mut Vec<u32>) {
    let mut cumulative = 0.0;
    for probability in &probabilities[..probabilities.len() - 1] {
        cumulative += probability;
        thresholds.push((cumulative * f64::from(PROBABILITY_ONE) + 0.5) as u32);
    }
}

/// The class whose part of the cumulative distribution a random number hits.
fn pick(thresholds: &[u32], random: u32) -> u32 {
    thresholds.iter().map(|&threshold| u32::from(random >> 1 >= threshold)).sum()
}

/// Uniform in `0..1`.
fn unit(rng: &mut impl Rng) -> f64 {
    f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

/// Uniform in `0..count`.
fn below(rng: &mut impl Rng, count: u32) -> u32 {
    scale(rng.next_u32(), count)
}

/// `random · count / 2³²`: favours some values by `count / 2³²` at most, which no test of a crowd can see.
fn scale(random: u32, count: u32) -> u32 {
    ((u64::from(random) * u64::from(count)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(spec: CrowdSpec, seed: u64) -> GeneratedCrowd {
        generate(&spec.check().unwrap(), seed)
    }

    #[test]
    fn a_seed_names_one_crowd_on_every_platform() {
        let small = || CrowdSpec { tasks: 3, workers: 5, answers_per_task: 3, ..CrowdSpec::default() };
        let one = crowd(small(), 1);
        assert_eq!(one, crowd(small(), 1));
        assert_ne!(one, crowd(small(), 2));
        assert_eq!(one.tasks, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert_eq!(one.workers, [0, 3, 4, 2, 3, 0, 1, 2, 3]);
        assert_eq!(one.labels, [1, 0, 0, 0, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn every_task_is_answered_by_different_workers() {
        for answers_per_task in [1, 2, 5, 6] {
            let crowd =
                crowd(CrowdSpec { tasks: 200, workers: 6, answers_per_task, ..CrowdSpec::default() }, 3);
            assert_eq!(crowd.workers.len(), 200 * answers_per_task as usize);
            for (task, workers) in crowd.workers.chunks_exact(answers_per_task as usize).enumerate() {
                let mut sorted = workers.to_vec();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(
                    sorted.len(),
                    workers.len(),
                    "task {task} of {answers_per_task} answers: {workers:?}"
                );
                assert!(sorted.iter().all(|worker| *worker < 6));
            }
        }
    }

    /// Bounds of five standard deviations: `5 · sqrt(p · (1 − p) / n)`.
    fn assert_near(found: f64, expected: f64, draws: f64, what: &str) {
        let bound = 5.0 * (expected * (1.0 - expected) / draws).sqrt() + 1e-9;
        assert!((found - expected).abs() <= bound, "{what}: {found}, expected {expected} within {bound}");
    }

    #[test]
    fn shares_and_accuracies_are_those_asked_for() {
        let spec = CrowdSpec {
            tasks: 100_000,
            workers: 40,
            answers_per_task: 5,
            class_shares: vec![5.0, 3.0, 2.0],
            ..CrowdSpec::default()
        };
        let (expert, ordinary) = (spec.expert_accuracy, spec.ordinary_accuracy);
        let crowd = crowd(spec, 11);
        let count = |kind| crowd.kinds.iter().filter(|found| **found == kind).count();
        assert_eq!(
            [count(WorkerKind::Expert), count(WorkerKind::Spammer), count(WorkerKind::Adversary)],
            [8, 12, 4]
        );

        for (class, share) in [(0, 0.5), (1, 0.3), (2, 0.2)] {
            let found = crowd.truth.iter().filter(|truth| **truth == class).count() as f64 / 1e5;
            assert_near(found, share, 1e5, "class share");
        }

        let mut counts = vec![[0.0; 9]; 40];
        for ((&task, &worker), &label) in crowd.tasks.iter().zip(&crowd.workers).zip(&crowd.labels) {
            counts[worker as usize][(crowd.truth[task as usize] * 3 + label) as usize] += 1.0;
        }
        for (worker, counts) in counts.iter().enumerate() {
            let answers: f64 = counts.iter().sum();
            let what = format!("worker {worker}, {:?}", crowd.kinds[worker]);
            assert_near(answers / 5e5, 1.0 / 40.0, 5e5, &what);
            assert_near(
                (counts[0] + counts[4] + counts[8]) / answers,
                crowd.accuracy[worker],
                answers,
                &what,
            );
            let rate = |class: usize, label: usize| {
                counts[class * 3 + label] / counts[class * 3..class * 3 + 3].iter().sum::<f64>()
            };
            let diagonal = [rate(0, 0), rate(1, 1), rate(2, 2)];
            let within =
                |range: (f64, f64)| diagonal.iter().all(|p| (range.0 - 0.04..=range.1 + 0.04).contains(p));
            match crowd.kinds[worker] {
                WorkerKind::Expert => assert!(within(expert), "{what}: {diagonal:?}"),
                WorkerKind::Ordinary => assert!(within(ordinary), "{what}: {diagonal:?}"),
                WorkerKind::Adversary => assert!(within((0.0, 1.0 - ordinary.0)), "{what}: {diagonal:?}"),
                WorkerKind::Spammer => {
                    let spread =
                        (0..3).map(|label| (rate(0, label) - rate(2, label)).abs()).fold(0.0, f64::max);
                    assert!(spread < 0.05, "{what}: answers differ by class: {spread}");
                }
            }
        }
    }

    #[test]
    fn half_of_the_spammers_know_one_label_only() {
        let crowd =
            crowd(CrowdSpec { spammers: 1.0, experts: 0.0, adversaries: 0.0, ..CrowdSpec::default() }, 5);
        let mut said = [[false; 2]; 50];
        for (&worker, &label) in crowd.workers.iter().zip(&crowd.labels) {
            said[worker as usize][label as usize] = true;
        }
        assert_eq!(said.iter().filter(|said| said[0] != said[1]).count(), 25);
    }
}
