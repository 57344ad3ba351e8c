//! Files of tensors (safetensors), mapped into memory and read in place.
//!
//! A model lies in `model.safetensors`, or in several files that `model.safetensors.index.json` lists. Nothing a header says
//! is believed: every place is checked against the file before anything is made of it.

mod formats;
mod header;
mod nearest;
pub mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::tensor::{Dtype, TensorInfo};

use super::tensor::{Format, Matrix, Narrow, NarrowMatrix, Tensor};
use super::weights::{Part, TensorSource};
use crate::error::{Error, Result, TensorProblem};
use crate::table::input::is_standard_input;
pub use formats::FormatShare;
pub use nearest::nearest;

/// The file of a model in one piece.
const SINGLE: &str = "model.safetensors";
/// The list of the files of a model in several.
const INDEX: &str = "model.safetensors.index.json";
/// Bytes that an index has at most.
const MOST_INDEX_BYTES: u64 = 1 << 28;

/// A file of tensors.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Arc<Mmap>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Where the values begin.
    start: usize,
}

impl TensorFile {
    /// Maps a file and checks its header.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |what, source| Error::Io { path: path.to_owned(), what, source };
        let problem = |problem| Error::Tensor { path: path.to_owned(), problem };
        if is_standard_input(path) {
            return Err(problem(TensorProblem::NoFile { found: "standard input" }));
        }
        // Asked before it is opened: to open a pipe is to wait for a writer.
        let facts = fs::metadata(path).map_err(|source| fail("open", source))?;
        if facts.is_dir() {
            return Err(fail("read", io::ErrorKind::IsADirectory.into()));
        }
        if !facts.is_file() {
            return Err(problem(TensorProblem::NoFile { found: "a pipe or a device" }));
        }
        if facts.len() < header::LENGTH_BYTES {
            return Err(problem(TensorProblem::Truncated {
                found: facts.len(),
                expected: header::LENGTH_BYTES,
            }));
        }
        let file = File::open(path).map_err(|source| fail("open", source))?;
        // SAFETY: the map is only read, and what is read is numbers, for which any bytes will do. Another program that
        // shortens the file meanwhile ends this one, as it would any program that maps its model.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| fail("map", source))?;
        let (tensors, start) = header::read(&map).map_err(problem)?;
        Ok(Self { path: path.to_owned(), map: Arc::new(map), tensors, start })
    }

    /// Names in the file, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The kind and shape of a tensor, and its bytes.
    pub fn get(&self, name: &str) -> Option<(Dtype, &[usize], &[u8])> {
        let info = self.tensors.get(name)?;
        Some((info.dtype, &info.shape, self.map.get(self.range(info))?))
    }

    /// Texts that the header holds besides the tensors.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        header::metadata(&self.map)
    }

    fn range(&self, info: &TensorInfo) -> Range<usize> {
        let (start, end) = info.data_offsets;
        self.start + start..self.start + end
    }

    fn problem(&self, problem: TensorProblem) -> Error {
        Error::Tensor { path: self.path.clone(), problem }
    }

    /// A tensor of weights, in place.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        let range = self.checked(name, info, shape)?;
        let format = match info.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::Bf16,
            other => return Err(self.other_dtype(name, other, "F32, BF16 or F16")),
        };
        Ok(Some(Tensor::mapped(&self.map, range, format, shape.to_vec())))
    }

    /// The place of a tensor of a certain kind and shape.
    fn place(&self, name: &str, (dtype, shape): (Dtype, Vec<usize>)) -> Result<Option<Range<usize>>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        let range = self.checked(name, info, &shape)?;
        let expected = match dtype {
            Dtype::I8 => "I8",
            Dtype::U8 => "U8",
            Dtype::F16 => "F16",
            _ => "F32",
        };
        if info.dtype == dtype { Ok(Some(range)) } else { Err(self.other_dtype(name, info.dtype, expected)) }
    }

    fn checked(&self, name: &str, info: &TensorInfo, shape: &[usize]) -> Result<Range<usize>> {
        if info.shape == shape {
            return Ok(self.range(info));
        }
        let (found, expected) = (info.shape.clone(), shape.to_vec());
        Err(self.problem(TensorProblem::Shape { name: name.to_owned(), found, expected }))
    }

    fn other_dtype(&self, name: &str, found: Dtype, expected: &'static str) -> Error {
        self.problem(TensorProblem::Dtype { name: name.to_owned(), found: found.to_string(), expected })
    }
}

/// The tensors of a model, and which of them have been asked for.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    files: Vec<TensorFile>,
    taken: BTreeSet<String>,
}

