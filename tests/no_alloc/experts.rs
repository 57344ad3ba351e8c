//! Experts and products with weights in every format, forward and backward.

use mixlet_core::activation::Activation;
use mixlet_core::half::bf16;
use mixlet_core::linear::{Linear, Operands, Plain, Scratch, linear_backward_weights};
use mixlet_core::matrix::{MatMut, MatRef};
use mixlet_core::moe::experts::{
    Experts, FfnBackward, FfnCache, FfnKind, GroupedRows, experts_backward, experts_forward,
    ffn_backward_scratch_len, ffn_scratch_len,
};

use crate::common::linear::{Format, Stored, numbers};
use crate::common::random::SplitMix;
use crate::without_allocations;

#[test]
fn experts() {
    let (model_dim, ffn_dim, rows) = (64, 96, 90);
    let offsets = [0, 70, 70, 90];
    let kind = FfnKind::Gated(Activation::Silu);
    let mut rng = SplitMix(5);
    let x = numbers(&mut rng, rows * model_dim);
    let grouped = GroupedRows::new(MatRef::new(&x, rows, model_dim).unwrap(), &offsets).unwrap();
    let mut gradients = vec![0.0; 3 * ffn_dim * model_dim];
    for format in Format::ALL {
        let up = Stored::new(format, &numbers(&mut rng, gradients.len()), 3 * ffn_dim, model_dim);
        let down = Stored::new(format, &numbers(&mut rng, gradients.len()), 3 * model_dim, ffn_dim);
        let (up, down) = (Linear::new(up.weights()), Linear::new(down.weights()));
        let experts = Experts::new(3, kind, Some(up), up, down).unwrap();
        let shape = experts.shape(rows);
        let least = ffn_scratch_len(shape).max(ffn_backward_scratch_len(shape));
        let (mut floats, mut halves) = (vec![0.0; least.floats], vec![bf16::ZERO; least.halves]);
        let (mut bytes, mut memory) = (vec![0; least.bytes], vec![0.0; shape.cache_len()]);
        let (mut out, mut grad_x) = (vec![0.0; rows * model_dim], vec![0.0; rows * model_dim]);
        without_allocations("experts", || {
            let mut scratch = Scratch { floats: &mut floats, halves: &mut halves, bytes: &mut bytes };
            for operands in [Operands::Exact, Operands::Rounded] {
                let cache = FfnCache::new(shape, &mut memory).unwrap();
                let out = MatMut::new(&mut out, rows, model_dim).unwrap();
                experts_forward::<Plain>(experts, operands, grouped, cache, out, scratch.lend()).unwrap();
            }
            let cache = FfnCache::new(shape, &mut memory).unwrap();
            let grad_out = MatRef::new(&out, rows, model_dim).unwrap();
            let given = FfnBackward { x: grouped.rows(), cache, grad_out };
            let grad_x = MatMut::new(&mut grad_x, rows, model_dim).unwrap();
            experts_backward::<Plain>(experts, grouped, given, None, grad_x, scratch.lend()).unwrap();
            let grads = MatMut::new(&mut gradients, 3 * ffn_dim, model_dim).unwrap();
            let (grad, x) = (memory.get(..rows * 3 * ffn_dim).unwrap(), grouped.rows());
            let grad = MatRef::new(grad, rows, 3 * ffn_dim).unwrap();
            linear_backward_weights::<Plain>(grad, x, grads, scratch).unwrap();
        });
    }
}
