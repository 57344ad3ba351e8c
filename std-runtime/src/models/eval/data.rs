//! Files of texts and questions: plain text, or a JSON object in each line.
//!
//! What a line is says its keys: `text` alone is a text; `prompt` (or `question`, `input`) with `choices` and `answer` a choice, and
//! with `answer` (or `completion`, `target`, `output`) alone a question. Which of them the file holds, its first line says.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, EvalProblem, Result};
use crate::models::text::{LIST, is_list_of_objects, json_reason, read_text};

/// Names of the keys, each first the one that errors name.
const PROMPT: [&str; 3] = ["prompt", "question", "input"];
const ANSWER: [&str; 4] = ["answer", "completion", "target", "output"];
const CHOICES: [&str; 1] = ["choices"];
const TEXT: [&str; 1] = ["text"];
/// What sets the steps to an answer apart from it, in the answers of GSM8K.
const STEPS_END: &str = "####";

/// What is in a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Texts, each with its line; one without a line is the whole file.
    Texts(Vec<(Option<usize>, String)>),
    /// Questions, all with choices or all without.
    Questions(Vec<Question>),
}

/// A question and what is to be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Where it stands, counted from 1.
    pub line: usize,
    /// The question.
    pub prompt: String,
    /// Texts to choose from; none where the answer is free.
    pub choices: Vec<String>,
    /// The right choice.
    pub choice: usize,
    /// The right answers, at least one: with choices, the text of the right one.
    pub answers: Vec<String>,
    /// The steps to the answer, where they are known.
    pub steps: Option<String>,
}

impl Data {
    /// Reads a file, gzip or not, or standard input for `-`.
    pub fn read(path: &Path) -> Result<Self> {
        let problem = |line, problem| Error::Eval { path: path.to_owned(), line, problem };
        Self::parse(read_text(path)?).map_err(|(line, found)| problem(line, found))
    }

    fn parse(text: String) -> Result<Self, (Option<usize>, EvalProblem)> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
        let Some((first, line)) = lines.peek().copied() else {
            return Err((None, EvalProblem::Empty));
        };
        if is_list_of_objects(&text) {
            return Err((Some(first + 1), EvalProblem::Json { reason: LIST.to_owned() }));
        }
        if !line.trim_start().starts_with('{') {
            return Ok(Self::Texts(vec![(None, text)]));
        }
        let at = |nth: usize| move |problem| (Some(nth + 1), problem);
        let keys = object(line).map_err(at(first))?;
        if get(&keys, &PROMPT).is_none() && keys.contains_key(TEXT[0]) {
            let text = |(nth, line)| {
                let text = object(line).and_then(|keys| string(&keys, &TEXT)).map_err(at(nth))?;
                Ok((Some(nth + 1), text))
            };
            return Ok(Self::Texts(lines.map(text).collect::<Result<_, _>>()?));
        }
        let with_choices = get(&keys, &CHOICES).is_some();
        let question = |(nth, line)| {
            let keys = object(line)?;
            if with_choices { Question::of_choices(&keys, nth + 1) } else { Question::free(&keys, nth + 1) }
        };
        let checked = |(nth, line)| question((nth, line)).map_err(at(nth));
        Ok(Self::Questions(lines.map(checked).collect::<Result<_, _>>()?))
    }
}

impl Question {
    fn of_choices(keys: &Map<String, Value>, line: usize) -> Result<Self, EvalProblem> {
        let choices = get(keys, &CHOICES).and_then(texts).filter(|choices| choices.len() > 1);
        let choices = choices.ok_or_else(|| wrong(keys, &CHOICES, "a list of at least two texts"))?;
        let answer = get(keys, &ANSWER);
        let answer = answer.ok_or_else(|| wrong(keys, &ANSWER, "a choice's text or its place"))?;
        let place = match answer {
            Value::String(text) => choices.iter().position(|choice| choice == text),
            other => other.as_u64().map(|place| place as usize).filter(|place| *place < choices.len()),
        };
        let wrong = || EvalProblem::Answer { found: answer.to_string(), choices: choices.len() };
        let choice = place.ok_or_else(wrong)?;
        let answers = vec![choices[choice].clone()];
        Ok(Self { line, prompt: string(keys, &PROMPT)?, choices, choice, answers, steps: steps(keys) })
    }

    fn free(keys: &Map<String, Value>, line: usize) -> Result<Self, EvalProblem> {
        let mut answers = get(keys, &ANSWER)
            .and_then(|answer| match answer {
                Value::String(text) => Some(vec![text.clone()]),
                Value::Number(number) => Some(vec![number.to_string()]),
                other => texts(other),
            })
            .filter(|answers| !answers.is_empty())
            .ok_or_else(|| wrong(keys, &ANSWER, "a text, or a list of texts"))?;
        let mut steps = steps(keys);
        for answer in &mut answers {
            if let Some((before, after)) = answer.split_once(STEPS_END) {
                steps.get_or_insert_with(|| before.trim().to_owned());
                *answer = after.trim().to_owned();
            }
        }
        Ok(Self { line, prompt: string(keys, &PROMPT)?, answers, steps, ..Self::default() })
    }
}

