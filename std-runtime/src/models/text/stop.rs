//! Texts that end a text, found across the borders of tokens.

use super::{TextStream, Tokenizer};
use crate::error::Result;

/// Texts that end a text, and are no part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopTexts(Vec<String>);

impl StopTexts {
    /// Some texts; empty ones end nothing.
    pub fn new(texts: &[String]) -> Self {
        Self(texts.iter().filter(|text| !text.is_empty()).cloned().collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The byte where the first of them begins.
    ///
    /// ```
    /// # use mixlet_runtime::models::text::StopTexts;
    /// let stops = StopTexts::new(&["\n\n".to_owned(), "User:".to_owned()]);
    /// assert_eq!((stops.find("so.\nUser: \n\n"), stops.find("so.\nUser")), (Some(4), None));
    /// ```
    pub fn find(&self, text: &str) -> Option<usize> {
        self.0.iter().filter_map(|stop| text.find(stop.as_str())).min()
    }

    /// The bytes at the end of a text with which one of them may begin.
    fn begun(&self, text: &str) -> usize {
        let longest = |stop: &String| {
            let starts = stop.char_indices().map(|(place, _)| place).filter(|place| *place > 0);
            starts.filter(|len| text.ends_with(&stop[..*len])).max()
        };
        self.0.iter().filter_map(longest).max().unwrap_or(0)
    }
}

/// The text of ids that come one by one, up to a text that ends it.
#[derive(Debug)]
pub struct StoppedStream<'t> {
    stream: TextStream<'t>,
    stops: &'t StopTexts,
    /// What may be the beginning of a text that ends this one.
    held: String,
    is_stopped: bool,
}

impl<'t> StoppedStream<'t> {
    /// Nothing has come yet behind a prompt, which may be empty.
    pub fn new(tokenizer: &'t Tokenizer, prompt: &[u32], stops: &'t StopTexts) -> Result<Self> {
        Ok(Self { stream: tokenizer.stream(prompt)?, stops, held: String::new(), is_stopped: false })
    }

    /// The text that is certain after an id, and was not before.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let piece = self.stream.push(id)?;
        Ok(self.give(&piece))
    }

    /// Whether a text that ends this one has come: nothing follows.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// The rest, where nothing has ended it.
    pub fn finish(mut self) -> Result<String> {
        let piece = self.stream.finish()?;
        let certain = self.give(&piece);
        Ok(if self.is_stopped { certain } else { certain + &self.held })
    }

    fn give(&mut self, piece: &str) -> String {
        if self.is_stopped {
            return String::new();
        }
        self.held.push_str(piece);
        let certain = match self.stops.find(&self.held) {
            Some(place) => {
                self.is_stopped = true;
                place
            }
            None => self.held.len() - self.stops.begun(&self.held),
        };
        let rest = self.held.split_off(certain);
        std::mem::replace(&mut self.held, rest)
    }
}
