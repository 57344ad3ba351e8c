//! `mixlet crowd` as a user meets it: what it says, what it writes, and that it never leaves half of anything.

#[path = "../common/mod.rs"]
mod common;
mod folder;
mod wrong_input;

use std::fmt::Write as _;
use std::path::Path;

use common::command::mixlet;
use common::crowd::Crowd;
use folder::{Folder, LABELS};
use mixlet_runtime::crowd::read::{ReadOptions, read_crowd, read_known_workers};
use serde_json::Value;

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

#[test]
fn json_is_one_object_with_the_promised_keys() {
    let folder = Folder::new();
    let json = folder.done("fit answers.csv --gold gold.csv --select 8 --residue --json").json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = "alpha answers classes gold log_likelihood method objective pseudocount residue rounds seconds \
                    selected stop tasks warnings workers";
    assert_eq!(keys(&json), expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(keys(&json["gold"]), ["error_rate", "errors", "f1", "tasks", "vote_error_rate"]);
    assert_eq!(keys(&json["gold"]["f1"]), LABELS);
    assert_eq!(keys(&json["residue"]), ["fitted", "raw", "selected"]);
    assert_eq!(keys(&json["seconds"]), ["fit", "read", "select", "start"]);
    assert_eq!(keys(&json["pseudocount"]), ["confusion", "strength"]);
    let counts = ["tasks", "workers", "classes", "answers"].map(|key| json[key].as_u64().unwrap());
    assert_eq!(counts, [200, 12, 3, 1000]);
    assert_eq!((&json["method"], &json["stop"]), (&"dawid-skene".into(), &"converged".into()));
    assert_eq!(json["selected"].as_array().unwrap().len(), 8);
    assert!(json["gold"]["error_rate"].as_f64().unwrap() < json["gold"]["vote_error_rate"].as_f64().unwrap());
    let row = &json["pseudocount"]["confusion"][0];
    let sum: f64 = row.as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "rows of the pooled confusion are true labels: {row}");

    let vote = folder.done("fit answers.csv --gold gold.csv --method majority-vote --json").json();
    for key in ["stop", "log_likelihood", "objective", "residue", "pseudocount"] {
        assert!(vote[key].is_null(), "{key}");
    }
    assert_eq!(vote["gold"]["error_rate"], vote["gold"]["vote_error_rate"]);
    assert_eq!(vote["selected"][2], "w10", "ids that are not all integers sort by bytes");

    let plain = folder.done("fit answers.csv --pseudocount 0 --rounds 3 --tolerance 0 --json").json();
    assert_eq!((&plain["pseudocount"], &plain["rounds"]), (&0.0.into(), &3.into()));
    assert_eq!((&plain["stop"], &plain["gold"]), (&"iteration_limit".into(), &Value::Null));
}

#[test]
fn results_do_not_depend_on_threads() {
    let folder = Folder::new();
    let fit = |threads: u32| {
        let arguments =
            "fit answers.csv --gold gold.csv --select auto --residue --start random --seed 3 --json";
        let mut json = folder
            .done(&format!("{arguments} --threads {threads} --labels l.csv --workers w.csv --ask-next n.csv --save m.json"))
            .json();
        json["seconds"].take();
        (json, ["l.csv", "w.csv", "n.csv", "m.json"].map(|name| folder.read(name)))
    };
    assert_eq!(fit(1), fit(2));
}

#[test]
fn predicting_the_answers_of_the_fit_gives_its_labels() {
    let folder = Folder::new();
    for method in ["dawid-skene", "one-coin", "majority-vote"] {
        folder.done(&format!("fit answers.csv --method {method} --labels fit.csv --save m.json"));
        folder.done("predict m.json answers.csv --labels predict.csv");
        let (fit, predicted) = (folder.table("fit.csv").1, folder.table("predict.csv").1);
        assert_eq!(fit.len(), predicted.len());
        for (task, row) in &fit {
            assert_eq!(row[1], predicted[task][1], "{method} {task}");
            for (a, b) in row[4..].iter().zip(&predicted[task][4..]) {
                assert!((number(a) - number(b)).abs() < 1e-9, "{method} {task}: {a} and {b}");
            }
        }
    }
    // With a selection the same workers speak.
    folder.done("fit answers.csv --select 4 --labels fit.csv --save m.json");
    folder.done("predict m.json answers.csv --labels predict.csv");
    let labels = |name| folder.table(name).1.into_values().map(|row| row[1].clone()).collect::<Vec<_>>();
    assert_eq!(labels("fit.csv"), labels("predict.csv"));
}

