//! Answers while they are read: numbers in the order of the file, names in the order they came.

use std::path::Path;

use super::answer_tasks::AnswerTasks;
use super::task_labels::unknown_label;
use super::{ReadOptions, check_has_rows, file_problem, intern_field};
use crate::crowd::answers::{Crowd, Grouped, NO_LABEL, Repeats};
use crate::crowd::ids::{Ids, Interner};
use crate::error::{Error, Result, TableProblem};
use crate::table::{Progress, Row, Table};

/// Answers that are not yet grouped.
pub(super) struct Draft {
    pub tasks: AnswerTasks,
    pub workers: Interner,
    pub labels: Interner,
    /// Answers left out because their worker is not among the known ones.
    pub unknown_answers: u64,
    answer_workers: Vec<u32>,
    answer_labels: Codes,
    /// Kept only where an error may have to name lines.
    lines: Option<Lines>,
}

/// What is taken of a file.
#[derive(Clone, Copy)]
pub(super) struct Filter<'a> {
    /// Only these tasks, if given.
    pub tasks: Option<&'a Interner>,
    /// Workers with a number from here on are left out.
    pub workers: usize,
    /// Labels with a number from here on are an error.
    pub labels: usize,
}

impl Default for Filter<'_> {
    fn default() -> Self {
        Self { tasks: None, workers: usize::MAX, labels: usize::MAX }
    }
}

impl Draft {
    /// No answers, no names.
    pub fn new(options: &ReadOptions) -> Self {
        Self {
            tasks: AnswerTasks::default(),
            workers: Interner::new(),
            labels: Interner::new(),
            unknown_answers: 0,
            answer_workers: Vec::new(),
            answer_labels: Codes::Bytes(Vec::new()),
            lines: (options.repeats == Repeats::Error).then(Lines::default),
        }
    }

    /// No answers, but workers and labels whose numbers are their places.
    pub fn from_known(workers: &Ids, labels: &Ids, options: &ReadOptions) -> Self {
        let (workers, labels) = (Interner::from_ids(workers), Interner::from_ids(labels));
        Self { workers, labels, ..Self::new(options) }
    }

    /// Reads a whole file.
    pub fn read(
        &mut self,
        path: &Path,
        options: &ReadOptions,
        filter: Filter<'_>,
        progress: Progress<'_>,
    ) -> Result<()> {
        let mut table = Table::open(path, options.delimiter, progress)?;
        let names = &options.columns;
        let columns =
            table.columns([("task", &names.task), ("worker", &names.worker), ("label", &names.label)])?;
        let mut rows = 0;
        while let Some(row) = table.next_row()? {
            rows += 1;
            self.add(&row, columns, filter)?;
            self.tasks.look_ahead(&table, columns[0], rows);
        }
        check_has_rows(&table, rows)
    }

    #[inline]
    fn add(&mut self, row: &Row<'_>, columns: [usize; 3], filter: Filter<'_>) -> Result<()> {
        let [task, worker, label] = columns;
        if let Some(tasks) = filter.tasks {
            let is_empty = |&column: &usize| row.field(column).is_empty();
            if let Some(&column) = columns.iter().find(|column| is_empty(column)) {
                return Err(row.empty_field(column));
            }
            if tasks.find(row.field(task)).is_none() {
                // The crowd stays who it is, also those who answered no task in gold.
                return intern_field(row, worker, &mut self.workers).map(drop);
            }
        }
        let task = self.tasks.intern(row, task)?;
        let worker = intern_field(row, worker, &mut self.workers)?;
        let label = intern_field(row, label, &mut self.labels)?;
        if label as usize >= filter.labels {
            let known = (0..filter.labels).map(|number| self.labels.get(number as u32));
            return Err(row.problem(unknown_label(self.labels.get(label), known)));
        }
        if worker as usize >= filter.workers {
            self.unknown_answers += 1;
            return Ok(());
        }
        if self.tasks.len() == u32::MAX as usize {
            return Err(row.problem(TableProblem::TooManyAnswers));
        }
        if let Some(lines) = &mut self.lines {
            lines.push(self.tasks.len(), row.line());
        }
        self.tasks.push(task);
        self.answer_workers.push(worker);
        self.answer_labels.push(label);
        Ok(())
    }

    /// Sorts the names and groups the answers. `gold` has `(task, label)` in numbers of the draft.
    pub fn finish(mut self, path: &Path, rule: Repeats, gold: Option<Vec<(u32, u32)>>) -> Result<Crowd> {
        let (tasks, answer_tasks, task_places) = std::mem::take(&mut self.tasks).finish();
        let (workers, worker_places) = std::mem::take(&mut self.workers).finish();
        let (labels, label_places) = std::mem::take(&mut self.labels).finish();
        let gold = gold.map(|mut pairs| {
            task_places.replace(pairs.iter_mut().map(|(task, _)| task));
            let mut gold = vec![NO_LABEL; tasks.len()];
            for (task, label) in pairs {
                gold[task as usize] = label_places[label as usize];
            }
            gold
        });
        drop(task_places);
        let named = Named { tasks, answer_tasks, workers, labels, gold };
        self.group(path, rule, named, [&worker_places, &label_places])
    }

