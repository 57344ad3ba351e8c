//! Memory that can still be had: the machine's, and that of the control groups this program is in.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Memory that can still be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// Whether a control group, and not the machine, sets the limit.
    pub grouped: bool,
}

/// What Linux says; nothing elsewhere. Pages of files that can be read again are free.
pub fn free() -> Option<Free> {
    let text = |path: &Path| fs::read_to_string(path).ok();
    let machine = text(Path::new("/proc/meminfo")).and_then(|info| machine(&info));
    let own = text(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let groups = groups(&own).into_iter().filter_map(|folder| group(|file| text(&folder.join(file))));
    let group = groups.min().map(|bytes| Free { bytes, grouped: true });
    let machine = machine.map(|bytes| Free { bytes, grouped: false });
    [machine, group].into_iter().flatten().min_by_key(|free| free.bytes)
}

/// `MemAvailable` of `/proc/meminfo`.
fn machine(info: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The folders of the groups that `/proc/self/cgroup` names, each with those above it: version 2, and version 1's `memory`.
fn groups(own: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(path)) = (parts.next(), parts.next()) else { continue };
        let root = match kinds {
            "" => Path::new("/sys/fs/cgroup"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => Path::new("/sys/fs/cgroup/memory"),
            _ => continue,
        };
        let path = root.join(path.trim_start_matches('/'));
        folders.extend(path.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned));
    }
    folders
}

/// What a group may still take, out of its files; nothing without a limit.
fn group(file: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let number = |name: &str| file(name)?.trim().parse::<u64>().ok();
    let (limit, used) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?),
        None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?),
    };
    let of_files = file("memory.stat").unwrap_or_default();
    let of_files = of_files.lines().find_map(|line| {
        let (name, bytes) = line.split_once(' ')?;
        ["file", "total_cache"].contains(&name).then(|| bytes.trim().parse::<u64>().ok())?
    });
    Some(limit.saturating_sub(used.saturating_sub(of_files.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_is_available() {
        let info = "MemTotal:       24500000 kB\nMemFree:          100 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(machine(info), Some(2048 * 1024));
        assert_eq!(machine("MemTotal: 5 kB\n"), None);
    }

    #[test]
    fn groups_are_looked_for_up_to_the_root() {
        assert_eq!(
            groups("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"].map(PathBuf::from)
        );
        assert_eq!(groups("5:cpu,memory:/\n4:pids:/x\n"), [PathBuf::from("/sys/fs/cgroup/memory")]);
        assert!(groups("nothing").is_empty());
    }

    #[test]
    fn a_group_may_take_what_is_left_and_what_its_files_take() {
        type Files = &'static [(&'static str, &'static str)];
        let files = |files: Files| {
            move |name: &str| {
                files.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
            }
        };
        let cases: [(Files, Option<u64>); 5] = [
            (&[("memory.max", "1000\n"), ("memory.current", "300\n")], Some(700)),
            (
                &[("memory.max", "1000\n"), ("memory.current", "900"), ("memory.stat", "anon 5\nfile 600\n")],
                Some(700),
            ),
            (&[("memory.max", "max\n"), ("memory.current", "300\n")], None),
            (
                &[
                    ("memory.limit_in_bytes", "50"),
                    ("memory.usage_in_bytes", "60"),
                    ("memory.stat", "cache 1\ntotal_cache 20"),
                ],
                Some(10),
            ),
            (&[], None),
        ];
        for (all, expected) in cases {
            assert_eq!(group(files(all)), expected, "{all:?}");
        }
    }

    #[test]
    fn this_machine_has_some() {
        if cfg!(target_os = "linux") {
            assert!(free().unwrap().bytes > 1 << 20);
        }
    }
}
