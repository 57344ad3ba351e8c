//! Text in and out: what a model's folder says about tokens.
//!
//! ```text
//!   text ─► Tokenizer::encode ─► ids ─► model ─► ids ─► Tokenizer::decode, or TextStream piece by piece ─► text
//! ```
//!
//! The rules are those of `tokenizer.json`, applied by the crate of the same name that made the file. What the folder says
//! besides (special tokens, chat templates, end ids) lies in small files around it.

mod chat;
mod clock;
mod files;
mod inputs;
mod rules;
mod special;
mod stop;
mod stream;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, TextProblem};

pub use chat::ChatTemplate;
pub(crate) use inputs::{LIST, is_list_of_objects, json_reason};
pub use inputs::{Message, PromptLines, read_chats, read_prompts, read_text};
pub use special::end_ids;
pub use stop::{StopTexts, StoppedStream};
pub use stream::TextStream;

/// From text to ids and back, as one model does it.
pub struct Tokenizer {
    rules: Box<tokenizers::Tokenizer>,
    /// Texts of tokens with a meaning, by their names: `bos_token`, `eos_token`, `pad_token`, …
    special: BTreeMap<String, String>,
    /// Ids that the model knows.
    vocab: usize,
    path: PathBuf,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { special, vocab, path, .. } = self;
        f.debug_struct("Tokenizer")
            .field("path", path)
            .field("vocab", vocab)
            .field("special", special)
            .finish()
    }
}

impl Tokenizer {
    /// Reads the tokenizer of a folder, for a model of so many ids: `tokenizer.json`, else `vocab.json` with `merges.txt`.
    ///
    /// What that file says of cutting and padding is not done: prompts that are too long are an error of the model.
    pub fn open(folder: &Path, vocab: usize) -> Result<Self> {
        let special = special::texts(folder)?;
        let (path, mut rules) = rules::read(folder, &special)?;
        let problem = |reason| TextProblem::Damaged { reason }.at(&path);
        rules.with_padding(None);
        guarded(|| rules.with_truncation(None).map(|_| ())).map_err(problem)?;
        Ok(Self { rules: Box::new(rules), special, vocab, path })
    }

    /// The ids of a text, with those that the tokenizer puts around it: a begin id, or T5's end id.
    ///
    /// A text without any token, and a token that the model does not know, are errors.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.ids(text, true)
    }

    /// The ids of a text, and nothing around it: for texts that hold their special tokens, and for the middle of one.
    pub fn encode_bare(&self, text: &str) -> Result<Vec<u32>> {
        self.ids(text, false)
    }

    fn ids(&self, text: &str, with_special: bool) -> Result<Vec<u32>> {
        let encoded = guarded(|| self.rules.encode_fast(text, with_special));
        let encoded = encoded.map_err(|reason| TextProblem::Encode { reason }.at(&self.path))?;
        let ids = encoded.get_ids();
        if let Some(found) = ids.iter().copied().find(|id| *id as usize >= self.vocab) {
            let token = self.rules.id_to_token(found).unwrap_or_default();
            return Err(TextProblem::Id { token, found, below: self.vocab }.at(&self.path));
        }
        if ids.is_empty() {
            return Err(TextProblem::Empty.at(&self.path));
        }
        Ok(ids.to_vec())
    }

    /// The text of some ids, without special tokens. Bytes that make no character become U+FFFD, and ids that the tokenizer
    /// has no token for become nothing: models may have more of them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = guarded(|| self.rules.decode(ids, true));
        text.map_err(|reason| TextProblem::Decode { reason }.at(&self.path))
    }

    /// The text that some ids add to that of a prompt: of sentencepiece's words the first has its space, which alone it would lose.
    pub fn decode_behind(&self, prompt: &[u32], ids: &[u32]) -> Result<String> {
        if prompt.is_empty() {
            return self.decode(ids);
        }
        let (before, all) = (self.decode(prompt)?, self.decode(&[prompt, ids].concat())?);
        Ok(stream::behind(&all, &before).to_owned())
    }

    /// The text of ids that come one by one behind a prompt, which may be empty.
    pub fn stream(&self, prompt: &[u32]) -> Result<TextStream<'_>> {
        TextStream::new(self, prompt)
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.rules.token_to_id(token)
    }

    /// The text of a token with a meaning, by its name: `bos_token`, `eos_token`, `pad_token`, …
    pub fn special(&self, name: &str) -> Option<&str> {
        self.special.get(name).map(String::as_str)
    }

    /// All of them.
    pub fn specials(&self) -> &BTreeMap<String, String> {
        &self.special
    }
}

/// What the crate answers. Its rules come out of a file, and some that no program writes make it panic: these are errors too.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("its rules contradict each other".to_owned()),
    }
}

impl TextProblem {
    /// The problem in a file or folder.
    fn at(self, path: &Path) -> Error {
        Error::Text { path: path.to_owned(), problem: self }
    }
}
