//! A model's files from one layout to the other: into mixlet's own, and back to Hugging Face's.
//!
//! Numbers keep their bytes and `config.json` stays as it was, so a model that goes there and back is the same. Only a quantised
//! model comes back in `f32`: with the numbers that mixlet computes with.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mixlet_core::matrix::{MatMut, ShapeError};
use mixlet_core::weights::dequantise;
use safetensors::tensor::Dtype;
use serde::Serialize;

use super::checkpoint::write::{CheckpointWriter, Planned, WriteOptions, WriteProgress, Written};
use super::layout::{Source, Stack};
use super::tensor::{Matrix, Narrow};
use crate::error::{Error, Result};
use crate::output::{write_file, write_folder};

/// What lies beside the weights and goes along as it is.
const BESIDE: [&str; 13] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "preprocessor_config.json",
];

/// Weights that are widened at once.
const BLOCK_WEIGHTS: usize = 1 << 20;

/// A model in another layout.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Converted {
    /// Tensors written.
    pub tensors: usize,
    /// Files of tensors written.
    pub files: usize,
    /// Bytes of the tensors before.
    pub bytes_before: u64,
    /// Bytes of the tensors written.
    pub bytes: u64,
    /// Tensors that the model has no use for.
    #[serde(skip)]
    pub unused: Vec<String>,
}

impl Converted {
    pub(super) fn new(source: &Source, written: Written) -> Self {
        Self {
            tensors: written.tensors,
            files: written.files,
            bytes_before: source.bytes(),
            bytes: written.bytes,
            unused: source.strangers(),
        }
    }
}

/// Writes a folder in mixlet's own layout, files of at most so many bytes.
pub fn import(from: &Path, to: &Path, shard_bytes: u64, progress: WriteProgress<'_>) -> Result<Converted> {
    let source = Source::open(from)?;
    let items = source.items();
    let groups = items.iter().map(|item| vec![item.tensor.clone()]).collect();
    let is_plain = source.stacks.is_empty() && !source.is_narrow();
    let options = WriteOptions { shard_bytes, format: if is_plain { "pt" } else { OWN_FORMAT } };
    let written = write_folder(to, |folder| {
        let mut writer = CheckpointWriter::create(folder, groups, options, progress)?;
        items.iter().try_for_each(|item| writer.append(&item.tensor.name, &source.item_bytes(item)?))?;
        copy_beside(from, folder)?;
        writer.finish()
    })?;
    Ok(Converted::new(&source, written))
}

/// What files say that they hold if other tools cannot read it.
pub(super) const OWN_FORMAT: &str = "mixlet";

/// Writes a folder as Hugging Face has it, files of at most so many bytes.
pub fn export(from: &Path, to: &Path, shard_bytes: u64, progress: WriteProgress<'_>) -> Result<Converted> {
    let source = Source::open(from)?;
    let pieces = pieces(&source);
    let groups = pieces.iter().map(|piece| vec![piece.planned(&source)]).collect();
    let options = WriteOptions { shard_bytes, ..WriteOptions::default() };
    let written = write_folder(to, |folder| {
        let mut writer = CheckpointWriter::create(folder, groups, options, progress)?;
        pieces.iter().try_for_each(|piece| piece.write(&source, &mut writer))?;
        copy_beside(from, folder)?;
        writer.finish()
    })?;
    Ok(Converted::new(&source, written))
}

/// A tensor of Hugging Face's layout.
enum Piece<'a> {
    /// It is in the files.
    Whole(Planned),
    /// It is in the files in fewer bits.
    Narrow(&'a str),
    /// Its parts are in the files.
    Stack(&'a Stack),
}

fn pieces(source: &Source) -> Vec<Piece<'_>> {
    let stacks: Vec<&Stack> =
        source.stacks.iter().filter(|stack| source.planned(&stack.name).is_none()).collect();
    let parts: BTreeSet<String> =
        stacks.iter().flat_map(|stack| stack.parts()).map(|(_, _, name)| name).collect();
    let narrow = || source.matrices.iter().filter_map(|(name, facts)| Some((name, facts.narrow?)));
    let of_narrow = |(name, narrow): (&String, Narrow)| [narrow.values_name(name), Narrow::scales_name(name)];
    let narrow_tensors: BTreeSet<String> = narrow().flat_map(of_narrow).collect();

    let names = source.checkpoint.names().into_iter();
    let whole = names.filter(|name| !parts.contains(*name) && !narrow_tensors.contains(*name));
    let widened = narrow().filter(|(name, _)| !parts.contains(*name));
    let mut pieces: Vec<Piece<'_>> =
        whole.filter_map(|name| source.planned(name).map(Piece::Whole)).collect();
    pieces.extend(widened.map(|(name, _)| Piece::Narrow(name)));
    pieces.extend(stacks.into_iter().map(Piece::Stack));
    pieces
}

