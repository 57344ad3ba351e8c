//! A tape over the layers of `mixlet_core::nn`: runs them forward, remembers how to go back.

use mixlet_core::nn::*;

/// A value on the tape.
pub type Id = usize;

type Backward = Box<dyn Fn(&[Vec<f32>], &mut [Vec<f32>])>;

#[derive(Default)]
pub struct Tape {
    values: Vec<Vec<f32>>,
    backward: Vec<Backward>,
}

/// Attention over a batch of sequences of one length.
#[derive(Clone)]
pub struct BatchAttention {
    pub shape: AttentionShape,
    pub scale: f64,
    pub pattern: Pattern,
    /// `[batch, keys]`.
    pub key_mask: Option<Vec<bool>>,
}

impl Tape {
    pub fn leaf(&mut self, values: &[f32]) -> Id {
        self.values.push(values.to_vec());
        self.values.len() - 1
    }

    pub fn value(&self, id: Id) -> &[f32] {
        &self.values[id]
    }

    fn push(&mut self, values: Vec<f32>, backward: impl Fn(&[Vec<f32>], &mut [Vec<f32>]) + 'static) -> Id {
        self.values.push(values);
        self.backward.push(Box::new(backward));
        self.values.len() - 1
    }

    /// The gradients of all values, from that of the last one.
    pub fn gradients(&self, last: Id, grad: &[f32]) -> Vec<Vec<f32>> {
        let mut grads: Vec<Vec<f32>> = self.values.iter().map(|values| vec![0.0; values.len()]).collect();
        grads[last].copy_from_slice(grad);
        self.backward.iter().rev().for_each(|backward| backward(&self.values, &mut grads));
        grads
    }

    pub fn embedding(&mut self, embedding: Embedding, ids: &[u32], table: Id) -> Id {
        let (mut out, ids) = (vec![f32::NAN; ids.len() * embedding.model_dim], ids.to_vec());
        embedding_forward(embedding, &ids, &self.values[table], &mut out).unwrap();
        let here = self.values.len();
        self.push(out, move |_, grads| {
            let grad_out = std::mem::take(&mut grads[here]);
            embedding_backward(embedding, &ids, &grad_out, &mut grads[table]).unwrap();
        })
    }

    pub fn rms_norm(&mut self, norm: RmsNorm, x: Id, weight: Id) -> Id {
        let width = self.values[weight].len();
        let shape = NormShape { rows: self.values[x].len() / width, width };
        let (mut out, mut inverse_rms) = (vec![f32::NAN; shape.len()], vec![f32::NAN; shape.rows]);
        rms_norm_forward(norm, shape, &self.values[x], &self.values[weight], &mut out, &mut inverse_rms)
            .unwrap();
        let here = self.values.len();
        self.push(out, move |values, grads| {
            let cache = RmsNormCache { x: &values[x], weight: &values[weight], inverse_rms: &inverse_rms };
            let (grad_out, mut grad_x) = (std::mem::take(&mut grads[here]), vec![f32::NAN; shape.len()]);
            rms_norm_backward(norm, shape, cache, &grad_out, &mut grad_x, &mut grads[weight]).unwrap();
            add_to(&mut grads[x], &grad_x);
        })
    }

    /// `out[t] = weight · x[t]`, `weight` `[outputs, inputs]`.
    pub fn linear(&mut self, x: Id, weight: Id, inputs: usize) -> Id {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let rows = |x: &[f32]| self.values[weight].chunks(inputs).map(|row| dot(row, x)).collect::<Vec<_>>();
        let out = self.values[x].chunks(inputs).flat_map(rows).collect();
        let here = self.values.len();
        self.push(out, move |values, grads| {
            let grad_out = std::mem::take(&mut grads[here]);
            let outputs = values[weight].len() / inputs;
            for (token, grad_out) in grad_out.chunks(outputs).enumerate() {
                let of_token = token * inputs..(token + 1) * inputs;
                for (nth, grad) in grad_out.iter().enumerate() {
                    let of_row = nth * inputs..(nth + 1) * inputs;
                    add_times(&mut grads[x][of_token.clone()], *grad, &values[weight][of_row.clone()]);
                    add_times(&mut grads[weight][of_row], *grad, &values[x][of_token.clone()]);
                }
            }
        })
    }

