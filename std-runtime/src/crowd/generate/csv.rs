//! Generated crowds as CSV files.

use std::io::{self, Write};

use super::GeneratedCrowd;

/// How ids are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `17,5,1`: the fastest to read.
    Numbers,
    /// `task-17,worker-5,yes`: labels are `no` and `yes`, or `class-0`, `class-1`, … if there are more than two.
    Words,
}

impl GeneratedCrowd {
    /// Writes `task,worker,label` rows under a header. Buffers what it writes.
    pub fn write_answers(&self, names: Names, out: &mut impl Write) -> io::Result<()> {
        let mut rows = Rows::new(out, names, self.classes, b"task,worker,label\n");
        for ((&task, &worker), &label) in self.tasks.iter().zip(&self.workers).zip(&self.labels) {
            rows.id(b"task-", task);
            rows.id(b"worker-", worker);
            rows.label(label)?;
        }
        rows.finish()
    }

    /// Writes the truth as `task,label` rows under a header. Buffers what it writes.
    pub fn write_gold(&self, names: Names, out: &mut impl Write) -> io::Result<()> {
        let mut rows = Rows::new(out, names, self.classes, b"task,label\n");
        for (task, &label) in (0..).zip(&self.truth) {
            rows.id(b"task-", task);
            rows.label(label)?;
        }
        rows.finish()
    }
}

/// CSV rows on their way out. By hand, because formatting macros are several times slower on a hundred million rows.
struct Rows<'a, W> {
    out: &'a mut W,
    buffer: Vec<u8>,
    names: Names,
    classes: u32,
}

impl<'a, W: Write> Rows<'a, W> {
    const FLUSH_LEN: usize = 1 << 16;

    fn new(out: &'a mut W, names: Names, classes: u32, header: &[u8]) -> Self {
        let mut buffer = Vec::with_capacity(Self::FLUSH_LEN + 64);
        buffer.extend_from_slice(header);
        Self { out, buffer, names, classes }
    }

    fn id(&mut self, prefix: &[u8], number: u32) {
        if self.names == Names::Words {
            self.buffer.extend_from_slice(prefix);
        }
        self.number(number);
        self.buffer.push(b',');
    }

    /// The last field of a row.
    fn label(&mut self, label: u32) -> io::Result<()> {
        match (self.names, self.classes) {
            (Names::Numbers, _) => self.number(label),
            (Names::Words, 2) => self.buffer.extend_from_slice(if label == 0 { b"no" } else { b"yes" }),
            (Names::Words, _) => {
                self.buffer.extend_from_slice(b"class-");
                self.number(label);
            }
        }
        self.buffer.push(b'\n');
        if self.buffer.len() < Self::FLUSH_LEN {
            return Ok(());
        }
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn number(&mut self, mut number: u32) {
        let mut digits = [0; 10];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&digits[start..]);
    }

    fn finish(self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CrowdSpec, generate};
    use super::*;

    fn crowd(spec: CrowdSpec) -> GeneratedCrowd {
        generate(&spec.check().unwrap(), 1)
    }

    #[test]
    fn csv_holds_one_row_per_answer_and_per_task() {
        let mut crowd =
            crowd(CrowdSpec { tasks: 2, workers: 2, answers_per_task: 2, ..CrowdSpec::default() });
        crowd.workers = vec![1, 0, 0, 1];
        crowd.labels = vec![1, 0, 0, 0];
        crowd.truth = vec![1, 0];
        let written = |names, classes| {
            let crowd = GeneratedCrowd { classes, ..crowd.clone() };
            let (mut answers, mut gold) = (Vec::new(), Vec::new());
            crowd.write_answers(names, &mut answers).unwrap();
            crowd.write_gold(names, &mut gold).unwrap();
            (String::from_utf8(answers).unwrap(), String::from_utf8(gold).unwrap())
        };
        let expected =
            ("task,worker,label\n0,1,1\n0,0,0\n1,0,0\n1,1,0\n".into(), "task,label\n0,1\n1,0\n".into());
        assert_eq!(written(Names::Numbers, 2), expected);
        let (answers, gold) = written(Names::Words, 2);
        assert_eq!(answers.lines().nth(1), Some("task-0,worker-1,yes"));
        assert_eq!(gold, "task,label\ntask-0,yes\ntask-1,no\n");
        assert_eq!(written(Names::Words, 3).1, "task,label\ntask-0,class-1\ntask-1,class-0\n");
    }

    #[test]
    fn long_files_are_whole() {
        let crowd = crowd(CrowdSpec { tasks: 20_000, ..CrowdSpec::default() });
        let mut csv = Vec::new();
        crowd.write_answers(Names::Words, &mut csv).unwrap();
        let text = String::from_utf8(csv).unwrap();
        assert_eq!(text.lines().count(), 140_001);
        let last = (crowd.workers.last().unwrap(), ["no", "yes"][*crowd.labels.last().unwrap() as usize]);
        assert_eq!(text.lines().last(), Some(format!("task-19999,worker-{},{}", last.0, last.1).as_str()));
    }
}
