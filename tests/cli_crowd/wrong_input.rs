//! One wrong input for each way in: what is said, with which code, and that nothing is lost.

use crate::common::command::mixlet;
use crate::folder::Folder;

#[test]
fn wrong_usage_is_one_line_and_code_2() {
    let folder = Folder::new();
    let help = "; --help shows what is possible";
    let cases = [
        ("fit", "the following required arguments were not provided: <ANSWERS>", help),
        (
            "fit answers.csv --glod gold.csv",
            "unexpected argument '--glod' found; tip: a similar argument exists: '--gold'",
            help,
        ),
        (
            "fit answers.csv --tolerance -1",
            "invalid value '-1' for '--tolerance <X>': expected a number that is not negative",
            help,
        ),
        (
            "fit answers.csv --tolerance NaN",
            "invalid value 'NaN' for '--tolerance <X>': expected a number that is not negative",
            help,
        ),
        (
            "fit answers.csv --pseudocount some",
            "invalid value 'some' for '--pseudocount <pooled|S>': expected `pooled` or a number that is not negative",
            help,
        ),
        (
            "fit answers.csv --select 0",
            "invalid value '0' for '--select <all|auto|N>': expected `all`, `auto` or a number of workers from 1 on",
            help,
        ),
        (
            "fit answers.csv --threads 0 --json",
            "invalid value '0' for '--threads <N>': expected a whole number from 1 to 1024",
            help,
        ),
        (
            "fit answers.csv --columns tsk=item",
            "invalid value 'tsk=item' for '--columns <task=NAME,worker=NAME,label=NAME,gold=NAME>': --columns has `tsk=item`, \
             expected task=NAME, worker=NAME, label=NAME and gold=NAME, each at most once, separated by commas",
            help,
        ),
        (
            "rank answers.csv --estimator best",
            "invalid value 'best' for '--estimator <ESTIMATOR>' [possible values: plain, weighted, miller-madow, g-test]",
            help,
        ),
        ("fit answers.csv --tasks gold", "--tasks gold needs gold labels; name their file with --gold", ""),
        ("rank answers.csv --tasks gold", "--tasks gold needs gold labels; name their file with --gold", ""),
        (
            "fit answers.csv --known-workers w.csv --method one-coin",
            "--known-workers needs --method dawid-skene: the other methods have no confusion matrices",
            "",
        ),
        (
            "fit answers.csv --method majority-vote --pseudocount 3",
            "--method majority-vote assumes nothing about workers; leave out --pseudocount",
            "",
        ),
        (
            "fit answers.csv --method majority-vote --pseudocount pooled --select auto",
            "--method majority-vote assumes nothing about workers; leave out --pseudocount",
            "",
        ),
        (
            "fit answers.csv --method majority-vote --prior uniform",
            "--method majority-vote assumes nothing about classes; leave out --prior",
            "",
        ),
        (
            "fit answers.csv --method majority-vote --start vote",
            "--method majority-vote starts nowhere; leave out --start",
            "",
        ),
        (
            "fit answers.csv --method majority-vote --rounds 500 --select 3",
            "--method majority-vote has no rounds; leave out --rounds",
            "",
        ),
        (
            "fit answers.csv --method majority-vote --tolerance 0",
            "--method majority-vote has no rounds; leave out --tolerance",
            "",
        ),
        ("fit - --gold -", "- is standard input, which is read once; name files for the other inputs", ""),
        ("rank - --gold -", "- is standard input, which is read once; name files for the other inputs", ""),
        (
            "fit answers.csv --labels - --json",
            "with --json standard output holds the JSON object; name a file for the other output",
            "",
        ),
    ];
    for (arguments, message, end) in cases {
        let run = folder.run(arguments);
        assert_eq!(run.err, format!("error: {message}{end}\n"), "{arguments}");
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{arguments}");
    }
    assert_eq!(mixlet(folder.path(), "").code, 2);
    assert_eq!(folder.names(), ["answers.csv", "gold.csv"]);
}

#[test]
fn remedies_can_be_typed_as_they_stand() {
    let folder = Folder::new();
    for (column, remedy) in [
        ("item", "--columns task=item"),
        ("the item", "--columns 'task=the item'"),
        ("#", "--columns 'task=#'"),
        ("it's", r"--columns 'task=it'\''s'"),
    ] {
        folder.write("renamed.csv", &format!("{column},worker,label\nt1,w1,cat\nt1,w2,dog\n"));
        let run = folder.run("fit renamed.csv");
        let message = format!("no column `task` among `{column},worker,label`; name it with {remedy}");
        assert_eq!((run.code, run.err), (1, format!("error: renamed.csv:1: {message}\n")));
    }
}

