//! Quantisation: weights in fewer bits, written into a folder that mixlet runs in place.
//!
//! Of matrices alone: the router, norms, biases and embeddings stay as they were. Each row is rounded to the nearest whole
//! numbers; nothing is trained or measured on the way.

use std::ops::Range;
use std::path::Path;

use mixlet_core::half::f16;
use mixlet_core::matrix::{MatMut, MatRef};
use mixlet_core::weights::{Weights, WeightsError, dequantise, quantise_int4, quantise_int8};
use rayon::prelude::*;
use serde::Serialize;

use super::checkpoint::write::{CheckpointWriter, Planned, WriteOptions, WriteProgress};
use super::export::{Converted, OWN_FORMAT, copy_beside};
use super::layout::{Item, Source};
use super::tensor::{Matrix, Narrow};
use super::weights::Part;
use crate::error::{Error, LmProblem, Result, TensorProblem};
use crate::output::write_folder;

/// Weights that a thread rounds at once.
const BLOCK_WEIGHTS: usize = 1 << 16;
/// Such blocks between two writes.
const BLOCKS: usize = 64;

/// Which matrices are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Those of experts that a router chooses among.
    Experts,
    /// All: those of attention, of every network, and the output head, which is never in less than int8.
    Linear,
    /// The same with the head in the format asked for.
    All,
}

/// How a model is quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantisation {
    /// The format.
    pub weights: Narrow,
    /// Which matrices.
    pub only: Only,
}

impl Quantisation {
    /// The format of a matrix; `None` if it stays as it is.
    ///
    /// With int4 the output head is in int8 unless all is asked for, as no layer comes after it to make up for what it loses,
    /// and so are rows that are not made of whole groups of 32.
    pub fn of(&self, part: Part, inputs: usize) -> Option<Narrow> {
        if self.only == Only::Experts && part != Part::Expert {
            return None;
        }
        let stays = self.weights.fits(inputs) && (part != Part::Head || self.only == Only::All);
        Some(if stays { self.weights } else { Narrow::Int8 })
    }
}

/// A quantised model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantised {
    /// Matrices in int8.
    pub int8: usize,
    /// Matrices in int4.
    pub int4: usize,
    /// What was written.
    #[serde(flatten)]
    pub converted: Converted,
}

/// Quantises the model of a folder into another one, files of at most so many bytes.
pub fn quantize(
    from: &Path,
    to: &Path,
    how: Quantisation,
    shard_bytes: u64,
    progress: WriteProgress<'_>,
) -> Result<Quantised> {
    let source = Source::open(from)?;
    if source.is_narrow() {
        return Err(LmProblem::Quantised.into());
    }
    if !source.matrices.values().any(|facts| how.of(facts.part, facts.shape[1]).is_some()) {
        return Err(LmProblem::NoExperts.into());
    }
    let items = chosen(&source, how);
    let groups = items.iter().map(|(item, narrow)| planned(&item.tensor, *narrow)).collect();
    let options = WriteOptions { shard_bytes, format: OWN_FORMAT };
    let written = write_folder(to, |folder| {
        let mut writer = CheckpointWriter::create(folder, groups, options, progress)?;
        for (item, narrow) in &items {
            let name = &item.tensor.name;
            match narrow {
                None => writer.append(name, &source.item_bytes(item)?)?,
                Some(narrow) => write_matrix(&source.matrix(item)?, name, *narrow, from, &mut writer)?,
            }
        }
        copy_beside(from, folder)?;
        writer.finish()
    })?;
    let count = |of| items.iter().filter(|(_, narrow)| *narrow == Some(of)).count();
    let converted = Converted::new(&source, written);
    Ok(Quantised { int8: count(Narrow::Int8), int4: count(Narrow::Int4), converted })
}