impl Piece<'_> {
    fn planned(&self, source: &Source) -> Planned {
        let of = |name: &str, dtype, shape| Planned { name: name.to_owned(), dtype, shape };
        match self {
            Self::Whole(tensor) => tensor.clone(),
            Self::Narrow(name) => {
                let shape = source.matrices.get(*name).map_or(Vec::new(), |facts| facts.shape.to_vec());
                of(name, Dtype::F32, shape)
            }
            Self::Stack(stack) => of(&stack.name, stack_dtype(source, stack), stack.shape()),
        }
    }

    fn write(&self, source: &Source, writer: &mut CheckpointWriter<'_>) -> Result<()> {
        match self {
            Self::Whole(tensor) => {
                let bytes = source.checkpoint.get(&tensor.name).map_or(&[][..], |(_, _, bytes)| bytes);
                writer.append(&tensor.name, bytes)
            }
            Self::Narrow(name) => {
                let matrix = widened(source, name)?;
                each_block(&matrix, |bytes| writer.append(name, bytes))
            }
            Self::Stack(stack) => {
                let number = stack_dtype(source, stack).bitsize() / 8;
                let parts: Vec<String> = stack.parts().map(|(_, _, name)| name).collect();
                for expert in parts.chunks(stack.turns.len()) {
                    let bytes = expert.iter().map(|name| part_bytes(source, stack, name, number));
                    let bytes = bytes.collect::<Result<Vec<_>>>()?;
                    writer.append(&stack.name, &stack.together(&bytes, number))?;
                }
                Ok(())
            }
        }
    }
}

/// What a stack's numbers are: what those of its parts are, or `f32` where they are not all the same plain ones.
fn stack_dtype(source: &Source, stack: &Stack) -> Dtype {
    let dtype = |name: &str| source.checkpoint.get(name).map(|(dtype, ..)| dtype);
    let mut parts = stack.parts().map(|(_, _, name)| dtype(&name));
    let first = parts.next().flatten();
    first.filter(|first| parts.all(|other| other == Some(*first))).unwrap_or(Dtype::F32)
}

/// The bytes of a part of a stack whose numbers have so many.
fn part_bytes<'a>(source: &'a Source, stack: &Stack, name: &str, number: usize) -> Result<Cow<'a, [u8]>> {
    if let Some((dtype, _, bytes)) = source.checkpoint.get(name)
        && dtype.bitsize() == 8 * number
    {
        return Ok(Cow::Borrowed(bytes));
    }
    let matrix = match stack.is_bias {
        true => source
            .checkpoint
            .find(name, &stack.part_shape())?
            .reshaped(vec![stack.part_shape()[0], 1])
            .into_matrix(),
        false => widened(source, name)?,
    };
    let mut out = Vec::new();
    each_block(&matrix, |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(Cow::Owned(out))
}

fn widened(source: &Source, name: &str) -> Result<Matrix> {
    let shape = source.matrices.get(name).map_or([0, 0], |facts| facts.shape);
    source.checkpoint.find_matrix(name, shape)
}

/// A matrix in `f32`, some rows at a time.
fn each_block(matrix: &Matrix, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let (outputs, inputs) = (matrix.outputs(), matrix.inputs());
    let rows = (BLOCK_WEIGHTS / inputs.max(1)).max(1);
    let mut floats = vec![0.0; rows.min(outputs) * inputs];
    for start in (0..outputs).step_by(rows) {
        let rows = start..outputs.min(start + rows);
        let floats = &mut floats[..rows.len() * inputs];
        let widen = |floats: &mut [f32]| -> Result<(), ShapeError> {
            dequantise(
                matrix.weights()?.output_range(rows.clone())?,
                MatMut::new(floats, rows.len(), inputs)?,
            )
        };
        widen(floats)?;
        take(&floats.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    Ok(())
}

/// Copies what lies beside the weights.
pub(super) fn copy_beside(from: &Path, to: &Path) -> Result<()> {
    for name in BESIDE {
        let path = from.join(name);
        match fs::read(&path) {
            Ok(bytes) => write_file(&to.join(name), |out| out.write_all(&bytes))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { path, what: "read", source }),
        }
    }
    Ok(())
}
