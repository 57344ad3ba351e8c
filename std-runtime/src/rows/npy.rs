//! Arrays that numpy saved: `.npy`, versions 1 to 3, rows first.
//!
//! Truth values are bits; whole numbers are bits or codes; any number is a bit where a threshold is given.
//! Not-a-number is a missing value.

mod header;

use std::fmt::Write as _;
use std::path::Path;

use super::draft::Draft;
use super::layout::{Beside, Layout};
use super::{
    ArrayProblem, Bits, Cells, Columns, Labels, ReadOptions, Rows, array_error, array_layout, draft_for,
};
use crate::error::{Result, ValueProblem};
use crate::table::Progress;
use crate::table::input::Input;
use header::{Element, Header};

/// What every `.npy` file starts with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Rows read at a time hold about so many bytes.
const CHUNK: usize = 1 << 16;

/// Reads rows; dimensions after the first are flattened.
pub(super) fn read(
    path: &Path,
    mut input: Input,
    columns: Option<&Columns>,
    options: &ReadOptions,
    progress: Progress<'_>,
) -> Result<Rows> {
    let fail = |problem| array_error(path, problem);
    let header = Header::read(path, &mut input)?;
    let width = header.row_len().map_err(fail)?;
    if header.shape.len() < 2 {
        let problem =
            ArrayProblem::Dimensions { found: header.shape.len(), expected: "2 or more, rows first" };
        return Err(fail(problem));
    }
    let layout = array_layout(path, columns, width, options)?;
    let mut beside = Beside::default();
    let mut source = Source { path, input: &mut input, header: &header, layout: &layout };
    let (columns, cells) = match options.threshold {
        Some(threshold) => {
            let bits = read_bits(&mut source, threshold, &mut beside, progress)?;
            (columns.cloned().unwrap_or_else(|| Columns::binary_with(layout.numbers())), Cells::Bits(bits))
        }
        None => {
            let mut draft = draft_for(columns, layout.numbers(), options.family);
            read_codes(&mut source, &mut draft, &mut beside, progress)?;
            draft.finish()
        }
    };
    let picture = match *header.shape.as_slice() {
        [_, height, across] if layout.is_all(width) => Some((height, across)),
        _ => None,
    };
    let (truth, weights) = beside.finish(&layout);
    Ok(Rows { picture, truth, weights, threshold: options.threshold, ..Rows::of(columns, cells) })
}

/// Reads classes, one per row; not-a-number is none.
pub(super) fn read_labels(path: &Path, mut input: Input) -> Result<Labels> {
    let header = Header::read(path, &mut input)?;
    if header.row_len().map_err(|problem| array_error(path, problem))? != 1 {
        let problem = ArrayProblem::Dimensions { found: header.shape.len(), expected: "1, a class per row" };
        return Err(array_error(path, problem));
    }
    let mut draft = Draft::new(vec!["class".to_owned()], Some(super::Family::Categorical));
    let layout = Layout { places: vec![0], truth: None, weights: None };
    let mut source = Source { path, input: &mut input, header: &header, layout: &layout };
    read_codes(&mut source, &mut draft, &mut Beside::default(), &mut |_, _| {})?;
    Ok(Labels::of_draft(draft))
}

/// Reads how often every row counts, one number per row.
pub(super) fn read_weights(path: &Path, mut input: Input) -> Result<Vec<f64>> {
    let header = Header::read(path, &mut input)?;
    if header.row_len().map_err(|problem| array_error(path, problem))? != 1 {
        let problem = ArrayProblem::Dimensions { found: header.shape.len(), expected: "1, a number per row" };
        return Err(array_error(path, problem));
    }
    let mut weights = Vec::new();
    for_each_row(path, &mut input, &header, &mut |_, _| {}, |_, bytes| {
        weights.push(header.element.weight(bytes, "weight")?);
        Ok(())
    })?;
    Ok(weights)
}

/// An open array behind its header.
struct Source<'s> {
    path: &'s Path,
    input: &'s mut Input,
    header: &'s Header,
    layout: &'s Layout,
}

impl Source<'_> {
    /// Shows the values of every row, and keeps what is known beside them.
    fn each_row(
        &mut self,
        beside: &mut Beside,
        progress: Progress<'_>,
        mut show: impl FnMut(&[u8]) -> Result<(), ValueProblem>,
    ) -> Result<()> {
        let (layout, element) = (self.layout, self.header.element);
        for_each_row(self.path, self.input, self.header, progress, |_, row| {
            let value = |place: usize| &row[place * element.len()..][..element.len()];
            show(row)?;
            if let Some(place) = layout.truth {
                let class = element.code(value(place), || place.to_string())?;
                beside.truth.push(class.map(|class| class.to_string()));
            }
            if let Some(place) = layout.weights {
                beside.weights.push(element.weight(value(place), &place.to_string())?);
            }
            Ok(())
        })
    }
}

