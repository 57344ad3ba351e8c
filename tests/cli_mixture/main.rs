//! `mixlet mixture` as a user meets it: what it says, what it writes, and that it never leaves half of anything.

#[path = "../common/array_files.rs"]
mod array_files;
#[path = "../common/mod.rs"]
mod common;
mod folder;
#[path = "../common/well_formed.rs"]
mod well_formed;
mod wrong_input;

use folder::Folder;
use serde_json::Value;

/// What the survey's columns need.
const SURVEY: &str = "fit survey.csv --ignore id --truth group";

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn json_is_one_object_with_the_promised_keys() {
    let folder = Folder::new();
    let json = folder.done(&format!("{SURVEY} --classes 3 --restarts 5 --held-out 0.2 --json")).json();
    let expected = "bic candidates classes columns depth entropy error_rate family free_parameters header held_out icl \
                    incomplete_rows log_likelihood method objective refined restarts rounds rows seconds selected \
                    selected_error_rate separation share_error_rate shares sizes steps stop truth warnings";
    assert_eq!(keys(&json), expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(keys(&json["seconds"]), ["fit", "read"]);
    assert_eq!(keys(&json["held_out"]), ["error_rate", "log_likelihood", "rows", "weight"]);
    let counts = ["rows", "columns", "classes"].map(|key| json[key].as_u64().unwrap());
    assert_eq!(counts, [300, 9, 3]);
    assert_eq!(
        (&json["method"], &json["family"], &json["header"]),
        (&"em".into(), &"categorical".into(), &true.into())
    );
    assert_eq!((&json["stop"], &json["held_out"]["rows"]), (&"converged".into(), &60.into()));
    assert_eq!(json["selected"], serde_json::json!([0, 1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(json["restarts"].as_array().unwrap().len(), 5);
    let sizes: u64 = json["sizes"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).sum();
    assert_eq!(sizes, 300);
    // Two shares, and of each class eight answers and three ages.
    assert_eq!(json["free_parameters"], 2 + 3 * (8 + 3));
    let of = |key: &str| json[key].as_f64().unwrap();
    assert!((of("bic") + 2.0 * of("log_likelihood") - of("free_parameters") * 240f64.ln()).abs() < 1e-6);
    assert!((of("icl") - of("bic") - 2.0 * of("entropy")).abs() < 1e-6);
    assert!(of("error_rate") < 0.2 && of("share_error_rate") < 0.2, "{json}");
    let best = json["restarts"].as_array().unwrap().iter().map(|start| start["objective"].as_f64().unwrap());
    assert_eq!(best.fold(f64::NEG_INFINITY, f64::max), of("objective"));
}

#[test]
fn results_do_not_depend_on_threads() {
    let folder = Folder::new();
    for method in [
        "--classes 2..4 --restarts 3 --held-out 0.1",
        "--classes 3 --method stagewise",
        "--depth 3 --method tree",
    ] {
        let fit = |threads: u32| {
            let arguments = format!("{SURVEY} {method} --seed 3 --json --threads {threads}");
            let files = "--labels l.csv --columns c.csv --save m.json --report r.html";
            let mut json = folder.done(&format!("{arguments} {files}")).json();
            json["seconds"].take();
            let report = folder.read("r.html").replace(&format!("--threads {threads}"), "");
            (json, report, ["l.csv", "c.csv", "m.json"].map(|name| folder.read(name)))
        };
        assert_eq!(fit(1), fit(2), "{method}");
    }
}

#[test]
fn the_best_number_of_classes_is_kept_and_one_class_stands_beside_it() {
    let folder = Folder::new();
    let run = folder.done(&format!("{SURVEY} --classes 2..5 --restarts 5 --json"));
    let json = run.json();
    let candidates = json["candidates"].as_array().unwrap();
    let of =
        |key: &str| candidates.iter().map(|candidate| candidate[key].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("classes"), [1.0, 2.0, 3.0, 4.0, 5.0]);
    let best = of("bic").into_iter().fold(f64::INFINITY, f64::min);
    assert_eq!((&json["classes"], json["bic"].as_f64()), (&3.into(), Some(best)));
    assert!(candidates[0]["separation"].is_null() && candidates[2]["held_out"].is_null());

    let text = folder.done(&format!("{SURVEY} --classes 2..5 --restarts 5")).out;
    for part in
        ["3 classes have the best BIC", "← chosen", "Sizes", "wrong after the best match", "Telling", "Next"]
    {
        assert!(text.contains(part), "no {part} in {text}");
    }
    // Answers that know nothing of each other.
    folder.write(
        "noise.csv",
        &(0..200).map(|row| format!("{},{}\n", row % 2, row / 2 % 2)).collect::<String>(),
    );
    let run = folder.done("fit noise.csv --classes 2..3 --json");
    assert!(
        run.err.contains("warning: one class has a better BIC than 2: the rows show no classes"),
        "{}",
        run.err
    );
}

#[test]
fn tables_hold_every_row_and_every_column() {
    let folder = Folder::new();
    let json = folder.done(&format!("{SURVEY} --classes 3 --labels l.csv --columns c.csv --json")).json();
    let (header, rows) = folder.table("l.csv");
    assert_eq!(header, ["row", "class", "confidence", "p_0", "p_1", "p_2"]);
    let mut sizes = [0; 3];
    for (nth, row) in rows.iter().enumerate() {
        assert_eq!(row[0], nth.to_string());
        let class: usize = row[1].parse().unwrap();
        sizes[class] += 1;
        let shares: Vec<f64> = row[3..].iter().map(|text| number(text)).collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(
            (number(&row[2]), shares[class]),
            (shares[class], shares.iter().copied().fold(0.0, f64::max))
        );
    }
    assert_eq!(json["sizes"], serde_json::json!(sizes));
    let (header, rows) = folder.table("c.csv");
    assert_eq!(header, ["column", "value", "information", "selected", "p_0", "p_1", "p_2"]);
    let names: Vec<[&str; 2]> = rows.iter().map(|row| [row[0].as_str(), row[1].as_str()]).collect();
    assert_eq!(names[..2], [["tea", "yes"], ["coffee", "yes"]]);
    assert_eq!(names[8..], [["age", "18-29"], ["age", "30-44"], ["age", "45-64"], ["age", "65+"]]);
    let information =
        |column: &str| rows.iter().find(|row| row[0] == column).map(|row| number(&row[2])).unwrap();
    assert!(information("tea") > 5.0 * information("dog"), "{rows:?}");
}

#[test]
fn predicting_the_rows_of_the_fit_gives_its_classes() {
    let folder = Folder::new();
    for method in [
        "--classes 3",
        "--classes 3 --select 4",
        "--classes 3 --method stagewise",
        "--classes 3 --method forward",
    ] {
        folder.done(&format!("fit survey.csv --ignore id,group {method} --labels fit.csv --save m.json"));
        let json = folder.done("predict m.json survey.csv --out new.csv --truth groups.csv --json").json();
        let (fit, new) = (folder.table("fit.csv").1, folder.table("new.csv").1);
        assert_eq!(fit.len(), new.len());
        for (a, b) in fit.iter().zip(&new) {
            assert_eq!(a[1], b[1], "{method}: row {}", a[0]);
            assert!(
                a[2..].iter().zip(&b[2..]).all(|(a, b)| (number(a) - number(b)).abs() < 1e-9),
                "{method}"
            );
        }
        assert_eq!((&json["error_by"], &json["rows"]), (&"best match".into(), &300.into()), "{method}");
        let known = format!("fit survey.csv --ignore id,group {method} --truth groups.csv --json");
        assert_eq!(json["error_rate"], folder.done(&known).json()["error_rate"], "{method}");
        let warning = "the model does not know 2 columns, first `id`: left out";
        assert_eq!(json["warnings"], serde_json::json!([warning]));
    }
}

#[test]
fn labels_of_the_fit_name_new_rows() {
    let folder = Folder::new();
    for method in ["--classes 2 --restarts 3", "--method tree --depth 2 --select 8"] {
        let fit = format!("fit bars-idx3-ubyte --truth halves-idx1-ubyte {method} --save m.json --json");
        let json = folder.done(&fit).json();
        assert_eq!((&json["family"], &json["columns"]), (&"bernoulli".into(), &24.into()));
        assert!(json["error_rate"].as_f64().unwrap() < 0.02, "{method}: {json}");
        let run = "predict m.json bars-idx3-ubyte --truth halves-idx1-ubyte --out new.csv --json";
        let new = folder.done(run).json();
        assert_eq!(
            (&new["error_by"], &new["error_rate"]),
            (&"labels of the fit".into(), &json["share_error_rate"])
        );
        let (header, rows) = folder.table("new.csv");
        assert_eq!(header[..4], ["row", "class", "label", "confidence"]);
        assert!(rows.iter().all(|row| row[2] == "0" || row[2] == "1"));
    }
}

#[test]
fn a_tree_says_how_many_leaves_it_grew() {
    let folder = Folder::new();
    let json = folder.done("fit bars-idx3-ubyte --method tree --depth 3 --select 6 --json").json();
    let leaves = json["classes"].as_u64().unwrap();
    assert!((2..=8).contains(&leaves) && json["depth"].as_u64() == Some(3), "{json}");
    assert_eq!(json["shares"].as_array().unwrap().len() as u64, leaves);
    assert!(!json["selected"].as_array().unwrap().is_empty());
    let printed = folder.done("fit bars-idx3-ubyte --method tree --depth 3 --select 6").out;
    assert!(printed.contains(" of a tree, depth 3, "), "{printed}");
}

#[test]
fn a_refined_tree_is_a_mixture_that_predict_loads() {
    let folder = Folder::new();
    let tree = "fit bars-idx3-ubyte --truth halves-idx1-ubyte --method tree --depth 3 --select 6";
    let alone = folder.done(&format!("{tree} --save tree.json --json")).json();
    let refined = format!("{tree} --refine 2 --held-out 0.25");
    let json =
        folder.done(&format!("{refined} --labels fit.csv --save m.json --report r.html --json")).json();
    assert_eq!((&alone["refined"], &json["refined"]), (&Value::Null, &2.into()));
    // What the leaves say, and two rounds.
    assert_eq!((&json["rounds"], &json["method"], &json["depth"]), (&3.into(), &"tree".into(), &3.into()));
    let shares: Vec<f64> = json["shares"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    assert!(shares.is_sorted_by(|a, b| a >= b) && json["selected_error_rate"].is_number(), "{json}");
    assert!(folder.read("r.html").contains("leaves of a tree, refined"));
    let printed = folder.done(&refined);
    assert!(printed.out.contains(", depth 3, refined with all columns by 2 rounds, "), "{}", printed.out);
    assert!(
        printed.out.contains("by the tree alone") && !printed.err.contains("converged"),
        "{}",
        printed.err
    );

    // The rows of the fit and those held out have one likelihood in it.
    let new =
        folder.done("predict m.json bars-idx3-ubyte --truth halves-idx1-ubyte --out new.csv --json").json();
    let of = |value: &Value| value.as_f64().unwrap();
    let all = of(&json["log_likelihood"]) + of(&json["held_out"]["log_likelihood"]);
    assert!((of(&new["log_likelihood"]) - all).abs() < 1e-9 * all.abs(), "{new}");
    assert_eq!((&new["error_by"], &new["no_log_likelihood"]), (&"labels of the fit".into(), &Value::Null));
    let class = |row: &Vec<String>| row[1].clone();
    let [fit, new] =
        ["fit.csv", "new.csv"].map(|name| folder.table(name).1.iter().map(class).collect::<Vec<_>>());
    assert_eq!(fit, new);

    let json = folder.done("predict tree.json bars-idx3-ubyte --json").json();
    let reason =
        "a tree gives rows classes and no likelihood; --refine 3 in the fit makes a mixture that gives both";
    assert_eq!((&json["log_likelihood"], &json["no_log_likelihood"]), (&Value::Null, &reason.into()));
    assert!(folder.done("predict tree.json bars-idx3-ubyte").out.contains(&format!("none: {reason}\n")));
}

#[test]
fn more_classes_than_are_shown_are_counted() {
    let folder = Folder::new();
    let printed = folder.done("fit bars-idx3-ubyte --classes 21 --rounds 3").out;
    assert!(printed.contains(", … (21 in all)"), "{printed}");
}

#[test]
fn held_out_rows_count_as_much_as_they_weigh() {
    let folder = Folder::new();
    let row = |nth: usize| format!("{},{},{},3\n", nth % 2, nth % 2, nth / 2 % 2);
    folder.write("w.csv", &("a,b,c,w\n".to_owned() + &(0..40).map(row).collect::<String>()));
    let json = folder.done("fit w.csv --classes 2 --weights w --held-out 0.25 --json").json();
    let (held_out, of_candidate) = (&json["held_out"], &json["candidates"][0]["held_out"]);
    assert_eq!((held_out["rows"].as_u64(), held_out["weight"].as_f64()), (Some(10), Some(30.0)));
    let per_row = held_out["log_likelihood"].as_f64().unwrap() / 30.0;
    assert!((per_row - of_candidate.as_f64().unwrap()).abs() < 1e-12, "{json}");
}

#[test]
fn arrays_and_pictures_of_the_same_values_fit_the_same() {
    let folder = Folder::new();
    let fit = |data: &str| folder.done(&format!("fit {data} --classes 2 --json")).json();
    let (pictures, array) = (fit("bars-idx3-ubyte"), fit("bars.npy --threshold 127.5"));
    assert_eq!(pictures["log_likelihood"], array["log_likelihood"]);
    let shades = fit("bars.npy");
    assert_eq!(
        (&shades["family"], &shades["log_likelihood"]),
        (&"bernoulli".into(), &array["log_likelihood"])
    );
}

#[test]
fn a_start_of_given_classes_keeps_their_order() {
    let folder = Folder::new();
    folder.done("fit bars-idx3-ubyte --classes 2 --labels l.csv");
    let again = |start: &str| {
        folder.done(&format!("fit bars-idx3-ubyte --classes 2 --start {start} --labels again.csv"));
        folder.table("again.csv").1.into_iter().map(|row| row[1].clone()).collect::<Vec<_>>()
    };
    let classes: Vec<String> = folder.table("l.csv").1.into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(again("l.csv"), classes);
    let swapped: Vec<&str> = classes.iter().map(|class| if class == "0" { "1" } else { "0" }).collect();
    folder.write("swapped.csv", &format!("class\n{}\n", swapped.join("\n")));
    assert_eq!(again("swapped.csv"), swapped);
}

#[test]
fn weights_count_rows_as_often_as_they_say() {
    let folder = Folder::new();
    let rows = ["1,0,1", "0,1,0", "1,1,0", "0,0,1"];
    let counts = [3, 1, 2, 4];
    let (mut weighted, mut repeated) = ("a,b,c,w\n".to_owned(), "a,b,c\n".to_owned());
    for (row, count) in rows.iter().zip(counts) {
        weighted += &format!("{row},{count}\n");
        repeated += &format!("{row}\n").repeat(count);
    }
    folder.write("weighted.csv", &weighted);
    folder.write("repeated.csv", &repeated);
    let fit =
        |data: &str| folder.done(&format!("fit {data} --classes 2 --rounds 20 --tolerance 0 --json")).json();
    let (a, b) = (fit("weighted.csv --weights w"), fit("repeated.csv"));
    for key in ["log_likelihood", "bic", "icl"] {
        let [a, b] = [&a, &b].map(|json| json[key].as_f64().unwrap());
        assert!((a - b).abs() < 1e-9, "{key}: {a} and {b}");
    }
}

#[test]
fn the_report_is_one_page_with_every_part() {
    let folder = Folder::new();
    folder.done(&format!("{SURVEY} --classes 2..4 --restarts 3 --report r.html"));
    let html = folder.read("r.html");
    well_formed::check(&html).unwrap();
    for section in ["classes", "columns", "choice", "truth", "rounds"] {
        assert!(html.contains(&format!("<section id=\"{section}\"")), "no section {section}");
    }
    assert!(html.contains("age = 65+") && html.contains("mixlet mixture fit survey.csv"));
    folder.done("fit bars-idx3-ubyte --classes 2 --report p.html");
    let html = folder.read("p.html");
    assert!(html.contains("prototype-1-small-t") && html.contains("information-map"));
    folder.done("fit bars.npy --threshold 100 --classes 2 --image 4x6 --report q.html");
    assert!(folder.read("q.html").contains("prototype-1-small-t"));
}

#[test]
fn what_the_user_should_know_is_warned_about() {
    let folder = Folder::new();
    let rows: String = (0..40).map(|row| format!("{row},{},x,,\n", row % 2)).collect();
    folder.write("one.csv", &format!("id,a,same,none,nothing\n{rows}"));
    let run = folder.done("fit one.csv --classes 2 --rounds 1 --tolerance 0 --header yes");
    for warning in [
        "column `id` holds 40 different values in 40 rows: if it names the rows, leave it out with --ignore",
        "1 column with one value only, first `same`: it tells nothing",
        "2 columns without any value, first `none`: they tell nothing",
        "stopped after 1 round before it converged: --rounds allows more",
    ] {
        assert!(run.err.contains(&format!("warning: {warning}\n")), "{}", run.err);
    }
    // All of its rounds are what stagewise EM usually needs.
    let run = folder.done(&format!("{SURVEY} --classes 2 --method stagewise"));
    assert!(!run.err.contains("stopped after"), "{}", run.err);
}

#[test]
fn an_ignored_column_may_be_the_truth() {
    let folder = Folder::new();
    let error_rate = |columns: &str| {
        folder.done(&format!("fit survey.csv --classes 3 --restarts 3 {columns} --json")).json()["error_rate"]
            .clone()
    };
    let expected = error_rate("--ignore id --truth group");
    assert!(expected.as_f64().is_some_and(|rate| rate < 0.2), "{expected}");
    assert_eq!(error_rate("--ignore id,group --truth group"), expected);
    assert_eq!(error_rate("--ignore id,group --truth groups.csv"), expected);
}

#[test]
fn columns_of_an_array_go_by_their_numbers() {
    let folder = Folder::new();
    let json = folder
        .done("fit bars.npy --threshold 100 --classes 2 --ignore 0,23 --truth 1 --save m.json --json")
        .json();
    assert_eq!((&json["columns"], &json["truth"]["labels"]), (&21.into(), &serde_json::json!(["30", "200"])));
    let new = folder.done("predict m.json bars.npy --json").json();
    assert_eq!(new["log_likelihood"], json["log_likelihood"]);
}

#[test]
fn nobody_is_told_to_restart_from_given_classes() {
    let folder = Folder::new();
    let restarts = "--restarts 10 looks for a better fit";
    assert!(folder.done("fit survey.csv --ignore id --truth group --classes 3").out.contains(restarts));
    assert!(!folder.done(&format!("{SURVEY} --classes 3 --start groups.csv")).out.contains(restarts));
}
