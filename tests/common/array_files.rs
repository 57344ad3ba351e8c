//! Files of arrays, byte by byte.

/// An idx file of bytes.
pub fn idx(lengths: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, u8::try_from(lengths.len()).unwrap()];
    lengths.iter().for_each(|length| bytes.extend(length.to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// A `.npy` file as numpy writes it: the header ends with a line end, at a multiple of 64 bytes.
pub fn npy(version: u8, descr: &str, fortran: bool, shape: &str, values: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    let before = bytes.len() + if version == 1 { 2 } else { 4 };
    let len = (before + text.len() + 1).next_multiple_of(64) - before;
    match version {
        1 => bytes.extend(u16::try_from(len).unwrap().to_le_bytes()),
        _ => bytes.extend(u32::try_from(len).unwrap().to_le_bytes()),
    }
    bytes.extend(format!("{text:<width$}\n", width = len - 1).bytes());
    bytes.extend(values);
    bytes
}
