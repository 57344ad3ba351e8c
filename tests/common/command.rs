//! Running the program `mixlet` as a user does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a run left behind.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// The JSON object on standard output, after a run that succeeded.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!((self.code, self.out.lines().count()), (0, 1), "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap()
    }
}

/// The program beside this test's, brought up to date once.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/<profile>/deps/<test>
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap();
        let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
            "debug" => "dev",
            other => other,
        };
        let build = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "mixlet-runtime",
                "--bin",
                "mixlet",
                "--profile",
                profile,
            ])
            .arg("--target-dir")
            .arg(folder.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(build.unwrap().success(), "mixlet does not build");
        folder.join(format!("mixlet{}", std::env::consts::EXE_SUFFIX))
    })
}

/// Runs `mixlet` in a folder; arguments are separated by blanks.
pub fn mixlet(folder: &Path, arguments: &str) -> Run {
    let run =
        Command::new(program()).args(arguments.split_whitespace()).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: run.status.code().unwrap(), out: text(run.stdout), err: text(run.stderr) }
}
