//! The dispatch plan: routing decisions regrouped so that each expert's rows are contiguous.
//!
//! Both directions are kept. Dispatch gathers tokens by `row_tokens`, combine gathers rows by
//! `slot_rows`; so nothing is written twice, on any backend, and sums have a fixed order.

use core::ops::Range;

use super::error::{RouterError, check_length};
use super::priority::Order;
use super::routing::{Routing, RoutingShape, UNSENT};
use super::rows::blocks_of;

/// Marks a slot without a row: its expert was full, or it asked for none.
pub const DROPPED: u32 = u32::MAX;

/// Marks a slot that gets a row, until it is known which.
const KEPT: u32 = 0;
/// Marks a slot that has not been looked at.
const NOT_YET: u32 = u32::MAX - 1;

/// A plan over `T` tokens, `S` slots and `E` experts. Only `u32`: a device holds the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DispatchPlan<'a> {
    /// `[E]`: slots that asked for each expert, before capacity.
    pub expert_load: &'a [u32],
    /// `[E + 1]`: expert `e` owns rows `expert_offsets[e]..expert_offsets[e + 1]`.
    pub expert_offsets: &'a [u32],
    /// `[rows]`: the slot each row came from.
    pub row_slots: &'a [u32],
    /// `[rows]`: the token each row is a copy of.
    pub row_tokens: &'a [u32],
    /// `[S]`: the row of each slot, or [`DROPPED`].
    pub slot_rows: &'a [u32],
}

impl<'a> DispatchPlan<'a> {
    /// Rows of all experts.
    pub fn rows(&self) -> usize {
        self.row_slots.len()
    }

    /// The rows of each expert, in order.
    #[inline(always)]
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let ends = self.expert_offsets.get(1..).unwrap_or(&[]);
        self.expert_offsets.iter().zip(ends).map(|(&start, &end)| start as usize..end as usize)
    }

    /// An error unless the plan belongs to a routing: the same slots, and rows that name its slots and tokens.
    pub fn check<R: Copy>(&self, routing: &Routing<'_, R>) -> Result<(), RouterError> {
        check_length("slots of the plan", self.slot_rows.len(), routing.experts.len())?;
        check_length("tokens of rows", self.row_tokens.len(), self.rows())
    }
}

/// Who may be placed, and who first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission<'a> {
    /// Rows an expert may take from a group; `None` drops nothing.
    pub capacity: Option<u32>,
    /// Tokens of a group.
    pub group_tokens: usize,
    /// The order in which slots are placed.
    pub order: Order<'a>,
}

impl<'a> Admission<'a> {
    /// What a router's shape says, in the given order.
    pub fn new(shape: RoutingShape, order: Order<'a>) -> Self {
        // What experts chose themselves has its place already.
        let capacity = shape.capacity.filter(|_| shape.top_k.is_some());
        Self { capacity, group_tokens: shape.group_tokens, order }
    }
}

/// Memory of a plan.
#[derive(Debug)]
pub struct PlanStorage<'a> {
    expert_load: &'a mut [u32],
    expert_offsets: &'a mut [u32],
    row_slots: &'a mut [u32],
    row_tokens: &'a mut [u32],
    slot_rows: &'a mut [u32],
    taken: &'a mut [u32],
}

impl<'a> PlanStorage<'a> {
    /// Integers that a plan needs.
    pub const fn len(slots: usize, experts: usize) -> usize {
        slots.saturating_mul(3).saturating_add(experts.saturating_mul(3)).saturating_add(1)
    }

    /// Cuts [`len`](Self::len) integers into parts.
    pub fn new(slots: usize, experts: usize, memory: &'a mut [u32]) -> Result<Self, RouterError> {
        let (found, expected) = (memory.len(), Self::len(slots, experts));
        let wrong = RouterError::Length { what: "integers of the plan", found, expected };
        check_length("integers of the plan", found, expected)?;
        let (expert_load, memory) = memory.split_at_mut_checked(experts).ok_or(wrong)?;
        let (expert_offsets, memory) = memory.split_at_mut_checked(experts + 1).ok_or(wrong)?;
        let (row_slots, memory) = memory.split_at_mut_checked(slots).ok_or(wrong)?;
        let (row_tokens, memory) = memory.split_at_mut_checked(slots).ok_or(wrong)?;
        let (slot_rows, taken) = memory.split_at_mut_checked(slots).ok_or(wrong)?;
        Ok(Self { expert_load, expert_offsets, row_slots, row_tokens, slot_rows, taken })
    }
}

