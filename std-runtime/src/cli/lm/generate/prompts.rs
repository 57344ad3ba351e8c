//! What is written on from: text through the model's tokenizer, or ids as they are.

use std::borrow::Cow;
use std::path::Path;
use std::time::SystemTime;

use mixlet_core::moe::CapacityRule;

use super::options::{GenerateOptions, InputOptions, SourceOptions};
use crate::error::{LmProblem, Result};
use crate::models::ModelConfig;
use crate::models::config::Block;
use crate::models::generate::Prompts;
use crate::models::io::read_batch;
use crate::models::text::{ChatTemplate, Message, Tokenizer, read_chats, read_prompts, read_text};

/// What is written on from.
pub(super) enum Prompted {
    /// Texts as ids, each of its own length.
    Texts {
        /// What made the ids.
        tokenizer: Tokenizer,
        /// The ids.
        ids: Vec<Vec<u32>>,
    },
    /// Ids out of a file.
    Ids(Prompts),
}

impl Prompted {
    /// Reads what the options name.
    pub fn read(options: &GenerateOptions, config: &ModelConfig) -> Result<Self> {
        if let Some(path) = &options.input.source.input {
            let batch = read_batch(path, config.vocab)?;
            return Ok(Self::Ids(Prompts { sequences: batch.sequences, ids: batch.ids, real: batch.real }));
        }
        let prompts = Spoken::read(&options.input)?;
        let tokenizer = Tokenizer::open(&options.model, config.vocab)?;
        let ids = prompts.ids(&options.model, &tokenizer)?;
        let limit = config.max_positions.unwrap_or(usize::MAX);
        if let Some(tokens) =
            ids.iter().map(Vec::len).find(|tokens| config.encoder.is_none() && *tokens > limit)
        {
            return Err(LmProblem::TooLong { tokens, limit }.into());
        }
        Ok(Self::Texts { tokenizer, ids })
    }

    /// Prompts.
    pub fn texts(&self) -> usize {
        match self {
            Self::Texts { ids, .. } => ids.len(),
            Self::Ids(prompts) => prompts.sequences,
        }
    }

    /// Tokens of all prompts, without padding.
    pub fn tokens(&self) -> usize {
        match self {
            Self::Texts { ids, .. } => ids.iter().map(Vec::len).sum(),
            Self::Ids(Prompts { ids, real, .. }) => {
                real.as_ref().map_or(ids.len(), |real| real.iter().filter(|real| **real).count())
            }
        }
    }

    /// What makes text of ids.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            Self::Texts { tokenizer, .. } => Some(tokenizer),
            Self::Ids(_) => None,
        }
    }

    /// Batches of texts: one text each where others would take its places at experts, and one batch where routes are kept. Ids stay
    /// the batch they are.
    pub fn batches(&self, options: &GenerateOptions, config: &ModelConfig) -> Vec<Cow<'_, Prompts>> {
        let most = match (options.routing.keeps_routes(), shares_places(config)) {
            (true, _) => usize::MAX,
            (false, true) => 1,
            (false, false) => options.writing.batch,
        };
        match self {
            Self::Texts { ids, .. } => {
                ids.chunks(most).map(|ids| Cow::Owned(Prompts::new(config, ids))).collect()
            }
            Self::Ids(prompts) => vec![Cow::Borrowed(prompts)],
        }
    }
}

/// Whether the tokens of a batch take places at experts from each other.
fn shares_places(config: &ModelConfig) -> bool {
    let layers = config.encoder.iter().chain([&config.decoder]).flat_map(|stack| &stack.layers);
    layers.flat_map(|layer| &layer.blocks).any(|block| match block {
        Block::Experts(experts) => !experts.by_sequence && experts.router.capacity != CapacityRule::Dropless,
        _ => false,
    })
}

/// What people say to the model.
enum Spoken {
    Texts(Vec<String>),
    Chats(Vec<Vec<Message>>),
}

impl Spoken {
    fn read(options: &InputOptions) -> Result<Self> {
        let InputOptions { source: SourceOptions { prompt, prompts, messages, .. }, chat, system } = options;
        if let Some(path) = messages {
            return Ok(Self::Chats(read_chats(path)?));
        }
        let texts = match prompts {
            Some(path) => read_prompts(path)?,
            None => prompt.iter().map(|text| said(text)).collect::<Result<_>>()?,
        };
        if !chat {
            return Ok(Self::Texts(texts));
        }
        let system = system.iter().map(|text| Message::new("system", text));
        let chat = |text: &String| system.clone().chain([Message::new("user", text)]).collect();
        Ok(Self::Chats(texts.iter().map(chat).collect()))
    }

    fn ids(&self, model: &Path, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
        match self {
            Self::Texts(texts) => texts.iter().map(|text| tokenizer.encode(text)).collect(),
            Self::Chats(chats) => {
                let (template, now) = (ChatTemplate::open(model)?, SystemTime::now());
                let ids =
                    |chat: &Vec<Message>| tokenizer.encode_bare(&template.render(tokenizer, chat, now)?);
                chats.iter().map(ids).collect()
            }
        }
    }
}

/// A prompt of the command line, or standard input without the end of its last line.
fn said(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut text = read_text(Path::new("-"))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}
