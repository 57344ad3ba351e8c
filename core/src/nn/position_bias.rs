//! T5's relative position bias: one learned number per head and bucket of distances.
//!
//! The table is unfolded once per stack into a line of biases by distance, which every layer's attention adds to its
//! scores; the gradients of that line add up over the layers and are folded back once.

use super::error::{check_length, check_setting};
use super::{NnError, Real, Span};

/// How distances fall into buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PositionBias {
    /// Heads: a bias for each.
    pub heads: usize,
    /// Buckets of the table; 32 in T5.
    pub buckets: usize,
    /// Distances from here on share the last bucket; 128 in T5.
    pub max_distance: usize,
    /// Whether keys after the query have buckets of their own: true in encoders; in decoders they share bucket 0.
    pub bidirectional: bool,
}

impl PositionBias {
    /// Values of the table.
    pub fn table_len(&self) -> usize {
        self.buckets * self.heads
    }

    /// The bucket of a distance, the key's position minus the query's.
    ///
    /// Half of a direction's buckets hold one distance each, the rest grow in width up to `max_distance`, evenly in the
    /// logarithm, which is taken in `f32` as T5X and transformers do.
    ///
    /// ```
    /// # use mixlet_core::nn::PositionBias;
    /// let encoder = PositionBias { heads: 1, buckets: 32, max_distance: 128, bidirectional: true };
    /// assert_eq!([0, -1, -7, -8, -12, -200, 1, 90, 91].map(|d| encoder.bucket(d)), [0, 1, 7, 8, 9, 15, 17, 30, 31]);
    /// let decoder = PositionBias { bidirectional: false, ..encoder };
    /// assert_eq!([0, -1, -15, -16, 5].map(|d| decoder.bucket(d)), [0, 1, 15, 16, 0]);
    /// ```
    pub fn bucket(&self, distance: i64) -> usize {
        let (buckets, after) = if self.bidirectional {
            (self.buckets / 2, if distance > 0 { self.buckets / 2 } else { 0 })
        } else {
            (self.buckets, 0)
        };
        let back = if self.bidirectional { distance.unsigned_abs() } else { distance.min(0).unsigned_abs() };
        let back = usize::try_from(back).unwrap_or(usize::MAX);
        let exact = buckets / 2;
        if back < exact {
            return after + back;
        }
        let widths = libm::logf(self.max_distance as f32 / exact as f32);
        let place = libm::logf(back as f32 / exact as f32) / widths * (buckets - exact) as f32;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "to round down, at least 0"
        )]
        let place = place as usize;
        after + (exact.saturating_add(place)).min(buckets - 1)
    }

    fn check(&self, table: usize, line: usize, distances: usize) -> Result<(), NnError> {
        let exact = self.buckets / if self.bidirectional { 4 } else { 2 };
        check_setting("buckets", self.buckets as f64, exact > 0, "at least 2 for each direction")?;
        check_setting(
            "max_distance",
            self.max_distance as f64,
            self.max_distance > exact,
            "more than the exact buckets",
        )?;
        check_length("position bias table", table, self.table_len())?;
        check_length("distance bias", line, self.heads * distances)
    }

    /// The buckets of a line's distances, in order.
    fn of_line(self, span: Span) -> impl Iterator<Item = usize> {
        // The last query and the first key are furthest apart.
        let last_query = (span.first_query + span.queries) as i64 - 1;
        (0..span.distances()).map(move |nth| self.bucket(nth as i64 - last_query))
    }
}

/// The biases of every distance that occurs: `line[h, d] = table[bucket(d), h]`.
///
/// `line` is `[heads, queries + keys − 1]`, lowest distance first, as
/// [`Attention::distance_bias`](super::Attention::distance_bias) takes it; `table` is `[buckets, heads]`.
///
/// ```
/// # use mixlet_core::nn::{position_bias_forward, PositionBias, Span};
/// let bias = PositionBias { heads: 1, buckets: 4, max_distance: 8, bidirectional: true };
/// let mut line = [f32::NAN; 5];
/// let span = Span { queries: 3, keys: 3, first_query: 0 }; // distances −2 to 2
/// position_bias_forward(bias, span, &[0.0, 0.1, 0.2, 0.3], &mut line)?;
/// assert_eq!(line, [0.1, 0.1, 0.0, 0.3, 0.3]);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
pub fn position_bias_forward<R: Real>(
    bias: PositionBias,
    span: Span,
    table: &[R],
    line: &mut [R],
) -> Result<(), NnError> {
    let distances = span.distances();
    bias.check(table.len(), line.len(), distances)?;
    for (head, line) in line.chunks_exact_mut(distances.max(1)).enumerate() {
        for (out, bucket) in line.iter_mut().zip(bias.of_line(span)) {
            *out = table.get(bucket * bias.heads + head).copied().unwrap_or(R::ZERO);
        }
    }
    Ok(())
}

