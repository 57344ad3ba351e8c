//! A fitted mixture in one JSON file, and classes of new rows.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use mixlet_core::em::ActiveColumns;
use mixlet_core::observations::{WORD_BITS, row_words};
use serde::{Deserialize, Serialize};

use super::analysis::Analysis;
use super::fit::{self, Task};
use super::tree::Tree;
use super::{Method, Parameters, view};
use crate::error::{Error, ModelProblem, Result};
use crate::rows::{Columns, Family, Header, ReadOptions, Rows};

/// What a model file says it is.
const FORMAT: &str = "mixlet mixture";
/// The version written and read.
const VERSION: u64 = 1;

/// What is known of classes and columns after a fit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MixtureModel {
    format: String,
    version: u64,
    /// How the classes were found.
    pub method: Method,
    /// What values are taken for.
    pub family: Family,
    /// How values are read.
    pub reading: Reading,
    /// Names of the columns and of their codes.
    pub columns: Columns,
    /// Class shares and probabilities.
    pub parameters: Parameters,
    /// The columns that speak for the classes; none: all.
    pub selected: Option<Vec<u32>>,
    /// What the labels of each class's rows said, where some were known.
    pub labels: Option<ClassLabels>,
    /// The tree whose leaves are the classes; only their shares are kept beside it.
    #[serde(default)]
    pub tree: Option<Tree>,
}

/// How values were read, and are read again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Numbers above this were 1.
    pub threshold: Option<f64>,
    /// What stood for a missing value.
    pub missing: Option<String>,
    /// Whether the columns of a table had names; none for other files.
    #[serde(default)]
    pub header: Option<bool>,
    /// Height and width of a row that is a picture.
    pub picture: Option<(usize, usize)>,
}

/// Labels of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassLabels {
    /// What they are called.
    pub names: Vec<String>,
    /// `[classes, labels]`: the share of each label among the rows of each class.
    pub shares: Vec<f64>,
}

/// The first words of a model file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    format: String,
    version: u64,
}

impl MixtureModel {
    /// What a fit learned.
    pub fn new(rows: &Rows, reading: &ReadOptions, analysis: &Analysis) -> Self {
        let reading = Reading {
            threshold: reading.threshold,
            missing: reading.missing.clone(),
            header: rows.has_header,
            picture: rows.picture,
        };
        let labels = analysis
            .truth
            .as_ref()
            .map(|truth| ClassLabels { names: truth.names.clone(), shares: truth.label_shares.clone() });
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            method: analysis.method,
            family: rows.family(),
            reading,
            columns: rows.columns.clone(),
            parameters: match analysis.speaking_tree() {
                // A thousand leaves of a thousand columns would be a large file, and nobody asks for them.
                Some(_) => {
                    Parameters { shares: analysis.fit.parameters.shares.clone(), ..Parameters::default() }
                }
                None => analysis.fit.parameters.clone(),
            },
            tree: analysis.speaking_tree().cloned(),
            selected: analysis.is_selection.then(|| analysis.selected.clone()),
            labels,
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.parameters.classes()
    }

