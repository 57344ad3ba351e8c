//! The data sets of `../shared`, read by the runtime.

use mixlet_runtime::crowd::Crowd;
use mixlet_runtime::crowd::read::{ReadOptions, Repeats, TaskFilter, read_crowd};
use std::path::{Path, PathBuf};

/// The sets with gold.
pub const SETS: [&str; 13] = [
    "bird",
    "rte",
    "trec",
    "dog",
    "web",
    "product",
    "possent",
    "face",
    "sp",
    "sp_amt",
    "relevance",
    "adult",
    "fact_eval",
];

/// The folder of a data set. None, with a message, where it is absent; a failure instead if `MIXLET_REQUIRE` names `shared`.
pub fn folder(name: &str) -> Option<PathBuf> {
    find(&format!("data/crowd/{name}"))
}

/// A folder of `../shared`, as [`folder`] finds it.
pub fn find(path: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("MIXLET_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|need| need == "shared"), "{} is absent", folder.display());
    println!("skipped: {} is absent", folder.display());
    None
}

/// A set with its gold, first answers of repeated pairs. Names are numbers, and workers' names are their places.
pub fn all_tasks(name: &str) -> Option<Crowd> {
    read(name, ReadOptions::default())
}

/// [`all_tasks`] without the tasks that have no gold, as in the published figures. Workers stay although they
/// answered none of the others: Web has 177 workers, one of them without a gold task.
pub fn gold_tasks(name: &str) -> Option<Crowd> {
    read(name, ReadOptions { tasks: TaskFilter::Gold, ..ReadOptions::default() })
}

fn read(name: &str, options: ReadOptions) -> Option<Crowd> {
    let folder = folder(name)?;
    let (answers, gold) = (folder.join("answers.csv"), folder.join("gold.csv"));
    let crowd = read_crowd(&answers, Some(&gold), &options, &mut |_, _| {}).unwrap();
    assert!(crowd.workers.iter().enumerate().all(|(place, name)| name.parse() == Ok(place)), "{name}");
    Some(crowd)
}

/// The set of Dawid & Skene 1979: five observers, one of whom answered everything three times; no gold.
pub fn anaesthetist() -> Option<Crowd> {
    let options = ReadOptions { repeats: Repeats::Count, ..ReadOptions::default() };
    Some(read_crowd(&folder("anaesthetist")?.join("answers.csv"), None, &options, &mut |_, _| {}).unwrap())
}
