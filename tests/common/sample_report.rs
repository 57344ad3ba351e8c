//! A made-up crowd report of any size: the numbers hang together loosely, which is enough for a page.

use mixlet_runtime::crowd::report::{
    CrowdReport, DoubtfulTask, Figure, GoldSummary, MethodLine, WorkerLine, confidence_bins,
};
use mixlet_runtime::crowd::selection::Choice;

/// Names that try to break out of the page, reorder it, or push it wide.
pub const HOSTILE: [&str; 8] = [
    "<script>name_was_run='yes'</script>",
    "\"><img src=x onerror=name_was_run=1>",
    "worker\u{202e}gnp.exe",
    "עובד מספר שבע",
    "🦜🦜🦜 & co",
    "",
    "control\u{0}\u{1b}\u{ffff}\u{85}",
    "a-very-long-name-without-a-single-place-to-break-it-which-goes-on-and-on-and-on-until-somebody-cuts-it-short",
];

/// Owns what a report borrows.
pub struct Sample {
    names: Vec<String>,
    labels: Vec<String>,
    confusions: Vec<Vec<f64>>,
    objective: Vec<f64>,
    warnings: Vec<String>,
}

impl Sample {
    /// A crowd of this many workers and classes.
    pub fn new(workers: usize, classes: usize) -> Self {
        const CLASSES: [&str; 4] = ["bunting", "finch", "sparrow", "wren"];
        let quality = |i: usize| 0.97 * (1.0 - i as f64 / workers as f64).powf(0.6);
        let row = |i: usize, truth: usize, given: usize| {
            let rest = (1.0 - quality(i)) / classes as f64;
            if truth == given { quality(i) + rest } else { rest }
        };
        Self {
            names: (0..workers).map(|i| format!("{}", (i * 7919 + 13) % 100_003)).collect(),
            labels: (0..classes)
                .map(|k| CLASSES.get(k).map_or(format!("species {k}"), |s| (*s).to_owned()))
                .collect(),
            confusions: (0..workers)
                .map(|i| (0..classes * classes).map(|c| row(i, c / classes, c % classes)).collect())
                .collect(),
            objective: (0..37).map(|t| -2310.5 - 640.0 * (-0.35 * f64::from(t)).exp()).collect(),
            warnings: vec!["3 workers gave one label only: 101, 3170, 77.".to_owned()],
        }
    }

    /// The same crowd, but with names that mean harm.
    pub fn hostile(mut self) -> Self {
        for (name, hostile) in self.names.iter_mut().chain(&mut self.labels).zip(HOSTILE.iter().cycle()) {
            (*hostile).clone_into(name);
        }
        self
    }

    /// Every part of the page filled.
    pub fn report(&self) -> CrowdReport<'_> {
        let (workers, classes) = (self.names.len(), self.labels.len());
        let cut = workers * 2 / 5;
        CrowdReport {
            title: "bird/answers.csv",
            command: "mixlet crowd fit bird/answers.csv --gold bird/gold.csv --select 15 --report bird.html",
            verdict: format!(
                "{cut} of {workers} workers carry the labels: with them 9 of 108 tasks are wrong, with all \
                 {workers} it would be 11, by majority vote 26."
            ),
            figures: figures(workers),
            warnings: &self.warnings,
            labels: self.labels.iter().map(String::as_str).collect(),
            workers: (0..workers).map(|i| self.worker(i, i < cut)).collect(),
            choice: Choice::Asked,
            cut: Some(cut),
            null_information: Some(0.012),
            objective: self.objective.clone(),
            confidence: confidence_bins((0..4000).map(|i| 1.0 - 0.5 * (f64::from(i) / 4000.0).powi(6)), 100),
            class_shares: (0..classes)
                .map(|k| 2.0 * (classes - k) as f64 / (classes * (classes + 1)) as f64)
                .collect(),
            doubtful: (0..14).map(|i| self.task(i)).collect(),
            comparison: Vec::new(),
            gold: Some(self.gold()),
        }
    }

    /// A comparison of four methods, as the demo makes it.
    pub fn comparison(&self) -> CrowdReport<'_> {
        let line = |method, errors: f64, seconds, note| MethodLine {
            method,
            errors,
            error_rate: errors / 2000.0,
            seconds,
            note,
        };
        CrowdReport {
            title: "A crowd of experts, spammers and adversaries",
            command: "mixlet demo --report demo.html",
            verdict: "Knowing whom to trust removes 9 of 10 errors of the majority vote.".to_owned(),
            comparison: vec![
                line("Majority vote", 316.5, 0.002, "every answer counts the same"),
                line("One coin", 112.0, 0.021, "one accuracy per worker"),
                line("Dawid–Skene", 58.0, 0.034, "a confusion matrix per worker"),
                line("Dawid–Skene, selected", 31.0, 0.047, "without the spammers"),
            ],
            ..CrowdReport::default()
        }
    }

    fn worker(&self, i: usize, selected: bool) -> WorkerLine<'_> {
        let classes = self.labels.len();
        let left = 1.0 - i as f64 / self.names.len() as f64;
        let accuracy = self.confusions[i].first().copied().unwrap_or(f64::NAN)
            * (0.94 + 0.06 * ((i * 37) % 11) as f64 / 11.0);
        let half = 0.03 + 0.07 * ((i * 53) % 7) as f64 / 7.0;
        WorkerLine {
            name: &self.names[i],
            answers: 108 - (i % 40) as u64,
            accuracy,
            accuracy_low: (accuracy - half).max(0.0),
            accuracy_high: (accuracy + half).min(1.0),
            measure: 0.62 * left.powi(3) * (classes.max(2) as f64).ln(),
            selected,
            confusion: &self.confusions[i],
        }
    }

    fn task(&self, i: usize) -> DoubtfulTask<'_> {
        let classes = self.labels.len();
        let weight = |k: usize| (-(((k + i) % classes) as f64) * (0.2 + 0.1 * i as f64)).exp();
        let sum: f64 = (0..classes).map(weight).sum();
        let probabilities: Vec<f64> = (0..classes).map(|k| weight(k) / sum).collect();
        let best = (0..classes).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b])).unwrap();
        DoubtfulTask {
            task: &self.names[i % self.names.len()],
            label: &self.labels[best],
            confidence: probabilities[best],
            entropy: probabilities.iter().map(|p| -p * p.ln()).sum(),
            votes: probabilities.iter().map(|p| (p * 9.0).round() as u64).collect(),
            probabilities,
            gain: 0.31 / (i + 1) as f64,
        }
    }

    fn gold(&self) -> GoldSummary {
        let classes = self.labels.len();
        GoldSummary {
            tasks: 108,
            errors: 9.0,
            error_rate: 9.0 / 108.0,
            f1: (0..classes).map(|k| 0.95 - 0.3 * k as f64 / classes as f64).collect(),
            confusion: (0..classes * classes)
                .map(|c| if c / classes == c % classes { 49.0 } else { 4.0 })
                .collect(),
        }
    }
}

fn figures(workers: usize) -> Vec<Figure> {
    [
        ("Tasks", "108", "with 36 to 39 answers each"),
        ("Workers", &*workers.to_string(), "40 % of them used"),
        ("Answers", "4,212", "no repeats"),
        ("Wrong against gold", "8.33 %", "9 of 108 tasks"),
        ("Agreement", "0.31", "Krippendorff’s alpha"),
        ("Log-likelihood", "−2,310.5", "natural logarithm"),
        ("Rounds", "37", "converged"),
    ]
    .map(|(label, value, note)| Figure { label: label.into(), value: value.into(), note: note.into() })
    .to_vec()
}
