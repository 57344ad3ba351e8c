//! Tensors where they lie: in a mapped file, or in memory.

mod narrow;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use mixlet_core::half::{bf16, f16};
use mixlet_core::linear::Linear as CoreLinear;
use mixlet_core::matrix::{MatRef, ShapeError};
use mixlet_core::weights::Weights as CoreWeights;
use zerocopy::{FromBytes, Immutable};

pub use narrow::{Narrow, NarrowMatrix};

/// How the numbers of a tensor are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

impl Format {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// The numbers of a tensor.
#[derive(Clone, Debug)]
enum Storage {
    /// Bytes of a file, at a place that suits the format.
    Mapped {
        file: Arc<Mmap>,
        bytes: Range<usize>,
        format: Format,
    },
    F32(Arc<[f32]>),
    F16(Arc<[f16]>),
    Bf16(Arc<[bf16]>),
    /// None: the tensor was asked for by someone who only counts.
    Absent,
}

/// Numbers and their shape.
#[derive(Clone, Debug)]
pub struct Tensor {
    storage: Storage,
    shape: Vec<usize>,
}

impl Tensor {
    /// A part of a file, which must have the bytes that the shape needs. It is copied only where it lies at a place that
    /// numbers of its format cannot be read from.
    pub fn mapped(file: &Arc<Mmap>, bytes: Range<usize>, format: Format, shape: Vec<usize>) -> Self {
        let mapped = Storage::Mapped { file: Arc::clone(file), bytes: bytes.clone(), format };
        let data = file.get(bytes).unwrap_or_default();
        let in_place = data.as_ptr().addr().is_multiple_of(format.bytes()) && cfg!(target_endian = "little");
        let storage = match format {
            _ if in_place => mapped,
            Format::F32 => Storage::F32(words(data, f32::from_le_bytes)),
            Format::F16 => Storage::F16(words(data, f16::from_le_bytes)),
            Format::Bf16 => Storage::Bf16(words(data, bf16::from_le_bytes)),
        };
        Self { storage, shape }
    }

    /// A shape without numbers.
    pub fn absent(shape: &[usize]) -> Self {
        Self { storage: Storage::Absent, shape: shape.to_vec() }
    }

    /// Single precision in memory.
    pub fn of_f32(values: Vec<f32>, shape: &[usize]) -> Self {
        Self { storage: Storage::F32(values.into()), shape: shape.to_vec() }
    }

    /// Half the bytes in memory.
    pub fn of_bf16(values: Vec<bf16>, shape: &[usize]) -> Self {
        Self { storage: Storage::Bf16(values.into()), shape: shape.to_vec() }
    }

    /// All numbers, as `f32`.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.storage {
            Storage::F32(values) => values.to_vec(),
            Storage::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
            Storage::Bf16(values) => values.iter().map(|value| value.to_f32()).collect(),
            Storage::Mapped { file, bytes, format } => match format {
                Format::F32 => numbers::<f32>(file, bytes).to_vec(),
                Format::F16 => numbers::<f16>(file, bytes).iter().map(|value| value.to_f32()).collect(),
                Format::Bf16 => numbers::<bf16>(file, bytes).iter().map(|value| value.to_f32()).collect(),
            },
            Storage::Absent => Vec::new(),
        }
    }

    /// The same numbers in another shape of as many.
    pub fn reshaped(self, shape: Vec<usize>) -> Self {
        Self { shape, ..self }
    }

    /// The matrix of a tensor `[outputs, inputs]`.
    pub fn into_matrix(self) -> Matrix {
        let (outputs, inputs) = match self.shape[..] {
            [outputs, inputs] => (outputs, inputs),
            _ => (1, self.shape.iter().product()),
        };
        Matrix { values: Values::Plain(self.storage), outputs, inputs }
    }

    /// Of a stack `[experts, inputs, outputs]` the matrix of one expert, `[outputs / step, inputs]`: every `step`-th
    /// output from `first` on. The one case in which weights are copied: they are stored across.
    pub fn across(&self, expert: usize, (first, step): (usize, usize)) -> Matrix {
        let [_, inputs, outputs] = self.shape[..] else {
            return Self::absent(&[0, 0]).into_matrix();
        };
        let range = expert * inputs * outputs..(expert + 1) * inputs * outputs;
        let values = Values::Plain(Taken { first, step }.of(&self.storage, range, (inputs, outputs)));
        Matrix { values, outputs: outputs / step, inputs }
    }
}

/// Every `step`-th column from `first` on.
#[derive(Clone, Copy)]
struct Taken {
    first: usize,
    step: usize,
}