#[test]
fn answers_may_come_from_standard_input() {
    let folder = Folder::new();
    let answers = folder.read("answers.csv");
    for arguments in [
        "fit ANSWERS --gold gold.csv --labels - --save m.json",
        "fit ANSWERS --json",
        "predict m.json ANSWERS --labels -",
        "rank ANSWERS --json",
        "rank ANSWERS --gold gold.csv --tasks gold",
    ] {
        let from_file = folder.done(&arguments.replace("ANSWERS", "answers.csv"));
        let piped = folder.run_reading(&arguments.replace("ANSWERS", "-"), &answers);
        assert_eq!(piped.code, 0, "{arguments}: {}", piped.err);
        match arguments.contains("fit") && arguments.contains("--json") {
            true => {
                let [mut a, mut b] = [from_file.json(), piped.json()];
                [&mut a, &mut b].into_iter().for_each(|json| json["seconds"] = 0.into());
                assert_eq!(a, b, "{arguments}");
            }
            false => assert_eq!(piped.out, from_file.out, "{arguments}"),
        }
    }
    let run = folder.run_reading("fit - --gold gold.csv --report r.html", &answers);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(folder.read("r.html").contains("standard input"));
}

#[test]
fn the_vote_takes_what_looking_for_the_number_of_workers_needs() {
    let folder = Folder::new();
    let fit = |options: &str| {
        let json = folder.done(&format!("fit answers.csv --method majority-vote --json {options}")).json();
        json["method"].clone()
    };
    for options in ["--select auto --start spectral --rounds 20 --tolerance 0 --prior uniform", "--select 4"]
    {
        assert_eq!(fit(options), "majority-vote", "{options}");
    }
}

#[test]
fn strangers_are_counted_and_left_out() {
    let folder = Folder::new();
    folder.done("fit answers.csv --save m.json");
    folder.write("new.csv", "task,worker,label\na,w1,cat\na,new,dog\nb,new,dog\n");
    let run = folder.done("predict m.json new.csv --json --labels new-labels.csv");
    let json = run.json();
    assert_eq!((&json["tasks"], &json["answers"]), (&2.into(), &1.into()));
    assert_eq!((&json["unknown_workers"], &json["unknown_answers"]), (&1.into(), &2.into()));
    assert_eq!(
        run.err,
        "warning: the model does not know 1 worker; left out with 2 answers\n\
         warning: 1 task without an answer of a known worker: the label is the commonest class\n"
    );
    assert_eq!(folder.table("new-labels.csv").1.len(), 2);
    folder.write("new.csv", "task,worker,label\na,w1,cow\n");
    let run = folder.run("predict m.json new.csv");
    assert!(run.err.starts_with("error: new.csv:2: unknown label `cow`"), "{}", run.err);
}

#[test]
fn the_workers_file_gives_back_the_expected_counts() {
    let folder = Folder::new();
    folder.done("fit answers.csv --pseudocount 0 --labels l.csv --workers w.csv");
    let path = |name: &str| folder.path().join(name);
    let crowd = read_crowd(&path("answers.csv"), None, &ReadOptions::default(), &mut |_, _| {}).unwrap();
    let known = read_known_workers(&path("w.csv"), &crowd, &ReadOptions::default()).unwrap();
    assert_eq!((known.workers, known.unknown_workers, known.unknown_labels), (12, 0, 0));

    // The counts, from the posteriors in the labels file.
    let posteriors = folder.table("l.csv").1;
    let answers = crowd.answers().unwrap();
    let mut counts = vec![0.0; answers.cell_count() * 3];
    for (task, name) in crowd.tasks.iter().enumerate() {
        for &cell in answers.task(task) {
            for class in 0..3 {
                counts[cell as usize * 3 + class] += number(&posteriors[name][4 + class]);
            }
        }
    }
    // The file holds the confusion that the last round used: the next one differs within the tolerance.
    for (place, (a, b)) in known.counts.iter().zip(&counts).enumerate() {
        assert!((a - b).abs() < 0.1, "{place}: {a} and {b}");
    }
}

