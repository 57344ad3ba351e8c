//! Networks, and mixtures of them: route, plan, gather, run every expert over its rows, combine.

use mixlet_core::activation::sigmoid;
use mixlet_core::linear::Operands;
use mixlet_core::matrix::{MatMut, MatRef, ShapeError};
use mixlet_core::moe::experts::{self, ExpertsError, Ffn, FfnKind, add_shared};
use mixlet_core::moe::router::RouterShape;
use mixlet_core::moe::{
    Admission, DispatchPlan, Groups, Phase, PlanStorage, Router, RouterConfig, RouterError, RouterInput,
    RoutingStorage, normalise_kept, order, order_len, plan, route,
};

use super::kernels::{Combine, Gather};
use super::space::{MixtureSpace, Space};
use super::stack::Run;
use super::watch::{Asked, MixtureSeen, Watch};
use crate::error::Result;
use crate::linear::memory::sized;
use crate::models::config::{Experts, Network};
use crate::models::weights::{ExpertsWeights, NetworkWeights};
use crate::moe::{NetworkRows, networks_forward, router_forward};
use crate::simd::wide;

impl NetworkWeights {
    /// As core takes it: one of experts of which there is one.
    pub(crate) fn get(&self, kind: FfnKind) -> Result<Ffn<'_>, ExpertsError> {
        let gate = self.gate.as_ref().map(|gate| gate.get()).transpose()?;
        Ok(experts::Experts::new(1, kind, gate, self.up.get()?, self.down.get()?)?.expert(0)?)
    }
}

/// A network over every row of `x`.
pub(super) fn network(
    network: &Network,
    weights: &NetworkWeights,
    operands: Operands,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), ExpertsError> {
    let ffn = weights.get(network.kind)?;
    let width = ffn.shape(0).model_dim;
    let rows = x.len() / width.max(1);
    let (x, out) = (MatRef::new(x, rows, width)?, MatMut::new(out, rows, width)?);
    networks_forward(operands, vec![NetworkRows { ffn, x, out }])
}

/// What a mixture adds to the normed tokens in `space.normed`, into `space.out`; both are `len` values.
pub(super) fn mixture(
    run: &Run<'_>,
    (experts, weights): (&Experts, &ExpertsWeights),
    layer: usize,
    space: &mut Space,
    len: usize,
    watch: &mut impl Watch,
) -> Result<()> {
    let width = run.model.config.model_dim;
    let (x, out) = (&space.normed[..len], &mut space.out[..len]);
    let MixtureSpace { logits, reals, integers, order: places, plan: memory, kept, rows, outputs, shared } =
        &mut space.mixture;
    let logits = sized(logits, len / width * experts.router.experts as usize);
    router_logits(weights, width, x, logits)?;

    let router = router(run, experts)?;
    let shape = router.shape(Phase::Eval, len / width)?;
    let storage =
        RoutingStorage::new(shape, sized(reals, shape.reals_len()), sized(integers, shape.integers_len()))?;
    let real = run.real.filter(|_| !experts.routes_padding);
    let input = RouterInput { real, bias: &weights.choice_bias, ..RouterInput::of_logits(logits) };
    let recorded =
        watch.choice(run.side, layer, Asked { sequences: run.sequences, router: &router, input })?;
    let mut routed = match recorded {
        None => route(&router, Phase::Eval, &input, storage)?,
        Some(recorded) => recorded.route(&router, Phase::Eval, &input, storage)?,
    };
    let memory = sized(memory, PlanStorage::len(shape.slots, shape.experts));
    let storage = PlanStorage::new(shape.slots, shape.experts, memory)?;
    let plan = match recorded {
        None => {
            let places = sized(places, order_len(&router, shape));
            let order = order(&router, &routed.cache, routed.routing.gates, places)?;
            plan(&routed.routing, Admission::new(shape, order), storage)?
        }
        Some(recorded) => recorded.plan(&routed.routing, storage)?,
    };
    if router.normalises_after_dropping() {
        let kept = sized(kept, routed.routing.gates.len());
        normalise_kept(&plan, &routed.routing, kept)?;
        routed.routing.gates = kept;
    }
    let [rows, outputs] = [rows, outputs].map(|rows| sized(rows, plan.rows() * width));
    wide(Gather { plan: &plan, tokens: x, model_dim: width, out: rows })?;
    each_expert((&experts.network, &weights.experts), run.operands, &plan, rows, outputs)?;
    wide(Combine { plan: &plan, routing: &routed.routing, rows: outputs, model_dim: width, out })?;
    add_shared_expert(run, (experts, weights), x, shared, out)?;
    watch.mixture(
        run.side,
        layer,
        &MixtureSeen { sequences: run.sequences, input: x, output: out, logits, routed, plan },
    );
    Ok(())
}

