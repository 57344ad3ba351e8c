//! Expert choice: each expert takes its best tokens. Slots come out in token order all the same.
//!
//! Time is linear in `T · E`: a radix selection finds where each expert's best tokens begin, and one pass
//! over the tokens writes the slots.

use super::best::Cut;
use super::error::RouterError;
use super::policies::SoftmaxOver;
use super::routing::{RouterInput, RoutingShape, RoutingStorage};
use super::rows::{nth_row, rows_of, rows_of_mut};
use super::slices::{all_finite, larger, softmax};
use crate::real::Real;

/// Real numbers that [`choose`] needs: a cut for each expert, a column of a group.
pub(super) const fn scratch_len(experts: usize, group_tokens: usize) -> usize {
    experts + group_tokens
}

/// Probabilities, chosen experts and gates. Lengths have been checked.
#[inline(always)]
pub(super) fn choose<R: Real>(
    over: SoftmaxOver,
    shape: RoutingShape,
    input: &RouterInput<'_, R>,
    storage: &mut RoutingStorage<'_, R>,
) -> Result<(), RouterError> {
    write_logits(input, shape.experts, storage.probabilities)?;
    match over {
        SoftmaxOver::Experts => softmax_over_experts(input, shape.experts, storage.probabilities),
        SoftmaxOver::Tokens => softmax_over_tokens(shape, input, storage.probabilities, storage.scratch),
    }
    let (cuts, column) = storage.scratch.split_at_mut_checked(shape.experts).unwrap_or_default();
    let mut slots = SlotWriter::new(storage.token_offsets, storage.chosen, storage.gates);
    let group_len = (shape.group_tokens * shape.experts).max(1);
    for (group, rows) in rows_of(storage.probabilities, group_len).enumerate() {
        let first = group * shape.group_tokens;
        let is_real = |token: usize| input.is_real(first + token);
        for (expert, (least, equal)) in cuts.iter_mut().zip(storage.counts.iter_mut()).enumerate() {
            let cut = cut_of_expert(rows, expert, shape, column, is_real);
            (*least, *equal) = (cut.least, cut.equal);
        }
        for (token, row) in rows_of(rows, shape.experts).enumerate() {
            if is_real(token) {
                let cuts = cuts.iter().zip(storage.counts.iter_mut());
                for ((expert, &probability), (&least, equal)) in (0_u32..).zip(row).zip(cuts) {
                    let mut cut = Cut { least, equal: *equal };
                    if cut.takes(probability) {
                        slots.write(expert, probability);
                    }
                    *equal = cut.equal;
                }
            }
            slots.end_token(over == SoftmaxOver::Tokens);
        }
    }
    send_all(storage);
    Ok(())
}

/// Every slot there is asks for the expert that chose it.
pub(super) fn send_all<R>(storage: &mut RoutingStorage<'_, R>) {
    storage.experts.iter_mut().zip(storage.chosen.iter()).for_each(|(expert, &chosen)| *expert = chosen);
}

/// Copies finite logits; padding becomes 0.
#[inline(always)]
pub(super) fn write_logits<R: Real>(
    input: &RouterInput<'_, R>,
    experts: usize,
    out: &mut [R],
) -> Result<(), RouterError> {
    for (token, row) in rows_of_mut(out, experts).enumerate() {
        if input.is_real(token) {
            let logits = nth_row(input.logits, token, experts);
            row.iter_mut().zip(logits).for_each(|(value, &logit)| *value = logit);
            if !all_finite(row) {
                return Err(RouterError::NonFinite { token });
            }
        } else {
            row.fill(R::ZERO);
        }
    }
    Ok(())
}

/// `p ← softmax(logits)` of every real token.
#[inline(always)]
pub(super) fn softmax_over_experts<R: Real>(input: &RouterInput<'_, R>, experts: usize, rows: &mut [R]) {
    let real = rows_of_mut(rows, experts).enumerate().filter(|(token, _)| input.is_real(*token));
    real.for_each(|(_, row)| softmax(row));
}

