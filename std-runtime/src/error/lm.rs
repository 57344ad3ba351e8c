//! Problems of language models: their configuration, their files, what they are asked for.

use std::fmt;

use mixlet_core::matrix::ShapeError;
use mixlet_core::moe::RouterError;
use mixlet_core::moe::experts::ExpertsError;
use mixlet_core::nn::NnError;
use mixlet_core::weights::{GROUP, WeightsError};

use super::routes::RoutesProblem;
use super::{Error, Quoted};
use crate::models::memory::MemoryNeed;

/// What can be wrong with a `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// The file is no JSON object.
    Json {
        /// What the parser found.
        reason: String,
    },
    /// A key is absent that the architecture needs.
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A key has a value that cannot be used.
    Value {
        /// The key.
        key: &'static str,
        /// Its value, as JSON.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// The kind of model is not known.
    Architecture {
        /// What `model_type` says.
        found: String,
    },
    /// Settings of a router do not go together.
    Router(RouterError),
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { reason } => write!(f, "not a configuration ({})", Quoted(reason)),
            Self::Missing { key } => write!(f, "the key `{key}` is absent; copy the file of the model again"),
            Self::Value { key, found, expected } => {
                write!(f, "`{key}` is {}, expected {expected}", Quoted(found))
            }
            Self::Architecture { found } => {
                let known = crate::models::config::KNOWN.join(", ");
                write!(f, "`model_type` is {}, expected one of {known}", Quoted(found))
            }
            Self::Router(error) => write!(f, "router: {error}"),
        }
    }
}

impl From<RouterError> for ConfigProblem {
    fn from(error: RouterError) -> Self {
        Self::Router(error)
    }
}

/// What can be wrong with a file of tensors, or with the tensors of a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The path leads to no regular file, which alone can be mapped.
    NoFile {
        /// What it leads to.
        found: &'static str,
    },
    /// The file ends before its header does.
    Truncated {
        /// Bytes there are.
        found: u64,
        /// Bytes the header asks for.
        expected: u64,
    },
    /// The header is longer than any real one.
    HeaderTooLong {
        /// Bytes it claims.
        found: u64,
        /// Bytes it may have.
        limit: u64,
    },
    /// The header is no JSON object of tensors.
    Header {
        /// What the parser found.
        reason: String,
    },
    /// A tensor begins where another one has not ended, or leaves a gap.
    Offset {
        /// The tensor.
        name: String,
        /// Where it begins.
        found: u64,
        /// Where the one before it ends.
        expected: u64,
    },
    /// A tensor does not have the bytes that its shape needs.
    Bytes {
        /// The tensor.
        name: String,
        /// Bytes it has.
        found: u64,
        /// Bytes it needs; `None` if they cannot be counted.
        expected: Option<u64>,
    },
    /// The index of a model in several files is no index.
    Index {
        /// What is wrong.
        reason: String,
    },
    /// There are no weights in the folder.
    NoWeights,
    /// A tensor is not there.
    Missing {
        /// Its name.
        name: String,
        /// The name that is there and comes nearest.
        nearest: Option<String>,
    },
    /// A tensor has another shape.
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the configuration gives it.
        expected: Vec<usize>,
    },
    /// A tensor of ids has no tokens, or no sequences of them.
    Ids {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor holds numbers of another kind.
    Dtype {
        /// The tensor.
        name: String,
        /// The kind.
        found: String,
        /// The kinds that can be used.
        expected: &'static str,
    },
    /// Rows of a matrix in int4 are not made of whole groups.
    Groups {
        /// The tensor.
        name: String,
        /// Inputs of a row.
        inputs: usize,
    },
    /// A matrix cannot be stored in fewer bits.
    Quantise {
        /// The tensor.
        name: String,
        /// Why.
        reason: WeightsError,
    },
    /// An id is not in the vocabulary.
    Id {
        /// The tensor.
        name: String,
        /// The number.
        found: i64,
        /// The number of ids.
        below: usize,
    },
    /// A mask holds something else than 0 for padding and 1 for the rest.
    Mask {
        /// The tensor.
        name: String,
        /// The number.
        found: i64,
    },
    /// A tensor is there that could not be heeded.
    Unwanted {
        /// The tensor.
        name: &'static str,
        /// Why, and what to do.
        remedy: &'static str,
    },
    /// Recorded routes cannot be taken again.
    Routes(RoutesProblem),
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile { found } => write!(
                f,
                "{found}, expected a regular file, as tensors are read where they lie; copy them into one"
            ),
            Self::Truncated { found, expected } => {
                write!(f, "{found} bytes, expected at least {expected}; copy the file again")
            }
            Self::HeaderTooLong { found, limit } => {
                write!(f, "a header of {found} bytes, expected at most {limit}; is it a safetensors file?")
            }
            Self::Header { reason } => write!(f, "damaged header ({})", Quoted(reason)),
            Self::Offset { name, found, expected } => {
                let name = Quoted(name);
                write!(
                    f,
                    "{name} begins at byte {found} of the values, expected {expected}; copy the file again"
                )
            }
            Self::Bytes { name, found, expected } => match expected {
                Some(expected) => {
                    write!(f, "{} has {found} bytes, expected {expected} by its shape", Quoted(name))
                }
                None => write!(f, "{} has {found} bytes, and a shape beyond any memory", Quoted(name)),
            },
            _ => self.fmt_tensor(f),
        }
    }
}