/// Regroups a routing by expert: count, scan, stable fill. The rows of an expert are in slot order.
///
/// `storage` is for the routing's slots, or more. Slots beyond an expert's capacity are [`DROPPED`], last comers first; with
/// capacity 0 all are, and there are no rows. Time is linear in slots and experts.
///
/// ```
/// # use mixlet_core::moe::{Admission, DROPPED, Order, PlanStorage, Routing, plan};
/// // Token 0 goes to experts 1 and 0, token 1 to 0 and 2; expert 0 holds one row.
/// let gates = [0.75, 0.25, 0.5, 0.5];
/// let routing = Routing { token_offsets: &[0, 2, 4], experts: &[1, 0, 0, 2], gates: &gates };
/// let mut memory = [0; PlanStorage::len(4, 3)];
/// let mut plan_in = |order| {
///     let storage = PlanStorage::new(4, 3, &mut memory).unwrap();
///     let admission = Admission { capacity: Some(1), group_tokens: 2, order };
///     let plan = plan(&routing, admission, storage).unwrap();
///     assert_eq!(plan.expert_load, [2, 1, 1]);
///     (plan.slot_rows[1], plan.slot_rows[2])
/// };
/// assert_eq!(plan_in(Order::Slots), (0, DROPPED)); // token 1 loses its first choice
/// assert_eq!(plan_in(Order::Ranks), (DROPPED, 0)); // token 0 loses its second
/// ```
#[inline(always)]
pub fn plan<'a, R: Copy>(
    routing: &Routing<'_, R>,
    admission: Admission<'_>,
    storage: PlanStorage<'a>,
) -> Result<DispatchPlan<'a>, RouterError> {
    let mut storage = storage.cut(routing)?;
    storage.admit(routing, admission)?;
    storage.scan();
    Ok(storage.fill(routing))
}

impl<'a> PlanStorage<'a> {
    /// The storage of a checked routing, which may have fewer slots.
    fn cut<R: Copy>(self, routing: &Routing<'_, R>) -> Result<Self, RouterError> {
        routing.check(self.expert_load.len())?;
        let (slots, found) = (routing.experts.len(), self.slot_rows.len());
        let wrong = RouterError::Length { what: "slots of the plan", found, expected: slots };
        let mut cut = self;
        cut.row_slots = cut.row_slots.get_mut(..slots).ok_or(wrong)?;
        cut.row_tokens = cut.row_tokens.get_mut(..slots).ok_or(wrong)?;
        cut.slot_rows = cut.slot_rows.get_mut(..slots).ok_or(wrong)?;
        Ok(cut)
    }

    /// Count: loads, and the number of rows of each expert, which stands at its offset for now.
    #[inline(always)]
    fn admit<R: Copy>(
        &mut self,
        routing: &Routing<'_, R>,
        admission: Admission<'_>,
    ) -> Result<(), RouterError> {
        self.clear();
        let group_tokens = admission.group_tokens.max(1);
        let ends = routing.token_offsets.get(1..).unwrap_or(&[]);
        let groups = blocks_of(routing.token_offsets, group_tokens).zip(blocks_of(ends, group_tokens));
        for (group, (starts, ends)) in groups.enumerate() {
            self.taken.fill(0);
            let mut admit = Admit { storage: self, experts: routing.experts, capacity: admission.capacity };
            let first = group * group_tokens;
            match admission.order {
                Order::Slots => admit.slots(starts, ends),
                Order::Ranks => admit.ranks(starts, ends, 0..starts.len().min(ends.len())),
                Order::RanksOf(order) => admit.ranks_of(starts, ends, order, first),
                Order::SlotsOf(order) => admit.slots_of(starts, ends, order),
            }?;
        }
        // An order that names a token without slots twice leaves another one out.
        match self.slot_rows.iter().position(|&mark| mark == NOT_YET) {
            Some(place) => Err(RouterError::Order { place }),
            None => Ok(()),
        }
    }

