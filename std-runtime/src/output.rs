//! Output files that are written whole or not at all.
//!
//! The bytes go to a temporary file in the same directory, reach the disk, and only then take the
//! name: a reader never sees half a file, and a failure leaves the old file as it was. What is not
//! a regular file (a pipe, `/dev/stdout`, `/dev/full`) is written in place; `-` is standard output. Whoever
//! closes standard output has seen enough: that is no error. Whoever ends the program early finds nothing of it either.

pub(crate) mod csv;
mod folder;
mod unfinished;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

pub use folder::{check_folder, write_folder};
use unfinished::Unfinished;
pub(crate) use unfinished::clear_when_ended;

/// Writes a file with whatever `write` produces; on any error nothing of it remains.
///
/// ```
/// # use mixlet_runtime::output::write_file;
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("labels.csv");
/// write_file(&path, |out| writeln!(out, "task,label")).unwrap();
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "task,label\n");
/// ```
pub fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let written = match Target::of(path)? {
        Target::StandardOutput => write_through(io::stdout().lock(), write).map(drop),
        Target::Special(target) => {
            let file =
                OpenOptions::new().write(true).open(target).map_err(|source| fail(path, "open", source));
            write_through(file?, write).map(drop)
        }
        Target::Regular(target, permissions) => {
            let file = create_beside(&target, permissions).map_err(|source| fail(path, "create", source))?;
            // Forgotten when the file is gone.
            let unfinished = Unfinished::new(file.path());
            write_through(file, write).and_then(|file| {
                file.as_file().sync_all()?;
                unfinished.settle(|| Ok(file.persist(&target)?))?;
                Ok(())
            })
        }
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && is_standard_output(path) => Ok(()),
        written => written.map_err(|source| fail(path, "write", source)),
    }
}

/// Whether a path stands for standard output.
pub fn is_standard_output(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdout")
}

/// Where the bytes go.
enum Target {
    StandardOutput,
    /// A device, a pipe or an inherited descriptor.
    Special(PathBuf),
    /// The file behind any links, with the permissions of the file it replaces.
    Regular(PathBuf, Option<Permissions>),
}

impl Target {
    fn of(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::StandardOutput);
        }
        // Descriptors may lead to regular files, whose names must not be taken.
        let descriptors = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"];
        if descriptors.iter().any(|name| path.starts_with(name)) {
            return Ok(Self::Special(path.to_owned()));
        }
        let Ok(old) = fs::metadata(path) else {
            return Ok(Self::Regular(path.to_owned(), None));
        };
        if old.is_dir() {
            return Err(fail(path, "write", io::ErrorKind::IsADirectory.into()));
        }
        if !old.is_file() {
            return Ok(Self::Special(path.to_owned()));
        }
        if old.permissions().readonly() {
            return Err(fail(path, "replace", io::ErrorKind::PermissionDenied.into()));
        }
        let target = fs::canonicalize(path).map_err(|source| fail(path, "open", source))?;
        Ok(Self::Regular(target, Some(old.permissions())))
    }
}

/// Runs `write` behind a buffer and hands the file back with everything in it.
fn write_through<W: Write>(file: W, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<W> {
    let mut buffer = BufWriter::with_capacity(1 << 16, file);
    match write(&mut buffer) {
        Ok(()) => buffer.into_inner().map_err(io::IntoInnerError::into_error),
        Err(error) => {
            // Whatever is still buffered is not wanted any more.
            drop(buffer.into_parts());
            Err(error)
        }
    }
}

/// A temporary file in the directory of `target`, with the permissions that file is to have.
fn create_beside(target: &Path, permissions: Option<Permissions>) -> io::Result<NamedTempFile> {
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".mixlet-");
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // The library's error names the temporary file, which says nothing to a user.
    let file = builder.tempfile_in(directory).map_err(|error| io::Error::from(error.kind()))?;
    if let Some(permissions) = permissions {
        File::set_permissions(file.as_file(), permissions)?;
    }
    Ok(file)
}

fn fail(path: &Path, what: &'static str, source: io::Error) -> Error {
    Error::Io { path: path.to_owned(), what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let disk_full = |out: &mut dyn Write| {
            out.write_all(&[b'x'; 1 << 20])?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let error = write_file(&path, disk_full).unwrap_err().to_string();
        let expected = "cannot write: no storage space; free some space or name another path";
        assert_eq!(error, format!("{}: {expected}", path.display()));
        assert!(names(folder.path()).is_empty());

        write_file(&path, |out| out.write_all(b"old")).unwrap();
        write_file(&path, disk_full).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["out.csv"]);

        write_file(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["out.csv"]);
    }

    #[test]
    fn unwritable_places_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for (path, expected) in [
            (folder.path().to_owned(), "cannot write: is a directory; name a file in it"),
            (folder.path().join("none/out.csv"), "; create its directory first"),
            (file.join("out.csv"), "; create its directory first"),
        ] {
            let error = write_file(&path, |_| Ok(())).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: cannot", path.display())), "{error}");
            assert!(error.ends_with(expected), "{error}");
        }
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_an_ordinary_file_or_of_the_old_one() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (ordinary, path) = (folder.path().join("ordinary"), folder.path().join("out"));
        fs::write(&ordinary, "").unwrap();
        write_file(&path, |_| Ok(())).unwrap();
        assert_eq!(mode(&path), mode(&ordinary));

        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        write_file(&path, |_| Ok(())).unwrap();
        assert_eq!(mode(&path), 0o640);

        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        let error = write_file(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("cannot replace: permission denied"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_and_links_stay_what_they_are() {
        let error = write_file(Path::new("/dev/full"), |out| out.write_all(b"x")).unwrap_err().to_string();
        assert!(error.starts_with("/dev/full: cannot write: No space left on device"), "{error}");
        assert!(!fs::metadata("/dev/full").unwrap().is_file());

        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_file(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