    pub fn relu(&mut self, x: Id) -> Id {
        let out = self.values[x].iter().map(|x| x.max(0.0)).collect();
        let here = self.values.len();
        self.push(out, move |values, grads| {
            let grad_out = std::mem::take(&mut grads[here]);
            let passed = grad_out.iter().zip(&values[x]).map(|(grad, x)| if *x > 0.0 { *grad } else { 0.0 });
            add_to(&mut grads[x], &passed.collect::<Vec<_>>());
        })
    }

    pub fn add(&mut self, a: Id, b: Id) -> Id {
        let out = self.values[a].iter().zip(&self.values[b]).map(|(a, b)| a + b).collect();
        let here = self.values.len();
        self.push(out, move |_, grads| {
            let grad_out = std::mem::take(&mut grads[here]);
            [a, b].iter().for_each(|id| add_to(&mut grads[*id], &grad_out));
        })
    }

    pub fn position_bias(&mut self, bias: PositionBias, span: Span, table: Id) -> Id {
        let mut line = vec![f32::NAN; bias.heads * span.distances()];
        position_bias_forward(bias, span, &self.values[table], &mut line).unwrap();
        let here = self.values.len();
        self.push(line, move |_, grads| {
            let grad_line = std::mem::take(&mut grads[here]);
            position_bias_backward(bias, span, &grad_line, &mut grads[table]).unwrap();
        })
    }

    pub fn attention(&mut self, attention: &BatchAttention, [q, k, v]: [Id; 3], bias: Option<Id>) -> Id {
        let shape = attention.shape;
        let batch = self.values[q].len() / shape.q_len();
        let (mut out, mut log_sums) = (vec![f32::NAN; batch * shape.out_len()], Vec::new());
        let mut scratch = vec![f32::NAN; attention_forward_scratch_len(shape)];
        for (nth, out) in out.chunks_mut(shape.out_len()).enumerate() {
            let mut of_sequence = vec![f32::NAN; shape.log_sums_len()];
            let sequence = attention.sequence(&self.values, [q, k, v], bias, nth);
            attention_forward(&sequence, out, &mut of_sequence, &mut scratch).unwrap();
            log_sums.push(of_sequence);
        }
        let (attention, here) = (attention.clone(), self.values.len());
        self.push(out, move |values, grads| {
            let grad_out = std::mem::take(&mut grads[here]);
            let [mut grad_q, mut grad_k, mut grad_v] =
                [q, k, v].map(|id| vec![f32::NAN; values[id].len() / batch]);
            let mut scratch = vec![f32::NAN; attention_backward_scratch_len(shape)];
            for (nth, grad_out) in grad_out.chunks(shape.out_len()).enumerate() {
                let sequence = attention.sequence(values, [q, k, v], bias, nth);
                let of_sequence = AttentionGrads {
                    q: &mut grad_q,
                    k: &mut grad_k,
                    v: &mut grad_v,
                    distance_bias: bias.map(|bias| &mut grads[bias][..]),
                    sinks: None,
                };
                attention_backward(&sequence, &log_sums[nth], grad_out, of_sequence, &mut scratch).unwrap();
                for (id, grad) in [(q, &grad_q), (k, &grad_k), (v, &grad_v)] {
                    add_to(&mut grads[id][nth * grad.len()..][..grad.len()], grad);
                }
            }
        })
    }
}

impl BatchAttention {
    fn sequence<'a>(
        &'a self,
        values: &'a [Vec<f32>],
        [q, k, v]: [Id; 3],
        bias: Option<Id>,
        nth: usize,
    ) -> Attention<'a, f32> {
        let part = |id: Id, len: usize| &values[id][nth * len..][..len];
        let keys = self.shape.span.keys;
        let key_mask = self.key_mask.as_ref().map(|mask| &mask[nth * keys..][..keys]);
        Attention {
            shape: self.shape,
            scale: self.scale,
            visibility: Visibility { pattern: self.pattern, key_mask, segments: None },
            q: part(q, self.shape.q_len()),
            k: part(k, self.shape.k_len()),
            v: part(v, self.shape.v_len()),
            distance_bias: bias.map(|bias| &values[bias][..]),
            sinks: None,
        }
    }
}

fn add_to(out: &mut [f32], values: &[f32]) {
    add_times(out, 1.0, values);
}

fn add_times(out: &mut [f32], factor: f32, values: &[f32]) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out += factor * value);
}
