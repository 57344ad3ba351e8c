//! Capped expert choice: experts take their best tokens, no token goes to more than `cap` experts.
//!
//! The choice is a linear program with an entropy term,
//!
//! ```text
//! max ⟨S, A⟩ + λ·H(A),   Σ_t A[t, e] = k,   Σ_e A[t, e] ≤ cap,   0 ≤ A ≤ 1
//! ```
//!
//! solved by Dykstra's projections in Kullback–Leibler geometry: scale experts to `k`, scale tokens down to `cap`, clip
//! at 1, with a correction for each of the two inequalities. In the log domain a round's point is a function of the
//! two multipliers alone,
//!
//! ```text
//! ln A[t, e] = min(0, S[t, e]/λ + u[e] − v[t]),   v ≥ 0,
//! ```
//!
//! because a token's correction is one number, and clipping's correction is what was clipped. So a round needs one
//! exponential per pair, no matrix of corrections, and nothing overflows: what is exponentiated is never positive.
//!
//! *Why a rounding step:* the best `k` of a fractional `A` may pass the cap. Tokens keep their `cap` best experts, and experts
//! with places left fill them with their best tokens that have room.

use super::best::Cut;
use super::error::RouterError;
use super::expert_choice::{SlotWriter, send_all, softmax_over_experts, write_logits};
use super::routing::{RouterInput, RoutingShape, RoutingStorage};
use super::rows::{blocks_of, blocks_of_mut, rows_of, rows_of_mut};
use super::slices::{dot, is_finite, larger, sum};
use crate::real::Real;

/// Feasible enough: no sum is off by more than this share.
const TOLERANCE: f64 = 1e-3;

/// Tokens that are worked on at a time.
const BLOCK_TOKENS: usize = 32;

/// Settings of [`Policy::CappedExpertChoice`](super::Policy::CappedExpertChoice).
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub cap: u32,
    pub temperature: f64,
    pub rounds: u32,
}

/// How the program of [`Policy::CappedExpertChoice`](super::Policy::CappedExpertChoice) ended; the worst group's figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Program {
    /// The largest share by which an expert misses its sum or a token exceeds the cap.
    pub residual: f64,
    /// Rounds that were done.
    pub rounds: u32,
    /// Places that experts could not fill: no token with room was left.
    pub unfilled: u32,
}

/// Real numbers that [`choose`] needs.
pub(super) const fn scratch_len(experts: usize, group_tokens: usize) -> usize {
    group_tokens * experts + 3 * experts + 3 * group_tokens
}

/// The memory of one group.
struct Work<'s, R> {
    /// `[T, E]`: `A` while solving, then marks of what is taken.
    a: &'s mut [R],
    /// `[E]`: multipliers of experts.
    u: &'s mut [R],
    /// `[E]`: sums of experts.
    sums: &'s mut [R],
    /// `[E]`: what sums are scaled by.
    ratios: &'s mut [R],
    /// `[T]`: multipliers of tokens.
    v: &'s mut [R],
    /// `[T]`: experts that each token may still take.
    room: &'s mut [R],
    /// `[T]`: one expert's column.
    column: &'s mut [R],
}

impl<'s, R> Work<'s, R> {
    fn new(shape: RoutingShape, scratch: &'s mut [R]) -> Self {
        let (a, rest) = scratch.split_at_mut_checked(shape.group_tokens * shape.experts).unwrap_or_default();
        let (u, rest) = rest.split_at_mut_checked(shape.experts).unwrap_or_default();
        let (sums, rest) = rest.split_at_mut_checked(shape.experts).unwrap_or_default();
        let (ratios, rest) = rest.split_at_mut_checked(shape.experts).unwrap_or_default();
        let (v, rest) = rest.split_at_mut_checked(shape.group_tokens).unwrap_or_default();
        let (room, column) = rest.split_at_mut_checked(shape.group_tokens).unwrap_or_default();
        Self { a, u, sums, ratios, v, room, column }
    }
}

