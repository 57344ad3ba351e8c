//! Batches out of files of tensors, and tensors into such files.

use std::io;
use std::path::Path;

use mixlet_core::nn::IGNORED;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::batch::Batch;
use super::checkpoint::{TensorFile, nearest};
use crate::error::{Error, Result, TensorProblem};
use crate::output::write_file;

/// What transformers gives to tokens that are not learned from.
const IGNORED_LABEL: i64 = -100;
/// Kinds of numbers that ids and masks may be.
const WHOLE: &str = "I64, I32, U8 or BOOL";

/// Names of the tensors that a batch is made of.
pub const BATCH: [&str; 4] = ["input_ids", "attention_mask", "decoder_input_ids", "labels"];

/// A batch out of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchFile {
    /// The batch.
    pub batch: Batch,
    /// Other tensors of the file, in the order of their names, each with the name that was perhaps meant.
    pub unread: Vec<(String, Option<&'static str>)>,
}

/// Reads those of the tensors [`BATCH`] that are wanted: `input_ids` `[sequences, tokens]` and, where they are there, `attention_mask` (0 or
/// 1), `decoder_input_ids` and `labels` (−100 is [`IGNORED`]), as transformers names them. Ids must be below `vocab`.
pub fn read_batch(path: &Path, vocab: usize, wanted: &[&'static str]) -> Result<BatchFile> {
    let file = TensorFile::open(path)?;
    let reader = Reader { file: &file, path, vocab, wanted };
    let (shape, ids) = reader.ids("input_ids")?.ok_or_else(|| {
        let nearest = nearest("input_ids", file.names()).map(str::to_owned);
        reader.problem(TensorProblem::Missing { name: "input_ids".to_owned(), nearest })
    })?;
    let real = reader.mask("attention_mask", &shape)?;
    let decoder = reader.ids("decoder_input_ids")?;
    let labels = reader.labels("labels")?;
    for (name, tensor) in [("decoder_input_ids", &decoder), ("labels", &labels)] {
        if let Some((found, _)) = tensor {
            reader.same_shape(name, found, &[shape[0], found[1]])?;
        }
    }
    if let (Some((labels, _)), Some((decoder, _))) = (&labels, &decoder) {
        reader.same_shape("labels", labels, decoder)?;
    }
    let [decoder_ids, labels] = [decoder, labels].map(|tensor| tensor.map(|(_, values)| values));
    Ok(BatchFile {
        batch: Batch { sequences: shape[0], ids, real, decoder_ids, labels },
        unread: reader.unread(),
    })
}

/// A file of tensors, of which some are whole numbers.
struct Reader<'a> {
    file: &'a TensorFile,
    path: &'a Path,
    vocab: usize,
    wanted: &'a [&'static str],
}

/// A shape, and the numbers.
type Shaped<T> = ([usize; 2], Vec<T>);

impl Reader<'_> {
    fn problem(&self, problem: TensorProblem) -> Error {
        Error::Tensor { path: self.path.to_owned(), problem }
    }

    fn same_shape(&self, name: &str, found: &[usize], expected: &[usize]) -> Result<()> {
        let (name, found, expected) = (name.to_owned(), found.to_vec(), expected.to_vec());
        let wrong = found != expected;
        if wrong { Err(self.problem(TensorProblem::Shape { name, found, expected })) } else { Ok(()) }
    }

    /// What is not wanted.
    fn unread(&self) -> Vec<(String, Option<&'static str>)> {
        let others = self.file.names().filter(|name| !self.wanted.contains(name));
        others.map(|name| (name.to_owned(), nearest(name, self.wanted.iter().copied()))).collect()
    }

    /// Whole numbers of two dimensions, neither of them 0; none where they are not wanted.
    fn whole(&self, name: &str) -> Result<Option<Shaped<i64>>> {
        let wanted = self.wanted.contains(&name);
        let Some((dtype, shape, bytes)) = self.file.get(name).filter(|_| wanted) else { return Ok(None) };
        let shape = match *shape {
            [sequences, tokens] if sequences > 0 && tokens > 0 => [sequences, tokens],
            _ => {
                let (name, found) = (name.to_owned(), shape.to_vec());
                return Err(self.problem(TensorProblem::Ids { name, found }));
            }
        };
        let values = match dtype {
            Dtype::I64 => bytes.as_chunks().0.iter().map(|word| i64::from_le_bytes(*word)).collect(),
            Dtype::I32 => bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word).into()).collect(),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|byte| i64::from(*byte)).collect(),
            other => {
                let (name, found) = (name.to_owned(), other.to_string());
                return Err(self.problem(TensorProblem::Dtype { name, found, expected: WHOLE }));
            }
        };
        Ok(Some((shape, values)))
    }

    /// Which ids are no padding.
    fn mask(&self, name: &str, expected: &[usize]) -> Result<Option<Vec<bool>>> {
        let Some((shape, values)) = self.whole(name)? else { return Ok(None) };
        self.same_shape(name, &shape, expected)?;
        let is_real = |found| match found {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.problem(TensorProblem::Mask { name: name.to_owned(), found })),
        };
        values.into_iter().map(is_real).collect::<Result<_>>().map(Some)
    }

    fn ids(&self, name: &str) -> Result<Option<Shaped<u32>>> {
        let Some((shape, values)) = self.whole(name)? else { return Ok(None) };
        let ids = values.into_iter().map(|value| self.id(name, value)).collect::<Result<_>>()?;
        Ok(Some((shape, ids)))
    }

    fn labels(&self, name: &str) -> Result<Option<Shaped<u32>>> {
        let Some((shape, values)) = self.whole(name)? else { return Ok(None) };
        let label = |value| if value == IGNORED_LABEL { Ok(IGNORED) } else { self.id(name, value) };
        Ok(Some((shape, values.into_iter().map(label).collect::<Result<_>>()?)))
    }

    fn id(&self, name: &str, found: i64) -> Result<u32> {
        let id = u32::try_from(found).ok().filter(|id| (*id as usize) < self.vocab);
        let (name, below) = (name.to_owned(), self.vocab);
        id.ok_or_else(|| self.problem(TensorProblem::Id { name, found, below }))
    }
}

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Vec<f32>,
}

/// Writes a safetensors file, whole or not at all.
pub fn write_tensors(path: &Path, tensors: &[Named]) -> Result<()> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|it| it.values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    write_file(path, |out| {
        let view = |(tensor, bytes): (&Named, _)| {
            Ok((tensor.name.clone(), TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?))
        };
        let views = tensors.iter().zip(bytes.iter().map(Vec::as_slice)).map(view);
        let views = views.collect::<Result<Vec<_>, SafeTensorError>>();
        let file = views.and_then(|views| serialize(views, None)).map_err(io::Error::other)?;
        out.write_all(&file)
    })
}
