//! Programs that are ended while they write a model: nothing is left behind, and nothing looks whole.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::command::program;
use crate::folder::{Folder, names, raw};

/// What a shell sends, and its number.
const SIGNALS: [(&str, i32); 2] = [("-INT", 2), ("-TERM", 15)];

/// Waits for a child, but not for ever.
fn wait(child: &mut Child, what: &str) {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} does not end");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_model_in_the_making_goes_with_its_maker() {
    let Some(folder) = Folder::new("mixtral") else { return };
    let model = folder.changed("model", &raw(&folder.golden));
    // Weights come first, then what lies beside them: a pipe without a writer holds the command up there.
    assert!(Command::new("mkfifo").arg(model.join("merges.txt")).status().unwrap().success());
    for command in ["import model out", "export-hf model out", "quantize model out --weights int8"] {
        for (name, number) in SIGNALS {
            let mut run = Command::new(program());
            run.arg("lm").args(command.split(' ')).current_dir(folder.path(""));
            let mut run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let unfinished = || -> Option<String> {
                let temporary = folder.names().into_iter().find(|name| name.starts_with(".mixlet-"))?;
                let written = names(&folder.path(&temporary)).contains(&"model.safetensors".to_owned());
                written.then_some(temporary)
            };
            let start = Instant::now();
            while unfinished().is_none() {
                assert!(start.elapsed() < Duration::from_secs(60), "{command} writes nothing");
                sleep(Duration::from_millis(5));
            }
            Command::new("kill").args([name, &run.id().to_string()]).status().unwrap();
            wait(&mut run, command);
            assert_eq!(run.wait().unwrap().signal(), Some(number), "{command} ends as it would have anyway");
            assert_eq!(folder.names(), ["model"], "{command}, {name}");
        }
    }
    fs::remove_file(model.join("merges.txt")).unwrap();
}