/// Probabilities, chosen experts and gates. Lengths have been checked.
#[inline(always)]
pub(super) fn choose<R: Real>(
    settings: Settings,
    shape: RoutingShape,
    input: &RouterInput<'_, R>,
    storage: &mut RoutingStorage<'_, R>,
) -> Result<Program, RouterError> {
    write_logits(input, shape.experts, storage.probabilities)?;
    softmax_over_experts(input, shape.experts, storage.probabilities);
    let mut work = Work::new(shape, storage.scratch);
    let mut slots = SlotWriter::new(storage.token_offsets, storage.chosen, storage.gates);
    let mut program = Program { residual: 0.0, rounds: 0, unfilled: 0 };
    let group_len = (shape.group_tokens * shape.experts).max(1);
    for (group, scores) in rows_of(storage.probabilities, group_len).enumerate() {
        let is_real = |token: usize| input.is_real(group * shape.group_tokens + token);
        let real = (0..shape.group_tokens).filter(|&token| is_real(token)).count();
        let mut one = Group { scores, experts: shape.experts, rows: 0.0, settings };
        one.rows = f64::from(shape.capacity.unwrap_or(0)).min(real as f64);
        let (residual, rounds) = one.solve(&mut work, is_real);
        one.take(&mut work);
        let unfilled = one.keep_to_cap(&mut work);
        program.residual = program.residual.max(residual);
        program.rounds = program.rounds.max(rounds);
        program.unfilled = program.unfilled.saturating_add(unfilled);
        for (scores, taken) in rows_of(scores, shape.experts).zip(rows_of(work.a, shape.experts)) {
            for ((expert, &score), &taken) in (0..).zip(scores).zip(taken) {
                if taken > R::ZERO {
                    slots.write(expert, score);
                }
            }
            slots.end_token(false);
        }
    }
    send_all(storage);
    Ok(program)
}

/// The program of one group.
struct Group<'a, R> {
    /// `[T, E]`: `S`.
    scores: &'a [R],
    experts: usize,
    /// `k`: tokens that an expert takes.
    rows: f64,
    settings: Settings,
}

