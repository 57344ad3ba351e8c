//! Quantised matrices by their definition, one weight at a time.

use mixlet_core::half::f16;

use crate::common::tensor_files::{RawTensor, RawTensors};

/// A matrix of a quantised file: its weights, and the scale of each.
pub struct Wide {
    pub shape: Vec<usize>,
    pub weights: Vec<f32>,
    pub scales: Vec<f32>,
}

pub fn floats(tensor: &RawTensor) -> Vec<f32> {
    match tensor.dtype.as_str() {
        "F32" => tensor.bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        "F16" => tensor.bytes.as_chunks().0.iter().map(|word| f16::from_le_bytes(*word).to_f32()).collect(),
        other => panic!("{other}"),
    }
}

/// The matrix of a name, if the file has it in fewer bits: `value · scale` of the row, or `(nibble − 8) · scale` of the group.
pub fn widened(tensors: &RawTensors, name: &str) -> Option<Wide> {
    let scales = floats(tensors.get(&format!("{name}.scales"))?);
    let mut wide = Wide { shape: Vec::new(), weights: Vec::new(), scales: Vec::new() };
    if let Some(values) = tensors.get(&format!("{name}.int8")) {
        assert_eq!((values.dtype.as_str(), values.shape[0]), ("I8", scales.len()));
        wide.shape = values.shape.clone();
        for (nth, byte) in values.bytes.iter().enumerate() {
            let scale = scales[nth / values.shape[1]];
            wide.weights.push(f32::from(*byte as i8) * scale);
            wide.scales.push(scale);
        }
    } else {
        let values = &tensors[&format!("{name}.int4")];
        assert_eq!(values.dtype, "U8");
        let (outputs, inputs) = (values.shape[0], 2 * values.shape[1]);
        wide.shape = vec![outputs, inputs];
        for output in 0..outputs {
            for input in 0..inputs {
                let (group, place) = (input / 32, input % 32);
                let byte = values.bytes[output * inputs / 2 + group * 16 + place % 16];
                let nibble = if place < 16 { byte & 15 } else { byte >> 4 };
                let scale = scales[output * inputs / 32 + group];
                wide.weights.push((f32::from(nibble) - 8.0) * scale);
                wide.scales.push(scale);
            }
        }
    }
    Some(wide)
}
