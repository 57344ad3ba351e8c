//! Which queries see which keys.

use core::ops::Range;

use super::Span;
use crate::nn::error::check_length;
use crate::nn::{NnError, Real};

/// Which keys a query may see by position alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Pattern {
    /// All: encoders and cross attention.
    #[default]
    Full,
    /// Its own position and those before it.
    Causal,
    /// Its own position and the `n − 1` before it (Mistral, GPT-OSS).
    Window(usize),
}

/// Sequences packed into one: a query sees keys of its own segment only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments<'a> {
    /// `[queries]`.
    pub queries: &'a [u32],
    /// `[keys]`.
    pub keys: &'a [u32],
}

/// Which queries see which keys: all conditions must hold. A query that sees nothing gets zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visibility<'a> {
    /// By position.
    pub pattern: Pattern,
    /// `[keys]`: false for padding.
    pub key_mask: Option<&'a [bool]>,
    /// By segment.
    pub segments: Option<Segments<'a>>,
}

impl Visibility<'_> {
    pub(super) fn check(&self, span: Span) -> Result<(), NnError> {
        if let Some(mask) = self.key_mask {
            check_length("key mask", mask.len(), span.keys)?;
        }
        if let Some(segments) = self.segments {
            check_length("segments of the queries", segments.queries.len(), span.queries)?;
            check_length("segments of the keys", segments.keys.len(), span.keys)?;
        }
        Ok(())
    }

    /// The keys a query may see by position.
    #[inline(always)]
    pub(super) fn range(&self, span: Span, query: usize) -> Range<usize> {
        let end = (span.first_query + query + 1).min(span.keys);
        match self.pattern {
            Pattern::Full => 0..span.keys,
            Pattern::Causal => 0..end,
            Pattern::Window(width) => (span.first_query + query + 1).saturating_sub(width).min(end)..end,
        }
    }

    /// The queries that may see a key by position.
    #[inline(always)]
    pub(super) fn queries(&self, span: Span, key: usize) -> Range<usize> {
        let start = key.saturating_sub(span.first_query).min(span.queries);
        match self.pattern {
            Pattern::Full => 0..span.queries,
            Pattern::Causal => start..span.queries,
            Pattern::Window(width) => {
                start..(key + width).saturating_sub(span.first_query).clamp(start, span.queries)
            }
        }
    }

    /// Sets the scores of keys that the query does not see to −∞; `scores` are those of `keys`.
    #[inline(always)]
    pub(super) fn hide<R: Real>(&self, span: Span, query: usize, keys: Range<usize>, scores: &mut [R]) {
        let seen = self.range(span, query);
        let before = seen.start.saturating_sub(keys.start).min(scores.len());
        let after = seen.end.saturating_sub(keys.start).clamp(before, scores.len());
        scores.get_mut(..before).unwrap_or_default().fill(R::NEG_INFINITY);
        scores.get_mut(after..).unwrap_or_default().fill(R::NEG_INFINITY);
        if let Some(mask) = self.key_mask.and_then(|mask| mask.get(keys.clone())) {
            hide_unless(scores, mask, |visible| *visible);
        }
        if let Some((own, others)) =
            self.segments.and_then(|segments| Some((segments.queries.get(query)?, segments.keys.get(keys)?)))
        {
            hide_unless(scores, others, |segment| segment == own);
        }
    }
}

#[inline(always)]
fn hide_unless<R: Real, T>(scores: &mut [R], facts: &[T], visible: impl Fn(&T) -> bool) {
    for (score, fact) in scores.iter_mut().zip(facts) {
        *score = if visible(fact) { *score } else { R::NEG_INFINITY };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_at_the_query_and_at_the_last_key() {
        let span = |first_query, keys| Span { queries: 3, keys, first_query };
        let cases = [
            (Pattern::Full, span(0, 3), 1, 0..3),
            (Pattern::Causal, span(0, 3), 1, 0..2),
            (Pattern::Causal, span(5, 8), 0, 0..6),
            (Pattern::Causal, span(9, 4), 0, 0..4),
            (Pattern::Window(2), span(0, 3), 0, 0..1),
            (Pattern::Window(2), span(0, 3), 2, 1..3),
            (Pattern::Window(0), span(0, 3), 2, 3..3),
            (Pattern::Window(2), span(9, 4), 0, 4..4),
        ];
        for (pattern, span, query, expected) in cases {
            let visibility = Visibility { pattern, ..Visibility::default() };
            assert_eq!(visibility.range(span, query), expected, "{pattern:?} {span:?} {query}");
            for key in 0..span.keys {
                let sees = visibility.queries(span, key).contains(&query);
                assert_eq!(sees, expected.contains(&key), "{pattern:?} {span:?} {query} {key}");
            }
        }
    }
}
