//! Sums the experts' rows back into tokens, weighted by their gates.

use super::dispatch::DispatchPlan;
use super::error::{RouterError, check_length};
use super::gather::row_values;
use super::routing::Routing;
use super::rows::{rows_of, rows_of_mut};
use super::slices::dot;
use crate::real::Real;

/// `out[t] = Σ gate[s] · rows[slot_rows[s]]` over the slots of token `t` that were not dropped, in slot order.
///
/// `rows` is `[rows, model_dim]`, `out` `[T, model_dim]`. A token all of whose slots were dropped gets exactly 0: only the
/// residual carries it.
///
/// ```
/// # use mixlet_core::moe::*;
/// // Token 0 goes to experts 1 and 0, token 1 to 0 and 2; expert 0 holds one row, so token 1 loses a slot.
/// let gates = [0.75, 0.25, 0.5, 0.5];
/// let routing = Routing { token_offsets: &[0, 2, 4], experts: &[1, 0, 0, 2], gates: &gates };
/// let mut memory = [0; PlanStorage::len(4, 3)];
/// let admission = Admission { capacity: Some(1), group_tokens: 2, order: Order::Slots };
/// let plan = plan(&routing, admission, PlanStorage::new(4, 3, &mut memory).unwrap()).unwrap();
/// assert_eq!(plan.slot_rows, [1, 0, DROPPED, 2]);
///
/// let expert_rows = [10.0, 20.0, 40.0];
/// let mut out = [f32::NAN; 2];
/// combine(&plan, &routing, &expert_rows, 1, &mut out).unwrap();
/// assert_eq!(out, [0.75 * 20.0 + 0.25 * 10.0, 0.5 * 40.0]);
/// ```
#[inline(always)]
pub fn combine<R: Real>(
    plan: &DispatchPlan<'_>,
    routing: &Routing<'_, R>,
    rows: &[R],
    model_dim: usize,
    out: &mut [R],
) -> Result<(), RouterError> {
    plan.check(routing)?;
    check_length("rows", rows.len(), plan.rows().saturating_mul(model_dim))?;
    check_length("tokens", out.len(), routing.tokens().saturating_mul(model_dim))?;
    for (out, slots) in rows_of_mut(out, model_dim).zip(routing.slots()) {
        out.fill(R::ZERO);
        let gates = routing.gates.get(slots.clone()).unwrap_or(&[]);
        for (&row, &gate) in plan.slot_rows.get(slots).unwrap_or(&[]).iter().zip(gates) {
            if let Some(values) = row_values(rows, row, model_dim) {
                out.iter_mut().zip(values).for_each(|(out, &value)| *out += gate * value);
            }
        }
    }
    Ok(())
}

/// Gradients of [`combine`]. Both outputs are overwritten.
///
/// `grad_rows[r] = gate · grad_out[token]` `[rows, model_dim]`, `grad_gates[s] = ⟨grad_out[token], rows[slot_rows[s]]⟩` `[S]`, 0 for a
/// dropped slot.
///
/// ```
/// # use mixlet_core::moe::*;
/// let gates = [0.75, 0.25];
/// let routing = Routing { token_offsets: &[0, 2], experts: &[1, 0], gates: &gates };
/// let mut memory = [0; PlanStorage::len(2, 2)];
/// let admission = Admission { capacity: None, group_tokens: 1, order: Order::Ranks };
/// let plan = plan(&routing, admission, PlanStorage::new(2, 2, &mut memory).unwrap()).unwrap();
/// let (mut grad_rows, mut grad_gates) = ([f32::NAN; 2], [f32::NAN; 2]);
/// combine_backward(&plan, &routing, &[10.0, 20.0], &[2.0], &mut grad_rows, &mut grad_gates).unwrap();
/// assert_eq!((grad_rows, grad_gates), ([0.5, 1.5], [40.0, 20.0]));
/// ```
#[inline(always)]
pub fn combine_backward<R: Real>(
    plan: &DispatchPlan<'_>,
    routing: &Routing<'_, R>,
    rows: &[R],
    grad_out: &[R],
    grad_rows: &mut [R],
    grad_gates: &mut [R],
) -> Result<(), RouterError> {
    plan.check(routing)?;
    let model_dim = grad_out.len() / routing.tokens().max(1);
    check_length("gradients of tokens", grad_out.len(), routing.tokens().saturating_mul(model_dim))?;
    check_length("rows", rows.len(), plan.rows().saturating_mul(model_dim))?;
    check_length("gradients of rows", grad_rows.len(), rows.len())?;
    check_length("gradients of gates", grad_gates.len(), routing.gates.len())?;
    let places = plan.row_slots.iter().zip(plan.row_tokens);
    for (grad_row, (&slot, &token)) in rows_of_mut(grad_rows, model_dim).zip(places) {
        let gate = routing.gates.get(slot as usize).copied().unwrap_or(R::ZERO);
        let grad = row_values(grad_out, token, model_dim).unwrap_or(&[]);
        grad_row.iter_mut().zip(grad).for_each(|(out, &grad)| *out = gate * grad);
    }
    grad_gates.fill(R::ZERO);
    for (grad, slots) in rows_of(grad_out, model_dim).zip(routing.slots()) {
        let out = grad_gates.get_mut(slots.clone()).unwrap_or(&mut []);
        for (out, &row) in out.iter_mut().zip(plan.slot_rows.get(slots).unwrap_or(&[])) {
            *out = row_values(rows, row, model_dim).map_or(R::ZERO, |values| dot(grad, values));
        }
    }
    Ok(())
}
