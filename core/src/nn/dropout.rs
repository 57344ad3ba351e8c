//! Dropout: values set to zero at random in training, the rest scaled up.
//!
//! *Why no mask in memory:* whether a value is kept is a hash of the seed and the value's place, so the backward pass
//! finds the same answer again, and threads may cut the work anywhere.

use rand_core::Rng;

use super::error::check_setting;
use super::{NnError, Real};

/// One draw of dropout: the forward and the backward pass of a layer in one step share it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The least hash that is kept.
    threshold: u32,
    /// `1 / (1 − rate)`.
    scale: f64,
    seed: [u32; 2],
}

impl Dropout {
    /// Draws which values are dropped, each with probability `rate` in `[0, 1)`.
    pub fn draw(rate: f64, random: &mut impl Rng) -> Result<Self, NnError> {
        check_setting("dropout rate", rate, (0.0..1.0).contains(&rate), "a number of [0, 1)")?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0..2³²")]
        let threshold = (rate * 4_294_967_296.0) as u32;
        let seed = [random.next_u32(), random.next_u32()];
        Ok(Self { threshold, scale: 1.0 / (1.0 - rate), seed })
    }

    /// `x ← x / (1 − rate)`, or 0 where dropped; on gradients it is the backward pass.
    ///
    /// `first` is the place of the first value in the whole tensor: parts may be done apart, in any order.
    ///
    /// ```
    /// # use mixlet_core::nn::Dropout;
    /// # struct Counter(u32);
    /// # impl mixlet_core::rand_core::TryRng for Counter {
    /// #     type Error = core::convert::Infallible;
    /// #     fn try_next_u32(&mut self) -> Result<u32, Self::Error> { self.0 += 1; Ok(self.0) }
    /// #     fn try_next_u64(&mut self) -> Result<u64, Self::Error> { Ok(7) }
    /// #     fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> { Ok(()) }
    /// # }
    /// # let mut random = Counter(0);
    /// let dropout = Dropout::draw(0.2, &mut random)?;
    /// let mut values = [1.0f32; 10_000];
    /// dropout.apply(0, &mut values);
    /// assert!(values.iter().all(|value| [0.0, 1.25].contains(value)));
    /// let kept = values.iter().filter(|value| **value > 0.0).count();
    /// assert!((7_900..8_100).contains(&kept));
    /// # Ok::<(), mixlet_core::nn::NnError>(())
    /// ```
    #[inline(always)]
    pub fn apply<R: Real>(&self, first: u64, values: &mut [R]) {
        let scale = R::from_f64(self.scale);
        for (place, value) in (first..).zip(values) {
            *value = if self.keeps(place) { *value * scale } else { R::ZERO };
        }
    }

    /// Two rounds of a 32-bit mix (multiply and shift, constants of the `lowbias32` search) over seed and place.
    #[inline(always)]
    fn keeps(&self, place: u64) -> bool {
        let [first, second] = self.seed;
        #[expect(clippy::cast_possible_truncation, reason = "the low and the high half")]
        let (low, high) = (place as u32, (place >> 32) as u32);
        mix(mix(low ^ first).wrapping_add(second) ^ high.wrapping_mul(0x9e37_79b9)) >= self.threshold
    }
}

#[inline(always)]
fn mix(mut word: u32) -> u32 {
    word = (word ^ (word >> 16)).wrapping_mul(0x7feb_352d);
    word = (word ^ (word >> 15)).wrapping_mul(0x846c_a68b);
    word ^ (word >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: Dropout = Dropout { threshold: 1 << 30, scale: 4.0 / 3.0, seed: [17, 4] };

    #[test]
    fn parts_drop_what_the_whole_drops() {
        let mut whole = [1.0f32; 100];
        DRAW.apply(5_000_000_000, &mut whole);
        let mut parts = [1.0f32; 100];
        let (left, right) = parts.split_at_mut(37);
        DRAW.apply(5_000_000_037, right);
        DRAW.apply(5_000_000_000, left);
        assert_eq!(whole, parts);
        assert!(whole.contains(&0.0) && whole.contains(&(4.0 / 3.0)));
    }

    #[test]
    fn neighbours_and_seeds_are_independent() {
        let kept = |seed, place| f64::from(u8::from(Dropout { seed, ..DRAW }.keeps(place))) - 0.75;
        let places = 200_000;
        for (case, other) in [
            ("neighbour", ([17, 4], 1)),
            ("row", ([17, 4], 4096)),
            ("seed", ([18, 4], 0)),
            ("second seed", ([17, 5], 0)),
            ("far", ([17, 4], 1 << 32)),
        ] {
            let (seed, step) = other;
            let sum: f64 = (0..places).map(|place| kept([17, 4], place) * kept(seed, place + step)).sum();
            // Standard deviation of a product: 0.1875.
            let deviations = sum / libm::sqrt(places as f64) / 0.1875;
            assert!(deviations.abs() < 4.0, "{case}: {deviations}");
        }
    }
}
