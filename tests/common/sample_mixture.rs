//! A made-up mixture report of any size: the numbers hang together loosely, which is enough for a page.

use mixlet_runtime::mixture::report::{
    CandidateLine, ClassLine, ColumnLine, Figure, MixtureReport, StepLine, TruthSummary, ValueLine,
};

/// Owns what a report borrows.
pub struct MixtureSample {
    names: Vec<String>,
    labels: Vec<String>,
    warnings: Vec<String>,
    classes: usize,
}

impl MixtureSample {
    /// So many columns and classes.
    pub fn new(columns: usize, classes: usize) -> Self {
        Self {
            names: (0..columns).map(|column| format!("question {column}")).collect(),
            labels: (0..classes).map(|class| format!("kind {class}")).collect(),
            warnings: vec!["stopped after 60 rounds before it converged: --rounds allows more".to_owned()],
            classes,
        }
    }

    /// The same with names that mean harm.
    pub fn hostile(mut self, names: &[&str]) -> Self {
        for (name, hostile) in self.names.iter_mut().chain(&mut self.labels).zip(names.iter().cycle()) {
            (*hostile).clone_into(name);
        }
        self
    }

    /// Every part of the page filled; where the columns are a square, rows are pictures.
    pub fn report(&self) -> MixtureReport<'_> {
        let (columns, classes) = (self.names.len(), self.classes);
        let side = (columns as f64).sqrt() as usize;
        let probability = |column: usize, class: usize| ((column * 7 + class * 13) % 17) as f64 / 16.0;
        MixtureReport {
            title: "survey/answers.csv",
            command: "mixlet mixture fit answers.csv --classes 2..9",
            verdict: "1,000 rows fall into classes.".to_owned(),
            figures: vec![Figure {
                label: "Rows".into(),
                value: "1,000".into(),
                note: "none is incomplete".into(),
            }],
            warnings: &self.warnings,
            classes: self
                .labels
                .iter()
                .enumerate()
                .map(|(number, label)| ClassLine {
                    number,
                    share: 1.0 / classes as f64,
                    rows: 1000 / classes as u64,
                    label: Some((label, 0.7)),
                })
                .collect(),
            columns: self
                .names
                .iter()
                .enumerate()
                .map(|(column, name)| ColumnLine {
                    name,
                    information: 0.7 / (column + 1) as f64,
                    selected: column % 3 != 2,
                })
                .collect(),
            values: self
                .names
                .iter()
                .enumerate()
                .map(|(column, name)| ValueLine {
                    name: name.clone(),
                    probabilities: (0..classes).map(|class| probability(column, class)).collect(),
                })
                .collect(),
            picture: (side * side == columns).then_some((side, side)),
            prototypes: (0..columns * classes)
                .map(|cell| probability(cell / classes, cell % classes))
                .collect(),
            candidates: (1..10)
                .map(|number| CandidateLine {
                    classes: number,
                    log_likelihood: -5000.0 + 100.0 * number as f64,
                    bic: 9000.0 + 30.0 * (number as f64 - classes as f64).powi(2),
                    icl: 9300.0 + 60.0 * (number as f64 - classes as f64).powi(2),
                    held_out: f64::NAN,
                    converged: number < 8,
                    chosen: number == classes,
                })
                .collect(),
            objective: (0..37).map(|round| -2310.5 - 640.0 * (-0.35 * f64::from(round)).exp()).collect(),
            steps: (0..8)
                .map(|step| StepLine {
                    columns: 2 * step + 2,
                    log_likelihood: -5000.0,
                    information: 0.3 / (step + 1) as f64,
                })
                .collect(),
            truth: Some(TruthSummary {
                labels: self.labels.iter().map(String::as_str).collect(),
                confusion: (0..classes * classes)
                    .map(|cell| if cell % (classes + 1) == 0 { 90.0 } else { 3.0 })
                    .collect(),
                rows: 1000,
                aligned_error: 0.12,
                share_error: 0.1,
            }),
        }
    }
}
