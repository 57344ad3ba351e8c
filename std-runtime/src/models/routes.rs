//! Routes: what every mixture chose for every token, kept in a file and taken again.
//!
//! A [`RoutesWatch`] writes down experts, gates, and who got a place, while a model reads or writes; a [`Replay`] makes another
//! run choose the same. So a trainer sends tokens where they went when they were written, and of a model in fewer
//! bits one learns what its rounding does apart from choices that flip. Gates are those of the present logits.
//!
//! A file has three tensors for each mixture, `<stack>.<layer>.experts` (I32, −1 for none), `.gates` (F32) and `.places` (U8: 0
//! kept, 1 dropped, 2 not sent, 3 padding, 255 no slot), all `[sequences, tokens, slots of a token]`; and in its header what
//! model it is of.

mod file;
mod fingerprint;
mod replay;

use std::collections::BTreeMap;

use mixlet_core::moe::{DROPPED, UNSENT};

use super::Model;
use super::forward::{MixtureSeen, Side, Watch};
use crate::error::{LmProblem, Result};

pub use fingerprint::Fingerprint;
pub use replay::Replay;

/// What became of a slot; the numbers are those of core's recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// Its expert took it.
    Kept = 0,
    /// Its expert was full.
    Dropped = 1,
    /// The router's policy did not send it.
    Unsent = 2,
    /// Its token is padding: there is no expert.
    Padding = 3,
}

/// A choice of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// The expert; 0 for padding, which has none.
    pub expert: u32,
    /// What the expert's output is weighted by, before any drop.
    pub gate: f32,
    /// What became of it.
    pub place: Place,
}

/// The choices of the tokens of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choices {
    /// `[tokens]`: slots of each token.
    pub counts: Vec<u32>,
    /// The slots of the first token, of the second, and so on.
    pub slots: Vec<Slot>,
}

/// What the mixtures of a model chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Routes {
    /// Of which model.
    pub fingerprint: Fingerprint,
    /// For how many sequences.
    pub sequences: usize,
    /// By stack and layer: each sequence.
    pub mixtures: BTreeMap<(Side, usize), Vec<Choices>>,
}

impl Routes {
    /// Tokens of a sequence that the mixtures of a stack chose for; `None` if it has none.
    pub fn tokens(&self, side: Side) -> Option<usize> {
        let mut mixtures = self.mixtures.iter().filter(|((of, _), _)| *of == side);
        mixtures.next().map(|(_, sequences)| sequences.first().map_or(0, |choices| choices.counts.len()))
    }
}

/// Writes routes down. Runs of the same sequences follow each other: prompts in parts, then token by token.
#[derive(Clone, Debug)]
pub struct RoutesWatch {
    routes: Routes,
    /// Sequences of a run that are not as many as in the others.
    others: Option<usize>,
}

impl RoutesWatch {
    /// For so many sequences, which must stay as many: beams and samples cannot be recorded.
    pub fn new(model: &Model, sequences: usize) -> Self {
        let fingerprint = Fingerprint::of(model);
        Self { routes: Routes { fingerprint, sequences, mixtures: BTreeMap::new() }, others: None }
    }

    /// What was seen; an error if the number of sequences changed on the way, or no router was asked.
    pub fn finish(self) -> Result<Routes> {
        let (what, expected) = ("sequences to record", self.routes.sequences);
        match self.others {
            Some(found) => Err(LmProblem::Length { what, found, expected }.into()),
            None if self.routes.mixtures.is_empty() => Err(LmProblem::NoRouters.into()),
            None => Ok(self.routes),
        }
    }
}

impl Watch for RoutesWatch {
    fn mixture(&mut self, side: Side, layer: usize, seen: &MixtureSeen<'_>) {
        let (routing, chosen) = (seen.routed.routing, seen.routed.cache.chosen);
        let (tokens, sequences) = (routing.tokens(), self.routes.sequences);
        if seen.sequences != sequences {
            self.others = Some(seen.sequences);
            return;
        }
        let known = self.routes.mixtures.entry((side, layer)).or_default();
        known.resize(sequences, Choices::default());
        for (token, slots) in routing.slots().enumerate() {
            let choices = &mut known[token / (tokens / sequences)];
            choices.counts.push(slots.len() as u32);
            choices.slots.extend(slots.map(|slot| {
                let place = match (chosen[slot], routing.experts[slot], seen.plan.slot_rows[slot]) {
                    (UNSENT, _, _) => Place::Padding,
                    (_, UNSENT, _) => Place::Unsent,
                    (_, _, DROPPED) => Place::Dropped,
                    _ => Place::Kept,
                };
                let expert = if place == Place::Padding { 0 } else { chosen[slot] };
                Slot { expert, gate: routing.gates[slot], place }
            }));
        }
    }
}
