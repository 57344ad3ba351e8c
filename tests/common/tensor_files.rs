//! Files of named tensors taken apart and put together again, right or wrong.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

/// A tensor as it lies in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct RawTensor {
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub type RawTensors = BTreeMap<String, RawTensor>;

impl RawTensor {
    pub fn of_i64(shape: &[usize], values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: "I64".into(), shape: shape.to_vec(), bytes }
    }

    /// The same numbers in another format of two bytes.
    pub fn narrowed(&self, dtype: &str, narrow: impl Fn(f32) -> [u8; 2]) -> Self {
        assert_eq!(self.dtype, "F32");
        let words = self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        Self { dtype: dtype.into(), shape: self.shape.clone(), bytes: words.flat_map(narrow).collect() }
    }
}

pub fn read(path: &Path) -> RawTensors {
    let bytes = std::fs::read(path).unwrap();
    let (header, body) = split(&bytes);
    let tensor = |facts: &Value| {
        let numbers = |key: &str| -> Vec<usize> { serde_json::from_value(facts[key].clone()).unwrap() };
        let range = numbers("data_offsets");
        let bytes = body[range[0]..range[1]].to_vec();
        RawTensor { dtype: facts["dtype"].as_str().unwrap().into(), shape: numbers("shape"), bytes }
    };
    let tensors = header.iter().filter(|(name, _)| *name != "__metadata__");
    tensors.map(|(name, facts)| (name.clone(), tensor(facts))).collect()
}

/// The header and the values of a file.
pub fn split(bytes: &[u8]) -> (Map<String, Value>, &[u8]) {
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + len]).unwrap(), &bytes[8 + len..])
}

/// A file of a header and values.
pub fn join(header: &Map<String, Value>, body: &[u8]) -> Vec<u8> {
    let header = serde_json::to_vec(header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, body].concat()
}

pub fn write(path: &Path, tensors: &RawTensors) {
    let (mut header, mut body) = (Map::new(), Vec::new());
    for (name, RawTensor { dtype, shape, bytes }) in tensors {
        let range = [body.len(), body.len() + bytes.len()];
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": range }));
        body.extend(bytes);
    }
    std::fs::write(path, join(&header, &body)).unwrap();
}
