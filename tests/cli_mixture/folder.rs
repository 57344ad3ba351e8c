//! A folder with rows in it, and what users do there.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::array_files::{idx, npy};
use crate::common::command::{Run, mixlet};
use crate::common::random::SplitMix;

/// A folder with a survey of three groups of people (`survey.csv`), their groups (`groups.csv`), and pictures of two
/// bars (`bars-idx3-ubyte`, also as `bars.npy`).
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write_survey(300);
        folder.write_bars(120);
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Yes or no to eight questions, an age of four, now and then nothing.
    fn write_survey(&self, people: usize) {
        const YES: [[f64; 8]; 3] = [
            [0.9, 0.9, 0.8, 0.1, 0.1, 0.2, 0.5, 0.5],
            [0.1, 0.2, 0.9, 0.9, 0.8, 0.1, 0.5, 0.5],
            [0.2, 0.1, 0.1, 0.2, 0.9, 0.9, 0.5, 0.5],
        ];
        const AGES: [&str; 4] = ["18-29", "30-44", "45-64", "65+"];
        let mut random = SplitMix(3);
        let mut rows = "id,tea,coffee,meat,bike,car,news,cat,dog,age,group\n".to_owned();
        let mut groups = "group\n".to_owned();
        for person in 0..people {
            let group = random.below(3);
            write!(rows, "p{person}").unwrap();
            for yes in YES[group] {
                let answer = if random.unit() < yes { "yes" } else { "no" };
                write!(rows, ",{}", if random.unit() < 0.03 { "" } else { answer }).unwrap();
            }
            let age = AGES[(group + random.below(2)).min(3)];
            writeln!(rows, ",{age},{}", ["red", "green", "blue"][group]).unwrap();
            writeln!(groups, "{}", ["red", "green", "blue"][group]).unwrap();
        }
        self.write("survey.csv", &rows);
        self.write("groups.csv", &groups);
    }

    /// Pictures of 4 x 6 pixels: a dark upper or lower half, spotted.
    fn write_bars(&self, count: usize) {
        let mut random = SplitMix(5);
        let (mut pixels, mut halves) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let half = random.below(2);
            halves.push(half as u8);
            for place in 0..24 {
                let is_dark = (place / 12 == half) != (random.unit() < 0.1);
                pixels.push(if is_dark { 200 } else { 30 });
            }
        }
        let count = count as u32;
        fs::write(self.path().join("bars-idx3-ubyte"), idx(&[count, 4, 6], &pixels)).unwrap();
        fs::write(self.path().join("halves-idx1-ubyte"), idx(&[count], &halves)).unwrap();
        let shape = format!("({count}, 24)");
        fs::write(self.path().join("bars.npy"), npy(1, "|u1", false, &shape, &pixels)).unwrap();
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Runs `mixlet mixture` here; arguments are separated by blanks.
    pub fn run(&self, arguments: &str) -> Run {
        mixlet(self.path(), &format!("mixture {arguments}"))
    }

    /// Runs it and insists on success.
    pub fn done(&self, arguments: &str) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments}: {}", run.err);
        run
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A CSV file's header and rows.
    pub fn table(&self, name: &str) -> (Vec<String>, Vec<Vec<String>>) {
        let mut csv = csv::Reader::from_path(self.path().join(name)).unwrap();
        let header = csv.headers().unwrap().iter().map(str::to_owned).collect();
        let fields = |row: csv::StringRecord| row.iter().map(str::to_owned).collect();
        (header, csv.records().map(|row| fields(row.unwrap())).collect())
    }
}
