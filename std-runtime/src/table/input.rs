//! The bytes of a file, unpacked if they are gzip, with a count of those read.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

/// What every gzip file starts with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An open file or pipe.
pub(crate) struct Input {
    bytes: Box<dyn Read>,
    is_gzip: bool,
    read: Rc<Cell<u64>>,
    total: u64,
}

impl Input {
    /// Opens a file, or standard input for `-`, and looks at its first two bytes: names say nothing about gzip.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |what, source| Error::Io { path: path.to_owned(), what, source };
        let (bytes, total): (Box<dyn Read>, _) = if is_standard_input(path) {
            (Box::new(io::stdin()), 0)
        } else {
            let file = File::open(path).map_err(|source| fail("open", source))?;
            let total = file.metadata().map_or(0, |metadata| metadata.len());
            (Box::new(file), total)
        };
        let read = Rc::new(Cell::new(0));
        let mut file = Counted { bytes, read: Rc::clone(&read) };
        let mut magic = [0; 2];
        let len = read_full(&mut file, &mut magic).map_err(|source| fail("read", source))?;
        let whole = Cursor::new(magic).take(len as u64).chain(file);
        let is_gzip = len == magic.len() && magic == GZIP;
        let bytes: Box<dyn Read> =
            if is_gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        Ok(Self { bytes, is_gzip, read, total })
    }

    /// The first bytes, which will be read all the same; fewer where the file is shorter.
    pub fn peek<const N: usize>(&mut self, path: &Path) -> Result<Vec<u8>> {
        let mut head = [0; N];
        let len = self.read(path, &mut head)?;
        let rest = std::mem::replace(&mut self.bytes, Box::new(io::empty()));
        self.bytes = Box::new(Cursor::new(head).take(len as u64).chain(rest));
        Ok(head.get(..len).unwrap_or(&[]).to_vec())
    }

    /// Fills the space; less is read only where the file ends.
    pub fn read(&mut self, path: &Path, space: &mut [u8]) -> Result<usize> {
        read_full(&mut self.bytes, space).map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                    if self.is_gzip =>
                {
                    Error::DamagedGz { path, source }
                }
                _ => Error::Io { path, what: "read", source },
            }
        })
    }

    /// All bytes of a file.
    pub fn read_all(path: &Path) -> Result<Vec<u8>> {
        let mut input = Self::open(path)?;
        let (mut bytes, mut space) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let len = input.read(path, &mut space)?;
            bytes.extend_from_slice(space.get(..len).unwrap_or_default());
            if len < space.len() {
                return Ok(bytes);
            }
        }
    }

    /// Bytes read from the file so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Bytes of the file; 0 for a pipe.
    pub fn bytes_total(&self) -> u64 {
        self.total
    }
}

/// Whether a path stands for standard input.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// Counts what is read from a file.
struct Counted {
    bytes: Box<dyn Read>,
    read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let len = self.bytes.read(space)?;
        self.read.set(self.read.get() + len as u64);
        Ok(len)
    }
}

fn read_full(bytes: &mut impl Read, space: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = space.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match bytes.read(rest) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