#[test]
fn wrong_standard_input_is_named_as_such() {
    let folder = Folder::new();
    let header = "task,worker,label\n";
    for (arguments, input, message) in [
        ("fit -", "".into(), ": the file is empty, expected a line of column names and rows below it"),
        (
            "fit -",
            format!("{header}t1,w1,cat\nt1,w2\n"),
            ":3: 2 fields, expected 3 as in the header; complete the row",
        ),
        (
            "rank - --json",
            format!("{header}t1,w1,cat\n"),
            ": every label is `cat`, expected at least two different ones; check the label column",
        ),
        (
            "fit - --repeats error",
            format!("{header}t1,w1,cat\nt1,w1,dog\n"),
            ":3: worker `w1` answers task `t1` again, first on line 2; \
             keep one row, or pass --repeats first, last or count",
        ),
    ] {
        let run = folder.run_reading(arguments, &input);
        assert_eq!(run.err, format!("error: standard input{message}\n"), "{arguments}");
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{arguments}");
    }
}

#[test]
fn wrong_files_are_named_with_line_and_remedy_and_code_1() {
    let folder = Folder::new();
    folder.write("renamed.csv", "item,worker,label\nt1,w1,cat\n");
    folder.write("one.csv", "task,worker,label\nt1,w1,cat\nt1,w2,cat\n");
    folder.write("strange-gold.csv", "task,label\nt1,cat\nt999,cat\n");
    folder.write("no-gold.csv", "\ntask,label\n");
    folder.write("strange-label.csv", "task,label\nt1,cow\n");
    folder.write("strange-start.csv", "task,label,p_cat,p_cow\nt1,cat,1.0,0.0\n");
    folder.write("empty-start.csv", "task,p_cat,p_dog\nt1,1.0,0.0\nt2,0,0\n");
    folder.write("number-start.csv", "task,p_cat,p_dog\nt1,1.0,-0.5\n");
    folder.write(
        "workers.csv",
        "worker,c_cat_cat,c_cat_dog,c_dog_cat,c_dog_dog,n_cat,n_dog\nw1,1,0,0,1,5,nan\n",
    );
    let columns = "expected those that --workers writes: `worker`, `c_<true>_<answered>` for every two labels, \
                   `n_<true>` for every label";
    let header = "worker,c_cat_cat,c_cat_dog,c_dog_cat,c_dog_dog,n_cat";
    folder.write("no-total.csv", &format!("{header}\nw1,1,0,0,1,5\n"));
    folder.write("no-name.csv", &format!("{header},n_dog\nw1,1,0,0,1,5,5\n").replace("worker", "who"));
    let row = "1,0,0,1,5,5";
    folder.write("again.csv", &format!("{header},n_dog\nw1,{row}\nw2,{row}\nw1,{row}\n"));
    folder.write("huge.csv", &format!("{header},n_dog\nw1,1,0,0,1,5,1e308\n"));
    folder.write("two-starts.csv", "task,label\nt1,cat\nt1,cat\nt1,dog\n");
    folder.write("two-shares.csv", "task,p_cat,p_dog\nt1,0.9,0.1\nt1,0.8,0.2\n");
    folder.write("few-workers.csv", "worker,c_cat_cat,c_cat_dog,n_cat,n_dog\nw1,1,0,5,5\n");
    folder.write("model.json", "{\"format\":\"mixlet crowd\",\"version\":2}");
    let cases = [
        ("fit none.csv", "none.csv: cannot open: No such file or directory (os error 2); check the path"),
        (
            "fit renamed.csv",
            "renamed.csv:1: no column `task` among `item,worker,label`; name it with --columns task=item",
        ),
        (
            "rank one.csv",
            "one.csv: every label is `cat`, expected at least two different ones; check the label column",
        ),
        (
            "fit answers.csv --gold strange-gold.csv",
            "strange-gold.csv:3: task `t999` has no answers; remove the row or pass --skip-unknown-gold",
        ),
        (
            "fit answers.csv --gold no-gold.csv --tasks gold",
            "no-gold.csv:2: nothing but column names, and --tasks gold reads only tasks in gold; \
             add rows, or leave out --tasks gold",
        ),
        (
            "fit answers.csv --known-labels strange-label.csv",
            "strange-label.csv:2: unknown label `cow`, expected one of `cat`, `dog`, `other_one`; correct it or remove the row",
        ),
        (
            "fit answers.csv --start vot",
            "vot: cannot open: No such file or directory (os error 2); check the path",
        ),
        (
            "fit answers.csv --start strange-start.csv",
            "strange-start.csv:1: unknown label `cow`, expected one of `cat`, `dog`, `other_one`; correct it or remove the row",
        ),
        (
            "fit answers.csv --start strange-label.csv",
            "strange-label.csv:2: unknown label `cow`, expected one of `cat`, `dog`, `other_one`; correct it or remove the row",
        ),
        (
            "fit answers.csv --start empty-start.csv",
            "empty-start.csv:3: all probabilities are 0, expected one above; remove the row to start from the vote",
        ),
        (
            "fit answers.csv --start number-start.csv",
            "number-start.csv:2: column `p_dog` holds `-0.5`, expected a number that is not negative",
        ),
        (
            "fit answers.csv --known-workers answers.csv",
            &format!("answers.csv:1: no column `n_cat` in its place, {columns}"),
        ),
        (
            "fit answers.csv --known-workers few-workers.csv",
            &format!("few-workers.csv:1: no column `c_dog_cat` in its place, {columns}"),
        ),
        (
            "fit answers.csv --known-workers no-total.csv",
            &format!("no-total.csv:1: no column `n_dog` in its place, {columns}"),
        ),
        (
            "fit answers.csv --known-workers no-name.csv",
            &format!("no-name.csv:1: no column `worker` in its place, {columns}"),
        ),
        (
            "fit answers.csv --known-workers again.csv",
            "again.csv:4: worker `w1` comes again, first on line 2; keep one row",
        ),
        (
            "fit answers.csv --known-workers huge.csv",
            "huge.csv:2: `c_dog_dog` times `n_dog` makes more than 1e15 answers; correct the row or remove it",
        ),
        (
            "fit answers.csv --start two-starts.csv",
            "two-starts.csv:4: task `t1` is `dog` here and `cat` on line 2; keep one row",
        ),
        (
            "fit answers.csv --start two-shares.csv",
            "two-shares.csv:3: task `t1` has other probabilities here than on line 2; keep one row",
        ),
        (
            "fit answers.csv --known-workers workers.csv",
            "workers.csv:2: column `n_dog` holds `nan`, expected a number that is not negative",
        ),
        ("fit answers.csv --select 13", "--select asks for 13 workers, expected 1 to 12, `auto` or `all`"),
        (
            "predict answers.csv answers.csv",
            "answers.csv: not a model, expected a file written with `mixlet crowd fit --save`",
        ),
        (
            "predict model.json answers.csv --json",
            "model.json: version 2 of the model file, expected 1; save it again with this mixlet",
        ),
        (
            "fit answers.csv --labels none/labels.csv --json",
            "none/labels.csv: cannot create: No such file or directory (os error 2); create its directory first",
        ),
        ("fit answers.csv --report ..", "..: cannot write: is a directory; name a file in it"),
        (
            "fit answers.csv --save gold.csv/m.json",
            "gold.csv/m.json: cannot create: not a directory; create its directory first",
        ),
        (
            "fit answers.csv --labels ./answers.csv",
            "./answers.csv: the output would replace an input; name another path",
        ),
        (
            "fit answers.csv --gold gold.csv --report gold.csv",
            "gold.csv: the output would replace an input; name another path",
        ),
        (
            "fit answers.csv --labels x.csv --workers ./x.csv",
            "./x.csv: the output would replace another output; name another path",
        ),
    ];
    let before = folder.names();
    for (arguments, message) in cases {
        let run = folder.run(arguments);
        assert_eq!(run.err, format!("error: {message}\n"), "{arguments}");
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{arguments}");
    }
    assert_eq!(folder.names(), before);
}