impl TensorProblem {
    /// Problems of the tensors that a model asks for.
    fn fmt_tensor(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { reason } => write!(f, "damaged index ({})", Quoted(reason)),
            Self::NoWeights => f.write_str("no weights, expected model.safetensors or its index"),
            Self::Missing { name, nearest } => {
                write!(f, "the tensor {} is absent", Quoted(name))?;
                nearest.iter().try_for_each(|nearest| write!(f, "; the nearest is {}", Quoted(nearest)))
            }
            Self::Shape { name, found, expected } => {
                write!(f, "{} has the shape {found:?}, expected {expected:?}", Quoted(name))
            }
            Self::Ids { name, found } => {
                write!(f, "{} has the shape {found:?}, expected sequences by tokens, neither 0", Quoted(name))
            }
            Self::Dtype { name, found, expected } => {
                write!(f, "{} holds {}, expected {expected}", Quoted(name), Quoted(found))
            }
            Self::Groups { name, inputs } => {
                write!(f, "{} has {inputs} inputs, expected a multiple of {GROUP}", Quoted(name))
            }
            Self::Quantise { name, reason } => {
                write!(f, "{} cannot be stored in fewer bits: {reason}; copy the model again", Quoted(name))
            }
            Self::Id { name, found, below } => {
                write!(f, "{} holds the id {found}, expected 0 to {}", Quoted(name), below - 1)
            }
            Self::Mask { name, found } => {
                write!(f, "{} holds {found}, expected 0 for padding or 1", Quoted(name))
            }
            Self::Unwanted { name, remedy } => write!(f, "{} is there, {remedy}", Quoted(name)),
            Self::Routes(problem) => write!(f, "{problem}"),
            _ => Ok(()),
        }
    }
}

/// What can be wrong with what a language model is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LmProblem {
    /// A length does not fit the others.
    Length {
        /// Of what.
        what: &'static str,
        /// The length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// More tokens than the model has positions, or than there was room made for.
    TooLong {
        /// How many.
        tokens: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The logit of an id is not a number.
    NotANumber {
        /// The id.
        id: usize,
    },
    /// A setting of writing is out of its range.
    Setting {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// Beams are asked for, and something that goes with single tokens.
    BeamsByChance,
    /// A decoder that attends to an encoder was run before it.
    NothingEncoded,
    /// An encoder–decoder was given nothing for its decoder to read.
    NothingToDecode,
    /// There is nothing to quantise.
    NoExperts,
    /// A model is to be quantised that is.
    Quantised,
    /// Two models are compared that differ in more than their weights.
    OtherModel,
    /// Models are compared on sequences of which nothing is to be predicted.
    NoLabels,
    /// A model needs more memory than there is.
    Memory {
        /// What it needs.
        need: MemoryNeed,
        /// Bytes it may take.
        limit: u64,
    },
    /// Routes are to be recorded of a model without routers.
    NoRouters,
    /// A router of the decoder looks at later tokens.
    LooksAhead {
        /// The layer.
        layer: usize,
        /// What it does, as a verb with its object.
        how: &'static str,
    },
    /// Core rejected what a layer was given.
    Nn(NnError),
    /// Core rejected what a router was given.
    Router(RouterError),
    /// Core rejected what experts were given.
    Experts(ExpertsError),
    /// Core rejected the shape of a product.
    Shape(ShapeError),
}

impl fmt::Display for LmProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { what, found, expected } => write!(f, "{what}: {found}, expected {expected}"),
            Self::TooLong { tokens, limit } => {
                write!(
                    f,
                    "{tokens} tokens, expected at most {limit}; shorten the input or ask for fewer new ones"
                )
            }
            Self::NotANumber { id } => {
                write!(
                    f,
                    "the logit of id {id} is not a number; the weights hold numbers that are none, or too large ones"
                )
            }
            Self::Setting { what, found, expected } => write!(f, "{what} is {found}, expected {expected}"),
            Self::BeamsByChance => write!(
                f,
                "beams take the likeliest texts, expected no chance, samples or penalty beside them; ask for one beam"
            ),
            Self::NoExperts => {
                write!(f, "the model has no experts; quantise all linear weights, with --only linear")
            }
            Self::Quantised => write!(f, "the model is quantised already; quantise the one it was made from"),
            Self::OtherModel => {
                write!(
                    f,
                    "the models differ in more than their weights; compare one with what was made from it"
                )
            }
            Self::NoLabels => write!(f, "there is nothing to predict, expected labels or longer sequences"),
            Self::NothingEncoded => write!(f, "the decoder attends to an input, which must be encoded first"),
            Self::NothingToDecode => {
                write!(f, "the decoder has nothing to read, expected decoder_input_ids or labels")
            }
            Self::Memory { need, limit } => need.refused(*limit, f),
            Self::NoRouters => write!(f, "the model has no experts, so there are no choices to record"),
            Self::LooksAhead { layer, how } => write!(
                f,
                "in layer {layer} of the decoder {how}, which depends on tokens that are not written yet; let each token \
                 choose for itself, with --look-ahead tokens"
            ),
            Self::Nn(error) => write!(f, "{error}"),
            Self::Router(error) => write!(f, "{error}"),
            Self::Experts(error) => write!(f, "{error}"),
            Self::Shape(error) => write!(f, "{error}"),
        }
    }
}

impl From<LmProblem> for Error {
    fn from(problem: LmProblem) -> Self {
        Self::Lm(problem)
    }
}

impl From<NnError> for Error {
    fn from(error: NnError) -> Self {
        Self::Lm(LmProblem::Nn(error))
    }
}

impl From<RouterError> for Error {
    fn from(error: RouterError) -> Self {
        Self::Lm(LmProblem::Router(error))
    }
}

impl From<ExpertsError> for Error {
    fn from(error: ExpertsError) -> Self {
        Self::Lm(LmProblem::Experts(error))
    }
}

impl From<ShapeError> for Error {
    fn from(error: ShapeError) -> Self {
        Self::Lm(LmProblem::Shape(error))
    }
}
