//! The task of every answer while a file is read.
//!
//! As long as all ids are plain integers (`0`, `17`; not `017` or `w17`) of at most eight digits,
//! they are the numbers of the tasks, and nothing is looked up. The first other id turns them into
//! names, numbered like any.

use super::intern_field;
use crate::crowd::ids::{Ids, Integers, Interner, RankedIntegers};
use crate::error::Result;
use crate::table::{Row, Table};

/// Rows to look ahead by.
const AHEAD: usize = 32;

/// The task of every answer, and the ids of the tasks.
pub(super) struct AnswerTasks {
    /// The number of every answer's task: the id itself as long as there are `integers`.
    numbers: Vec<u32>,
    integers: Option<Integers>,
    names: Interner,
}

impl Default for AnswerTasks {
    fn default() -> Self {
        Self { numbers: Vec::new(), integers: Some(Integers::default()), names: Interner::new() }
    }
}

impl AnswerTasks {
    /// Number of answers.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Adds an answer to the task with a number.
    #[inline]
    pub fn push(&mut self, number: u32) {
        self.numbers.push(number);
    }

    /// The number of the task in a field, new or not.
    #[inline]
    pub fn intern(&mut self, row: &Row<'_>, column: usize) -> Result<u32> {
        if let Some(integers) = &mut self.integers {
            if let Some(number) = Integers::value(row.field(column)) {
                integers.insert(number);
                return Ok(number);
            }
            self.change_to_names();
        }
        intern_field(row, column, &mut self.names)
    }

    /// The number of a task, if there is one with this id.
    pub fn find(&self, id: &[u8]) -> Option<u32> {
        match &self.integers {
            Some(integers) => Integers::value(id).filter(|&number| integers.contains(number)),
            None => self.names.find(id),
        }
    }

    /// Brings near what the next rows need, every few rows and where that helps.
    #[inline]
    pub fn look_ahead(&self, table: &Table<'_>, column: usize, rows: u64) {
        if self.integers.is_none() && rows.is_multiple_of(AHEAD as u64) && self.is_shuffled() {
            self.names.approach(table.upcoming(column, AHEAD));
        }
    }

    /// The sorted ids, the answers' places among them, and the places of numbers.
    pub fn finish(self) -> (Ids, Vec<u32>, TaskPlaces) {
        let Self { mut numbers, integers, names } = self;
        let (ids, places) = match integers.map(Integers::ranked) {
            Some(ranked) => (ranked.ids(), TaskPlaces::Ranked(ranked)),
            None => {
                let (ids, places) = names.finish();
                (ids, TaskPlaces::Listed(places))
            }
        };
        places.replace(numbers.iter_mut());
        (ids, numbers, places)
    }

    /// Whether most of the last answers are to another task than the answer before.
    fn is_shuffled(&self) -> bool {
        let recent = self.numbers.len().saturating_sub(AHEAD);
        let changes = self.numbers[recent..].windows(2).filter(|pair| pair[0] != pair[1]).count();
        changes > AHEAD / 2
    }

    #[cold]
    fn change_to_names(&mut self) {
        let Some(ranked) = self.integers.take().map(Integers::ranked) else { return };
        for integer in ranked.iter() {
            // They are text, and few enough.
            let _ = self.names.intern(integer.to_string().as_bytes());
        }
        TaskPlaces::Ranked(ranked).replace(self.numbers.iter_mut());
    }
}

/// The place of each number among the sorted ids.
pub(super) enum TaskPlaces {
    Ranked(RankedIntegers),
    Listed(Vec<u32>),
}

impl TaskPlaces {
    /// Replaces numbers by places.
    pub fn replace<'a>(&self, numbers: impl Iterator<Item = &'a mut u32>) {
        match self {
            Self::Ranked(integers) => numbers.for_each(|number| *number = integers.place(*number)),
            Self::Listed(places) => numbers.for_each(|number| *number = places[*number as usize]),
        }
    }
}