#[test]
fn known_workers_help_where_there_are_few_answers() {
    // Two workers who know, three who always say the next label: the vote is lost.
    let folder = Folder::new();
    let rows = |tasks: std::ops::Range<usize>| {
        let mut rows = "task,worker,label\n".to_owned();
        for task in tasks {
            let (truth, wrong) = (LABELS[task % 3], LABELS[(task + 1) % 3]);
            for (worker, label) in [("a", truth), ("b", truth), ("x", wrong), ("y", wrong), ("z", wrong)] {
                writeln!(rows, "{task},{worker},{label}").unwrap();
            }
        }
        rows
    };
    let gold = |tasks: std::ops::Range<usize>| {
        tasks.fold("task,label\n".to_owned(), |rows, task| rows + &format!("{task},{}\n", LABELS[task % 3]))
    };
    folder.write("old.csv", &rows(0..60));
    folder.write("old-gold.csv", &gold(0..60));
    folder.write("new.csv", &rows(60..66));
    folder.write("new-gold.csv", &gold(60..66));
    folder.done("fit old.csv --known-labels old-gold.csv --workers w.csv");
    let errors = |more: &str| {
        folder.done(&format!("fit new.csv --gold new-gold.csv --json {more}")).json()["gold"]["errors"]
            .clone()
    };
    assert_eq!(errors(""), 6.0);
    assert_eq!(errors("--pseudocount 0 --known-workers w.csv"), 0.0);
    folder.write("some.csv", &folder.read("w.csv").replace("\nz,", "\nq,"));
    let run = folder.done("fit new.csv --known-workers some.csv --json");
    assert!(run.err.starts_with("note: some.csv: 1 worker without answers now: left out\n"), "{}", run.err);
}

#[test]
fn a_fit_goes_on_from_its_own_labels() {
    let folder = Folder::new();
    let first = folder.done("fit answers.csv --pseudocount 0 --tolerance 1e-12 --labels l.csv --json").json();
    let again = folder.done("fit answers.csv --pseudocount 0 --start l.csv --json").json();
    assert!(again["rounds"].as_u64().unwrap() <= 3, "{}", again["rounds"]);
    let [a, b] = [&first, &again].map(|json| json["objective"].as_f64().unwrap());
    assert!((a - b).abs() < 1e-4, "{a} and {b}");

    folder.write("some.csv", "label,task\ncat,t1\ndog,nobody\n");
    let run = folder.done("fit answers.csv --start some.csv --json");
    let notes = "note: some.csv: 1 task without answers: left out\n\
                 note: some.csv: 199 tasks with answers missing: started from the vote\n";
    assert!(run.err.starts_with(notes), "{}", run.err);
}