#[test]
fn too_many_labels_state_the_memory_and_the_remedy() {
    let folder = Folder::new();
    let rows = (0..33_000).map(|label| format!("t{label},w{},{label}\n", label % 2));
    folder.write("many.csv", &("task,worker,label\n".to_owned() + &rows.collect::<String>()));
    for (command, message) in [
        (
            "rank many.csv",
            "the tables of answer pairs need 16.2 GiB of memory, expected at most 8.0 GiB; \
             check that the label column holds classes, or merge rare labels",
        ),
        (
            "fit many.csv --select 1 --method majority-vote",
            "confusion matrices of so many labels need 97.4 GiB of memory, expected at most 8.0 GiB; \
             is `label` the right column? join rare labels, or name the column with --columns label=NAME",
        ),
    ] {
        let run = folder.run(&format!("{command} --threads 1"));
        assert_eq!((run.code, run.err), (1, format!("error: {message}\n")), "{command}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_for_every_output() {
    let folder = Folder::new();
    for option in ["--labels", "--workers", "--ask-next", "--save", "--report"] {
        let run = folder.run(&format!("fit answers.csv --json {option} /dev/full"));
        let message = "/dev/full: cannot write: No space left on device (os error 28); free some space or name another path";
        assert_eq!(run.err, format!("error: {message}\n"), "{option}");
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{option}");
    }
}

#[test]
fn a_failed_fit_leaves_old_outputs_as_they_were() {
    let folder = Folder::new();
    folder.write("labels.csv", "old");
    folder.write("bad.csv", "task,worker,label\nt1,w1,cat\nt1,w2\n");
    assert_eq!(folder.run("fit bad.csv --labels labels.csv").code, 1);
    assert_eq!(folder.read("labels.csv"), "old");
    folder.done("fit answers.csv --labels labels.csv");
    assert!(
        folder.read("labels.csv").starts_with("task,label,confidence,entropy,p_cat,p_dog,p_other_one\nt0,")
    );
    assert_eq!(folder.names(), ["answers.csv", "bad.csv", "gold.csv", "labels.csv"]);
}
