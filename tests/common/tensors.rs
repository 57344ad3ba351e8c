//! Files of named tensors (safetensors): eight bytes of length, a JSON header, the values.

use std::collections::BTreeMap;
use std::path::Path;

/// A tensor; integers and `f64` are rounded to `f32`, exactly where they are small.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

pub type Tensors = BTreeMap<String, Tensor>;

pub fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let body = &bytes[8 + header_len..];
    let numbers =
        |value: &serde_json::Value| -> Vec<usize> { serde_json::from_value(value.clone()).unwrap() };
    let tensor = |facts: &serde_json::Value| {
        let range = numbers(&facts["data_offsets"]);
        let data = &body[range[0]..range[1]];
        let values = match facts["dtype"].as_str().unwrap() {
            "F32" => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            "F64" => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
            "I64" => data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as f32).collect(),
            other => panic!("{other}"),
        };
        Tensor { shape: numbers(&facts["shape"]), values }
    };
    let entries = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    entries.map(|(name, facts)| (name.clone(), tensor(facts))).collect()
}