#[test]
fn everybody_is_judged_also_who_did_not_speak() {
    let folder = Folder::new();
    for method in ["dawid-skene", "one-coin", "majority-vote"] {
        let run =
            folder.done(&format!("fit answers.csv --method {method} --select 5 --workers w.csv --json"));
        let (header, rows) = folder.table("w.csv");
        let names = "worker,answers,accuracy,accuracy_low,accuracy_high,information,selected,c_cat_cat,c_cat_dog,\
                     c_cat_other_one,c_dog_cat,c_dog_dog,c_dog_other_one,c_other_one_cat,c_other_one_dog,\
                     c_other_one_other_one,n_cat,n_dog,n_other_one";
        assert_eq!(header.join(","), names);
        let mut selected: Vec<String> = run.json()["selected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap().to_owned())
            .collect();
        selected.sort();
        let said: Vec<String> =
            rows.values().filter(|row| row[6] == "true").map(|row| row[0].clone()).collect();
        assert_eq!(said, selected);
        for row in rows.values() {
            let values: Vec<f64> = row[1..6].iter().chain(&row[7..]).map(|field| number(field)).collect();
            let (low, accuracy, high) = (values[2], values[1], values[3]);
            assert!(0.0 <= low && low <= accuracy && accuracy <= high && high <= 1.0, "{row:?}");
            for class in values[5..14].chunks(3) {
                assert!((class.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{row:?}");
                assert!(class.iter().any(|share| (share - 1.0 / 3.0).abs() > 0.01), "{method} {row:?}");
            }
            assert!((values[14..].iter().sum::<f64>() - values[0]).abs() < 1e-9, "{row:?}");
        }
    }
}

#[test]
fn ask_next_is_sorted_by_gain() {
    let folder = Folder::new();
    folder.done("fit answers.csv --ask-next n.csv");
    let text = folder.read("n.csv");
    assert!(text.starts_with("task,label,confidence,entropy,expected_gain,answers\n"));
    let gains: Vec<f64> = text.lines().skip(1).map(|row| number(row.split(',').nth(4).unwrap())).collect();
    assert_eq!(gains.len(), 200);
    assert!(gains.is_sorted_by(|a, b| a >= b) && gains[0] > gains[199]);
}

#[test]
fn workers_are_ranked_by_information() {
    let folder = Folder::new();
    for estimator in ["plain", "weighted", "miller-madow", "g-test"] {
        let json = folder.done(&format!("rank answers.csv --estimator {estimator} --json")).json();
        let workers = json["workers"].as_array().unwrap();
        let information: Vec<f64> =
            workers.iter().map(|worker| worker["information"].as_f64().unwrap()).collect();
        assert!(information.is_sorted_by(|a, b| a >= b) && workers.len() == 12, "{estimator}");
        assert_eq!(workers.iter().map(|worker| worker["answers"].as_u64().unwrap()).sum::<u64>(), 1000);
    }
    let table = folder.done("rank answers.csv").out;
    assert!(table.starts_with("  rank  information    answers  worker\n     1  "), "{table}");
}

#[test]
fn the_report_and_the_summary_tell_the_same() {
    let folder = Folder::new();
    let run = folder.done("fit answers.csv --gold gold.csv --select 8 --report crowd.html");
    let html = folder.read("crowd.html");
    for text in [
        "mixlet crowd fit answers.csv --gold gold.csv --select 8 --report crowd.html",
        "8 of 12 workers carry the labels",
        "8 used",
        "guessing",
        "Tasks most in doubt",
        "id=\"gold\"",
        "id=\"fit\"",
    ] {
        assert!(html.contains(text), "no '{text}' on the page");
    }
    for line in
        ["Crowd      200 tasks, 12 workers, 3 labels, 1,000 answers (5.0 per task)", "Wrote      crowd.html"]
    {
        assert!(run.out.lines().any(|found| found == line), "no '{line}' in\n{}", run.out);
    }
    assert!(
        run.out.contains("Selection  8 of 12 workers speak\n") && !run.out.contains("Next"),
        "{}",
        run.out
    );
    let run = folder.done("fit answers.csv --labels -");
    assert!(run.out.starts_with("task,label,confidence") && run.err.contains("Crowd      200 tasks"));
    assert!(folder.done("fit answers.csv").out.contains("\nNext       --labels"));
}

#[test]
fn files_of_many_labels_can_be_read_back() {
    let folder = Folder::new();
    let mut rows = "task,worker,label\n".to_owned();
    for label in 0..220 {
        for worker in ["a", "b"] {
            writeln!(rows, "t{label},{worker},a-label-with-a-name-{label:03}").unwrap();
        }
    }
    folder.write("many.csv", &rows);
    folder.done("fit many.csv --labels l.csv --workers w.csv --rounds 2");
    assert!(folder.read("w.csv").lines().any(|line| line.len() > 1 << 20));
    let run = folder.done("fit many.csv --known-workers w.csv --start l.csv --rounds 2 --json");
    assert!(!run.err.contains("note:"), "{}", run.err);
}

#[cfg(unix)]
#[test]
fn closing_standard_output_is_no_error() {
    let folder = Folder::new();
    for output in ["-", "/dev/stdout"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = std::process::Command::new(common::command::program())
            .args(["crowd", "fit", "answers.csv", "--labels", output, "--ask-next", "next.csv"])
            .current_dir(folder.path())
            .stdout(writer)
            .output()
            .unwrap();
        let err = String::from_utf8(run.stderr).unwrap();
        assert!(run.status.success() && err.starts_with("Crowd "), "{output}: {err}");
        assert!(folder.read("next.csv").starts_with("task,"), "the other outputs are written");
    }
}

#[test]
fn names_are_short_and_harmless_on_a_terminal() {
    let folder = Folder::new();
    let (evil, long) = ("a\u{1b}[2J\u{202e}", "x".repeat(1000));
    let mut rows = "task,worker,label\n".to_owned();
    for task in 0..30 {
        for (worker, label) in [(evil, "yes"), (&long, "yes"), ("c", ["yes", "no"][task % 2])] {
            writeln!(rows, "{task},{worker},{label}").unwrap();
        }
    }
    // Nine labels that nobody's task ends in.
    (0..9).for_each(|nth| {
        writeln!(rows, "0,d{nth},rare{nth}\u{7}").unwrap();
    });
    folder.write("evil.csv", &rows);
    let run = folder.done("fit evil.csv --method majority-vote");
    let rank = folder.done("rank evil.csv").out;
    for text in [&run.out, &run.err, &rank] {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']) && !text.contains(&long), "{text}");
    }
    assert!(run.out.contains("a\\u{1b}[2J\\u{202e}: ") && run.out.contains(&format!("{}…: ", &long[..23])));
    assert!(rank.contains("  a\\u{1b}[2J\\u{202e}\n") && rank.contains(&format!("  {}…\n", &long[..79])));
    let rare: Vec<String> = (0..4).map(|nth| format!("`rare{nth}\\u{{7}}` (1 answer)")).collect();
    let warnings = format!(
        "warning: no task was given the label `no` (15 answers), {}, …\n\
         warning: 2 workers gave one label only, in 10 answers or more: `a\\u{{1b}}[2J\\u{{202e}}`, `{}…`\n",
        rare.join(", "),
        &long[..79]
    );
    assert_eq!(run.err, warnings);
    // Programs are given names as they are.
    assert!(folder.done("rank evil.csv --json").out.contains(r"a\u001b[2J"));
}

#[test]
fn one_is_singular() {
    let folder = Folder::new();
    let run = folder.done("fit answers.csv --rounds 1");
    assert_eq!(run.err, "warning: the fit stopped after 1 round before it converged; raise --rounds\n");
    folder.write("one.csv", "task,worker,label\nt1,a,yes\nt2,a,no\n");
    folder.done("fit one.csv --report one.html");
    let html = folder.read("one.html");
    assert!(html.contains("The only worker was used.") && !html.contains("1 workers"), "1 workers");
}

#[test]
fn gold_without_rows_is_said() {
    let folder = Folder::new();
    folder.write("empty.csv", "task,label\n");
    let warning = "empty.csv has no rows below its header: nothing was scored";
    let run = folder.done("fit answers.csv --gold empty.csv --json");
    assert_eq!((&run.json()["warnings"], &run.json()["gold"]), (&serde_json::json!([warning]), &Value::Null));
    assert_eq!(run.err, format!("warning: {warning}\n"));
    assert_eq!(folder.done("rank answers.csv --gold empty.csv").err, "");
}

#[test]
fn bird_as_published() {
    if Crowd::shared("bird").is_none() {
        return;
    }
    let bird = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/crowd/bird");
    let published = "--pseudocount 0 --tasks gold --rounds 50 --tolerance 0 --start vote --residue --json";
    let fit = |more: &str| {
        mixlet(&bird, &format!("crowd fit answers.csv --gold gold.csv {published} {more}")).json()
    };
    let all = fit("");
    assert_eq!((&all["gold"]["errors"], &all["gold"]["tasks"]), (&11.0.into(), &108.into()));
    assert_eq!((&all["rounds"], &all["stop"]), (&50.into(), &"iteration_limit".into()));
    let selected = fit("--select 15");
    assert_eq!(selected["gold"]["errors"], 9.0);
    assert_eq!(selected["selected"].as_array().unwrap()[..3], ["16", "7", "29"]);
}
