//! Folders that are written whole or not at all.
//!
//! A folder in the making holds a file that its maker has locked: where nobody has, its maker was killed, and whoever writes beside it
//! next takes it away.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Unfinished, fail};
use crate::error::{Error, Result};

/// What temporary names begin with.
const PREFIX: &str = ".mixlet-";
/// The file in a folder in the making.
const MARK: &str = ".unfinished";
/// A mark that is younger may be about to be locked.
const YOUNG: Duration = Duration::from_secs(60);

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
    abandoned(parent).iter().for_each(|folder| drop(fs::remove_dir_all(folder)));
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    // The library's error names the temporary folder, which says nothing to a user.
    let folder = builder.tempdir_in(parent).map_err(|error| fail(path, "create", error.kind().into()))?;
    let unfinished = Unfinished::new(folder.path());
    // Dropped in this order: forgotten when it is gone.
    let (folder, unfinished) = &mut (folder, unfinished);
    let mark = mark(folder.path()).map_err(|source| fail(path, "create", source))?;
    let result = write(folder.path())?;
    let in_place = || {
        // Unlocked when it is gone: until then nobody takes the folder for one without a maker.
        fs::remove_file(folder.path().join(MARK))?;
        drop(mark);
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

/// Marks a folder as one in the making, until the file is dropped.
fn mark(folder: &Path) -> io::Result<File> {
    let mark = File::create_new(folder.join(MARK))?;
    // Where files cannot be locked no mark is ever found without a lock, either.
    let _ = mark.try_lock();
    Ok(mark)
}

/// Folders in the making without a maker.
fn abandoned(parent: &Path) -> Vec<PathBuf> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(PREFIX))
    };
    let is_free = |path: &PathBuf| -> io::Result<bool> {
        let mark = File::open(path.join(MARK))?;
        let is_old = mark.metadata()?.modified()?.elapsed().is_ok_and(|age| age > YOUNG);
        Ok(is_old && mark.try_lock().is_ok())
    };
    let entries = fs::read_dir(parent).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    entries.filter(|path| is_ours(path) && is_free(path).unwrap_or(false)).collect()
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
    fn folders_of_killed_makers_are_taken_away() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        let old = std::time::SystemTime::now() - 2 * YOUNG;
        let make = |name: &str, marked: Option<std::time::SystemTime>| {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("model.safetensors"), "half").unwrap();
            let mark = marked.map(|time| (mark(&path(name)).unwrap(), time));
            mark.map(|(mark, time)| {
                mark.set_modified(time).unwrap();
                mark
            })
        };
        drop(make(".mixlet-killed", Some(old)));
        drop(make(".mixlet-young", Some(std::time::SystemTime::now())));
        make(".mixlet-models", None);
        drop(make("other", Some(old)));
        let _held = make(".mixlet-making", Some(old));
        write_folder(&path("model"), |folder| {
            fs::write(folder.join("a"), "").unwrap();
            Ok(())
        })
        .unwrap();
        let mut names: Vec<_> =
            fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".mixlet-making", ".mixlet-models", ".mixlet-young", "model", "other"]);
        let files: Vec<_> = fs::read_dir(path("model")).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(files, ["a"]);
    }

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
