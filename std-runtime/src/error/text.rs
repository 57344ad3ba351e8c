//! Problems of text that goes to a language model or comes from it.

use std::fmt;
use std::path::PathBuf;

use super::{Error, Quoted, Shown, Source};

/// What to do without a tokenizer.
const IDS: &str = "or give ids with --input, which works without";

/// What can be wrong with a model's tokenizer, or with a text for it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TextProblem {
    /// The folder has no tokenizer.
    Absent,
    /// The folder has a file of sentencepiece only.
    SentencePiece {
        /// The file.
        file: &'static str,
    },
    /// `vocab.json` and `merges.txt` belong to a tokenizer whose other rules are not known.
    Class {
        /// What `tokenizer_class` says.
        found: String,
    },
    /// A file is larger than any real one.
    TooLarge {
        /// Its bytes.
        found: u64,
        /// Bytes it may have.
        limit: u64,
    },
    /// A file is not what its name says.
    Damaged {
        /// What the parser found.
        reason: String,
    },
    /// The tokenizer's rules fail on a text.
    Encode {
        /// Its reason.
        reason: String,
    },
    /// The tokenizer's rules fail on ids.
    Decode {
        /// Its reason.
        reason: String,
    },
    /// A text has no tokens.
    Empty,
    /// A file of prompts or chats has something else.
    Input {
        /// The line.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The folder has no template for chats.
    NoTemplate,
    /// It has several, of which none is the usual one.
    NamedTemplates {
        /// Their names.
        found: Vec<String>,
    },
    /// A template for chats fails.
    Template {
        /// The line.
        line: usize,
        /// Why, in the words of the template or of Jinja.
        reason: String,
    },
    /// A token has an id that the model does not know.
    Id {
        /// The token.
        token: String,
        /// Its id.
        found: u32,
        /// Ids that the model knows.
        below: usize,
    },
}

impl fmt::Display for TextProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = "make it with transformers, AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)";
        match self {
            Self::Absent => write!(
                f,
                "no tokenizer, expected tokenizer.json, or vocab.json and merges.txt; copy it from where the model \
                 came from, {IDS}"
            ),
            Self::SentencePiece { file } => {
                write!(f, "the tokenizer is {file} alone, expected tokenizer.json; {remedy}, {IDS}")
            }
            Self::Class { found } => write!(
                f,
                "vocab.json belongs to {}, expected GPT2Tokenizer, Qwen2Tokenizer or a tokenizer.json; {remedy}, {IDS}",
                Quoted(found)
            ),
            Self::TooLarge { found, limit } => {
                write!(f, "{found} bytes, expected at most {limit}; copy the file again")
            }
            Self::Damaged { reason } => {
                write!(f, "damaged file of a tokenizer ({}); copy it again", Quoted(reason))
            }
            Self::Encode { reason } => write!(f, "the text cannot be cut into tokens ({})", Quoted(reason)),
            Self::Decode { reason } => write!(f, "the ids cannot be made text ({})", Quoted(reason)),
            Self::Empty => write!(f, "the text has no tokens, expected at least one; give a longer text"),
            Self::Id { token, found, below } => write!(
                f,
                "the token {} has the id {found}, expected 0 to {}; the tokenizer belongs to another model",
                Quoted(token),
                below.saturating_sub(1)
            ),
            _ => self.fmt_chat(f),
        }
    }
}

impl TextProblem {
    /// The line that is meant, counted from 1; `None` for the whole file.
    pub(super) fn line(&self) -> Option<usize> {
        match self {
            Self::Input { line, .. } => Some(*line),
            _ => None,
        }
    }

    /// Problems of prompts and chats.
    fn fmt_chat(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { reason, .. } => write!(f, "{}", Shown(reason, 200)),
            Self::NoTemplate => write!(
                f,
                "no chat template, expected chat_template.jinja, or chat_template in tokenizer_config.json; the model may \
                 know no chats: prompt it without --chat"
            ),
            Self::NamedTemplates { found } => {
                write!(f, "chat templates {}, expected one named `default`", Quoted(&found.join(", ")))
            }
            Self::Template { line, reason } => {
                write!(f, "line {line} of the chat template fails: {}", Shown(reason, 200))
            }
            _ => Ok(()),
        }
    }
}

/// Where a prompt or a chat comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptPlace {
    /// The command line: the first prompt there, the second, and so on.
    Option(usize),
    /// A file.
    File {
        /// The file.
        path: PathBuf,
        /// The line it begins in, counted from 1; `None` if it is all of the file.
        line: Option<usize>,
    },
}

impl fmt::Display for PromptPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(nth) => write!(f, "prompt {nth}"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", Source(path)),
            Self::File { path, line: None } => write!(f, "{}", Source(path)),
        }
    }
}

impl Error {
    /// The same error with the prompt or chat that it is about.
    pub(crate) fn of_prompt(self, place: &PromptPlace) -> Self {
        Self::Prompt { place: place.clone(), problem: Box::new(self) }
    }
}
