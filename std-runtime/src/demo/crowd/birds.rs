//! The demo's birds, photos and people: names for the numbers of a generated crowd, and its files.

use std::io::{self, Write};
use std::path::Path;

use crate::crowd::Crowd;
use crate::crowd::answers::Repeats;
use crate::crowd::generate::GeneratedCrowd;
use crate::crowd::ids::{Ids, Interner};
use crate::error::Result;
use crate::output::write_file;

/// How many photos there are: three digits number them all.
pub const PHOTOS: u32 = 600;

/// What may be on a photo, sorted; the last is the rare one.
const BIRDS: [&str; 3] = ["robin", "sparrow", "wren"];

/// Who looks at the photos, sorted.
#[rustfmt::skip]
pub const WORKERS: [&str; 100] = [
    "abel", "ada", "aino", "alma", "amir", "anja", "anton", "astrid", "azra", "bela",
    "boris", "bruno", "cai", "carla", "chen", "cleo", "dana", "dario", "diego", "dora",
    "ebbe", "edda", "elif", "emil", "enzo", "esra", "eva", "fatou", "felix", "finn",
    "frida", "fumi", "gabi", "gita", "greta", "hana", "hugo", "ida", "igor", "ilse",
    "ines", "iris", "ivan", "jana", "jaro", "joao", "jonas", "june", "juri", "kai",
    "karim", "karl", "kira", "kofi", "lars", "leila", "lena", "lev", "lina", "livia",
    "lotte", "luca", "maja", "mara", "marek", "mei", "mika", "milo", "mona", "nadia",
    "nico", "nils", "nina", "noor", "olga", "omar", "oskar", "otto", "paula", "petra",
    "pia", "quinn", "rafi", "rolf", "rosa", "rune", "sami", "samir", "sanna", "sofia",
    "tara", "theo", "tomas", "ulla", "umar", "vera", "viktor", "wanda", "yara", "zoe",
];

fn photo(number: u32) -> String {
    format!("photo-{number:03}")
}

/// The answers under their names. All names are sorted, so numbers stay what they are.
pub fn crowd(made: &GeneratedCrowd) -> Result<Crowd> {
    let crowd = Crowd::from_arrays(&made.tasks, &made.workers, &made.labels, Repeats::First)?;
    let photos: Vec<String> = (0..PHOTOS).map(photo).collect();
    let tasks = ids(photos.iter().map(String::as_str));
    Ok(Crowd { tasks, workers: ids(WORKERS), labels: ids(BIRDS), gold: Some(made.truth.clone()), ..crowd })
}

fn ids<'a>(names: impl IntoIterator<Item = &'a str>) -> Ids {
    let mut interner = Interner::new();
    for name in names {
        // Only too many names, or names that are no text, are refused.
        let _ = interner.intern(name.as_bytes());
    }
    interner.finish().0
}

/// Writes `answers.csv` and `gold.csv` into a folder, as `mixlet crowd fit` reads them.
pub fn write(made: &GeneratedCrowd, folder: &Path) -> Result<()> {
    write_file(&folder.join("answers.csv"), |out| write_answers(made, out))?;
    write_file(&folder.join("gold.csv"), |out| write_gold(made, out))
}

fn write_answers(made: &GeneratedCrowd, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "task,worker,label")?;
    for ((&task, &worker), &label) in made.tasks.iter().zip(&made.workers).zip(&made.labels) {
        writeln!(out, "{},{},{}", photo(task), WORKERS[worker as usize], BIRDS[label as usize])?;
    }
    Ok(())
}

fn write_gold(made: &GeneratedCrowd, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "task,label")?;
    for (task, &label) in (0..).zip(&made.truth) {
        writeln!(out, "{},{}", photo(task), BIRDS[label as usize])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::read::{ReadOptions, read_crowd};

    #[test]
    fn the_files_hold_the_crowd() {
        let folder = tempfile::tempdir().unwrap();
        let made = crate::demo::crowd::generated(3).unwrap();
        write(&made, folder.path()).unwrap();
        let (answers, gold) = (folder.path().join("answers.csv"), folder.path().join("gold.csv"));
        let read = read_crowd(&answers, Some(&gold), &ReadOptions::default(), &mut |_, _| ()).unwrap();
        let named = crowd(&made).unwrap();
        assert_eq!((&read.tasks, &read.workers, &read.labels), (&named.tasks, &named.workers, &named.labels));
        assert_eq!((&read.task_offsets, &read.cells), (&named.task_offsets, &named.cells));
        assert_eq!(read.gold, named.gold);
    }
}
