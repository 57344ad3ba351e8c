//! mesh-tensorflow's importance of tokens, by which the inner routers of a hierarchy know whom the outer one preferred.
//!
//! A token of importance 1 goes to all its experts. One between 0 and 1 goes to its best expert alone, and comes after all
//! first choices. One of importance 0, like padding, goes nowhere. In the loss only tokens of importance 1 count:
//! [`Calibration::Mesh`](super::balance::Calibration::Mesh).

use super::error::{RouterError, check_length};
use super::routing::{RoutingCache, UNSENT};
use super::rows::{nth_row, rows_of_mut};
use crate::real::Real;

/// Added to the sum that mesh divides gates by.
const LEAST_SUM: f64 = 1e-9;

/// Changes the slots of a routing with `top_k` of at least 2 by the tokens' importance `[T]`: `experts` and `gates` `[S]`, copies
/// of the routing's, become those of the new one.
///
/// A token between 0 and 1 has its best expert in the second slot, with gate `p / (p + 1e-9)`: that is 1, but for rounding, so
/// that no policy for second experts holds it back. With one slot it goes nowhere.
///
/// ```
/// # use mixlet_core::moe::{*, importance::limit};
/// let router = RouterConfig { experts: 2, ..RouterConfig::default() }.check().unwrap();
/// let shape = router.shape(Phase::Train, 3).unwrap();
/// let cache = RoutingCache { shape, probabilities: &[0.75, 0.25, 0.25, 0.75, 0.5, 0.5], chosen: &[0, 1, 1, 0, 0, 1] };
/// let (mut experts, mut gates) = ([0, 1, 1, 0, 0, 1], [0.75, 0.25, 0.75, 0.25, 0.5, 0.5_f32]);
/// limit(&[1.0, 0.5, 0.0], &cache, &mut experts, &mut gates).unwrap();
/// assert_eq!(experts, [0, 1, UNSENT, 1, UNSENT, UNSENT]);
/// assert_eq!(gates, [0.75, 0.25, 0.0, 1.0, 0.0, 0.0]);
/// ```
pub fn limit<R: Real>(
    importance: &[R],
    cache: &RoutingCache<'_, R>,
    experts: &mut [u32],
    gates: &mut [R],
) -> Result<(), RouterError> {
    let top_k = check(importance, cache, gates)?;
    check_length("experts of slots", experts.len(), gates.len())?;
    let slots = rows_of_mut(experts, top_k).zip(rows_of_mut(gates, top_k));
    for (token, ((experts, gates), &importance)) in slots.zip(importance).enumerate() {
        if importance == R::ONE {
            continue;
        }
        experts.fill(UNSENT);
        gates.fill(R::ZERO);
        let first = nth_row(cache.chosen, token, top_k).first().copied().unwrap_or(UNSENT);
        let p = nth_row(cache.probabilities, token, cache.shape.experts).get(first as usize);
        if let (Some([_, expert, ..]), Some([_, gate, ..]), Some(&p)) =
            (Some(experts).filter(|_| importance > R::ZERO), Some(gates), p)
        {
            *expert = first;
            *gate = p / (p + R::from_f64(LEAST_SUM));
        }
    }
    Ok(())
}

/// Zeroes the gradients of gates `[S]` of tokens below importance 1, whose gates do not depend on the logits: after combine's
/// backward and before [`route_backward`](super::route_backward).
///
/// ```
/// # use mixlet_core::moe::{*, importance::limit_backward};
/// let router = RouterConfig { experts: 2, ..RouterConfig::default() }.check().unwrap();
/// let shape = router.shape(Phase::Train, 2).unwrap();
/// let cache = RoutingCache { shape, probabilities: &[0.5; 4], chosen: &[0, 1, 0, 1] };
/// let mut grad_gates = [1.0_f32, 2.0, 3.0, 4.0];
/// limit_backward(&[0.5, 1.0], &cache, &mut grad_gates).unwrap();
/// assert_eq!(grad_gates, [0.0, 0.0, 3.0, 4.0]);
/// ```
pub fn limit_backward<R: Real>(
    importance: &[R],
    cache: &RoutingCache<'_, R>,
    grad_gates: &mut [R],
) -> Result<(), RouterError> {
    let top_k = check(importance, cache, grad_gates)?;
    let tokens = rows_of_mut(grad_gates, top_k).zip(importance);
    tokens.filter(|(_, importance)| **importance != R::ONE).for_each(|(grads, _)| grads.fill(R::ZERO));
    Ok(())
}

fn check<R: Real>(importance: &[R], cache: &RoutingCache<'_, R>, gates: &[R]) -> Result<usize, RouterError> {
    let shape = cache.shape;
    let top_k = shape.top_k.ok_or(RouterError::NotTokenChoice)?;
    check_length("importance", importance.len(), shape.tokens)?;
    check_length("gates", gates.len(), shape.tokens.saturating_mul(top_k))?;
    check_length("chosen experts", cache.chosen.len(), gates.len())?;
    check_length("probabilities", cache.probabilities.len(), shape.logits_len())?;
    Ok(top_k)
}
