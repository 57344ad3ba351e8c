//! Folders that are written whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{Unfinished, fail};
use crate::error::{Error, Result};

/// Fills a folder that must not exist, or be empty; on any error nothing of it remains.
///
/// `write` is given a temporary folder beside it, which takes the name at the end. It sees to it that its files have reached
/// the disk.
///
/// ```
/// # use mixlet_runtime::output::write_folder;
/// # let parent = tempfile::tempdir().unwrap();
/// let path = parent.path().join("model");
/// write_folder(&path, |folder| Ok(std::fs::write(folder.join("config.json"), "{}").unwrap())).unwrap();
/// assert_eq!(std::fs::read_to_string(path.join("config.json")).unwrap(), "{}");
/// let error = write_folder(&path, |_| Ok(())).unwrap_err().to_string();
/// assert!(error.ends_with("the output would replace a folder that is not empty; name another path"));
/// ```
pub fn write_folder<T>(path: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    check_folder(path)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".mixlet-");
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    // The library's error names the temporary folder, which says nothing to a user.
    let folder = builder.tempdir_in(parent).map_err(|error| fail(path, "create", error.kind().into()))?;
    let unfinished = Unfinished::new(folder.path());
    // Dropped in this order: forgotten when it is gone.
    let (folder, unfinished) = &mut (folder, unfinished);
    let result = write(folder.path())?;
    let in_place = || {
        sync(folder.path())?;
        if path.is_dir() {
            fs::remove_dir(path)?;
        }
        fs::rename(folder.path(), path)?;
        sync(parent)
    };
    unfinished.settle(in_place).map_err(|source| fail(path, "write", source))?;
    // What it names is elsewhere now.
    folder.disable_cleanup(true);
    Ok(result)
}

/// Makes sure that a folder can be written: that nothing is at its path, or an empty folder.
pub fn check_folder(path: &Path) -> Result<()> {
    let taken = |what| Err(Error::Overwrites { path: path.to_owned(), what });
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => taken("a folder that is not empty"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => taken("a file"),
        Err(source) => Err(fail(path, "open", source)),
    }
}

/// Brings the names in a folder to the disk, where the system can.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_folder_leaves_nothing_and_a_taken_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        let names = || fs::read_dir(parent.path()).unwrap().count();
        let full = |folder: &Path| -> Result<()> {
            fs::write(folder.join("half"), "x").unwrap();
            Err(fail(&path, "write", io::ErrorKind::StorageFull.into()))
        };
        assert!(write_folder(&path, full).unwrap_err().to_string().contains("no storage space"));
        assert_eq!(names(), 0);

        fs::create_dir(&path).unwrap();
        write_folder(&path, |folder| {
            fs::write(folder.join("a"), "").unwrap();
            Ok(())
        })
        .unwrap();
        assert!(path.join("a").is_file());
        assert_eq!(names(), 1);

        for (path, expected) in [
            (path.clone(), "would replace a folder that is not empty; name another path"),
            (path.join("a"), "would replace a file; name another path"),
            (parent.path().join("none/model"), "; create its directory first"),
        ] {
            let error = write_folder(&path, |_| Ok(())).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
        assert_eq!(names(), 1);
    }
}
