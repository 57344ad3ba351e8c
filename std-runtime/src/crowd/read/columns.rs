//! The names of the columns that hold tasks, workers and labels.

use std::str::FromStr;

use crate::error::Error;

/// Which columns of a file hold what; the default is `task`, `worker` and `label`.
///
/// ```
/// # use mixlet_runtime::crowd::read::Columns;
/// let columns: Columns = "task=item,label=answer".parse().unwrap();
/// assert_eq!((columns.task.as_str(), columns.worker.as_str(), columns.label.as_str()), ("item", "worker", "answer"));
/// assert!("wroker=who".parse::<Columns>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The column of task ids.
    pub task: String,
    /// The column of worker ids.
    pub worker: String,
    /// The column of labels.
    pub label: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self { task: "task".into(), worker: "worker".into(), label: "label".into() }
    }
}

impl FromStr for Columns {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let [mut task, mut worker, mut label] = [None, None, None];
        for part in text.split(',') {
            let place = match part.split_once('=') {
                Some(("task", name)) => Some((&mut task, name)),
                Some(("worker", name)) => Some((&mut worker, name)),
                Some(("label", name)) => Some((&mut label, name)),
                _ => None,
            };
            match place {
                Some((column @ None, name)) if !name.is_empty() => *column = Some(name.to_owned()),
                _ => return Err(Error::ColumnMapping { given: part.to_owned() }),
            }
        }
        let Self { task: default_task, worker: default_worker, label: default_label } = Self::default();
        Ok(Self {
            task: task.unwrap_or(default_task),
            worker: worker.unwrap_or(default_worker),
            label: label.unwrap_or(default_label),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_three_keys_once_and_with_names() {
        for (text, part) in [
            ("", "``"),
            ("task", "`task`"),
            ("task=", "`task=`"),
            ("id=a", "`id=a`"),
            ("task=a,task=b", "`task=b`"),
            ("task=a,,label=b", "``"),
        ] {
            let message = text.parse::<Columns>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("--columns has {part}, expected task=NAME")), "{message}");
        }
        let columns: Columns = "label=c=d,worker=a b".parse().unwrap();
        assert_eq!(columns, Columns { task: "task".into(), worker: "a b".into(), label: "c=d".into() });
    }
}
