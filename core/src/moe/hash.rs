//! Tables for hash layers (arXiv:2106.04426): which expert each token of the vocabulary goes to, once and for all.

use rand_core::Rng;

use super::error::{RouterError, check_length};
use crate::sort::sort_by;

/// Gives every token of the vocabulary a random expert. `table` is `[vocabulary]`.
pub fn random_table(random: &mut impl Rng, experts: u32, table: &mut [u32]) -> Result<(), RouterError> {
    if experts == 0 {
        return Err(RouterError::NoExperts);
    }
    for expert in table {
        // The high half of a 64-bit product: a number of 0..experts.
        let scaled = u64::from(random.next_u32()) * u64::from(experts);
        *expert = u32::try_from(scaled >> 32).unwrap_or(0);
    }
    Ok(())
}

/// Spreads the vocabulary so that experts see equally many tokens: by falling frequency, each to the expert that has least.
///
/// `frequencies` and `table` are `[vocabulary]`, `loads` `[E]` receives the frequencies of each expert, `order` is `[vocabulary]` of scratch.
/// Ties go to the lower token and the lower expert.
///
/// ```
/// # use mixlet_core::moe::hash::balanced_table;
/// let (mut loads, mut order, mut table) = ([0; 2], [0; 4], [0; 4]);
/// balanced_table(&[5, 1, 9, 3], &mut loads, &mut order, &mut table).unwrap();
/// assert_eq!((table, loads), ([1, 1, 0, 1], [9, 9]));
/// ```
pub fn balanced_table(
    frequencies: &[u64],
    loads: &mut [u64],
    order: &mut [u32],
    table: &mut [u32],
) -> Result<(), RouterError> {
    check_length("order", order.len(), frequencies.len())?;
    check_length("table", table.len(), frequencies.len())?;
    if loads.is_empty() {
        return Err(RouterError::NoExperts);
    }
    loads.fill(0);
    (0..).zip(order.iter_mut()).for_each(|(nth, token)| *token = nth);
    let of = |token: u32| frequencies.get(token as usize).copied().unwrap_or(0);
    sort_by(order, |a, b| of(a) > of(b));
    for &token in order.iter() {
        let least = (0_u32..).zip(loads.iter_mut()).min_by_key(|(_, load)| **load);
        if let (Some((expert, load)), Some(place)) = (least, table.get_mut(token as usize)) {
            *load = load.saturating_add(of(token));
            *place = expert;
        }
    }
    Ok(())
}

/// `out[t] = table[ids[t]]`; an id beyond the table is an error that names the token.
///
/// ```
/// # use mixlet_core::moe::{RouterError, hash::look_up};
/// let mut out = [0; 2];
/// look_up(&[7, 8, 9], &[2, 0], &mut out).unwrap();
/// assert_eq!(out, [9, 7]);
/// assert_eq!(look_up(&[7], &[0, 1], &mut out), Err(RouterError::TokenId { token: 1, id: 1, vocabulary: 1 }));
/// ```
pub fn look_up(table: &[u32], ids: &[u32], out: &mut [u32]) -> Result<(), RouterError> {
    check_length("experts of tokens", out.len(), ids.len())?;
    for (token, (out, &id)) in out.iter_mut().zip(ids).enumerate() {
        let vocabulary = table.len();
        *out = *table.get(id as usize).ok_or(RouterError::TokenId { token, id, vocabulary })?;
    }
    Ok(())
}
