//! Problems of files that language models are evaluated on.

use std::fmt;

use super::Quoted;

/// What can be wrong with a file of questions or texts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EvalProblem {
    /// There is nothing in the file.
    Empty,
    /// A line is no JSON object.
    Json {
        /// What the parser found.
        reason: String,
    },
    /// A line lacks a key.
    Missing {
        /// The key, by the first of its names.
        key: &'static str,
        /// What must stand there.
        expected: &'static str,
    },
    /// A key has something else.
    Value {
        /// The key, by the first of its names.
        key: &'static str,
        /// Its value, as JSON.
        found: String,
        /// What must stand there.
        expected: &'static str,
    },
    /// A line of questions with choices has no such choice.
    Answer {
        /// The answer given.
        found: String,
        /// How many choices there are.
        choices: usize,
    },
    /// More examples are to go before a question than there are others.
    Shots {
        /// How many.
        asked: usize,
        /// How many there are.
        there: usize,
    },
    /// A text has too few tokens to predict one from another.
    Short,
    /// An answer adds no token to its prompt, or there is no prompt.
    NoAnswer,
    /// An encoder–decoder is to predict a text that nothing goes before.
    NoPrompt,
    /// A question has more tokens than the model has positions.
    TooLong {
        /// How many.
        tokens: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl fmt::Display for EvalProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "nothing to evaluate, expected a text, or lines of JSON"),
            Self::Json { reason } => write!(f, "no JSON object ({})", Quoted(reason)),
            Self::Missing { key, expected } => write!(f, "`{key}` is not there, expected {expected}"),
            Self::Value { key, found, expected } => {
                write!(f, "`{key}` is {}, expected {expected}", Quoted(found))
            }
            Self::Answer { found, choices } => write!(
                f,
                "the answer is {}, expected a choice's text or its place, 0 to {}",
                Quoted(found),
                choices.saturating_sub(1)
            ),
            Self::Shots { asked, there } => {
                write!(
                    f,
                    "--shots asks for {asked} examples, expected at most {there}; name more with --shots-from"
                )
            }
            Self::Short => write!(f, "a text without two tokens, of which one could be predicted"),
            Self::NoAnswer => {
                write!(f, "an answer without a token behind its prompt, expected both to have some")
            }
            Self::NoPrompt => write!(
                f,
                "an encoder–decoder predicts what follows a prompt; give lines of JSON with prompt and answer"
            ),
            Self::TooLong { tokens, limit } => {
                write!(f, "{tokens} tokens, expected at most {limit}; shorten it, or ask for fewer --shots")
            }
        }
    }
}
