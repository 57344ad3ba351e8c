//! Writing files of tensors: all places are known before any value, so that values need not be gathered in memory.
//!
//! Tensors lie as the format's own writer lays them: wider numbers first, then by name. More than a file may hold goes
//! into several, with an index.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorInfo};
use serde_json::json;

use super::{INDEX, SINGLE, header};
use crate::error::{Error, Result, TensorProblem};
use crate::output::write_file;

/// Bytes of a file, unless one tensor alone has more: what transformers takes, too.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// What its numbers are.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Planned {
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        let elements: u64 = self.shape.iter().map(|side| *side as u64).product();
        elements * self.dtype.bitsize() as u64 / 8
    }
}

/// How files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Bytes of a file, unless one tensor alone has more.
    pub shard_bytes: u64,
    /// What the files say that they hold: `pt` for tensors that transformers can read.
    pub format: &'static str,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { shard_bytes: SHARD_BYTES, format: "pt" }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Tensors.
    pub tensors: usize,
    /// Files.
    pub files: usize,
    /// Bytes of the tensors.
    pub bytes: u64,
}

/// Told the bytes that are written, and how many there will be.
pub type WriteProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// Files of tensors in the making. Each tensor's bytes are appended to it, in pieces of any size.
pub struct CheckpointWriter<'a> {
    folder: PathBuf,
    files: Vec<String>,
    places: BTreeMap<String, Place>,
    open: Option<(usize, File)>,
    /// What there will be.
    written: Written,
    done: u64,
    progress: WriteProgress<'a>,
}

/// Where a tensor lies.
struct Place {
    file: usize,
    /// What is still to be written.
    rest: Range<u64>,
}

impl<'a> CheckpointWriter<'a> {
    /// Makes the files of a folder. Tensors of a group lie in the same one.
    pub fn create(
        folder: &Path,
        groups: Vec<Vec<Planned>>,
        options: WriteOptions,
        progress: WriteProgress<'a>,
    ) -> Result<Self> {
        let shards = shards(groups, options.shard_bytes);
        let written = Written { tensors: shards.iter().map(Vec::len).sum(), files: shards.len(), bytes: 0 };
        let files = match shards.len() {
            1 => vec![SINGLE.to_owned()],
            all => (1..=all).map(|nth| format!("model-{nth:05}-of-{all:05}.safetensors")).collect(),
        };
        let (folder, places) = (folder.to_owned(), BTreeMap::new());
        let mut writer = Self { folder, files, places, open: None, written, done: 0, progress };
        for (file, tensors) in shards.into_iter().enumerate() {
            writer.begin(file, tensors, options.format)?;
        }
        Ok(writer)
    }

    /// Writes the header of a file and finds places for its tensors.
    fn begin(&mut self, file: usize, mut tensors: Vec<Planned>, format: &str) -> Result<()> {
        tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
        let path = self.folder.join(&self.files[file]);
        let fail = |source| Error::Io { path: path.clone(), what: "write", source };
        let header = header_text(&tensors, format).map_err(|error| fail(error.into()))?;
        let mut end = header::LENGTH_BYTES + header.len() as u64;
        for tensor in tensors {
            let start = end;
            end += tensor.bytes();
            self.written.bytes += tensor.bytes();
            self.places.insert(tensor.name, Place { file, rest: start..end });
        }
        let write = |mut out: File| {
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(header.as_bytes())?;
            out.set_len(end)
        };
        File::create_new(&path).and_then(write).map_err(fail)
    }

    /// Writes on at a tensor that was planned.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let Some(place) = self.places.get_mut(name) else {
            let problem = TensorProblem::Missing { name: name.to_owned(), nearest: None };
            return Err(Error::Tensor { path: self.folder.clone(), problem });
        };
        let (file, start) = (place.file, place.rest.start);
        place.rest.start += bytes.len() as u64;
        if place.rest.start > place.rest.end {
            return Err(self.wrong_length(name));
        }
        let path = self.folder.join(&self.files[file]);
        let fail = |source| Error::Io { path: path.clone(), what: "write", source };
        if self.open.as_ref().is_none_or(|(open, _)| *open != file) {
            self.close()?;
            self.open = Some((file, OpenOptions::new().write(true).open(&path).map_err(fail)?));
        }
        if let Some((_, out)) = &mut self.open {
            out.seek(SeekFrom::Start(start)).and_then(|_| out.write_all(bytes)).map_err(fail)?;
        }
        self.done += bytes.len() as u64;
        (self.progress)(self.done, self.written.bytes);
        Ok(())
    }

    /// Makes sure that everything is written and has reached the disk, and writes the index.
    pub fn finish(mut self) -> Result<Written> {
        let short =
            self.places.iter().find(|(_, place)| !place.rest.is_empty()).map(|(name, _)| name.clone());
        if let Some(name) = short {
            return Err(self.wrong_length(&name));
        }
        self.close()?;
        if self.files.len() > 1 {
            let file = |place: &Place| self.files[place.file].as_str();
            let map: BTreeMap<_, _> = self.places.iter().map(|(name, place)| (name, file(place))).collect();
            let index = json!({ "metadata": { "total_size": self.written.bytes }, "weight_map": map });
            let text = format!("{index:#}\n");
            write_file(&self.folder.join(INDEX), |out| out.write_all(text.as_bytes()))?;
        }
        Ok(self.written)
    }

    fn close(&mut self) -> Result<()> {
        let Some((file, out)) = self.open.take() else { return Ok(()) };
        let path = self.folder.join(&self.files[file]);
        out.sync_all().map_err(|source| Error::Io { path, what: "write", source })
    }

    /// Another length was appended than planned.
    fn wrong_length(&self, name: &str) -> Error {
        let name = name.to_owned();
        let rest = self.places.get(&name).map_or(0..0, |place| place.rest.clone());
        let problem = TensorProblem::Bytes { name, found: rest.start, expected: Some(rest.end) };
        Error::Tensor { path: self.folder.clone(), problem }
    }
}

/// The header of tensors one after the other, as long as keeps their places even.
fn header_text(tensors: &[Planned], format: &str) -> serde_json::Result<String> {
    let mut text = format!(r#"{{"__metadata__":{{"format":"{format}"}}"#);
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += tensor.bytes() as usize;
        let (dtype, shape) = (tensor.dtype, tensor.shape.clone());
        let info = TensorInfo { dtype, shape, data_offsets: (start, end) };
        text += &format!(",{}:{}", serde_json::to_string(&tensor.name)?, serde_json::to_string(&info)?);
    }
    text.push('}');
    // Not by a width: those end at 65535.
    let even = text.len().next_multiple_of(header::LENGTH_BYTES as usize);
    text.extend(std::iter::repeat_n(' ', even - text.len()));
    Ok(text)
}

/// Groups one after the other into files, a new one where the next group would not fit.
fn shards(groups: Vec<Vec<Planned>>, most: u64) -> Vec<Vec<Planned>> {
    let mut shards: Vec<Vec<Planned>> = vec![Vec::new()];
    let mut bytes = 0;
    for group in groups {
        let own: u64 = group.iter().map(Planned::bytes).sum();
        if bytes > 0 && bytes + own > most {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += own;
        if let Some(shard) = shards.last_mut() {
            shard.extend(group);
        }
    }
    shards
}