    /// How new rows are read.
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions {
            family: Some(self.family),
            threshold: self.reading.threshold,
            missing: self.reading.missing.clone(),
            header: match self.reading.header {
                Some(true) if !self.columns.are_numbered() => Header::Yes,
                _ => Header::Auto,
            },
            ..ReadOptions::default()
        }
    }

    /// Writes the model; see [`write_file`](crate::output::write_file).
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    /// Reads and checks a model.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes =
            fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), what: "open", source })?;
        Self::parse(&bytes).map_err(|problem| Error::Model { path: path.to_owned(), problem })
    }

    fn parse(bytes: &[u8]) -> Result<Self, ModelProblem> {
        let not_a_model = || ModelProblem::NotAModel { command: "mixture" };
        let head: Head = serde_json::from_slice(bytes).map_err(|_| not_a_model())?;
        if head.format != FORMAT {
            return Err(not_a_model());
        }
        if head.version != VERSION {
            return Err(ModelProblem::Version { found: head.version, expected: VERSION });
        }
        let model: Self = serde_json::from_slice(bytes)
            .map_err(|error| ModelProblem::Damaged { reason: error.to_string() })?;
        model.check()?;
        Ok(model)
    }

    /// Every length and number that computing relies on.
    fn check(&self) -> Result<(), ModelProblem> {
        let Self { parameters, columns, .. } = self;
        let (classes, count) = (parameters.classes(), columns.len());
        if classes == 0 || count == 0 {
            return Err(ModelProblem::Length { what: "shares or columns", found: 0, expected: 1 });
        }
        length("codes", columns.codes.len(), count)?;
        if let Some(name) = columns.repeated() {
            return Err(ModelProblem::RepeatedColumn { name: name.to_owned() });
        }
        let levels: Vec<usize> = (0..count).map(|column| self.levels(column)).collect();
        let cells: usize = if self.tree.is_some() { 0 } else { levels.iter().sum() };
        length("probabilities", parameters.probabilities.len(), cells.saturating_mul(classes))?;
        ModelProblem::check_sums("shares", &parameters.shares, 0, 1)?;
        self.check_tree(&levels)?;
        let mut start = 0;
        for levels in levels.into_iter().filter(|_| self.tree.is_none()) {
            let end = start + levels * classes;
            let column = parameters.probabilities.get(start..end).unwrap_or(&[]);
            ModelProblem::check_sums("probabilities", column, start, classes)?;
            start = end;
        }
        self.check_labels()?;
        let selected = self.selected.iter().flatten().filter(|&&column| column as usize >= count);
        match selected.count() {
            0 => Ok(()),
            _ => Err(ModelProblem::Length { what: "selected columns", found: count + 1, expected: count }),
        }
    }

    /// A tree has as many leaves as there are classes, and its nodes fit together.
    fn check_tree(&self, levels: &[usize]) -> Result<(), ModelProblem> {
        let Some(tree) = &self.tree else { return Ok(()) };
        length("leaves", tree.leaves, self.classes())?;
        match tree.is_sound(|column| levels.get(column as usize).copied()) {
            true => Ok(()),
            false => {
                Err(ModelProblem::Damaged { reason: "nodes of the tree do not fit together".to_owned() })
            }
        }
    }

    /// Every class has shares of all labels.
    fn check_labels(&self) -> Result<(), ModelProblem> {
        let Some(labels) = &self.labels else { return Ok(()) };
        let count = labels.names.len();
        length("label shares", labels.shares.len(), self.classes().saturating_mul(count))?;
        let mut classes = labels.shares.chunks_exact(count.max(1)).enumerate();
        classes.try_for_each(|(class, shares)| {
            ModelProblem::check_sums("label shares", shares, class * count, 1)
        })
    }

    /// Codes of a column, as the family counts them.
    fn levels(&self, column: usize) -> usize {
        match self.family {
            Family::Bernoulli => 2,
            Family::Categorical => self.columns.codes.get(column).map_or(1, |codes| codes.len().max(1)),
        }
    }

    /// The posteriors `[rows, classes]` of new rows, which have this model's columns, and their log-likelihood.
    ///
    /// A tree has none: its nodes give `P(class | row)`, each by columns of its own, and a leaf the product along its
    /// path. No `P(row)` follows from these; [`refine`](super::tree::refine) makes a mixture that has one.
    pub fn predict(&self, rows: &Rows) -> Result<(Vec<f64>, Option<f64>)> {
        if let Some(tree) = &self.tree {
            return Ok((tree.leaf_posteriors(view(rows)?), None));
        }
        let mask = self.selected.as_ref().map(|selected| mask(selected, self.columns.len()));
        let active = ActiveColumns { mask: mask.as_deref(), partial: false };
        let task = Task { active, ..Task::of(view(rows)?) };
        let (posteriors, log_likelihood) = fit::posteriors(task, &self.parameters)?;
        Ok((posteriors, Some(log_likelihood)))
    }
}

fn length(what: &'static str, found: usize, expected: usize) -> Result<(), ModelProblem> {
    match found == expected {
        true => Ok(()),
        false => Err(ModelProblem::Length { what, found, expected }),
    }
}

/// Columns as bits.
pub(super) fn mask(columns: &[u32], count: usize) -> Vec<u64> {
    let mut mask = vec![0; row_words(count)];
    for &column in columns {
        mask[column as usize / WORD_BITS] |= 1 << (column as usize % WORD_BITS);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"format":"mixlet mixture","version":1,"method":"em","family":"bernoulli",
        "reading":{"threshold":null,"missing":null,"picture":null},
        "columns":{"names":["a"],"codes":[["0","1"]]},
        "parameters":{"shares":[0.5,0.5],"probabilities":[0.9,0.2,0.1,0.8]},"selected":null,
        "labels":{"names":["x","y"],"shares":[0.25,0.75,1.0,0.0]}}"#;

    #[test]
    fn a_file_that_is_no_good_model_is_named() {
        let model = MixtureModel::parse(GOOD.as_bytes()).unwrap();
        assert_eq!((model.classes(), model.columns.len()), (2, 1));
        let not_a_model = "not a model, expected a file written with `mixlet mixture fit --save`";
        for (from, to, message) in [
            ("mixlet mixture", "mixlet crowd", not_a_model),
            ("{", "a,b\n", not_a_model),
            (
                "\"version\":1",
                "\"version\":7",
                "version 7 of the model file, expected 1; save it again with this mixlet",
            ),
            (
                "[0.5,0.5]",
                "[0.5,0.6]",
                "the probabilities from value 0 of shares sum to 1.1, expected 1; save it again",
            ),
            ("[0.9,0.2", "[0.2", "probabilities of the model holds 3 values, expected 4; save it again"),
            ("0.9", "1.9", "value 0 of probabilities is 1.9, expected a probability; save it again"),
            (
                "0.8",
                "0.7",
                "the probabilities from value 1 of probabilities sum to 0.8999999999999999, expected 1; save it again",
            ),
            (
                "0.25",
                "0.5",
                "the probabilities from value 0 of label shares sum to 1.25, expected 1; save it again",
            ),
            (
                "\"selected\":null",
                "\"selected\":[1]",
                "selected columns of the model holds 2 values, expected 1; save it again",
            ),
            (
                "\"names\":[\"a\"],\"codes\":[[\"0\",\"1\"]]",
                "\"names\":[\"a\",\"a\"],\"codes\":[[\"0\",\"1\"],[\"0\",\"1\"]]",
                "two columns of the model are named `a`; save it again",
            ),
            (
                "\"codes\":[[\"0\",\"1\"]]",
                "\"codes\":[]",
                "codes of the model holds 0 values, expected 1; save it again",
            ),
        ] {
            let problem = MixtureModel::parse(GOOD.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!(problem.to_string(), message);
        }
    }
}
