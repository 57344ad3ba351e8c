//! The text of ids that come one by one.

use super::Tokenizer;
use crate::error::Result;

/// What an unfinished character is decoded to.
const UNFINISHED: char = char::REPLACEMENT_CHARACTER;
/// Ids whose text is waited for: those of one character are far fewer, and bytes that are none must not be held for ever.
const MOST_HELD: usize = 16;

/// Gives out text as ids come: a character whose bytes lie in several tokens with the last of them.
///
/// The pieces make the text that all ids together decode to, unless bytes that are no character follow those of one.
#[derive(Debug)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    /// Ids whose text is held back, behind some whose text was given out: spaces depend on what stands before.
    ids: Vec<u32>,
    /// Of `ids`, those whose text was given out.
    given: usize,
    /// Their text.
    text: String,
}

impl<'t> TextStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, prompt: &[u32]) -> Result<Self> {
        let text = if prompt.is_empty() { String::new() } else { tokenizer.decode(prompt)? };
        Ok(Self { tokenizer, ids: prompt.to_vec(), given: prompt.len(), text })
    }

    /// The text that an id adds; empty while a character is unfinished.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids)?;
        let is_held = text.ends_with(UNFINISHED) && self.ids.len() - self.given < MOST_HELD;
        if is_held { Ok(String::new()) } else { self.give(&text) }
    }

    /// The rest: what was held back.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.tokenizer.decode(&self.ids)?;
        self.give(&text)
    }

    /// What the text of all ids has more than was given out.
    fn give(&mut self, text: &str) -> Result<String> {
        let piece = behind(text, &self.text).to_owned();
        let new = self.tokenizer.decode(&self.ids[self.given..])?;
        // Tokens without text tell nothing about the spaces after them, nor does half of a character about its other half.
        if new.is_empty() || !text.ends_with(&new) {
            self.text = text.to_owned();
        } else {
            self.ids.drain(..self.given);
            self.text = new;
        }
        self.given = self.ids.len();
        Ok(piece)
    }
}

/// What follows in a text where the two begin to differ.
pub(super) fn behind<'a>(text: &'a str, before: &str) -> &'a str {
    let same = text.chars().zip(before.chars()).take_while(|(a, b)| a == b);
    text.get(same.map(|(a, _)| a.len_utf8()).sum()..).unwrap_or_default()
}
