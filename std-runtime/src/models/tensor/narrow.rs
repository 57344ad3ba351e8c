//! Matrices in fewer bits: whole numbers, and scales beside them.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use mixlet_core::half::f16;
use mixlet_core::matrix::{MatRef, ShapeError};
use mixlet_core::weights::{GROUP, Int4, Int8, Weights};
use safetensors::tensor::Dtype;
use serde::Serialize;

use super::{Format, Matrix, Tensor, Values, numbers};

/// A format of fewer bits, and how files hold it: the matrix `x` as a tensor `x.int8` or `x.int4` with its scales in
/// `x.scales`. Under a name of its own nobody takes it for plain weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Narrow {
    /// A byte a weight, and a scale in `f32` for each output.
    Int8,
    /// Half a byte a weight, and a scale in `f16` for 32 inputs of an output.
    Int4,
}

impl Narrow {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Int8, Self::Int4];

    /// The name of a matrix' whole numbers.
    pub fn values_name(self, matrix: &str) -> String {
        match self {
            Self::Int8 => format!("{matrix}.int8"),
            Self::Int4 => format!("{matrix}.int4"),
        }
    }

    /// The name of a matrix' scales.
    pub fn scales_name(matrix: &str) -> String {
        format!("{matrix}.scales")
    }

    /// Whether a row of so many inputs can be stored.
    pub fn fits(self, inputs: usize) -> bool {
        self == Self::Int8 || inputs.is_multiple_of(GROUP)
    }

    /// What a file says of the whole numbers: `[outputs, inputs]`, two of them in a byte with int4.
    pub fn values(self, outputs: usize, inputs: usize) -> (Dtype, Vec<usize>) {
        match self {
            Self::Int8 => (Dtype::I8, vec![outputs, inputs]),
            Self::Int4 => (Dtype::U8, vec![outputs, inputs / 2]),
        }
    }

    /// What a file says of the scales: `[outputs]`, or `[outputs, inputs / 32]`.
    pub fn scales(self, outputs: usize, inputs: usize) -> (Dtype, Vec<usize>) {
        match self {
            Self::Int8 => (Dtype::F32, vec![outputs]),
            Self::Int4 => (Dtype::F16, vec![outputs, inputs / GROUP]),
        }
    }
}

/// The numbers of such a matrix: the whole ones in a file, the scales beside them.
#[derive(Clone, Debug)]
pub struct NarrowMatrix {
    narrow: Narrow,
    file: Arc<Mmap>,
    bytes: Range<usize>,
    /// Of one number a row.
    scales: Matrix,
}

impl NarrowMatrix {
    /// Two parts of a file, which must have the bytes that the shapes need. Only scales may have to be copied, for they
    /// alone have to lie at certain places.
    pub fn mapped(
        narrow: Narrow,
        (file, bytes): (&Arc<Mmap>, Range<usize>),
        (scales_file, scales): (&Arc<Mmap>, Range<usize>),
        (outputs, inputs): (usize, usize),
    ) -> Matrix {
        let format = if narrow == Narrow::Int8 { Format::F32 } else { Format::F16 };
        let (_, shape) = narrow.scales(outputs, inputs);
        let scales =
            Tensor::mapped(scales_file, scales, format, vec![shape.iter().product(), 1]).into_matrix();
        let values = Self { narrow, file: Arc::clone(file), bytes, scales };
        Matrix { values: Values::Narrow(Box::new(values)), outputs, inputs }
    }

    pub(super) fn narrow(&self) -> Narrow {
        self.narrow
    }

    /// What core's products take.
    pub(super) fn weights(&self, outputs: usize, inputs: usize) -> Result<Weights<'_>, ShapeError> {
        let scales = self.scales.weights()?;
        match self.narrow {
            Narrow::Int8 => {
                let scales: &[f32] = if let Weights::F32(scales) = scales { scales.values() } else { &[] };
                let values = MatRef::new(numbers::<i8>(&self.file, &self.bytes), outputs, inputs)?;
                Ok(Weights::Int8(Int8::new(values, scales)?))
            }
            Narrow::Int4 => {
                let scales: &[f16] = if let Weights::F16(scales) = scales { scales.values() } else { &[] };
                let nibbles = MatRef::new(numbers::<u8>(&self.file, &self.bytes), outputs, inputs / 2)?;
                let scales = MatRef::new(scales, outputs, inputs / GROUP)?;
                Ok(Weights::Int4(Int4::new(nibbles, scales)?))
            }
        }
    }
}