impl Checkpoint {
    /// Opens the files of a folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let paths = match (folder.join(SINGLE), folder.join(INDEX)) {
            (single, _) if single.exists() => vec![single],
            (_, index) if index.exists() => listed(folder, &index)?,
            _ => return Err(Error::Tensor { path: folder.to_owned(), problem: TensorProblem::NoWeights }),
        };
        let files = paths.iter().map(|path| TensorFile::open(path)).collect::<Result<_>>()?;
        Ok(Self { folder: folder.to_owned(), files, taken: BTreeSet::new() })
    }

    /// Names in the files, in order, each once.
    pub fn names(&self) -> BTreeSet<&str> {
        self.files.iter().flat_map(TensorFile::names).collect()
    }

    /// The kind and shape of a tensor, and its bytes; the first where several files have one.
    pub fn get(&self, name: &str) -> Option<(Dtype, &[usize], &[u8])> {
        self.files.iter().find_map(|file| file.get(name))
    }

    /// Bytes of the files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.map.len() as u64).sum()
    }

    /// Tensors that nobody has asked for.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let names = self.files.iter().flat_map(TensorFile::names);
        names.filter(|name| !self.taken.contains(*name))
    }

    /// A tensor of plain numbers, which must have this shape.
    pub fn find(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let found = self.files.iter().find_map(|file| file.tensor(name, shape).transpose());
        found.unwrap_or_else(|| Err(self.missing(name)))
    }

    /// A matrix `[outputs, inputs]`, plain or in fewer bits.
    pub fn find_matrix(&self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        if !self.has(name) {
            for narrow in Narrow::ALL {
                if let Some(matrix) = self.find_narrow(narrow, name, shape)? {
                    return Ok(matrix);
                }
            }
        }
        Ok(self.find(name, &shape)?.into_matrix())
    }

    /// A matrix in fewer bits, if it is stored so.
    fn find_narrow(
        &self,
        narrow: Narrow,
        name: &str,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Option<Matrix>> {
        let (values_name, scales_name) = (narrow.values_name(name), Narrow::scales_name(name));
        let Some((file, values)) = self.place(&values_name, narrow.values(outputs, inputs))? else {
            return Ok(None);
        };
        if !narrow.fits(inputs) {
            return Err(file.problem(TensorProblem::Groups { name: values_name, inputs }));
        }
        let scales = self.place(&scales_name, narrow.scales(outputs, inputs))?;
        let (scales_file, scales) = scales.ok_or_else(|| self.missing(&scales_name))?;
        let (values, scales) = ((&file.map, values), (&scales_file.map, scales));
        Ok(Some(NarrowMatrix::mapped(narrow, values, scales, (outputs, inputs))))
    }

    /// The file that has a tensor of a certain kind and shape, and where.
    fn place(&self, name: &str, kind: (Dtype, Vec<usize>)) -> Result<Option<(&TensorFile, Range<usize>)>> {
        let Some(file) = self.files.iter().find(|file| file.tensors.contains_key(name)) else {
            return Ok(None);
        };
        Ok(file.place(name, kind)?.map(|range| (file, range)))
    }

    fn missing(&self, name: &str) -> Error {
        let nearest = nearest(name, self.files.iter().flat_map(TensorFile::names)).map(str::to_owned);
        let problem = TensorProblem::Missing { name: name.to_owned(), nearest };
        Error::Tensor { path: self.folder.clone(), problem }
    }
}

impl TensorSource for Checkpoint {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.find(name, shape)?;
        self.taken.insert(name.to_owned());
        Ok(tensor)
    }

    fn matrix(&mut self, name: &str, shape: [usize; 2], _: Part) -> Result<Matrix> {
        let matrix = self.find_matrix(name, shape)?;
        self.taken.extend(match matrix.narrow() {
            Some(narrow) => vec![narrow.values_name(name), Narrow::scales_name(name)],
            None => vec![name.to_owned()],
        });
        Ok(matrix)
    }

    fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.tensors.contains_key(name))
    }
}

/// The files that an index names, each once. A name may not lead out of the folder.
fn listed(folder: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let problem = |reason| Error::Tensor { path: index.to_owned(), problem: TensorProblem::Index { reason } };
    let fail = |source| Error::Io { path: index.to_owned(), what: "read", source };
    let facts = fs::metadata(index).map_err(fail)?;
    if !facts.is_file() {
        return Err(problem("no regular file".to_owned()));
    }
    if facts.len() > MOST_INDEX_BYTES {
        return Err(problem(format!("{} bytes, expected at most {MOST_INDEX_BYTES}", facts.len())));
    }
    let text = fs::read_to_string(index).map_err(fail)?;
    let Index { weight_map } = serde_json::from_str(&text).map_err(|error| problem(error.to_string()))?;
    let names: BTreeSet<String> = weight_map.into_values().collect();
    let is_plain = |name: &String| Path::new(name).file_name().is_some_and(|file| file == name.as_str());
    match names.iter().find(|name| !is_plain(name)) {
        Some(name) => Err(problem(format!("{name} is not the name of a file in the folder"))),
        None => Ok(names.iter().map(|name| folder.join(name)).collect()),
    }
}
