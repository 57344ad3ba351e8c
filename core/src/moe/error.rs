//! What can be wrong with a router's settings or its input.

use core::fmt;

/// What can be wrong with a router's settings or its input.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RouterError {
    /// There are no experts.
    NoExperts,
    /// `top_k` is zero or larger than `experts`.
    TopK {
        /// The rejected value.
        top_k: u32,
        /// The largest allowed value.
        experts: u32,
    },
    /// A setting is not the number it must be.
    Number {
        /// Which setting.
        what: &'static str,
        /// The rejected value.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// Groups of experts are not equally large, or the kept ones hold too few experts.
    ExpertGroups {
        /// Groups of experts.
        groups: u32,
        /// Groups that are kept.
        kept: u32,
        /// Number of experts.
        experts: u32,
    },
    /// Expert choice takes a fixed number of tokens per expert: it cannot be dropless.
    NeedsCapacity,
    /// Experts choose here: there are no choices of tokens to balance.
    NotTokenChoice,
    /// Only noisy top-k has a load loss.
    NotNoisy,
    /// A random priority draws its order.
    NeedsGenerator,
    /// Only a random priority draws its order.
    NotRandom,
    /// A token's id is not in the table of a hash.
    TokenId {
        /// The token.
        token: usize,
        /// Its id.
        id: u32,
        /// The number of ids there are.
        vocabulary: usize,
    },
    /// Tokens do not fall into groups of exactly the given size.
    GroupTokens {
        /// Number of tokens.
        tokens: usize,
        /// Tokens a group must have.
        group_tokens: usize,
    },
    /// More than 32 bits can count.
    TooMany {
        /// What there are too many of.
        what: &'static str,
    },
    /// An array's length is not what the shape implies.
    Length {
        /// Which array.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A token's logits (or noise, or bias) hold NaN or an infinity.
    NonFinite {
        /// The token.
        token: usize,
    },
    /// A slot's expert does not exist.
    Expert {
        /// The slot.
        slot: usize,
        /// Its expert.
        expert: u32,
        /// Number of experts.
        experts: usize,
    },
    /// A token's first slot lies before the previous token's or after the last slot.
    Offset {
        /// The token.
        token: usize,
    },
    /// An order of tokens or slots names one twice, or one that is not in the group.
    Order {
        /// The place in the order.
        place: usize,
    },
    /// A recording is not one of this router and these tokens.
    Recording {
        /// What differs.
        what: &'static str,
        /// What the recording says.
        found: u32,
        /// What it must say.
        expected: u32,
    },
}

impl fmt::Display for RouterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoExperts => write!(f, "there are no experts, expected at least one"),
            Self::TopK { top_k, experts } => write!(f, "top_k is {top_k}, expected 1..={experts}"),
            Self::Number { what, value, expected } => write!(f, "{what} is {value}, expected {expected}"),
            Self::ExpertGroups { groups, kept, experts } => write!(
                f,
                "{groups} groups of {experts} experts with {kept} kept, expected equal groups and enough experts in the kept ones"
            ),
            Self::NeedsCapacity => {
                write!(f, "expert choice without a capacity, expected a rule that gives one")
            }
            Self::NotTokenChoice => write!(f, "experts choose here, expected a policy of token choice"),
            Self::NotNoisy => write!(f, "a load loss without noise, expected noisy top-k"),
            Self::NeedsGenerator => write!(f, "a random priority without a generator, expected random_order"),
            Self::NotRandom => write!(f, "an order drawn for another priority, expected a random one"),
            Self::TokenId { token, id, vocabulary } => {
                write!(f, "the id of token {token} is {id}, expected one below {vocabulary}")
            }
            Self::GroupTokens { tokens, group_tokens } => {
                write!(f, "there are {tokens} tokens, expected a multiple of {group_tokens}")
            }
            Self::TooMany { what } => write!(f, "there are too many {what}, expected fewer than 2^32"),
            Self::Length { what, found, expected } => {
                write!(f, "{what} holds {found} values, expected {expected}")
            }
            Self::NonFinite { token } => write!(f, "a logit of token {token} is not a finite number"),
            Self::Expert { slot, expert, experts } => {
                write!(f, "slot {slot} asks for expert {expert}, expected one below {experts}")
            }
            Self::Offset { token } => write!(f, "the first slot of token {token} is out of order"),
            Self::Order { place } => write!(f, "place {place} of the order is not a new one of its group"),
            Self::Recording { what, found, expected } => {
                write!(f, "the recording's {what} is {found}, expected {expected}")
            }
        }
    }
}

impl core::error::Error for RouterError {}

/// An error unless an array has the length that its shape implies.
#[inline(always)]
pub(super) fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), RouterError> {
    if found == expected { Ok(()) } else { Err(RouterError::Length { what, found, expected }) }
}

/// A count as the 32 bits that plans are made of.
#[inline(always)]
pub(super) fn count(what: &'static str, count: usize) -> Result<u32, RouterError> {
    // The last value marks what is not there.
    u32::try_from(count).ok().filter(|&count| count < u32::MAX).ok_or(RouterError::TooMany { what })
}
