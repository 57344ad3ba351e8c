//! Files that tests of readers read.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use mixlet_runtime::error::Result;
use tempfile::TempDir;

/// A folder for the files of one test.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// An error's message without the folder's path.
    pub fn message<T>(&self, result: Result<T>) -> String {
        let message = result.err().expect("an error").to_string();
        message.replace(&format!("{}/", self.path().display()), "")
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}
