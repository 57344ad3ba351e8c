//! Files and folders that are not whole yet: whoever ends the program early takes them along.
//!
//! *Why a handler of signals:* a model in the making has gigabytes, under a name that nobody looks for. Signals are heard by a thread
//! of their own, so that nothing is restricted in what it does about them; then the program ends as it would have without.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All of them. Who ends the program keeps the lock, so that nothing gets its final name, or is complained of, any more.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn all() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file or folder, until it is dropped.
#[derive(Debug)]
pub(super) struct Unfinished(PathBuf);

impl Unfinished {
    pub fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        all().insert(path.clone());
        Self(path)
    }

    /// Gives it its final name, during which the program is not ended.
    pub fn settle<T>(&self, name: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut all = all();
        let named = name()?;
        all.remove(&self.0);
        Ok(named)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        all().remove(&self.0);
    }
}

/// Takes paths away.
#[cfg_attr(not(unix), expect(dead_code, reason = "other systems tell nobody of their signals"))]
fn remove<'p>(paths: impl Iterator<Item = &'p PathBuf>) {
    /// Other threads may still add to a folder that is being taken away.
    const TRIES: usize = 3;
    for path in paths {
        let gone = |_: &usize| match path.is_dir() {
            true => fs::remove_dir_all(path).is_ok(),
            false => fs::remove_file(path).is_ok(),
        };
        // Nothing can be done about what stays.
        let _ = (0..TRIES).find(gone);
    }
}

/// From now on Ctrl-C and the request to terminate take unfinished files and folders along. For programs, not for libraries.
#[cfg(unix)]
pub(crate) fn clear_when_ended() {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    // Without it files may be left behind, which is no reason not to begin.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let unfinished = all();
            remove(unfinished.iter());
            if emulate_default_handler(signal).is_err() {
                std::process::exit(128 + signal);
            }
        }
    });
}

/// Other systems end a program at once.
#[cfg(not(unix))]
pub(crate) fn clear_when_ended() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_goes_and_what_is_settled_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("folder")).unwrap();
        fs::write(path("folder/part"), "x").unwrap();
        for name in ["file", "settled", "dropped", "failed"] {
            fs::write(path(name), "x").unwrap();
        }
        let [_folder, _file, settled, dropped, failed] =
            ["folder", "file", "settled", "dropped", "failed"].map(|name| Unfinished::new(&path(name)));
        settled.settle(|| fs::rename(path("settled"), path("named"))).unwrap();
        failed.settle(|| Err::<(), _>(io::ErrorKind::StorageFull.into())).unwrap_err();
        drop(dropped);
        remove(all().iter().filter(|path| path.starts_with(folder.path())));
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dropped", "named"]);
    }
}
