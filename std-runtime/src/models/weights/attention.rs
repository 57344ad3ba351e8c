//! The parameters of attention.

use super::{Build, Linear, TensorSource};
use crate::error::Result;
use crate::models::config::{Attention, Latent, QkNorm};

/// The parameters of attention.
#[derive(Debug)]
pub struct AttentionWeights {
    /// To queries, keys and values.
    pub projection: Projection,
    /// Back to the model's width.
    pub out: Linear,
    /// The norms of queries and keys.
    pub qk_norms: Option<[Vec<f32>; 2]>,
    /// `[buckets, heads]`: biases by distance.
    pub relative: Option<Vec<f32>>,
    /// `[heads]`: scores of the places without a value.
    pub sinks: Option<Vec<f32>>,
}

/// How a token becomes queries, keys and values.
#[derive(Debug)]
pub enum Projection {
    /// By a matrix each: queries, keys, values.
    Plain(Box<[Linear; 3]>),
    /// Through low ranks.
    Latent(Box<LatentWeights>),
}

/// Projections through low ranks (DeepSeek-V3).
#[derive(Debug)]
pub struct LatentWeights {
    /// To the queries.
    pub query: LatentQuery,
    /// `[kv_rank + rotary_dim, model_dim]`.
    pub down: Linear,
    /// `[kv_rank]`.
    pub norm: Vec<f32>,
    /// `[heads · (head_dim − rotary_dim + value_dim), kv_rank]`.
    pub up: Linear,
}

/// How a token becomes queries there.
#[derive(Debug)]
pub enum LatentQuery {
    /// By one matrix.
    Plain(Linear),
    /// By two, with a norm between them.
    Low {
        /// `[q_rank, model_dim]`.
        down: Linear,
        /// `[q_rank]`.
        norm: Vec<f32>,
        /// `[heads · head_dim, q_rank]`.
        up: Linear,
    },
}

impl<S: TensorSource> Build<'_, S> {
    pub(super) fn attention(&mut self, attention: &Attention, prefix: &str) -> Result<AttentionWeights> {
        let (model_dim, names) = (self.config.model_dim, self.names);
        let [q, k, v, out] = names.projections.map(|name| format!("{prefix}{name}"));
        let projection = match attention.latent {
            Some(latent) => Projection::Latent(Box::new(self.latent(attention, latent, (prefix, &q))?)),
            None => {
                let mut to = |name: &str, width| self.linear(name, [width, model_dim], attention.in_bias);
                let (q, k) = (to(&q, attention.q_width())?, to(&k, attention.k_width())?);
                Projection::Plain(Box::new([q, k, to(&v, attention.v_width())?]))
            }
        };
        let relative = attention.relative.filter(|relative| relative.own_table);
        let relative = relative.map(|relative| {
            self.table(&format!("{prefix}{}", names.relative), [relative.buckets, attention.heads])
        });
        let sinks =
            attention.sinks.then(|| self.vector(&format!("{prefix}{}", names.sinks), attention.heads));
        Ok(AttentionWeights {
            projection,
            out: self.linear(&out, [model_dim, attention.out_width()], attention.out_bias)?,
            qk_norms: self.qk_norms(attention, prefix)?,
            relative: relative.transpose()?,
            sinks: sinks.transpose()?,
        })
    }

    fn qk_norms(&mut self, attention: &Attention, prefix: &str) -> Result<Option<[Vec<f32>; 2]>> {
        let [q, k] = match attention.qk_norm {
            None => return Ok(None),
            Some(QkNorm::Heads) => [attention.head_dim; 2],
            Some(QkNorm::Token) => [attention.q_width(), attention.k_width()],
        };
        let [q_name, k_name] = self.names.qk_norms.map(|name| format!("{prefix}{name}.weight"));
        Ok(Some([self.vector(&q_name, q)?, self.vector(&k_name, k)?]))
    }

    fn latent(
        &mut self,
        attention: &Attention,
        latent: Latent,
        (prefix, plain_query): (&str, &str),
    ) -> Result<LatentWeights> {
        let model_dim = self.config.model_dim;
        let Latent { q_rank, kv_rank, rotary_dim } = latent;
        let [q_down, q_norm, q_up, down, norm, up] = self.names.latent.map(|name| format!("{prefix}{name}"));
        let query = match q_rank {
            None => LatentQuery::Plain(self.linear(plain_query, [attention.q_width(), model_dim], false)?),
            Some(rank) => LatentQuery::Low {
                down: self.linear(&q_down, [rank, model_dim], false)?,
                norm: self.vector(&format!("{q_norm}.weight"), rank)?,
                up: self.linear(&q_up, [attention.q_width(), rank], false)?,
            },
        };
        let expanded = attention.heads * (attention.head_dim - rotary_dim + attention.value_dim);
        Ok(LatentWeights {
            query,
            down: self.linear(&down, [kv_rank + rotary_dim, model_dim], false)?,
            norm: self.vector(&format!("{norm}.weight"), kv_rank)?,
            up: self.linear(&up, [expanded, kv_rank], false)?,
        })
    }
}
