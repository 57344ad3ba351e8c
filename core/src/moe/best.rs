//! The best few of many, without a sort and without memory.

use crate::real::Real;

/// Writes the candidates with the highest scores, best first; ties keep the order of arrival.
///
/// Both outputs have the number of candidates to keep. Where there are fewer, the rest stays as it was in `kept`.
#[inline(always)]
pub(super) fn keep_best<R: Real>(
    candidates: impl Iterator<Item = (u32, R)>,
    kept: &mut [u32],
    scores: &mut [R],
) {
    scores.fill(R::from_f64(f64::NEG_INFINITY));
    let mut least = R::from_f64(f64::NEG_INFINITY);
    for (mut candidate, mut score) in candidates {
        if score > least {
            insert(&mut candidate, &mut score, kept, scores);
            least = scores.last().copied().unwrap_or(least);
        }
    }
}

/// Puts a candidate where it belongs and moves all behind it one place on.
#[inline(always)]
fn insert<R: Real>(candidate: &mut u32, score: &mut R, kept: &mut [u32], scores: &mut [R]) {
    let mut found = false;
    for (kept, kept_score) in kept.iter_mut().zip(scores) {
        found |= *score > *kept_score;
        if found {
            core::mem::swap(candidate, kept);
            core::mem::swap(score, kept_score);
        }
    }
}

/// Where the best `count` of some values begin: all above `least`, and the first `equal` of those equal to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut<R> {
    pub least: R,
    pub equal: u32,
}

impl<R: Real> Cut<R> {
    /// A cut that takes nothing.
    pub(super) fn nothing() -> Self {
        Self { least: R::from_f64(f64::INFINITY), equal: 0 }
    }

    /// Whether a value is among the best. Values must be asked for in order, each once.
    #[inline(always)]
    pub(super) fn takes(&mut self, value: R) -> bool {
        let taken_as_equal = value == self.least && self.equal > 0;
        self.equal -= u32::from(taken_as_equal);
        value > self.least || taken_as_equal
    }

    /// The cut for the best `count` values, none of them NaN; all are taken if there are fewer.
    ///
    /// Radix selection: one byte of the ordered bits at a time, from the highest, a histogram decides which
    /// value of it the cut has. Time is linear in the number of values, whatever they are.
    #[inline(always)]
    pub(super) fn of_best(values: &[R], count: usize) -> Self {
        if count == 0 {
            return Self::nothing();
        }
        let (mut prefix, mut known) = (0_u64, 0_u64);
        let mut wanted = count.min(values.len());
        for shift in (0..64).step_by(8).rev().take(size_of::<R>()) {
            let mut histogram = [0_usize; 256];
            for value in values {
                let key = value.key();
                if key & known == prefix
                    && let Some(bin) = histogram.get_mut((key >> shift & 0xff) as usize)
                {
                    *bin += 1;
                }
            }
            // From the highest bin down: the one in which the last wanted value lies.
            for (bin, &count) in (0_u32..256).zip(&histogram).rev() {
                if count >= wanted {
                    prefix |= u64::from(bin) << shift;
                    break;
                }
                wanted -= count;
            }
            known |= 0xff << shift;
        }
        let least = values.iter().copied().find(|value| value.key() == prefix);
        let equal = u32::try_from(wanted).unwrap_or(u32::MAX);
        least.map_or_else(Self::nothing, |least| Self { least, equal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers with many ties, in no order.
    fn numbers<const N: usize>(seed: u32) -> [f64; N] {
        let mut state = seed;
        core::array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 28) - 7.5
        })
    }

    fn numbered<const N: usize>() -> [u32; N] {
        let mut places = [0; N];
        (0..).zip(&mut places).for_each(|(nth, place)| *place = nth);
        places
    }

    /// Places by falling value, ties to the lower place.
    fn sorted<const N: usize>(values: &[f64; N]) -> [u32; N] {
        let mut places = numbered();
        places.sort_by(|&a, &b| values[b as usize].total_cmp(&values[a as usize]));
        places
    }

    #[test]
    fn the_best_are_those_of_a_stable_sort() {
        for seed in 0..50 {
            let values = numbers::<40>(seed);
            let expected = sorted(&values);
            for kept in [0, 1, 2, 7, 40] {
                let (mut places, mut scores) = ([u32::MAX; 40], [f64::NAN; 40]);
                keep_best((0..).zip(values), &mut places[..kept], &mut scores[..kept]);
                assert_eq!(places[..kept], expected[..kept], "seed {seed}, {kept} kept");
                let mut cut = Cut::of_best(&values, kept);
                let mut taken = [false; 40];
                values.iter().zip(&mut taken).for_each(|(&value, taken)| *taken = cut.takes(value));
                for (place, taken) in (0..).zip(taken) {
                    assert_eq!(taken, expected[..kept].contains(&place), "seed {seed}, {kept} kept: {place}");
                }
            }
        }
    }

    #[test]
    fn a_cut_below_everything_takes_everything() {
        let mut cut = Cut::of_best(&[3.0_f32, -1.0, f32::NEG_INFINITY], 9);
        assert!([3.0, -1.0, f32::NEG_INFINITY].map(|value| cut.takes(value)).iter().all(|taken| *taken));
        assert_eq!(Cut::<f32>::of_best(&[], 3), Cut::nothing());
        assert_eq!(Cut::of_best(&[1.0_f32], 0), Cut::nothing());
    }
}
