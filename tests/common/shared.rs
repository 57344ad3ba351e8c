//! The data sets of `../shared`, read by the runtime.

use mixlet_runtime::crowd::Crowd;
use mixlet_runtime::crowd::answers::NO_LABEL;
use mixlet_runtime::crowd::ids::Ids;
use mixlet_runtime::crowd::read::{ReadOptions, Repeats, read_crowd};
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/crowd").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("MIXLET_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|need| need == "shared"), "{} is absent", folder.display());
    println!("skipped: {} is absent", folder.display());
    None
}

/// A set with its gold, first answers of repeated pairs. Names are numbers, and equal places.
pub fn all_tasks(name: &str) -> Option<Crowd> {
    let folder = folder(name)?;
    let (answers, gold) = (folder.join("answers.csv"), folder.join("gold.csv"));
    let crowd = read_crowd(&answers, Some(&gold), &ReadOptions::default(), &mut |_, _| {}).unwrap();
    assert!(crowd.workers.iter().enumerate().all(|(place, name)| name.parse() == Ok(place)), "{name}");
    Some(crowd)
}

/// [`all_tasks`] without the tasks that have no gold. Workers stay although they answered none of the others, as in the
/// published residues: Web has 177 workers, one of them without a gold task.
pub fn gold_tasks(name: &str) -> Option<Crowd> {
    let mut crowd = all_tasks(name)?;
    let (mut offsets, mut cells, mut kept) = (vec![0], Vec::new(), Vec::new());
    for (task, &gold) in crowd.gold.as_deref().unwrap().iter().enumerate() {
        if gold != NO_LABEL {
            cells.extend_from_slice(crowd.answers().unwrap().task(task));
            offsets.push(cells.len() as u32);
            kept.push(gold);
        }
    }
    crowd.tasks = Ids::numbers(kept.len() as u32);
    (crowd.task_offsets, crowd.cells, crowd.gold) = (offsets, cells, Some(kept));
    Some(crowd)
}

/// The set of Dawid & Skene 1979: five observers, one of whom answered everything three times; no gold.
pub fn anaesthetist() -> Option<Crowd> {
    let options = ReadOptions { repeats: Repeats::Count, ..ReadOptions::default() };
    Some(read_crowd(&folder("anaesthetist")?.join("answers.csv"), None, &options, &mut |_, _| {}).unwrap())
}
