//! Small random crowds for property tests: missing answers, repeated ones, known labels, weights.

use super::crowd::Crowd;
use mixlet_core::em::{RowFacts, UNKNOWN};
use proptest::prelude::*;

/// Answers in no order, and facts about tasks.
#[derive(Clone, Debug)]
pub struct Panel {
    pub tasks: u32,
    pub workers: u32,
    pub labels: u32,
    /// `(task, worker, label)`.
    pub rows: Vec<[u32; 3]>,
    /// `[tasks]`.
    pub known: Vec<u32>,
    /// `[tasks]`, small whole numbers: rows can be repeated as often.
    pub weights: Vec<u32>,
}

/// Panels with up to 24 tasks, 6 workers and 5 labels.
pub fn panels() -> impl Strategy<Value = Panel> {
    (1u32..24, 1u32..7, 2u32..6).prop_flat_map(|(tasks, workers, labels)| {
        let row = (0..tasks, 0..workers, 0..labels).prop_map(|(task, worker, label)| [task, worker, label]);
        let known = prop_oneof![4 => Just(UNKNOWN), 1 => 0..labels];
        let rows = prop::collection::vec(row, 0..100);
        let known = prop::collection::vec(known, tasks as usize);
        let weights = prop::collection::vec(1u32..4, tasks as usize);
        (rows, known, weights).prop_map(move |(rows, known, weights)| Panel {
            tasks,
            workers,
            labels,
            rows,
            known,
            weights,
        })
    })
}

impl Panel {
    pub fn crowd(&self) -> Crowd {
        Crowd::new(self.workers, self.labels, &self.rows, vec![None; self.tasks as usize])
    }

    pub fn facts<'a>(&'a self, weights: &'a [f64]) -> RowFacts<'a> {
        RowFacts { known_classes: Some(&self.known), weights: Some(weights) }
    }

    pub fn float_weights(&self) -> Vec<f64> {
        self.weights.iter().copied().map(f64::from).collect()
    }

    /// The same answers under other numbers: task `t` becomes `tasks[t]`, and so on. The order of the rows stays.
    pub fn renumbered(&self, tasks: &[u32], workers: &[u32], labels: &[u32]) -> Self {
        let row = |&[task, worker, label]: &[u32; 3]| {
            [tasks[task as usize], workers[worker as usize], labels[label as usize]]
        };
        let mut renumbered = Self { rows: self.rows.iter().map(row).collect(), ..self.clone() };
        for (task, &place) in tasks.iter().enumerate() {
            let known = self.known[task];
            renumbered.known[place as usize] = labels.get(known as usize).copied().unwrap_or(UNKNOWN);
            renumbered.weights[place as usize] = self.weights[task];
        }
        renumbered
    }
}
