//! Tables for the user: labels, workers, and which tasks to ask again.
//!
//! Numbers are in the shortest form that reads back as the same number; what is not known is empty.

use std::io::{self, Write};

use mixlet_core::em::most_likely_class;

use super::Crowd;
use super::analysis::Analysis;
use super::ask_next::entropy;
use crate::output::csv::{Rows, header};

/// `task,label,confidence,entropy,p_<label>…`, a row per task; `posteriors` is `[tasks, labels]`.
pub fn labels(out: &mut dyn Write, crowd: &Crowd, posteriors: &[f64]) -> io::Result<()> {
    let columns = crowd.labels.iter().map(|label| format!("p_{label}"));
    let mut rows = Rows::new(out, header(&["task", "label", "confidence", "entropy"], columns))?;
    for (task, posterior) in crowd.tasks.iter().zip(posteriors.chunks_exact(crowd.labels.len())) {
        label(&mut rows, crowd, task, posterior)?;
        posterior.iter().try_for_each(|&probability| rows.number(probability))?;
        rows.end()?;
    }
    rows.flush()
}

/// The fields `task,label,confidence,entropy`.
fn label(rows: &mut Rows<'_>, crowd: &Crowd, task: &str, posterior: &[f64]) -> io::Result<()> {
    let class = most_likely_class(posterior);
    rows.text(task)?;
    rows.text(crowd.labels.get(class))?;
    rows.number(posterior[class])?;
    rows.number(entropy(posterior.iter().copied()))
}

/// `worker,answers,accuracy,accuracy_low,accuracy_high,information,selected,c_<true>_<given>…,n_<true>…`, a
/// row per worker. `n_<true>` are the expected answers on tasks of a class: with them the confusion
/// matrix becomes counts again.
pub fn workers(out: &mut dyn Write, crowd: &Crowd, analysis: &Analysis) -> io::Result<()> {
    let labels = crowd.labels.len();
    let names = ["worker", "answers", "accuracy", "accuracy_low", "accuracy_high", "information", "selected"];
    let cells = crowd
        .labels
        .iter()
        .flat_map(|class| crowd.labels.iter().map(move |given| format!("c_{class}_{given}")));
    let totals = crowd.labels.iter().map(|class| format!("n_{class}"));
    let mut rows = Rows::new(out, header(&names, cells.chain(totals)))?;
    let expected = expected_answers(crowd, &analysis.fit.posteriors)?;
    let tables = analysis.fit.conditionals.chunks_exact(labels * labels);
    for (worker, (name, table)) in crowd.workers.iter().zip(tables).enumerate() {
        let accuracy = &analysis.accuracies[worker];
        rows.text(name)?;
        rows.count(accuracy.answers.into())?;
        rows.number(accuracy.accuracy)?;
        rows.number(accuracy.low)?;
        rows.number(accuracy.high)?;
        rows.number(analysis.information.as_ref().map_or(f64::NAN, |information| information[worker]))?;
        rows.text(if analysis.is_selected[worker] { "true" } else { "false" })?;
        for class in 0..labels {
            table.iter().skip(class).step_by(labels).try_for_each(|&share| rows.number(share))?;
        }
        expected[worker * labels..][..labels].iter().try_for_each(|&count| rows.number(count))?;
        rows.end()?;
    }
    rows.flush()
}

/// `[workers, labels]`: expected answers of each worker on tasks of each class.
fn expected_answers(crowd: &Crowd, posteriors: &[f64]) -> io::Result<Vec<f64>> {
    let answers = crowd.answers().map_err(io::Error::other)?;
    let labels = crowd.labels.len();
    let mut expected = vec![0.0; crowd.workers.len() * labels];
    for (cells, posterior) in answers.rows(0..answers.tasks()).zip(posteriors.chunks_exact(labels)) {
        for &cell in cells {
            let row = &mut expected[answers.worker(cell) * labels..][..labels];
            row.iter_mut().zip(posterior).for_each(|(count, probability)| *count += probability);
        }
    }
    Ok(expected)
}

/// `task,label,confidence,entropy,expected_gain,answers`, the task to ask again first on top.
pub fn ask_next(out: &mut dyn Write, crowd: &Crowd, analysis: &Analysis) -> io::Result<()> {
    let answers = crowd.answers().map_err(io::Error::other)?;
    let labels = crowd.labels.len();
    let names = ["task", "label", "confidence", "entropy", "expected_gain", "answers"];
    let mut rows = Rows::new(out, header(&names, std::iter::empty()))?;
    for gain in analysis.gains(answers) {
        let task = gain.task as usize;
        label(&mut rows, crowd, crowd.tasks.get(task), &analysis.fit.posteriors[task * labels..][..labels])?;
        rows.number(gain.gain)?;
        rows.count(answers.task(task).len() as u64)?;
        rows.end()?;
    }
    rows.flush()
}