    /// The plan of a routing whose drops are known.
    pub(super) fn plan_of<R: Copy>(
        self,
        routing: &Routing<'_, R>,
        is_kept: impl Fn(usize) -> bool,
    ) -> Result<DispatchPlan<'a>, RouterError> {
        let mut storage = self.cut(routing)?;
        storage.clear();
        for (slot, &expert) in routing.experts.iter().enumerate() {
            storage.count(slot, expert, |_| is_kept(slot));
        }
        storage.scan();
        Ok(storage.fill(routing))
    }

    fn clear(&mut self) {
        self.expert_load.fill(0);
        self.expert_offsets.fill(0);
        self.slot_rows.fill(NOT_YET);
        self.taken.fill(0);
    }

    /// Scan: where each expert's rows start.
    fn scan(&mut self) {
        let mut rows = 0;
        for (offset, taken) in self.expert_offsets.iter_mut().zip(self.taken.iter_mut().chain([&mut 0])) {
            let count = *offset;
            (*offset, *taken) = (rows, rows);
            rows += count;
        }
    }

    /// Stable fill: `taken` holds each expert's next row.
    fn fill<R: Copy>(self, routing: &Routing<'_, R>) -> DispatchPlan<'a> {
        let mut slots = (0_u32..).zip(routing.experts).zip(self.slot_rows.iter_mut());
        for (token, range) in (0_u32..).zip(routing.slots()) {
            for ((slot, &expert), slot_row) in slots.by_ref().take(range.len()) {
                let Some(next) = self.taken.get_mut(expert as usize).filter(|_| *slot_row == KEPT) else {
                    *slot_row = DROPPED;
                    continue;
                };
                let row = *next as usize;
                if let (Some(row_slot), Some(row_token)) =
                    (self.row_slots.get_mut(row), self.row_tokens.get_mut(row))
                {
                    (*row_slot, *row_token, *slot_row) = (slot, token, *next);
                }
                *next += 1;
            }
        }
        let rows = self.expert_offsets.last().map_or(0, |&rows| rows as usize);
        DispatchPlan {
            expert_load: self.expert_load,
            expert_offsets: self.expert_offsets,
            row_slots: self.row_slots.get(..rows).unwrap_or(&[]),
            row_tokens: self.row_tokens.get(..rows).unwrap_or(&[]),
            slot_rows: self.slot_rows,
        }
    }

    /// Counts a slot, and keeps or drops it. False if it has been counted before, or does not exist.
    #[inline(always)]
    fn count(&mut self, slot: usize, expert: u32, keep: impl FnOnce(u32) -> bool) -> bool {
        let Some(mark) = self.slot_rows.get_mut(slot).filter(|mark| **mark == NOT_YET) else {
            return false;
        };
        *mark = DROPPED;
        let expert = expert as usize;
        let counts = (
            self.expert_load.get_mut(expert),
            self.expert_offsets.get_mut(expert),
            self.taken.get_mut(expert),
        );
        if let (Some(load), Some(rows), Some(taken)) = counts {
            *load += 1;
            if keep(*taken) {
                *mark = KEPT;
                *rows += 1;
                *taken += 1;
            }
        }
        true
    }
}

/// Places the slots of one group.
struct Admit<'s, 'a, 'r> {
    storage: &'s mut PlanStorage<'a>,
    experts: &'r [u32],
    capacity: Option<u32>,
}

impl Admit<'_, '_, '_> {
    #[inline(always)]
    fn slot(&mut self, slot: usize) -> bool {
        let capacity = self.capacity;
        let expert = self.experts.get(slot).copied().unwrap_or(UNSENT);
        self.storage.count(slot, expert, |taken| capacity.is_none_or(|capacity| taken < capacity))
    }

    fn slots(&mut self, starts: &[u32], ends: &[u32]) -> Result<(), RouterError> {
        let (Some(&first), Some(&last)) = (starts.first(), ends.last()) else {
            return Ok(());
        };
        (first as usize..last as usize).for_each(|slot| _ = self.slot(slot));
        Ok(())
    }

    /// `tokens` are places in the group.
    fn ranks(
        &mut self,
        starts: &[u32],
        ends: &[u32],
        tokens: impl Iterator<Item = usize> + Clone,
    ) -> Result<(), RouterError> {
        let most = starts.iter().zip(ends).map(|(start, end)| end - start).max().unwrap_or(0);
        for rank in 0..most {
            for (place, token) in tokens.clone().enumerate() {
                let (Some(&start), Some(&end)) = (starts.get(token), ends.get(token)) else {
                    return Err(RouterError::Order { place });
                };
                if rank < end - start && !self.slot((start + rank) as usize) {
                    return Err(RouterError::Order { place });
                }
            }
        }
        Ok(())
    }

    /// `order` names the tokens of all groups, this one's from place `first` on.
    fn ranks_of(
        &mut self,
        starts: &[u32],
        ends: &[u32],
        order: &[u32],
        first: usize,
    ) -> Result<(), RouterError> {
        let tokens = order.get(first..first + ends.len()).ok_or(RouterError::Order { place: first })?;
        // A token of an earlier group becomes a place that no group has.
        self.ranks(starts, ends, tokens.iter().map(|&token| (token as usize).wrapping_sub(first)))
    }

    fn slots_of(&mut self, starts: &[u32], ends: &[u32], order: &[u32]) -> Result<(), RouterError> {
        let (Some(&first), Some(&last)) = (starts.first(), ends.last()) else {
            return Ok(());
        };
        let range = first as usize..last as usize;
        for (place, slot) in range.clone().zip(order.get(range.clone()).unwrap_or(&[])) {
            let slot = *slot as usize;
            if !range.contains(&slot) || !self.slot(slot) {
                return Err(RouterError::Order { place });
            }
        }
        check_length("order of slots", order.len(), self.experts.len())
    }
}
