//! Dawid–Skene EM, written from its formulas: the reference for starts and for the engine.

use mixlet_core::observations::Answers;

/// `[tasks][K]`.
pub type Responsibilities = Vec<Vec<f64>>;

/// Added to every count of a confusion table.
const PSEUDOCOUNT: f64 = 1e-10;

/// The share of each label among a task's answers; uniform without answers.
pub fn vote(answers: Answers<'_>) -> Responsibilities {
    let classes = answers.labels();
    let share = |task| {
        let cells = answers.task(task);
        let mut shares = vec![if cells.is_empty() { 1.0 / classes as f64 } else { 0.0 }; classes];
        cells.iter().for_each(|&cell| shares[answers.label(cell)] += 1.0 / cells.len() as f64);
        shares
    };
    (0..answers.tasks()).map(share).collect()
}

/// Responsibility 1 for the gold label of each task.
pub fn truth(gold: &[Option<usize>], classes: usize) -> Responsibilities {
    gold.iter().map(|gold| (0..classes).map(|class| f64::from(*gold == Some(class))).collect()).collect()
}

/// `q[n, k] ∝ π_k · Π_i P_i(x | k)`, and the log-likelihood.
pub fn expectation(
    answers: Answers<'_>,
    class_shares: &[f64],
    conditionals: &[f64],
) -> (Responsibilities, f64) {
    let classes = class_shares.len();
    let mut log_likelihood = 0.0;
    let mut row = |task| {
        let joint = |class: usize| -> f64 {
            let cells = answers.task(task).iter();
            class_shares[class].max(1e-300).ln()
                + cells.map(|&cell| conditionals[cell as usize * classes + class].ln()).sum::<f64>()
        };
        let logs: Vec<f64> = (0..classes).map(joint).collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
        log_likelihood += largest + total.ln();
        logs.iter().map(|log| (log - largest).exp() / total).collect()
    };
    let responsibilities = (0..answers.tasks()).map(&mut row).collect();
    (responsibilities, log_likelihood)
}

/// Class shares `[K]` and conditionals `[cells · K]`.
pub fn maximize(answers: Answers<'_>, responsibilities: &Responsibilities) -> (Vec<f64>, Vec<f64>) {
    let classes = responsibilities.first().map_or(answers.labels(), Vec::len);
    let mut class_shares = vec![0.0; classes];
    let mut conditionals = vec![PSEUDOCOUNT; answers.cell_count() * classes];
    for (task, row) in responsibilities.iter().enumerate() {
        for class in 0..classes {
            class_shares[class] += row[class] / responsibilities.len() as f64;
            for &cell in answers.task(task) {
                conditionals[cell as usize * classes + class] += row[class];
            }
        }
    }
    for table in conditionals.chunks_exact_mut(answers.labels() * classes) {
        for class in 0..classes {
            let total: f64 = table.iter().skip(class).step_by(classes).sum();
            table.iter_mut().skip(class).step_by(classes).for_each(|value| *value /= total);
        }
    }
    (class_shares, conditionals)
}

/// `rounds` rounds of both steps.
pub fn fit(answers: Answers<'_>, start: Responsibilities, rounds: usize) -> Responsibilities {
    (0..rounds).fold(start, |responsibilities, _| {
        let (class_shares, conditionals) = maximize(answers, &responsibilities);
        expectation(answers, &class_shares, &conditionals).0
    })
}

/// Percent of the gold tasks whose likeliest class, the lowest of equals, is not the gold label.
pub fn error_percent(responsibilities: &Responsibilities, gold: &[Option<usize>]) -> f64 {
    let names: Vec<usize> = (0..responsibilities.first().map_or(0, Vec::len)).collect();
    renamed_error_percent(responsibilities, gold, &names)
}

/// The smallest error under any renaming of the classes.
pub fn aligned_error_percent(responsibilities: &Responsibilities, gold: &[Option<usize>]) -> f64 {
    let classes = responsibilities.first().map_or(0, Vec::len);
    let errors =
        permutations(classes).into_iter().map(|names| renamed_error_percent(responsibilities, gold, &names));
    errors.fold(f64::INFINITY, f64::min)
}

fn renamed_error_percent(
    responsibilities: &Responsibilities,
    gold: &[Option<usize>],
    names: &[usize],
) -> f64 {
    let known: Vec<(&Vec<f64>, usize)> =
        responsibilities.iter().zip(gold).filter_map(|(row, gold)| gold.map(|gold| (row, gold))).collect();
    let likeliest = |row: &[f64]| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let wrong = known.iter().filter(|(row, gold)| names[likeliest(row)] != *gold).count();
    100.0 * wrong as f64 / known.len() as f64
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let insert = |order: Vec<usize>| {
        (0..count).map(move |place| {
            let mut longer = order.clone();
            longer.insert(place, last);
            longer
        })
    };
    permutations(last).into_iter().flat_map(insert).collect()
}