/// Logits `[tokens, experts]`, in `f32` whatever the weights are.
pub(crate) fn router_logits(
    weights: &ExpertsWeights,
    width: usize,
    x: &[f32],
    logits: &mut [f32],
) -> Result<(), ShapeError> {
    let experts = weights.experts.len();
    let shape = RouterShape { tokens: x.len() / width, model_dim: width, experts };
    router_forward(shape, x, &weights.router, logits)?;
    if !weights.router_bias.is_empty() {
        for logits in logits.chunks_exact_mut(experts) {
            logits.iter_mut().zip(&weights.router_bias).for_each(|(logit, bias)| *logit += bias);
        }
    }
    Ok(())
}

/// The router, with the groups of this run.
pub(crate) fn router(run: &Run<'_>, experts: &Experts) -> Result<Router, RouterError> {
    let own = Groups::Exactly(run.tokens as u32);
    let groups = if experts.by_sequence { own } else { experts.router.groups };
    RouterConfig { groups, ..experts.router }.check()
}

/// Every expert over its run of rows.
fn each_expert(
    (network, weights): (&Network, &[NetworkWeights]),
    operands: Operands,
    plan: &DispatchPlan<'_>,
    mut rows: &[f32],
    mut out: &mut [f32],
) -> Result<(), ExpertsError> {
    let width = rows.len() / plan.rows().max(1);
    let mut networks = Vec::with_capacity(weights.len().min(plan.rows()));
    for (weights, run) in weights.iter().zip(plan.runs()).filter(|(_, run)| !run.is_empty()) {
        let x = rows.split_off(..run.len() * width).unwrap_or_default();
        let out = out.split_off_mut(..run.len() * width).unwrap_or_default();
        let (x, out) = (MatRef::new(x, run.len(), width)?, MatMut::new(out, run.len(), width)?);
        networks.push(NetworkRows { ffn: weights.get(network.kind)?, x, out });
    }
    networks_forward(operands, networks)
}

/// Adds the expert that every token passes.
fn add_shared_expert(
    run: &Run<'_>,
    (experts, weights): (&Experts, &ExpertsWeights),
    x: &[f32],
    [space, gates]: &mut [Vec<f32>; 2],
    out: &mut [f32],
) -> Result<()> {
    let (Some(shared), Some(shared_weights)) = (experts.shared, &weights.shared) else { return Ok(()) };
    let width = run.model.config.model_dim;
    let tokens = x.len() / width;
    let given = sized(space, x.len());
    network(&shared.network, shared_weights, run.operands, x, given)?;
    let gates = match &weights.shared_gate {
        None => None,
        Some(weights) => {
            let gates = sized(gates, tokens);
            let shape = RouterShape { tokens, model_dim: width, experts: 1 };
            router_forward(shape, x, weights, gates)?;
            gates.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
            Some(&*gates)
        }
    };
    add_shared(MatRef::new(given, tokens, width)?, gates, MatMut::new(out, tokens, width)?)?;
    Ok(())
}