/// `q[t, e] = e^z[t, e] / Σ_t' e^z[t', e]`, over the real tokens of a group.
#[inline(always)]
pub(super) fn softmax_over_tokens<R: Real>(
    shape: RoutingShape,
    input: &RouterInput<'_, R>,
    values: &mut [R],
    scratch: &mut [R],
) {
    let (per_expert, _) = scratch.split_at_mut_checked(shape.experts).unwrap_or_default();
    let group_len = (shape.group_tokens * shape.experts).max(1);
    for (group, rows) in rows_of_mut(values, group_len).enumerate() {
        let real = |token: &usize| input.is_real(group * shape.group_tokens + token);
        per_expert.fill(R::from_f64(f64::NEG_INFINITY));
        for (_, row) in rows_of(rows, shape.experts).enumerate().filter(|(token, _)| real(token)) {
            per_expert.iter_mut().zip(row).for_each(|(most, &value)| *most = larger(*most, value));
        }
        for (_, row) in rows_of_mut(rows, shape.experts).enumerate().filter(|(token, _)| real(token)) {
            row.iter_mut().zip(per_expert.iter()).for_each(|(value, &most)| *value = (*value - most).exp());
        }
        // Padding is 0 and adds nothing.
        per_expert.fill(R::ZERO);
        for row in rows_of(rows, shape.experts) {
            per_expert.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
        }
        for (_, row) in rows_of_mut(rows, shape.experts).enumerate().filter(|(token, _)| real(token)) {
            row.iter_mut().zip(per_expert.iter()).for_each(|(value, &sum)| *value = *value / sum);
        }
    }
}

/// Where the best tokens of one expert begin.
#[inline(always)]
fn cut_of_expert<R: Real>(
    rows: &[R],
    expert: usize,
    shape: RoutingShape,
    column: &mut [R],
    is_real: impl Fn(usize) -> bool,
) -> Cut<R> {
    let values = rows_of(rows, shape.experts).enumerate().filter(|(token, _)| is_real(*token));
    let values = values.filter_map(|(_, row)| row.get(expert));
    let mut len = 0;
    for (place, &value) in column.iter_mut().zip(values) {
        *place = value;
        len += 1;
    }
    Cut::of_best(column.get(..len).unwrap_or(&[]), shape.capacity.unwrap_or(0) as usize)
}

/// Writes slots in token order.
pub(super) struct SlotWriter<'s, R> {
    offsets: core::slice::IterMut<'s, u32>,
    chosen: &'s mut [u32],
    gates: &'s mut [R],
    start: usize,
    next: usize,
}

impl<'s, R: Real> SlotWriter<'s, R> {
    pub(super) fn new(offsets: &'s mut [u32], chosen: &'s mut [u32], gates: &'s mut [R]) -> Self {
        let mut offsets = offsets.iter_mut();
        if let Some(first) = offsets.next() {
            *first = 0;
        }
        Self { offsets, chosen, gates, start: 0, next: 0 }
    }

    /// A slot of the current token.
    #[inline(always)]
    pub(super) fn write(&mut self, expert: u32, gate: R) {
        if let (Some(chosen), Some(place)) = (self.chosen.get_mut(self.next), self.gates.get_mut(self.next)) {
            (*chosen, *place) = (expert, gate);
            self.next += 1;
        }
    }

    /// No more slots of this token; its gates may be divided by their number.
    #[inline(always)]
    pub(super) fn end_token(&mut self, divide: bool) {
        if divide && let Some(gates) = self.gates.get_mut(self.start..self.next) {
            let number = R::from_f64(gates.len() as f64);
            gates.iter_mut().for_each(|gate| *gate = *gate / number);
        }
        self.start = self.next;
        if let Some(offset) = self.offsets.next() {
            *offset = u32::try_from(self.next).unwrap_or(u32::MAX);
        }
    }
}
