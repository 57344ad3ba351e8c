//! `mixlet lm eval` against plain sums over logits: perplexity in windows, likeliest choices, written answers, examples before
//! questions, two models side by side, and what is refused.

#[path = "../common/mod.rs"]
mod common;
mod comparison;
mod folder;
mod questions;
mod texts;
mod wrong_input;
