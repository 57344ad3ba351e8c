//! Copies each row's token to the expert it goes to, and the way back of gradients.

use super::dispatch::DispatchPlan;
use super::error::{RouterError, check_length};
use super::routing::Routing;
use super::rows::rows_of_mut;
use crate::real::Real;

/// `out[r] = tokens[row_tokens[r]]`; `tokens` is `[T, model_dim]`, `out` is `[rows, model_dim]`.
///
/// ```
/// # use mixlet_core::moe::{DispatchPlan, gather};
/// let (expert_load, expert_offsets) = ([1, 2], [0, 1, 3]);
/// let plan = DispatchPlan {
///     expert_load: &expert_load, expert_offsets: &expert_offsets,
///     row_slots: &[1, 0, 2], row_tokens: &[0, 0, 1], slot_rows: &[1, 0, 2],
/// };
/// let mut out = [f32::NAN; 3];
/// gather(&plan, &[10.0, 20.0], 1, &mut out).unwrap();
/// assert_eq!(out, [10.0, 10.0, 20.0]);
/// ```
#[inline(always)]
pub fn gather<R: Real>(
    plan: &DispatchPlan<'_>,
    tokens: &[R],
    model_dim: usize,
    out: &mut [R],
) -> Result<(), RouterError> {
    check_length("rows", out.len(), plan.rows().saturating_mul(model_dim))?;
    for (out, &token) in rows_of_mut(out, model_dim).zip(plan.row_tokens) {
        let expected = (token as usize).saturating_add(1).saturating_mul(model_dim);
        let wrong = RouterError::Length { what: "tokens", found: tokens.len(), expected };
        let values = row_values(tokens, token, model_dim).ok_or(wrong)?;
        out.iter_mut().zip(values).for_each(|(out, &value)| *out = value);
    }
    Ok(())
}

/// Gradient of [`gather`]: `grad_tokens[t] = Σ grad_rows[r]` over the rows of token `t`, in slot order.
///
/// Overwrites `grad_tokens` `[T, model_dim]`; tokens without a row get 0.
///
/// ```
/// # use mixlet_core::moe::*;
/// let routing = Routing { token_offsets: &[0, 2, 3], experts: &[1, 0, 1], gates: &[0.5, 0.5, 1.0] };
/// let mut memory = [0; PlanStorage::len(3, 2)];
/// let admission = Admission { capacity: None, group_tokens: 2, order: Order::Ranks };
/// let plan = plan(&routing, admission, PlanStorage::new(3, 2, &mut memory).unwrap()).unwrap();
/// let mut grad_tokens = [f32::NAN; 2];
/// gather_backward(&plan, &routing, &[1.0, 2.0, 4.0], 1, &mut grad_tokens).unwrap();
/// assert_eq!(grad_tokens, [3.0, 4.0]); // rows: token 0 at expert 0, tokens 0 and 1 at expert 1
/// ```
#[inline(always)]
pub fn gather_backward<R: Real>(
    plan: &DispatchPlan<'_>,
    routing: &Routing<'_, R>,
    grad_rows: &[R],
    model_dim: usize,
    grad_tokens: &mut [R],
) -> Result<(), RouterError> {
    plan.check(routing)?;
    check_length("gradients of rows", grad_rows.len(), plan.rows().saturating_mul(model_dim))?;
    check_length("gradients of tokens", grad_tokens.len(), routing.tokens().saturating_mul(model_dim))?;
    for (out, slots) in rows_of_mut(grad_tokens, model_dim).zip(routing.slots()) {
        out.fill(R::ZERO);
        for &row in plan.slot_rows.get(slots).unwrap_or(&[]) {
            if let Some(grad) = row_values(grad_rows, row, model_dim) {
                out.iter_mut().zip(grad).for_each(|(out, &grad)| *out += grad);
            }
        }
    }
    Ok(())
}

/// The values of a row; none of a dropped slot.
#[inline(always)]
pub(super) fn row_values<R>(values: &[R], row: u32, model_dim: usize) -> Option<&[R]> {
    let start = (row as usize).checked_mul(model_dim)?;
    values.get(start..start.checked_add(model_dim)?)
}
