//! Crowds to test on: the shared data sets, and generated ones.

use super::random::SplitMix;
use super::shared;
use mixlet_core::observations::{Answers, group_by_task};
use std::collections::HashSet;
use std::path::Path;

/// Answers that own their memory, and what is known of the truth.
pub struct Crowd {
    pub workers: u32,
    pub labels: u32,
    pub task_offsets: Vec<u32>,
    pub cells: Vec<u32>,
    /// `[tasks]`.
    pub gold: Vec<Option<usize>>,
}

/// Settings of a generated crowd. Accuracies are uniform in `accuracy`, errors uniform over the other labels.
#[derive(Clone, Copy, Debug)]
pub struct Generated {
    pub tasks: usize,
    pub workers: usize,
    pub labels: usize,
    pub answers_per_task: usize,
    pub accuracy: (f64, f64),
    pub naming: Naming,
    pub seed: u64,
}

/// What a worker's answer symbols mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Naming {
    /// Symbol `k` is label `k`.
    Shared,
    /// Every worker has a random permutation of its own.
    Shuffled,
    /// Worker `i` says `k + i` modulo the number of labels: over all workers a symbol says nothing about the class.
    Rotated,
}

impl Crowd {
    /// Groups `(task, worker, label)` rows; there are `gold.len()` tasks.
    pub fn new(workers: u32, labels: u32, rows: &[[u32; 3]], gold: Vec<Option<usize>>) -> Self {
        let [tasks, by, given] =
            [0, 1, 2].map(|column| rows.iter().map(|row| row[column]).collect::<Vec<u32>>());
        let (mut task_offsets, mut cells) = (vec![0; gold.len() + 1], vec![0; rows.len()]);
        group_by_task((workers, labels), &tasks, &by, &given, &mut task_offsets, &mut cells).unwrap();
        Self { workers, labels, task_offsets, cells, gold }
    }

    /// A data set of `../shared`, first answer of repeated pairs. None, with a message, where it is absent;
    /// a failure instead if `MIXLET_REQUIRE` names `shared`.
    pub fn shared(name: &str) -> Option<Self> {
        let folder = shared::folder(name)?;
        let mut seen = HashSet::new();
        let mut rows: Vec<[u32; 3]> = read_numbers(&folder.join("answers.csv"));
        rows.retain(|&[task, worker, _]| seen.insert((task, worker)));
        let gold_rows: Vec<[u32; 2]> = read_numbers(&folder.join("gold.csv"));

        let tasks =
            rows.iter().map(|row| row[0]).chain(gold_rows.iter().map(|row| row[0])).max().unwrap() + 1;
        let labels =
            rows.iter().map(|row| row[2]).chain(gold_rows.iter().map(|row| row[1])).max().unwrap() + 1;
        let workers = rows.iter().map(|row| row[1]).max().unwrap() + 1;
        let mut gold = vec![None; tasks as usize];
        gold_rows.iter().for_each(|&[task, label]| gold[task as usize] = Some(label as usize));
        Some(Self::new(workers, labels, &rows, gold))
    }

    pub fn answers(&self) -> Answers<'_> {
        Answers::new(self.workers, self.labels, &self.task_offsets, &self.cells).unwrap()
    }
}

impl Generated {
    pub fn crowd(self) -> Crowd {
        let mut random = SplitMix(self.seed);
        let (low, high) = self.accuracy;
        let workers: Vec<(f64, Vec<usize>)> = (0..self.workers)
            .map(|worker| {
                let names = match self.naming {
                    Naming::Shared => (0..self.labels).collect(),
                    Naming::Shuffled => random.choose(self.labels, self.labels),
                    Naming::Rotated => (0..self.labels).map(|label| (label + worker) % self.labels).collect(),
                };
                (low + (high - low) * random.unit(), names)
            })
            .collect();
        let (mut rows, mut gold) = (Vec::new(), Vec::new());
        for task in 0..self.tasks {
            let truth = random.below(self.labels);
            gold.push(Some(truth));
            for worker in random.choose(self.workers, self.answers_per_task) {
                let (accuracy, names) = &workers[worker];
                let slip = if random.unit() < *accuracy { 0 } else { 1 + random.below(self.labels - 1) };
                let name = names[(truth + slip) % self.labels];
                rows.push([task as u32, worker as u32, name as u32]);
            }
        }
        Crowd::new(self.workers as u32, self.labels as u32, &rows, gold)
    }
}

/// The numbers of a CSV file with a header.
fn read_numbers<const COLUMNS: usize>(path: &Path) -> Vec<[u32; COLUMNS]> {
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| -> [u32; COLUMNS] {
        let values: Vec<u32> = line.split(',').map(|value| value.trim().parse().unwrap()).collect();
        values.try_into().unwrap()
    };
    text.lines().skip(1).map(row).collect()
}