impl Taken {
    /// These columns of a part of a tensor, one after the other.
    fn of(self, storage: &Storage, range: Range<usize>, shape: (usize, usize)) -> Storage {
        match storage {
            Storage::F32(values) => Storage::F32(self.columns(&values[range], shape)),
            Storage::F16(values) => Storage::F16(self.columns(&values[range], shape)),
            Storage::Bf16(values) => Storage::Bf16(self.columns(&values[range], shape)),
            Storage::Mapped { file, bytes, format } => match format {
                Format::F32 => Storage::F32(self.columns(&numbers(file, bytes)[range], shape)),
                Format::F16 => Storage::F16(self.columns(&numbers(file, bytes)[range], shape)),
                Format::Bf16 => Storage::Bf16(self.columns(&numbers(file, bytes)[range], shape)),
            },
            Storage::Absent => Storage::Absent,
        }
    }

    fn columns<T: Copy>(self, values: &[T], (rows, columns): (usize, usize)) -> Arc<[T]> {
        let taken = (self.first..columns).step_by(self.step);
        taken.flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
    }
}

/// A weight matrix `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub struct Matrix {
    values: Values,
    outputs: usize,
    inputs: usize,
}

/// The numbers of a matrix.
#[derive(Clone, Debug)]
enum Values {
    /// Each on its own.
    Plain(Storage),
    /// In fewer bits, with scales.
    Narrow(Box<NarrowMatrix>),
}

impl Matrix {
    /// Rows.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// What core's products take. An error only for a matrix that was merely counted.
    pub fn weights(&self) -> Result<CoreWeights<'_>, ShapeError> {
        let (rows, columns) = (self.outputs, self.inputs);
        Ok(match &self.values {
            Values::Narrow(narrow) => return narrow.weights(rows, columns),
            Values::Plain(Storage::F32(values)) => CoreWeights::F32(MatRef::new(values, rows, columns)?),
            Values::Plain(Storage::F16(values)) => CoreWeights::F16(MatRef::new(values, rows, columns)?),
            Values::Plain(Storage::Bf16(values)) => CoreWeights::Bf16(MatRef::new(values, rows, columns)?),
            Values::Plain(Storage::Mapped { file, bytes, format }) => match format {
                Format::F32 => CoreWeights::F32(MatRef::new(numbers(file, bytes), rows, columns)?),
                Format::F16 => CoreWeights::F16(MatRef::new(numbers(file, bytes), rows, columns)?),
                Format::Bf16 => CoreWeights::Bf16(MatRef::new(numbers(file, bytes), rows, columns)?),
            },
            Values::Plain(Storage::Absent) => CoreWeights::F32(MatRef::new(&[], rows, columns)?),
        })
    }

    /// The numbers, to be changed: of a matrix in single precision and in memory that nobody else has; else none.
    pub fn values_mut(&mut self) -> &mut [f32] {
        match &mut self.values {
            Values::Plain(Storage::F32(values)) => Arc::get_mut(values).unwrap_or_default(),
            _ => &mut [],
        }
    }

    /// The format, if it is one of fewer bits.
    pub fn narrow(&self) -> Option<Narrow> {
        match &self.values {
            Values::Narrow(narrow) => Some(narrow.narrow()),
            Values::Plain(_) => None,
        }
    }

    /// The bytes of the numbers as a file holds them; none of a matrix in fewer bits, which has two runs of them.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.values {
            Values::Plain(Storage::F32(values)) => {
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            Values::Plain(Storage::F16(values)) => {
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            Values::Plain(Storage::Bf16(values)) => {
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            Values::Plain(Storage::Mapped { file, bytes, .. }) => {
                Cow::Borrowed(file.get(bytes.clone()).unwrap_or_default())
            }
            Values::Plain(Storage::Absent) | Values::Narrow(_) => Cow::Borrowed(&[]),
        }
    }
}

/// A weight matrix and its bias.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[outputs, inputs]`.
    pub matrix: Matrix,
    /// `[outputs]`.
    pub bias: Option<Vec<f32>>,
}

impl Linear {
    /// What core's products take.
    pub fn get(&self) -> Result<CoreLinear<'_>, ShapeError> {
        let weights = self.matrix.weights()?;
        match &self.bias {
            Some(bias) => CoreLinear::with_bias(weights, bias),
            None => Ok(CoreLinear::new(weights)),
        }
    }
}

/// Bytes of a file as numbers. They are in place: [`Tensor::mapped`] has looked.
fn numbers<'a, T: FromBytes + Immutable>(file: &'a Mmap, bytes: &Range<usize>) -> &'a [T] {
    let data = file.get(bytes.clone()).unwrap_or_default();
    <[T]>::ref_from_bytes(data).unwrap_or_default()
}

/// Copies numbers out of bytes at any place.
fn words<T, const N: usize>(data: &[u8], word: impl Fn([u8; N]) -> T) -> Arc<[T]> {
    data.as_chunks::<N>().0.iter().map(|bytes| word(*bytes)).collect()
}
