//! Choices by likelihood, and answers that are written.

use mixlet_runtime::models::eval::{Data, Question, Shots};
use mixlet_runtime::models::forward::Tokens;
use mixlet_runtime::models::generate::Generation;
use serde_json::{Value, json};

use crate::common::shared;
use crate::folder::{Folder, ids, text};
use crate::texts::close;

/// A prompt, what may follow it, and which of it does.
type Item = (Vec<u32>, [Vec<u32>; 3], usize);

/// Prompts, each with three choices of one to three words; the answer is any of them.
fn asked() -> Vec<Item> {
    (0..7)
        .map(|nth| (ids(6 + nth, nth), [ids(1, 40 + nth), ids(2, 9 * nth), ids(3, 50 + 3 * nth)], nth % 3))
        .collect()
}

fn lines(asked: &[Item]) -> String {
    let line = |(nth, (prompt, choices, answer)): (usize, &Item)| {
        let choices: Vec<String> = choices.iter().map(|ids| text(ids)).collect();
        let place = json!(answer);
        let answer = if nth % 2 == 0 { place } else { json!(choices[*answer]) };
        json!({ "prompt": text(prompt), "choices": choices, "answer": answer }).to_string() + "\n"
    };
    asked.iter().enumerate().map(line).collect()
}

/// The first of the largest.
fn largest(values: &[f64]) -> usize {
    (0..values.len()).rev().max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap()
}

#[test]
fn the_likeliest_choice_is_chosen() {
    for name in ["mixtral", "olmoe", "t5_relu_tied", "switch_nodrop"] {
        let Some(folder) = Folder::new(name) else { return };
        let asked = asked();
        folder.write("asked.jsonl", &lines(&asked));
        let json = folder.eval("asked.jsonl --out each.jsonl --json").json();
        let (mut right, mut right_per_byte) = (0.0, 0.0);
        let each = folder.read("each.jsonl");
        for ((prompt, choices, answer), line) in asked.iter().zip(each.lines()) {
            let line: Value = serde_json::from_str(line).unwrap();
            let sums: Vec<f64> = choices.iter().map(|choice| folder.log_likelihood(prompt, choice)).collect();
            let per_byte: Vec<f64> =
                sums.iter().zip(choices).map(|(sum, choice)| sum / text(choice).len() as f64).collect();
            sums.iter()
                .zip(line["log_likelihoods"].as_array().unwrap())
                .for_each(|(sum, it)| close(it, *sum));
            assert_eq!(line["chosen"], largest(&sums), "{name}");
            assert_eq!(line["chosen_per_byte"], largest(&per_byte), "{name}");
            right += f64::from(u8::from(largest(&sums) == *answer));
            right_per_byte += f64::from(u8::from(largest(&per_byte) == *answer));
        }
        let share = right / 7.0;
        assert_eq!((&json["task"], &json["questions"]), (&json!("choices"), &json!(7)), "{name}");
        close(&json["accuracy"], share);
        close(&json["accuracy_error"], (share * (1.0 - share) / 6.0).sqrt());
        close(&json["accuracy_per_byte"], right_per_byte / 7.0);
        close(&json["chance"], 1.0 / 3.0);
    }
}

#[test]
fn answers_are_what_the_model_writes_greedily() {
    for name in ["mixtral", "t5_v1_1", "nllb_moe"] {
        let Some(folder) = Folder::new(name) else { return };
        let prompts: Vec<Vec<u32>> = (0..4).map(|nth| ids(5 + nth, 3 * nth)).collect();
        let how = Generation { max_new_tokens: 6, ..Generation::default() };
        let written = |prompt: &[u32]| {
            let skipped = if folder.model.config.encoder.is_some() { 1 } else { prompt.len() };
            let all = folder
                .model
                .generate(Tokens { ids: prompt, real: None }, 1, how, &mut ())
                .unwrap()
                .sequences
                .remove(0);
            let end = |id: &u32| !folder.model.config.ids.end.contains(id);
            text(&all[skipped..].iter().copied().take_while(end).collect::<Vec<_>>())
        };
        // The second answer is wrong.
        let line = |(nth, prompt): (usize, &Vec<u32>)| {
            let answer = if nth == 1 { "w0 w0 w0".to_owned() } else { written(prompt).to_uppercase() };
            json!({ "question": text(prompt), "answer": [answer, "nothing"] }).to_string() + "\n"
        };
        folder.write("asked.jsonl", &prompts.iter().enumerate().map(line).collect::<String>());
        let json = folder.eval("asked.jsonl --max-new-tokens 6 --out each.jsonl --json").json();
        assert_eq!(
            (&json["task"], &json["exact_match"]),
            (&json!("matches"), &json!(0.75)),
            "{name}: {json}"
        );
        close(&json["exact_match_error"], (0.75 * 0.25 / 3.0_f64).sqrt());
        for (line, prompt) in folder.read("each.jsonl").lines().zip(&prompts) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["written"], written(prompt), "{name}");
        }
        // Capitals count, so only answers without a word are right.
        let exact = folder.eval("asked.jsonl --max-new-tokens 6 --normalise exact --json").json();
        let without = [0, 2, 3].into_iter().filter(|nth| written(&prompts[*nth]).is_empty()).count();
        assert!(without < 3, "{name}");
        close(&exact["exact_match"], without as f64 / 4.0);
    }
}

