//! What can be wrong with the settings or the input of a layer.

use core::fmt;

/// What can be wrong with the settings or the input of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum NnError {
    /// A slice's length is not what the shape says.
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A token id or a label is not in the vocabulary.
    Id {
        /// The token.
        token: usize,
        /// The rejected value.
        id: u32,
        /// The number of ids.
        vocab: usize,
    },
    /// `kv_heads` does not divide `heads`.
    Heads {
        /// Heads of the queries.
        heads: usize,
        /// Heads of keys and values.
        kv_heads: usize,
    },
    /// A key–value cache has no room.
    CacheFull {
        /// Tokens it would have to hold.
        tokens: usize,
        /// Tokens it can hold.
        capacity: usize,
    },
    /// A setting is out of its range.
    Setting {
        /// Which setting.
        what: &'static str,
        /// The rejected value.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// A token's loss is not finite, nor are its logits.
    NonFinite {
        /// The token.
        token: usize,
    },
}

impl fmt::Display for NnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { what, found, expected } => {
                write!(f, "{what} holds {found} values, expected {expected}")
            }
            Self::Id { token, id, vocab } => {
                write!(f, "the id of token {token} is {id}, expected a value below {vocab}")
            }
            Self::Heads { heads, kv_heads } => {
                write!(f, "kv_heads is {kv_heads}, expected a divisor of the {heads} heads")
            }
            Self::CacheFull { tokens, capacity } => {
                write!(f, "the key–value cache would hold {tokens} tokens, expected at most {capacity}")
            }
            Self::Setting { what, value, expected } => write!(f, "{what} is {value}, expected {expected}"),
            Self::NonFinite { token } => {
                write!(f, "the loss of token {token} is not finite, expected finite logits")
            }
        }
    }
}

impl core::error::Error for NnError {}

pub(crate) fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), NnError> {
    if found == expected { Ok(()) } else { Err(NnError::Length { what, found, expected }) }
}

pub(crate) fn check_setting(
    what: &'static str,
    value: f64,
    good: bool,
    expected: &'static str,
) -> Result<(), NnError> {
    if good { Ok(()) } else { Err(NnError::Setting { what, value, expected }) }
}
