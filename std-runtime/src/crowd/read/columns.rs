//! The names of the columns that hold tasks, workers and labels.

use std::str::FromStr;

use crate::error::Error;

/// Which columns of a file hold what; the default is `task`, `worker` and `label`, also in files of gold.
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
    /// The column of labels in files of gold and of known labels; none: `label` as above, else `label` as usual.
    pub gold: Option<String>,
}

impl Default for Columns {
    fn default() -> Self {
        Self { task: "task".into(), worker: "worker".into(), label: "label".into(), gold: None }
    }
}

impl FromStr for Columns {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let [mut task, mut worker, mut label, mut gold] = [None, None, None, None];
        for part in text.split(',') {
            let place = match part.split_once('=') {
                Some(("task", name)) => Some((&mut task, name)),
                Some(("worker", name)) => Some((&mut worker, name)),
                Some(("label", name)) => Some((&mut label, name)),
                Some(("gold", name)) => Some((&mut gold, name)),
                _ => None,
            };
            match place {
                Some((column @ None, name)) if !name.is_empty() => *column = Some(name.to_owned()),
                _ => return Err(Error::ColumnMapping { given: part.to_owned() }),
            }
        }
        let usual = Self::default();
        Ok(Self {
            task: task.unwrap_or(usual.task),
            worker: worker.unwrap_or(usual.worker),
            label: label.unwrap_or(usual.label),
            gold,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_four_keys_once_and_with_names() {
        for (text, part) in [
            ("", "``"),
            ("task", "`task`"),
            ("task=", "`task=`"),
            ("id=a", "`id=a`"),
            ("task=a,task=b", "`task=b`"),
            ("task=a,,label=b", "``"),
            ("gold=a,gold=b", "`gold=b`"),
        ] {
            let message = text.parse::<Columns>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("--columns has {part}, expected task=NAME")), "{message}");
        }
        let columns: Columns = "label=c=d,worker=a b,gold=truth".parse().unwrap();
        let expected = Columns { worker: "a b".into(), label: "c=d".into(), ..Columns::default() };
        assert_eq!(columns, Columns { gold: Some("truth".into()), ..expected });
    }
}
