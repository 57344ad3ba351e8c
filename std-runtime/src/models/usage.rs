//! How a model's experts are used: sums over runs, mixture by mixture, whatever the number of tokens.
//!
//! A [`UsageWatch`] looks on while a model reads or writes; [`UsageWatch::layers`] says what it saw. One run gives the figures
//! of core's [`usage`](fn@mixlet_core::moe::usage); several add up.

mod marks;
mod page;

use std::collections::BTreeMap;

use mixlet_core::moe::usage::{load_entropy, load_variation};
use mixlet_core::moe::{DROPPED, UNSENT};
use serde::Serialize;

use super::forward::{MixtureSeen, Side, Watch};

pub use marks::marks;
pub use page::page;

/// How the experts of a layer were used. Shares of nothing are 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerUsage {
    /// The stack.
    pub stack: Side,
    /// The layer, counted from 0 in its stack.
    pub layer: usize,
    /// Tokens that the router looked at; padding where it is sent to experts too.
    pub tokens: u64,
    /// Slots that asked for an expert.
    pub slots: u64,
    /// Slots that found theirs full.
    pub dropped: u64,
    /// Share of tokens that no expert saw: only the residual carries them.
    pub left_behind: f64,
    /// Mean over experts of rows taken over rows they might have taken; `None` without a capacity.
    pub utilisation: Option<f64>,
    /// Standard deviation of loads over their mean.
    pub load_variation: f64,
    /// Entropy of the shares of loads over `ln E`: 1 for even loads, 0 for one expert with everything.
    pub load_entropy: f64,
    /// The largest load as a share of all.
    pub largest_share: f64,
    /// Experts nobody asked for.
    pub dead_experts: usize,
    /// Mean gate of the slots that got a row.
    pub confidence: f64,
    /// The experts, in order.
    pub experts: Vec<ExpertUsage>,
}

/// How an expert was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ExpertUsage {
    /// Slots that asked for it, before capacity.
    pub load: u64,
    /// Those that found it full.
    pub dropped: u64,
    /// Its share of the gates of all slots that got a row.
    pub gate_share: f64,
}

impl LayerUsage {
    /// An expert's load over an even share: 1 where all have the same.
    pub fn relative_load(&self, expert: &ExpertUsage) -> f64 {
        share(expert.load as f64 * self.experts.len() as f64, self.slots as f64)
    }

    /// Slots that found their expert full, as a share of all.
    pub fn drop_share(&self) -> f64 {
        share(self.dropped as f64, self.slots as f64)
    }
}

/// Sums up what mixtures do.
#[derive(Clone, Debug, Default)]
pub struct UsageWatch {
    mixtures: BTreeMap<(Side, usize), Sums>,
}

/// Sums over the runs of a mixture.
#[derive(Clone, Debug, Default)]
struct Sums {
    tokens: u64,
    left_behind: u64,
    /// Rows that an expert might have taken; `None` without a capacity.
    places: Option<u64>,
    experts: Vec<ExpertSums>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ExpertSums {
    load: u64,
    rows: u64,
    gates: f64,
}

impl UsageWatch {
    /// What was seen so far: the encoder's layers, then the decoder's.
    pub fn layers(&self) -> Vec<LayerUsage> {
        self.mixtures.iter().map(|((side, layer), sums)| sums.layer(*side, *layer)).collect()
    }
}

impl Watch for UsageWatch {
    fn mixture(&mut self, side: Side, layer: usize, seen: &MixtureSeen<'_>) {
        self.mixtures.entry((side, layer)).or_default().add(seen);
    }
}

impl Sums {
    fn add(&mut self, seen: &MixtureSeen<'_>) {
        let (plan, routing, cache) = (seen.plan, seen.routed.routing, seen.routed.cache);
        self.experts.resize(cache.shape.experts, ExpertSums::default());
        for slots in routing.slots() {
            let (chosen, rows) = (&cache.chosen[slots.clone()], &plan.slot_rows[slots]);
            // Slots of padding chose nothing.
            if chosen.is_empty() || chosen.iter().any(|expert| *expert != UNSENT) {
                self.tokens += 1;
                self.left_behind += u64::from(rows.iter().all(|row| *row == DROPPED));
            }
        }
        let places = |rows: u32| u64::from(rows) * cache.shape.groups() as u64;
        if let Some(rows) = cache.shape.capacity {
            *self.places.get_or_insert(0) += places(rows);
        }
        for ((sums, load), run) in self.experts.iter_mut().zip(plan.expert_load).zip(plan.runs()) {
            sums.load += u64::from(*load);
            sums.rows += run.len() as u64;
            let gate = |slot: &u32| f64::from(routing.gates[*slot as usize]);
            sums.gates += plan.row_slots[run].iter().map(gate).sum::<f64>();
        }
    }

    fn layer(&self, stack: Side, layer: usize) -> LayerUsage {
        let loads = self.experts.iter().map(|expert| expert.load);
        let slots: u64 = loads.clone().sum();
        let rows: u64 = self.experts.iter().map(|expert| expert.rows).sum();
        let gates: f64 = self.experts.iter().map(|expert| expert.gates).sum();
        let taken = |places: u64| {
            let shares = self.experts.iter().map(|expert| share(expert.rows as f64, places as f64));
            shares.sum::<f64>() / self.experts.len().max(1) as f64
        };
        let expert = |sums: &ExpertSums| ExpertUsage {
            load: sums.load,
            dropped: sums.load - sums.rows,
            gate_share: share(sums.gates, gates),
        };
        LayerUsage {
            stack,
            layer,
            tokens: self.tokens,
            slots,
            dropped: slots - rows,
            left_behind: share(self.left_behind as f64, self.tokens as f64),
            utilisation: self.places.map(taken),
            load_variation: load_variation(loads.clone()),
            load_entropy: load_entropy(loads.clone()),
            largest_share: share(loads.clone().max().unwrap_or(0) as f64, slots as f64),
            dead_experts: loads.filter(|load| *load == 0).count(),
            confidence: share(gates, rows as f64),
            experts: self.experts.iter().map(expert).collect(),
        }
    }
}

/// A part of a whole; nothing of nothing is 0.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
