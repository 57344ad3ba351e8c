//! What must hold of a configuration whatever it was read from.

use super::{Attention, Block, ModelConfig, Positions};
use crate::error::ConfigProblem;

impl ModelConfig {
    /// The configuration, if its parts go together.
    pub fn check(self) -> Result<Self, ConfigProblem> {
        let layers = self.encoder.iter().chain([&self.decoder]).flat_map(|stack| &stack.layers);
        for block in layers.flat_map(|layer| &layer.blocks) {
            match block {
                Block::Attention(attention) | Block::CrossAttention(attention) => {
                    self.check_heads(attention)?
                }
                Block::Dense(_) => {}
                Block::Experts(experts) => {
                    experts.router.check()?;
                }
            }
        }
        for id in self.ids.pad.iter().chain(&self.ids.end).chain(&self.ids.decoder_start) {
            if *id as usize >= self.vocab {
                let expected = format!("more than the special id {id}");
                return Err(value("vocab_size", self.vocab, &expected));
            }
        }
        Ok(self)
    }

    fn check_heads(&self, attention: &Attention) -> Result<(), ConfigProblem> {
        let Attention { heads, kv_heads, head_dim, .. } = *attention;
        if !heads.is_multiple_of(kv_heads) {
            return Err(value("num_key_value_heads", kv_heads, &format!("a divisor of the {heads} heads")));
        }
        match self.positions {
            Positions::Rotary(rotary)
                if !rotary.width.is_multiple_of(2) || rotary.start + rotary.width > head_dim =>
            {
                Err(value("head_dim", head_dim, "an even number"))
            }
            _ => Ok(()),
        }
    }
}

fn value(key: &'static str, found: usize, expected: &str) -> ConfigProblem {
    ConfigProblem::Value { key, found: found.to_string(), expected: expected.to_owned() }
}
