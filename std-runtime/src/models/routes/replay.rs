//! Taking recorded routes again.

use std::collections::{BTreeMap, BTreeSet};

use mixlet_core::moe::replay::{Recording, recording_len};
use mixlet_core::moe::{Phase, RoutingStorage, UNSENT, route};

use super::{Place, Routes, Slot};
use crate::error::{LmProblem, Result, RoutesProblem};
use crate::linear::memory::sized;
use crate::models::Reading;
use crate::models::compare::{Agreement, RoutingAgreement};
use crate::models::forward::{Asked, Side, Watch};

impl Routes {
    /// An error unless the routes are of so many sequences and tokens.
    pub fn check(&self, reading: Reading) -> Result<(), RoutesProblem> {
        let (found, expected) = (self.sequences, reading.sequences);
        if found != expected {
            return Err(RoutesProblem::Sequences { found, expected });
        }
        let sides = [(Side::Encoder, Some(reading.encoder)), (Side::Decoder, reading.decoder)];
        for (side, expected) in sides {
            if let (Some(found), Some(expected)) = (self.tokens(side), expected)
                && found != expected
            {
                return Err(RoutesProblem::Tokens { stack: side.name(), found, expected });
            }
        }
        Ok(())
    }
}

/// Makes a run choose as it is recorded, and counts how often it would have chosen the same by itself.
#[derive(Clone, Debug)]
pub struct Replay {
    routes: Routes,
    /// Of each mixture, how far each sequence has come.
    done: BTreeMap<(Side, usize), Progress>,
    agreement: Agreement,
    words: Vec<u32>,
    reals: Vec<f32>,
    integers: Vec<u32>,
}

/// How far the sequences of a mixture have come.
#[derive(Clone, Debug, Default)]
struct Progress {
    tokens: usize,
    /// Of each sequence.
    slots: Vec<usize>,
}

impl Replay {
    /// From the first token on.
    pub fn new(routes: Routes) -> Self {
        Self {
            routes,
            done: BTreeMap::new(),
            agreement: Agreement::default(),
            words: Vec::new(),
            reals: Vec::new(),
            integers: Vec::new(),
        }
    }

    /// How often the routers of the run would have chosen what was recorded, before capacity and not counting padding;
    /// `None` without choices.
    pub fn agreement(&self) -> Option<RoutingAgreement> {
        self.agreement.shares()
    }

    /// Writes core's recording of the next tokens of every sequence.
    fn next(&mut self, at: (Side, usize), asked: Asked<'_>, tokens: usize) -> Result<()> {
        let length = |what, found, expected| LmProblem::Length { what, found, expected };
        let sequences = self.routes.mixtures.get(&at).ok_or(length("recorded mixtures", 0, 1))?;
        if sequences.len() != asked.sequences {
            return Err(length("recorded sequences", sequences.len(), asked.sequences).into());
        }
        let (experts, per_sequence) = (asked.router.config().experts, tokens / asked.sequences.max(1));
        let done = self.done.entry(at).or_default();
        done.slots.resize(sequences.len(), 0);
        let range = done.tokens..done.tokens + per_sequence;
        let known = sequences.iter().map(|choices| choices.counts.len()).min().unwrap_or(0);
        if range.end > known {
            return Err(LmProblem::TooLong { tokens: range.end, limit: known }.into());
        }
        self.words.clear();
        self.words.extend([tokens as u32, experts, 0, 0]);
        let mut slots = 0;
        for counts in sequences.iter().map(|choices| &choices.counts[range.clone()]) {
            self.words.extend(counts.iter().map(|count| {
                slots += count;
                slots
            }));
        }
        self.words[2] = slots;
        for (choices, first) in sequences.iter().zip(&mut done.slots) {
            let count: u32 = choices.counts[range.clone()].iter().sum();
            let own = *first..*first + count as usize;
            self.words.extend(choices.slots[own.clone()].iter().map(word));
            *first = own.end;
        }
        done.tokens = range.end;
        debug_assert_eq!(self.words.len(), recording_len(tokens, slots as usize));
        Ok(())
    }

    /// Counts how often the router's own choice is the recorded one.
    fn compare(&mut self, asked: Asked<'_>, tokens: usize) -> Result<()> {
        let shape = asked.router.shape(Phase::Eval, tokens)?;
        let (reals, integers) =
            (sized(&mut self.reals, shape.reals_len()), sized(&mut self.integers, shape.integers_len()));
        let own =
            route(asked.router, Phase::Eval, &asked.input, RoutingStorage::new(shape, reals, integers)?)?;
        let (offsets, slots) = self.words[3..].split_at(tokens + 1);
        let recorded = offsets.windows(2).map(|ends| &slots[ends[0] as usize..ends[1] as usize]);
        for (recorded, own_slots) in recorded.zip(own.routing.slots()) {
            let own: BTreeSet<u32> = own.cache.chosen[own_slots].iter().copied().collect();
            let is_padding = |word: &u32| word >> EXPERT_BITS == Place::Padding as u32;
            if !recorded.iter().any(is_padding) && !own.contains(&UNSENT) {
                let recorded = recorded.iter().map(|word| word & ((1 << EXPERT_BITS) - 1)).collect();
                self.agreement.add_choice(&recorded, &own);
            }
        }
        Ok(())
    }
}

/// Bits of a word of core's recordings that name the expert; above them is what became of the slot.
const EXPERT_BITS: u32 = 30;

/// A slot as core's recordings have it.
fn word(slot: &Slot) -> u32 {
    slot.expert | (slot.place as u32) << EXPERT_BITS
}

impl Watch for Replay {
    fn choice(&mut self, side: Side, layer: usize, asked: Asked<'_>) -> Result<Option<Recording<'_>>> {
        let tokens = asked.input.logits.len() / asked.router.config().experts as usize;
        self.next((side, layer), asked, tokens)?;
        self.compare(asked, tokens)?;
        Ok(Some(Recording::parse(&self.words)?))
    }
}
