//! Evaluation: how well a language model predicts texts, picks choices, answers questions.
//!
//! ```text
//!   file ─► data ─► shots ─► plan: ids of every run ─► perplexity | choices | matches ─► figures with their errors
//! ```
//!
//! * [`data`]: what stands in a file. [`shots`]: examples before a question.
//! * [`plan`](mod@plan): every run in ids, before the model is loaded: so it is known what memory they need.
//! * [`perplexity`](mod@perplexity): texts in windows. [`choices`](mod@choices): which answer is likeliest. [`matches`](mod@matches):
//!   what is written greedily. [`spread`]: how certain the figures are.

pub mod choices;
pub mod data;
mod likelihood;
pub mod matches;
pub mod perplexity;
pub mod plan;
pub mod shots;
pub mod spread;

pub use choices::{ChoiceScores, choices};
pub use data::{Data, Question};
pub use likelihood::Scored;
pub use matches::{MatchScores, Matching, Normalise, matches};
pub use perplexity::{Perplexity, perplexity};
pub use plan::{Asked, Plan, Planner, Settings, TextPlan, Work};
pub use shots::Shots;

use super::Model;
use super::text::Tokenizer;

/// How far an evaluation has come: runs done, of so many, and tokens read so far.
pub type EvalProgress<'a> = &'a mut dyn FnMut(usize, usize, u64);

/// A model with its tokenizer.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The model.
    pub model: &'a Model,
    /// From its ids to text.
    pub tokenizer: &'a Tokenizer,
}
