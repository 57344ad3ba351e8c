//! Routers run in memory of their own, and what golden files say about them.

use mixlet_core::moe::{
    Admission, DispatchPlan, Order, Phase, PlanStorage, Program, Real, Router, RouterError, RouterInput,
    Routing, RoutingCache, RoutingShape, RoutingStorage, order, order_len, plan, route,
};
use serde_json::Value;

/// A routing with its memory.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedRouting<R> {
    pub shape: RoutingShape,
    pub probabilities: Vec<R>,
    pub token_offsets: Vec<u32>,
    pub chosen: Vec<u32>,
    pub experts: Vec<u32>,
    pub gates: Vec<R>,
    pub program: Option<Program>,
}

impl<R: Real> OwnedRouting<R> {
    pub fn routing(&self) -> Routing<'_, R> {
        Routing { token_offsets: &self.token_offsets, experts: &self.experts, gates: &self.gates }
    }

    pub fn cache(&self) -> RoutingCache<'_, R> {
        RoutingCache { shape: self.shape, probabilities: &self.probabilities, chosen: &self.chosen }
    }

    /// The slots of a token.
    pub fn slots(&self, token: usize) -> std::ops::Range<usize> {
        self.token_offsets[token] as usize..self.token_offsets[token + 1] as usize
    }
}

/// Routes in memory that starts as NaN and as large integers.
pub fn routed<R: Real>(
    router: &Router,
    phase: Phase,
    tokens: usize,
    input: &RouterInput<'_, R>,
) -> Result<OwnedRouting<R>, RouterError> {
    let shape = router.shape(phase, tokens)?;
    let mut reals = vec![R::from_f64(f64::NAN); shape.reals_len()];
    let mut integers = vec![u32::MAX - 7; shape.integers_len()];
    let out = route(router, phase, input, RoutingStorage::new(shape, &mut reals, &mut integers)?)?;
    Ok(OwnedRouting {
        shape,
        probabilities: out.cache.probabilities.to_vec(),
        token_offsets: out.routing.token_offsets.to_vec(),
        chosen: out.cache.chosen.to_vec(),
        experts: out.routing.experts.to_vec(),
        gates: out.routing.gates.to_vec(),
        program: out.program,
    })
}

/// A plan with its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedPlan {
    pub expert_load: Vec<u32>,
    pub expert_offsets: Vec<u32>,
    pub row_slots: Vec<u32>,
    pub row_tokens: Vec<u32>,
    pub slot_rows: Vec<u32>,
}

impl OwnedPlan {
    pub fn of(plan: &DispatchPlan<'_>) -> Self {
        Self {
            expert_load: plan.expert_load.to_vec(),
            expert_offsets: plan.expert_offsets.to_vec(),
            row_slots: plan.row_slots.to_vec(),
            row_tokens: plan.row_tokens.to_vec(),
            slot_rows: plan.slot_rows.to_vec(),
        }
    }

    pub fn plan(&self) -> DispatchPlan<'_> {
        DispatchPlan {
            expert_load: &self.expert_load,
            expert_offsets: &self.expert_offsets,
            row_slots: &self.row_slots,
            row_tokens: &self.row_tokens,
            slot_rows: &self.slot_rows,
        }
    }
}

/// The plan of any routing, in memory that starts as large integers.
pub fn planned<R: Real>(
    routing: &Routing<'_, R>,
    experts: usize,
    admission: Admission<'_>,
) -> Result<OwnedPlan, RouterError> {
    let slots = routing.experts.len();
    let mut memory = vec![u32::MAX - 3; PlanStorage::len(slots, experts)];
    plan(routing, admission, PlanStorage::new(slots, experts, &mut memory)?).map(|plan| OwnedPlan::of(&plan))
}

/// The plan of a router's routing, in the order of its priority.
pub fn planned_by<R: Real>(router: &Router, routed: &OwnedRouting<R>) -> OwnedPlan {
    let mut memory = vec![0; order_len(router, routed.shape)];
    let order: Order<'_> = order(router, &routed.cache(), &routed.gates, &mut memory).unwrap();
    planned(&routed.routing(), routed.shape.experts, Admission::new(routed.shape, order)).unwrap()
}

/// The router cases of `../shared/golden/ops`. Empty, with a message, where they are absent; a failure instead if
/// `MIXLET_REQUIRE` names `shared`.
pub fn golden_cases() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/golden/ops/router_reference.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        let required = std::env::var("MIXLET_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|need| need == "shared"), "{path} is absent");
        println!("skipped: {path} is absent");
        return Vec::new();
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

/// All numbers of nested lists, in order.
pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        Value::Bool(value) => vec![f64::from(u8::from(*value))],
        value => vec![value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))],
    }
}

/// All integers of nested lists, in order; −1 becomes [`u32::MAX`].
pub fn integers(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|number| if number < 0.0 { u32::MAX } else { number as u32 }).collect()
}

pub fn reals<R: Real>(values: &[f64]) -> Vec<R> {
    values.iter().map(|&value| R::from_f64(value)).collect()
}

#[track_caller]
pub fn assert_close<R: Real>(what: &str, found: &[R], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let found = found.to_f64();
        let off = (found - expected).abs();
        assert!(off <= tolerance, "{what}: place {place}: {found}, expected {expected}, off by {off:e}");
    }
}
