//! What is written on from: text through the model's tokenizer, or ids as they are.

use std::borrow::Cow;
use std::path::Path;
use std::time::SystemTime;

use mixlet_core::moe::CapacityRule;

use super::super::super::output::log;
use super::super::read_batch;
use super::options::{GenerateOptions, InputOptions, SourceOptions};
use crate::error::{Error, LmProblem, PromptPlace, Result, TensorProblem};
use crate::models::ModelConfig;
use crate::models::checkpoint::TensorFile;
use crate::models::config::Block;
use crate::models::generate::Prompts;
use crate::models::text::{
    ChatTemplate, Message, PromptLines, Tokenizer, read_chats, read_prompts, read_text,
};
use crate::report::number::things;

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
    /// Reads what the options name, and says what is odd about it.
    pub fn read(options: &GenerateOptions, config: &ModelConfig) -> Result<(Self, Vec<String>)> {
        if let Some(path) = &options.input.source.input {
            let (prompts, warnings) = read_ids(path, config)?;
            return Ok((Self::Ids(prompts), warnings));
        }
        let spoken = Spoken::read(&options.input)?;
        let tokenizer = Tokenizer::open(&options.model, config.vocab)?;
        let fits = |ids: &[u32]| fits(config, ids.len(), options.writing.max_new_tokens);
        let ids = spoken.ids(&options.model, &tokenizer, fits)?;
        Ok((Self::Texts { tokenizer, ids }, Vec::new()))
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

/// Ids out of a file, which a decoder alone writes on behind.
fn read_ids(path: &Path, config: &ModelConfig) -> Result<(Prompts, Vec<String>)> {
    const WANTED: [&str; 2] = ["input_ids", "attention_mask"];
    if TensorFile::open(path)?.names().any(|name| name == "decoder_input_ids") {
        let remedy = "but what is written begins with the decoder's start; take it out, or read it with `mixlet lm logits`";
        let problem = TensorProblem::Unwanted { name: "decoder_input_ids", remedy };
        return Err(Error::Tensor { path: path.to_owned(), problem });
    }
    let (batch, mut warnings) = read_batch(path, config.vocab, &WANTED)?;
    let len = batch.ids.len() / batch.sequences;
    let ends_in_padding = |real: &Vec<bool>| real.chunks(len).any(|real| real.last() == Some(&false));
    if config.encoder.is_none() && batch.real.as_ref().is_some_and(ends_in_padding) {
        let warning = "is padded on the right, and written on behind the padding; pad on the left";
        warnings.push(format!("{}: `input_ids` {warning}", path.display()));
        warnings.last().iter().for_each(|warning| log("warning", warning));
    }
    Ok((Prompts { sequences: batch.sequences, ids: batch.ids, real: batch.real }, warnings))
}

/// Makes sure that a decoder has positions for a prompt and for what follows; with an encoder it reads its start alone.
fn fits(config: &ModelConfig, prompt: usize, new: usize) -> Result<()> {
    let Some(limit) = config.max_positions.filter(|_| config.encoder.is_none()) else { return Ok(()) };
    let tokens = if prompt > limit { prompt } else { prompt + new };
    if tokens > limit { Err(LmProblem::TooLong { tokens, limit }.into()) } else { Ok(()) }
}

/// What people say to the model, and where.
enum Spoken {
    Texts(Vec<(PromptPlace, String)>),
    Chats(Vec<(PromptPlace, Vec<Message>)>),
}

impl Spoken {
    fn read(options: &InputOptions) -> Result<Self> {
        let InputOptions { source: SourceOptions { prompt, prompts, messages, .. }, chat, system } = options;
        if let Some(path) = messages {
            return Ok(Self::Chats(placed(path, read_chats(path)?)));
        }
        let texts = match prompts {
            Some(path) => {
                let PromptLines { prompts, blank } = read_prompts(path)?;
                if blank > 0 {
                    let lines = things(blank, "blank line");
                    log("note", &format!("{}: {lines} left out, as no prompts", path.display()));
                }
                placed(path, prompts)
            }
            None => {
                let text = |(nth, text): (usize, &String)| Ok((PromptPlace::Option(nth), said(text)?));
                (1..).zip(prompt).map(text).collect::<Result<_>>()?
            }
        };
        if !chat {
            return Ok(Self::Texts(texts));
        }
        let system = system.iter().map(|text| Message::new("system", text));
        let chat = |text: String| system.clone().chain([Message::new("user", &text)]).collect();
        Ok(Self::Chats(texts.into_iter().map(|(place, text)| (place, chat(text))).collect()))
    }

    fn ids(
        &self,
        model: &Path,
        tokenizer: &Tokenizer,
        fits: impl Fn(&[u32]) -> Result<()>,
    ) -> Result<Vec<Vec<u32>>> {
        match self {
            Self::Texts(texts) => each(texts, |text| tokenizer.encode(text), fits),
            Self::Chats(chats) => {
                let (template, now) = (ChatTemplate::open(model)?, SystemTime::now());
                each(chats, |chat| tokenizer.encode_bare(&template.render(tokenizer, chat, now)?), fits)
            }
        }
    }
}

/// The ids of everything that is said; errors name its place.
fn each<T>(
    said: &[(PromptPlace, T)],
    ids: impl Fn(&T) -> Result<Vec<u32>>,
    fits: impl Fn(&[u32]) -> Result<()>,
) -> Result<Vec<Vec<u32>>> {
    let checked = |said: &T| ids(said).and_then(|ids| fits(&ids).map(|()| ids));
    let of = |(place, said): &(PromptPlace, T)| checked(said).map_err(|error| error.of_prompt(place));
    said.iter().map(of).collect()
}

/// What stands in the lines of a file.
fn placed<T>(path: &Path, lines: Vec<(usize, T)>) -> Vec<(PromptPlace, T)> {
    let place = |line| PromptPlace::File { path: path.to_owned(), line: Some(line) };
    lines.into_iter().map(|(line, said)| (place(line), said)).collect()
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
