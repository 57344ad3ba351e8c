//! What routes are of: the sizes of a model, and the weights of its routers.

use crate::models::Model;
use crate::models::config::{Block, Stack};
use crate::models::weights::{InnerWeights, StackWeights};

/// Two sums: models of the same sizes have the first in common, and with it those made from each other by rounding all but their
/// routers the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of the architecture, the sizes and the places of the mixtures.
    pub model: u64,
    /// Of the routers' weights and biases, as numbers.
    pub routers: u64,
}

impl Fingerprint {
    /// That of a model.
    pub fn of(model: &Model) -> Self {
        let config = &model.config;
        let mut sum = Sum::default();
        sum.bytes(config.architecture.title().as_bytes());
        let stacks = [config.encoder.as_ref(), Some(&config.decoder)];
        [config.vocab, config.model_dim].into_iter().for_each(|size| sum.number(size));
        stacks.into_iter().for_each(|stack| sum.sizes(stack));
        let mut routers = Sum::default();
        let stacks = [model.weights.encoder.as_ref(), Some(&model.weights.decoder)];
        stacks.into_iter().flatten().for_each(|stack| routers.routers(stack));
        Self { model: sum.0, routers: routers.0 }
    }
}

/// The FNV-1a sum of bytes, 64 bits (draft-eastlake-fnv).
struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    fn bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }

    fn number(&mut self, number: usize) {
        self.bytes(&(number as u64).to_le_bytes());
    }

    fn sizes(&mut self, stack: Option<&Stack>) {
        let layers = stack.map_or(&[][..], |stack| &stack.layers);
        self.number(layers.len());
        for (nth, layer) in layers.iter().enumerate() {
            for block in &layer.blocks {
                if let Block::Experts(experts) = block {
                    let top_k = experts.router.policy.top_k().unwrap_or(0);
                    let sizes =
                        [nth, experts.router.experts as usize, top_k as usize, experts.network.ffn_dim];
                    sizes.into_iter().for_each(|size| self.number(size));
                }
            }
        }
    }

    fn routers(&mut self, stack: &StackWeights) {
        for weights in stack.layers.iter().flatten() {
            if let InnerWeights::Experts(experts) = &weights.inner {
                let numbers = experts.router.iter().chain(&experts.router_bias).chain(&experts.choice_bias);
                numbers.for_each(|number| self.bytes(&number.to_bits().to_le_bytes()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_published_vectors() {
        let cases =
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)];
        for (text, expected) in cases {
            let mut sum = Sum::default();
            sum.bytes(text.as_bytes());
            assert_eq!(sum.0, expected, "{text}");
        }
    }
}