/// `grad_table[bucket(d), h] += grad_line[h, d]`, distances in order.
///
/// ```
/// # use mixlet_core::nn::*;
/// let bias = PositionBias { heads: 1, buckets: 4, max_distance: 8, bidirectional: false };
/// let span = Span { queries: 1, keys: 1, first_query: 0 }; // one distance, 0
/// let mut grad_table = [1.0; 4];
/// position_bias_backward(bias, span, &[2.0], &mut grad_table)?;
/// assert_eq!(grad_table, [3.0, 1.0, 1.0, 1.0]);
/// # Ok::<(), NnError>(())
/// ```
pub fn position_bias_backward<R: Real>(
    bias: PositionBias,
    span: Span,
    grad_line: &[R],
    grad_table: &mut [R],
) -> Result<(), NnError> {
    let distances = span.distances();
    bias.check(grad_table.len(), grad_line.len(), distances)?;
    for (head, line) in grad_line.chunks_exact(distances.max(1)).enumerate() {
        for (grad, bucket) in line.iter().zip(bias.of_line(span)) {
            if let Some(total) = grad_table.get_mut(bucket * bias.heads + head) {
                *total += *grad;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(queries: usize, keys: usize, first_query: usize) -> Span {
        Span { queries, keys, first_query }
    }

    #[test]
    fn buckets_of_t5_begin_where_its_paper_puts_them() {
        let encoder = PositionBias { heads: 1, buckets: 32, max_distance: 128, bidirectional: true };
        // The first distance of each bucket: 8 · 16^(i / 8), rounded up.
        let starts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];
        let decoder = PositionBias { bidirectional: false, ..encoder };
        // 16 · 8^(i / 16), rounded up.
        let growing = [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113];
        for distance in 0..300i64 {
            let bucket = starts.iter().rposition(|start| *start <= distance).unwrap();
            assert_eq!(encoder.bucket(-distance), bucket, "{distance}");
            assert_eq!(encoder.bucket(distance), if distance == 0 { 0 } else { 16 + bucket }, "{distance}");
            let last = growing.iter().rposition(|start| *start <= distance);
            let expected = last.map_or(usize::try_from(distance).unwrap(), |nth| 16 + nth);
            assert_eq!(decoder.bucket(-distance), expected, "{distance}");
        }
        assert_eq!(encoder.bucket(i64::MIN), 15);
        assert_eq!(decoder.bucket(i64::MAX), 0);
    }

    #[test]
    fn settings_without_buckets_are_refused() {
        let good = PositionBias { heads: 1, buckets: 4, max_distance: 8, bidirectional: true };
        let setting = |what, value, expected| Err(NnError::Setting { what, value, expected });
        let length = |what, found, expected| Err(NnError::Length { what, found, expected });
        let cases = [
            (good, Ok(())),
            (PositionBias { buckets: 3, ..good }, setting("buckets", 3.0, "at least 2 for each direction")),
            (
                PositionBias { max_distance: 1, ..good },
                setting("max_distance", 1.0, "more than the exact buckets"),
            ),
            (PositionBias { heads: 2, ..good }, length("position bias table", 4, 8)),
            (PositionBias { buckets: 5, ..good }, length("position bias table", 4, 5)),
        ];
        for (bias, expected) in cases {
            assert_eq!(
                position_bias_forward(bias, span(2, 2, 0), &[0.0f32; 4], &mut [0.0; 3]),
                expected,
                "{bias:?}"
            );
        }
        let expected = length("distance bias", 3, 4);
        assert_eq!(position_bias_forward(good, span(2, 3, 0), &[0.0f32; 4], &mut [0.0; 3]), expected);
    }

    #[test]
    fn no_queries_and_no_keys_have_no_distances() {
        let bias = PositionBias { heads: 2, buckets: 2, max_distance: 8, bidirectional: false };
        assert_eq!(position_bias_forward::<f32>(bias, span(0, 0, 0), &[0.0; 4], &mut []), Ok(()));
        assert_eq!(position_bias_backward::<f32>(bias, span(0, 0, 5), &[], &mut [0.0; 4]), Ok(()));
    }
}