#[test]
fn free_answers_can_be_predicted() {
    for name in ["olmoe", "t5_relu_tied"] {
        let Some(folder) = Folder::new(name) else { return };
        let asked: Vec<_> = (0..4).map(|nth| (ids(5 + nth, 3 * nth), ids(1 + nth, 60 + nth))).collect();
        let line = |(prompt, answer): &(Vec<u32>, Vec<u32>)| {
            json!({ "input": text(prompt), "target": text(answer) }).to_string() + "\n"
        };
        folder.write("asked.jsonl", &asked.iter().map(line).collect::<String>());
        let json = folder.eval("asked.jsonl --likelihood --json").json();
        assert_eq!((&json["task"], &json["tokens"]), (&json!("perplexity"), &json!(1 + 2 + 3 + 4)), "{name}");
        let sum: f64 = asked.iter().map(|(prompt, answer)| folder.log_likelihood(prompt, answer)).sum();
        close(&json["cross_entropy"], -sum / 10.0);
        let bytes: usize = asked.iter().map(|(_, answer)| text(answer).len()).sum();
        close(&json["bits_per_byte"], -sum / std::f64::consts::LN_2 / bytes as f64);
    }
}

#[test]
fn an_answer_ends_where_it_is_told_to() {
    let Some(folder) = Folder::new("mixtral") else { return };
    let written = |prompt: &[u32], options: &str| {
        folder.write("asked.jsonl", &json!({ "prompt": text(prompt), "answer": "x" }).to_string());
        folder.eval(&format!("asked.jsonl --max-new-tokens 8 --out each.jsonl --json {options}")).json();
        let line: Value = serde_json::from_str(&folder.read("each.jsonl")).unwrap();
        line["written"].as_str().unwrap().to_owned()
    };
    // The first that is answered in several words.
    let answers = (0..20).map(|seed| (ids(6, seed), written(&ids(6, seed), "")));
    let (prompt, whole) = answers.into_iter().find(|(_, answer)| answer.split(' ').count() > 4).unwrap();
    let word = whole.split(' ').nth(3).unwrap();
    let expected = whole.split_once(word).unwrap().0;
    assert_eq!(written(&prompt, &format!("--until {word}")), expected);
}

#[test]
fn examples_go_before_questions() {
    let Some(folder) = Folder::new("olmoe") else { return };
    let asked: Vec<_> = asked()
        .into_iter()
        .map(|(prompt, choices, answer)| (prompt[..4].to_vec(), choices, answer))
        .collect();
    folder.write("asked.jsonl", &lines(&asked));
    let json = folder.eval("asked.jsonl --shots 2 --seed 5 --out each.jsonl --json").json();
    assert_eq!(json["shots"], 2);
    let Data::Questions(questions) = Data::read(&folder.path().join("asked.jsonl")).unwrap() else {
        panic!()
    };
    let shots = Shots { count: 2, from: None, seed: 5, steps: false };
    for (nth, line) in folder.read("each.jsonl").lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let prompt = folder.tokenizer.encode(&shots.prompt(&questions, nth).unwrap()).unwrap();
        let sums = asked[nth].1.iter().map(|choice| folder.log_likelihood(&prompt, choice));
        line["log_likelihoods"].as_array().unwrap().iter().zip(sums).for_each(|(it, sum)| close(it, sum));
    }
    // Another seed draws others; the same one the same, whatever is asked besides.
    let figures = |options: &str| {
        folder.eval(&format!("asked.jsonl --shots 2 --out each.jsonl {options}"));
        folder.read("each.jsonl").lines().take(3).map(str::to_owned).collect::<Vec<_>>()
    };
    let five = figures("--seed 5");
    assert_eq!(figures("--seed 5 --limit 3"), five);
    assert_ne!(figures("--seed 6"), five);
    // Examples of a file of their own.
    folder.write("others.jsonl", lines(&asked[..2]).as_str());
    let run = folder.eval("asked.jsonl --shots 2 --shots-from others.jsonl --limit 1 --json");
    assert_eq!(run.json()["questions"], 1);
}

#[test]
fn files_of_questions_that_there_are_can_be_read() {
    let Some(folder) = shared::find("data/instruct") else { return };
    let mut files = 0;
    for kind in ["gsm8k", "p3_t0"] {
        for entry in std::fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|kind| kind != "jsonl") {
                continue;
            }
            let lines = std::fs::read_to_string(&path)
                .unwrap()
                .lines()
                .filter(|line| !line.trim().is_empty())
                .count();
            let Data::Questions(questions) = Data::read(&path).unwrap() else { panic!("{}", path.display()) };
            assert_eq!(questions.len(), lines, "{}", path.display());
            let is_number =
                |it: &Question| it.answers[0].replace(',', "").parse::<f64>().is_ok() && it.steps.is_some();
            assert!(kind != "gsm8k" || questions.iter().all(is_number), "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 100, "{files}");
}