    /// Sorts the tasks and groups the answers, of known workers and with known labels.
    pub fn finish_known(mut self, path: &Path, rule: Repeats, workers: &Ids, labels: &Ids) -> Result<Crowd> {
        let (tasks, answer_tasks, _) = std::mem::take(&mut self.tasks).finish();
        let same = |ids: &Ids| -> Vec<u32> { (0..ids.len() as u32).collect() };
        let places = [same(workers), same(labels)];
        let (workers, labels) = (workers.clone(), labels.clone());
        let named = Named { tasks, answer_tasks, workers, labels, gold: None };
        self.group(path, rule, named, [&places[0], &places[1]])
    }

    fn group(self, path: &Path, rule: Repeats, named: Named, places: [&[u32]; 2]) -> Result<Crowd> {
        let Self { answer_workers, answer_labels, lines, .. } = self;
        let Named { tasks, answer_tasks, workers, labels, gold } = named;
        let (worker_count, label_count) = (workers.len(), labels.len() as u32);
        if u32::try_from(worker_count * labels.len()).is_err() {
            let (workers, labels) = (worker_count, labels.len());
            return Err(file_problem(path, TableProblem::TooManyCells { workers, labels }));
        }
        let cells = answer_labels.into_cells(answer_workers, places, label_count);
        let in_file_order = lines.map(|lines| (lines, cells.clone()));
        let mut grouped = Grouped::new(tasks.len(), &answer_tasks, cells);
        let repeats = grouped.settle_repeats(rule, worker_count, label_count).map_err(|repeat| {
            let (lines, cells) = in_file_order.unwrap_or_default();
            let answers = answer_tasks.iter().zip(&cells).map(|(&task, cell)| (task, cell / label_count));
            let [first_line, line] = lines.of_pair(answers, (repeat.task, repeat.worker));
            let problem = TableProblem::RepeatedPair {
                task: tasks.get(repeat.task as usize).to_owned(),
                worker: workers.get(repeat.worker as usize).to_owned(),
                first_line,
            };
            Error::Table { path: path.to_owned(), line: Some(line), problem: Box::new(problem) }
        })?;
        let Grouped { task_offsets, cells } = grouped;
        Ok(Crowd { tasks, workers, labels, task_offsets, cells, gold, repeats })
    }
}

/// The sorted names of a crowd, its gold, and the places of the tasks that were answered.
struct Named {
    tasks: Ids,
    answer_tasks: Vec<u32>,
    workers: Ids,
    labels: Ids,
    gold: Option<Vec<u32>>,
}

/// Small numbers, in bytes as long as that is enough.
enum Codes {
    Bytes(Vec<u8>),
    Words(Vec<u32>),
}

impl Codes {
    #[inline]
    fn push(&mut self, code: u32) {
        match (&mut *self, u8::try_from(code)) {
            (Self::Bytes(bytes), Ok(byte)) => bytes.push(byte),
            (Self::Words(words), _) => words.push(code),
            (Self::Bytes(bytes), Err(_)) => {
                let mut words: Vec<u32> = bytes.iter().map(|&byte| u32::from(byte)).collect();
                words.push(code);
                *self = Self::Words(words);
            }
        }
    }

    /// Turns workers and these labels into cells, in the memory of the workers.
    fn into_cells(self, mut workers: Vec<u32>, places: [&[u32]; 2], label_count: u32) -> Vec<u32> {
        let [worker_places, label_places] = places;
        let cell =
            |worker: u32, label: usize| worker_places[worker as usize] * label_count + label_places[label];
        match self {
            Self::Bytes(labels) => {
                workers
                    .iter_mut()
                    .zip(labels)
                    .for_each(|(worker, label)| *worker = cell(*worker, label.into()));
            }
            Self::Words(labels) => {
                workers
                    .iter_mut()
                    .zip(labels)
                    .for_each(|(worker, label)| *worker = cell(*worker, label as usize));
            }
        }
        workers
    }
}

/// The line of each answer, stored where it is not one more than that of the answer before.
#[derive(Debug, Default)]
struct Lines {
    /// `(answer, line)`: from this answer on, lines count up from this line.
    jumps: Vec<(u32, u64)>,
}

impl Lines {
    fn push(&mut self, answer: usize, line: u64) {
        if self.get(answer) != line {
            self.jumps.push((answer as u32, line));
        }
    }

    fn get(&self, answer: usize) -> u64 {
        let after = self.jumps.partition_point(|&(from, _)| from as usize <= answer);
        let jump = after.checked_sub(1).and_then(|place| self.jumps.get(place));
        jump.map_or(0, |&(from, line)| line + (answer as u64 - u64::from(from)))
    }

    /// The lines of the first two answers of a `(task, worker)` pair.
    fn of_pair(&self, answers: impl Iterator<Item = (u32, u32)>, pair: (u32, u32)) -> [u64; 2] {
        let mut lines = answers.enumerate().filter(|&(_, answer)| answer == pair);
        [lines.next(), lines.next()].map(|found| found.map_or(0, |(answer, _)| self.get(answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_lines_survive_their_compact_forms() {
        let mut codes = Codes::Bytes(Vec::new());
        (0..300).for_each(|code| codes.push(code));
        let places: Vec<u32> = (0..300).collect();
        let cells = codes.into_cells(vec![1; 300], [&[0, 2], &places], 300);
        assert_eq!(cells, (600..900).collect::<Vec<u32>>());

        let (mut lines, numbers) = (Lines::default(), [2, 3, 4, 7, 8, 20, 21]);
        numbers.iter().enumerate().for_each(|(answer, &line)| lines.push(answer, line));
        assert_eq!(lines.jumps.len(), 3);
        assert_eq!((0..7).map(|answer| lines.get(answer)).collect::<Vec<_>>(), numbers);
    }
}
