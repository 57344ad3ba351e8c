//! The header of a `.npy` file: a Python dictionary that says type, order and shape.
//!
//! ```text
//!   93 N U M P Y  major minor  length (2 bytes, from version 2 on 4)  {'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }
//! ```

use std::path::Path;

use super::super::{ArrayProblem, MOST_COLUMNS, array_error};
use super::MAGIC;
use crate::error::Result;
use crate::table::input::Input;

/// Headers longer than this are not those of arrays of numbers.
const MOST_HEADER: usize = 1 << 16;

/// The types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Bool,
    U1,
    I1,
    U2,
    I2,
    U4,
    I4,
    U8,
    I8,
    F4,
    F8,
}

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    pub element: Element,
    pub shape: Vec<usize>,
    /// Bytes before the values.
    pub len: u64,
}

impl Element {
    /// Bytes of a value.
    pub fn len(self) -> usize {
        match self {
            Self::Bool | Self::U1 | Self::I1 => 1,
            Self::U2 | Self::I2 => 2,
            Self::U4 | Self::I4 | Self::F4 => 4,
            Self::U8 | Self::I8 | Self::F8 => 8,
        }
    }

    /// The type with a name, as numpy writes it.
    fn named(descr: &str) -> Option<Self> {
        Some(match descr.strip_prefix(['<', '|']).unwrap_or(descr) {
            "b1" | "?" => Self::Bool,
            "u1" => Self::U1,
            "i1" => Self::I1,
            "u2" => Self::U2,
            "i2" => Self::I2,
            "u4" => Self::U4,
            "i4" => Self::I4,
            "u8" => Self::U8,
            "i8" => Self::I8,
            "f4" => Self::F4,
            "f8" => Self::F8,
            _ => return None,
        })
    }
}

impl Header {
    /// Reads and checks everything before the values.
    pub fn read(path: &Path, input: &mut Input) -> Result<Self> {
        let fail = |problem| array_error(path, problem);
        let mut read = 0;
        let mut take = |input: &mut Input, len: usize| -> Result<Vec<u8>> {
            let mut bytes = vec![0; len];
            let found = input.read(path, &mut bytes)?;
            read += len as u64;
            match found == len {
                true => Ok(bytes),
                false => {
                    let found = read - len as u64 + found as u64;
                    Err(fail(ArrayProblem::Truncated { found, expected: read }))
                }
            }
        };
        take(input, MAGIC.len())?;
        let version = take(input, 2)?;
        let len = match *version.as_slice() {
            [1, 0] => take(input, 2)?.iter().rev().fold(0, |len, &byte| len << 8 | usize::from(byte)),
            [2 | 3, 0] => take(input, 4)?.iter().rev().fold(0, |len, &byte| len << 8 | usize::from(byte)),
            [major, minor] => return Err(fail(ArrayProblem::Version { found: [major, minor] })),
            _ => 0,
        };
        if len > MOST_HEADER {
            return Err(fail(ArrayProblem::Header { found: format!("of {len} bytes") }));
        }
        let text = take(input, len)?;
        let text = String::from_utf8_lossy(&text);
        let (element, shape) = parse(text.trim()).map_err(fail)?;
        Ok(Self { element, shape, len: read })
    }

    /// The product of all lengths but the first.
    pub fn row_len(&self) -> Result<usize, ArrayProblem> {
        let shape = || self.shape.clone();
        if self.shape.is_empty() || self.shape.contains(&0) {
            return Err(ArrayProblem::Empty { shape: shape() });
        }
        let lengths = self.shape.iter().skip(1);
        let product = lengths.copied().try_fold(1usize, usize::checked_mul);
        let len = product.filter(|&len| len <= MOST_COLUMNS);
        len.ok_or_else(|| ArrayProblem::TooLarge { shape: shape() })
    }
}

/// Type and shape out of the dictionary; the order must be row by row.
fn parse(text: &str) -> Result<(Element, Vec<usize>), ArrayProblem> {
    let broken = || ArrayProblem::Header { found: text.to_owned() };
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}'"))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = value("descr").ok_or_else(broken)?;
    let Some(descr) = descr.strip_prefix('\'').and_then(|rest| rest.split('\'').next()) else {
        // Records are lists of types.
        return Err(element_type(descr.split(']').next().unwrap_or(descr)));
    };
    let element = Element::named(descr).ok_or_else(|| element_type(descr))?;
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split(')').next());
    let lengths = shape.ok_or_else(broken)?.split(',').map(str::trim).filter(|length| !length.is_empty());
    let shape: Vec<usize> =
        lengths.map(|length| length.parse().map_err(|_| broken())).collect::<Result<_, _>>()?;
    match value("fortran_order") {
        Some(rest) if rest.starts_with("False") => Ok((element, shape)),
        // One column or one row is stored alike in both orders.
        Some(rest) if rest.starts_with("True") && shape.iter().filter(|&&length| length != 1).count() < 2 => {
            Ok((element, shape))
        }
        Some(rest) if rest.starts_with("True") => Err(ArrayProblem::FortranOrder),
        _ => Err(broken()),
    }
}

fn element_type(found: &str) -> ArrayProblem {
    ArrayProblem::ElementType {
        found: found.to_owned(),
        expected: "truth values, integers of 1 to 8 bytes or floats of 4 or 8, little-endian",
        remedy: "convert it, for instance with array.astype('<f4')",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_spellings_are_read() {
        let cases: [(&str, Element, &[usize]); 5] = [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", Element::F4, &[3, 2]),
            ("{'descr':'|b1','fortran_order':False,'shape':(3,)}", Element::Bool, &[3]),
            ("{'shape': (5, 28, 28), 'fortran_order': False, 'descr': '|u1'}", Element::U1, &[5, 28, 28]),
            ("{'descr': '<i8', 'fortran_order': True, 'shape': (9, 1), }", Element::I8, &[9, 1]),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': ()}", Element::F8, &[]),
        ];
        for (text, element, shape) in cases {
            assert_eq!(parse(text), Ok((element, shape.to_vec())), "{text}");
        }
    }

    #[test]
    fn broken_headers_are_refused() {
        let broken = |text: &str| ArrayProblem::Header { found: text.to_owned() };
        let order = "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }";
        assert_eq!(parse(order), Err(ArrayProblem::FortranOrder));
        for descr in ["'>f4'", "'<c8'", "'|S3'", "'<f2'", "'|O'", "[('a', '<f4')]"] {
            let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (3, 2)}}");
            assert!(matches!(parse(&text), Err(ArrayProblem::ElementType { .. })), "{descr}");
        }
        for text in [
            "",
            "{}",
            "{'descr': '<f4'}",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (3, 2)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': 3}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, -2)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 2)}",
        ] {
            assert_eq!(parse(text), Err(broken(text)));
        }
    }
}
