//! Looking on: what a run tells whoever asks.

use mixlet_core::moe::replay::Recording;
use mixlet_core::moe::{DispatchPlan, Routed, Router, RouterInput};
use serde::Serialize;

use crate::error::Result;

/// Which stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What reads the input of an encoder–decoder.
    Encoder,
    /// What writes.
    Decoder,
}

impl Side {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }
}

/// Sees what happens inside; `()` does not look.
pub trait Watch {
    /// The tokens before layer `nth`, or after the last norm where there is no such layer, `[sequences · tokens, model_dim]`.
    fn state(&mut self, side: Side, nth: usize, values: &[f32]) {
        let _ = (side, nth, values);
    }

    /// What a mixture has to choose instead of what its router would; `None` leaves it to the router.
    fn choice(&mut self, side: Side, layer: usize, asked: Asked<'_>) -> Result<Option<Recording<'_>>> {
        let _ = (side, layer, asked);
        Ok(None)
    }

    /// A mixture, after its experts.
    fn mixture(&mut self, side: Side, layer: usize, seen: &MixtureSeen<'_>) {
        let _ = (side, layer, seen);
    }
}

impl Watch for () {}

/// Both look on; the first one's choice holds.
impl<A: Watch, B: Watch> Watch for (A, B) {
    fn state(&mut self, side: Side, nth: usize, values: &[f32]) {
        self.0.state(side, nth, values);
        self.1.state(side, nth, values);
    }

    fn choice(&mut self, side: Side, layer: usize, asked: Asked<'_>) -> Result<Option<Recording<'_>>> {
        match self.0.choice(side, layer, asked)? {
            None => self.1.choice(side, layer, asked),
            choice => Ok(choice),
        }
    }

    fn mixture(&mut self, side: Side, layer: usize, seen: &MixtureSeen<'_>) {
        self.0.mixture(side, layer, seen);
        self.1.mixture(side, layer, seen);
    }
}

/// Looks on where there is somebody.
impl<W: Watch> Watch for Option<W> {
    fn state(&mut self, side: Side, nth: usize, values: &[f32]) {
        self.iter_mut().for_each(|watch| watch.state(side, nth, values));
    }

    fn choice(&mut self, side: Side, layer: usize, asked: Asked<'_>) -> Result<Option<Recording<'_>>> {
        self.as_mut().map_or(Ok(None), |watch| watch.choice(side, layer, asked))
    }

    fn mixture(&mut self, side: Side, layer: usize, seen: &MixtureSeen<'_>) {
        self.iter_mut().for_each(|watch| watch.mixture(side, layer, seen));
    }
}

impl<W: Watch> Watch for &mut W {
    fn state(&mut self, side: Side, nth: usize, values: &[f32]) {
        (**self).state(side, nth, values);
    }

    fn choice(&mut self, side: Side, layer: usize, asked: Asked<'_>) -> Result<Option<Recording<'_>>> {
        (**self).choice(side, layer, asked)
    }

    fn mixture(&mut self, side: Side, layer: usize, seen: &MixtureSeen<'_>) {
        (**self).mixture(side, layer, seen);
    }
}

/// A router about to choose.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Sequences of the run, each of equally many tokens.
    pub sequences: usize,
    /// The router, with the groups of this run.
    pub router: &'a Router,
    /// What it sees of the tokens of all sequences.
    pub input: RouterInput<'a>,
}

/// A mixture of experts at work.
#[derive(Clone, Copy, Debug)]
pub struct MixtureSeen<'a> {
    /// Sequences of the run, each of equally many tokens.
    pub sequences: usize,
    /// `[tokens, model_dim]`: after the block's norm.
    pub input: &'a [f32],
    /// `[tokens, model_dim]`: what is added to the tokens.
    pub output: &'a [f32],
    /// `[tokens, experts]`.
    pub logits: &'a [f32],
    /// The choice.
    pub routed: Routed<'a>,
    /// Who got a place.
    pub plan: DispatchPlan<'a>,
}

/// What a [`Trace`] keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Everything: for tests and files of hidden states.
    #[default]
    All,
    /// What routers say and choose: enough for losses.
    Routing,
}

/// Keeps what it sees.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// How much of it.
    pub keep: Keep,
    /// By stack, the states in order.
    pub states: Vec<(Side, Vec<f32>)>,
    /// The mixtures in order.
    pub mixtures: Vec<TracedMixture>,
}

/// What was seen of a mixture.
#[derive(Clone, Debug)]
pub struct TracedMixture {
    /// The stack.
    pub side: Side,
    /// The layer.
    pub layer: usize,
    /// Experts.
    pub experts: usize,
    /// `[tokens, model_dim]`: after the block's norm; empty unless everything is kept.
    pub input: Vec<f32>,
    /// `[tokens, model_dim]`: what is added to the tokens; empty unless everything is kept.
    pub output: Vec<f32>,
    /// `[tokens, experts]`.
    pub logits: Vec<f32>,
    /// `[tokens, experts]`: softmax, or sigmoid, of the logits.
    pub probabilities: Vec<f32>,
    /// `[tokens, top_k]`: the experts chosen, before capacity.
    pub chosen: Vec<u32>,
    /// `[tokens, top_k]`: what their outputs are weighted by; 0 where a slot was dropped.
    pub gates: Vec<f32>,
}

impl Watch for Trace {
    fn state(&mut self, side: Side, _: usize, values: &[f32]) {
        if self.keep == Keep::All {
            self.states.push((side, values.to_vec()));
        }
    }

    fn mixture(&mut self, side: Side, layer: usize, seen: &MixtureSeen<'_>) {
        let slots = seen.routed.routing.gates.iter().zip(seen.plan.slot_rows);
        let tokens = |values: &[f32]| if self.keep == Keep::All { values.to_vec() } else { Vec::new() };
        let gate = |(gate, row): (&f32, &u32)| if *row == mixlet_core::moe::DROPPED { 0.0 } else { *gate };
        self.mixtures.push(TracedMixture {
            side,
            layer,
            experts: seen.routed.cache.shape.experts,
            input: tokens(seen.input),
            output: tokens(seen.output),
            logits: seen.logits.to_vec(),
            probabilities: seen.routed.cache.probabilities.to_vec(),
            chosen: seen.routed.cache.chosen.to_vec(),
            gates: slots.map(gate).collect(),
        });
    }
}