/// The tensors that the model uses, with the formats of those that are quantised.
fn chosen(source: &Source, how: Quantisation) -> Vec<(Item, Option<Narrow>)> {
    let narrow = |item: &Item| {
        let facts = source.matrices.get(&item.tensor.name)?;
        how.of(facts.part, facts.shape[1])
    };
    let used = source.items().into_iter().filter(|item| !source.unused.contains(&item.tensor.name));
    let with_format = |item: Item| {
        let narrow = narrow(&item);
        (item, narrow)
    };
    used.map(with_format).collect()
}

/// What becomes of a tensor.
fn planned(tensor: &Planned, narrow: Option<Narrow>) -> Vec<Planned> {
    let ([outputs, inputs], Some(narrow)) = (&tensor.shape[..], narrow) else { return vec![tensor.clone()] };
    let of = |name, (dtype, shape)| Planned { name, dtype, shape };
    let values = of(narrow.values_name(&tensor.name), narrow.values(*outputs, *inputs));
    vec![values, of(Narrow::scales_name(&tensor.name), narrow.scales(*outputs, *inputs))]
}

/// Rounds a matrix and writes it, some blocks of rows at a time.
fn write_matrix(
    matrix: &Matrix,
    name: &str,
    narrow: Narrow,
    from: &Path,
    writer: &mut CheckpointWriter<'_>,
) -> Result<()> {
    let weights = matrix.weights()?;
    let rows = (BLOCK_WEIGHTS / matrix.inputs().max(1)).max(1);
    let blocks: Vec<Range<usize>> =
        (0..matrix.outputs()).step_by(rows).map(|row| row..matrix.outputs().min(row + rows)).collect();
    let (values_name, scales_name) = (narrow.values_name(name), Narrow::scales_name(name));
    for blocks in blocks.chunks(BLOCKS) {
        let rounded = blocks.par_iter().map(|rows| rounded(weights, rows.clone(), narrow));
        for (block, rows) in rounded.collect::<Vec<_>>().into_iter().zip(blocks) {
            let (values, scales) = block.map_err(|reason| {
                let reason = of_matrix(reason, rows.start);
                let problem = TensorProblem::Quantise { name: name.to_owned(), reason };
                Error::Tensor { path: from.to_owned(), problem }
            })?;
            writer.append(&values_name, &values)?;
            writer.append(&scales_name, &scales)?;
        }
    }
    Ok(())
}

/// The place of an error in the whole matrix.
fn of_matrix(reason: WeightsError, first: usize) -> WeightsError {
    match reason {
        WeightsError::OutOfRange { output, magnitude } => {
            WeightsError::OutOfRange { output: first + output, magnitude }
        }
        other => other,
    }
}

/// The bytes of some rows, and of their scales.
fn rounded(
    weights: Weights<'_>,
    rows: Range<usize>,
    narrow: Narrow,
) -> Result<(Vec<u8>, Vec<u8>), WeightsError> {
    let (count, inputs) = (rows.len(), weights.inputs());
    let mut wide = vec![0.0; count * inputs];
    dequantise(weights.output_range(rows)?, MatMut::new(&mut wide, count, inputs)?)?;
    let wide = MatRef::new(&wide, count, inputs)?;
    let len = |(_, shape): (_, Vec<usize>)| shape.iter().product::<usize>();
    let (values_len, scales_len) = (len(narrow.values(count, inputs)), len(narrow.scales(count, inputs)));
    match narrow {
        Narrow::Int8 => {
            let (mut values, mut scales) = (vec![0; values_len], vec![0.0; scales_len]);
            quantise_int8(wide, MatMut::new(&mut values, count, inputs)?, &mut scales)?;
            let values = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Ok((values, scales.iter().flat_map(|scale| scale.to_le_bytes()).collect()))
        }
        Narrow::Int4 => {
            let (mut nibbles, mut scales) = (vec![0; values_len], vec![f16::ZERO; scales_len]);
            let groups = scales_len / count.max(1);
            let to = MatMut::new(&mut nibbles, count, inputs / 2)?;
            quantise_int4(wide, to, MatMut::new(&mut scales, count, groups)?)?;
            Ok((nibbles, scales.iter().flat_map(|scale| scale.to_le_bytes()).collect()))
        }
    }
}
