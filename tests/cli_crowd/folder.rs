//! A folder with a crowd in it, and what users do there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::common::command::{Run, mixlet, program};
use crate::common::crowd::{Crowd, Generated, Naming};

pub const LABELS: [&str; 3] = ["cat", "dog", "other_one"];

/// A folder with `answers.csv` and `gold.csv` of a crowd whose workers range from guessing to knowing.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let crowd = Generated {
            tasks: 200,
            workers: 12,
            labels: 3,
            answers_per_task: 5,
            accuracy: (0.34, 0.95),
            naming: Naming::Shared,
            seed: 7,
        };
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write_crowd(&crowd.crowd(), 0..200, "answers.csv", "gold.csv");
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write_crowd(&self, crowd: &Crowd, tasks: std::ops::Range<usize>, answers: &str, gold: &str) {
        let (mut rows, mut truth) = ("task,worker,label\n".to_owned(), "task,label\n".to_owned());
        for task in tasks {
            for &cell in crowd.answers().task(task) {
                let (worker, label) = (crowd.answers().worker(cell), crowd.answers().label(cell));
                writeln!(rows, "t{task},w{worker},{}", LABELS[label]).unwrap();
            }
            writeln!(truth, "t{task},{}", LABELS[crowd.gold[task].unwrap()]).unwrap();
        }
        self.write(answers, &rows);
        self.write(gold, &truth);
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub fn run(&self, arguments: &str) -> Run {
        mixlet(self.path(), &format!("crowd {arguments}"))
    }

    /// A run with something on its standard input.
    pub fn run_reading(&self, arguments: &str, input: &str) -> Run {
        let mut child = Command::new(program())
            .args(format!("crowd {arguments}").split_whitespace())
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses its arguments reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// A run that must succeed.
    pub fn done(&self, arguments: &str) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments}: {}", run.err);
        run
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A CSV file's rows by their first field.
    pub fn table(&self, name: &str) -> (Vec<String>, BTreeMap<String, Vec<String>>) {
        let mut csv = csv::Reader::from_path(self.path().join(name)).unwrap();
        let header = csv.headers().unwrap().iter().map(str::to_owned).collect();
        let fields = |row: csv::StringRecord| row.iter().map(str::to_owned).collect::<Vec<_>>();
        let rows = csv.records().map(|row| fields(row.unwrap())).map(|row| (row[0].clone(), row));
        (header, rows.collect())
    }
}
