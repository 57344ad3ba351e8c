//! Pictures in the idx format of the MNIST files: a magic number, lengths, then one byte per pixel.
//!
//! ```text
//!   00 00  type  dimensions   length (big-endian) of each dimension   values, last dimension fastest
//! ```

use std::path::Path;

use super::{ArrayProblem, Bits, Cells, Columns, Family, Labels, ReadOptions, Rows, array_error};
use crate::error::Result;
use crate::table::Progress;
use crate::table::input::Input;

/// What every idx file starts with.
pub(super) const MAGIC: &[u8] = &[0, 0];

/// The type of one unsigned byte.
const BYTES: u8 = 0x08;

/// Rows read at a time hold about so many bytes.
const CHUNK: usize = 1 << 16;

/// What the first bytes say.
struct Shape {
    lengths: Vec<usize>,
    /// Bytes of the header.
    header: u64,
}

/// Reads pictures: one row per picture, a bit per pixel that is brighter than the threshold.
pub(super) fn read(
    path: &Path,
    mut input: Input,
    columns: Option<&Columns>,
    options: &ReadOptions,
    progress: Progress<'_>,
) -> Result<Rows> {
    let fail = |problem| array_error(path, problem);
    let shape = Shape::read(path, &mut input)?;
    let [rows, sides @ ..] = shape.lengths.as_slice() else { return Err(fail(shape.wrong_dimensions())) };
    if sides.is_empty() {
        return Err(fail(shape.wrong_dimensions()));
    }
    let width = shape.row_len(sides).map_err(fail)?;
    if let Some(expected) = columns.map(Columns::len).filter(|&expected| expected != width) {
        return Err(fail(ArrayProblem::Columns { found: width, expected }));
    }
    if options.family == Some(Family::Categorical) && options.threshold.is_none() {
        return shades(path, input, (&shape, width), columns, progress);
    }
    // Bytes are whole numbers: brighter than the threshold is from the next one on.
    let threshold = options.threshold.unwrap_or(0.5) * 255.0;
    let is_bright = |byte: u8| f64::from(byte) > threshold;
    let mut bits = Bits::new(width);
    bits.reserve((*rows).min(input.bytes_total() as usize / width.max(1)));
    for_each_row(path, &mut input, &shape, width, progress, |row| {
        bits.push_all(row, is_bright);
        Ok(())
    })?;
    let columns = columns.cloned().unwrap_or_else(|| Columns::binary(width));
    Ok(shape.rows(columns, Cells::Bits(bits)))
}

/// Reads pictures as they are: a code per shade.
fn shades(
    path: &Path,
    mut input: Input,
    (shape, width): (&Shape, usize),
    columns: Option<&Columns>,
    progress: Progress<'_>,
) -> Result<Rows> {
    let mut draft = super::draft_for(columns, width, Some(Family::Categorical));
    let names: Vec<String> = (0..=u8::MAX).map(|shade| shade.to_string()).collect();
    let mut rows = 0;
    for_each_row(path, &mut input, shape, width, progress, |row| {
        for &shade in row {
            let name = names.get(usize::from(shade)).map_or("", String::as_str);
            draft
                .add(name.as_bytes())
                .map_err(|problem| array_error(path, ArrayProblem::Value { row: rows, problem }))?;
        }
        draft.end_row();
        rows += 1;
        Ok(())
    })?;
    let (columns, cells) = draft.finish();
    Ok(shape.rows(columns, cells))
}

/// Reads classes: one byte per row.
pub(super) fn read_labels(path: &Path, mut input: Input) -> Result<Labels> {
    let shape = Shape::read(path, &mut input)?;
    let &[rows] = shape.lengths.as_slice() else {
        let problem = ArrayProblem::Dimensions { found: shape.lengths.len(), expected: "1, a class per row" };
        return Err(array_error(path, problem));
    };
    if rows == 0 {
        return Err(array_error(path, ArrayProblem::Empty { shape: shape.lengths }));
    }
    let mut names = Vec::new();
    for_each_row(path, &mut input, &shape, 1, &mut |_, _| {}, |row| {
        names.extend(row.iter().map(|class| Some(class.to_string())));
        Ok(())
    })?;
    Ok(Labels::new(names.iter().map(Option::as_deref)))
}

impl Shape {
    fn read(path: &Path, input: &mut Input) -> Result<Self> {
        let mut head = [0; 4];
        let len = input.read(path, &mut head)?;
        let [_, _, kind, dimensions] = head;
        let header = 4 + 4 * u64::from(dimensions);
        let truncated = |found| array_error(path, ArrayProblem::Truncated { found, expected: header });
        if len < head.len() {
            return Err(truncated(len as u64));
        }
        if kind != BYTES {
            let found = format!("{kind:#04x}");
            let (expected, remedy) = ("0x08, unsigned bytes", "save the values as bytes, or as .npy");
            return Err(array_error(path, ArrayProblem::ElementType { found, expected, remedy }));
        }
        let mut lengths = vec![0; usize::from(dimensions)];
        for (place, length) in lengths.iter_mut().enumerate() {
            let mut bytes = [0; 4];
            let len = input.read(path, &mut bytes)?;
            if len < bytes.len() {
                return Err(truncated(4 + 4 * place as u64 + len as u64));
            }
            *length = u32::from_be_bytes(bytes) as usize;
        }
        Ok(Self { lengths, header })
    }

    /// The product of the lengths of one row.
    fn row_len(&self, sides: &[usize]) -> Result<usize, ArrayProblem> {
        let shape = || self.lengths.clone();
        if self.lengths.contains(&0) {
            return Err(ArrayProblem::Empty { shape: shape() });
        }
        let product = sides.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let len = product.filter(|&len| len <= super::MOST_COLUMNS);
        len.ok_or_else(|| ArrayProblem::TooLarge { shape: shape() })
    }

    fn wrong_dimensions(&self) -> ArrayProblem {
        ArrayProblem::Dimensions { found: self.lengths.len(), expected: "2 or more, a row per picture" }
    }

    fn rows(&self, columns: Columns, cells: Cells) -> Rows {
        let picture = match *self.lengths.as_slice() {
            [_, height, width] => Some((height, width)),
            _ => None,
        };
        Rows { picture, ..Rows::of(columns, cells) }
    }
}

/// Shows every row, and makes sure that the file ends where it should.
fn for_each_row(
    path: &Path,
    input: &mut Input,
    shape: &Shape,
    width: usize,
    progress: Progress<'_>,
    mut show: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let rows = shape.lengths.first().copied().unwrap_or(0);
    let expected = shape.header + rows as u64 * width as u64;
    let mut buffer = vec![0; width * (CHUNK / width.max(1)).clamp(1, rows.max(1))];
    let mut found = shape.header;
    while found < expected {
        let wanted = (expected - found).min(buffer.len() as u64) as usize;
        let space = buffer.get_mut(..wanted).unwrap_or(&mut []);
        let len = input.read(path, space)?;
        found += len as u64;
        if len < wanted {
            return Err(array_error(path, ArrayProblem::Truncated { found, expected }));
        }
        space.chunks_exact(width).try_for_each(&mut show)?;
        progress(input.bytes_read(), input.bytes_total());
    }
    match input.read(path, &mut [0])? {
        0 => Ok(()),
        _ => Err(array_error(path, ArrayProblem::TooLong { expected })),
    }
}
