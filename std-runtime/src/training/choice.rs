//! What a router chose, kept with the plan that it led to.

use mixlet_core::moe::{
    Admission, DROPPED, DispatchPlan, Phase, PlanStorage, Priority, Router, RouterError, RouterInput,
    Routing, RoutingCache, RoutingShape, RoutingStorage, normalise_kept, normalise_kept_backward, order,
    order_len, plan, random_order, route, route_backward,
};
use rand_core::Rng;

/// A choice and its plan.
pub(super) struct Choice {
    router: Router,
    phase: Phase,
    shape: RoutingShape,
    token_offsets: Vec<u32>,
    experts: Vec<u32>,
    /// `[slots]`: as the router made them.
    gates: Vec<f32>,
    /// `[slots]`: as they weigh outputs, where dropping changes them.
    kept: Option<Vec<f32>>,
    probabilities: Vec<f32>,
    chosen: Vec<u32>,
    /// The plan: load, offsets, the slots and tokens of rows, the rows of slots.
    plan: [Vec<u32>; 5],
}

impl Choice {
    /// Lets a router choose, and plans who gets a place. `random` is for the order of places, where that is by chance.
    pub fn new(
        router: Router,
        phase: Phase,
        input: RouterInput<'_>,
        random: &mut impl Rng,
    ) -> Result<Self, RouterError> {
        let tokens = input.logits.len() / (router.config().experts as usize).max(1);
        let shape = router.shape(phase, tokens)?;
        let (mut reals, mut integers) = (vec![0.0; shape.reals_len()], vec![0; shape.integers_len()]);
        let storage = RoutingStorage::new(shape, &mut reals, &mut integers)?;
        let routed = route(&router, phase, &input, storage)?;
        let mut memory = vec![0; PlanStorage::len(shape.slots, shape.experts)];
        let storage = PlanStorage::new(shape.slots, shape.experts, &mut memory)?;
        let mut places = vec![0; order_len(&router, shape)];
        let order = match router.config().priority {
            Priority::Random => random_order(&router, shape, random, &mut places)?,
            _ => order(&router, &routed.cache, routed.routing.gates, &mut places)?,
        };
        let plan = plan(&routed.routing, Admission::new(shape, order), storage)?;
        let kept = if router.normalises_after_dropping() {
            let mut kept = vec![0.0; routed.routing.gates.len()];
            normalise_kept(&plan, &routed.routing, &mut kept)?;
            Some(kept)
        } else {
            None
        };
        let DispatchPlan { expert_load, expert_offsets, row_slots, row_tokens, slot_rows } = plan;
        Ok(Self {
            phase,
            shape: routed.cache.shape,
            token_offsets: routed.routing.token_offsets.to_vec(),
            experts: routed.routing.experts.to_vec(),
            gates: routed.routing.gates.to_vec(),
            kept,
            probabilities: routed.cache.probabilities.to_vec(),
            chosen: routed.cache.chosen.to_vec(),
            plan: [expert_load, expert_offsets, row_slots, row_tokens, slot_rows].map(<[u32]>::to_vec),
            router,
        })
    }

    /// The slots, with gates as they weigh outputs.
    pub fn routing(&self) -> Routing<'_> {
        let gates = self.kept.as_ref().unwrap_or(&self.gates);
        Routing { token_offsets: &self.token_offsets, experts: &self.experts, gates }
    }

    /// Who got a place.
    pub fn plan(&self) -> DispatchPlan<'_> {
        let [expert_load, expert_offsets, row_slots, row_tokens, slot_rows] = &self.plan;
        DispatchPlan { expert_load, expert_offsets, row_slots, row_tokens, slot_rows }
    }

    /// How many there are to choose from.
    pub fn experts(&self) -> usize {
        self.shape.experts
    }

    /// `[tokens, experts]`: softmax, or sigmoid, of the logits.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// The experts chosen, before capacity.
    pub fn chosen(&self) -> &[u32] {
        &self.chosen
    }

    /// `[slots]`: what outputs are weighted by; 0 where a slot was dropped.
    pub fn gates(&self) -> Vec<f32> {
        let slots = self.routing().gates.iter().zip(self.plan().slot_rows);
        slots.map(|(gate, row)| if *row == DROPPED { 0.0 } else { *gate }).collect()
    }

    /// From the gradients of gates to those of the logits, `[tokens, experts]`.
    pub fn backward(&self, grad_gates: Vec<f32>) -> Result<Vec<f32>, RouterError> {
        let routing = Routing { gates: &self.gates, ..self.routing() };
        let grad_gates = match &self.kept {
            None => grad_gates,
            Some(kept) => {
                let mut through = vec![0.0; grad_gates.len()];
                normalise_kept_backward(&self.plan(), &routing, kept, &grad_gates, &mut through)?;
                through
            }
        };
        let cache =
            RoutingCache { shape: self.shape, probabilities: &self.probabilities, chosen: &self.chosen };
        let mut grad_logits = vec![0.0; self.probabilities.len()];
        route_backward(&self.router, self.phase, &routing, &cache, &grad_gates, &mut grad_logits)?;
        Ok(grad_logits)
    }
}