impl<R: Real> Group<'_, R> {
    /// Dykstra's projections, until the point is feasible or rounds end; returns the residual and the rounds.
    #[inline(always)]
    fn solve(&self, work: &mut Work<'_, R>, is_real: impl Fn(usize) -> bool) -> (f64, u32) {
        if self.rows == 0.0 {
            work.v.fill(R::from_f64(f64::INFINITY));
            return (0.0, 0);
        }
        let sharpness = R::from_f64(1.0 / self.settings.temperature);
        // The best token of each expert starts at A = 1. An infinite multiplier keeps padding out.
        work.u.fill(R::from_f64(f64::NEG_INFINITY));
        for (token, (row, v)) in rows_of(self.scores, self.experts).zip(work.v.iter_mut()).enumerate() {
            *v = if is_real(token) { R::ZERO } else { R::from_f64(f64::INFINITY) };
            if is_real(token) {
                let most = work.u.iter_mut().zip(row);
                most.for_each(|(most, &score)| *most = larger(*most, score));
            }
        }
        work.u.iter_mut().for_each(|u| *u = -(*u * sharpness));
        let mut residual = self.residual(work, sharpness);
        let mut rounds = 0;
        while residual >= TOLERANCE && rounds < self.settings.rounds {
            self.project(work);
            residual = self.residual(work, sharpness);
            rounds += 1;
        }
        (residual, rounds)
    }

    /// Writes `A` and the sums of experts; returns how far from feasible they are.
    #[inline(always)]
    fn residual(&self, work: &mut Work<'_, R>, sharpness: R) -> f64 {
        let cap = R::from_f64(f64::from(self.settings.cap));
        let mut excess = R::ZERO;
        work.sums.fill(R::ZERO);
        // A block stays in the first-level cache, and its exponentials are one loop whatever the number of experts.
        let blocks = blocks_of_mut(work.a, BLOCK_TOKENS * self.experts).zip(blocks_of(work.v, BLOCK_TOKENS));
        for ((block, v), scores) in blocks.zip(blocks_of(self.scores, BLOCK_TOKENS * self.experts)) {
            let rows = rows_of(scores, self.experts).zip(rows_of_mut(block, self.experts));
            for ((scores, a), &v) in rows.zip(v) {
                for ((a, &score), &u) in a.iter_mut().zip(scores).zip(work.u.iter()) {
                    *a = score * sharpness + u - v;
                }
            }
            block.iter_mut().for_each(|a| *a = if *a < R::ZERO { a.exp() } else { R::ONE });
            for a in rows_of(block, self.experts) {
                work.sums.iter_mut().zip(a).for_each(|(sum, &a)| *sum += a);
                excess = larger(excess, sum(a) - cap);
            }
        }
        let off = work.sums.iter().map(|&sum| libm::fabs(sum.to_f64() / self.rows - 1.0));
        off.fold(excess.to_f64() / cap.to_f64(), f64::max)
    }

    /// One round of projections: experts, then tokens. Clipping is part of how `A` is written.
    #[inline(always)]
    fn project(&self, work: &mut Work<'_, R>) {
        // The smallest normal f32: a sum of nothing takes one long step and not an infinite one.
        let least = R::from_f64(f64::from(f32::MIN_POSITIVE));
        let at_least = |value: R| larger(least, value);
        for ((ratio, u), &sum) in work.ratios.iter_mut().zip(work.u.iter_mut()).zip(work.sums.iter()) {
            *ratio = R::from_f64(self.rows) / at_least(sum);
            *u += ratio.ln();
        }
        if self.settings.cap as usize >= self.experts {
            return; // clipping at 1 sees to that
        }
        let log_cap = R::from_f64(libm::log(f64::from(self.settings.cap)));
        // `room` is not in use yet: it holds the sums of tokens.
        for (sum, a) in work.room.iter_mut().zip(rows_of(work.a, self.experts)) {
            *sum = at_least(dot(a, work.ratios));
        }
        for (v, &sum) in work.v.iter_mut().zip(work.room.iter()) {
            *v = larger(R::ZERO, *v + sum.ln() - log_cap);
        }
    }

    /// Marks each expert's best tokens in `a`. They are ordered by `S − λ·v`, which orders as `ln A` does but tells
    /// apart what clipping and rounding would not.
    #[inline(always)]
    fn take(&self, work: &mut Work<'_, R>) {
        for expert in 0..self.experts {
            let len = self.write_column(work, expert, |_, _| true);
            let column = work.column.get(..len).unwrap_or(&[]);
            let mut cut = Cut::of_best(column, whole(self.rows));
            let mut values = column.iter();
            for (row, &v) in rows_of_mut(work.a, self.experts).zip(work.v.iter()) {
                let Some(mark) = row.get_mut(expert) else { continue };
                *mark = R::ZERO;
                if is_finite(v) && values.next().is_some_and(|&value| cut.takes(value)) {
                    *mark = R::ONE;
                }
            }
        }
    }

    /// Tokens give up what passes the cap, and experts fill the places they lose; returns the places left.
    #[inline(always)]
    fn keep_to_cap(&self, work: &mut Work<'_, R>) -> u32 {
        let cap = R::from_f64(f64::from(self.settings.cap));
        let weight = R::from_f64(self.settings.temperature);
        let rows = rows_of(self.scores, self.experts).zip(rows_of_mut(work.a, self.experts));
        for ((scores, taken), room) in rows.zip(work.room.iter_mut()) {
            *room = cap - sum(taken);
            while *room < R::ZERO {
                let log_a = scores.iter().zip(work.u.iter()).map(|(&score, &u)| score + weight * u);
                let Some(last) = least_taken(taken, log_a) else { break };
                *last = R::ZERO;
                *room += R::ONE;
            }
        }
        let mut unfilled = 0;
        for expert in 0..self.experts {
            unfilled += self.fill_up(work, expert);
        }
        unfilled
    }

    /// Fills an expert's places with its best tokens that have room; returns the places left.
    #[inline(always)]
    fn fill_up(&self, work: &mut Work<'_, R>, expert: usize) -> u32 {
        let taken = rows_of(work.a, self.experts).filter_map(|row| row.get(expert));
        let wanted = whole(self.rows).saturating_sub(taken.filter(|taken| **taken > R::ZERO).count());
        if wanted == 0 {
            return 0;
        }
        let may = |taken: R, room: R| taken == R::ZERO && room >= R::ONE;
        let len = self.write_column(work, expert, may);
        let column = work.column.get(..len).unwrap_or(&[]);
        let mut cut = Cut::of_best(column, wanted);
        let mut values = column.iter();
        let tokens = rows_of_mut(work.a, self.experts).zip(work.room.iter_mut()).zip(work.v.iter());
        for ((row, room), &v) in tokens {
            let Some(mark) = row.get_mut(expert) else { continue };
            let asked = is_finite(v) && may(*mark, *room);
            if asked && values.next().is_some_and(|&value| cut.takes(value)) {
                *mark = R::ONE;
                *room = *room - R::ONE;
            }
        }
        u32::try_from(wanted.saturating_sub(len)).unwrap_or(u32::MAX)
    }

    /// Writes `S − λ·v` of the real tokens that may be taken; returns how many there are.
    #[inline(always)]
    fn write_column(&self, work: &mut Work<'_, R>, expert: usize, may: impl Fn(R, R) -> bool) -> usize {
        let weight = R::from_f64(self.settings.temperature);
        let scores = rows_of(self.scores, self.experts).zip(rows_of(work.a, self.experts));
        let tokens = scores.zip(work.v.iter().zip(work.room.iter()));
        let mut places = work.column.iter_mut();
        let mut len = 0;
        for ((scores, taken), (&v, &room)) in tokens {
            let (Some(&score), Some(&taken)) = (scores.get(expert), taken.get(expert)) else { continue };
            if is_finite(v)
                && may(taken, room)
                && let Some(place) = places.next()
            {
                *place = score - weight * v;
                len += 1;
            }
        }
        len
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count that fits: it was one")]
fn whole(count: f64) -> usize {
    count as usize
}

/// The taken place with the smallest value; of equal ones the last.
#[inline(always)]
fn least_taken<R: Real>(taken: &mut [R], values: impl Iterator<Item = R>) -> Option<&mut R> {
    let of_taken = taken.iter_mut().zip(values).filter(|(taken, _)| **taken > R::ZERO);
    let least = of_taken.reduce(|least, next| if next.1 > least.1 { least } else { next });
    least.map(|(taken, _)| taken)
}