fn steps(keys: &Map<String, Value>) -> Option<String> {
    get(keys, &["rationale", "steps"]).and_then(Value::as_str).map(str::to_owned)
}

fn object(line: &str) -> Result<Map<String, Value>, EvalProblem> {
    serde_json::from_str(line).map_err(|error| EvalProblem::Json { reason: json_reason(&error) })
}

fn get<'a>(keys: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| keys.get(*name))
}

fn string(keys: &Map<String, Value>, names: &[&'static str]) -> Result<String, EvalProblem> {
    let text = get(keys, names).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| wrong(keys, names, "a text"))
}

/// A key that is not there, or has something else.
fn wrong(keys: &Map<String, Value>, names: &[&'static str], expected: &'static str) -> EvalProblem {
    let key = names[0];
    match get(keys, names) {
        None => EvalProblem::Missing { key, expected },
        Some(value) => EvalProblem::Value { key, found: value.to_string(), expected },
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_a_file_holds() {
        let text = "Once upon\na time {\n";
        assert_eq!(Data::parse(text.into()), Ok(Data::Texts(vec![(None, text.into())])));
        let lines = "\n{\"text\": \"a\"}\n\n{\"text\": \"b\", \"other\": 1}\n";
        let texts = vec![(Some(2), "a".to_owned()), (Some(4), "b".to_owned())];
        assert_eq!(Data::parse(lines.into()), Ok(Data::Texts(texts)));
        let lines = r#"{"question": "2?", "choices": ["x", "y"], "answer": 1}
                       {"prompt": "3?", "choices": ["x", "y", "z"], "answer": "x"}"#;
        let Ok(Data::Questions(questions)) = Data::parse(lines.into()) else { panic!("no questions") };
        let facts = |it: &Question| (it.line, it.prompt.clone(), it.choice, it.answers.clone());
        assert_eq!(facts(&questions[0]), (1, "2?".into(), 1, vec!["y".to_owned()]));
        assert_eq!(facts(&questions[1]), (2, "3?".into(), 0, vec!["x".to_owned()]));
        let lines = r#"{"input": "q", "output": ["a", "b"], "rationale": "r"}
                       {"question": "q", "answer": "one\ntwo\n#### 18"}"#;
        let Ok(Data::Questions(questions)) = Data::parse(lines.into()) else { panic!("no questions") };
        assert_eq!((questions[0].answers.len(), questions[0].steps.as_deref()), (2, Some("r")));
        assert_eq!(
            (questions[1].answers[0].as_str(), questions[1].steps.as_deref()),
            ("18", Some("one\ntwo"))
        );
        let lines = r#"{"prompt": "q", "answer": 7}"#;
        let Ok(Data::Questions(questions)) = Data::parse(lines.into()) else { panic!("no questions") };
        assert_eq!(questions[0].answers, ["7"]);
    }

    #[test]
    fn wrong_lines_are_named() {
        let good = r#"{"prompt": "q", "choices": ["a", "b"], "answer": 0}"#;
        let cases = [
            ("", None, "nothing to evaluate, expected a text, or lines of JSON"),
            (" \n\n", None, "nothing to evaluate, expected a text, or lines of JSON"),
            ("{\"a\": ", Some(1), "no JSON object"),
            (
                r#"[{"prompt": "q"}]"#,
                Some(1),
                "no JSON object (`a list of objects, expected an object in each line`)",
            ),
            ("{}", Some(1), "`answer` is not there, expected a text, or a list of texts"),
            (r#"{"answer": "x"}"#, Some(1), "`prompt` is not there, expected a text"),
            (
                r#"{"prompt": "q", "answer": true}"#,
                Some(1),
                "`answer` is `true`, expected a text, or a list of texts",
            ),
            (r#"{"prompt": 3, "answer": "a"}"#, Some(1), "`prompt` is `3`, expected a text"),
            ("{\"text\": \"a\"}\n{\"text\": null}", Some(2), "`text` is `null`, expected a text"),
            (
                &format!("{good}\n{{\"prompt\": "),
                Some(2),
                "no JSON object (`EOF while parsing a value at column 11`)",
            ),
            (
                &format!("{good}\n{}", good.replace(": 0}", ": 2}")),
                Some(2),
                "the answer is `2`, expected a choice's text or its place, 0 to 1",
            ),
            (
                &format!("{good}\n{}", good.replace(": 0}", ": \"c\"}")),
                Some(2),
                "the answer is `\"c\"`, expected a choice's text or its place, 0 to 1",
            ),
            (
                &format!("{good}\n{}", good.replace(", \"b\"", "")),
                Some(2),
                "`choices` is `[\"a\"]`, expected a list of at least two texts",
            ),
        ];
        for (text, line, message) in cases {
            let (found, problem) = Data::parse(text.to_owned()).unwrap_err();
            assert_eq!(found, line, "{text}");
            assert!(problem.to_string().starts_with(message), "{text}: {problem}");
        }
    }
}
