//! Pictures in the idx format of the MNIST files: a magic number, lengths, then one byte per pixel.
//!
//! ```text
//!   00 00  type  dimensions   length (big-endian) of each dimension   values, last dimension fastest
//! ```

use std::path::Path;

use super::draft::Draft;
use super::layout::{Beside, Layout};
use super::{
    ArrayProblem, Bits, Cells, Columns, Family, Labels, ReadOptions, Rows, array_error, array_layout,
    draft_for,
};
use crate::error::{Result, ValueProblem};
use crate::table::Progress;
use crate::table::input::Input;

/// What every idx file starts with.
pub(super) const MAGIC: &[u8] = &[0, 0];

/// The type of one unsigned byte.
const BYTES: u8 = 0x08;

/// The threshold where none is given, as a share of the range.
const MIDDLE: f64 = 0.5;

/// Rows read at a time hold about so many bytes.
const CHUNK: usize = 1 << 16;

/// What the first bytes say.
struct Shape {
    lengths: Vec<usize>,
    /// Bytes of the header.
    header: u64,
}

/// Reads pictures: one row per picture, a bit per pixel that is brighter than the threshold, or a code per shade.
pub(super) fn read(
    path: &Path,
    mut input: Input,
    columns: Option<&Columns>,
    options: &ReadOptions,
    progress: Progress<'_>,
) -> Result<Rows> {
    let fail = |problem| array_error(path, problem);
    let shape = Shape::read(path, &mut input)?;
    let [_, sides @ ..] = shape.lengths.as_slice() else { return Err(fail(shape.wrong_dimensions())) };
    if sides.is_empty() {
        return Err(fail(shape.wrong_dimensions()));
    }
    let width = shape.row_len(sides).map_err(fail)?;
    if let Some(found) = options.threshold.filter(|threshold| !(0.0..1.0).contains(threshold)) {
        return Err(fail(ArrayProblem::Threshold { found }));
    }
    let layout = array_layout(path, columns, width, options)?;
    let mut beside = Beside::default();
    let mut source = Source { path, input: &mut input, shape: &shape, width, layout: &layout };
    let is_shades = options.family == Some(Family::Categorical) && options.threshold.is_none();
    let threshold = (!is_shades).then(|| options.threshold.unwrap_or(MIDDLE));
    let (columns, cells) = match threshold {
        Some(threshold) => {
            let bits = read_bits(&mut source, threshold, &mut beside, progress)?;
            (columns.cloned().unwrap_or_else(|| Columns::binary_with(layout.numbers())), Cells::Bits(bits))
        }
        None => {
            let mut draft = draft_for(columns, layout.numbers(), Some(Family::Categorical));
            read_shades(&mut source, &mut draft, &mut beside, progress)?;
            draft.finish()
        }
    };
    let picture = match *shape.lengths.as_slice() {
        [_, height, across] if layout.is_all(width) => Some((height, across)),
        _ => None,
    };
    let (truth, weights) = beside.finish(&layout);
    Ok(Rows { picture, truth, weights, threshold, ..Rows::of(columns, cells) })
}

/// An open file behind its shape.
struct Source<'s> {
    path: &'s Path,
    input: &'s mut Input,
    shape: &'s Shape,
    width: usize,
    layout: &'s Layout,
}

impl Source<'_> {
    /// Shows every row, and keeps what is known beside its values.
    fn each_row(
        &mut self,
        beside: &mut Beside,
        progress: Progress<'_>,
        mut show: impl FnMut(&[u8]) -> Result<(), ValueProblem>,
    ) -> Result<()> {
        let layout = self.layout;
        for_each_row(self.path, self.input, self.shape, self.width, progress, |row| {
            show(row)?;
            beside.truth.extend(layout.truth.map(|place| Some(row[place].to_string())));
            beside.weights.extend(layout.weights.map(|place| f64::from(row[place])));
            Ok(())
        })
    }
}

/// A bit per pixel: whether it is brighter than a share of the range.
fn read_bits(
    source: &mut Source<'_>,
    threshold: f64,
    beside: &mut Beside,
    progress: Progress<'_>,
) -> Result<Bits> {
    // Bytes are whole numbers: brighter than the threshold is from the next one on.
    let threshold = threshold * 255.0;
    let is_bright = |byte: u8| f64::from(byte) > threshold;
    let layout = source.layout;
    let (places, is_all) = (&layout.places, layout.is_all(source.width));
    let rows = source.shape.lengths.first().copied().unwrap_or(0);
    let mut bits = Bits::new(places.len());
    bits.reserve(rows.min(source.input.bytes_total() as usize / source.width.max(1)));
    source.each_row(beside, progress, |row| {
        match is_all {
            true => bits.push_all(row, is_bright),
            false => bits.push(places.iter().map(|&place| Some(is_bright(row[place])))),
        }
        Ok(())
    })?;
    Ok(bits)
}

/// A code per shade.
fn read_shades(
    source: &mut Source<'_>,
    draft: &mut Draft,
    beside: &mut Beside,
    progress: Progress<'_>,
) -> Result<()> {
    let names: Vec<String> = (0..=u8::MAX).map(|shade| shade.to_string()).collect();
    let layout = source.layout;
    source.each_row(beside, progress, |row| {
        for &place in &layout.places {
            draft.add(names[usize::from(row[place])].as_bytes())?;
        }
        draft.end_row();
        Ok(())
    })
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
}

/// Shows every row, and makes sure that the file ends where it should.
fn for_each_row(
    path: &Path,
    input: &mut Input,
    shape: &Shape,
    width: usize,
    progress: Progress<'_>,
    mut show: impl FnMut(&[u8]) -> Result<(), ValueProblem>,
) -> Result<()> {
    let rows = shape.lengths.first().copied().unwrap_or(0);
    let expected = shape.header + rows as u64 * width as u64;
    let mut buffer = vec![0; width * (CHUNK / width.max(1)).clamp(1, rows.max(1))];
    let (mut found, mut row) = (shape.header, 0);
    while found < expected {
        let wanted = (expected - found).min(buffer.len() as u64) as usize;
        let space = buffer.get_mut(..wanted).unwrap_or(&mut []);
        let len = input.read(path, space)?;
        found += len as u64;
        if len < wanted {
            return Err(array_error(path, ArrayProblem::Truncated { found, expected }));
        }
        for bytes in space.chunks_exact(width) {
            show(bytes).map_err(|problem| array_error(path, ArrayProblem::Value { row, problem }))?;
            row += 1;
        }
        progress(input.bytes_read(), input.bytes_total());
    }
    match input.read(path, &mut [0])? {
        0 => Ok(()),
        _ => Err(array_error(path, ArrayProblem::TooLong { expected })),
    }
}
