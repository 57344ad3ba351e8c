//! The header of a safetensors file: eight bytes of length, a JSON object, then the values of one tensor after the other.

use std::collections::BTreeMap;

use safetensors::tensor::TensorInfo;
use serde_json::Value;

use crate::error::TensorProblem;

/// Bytes of the length that a file begins with.
pub const LENGTH_BYTES: u64 = 8;
/// Bytes that a header has at most, as in the format's own reader.
const MOST_BYTES: u64 = 100_000_000;

/// The tensors by name, and where the values begin.
///
/// The values of a tensor begin where those of the one before end, the last ones end with the file: whatever overlaps, is
/// cut short or left over is an error. Memory is taken for what the file holds, not for what it claims.
pub fn read(bytes: &[u8]) -> Result<(BTreeMap<String, TensorInfo>, usize), TensorProblem> {
    let truncated = |expected| TensorProblem::Truncated { found: bytes.len() as u64, expected };
    let (length, rest) = bytes.split_first_chunk().ok_or(truncated(LENGTH_BYTES))?;
    let length = u64::from_le_bytes(*length);
    if length > MOST_BYTES {
        return Err(TensorProblem::HeaderTooLong { found: length, limit: MOST_BYTES });
    }
    let (header, values) = rest.split_at_checked(length as usize).ok_or(truncated(LENGTH_BYTES + length))?;
    let damaged = |error: serde_json::Error| TensorProblem::Header { reason: error.to_string() };
    let mut entries: BTreeMap<String, Value> = serde_json::from_slice(header).map_err(damaged)?;
    entries.remove("__metadata__");
    let info = |(name, value)| Ok((name, serde_json::from_value::<TensorInfo>(value).map_err(damaged)?));
    let tensors = entries.into_iter().map(info).collect::<Result<BTreeMap<_, _>, TensorProblem>>()?;
    check(&tensors, values.len() as u64).map_err(|problem| match problem {
        TensorProblem::Truncated { expected, .. } => {
            truncated(expected.saturating_add(LENGTH_BYTES + length))
        }
        problem => problem,
    })?;
    Ok((tensors, (LENGTH_BYTES + length) as usize))
}

/// What the header of a file that [`read`] takes says besides: names and texts.
pub fn metadata(bytes: &[u8]) -> BTreeMap<String, String> {
    #[derive(Default, serde::Deserialize)]
    struct Header {
        #[serde(default, rename = "__metadata__")]
        metadata: BTreeMap<String, String>,
    }
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let header = bytes.get(LENGTH_BYTES as usize..(LENGTH_BYTES + length) as usize).unwrap_or_default();
    serde_json::from_slice::<Header>(header).unwrap_or_default().metadata
}

/// Checks that the tensors cover the values, each by as many bytes as its shape needs.
fn check(tensors: &BTreeMap<String, TensorInfo>, values: u64) -> Result<(), TensorProblem> {
    let mut order: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    order.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    for (name, info) in order {
        let (start, stop) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        if start != end {
            return Err(TensorProblem::Offset { name: name.clone(), found: start, expected: end });
        }
        let (found, expected) = (stop.saturating_sub(start), bytes_of(info));
        if expected != Some(found) || stop < start {
            return Err(TensorProblem::Bytes { name: name.clone(), found, expected });
        }
        end = stop;
    }
    if end > values {
        return Err(TensorProblem::Truncated { found: values, expected: end });
    }
    if end < values {
        let reason = format!("{} bytes after the last tensor", values - end);
        return Err(TensorProblem::Header { reason });
    }
    Ok(())
}

/// Bytes of a shape; none if they cannot be counted or are no whole number.
fn bytes_of(info: &TensorInfo) -> Option<u64> {
    let elements = info.shape.iter().try_fold(1_u64, |product, side| product.checked_mul(*side as u64))?;
    let bits = elements.checked_mul(info.dtype.bitsize() as u64)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, values: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + values, 0);
        bytes
    }

    fn tensor(shape: &str, range: &str) -> String {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":{range}}}"#)
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let one = |shape, range, values| file(&format!(r#"{{"a":{}}}"#, tensor(shape, range)), values);
        let two = |first, second, values| {
            file(&format!(r#"{{"a":{},"b":{}}}"#, tensor("[1]", first), tensor("[1]", second)), values)
        };
        let cases = [
            (vec![0; 3], "3 bytes, expected at least 8; copy the file again"),
            (
                vec![255; 9],
                "a header of 18446744073709551615 bytes, expected at most 100000000; is it a safetensors file?",
            ),
            (file("{}", 0)[..9].to_vec(), "9 bytes, expected at least 10; copy the file again"),
            (file("[]", 0), "damaged header (`invalid type: sequence, expected a map at line 1 column 0`)"),
            (
                file(r#"{"a":1}"#, 0),
                "damaged header (`invalid type: integer `1`, expected struct TensorInfo`)",
            ),
            (one("[2]", "[0,8]", 7), "69 bytes, expected at least 70; copy the file again"),
            (one("[2]", "[0,8]", 9), "damaged header (`1 bytes after the last tensor`)"),
            (one("[2]", "[0,4]", 4), "`a` has 4 bytes, expected 8 by its shape"),
            (one("[2]", "[8,0]", 8), "`a` begins at byte 8 of the values, expected 0; copy the file again"),
            (one("[4294967296,4294967296,8]", "[0,8]", 8), "`a` has 8 bytes, and a shape beyond any memory"),
            (two("[0,4]", "[0,4]", 8), "`b` begins at byte 0 of the values, expected 4; copy the file again"),
            (
                two("[0,4]", "[8,12]", 12),
                "`b` begins at byte 8 of the values, expected 4; copy the file again",
            ),
        ];
        for (bytes, message) in cases {
            assert_eq!(read(&bytes).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn tensors_are_found_behind_the_header() {
        let header = format!(
            r#"{{"__metadata__":{{"format":"pt"}},"b":{},"a":{}}}"#,
            tensor("[]", "[0,4]"),
            tensor("[0]", "[4,4]")
        );
        let (tensors, start) = read(&file(&header, 4)).unwrap();
        assert_eq!((tensors.len(), start), (2, 8 + header.len()));
        assert_eq!(metadata(&file(&header, 4))["format"], "pt");
        assert_eq!(tensors["b"].data_offsets, (0, 4));
    }
}
