//! Some sequences with what is expected of them, run as a whole.

use std::borrow::Cow;

use mixlet_core::linear::Operands;
use mixlet_core::nn::IGNORED;

use super::forward::{Session, Tokens, Wanted, Watch};
use super::{Model, ModelConfig};
use crate::error::{LmProblem, Result};

/// Sequences of equal length; shorter ones are padded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// How many sequences.
    pub sequences: usize,
    /// `[sequences, tokens]`.
    pub ids: Vec<u32>,
    /// `[sequences, tokens]`: false for padding.
    pub real: Option<Vec<bool>>,
    /// `[sequences, decoder tokens]`: what the decoder of an encoder–decoder reads; its labels, one place later, if absent.
    pub decoder_ids: Option<Vec<u32>>,
    /// `[sequences, tokens or decoder tokens]`: the ids to be predicted, or [`IGNORED`].
    ///
    /// A decoder alone predicts each token from those before it: its labels are its ids.
    pub labels: Option<Vec<u32>>,
}

/// How much a model is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Sequences.
    pub sequences: usize,
    /// Tokens of each that the encoder reads.
    pub encoder: usize,
    /// Tokens of each that the decoder reads; `None` if that is not known yet.
    pub decoder: Option<usize>,
}

impl Batch {
    /// The ids and their mask.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens { ids: &self.ids, real: self.real.as_deref() }
    }

    /// How much a model reads of it.
    pub fn reading(&self, config: &ModelConfig) -> Reading {
        let of_one = |ids: &Vec<u32>| ids.len() / self.sequences.max(1);
        let (encoder, decoder) = match config.encoder {
            None => (0, Some(of_one(&self.ids))),
            Some(_) => (of_one(&self.ids), self.decoder_ids.as_ref().or(self.labels.as_ref()).map(of_one)),
        };
        Reading { sequences: self.sequences, encoder, decoder }
    }
}

impl Model {
    /// The logits of every token, `[sequences, tokens, vocab]`; activations are not rounded, whatever the weights are.
    pub fn logits(&self, batch: &Batch, watch: &mut impl Watch) -> Result<Vec<f32>> {
        let ids = self.decoded(batch)?;
        let real = batch.real.as_deref().filter(|_| self.config.encoder.is_none());
        let decoded = Tokens { ids: &ids, real };
        let tokens = ids.len() / batch.sequences.max(1);
        let mut session = Session::new(self, batch.sequences, tokens)?.with_operands(Operands::Exact);
        session.encode(batch.tokens(), watch)?;
        session.decode(decoded, watch)?;
        let mut logits = Vec::new();
        session.logits(Wanted::All, &mut logits)?;
        Ok(logits)
    }

    /// The ids that the decoder reads.
    pub(crate) fn decoded<'a>(&self, batch: &'a Batch) -> Result<Cow<'a, [u32]>> {
        match (&self.config.encoder, &batch.decoder_ids, &batch.labels) {
            (None, ..) => Ok(Cow::Borrowed(&batch.ids)),
            (Some(_), Some(ids), _) => Ok(Cow::Borrowed(ids)),
            (Some(_), None, Some(labels)) => Ok(Cow::Owned(self.shift_right(labels, batch.sequences))),
            (Some(_), None, None) => Err(LmProblem::NothingToDecode.into()),
        }
    }

    /// What a decoder reads to predict the labels: these one place later, behind the start; ignored ones become padding.
    pub fn shift_right(&self, labels: &[u32], sequences: usize) -> Vec<u32> {
        let pad = self.config.ids.pad.unwrap_or(0);
        let start = self.config.ids.decoder_start.unwrap_or(pad);
        let len = (labels.len() / sequences.max(1)).max(1);
        let shifted =
            labels.chunks(len).flat_map(|row| [start].into_iter().chain(row[..len - 1].iter().copied()));
        shifted.map(|id| if id == IGNORED { pad } else { id }).collect()
    }
}
