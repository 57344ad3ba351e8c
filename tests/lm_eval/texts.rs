//! Texts in windows.

use serde_json::{Value, json};

use crate::folder::{Folder, ids, text};

#[track_caller]
pub fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found}, {expected}");
}

/// Nats of each predicted token, window by window, and where the model is right.
fn naive(folder: &Folder, ids: &[u32], window: usize, stride: usize) -> Vec<(f64, bool)> {
    let mut all = Vec::new();
    let mut start = 0;
    while all.len() + 1 < ids.len() {
        let own = &ids[start..ids.len().min(start + window)];
        let logs = folder.logs(&folder.model, &[], own);
        for place in 1..own.len() {
            // Each token once, by the first window that reaches it.
            if start + place == all.len() + 1 {
                let row = &logs[place - 1];
                let own = row[own[place] as usize];
                all.push((-own, row.iter().all(|log| *log <= own)));
            }
        }
        start += stride;
    }
    all
}

#[test]
fn perplexity_is_that_of_the_windows() {
    for name in ["mixtral", "olmoe", "gpt_oss"] {
        let Some(folder) = Folder::new(name) else { return };
        let ids = ids(90, 4);
        let plain = text(&ids);
        folder.write("text.txt", &plain);
        for (options, window, stride) in [
            ("", 64, 32),
            ("--window 20", 20, 10),
            ("--window 20 --stride 19", 20, 19),
            ("--window 9 --stride 1", 9, 1),
        ] {
            let json = folder.eval(&format!("text.txt {options} --json")).json();
            let nats = naive(&folder, &ids, window, stride);
            let sum: f64 = nats.iter().map(|(nats, _)| nats).sum();
            assert_eq!((&json["task"], &json["tokens"]), (&json!("perplexity"), &json!(89)), "{name}");
            assert_eq!((&json["window"], &json["stride"]), (&json!(window), &json!(stride)), "{name}");
            close(&json["cross_entropy"], sum / 89.0);
            close(&json["perplexity"], (sum / 89.0).exp());
            let bytes = plain.len() - text(&ids[..1]).len();
            assert_eq!(json["bytes"], bytes, "{name}");
            close(&json["bits_per_byte"], sum / std::f64::consts::LN_2 / bytes as f64);
            close(&json["accuracy"], nats.iter().filter(|(_, best)| *best).count() as f64 / 89.0);
            // The spread of single windows, from which the error is drawn, is of that order.
            let error = json["perplexity_error"].as_f64().unwrap();
            assert!(error > 0.0 && error < (sum / 89.0).exp(), "{name}: {error}");
        }
    }
}

#[test]
fn lines_are_texts_of_their_own() {
    let Some(folder) = Folder::new("qwen2_moe") else { return };
    let texts = [ids(12, 1), ids(30, 7), ids(2, 3)];
    let lines: String = texts.iter().map(|ids| json!({ "text": text(ids) }).to_string() + "\n").collect();
    folder.write("texts.jsonl", &lines);
    let json = folder.eval("texts.jsonl --out each.jsonl --json --usage").json();
    let nats: Vec<Vec<(f64, bool)>> = texts.iter().map(|ids| naive(&folder, ids, 64, 32)).collect();
    let (sum, count) = nats.iter().flatten().fold((0.0, 0), |sums, it| (sums.0 + it.0, sums.1 + 1));
    assert_eq!((&json["texts"], &json["tokens"]), (&json!(3), &json!(count)));
    close(&json["cross_entropy"], sum / f64::from(count));
    for (nth, line) in folder.read("each.jsonl").lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["line"], &line["tokens"]), (&json!(nth + 1), &json!(nats[nth].len())));
        close(&line["nats"], nats[nth].iter().map(|(nats, _)| nats).sum());
    }
    // Every token that was read went through every layer's router.
    let read: usize = texts.iter().map(Vec::len).sum();
    for layer in json["usage"].as_array().unwrap() {
        assert_eq!(layer["tokens"], read);
    }
    let limited = folder.eval("texts.jsonl --limit 1 --json").json();
    assert_eq!((&limited["texts"], &limited["perplexity_error"]), (&json!(1), &Value::Null));
}

#[test]
fn threads_change_no_figure() {
    let Some(folder) = Folder::new("deepseek_v3") else { return };
    folder.write("text.txt", &text(&ids(120, 2)));
    let figures = |threads: usize| {
        let mut json = folder.eval(&format!("text.txt --json --usage --threads {threads}")).json();
        ["seconds", "tokens_per_second"].into_iter().for_each(|key| json[key] = Value::Null);
        json
    };
    assert_eq!(figures(1), figures(3));
}

#[test]
fn a_person_reads_the_figures() {
    let Some(folder) = Folder::new("mixtral") else { return };
    folder.write("text.txt", &text(&ids(70, 2)));
    let run = folder.eval("text.txt --usage --report page.html");
    let names: Vec<&str> =
        run.out.lines().filter_map(|line| line.split(' ').next()).filter(|it| !it.is_empty()).collect();
    assert_eq!(names, ["Texts", "Perplexity", "Likeliest", "Speed", "Usage"], "{}{}", run.out, run.err);
    assert!(run.out.contains("1 text, 69 tokens predicted"), "{}", run.out);
    assert!(folder.read("page.html").contains("How the experts were used"));
}