/// A bit per number: whether it is above the threshold.
fn read_bits(
    source: &mut Source<'_>,
    threshold: f64,
    beside: &mut Beside,
    progress: Progress<'_>,
) -> Result<Bits> {
    let (element, layout) = (source.header.element, source.layout);
    let mut bits = Bits::new(layout.places.len());
    source.each_row(beside, progress, |row| {
        let numbers = layout.values(row, element.len()).map(|bytes| element.number(bytes));
        bits.push(numbers.map(|value| (!value.is_nan()).then_some(value > threshold)));
        Ok(())
    })?;
    Ok(bits)
}

/// A code per number, which must be whole.
fn read_codes(
    source: &mut Source<'_>,
    draft: &mut Draft,
    beside: &mut Beside,
    progress: Progress<'_>,
) -> Result<()> {
    let (element, layout) = (source.header.element, source.layout);
    let mut text = String::new();
    source.each_row(beside, progress, |row| {
        for (column, bytes) in layout.values(row, element.len()).enumerate() {
            match element.code(bytes, || draft.name(column).to_owned())? {
                Some(number) => {
                    text.clear();
                    // Writing to a text cannot fail.
                    let _ = write!(text, "{number}");
                    draft.add(text.as_bytes())?;
                }
                None => draft.add_missing(),
            }
        }
        draft.end_row();
        Ok(())
    })
}

/// Shows every row, and makes sure that the file ends where it should.
fn for_each_row(
    path: &Path,
    input: &mut Input,
    header: &Header,
    progress: Progress<'_>,
    mut show: impl FnMut(usize, &[u8]) -> Result<(), ValueProblem>,
) -> Result<()> {
    let rows = header.shape.first().copied().unwrap_or(0);
    let width = header.row_len().map_err(|problem| array_error(path, problem))?;
    let row_len = width * header.element.len();
    let expected = (rows as u64).saturating_mul(row_len as u64).saturating_add(header.len);
    let mut buffer = vec![0; row_len * (CHUNK / row_len.max(1)).clamp(1, rows.max(1))];
    let (mut found, mut row) = (header.len, 0);
    while found < expected {
        let wanted = (expected - found).min(buffer.len() as u64) as usize;
        let space = buffer.get_mut(..wanted).unwrap_or(&mut []);
        let len = input.read(path, space)?;
        found += len as u64;
        if len < wanted {
            return Err(array_error(path, ArrayProblem::Truncated { found, expected }));
        }
        for bytes in space.chunks_exact(row_len) {
            show(row, bytes).map_err(|problem| array_error(path, ArrayProblem::Value { row, problem }))?;
            row += 1;
        }
        progress(input.bytes_read(), input.bytes_total());
    }
    match input.read(path, &mut [0])? {
        0 => Ok(()),
        _ => Err(array_error(path, ArrayProblem::TooLong { expected })),
    }
}

impl Element {
    /// A value as a code; none where it is missing. Errors say in which column, by its name.
    fn code(self, bytes: &[u8], column: impl Fn() -> String) -> Result<Option<i128>, ValueProblem> {
        if let Some(number) = self.whole(bytes) {
            return Ok(Some(number));
        }
        match self.number(bytes) {
            missing if missing.is_nan() => Ok(None),
            value => Err(ValueProblem::NotWhole { column: column(), value }),
        }
    }

    /// A value as how often a row counts.
    fn weight(self, bytes: &[u8], column: &str) -> Result<f64, ValueProblem> {
        match self.number(bytes) {
            weight if (0.0..f64::INFINITY).contains(&weight) => Ok(weight),
            value => Err(ValueProblem::NotAWeight { column: column.to_owned(), value }),
        }
    }

    /// A value as a number.
    fn number(self, bytes: &[u8]) -> f64 {
        match (self, bytes) {
            (Self::F4, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            (Self::F8, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => self.whole(bytes).map_or(f64::NAN, |number| number as f64),
        }
    }

    /// A value as a whole number; none where it is none.
    fn whole(self, bytes: &[u8]) -> Option<i128> {
        match (self, bytes) {
            (Self::Bool, &[byte]) => Some(i128::from(byte != 0)),
            (Self::U1, &[byte]) => Some(byte.into()),
            (Self::I1, &[byte]) => Some(byte.cast_signed().into()),
            (Self::U2, &[a, b]) => Some(u16::from_le_bytes([a, b]).into()),
            (Self::I2, &[a, b]) => Some(i16::from_le_bytes([a, b]).into()),
            (Self::U4, &[a, b, c, d]) => Some(u32::from_le_bytes([a, b, c, d]).into()),
            (Self::I4, &[a, b, c, d]) => Some(i32::from_le_bytes([a, b, c, d]).into()),
            (Self::U8, &[a, b, c, d, e, f, g, h]) => {
                Some(u64::from_le_bytes([a, b, c, d, e, f, g, h]).into())
            }
            (Self::I8, &[a, b, c, d, e, f, g, h]) => {
                Some(i64::from_le_bytes([a, b, c, d, e, f, g, h]).into())
            }
            (Self::F4 | Self::F8, _) => {
                let number = self.number(bytes);
                // Beyond 2^53 neighbours are not told apart: such numbers are no codes.
                let is_whole = number.fract() == 0.0 && number.abs() <= (1u64 << 53) as f64;
                is_whole.then_some(number as i128)
            }
            _ => None,
        }
    }
}
