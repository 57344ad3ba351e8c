//! Embedding: a row of a table for every token.
//!
//! With tied embeddings the same table, transposed, is the output head; T5 then scales the head's input by
//! [`tied_output_scale`]. The scale commutes with the head's product, so it is a setting of the loss
//! ([`CrossEntropy::logit_scale`](super::CrossEntropy::logit_scale)).

use super::NnError;
use super::Real;
use super::error::check_length;
use crate::weights::Weights;

/// A table of `vocab` rows, and the factor its rows are multiplied by on the way in.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Embedding {
    /// Rows of the table.
    pub vocab: usize,
    /// Width of a row.
    pub model_dim: usize,
    /// 1 in T5, Mixtral and most others; `√model_dim` in NLLB.
    pub scale: f64,
}

impl Embedding {
    /// Values of the table.
    pub fn table_len(&self) -> usize {
        self.vocab * self.model_dim
    }

    fn check(&self, ids: &[u32], rows: usize, table: usize) -> Result<(), NnError> {
        check_length("embedded tokens", rows, ids.len() * self.model_dim)?;
        check_length("embedding table", table, self.table_len())?;
        match ids.iter().enumerate().find(|(_, id)| **id as usize >= self.vocab) {
            Some((token, &id)) => Err(NnError::Id { token, id, vocab: self.vocab }),
            None => Ok(()),
        }
    }
}

/// `model_dim^(−½)`: what T5 with tied embeddings multiplies the output head's input by.
///
/// ```
/// assert_eq!(mixlet_core::nn::tied_output_scale(64), 0.125);
/// ```
pub fn tied_output_scale(model_dim: usize) -> f64 {
    1.0 / libm::sqrt(model_dim as f64)
}

/// `out[t] = scale · table[ids[t]]`; `out` is `[tokens, model_dim]`, `table` `[vocab, model_dim]`.
///
/// ```
/// # use mixlet_core::nn::{embedding_forward, Embedding};
/// let embedding = Embedding { vocab: 3, model_dim: 2, scale: 10.0 };
/// let mut out = [f32::NAN; 4];
/// embedding_forward(embedding, &[2, 0], &[0.0, 0.1, 1.0, 1.1, 2.0, 2.1], &mut out)?;
/// assert_eq!(out, [20.0, 21.0, 0.0, 1.0]);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn embedding_forward<R: Real>(
    embedding: Embedding,
    ids: &[u32],
    table: &[R],
    out: &mut [R],
) -> Result<(), NnError> {
    embedding.check(ids, out.len(), table.len())?;
    let (width, scale) = (embedding.model_dim.max(1), R::from_f64(embedding.scale));
    for (out, id) in out.chunks_exact_mut(width).zip(ids) {
        let row = table.chunks_exact(width).nth(*id as usize).unwrap_or_default();
        out.iter_mut().zip(row).for_each(|(out, value)| *out = scale * *value);
    }
    Ok(())
}

/// [`embedding_forward`] with a table in any format weights are stored in: what lies in a file is used as it is.
///
/// ```
/// # use mixlet_core::{half::bf16, matrix::MatRef, nn::{embedding_rows, Embedding}, weights::Weights};
/// let table = [1.0, 2.0, 3.0, 4.0].map(bf16::from_f32);
/// let embedding = Embedding { vocab: 2, model_dim: 2, scale: 0.5 };
/// let mut out = [f32::NAN; 2];
/// embedding_rows(embedding, &[1], Weights::Bf16(MatRef::new(&table, 2, 2).unwrap()), &mut out)?;
/// assert_eq!(out, [1.5, 2.0]);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn embedding_rows(
    embedding: Embedding,
    ids: &[u32],
    table: Weights<'_>,
    out: &mut [f32],
) -> Result<(), NnError> {
    embedding.check(ids, out.len(), table.outputs() * table.inputs())?;
    check_length("a row of the embedding table", table.inputs(), embedding.model_dim)?;
    let scale = f32::from_f64(embedding.scale);
    for (out, id) in out.chunks_exact_mut(embedding.model_dim.max(1)).zip(ids) {
        table.widen(*id as usize, 0, out);
        out.iter_mut().for_each(|value| *value *= scale);
    }
    Ok(())
}

/// `grad_table[ids[t]] += scale · grad_out[t]`, token by token.
///
/// Threads share the work by columns or by ranges of ids, never by tokens, to keep the order of addition.
///
/// ```
/// # use mixlet_core::nn::{Embedding, embedding_backward};
/// let embedding = Embedding { vocab: 2, model_dim: 1, scale: 2.0 };
/// let mut grad_table = [0.5, 0.0];
/// embedding_backward(embedding, &[1, 1], &[1.0, 3.0], &mut grad_table)?;
/// assert_eq!(grad_table, [0.5, 8.0]);
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[inline(always)]
pub fn embedding_backward<R: Real>(
    embedding: Embedding,
    ids: &[u32],
    grad_out: &[R],
    grad_table: &mut [R],
) -> Result<(), NnError> {
    embedding.check(ids, grad_out.len(), grad_table.len())?;
    let (width, scale) = (embedding.model_dim.max(1), R::from_f64(embedding.scale));
    for (grad_out, id) in grad_out.chunks_exact(width).zip(ids) {
        let row = grad_table.chunks_exact_mut(width).nth(*id as usize).unwrap_or_default();
        row.iter_mut().zip(grad_out).for_each(|(grad, value)| *grad += scale * *value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::MatRef;

    #[test]
    fn ids_and_lengths_are_checked() {
        let embedding = Embedding { vocab: 2, model_dim: 1, scale: 1.0 };
        struct Case<'a> {
            ids: &'a [u32],
            table: &'a [f32],
            expected: Result<(), NnError>,
        }
        let length = |what, found, expected| Err(NnError::Length { what, found, expected });
        let cases = [
            Case { ids: &[1, 0], table: &[0.0; 2], expected: Ok(()) },
            Case { ids: &[0, 2], table: &[0.0; 2], expected: Err(NnError::Id { token: 1, id: 2, vocab: 2 }) },
            Case { ids: &[0, 1], table: &[0.0; 3], expected: length("embedding table", 3, 2) },
            Case { ids: &[0], table: &[0.0; 2], expected: length("embedded tokens", 2, 1) },
        ];
        for Case { ids, table, expected } in cases {
            let mut table_grad = [0.0; 3];
            let table_grad = table_grad.get_mut(..table.len()).unwrap();
            assert_eq!(embedding_forward(embedding, ids, table, &mut [0.0; 2]), expected, "{ids:?}");
            let rows = Weights::F32(MatRef::new(table, table.len(), 1).unwrap());
            assert_eq!(embedding_rows(embedding, ids, rows, &mut [0.0; 2]), expected, "{ids:?}");
            assert_eq!(embedding_backward(embedding, ids, &[0.0; 2], table_grad), expected, "{ids:?}");
        }
    }

    #[test]
    fn no_tokens_and_no_width_are_fine() {
        let narrow = Embedding { vocab: 2, model_dim: 0, scale: 1.0 };
        assert_eq!(embedding_forward::<f32>(narrow, &[1], &[], &mut []), Ok(()));
        let empty = Embedding { vocab: 0, model_dim: 4, scale: 1.0 };
        assert_eq!(embedding_forward::<f32>(empty, &[], &[], &mut []), Ok(()));
    }
}
