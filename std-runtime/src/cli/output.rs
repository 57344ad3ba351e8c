//! Where a command's words go, and which files it may write.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result, Shown, Typed};
use crate::output::is_standard_output;
use crate::table::input::is_standard_input;

/// Says something on standard error, in one line; names of files in it may hold anything.
pub(super) fn log(kind: &str, text: &str) {
    // Nowhere is left to complain to.
    let _ = writeln!(io::stderr(), "{kind}: {}", Shown(&text.replace(['\n', '\r'], " "), usize::MAX));
}

/// Prints text on standard output.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read the output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(source) => Err(Error::Io { path: "standard output".into(), what: "write", source }),
        Ok(()) => Ok(()),
    }
}

/// Prints text on standard error, where standard output is taken.
pub(super) fn print_aside(text: &str) {
    // Nowhere is left to complain to.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints one JSON object.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Error::Io {
        path: "standard output".into(),
        what: "write",
        source: error.into(),
    })?;
    print(&(text + "\n"))
}

/// Makes sure, before any work is done, that outputs can be written and that none of them is an input,
/// or another output, or mixes with the JSON object.
pub(super) fn check_paths(inputs: &[&Path], outputs: &[&Path], json: bool) -> Result<()> {
    let (piped, files): (Vec<&Path>, Vec<&Path>) = inputs.iter().partition(|path| is_standard_input(path));
    if piped.len() > 1 {
        return Err(Error::Options {
            problem: "- is standard input, which is read once; name files for the other inputs",
        });
    }
    let inputs: Vec<PathBuf> = files.into_iter().map(place).collect();
    let mut taken: Vec<PathBuf> = Vec::new();
    for &output in outputs {
        if is_standard_output(output) && json {
            return Err(Error::Options {
                problem: "with --json standard output holds the JSON object; name a file for the other output",
            });
        }
        let overwrites = |what| Error::Overwrites { path: output.to_owned(), what };
        let place = place(output);
        if inputs.contains(&place) {
            return Err(overwrites("an input"));
        }
        // A device can take several outputs.
        if taken.contains(&place) && !fs::metadata(&place).is_ok_and(|known| !known.is_file()) {
            return Err(overwrites("another output"));
        }
        taken.push(place);
        check_folder(output)?;
    }
    Ok(())
}

/// Makes sure that there is a folder for an output, and that the output is none itself.
fn check_folder(output: &Path) -> Result<()> {
    let fail = |what, source| Error::Io { path: output.to_owned(), what, source };
    if output.is_dir() {
        return Err(fail("write", io::ErrorKind::IsADirectory.into()));
    }
    match output.parent().filter(|parent| !parent.as_os_str().is_empty()).map(fs::metadata) {
        Some(Err(source)) => Err(fail("create", source)),
        Some(Ok(folder)) if !folder.is_dir() => Err(fail("create", io::ErrorKind::NotADirectory.into())),
        _ => Ok(()),
    }
}

/// The path behind links and relative parts, as far as it exists.
fn place(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            fs::canonicalize(parent).map_or_else(|_| path.to_owned(), |parent| parent.join(name))
        }
        _ => path.to_owned(),
    })
}

/// The file and its folder: the rest of the path says little.
pub(super) fn title(path: &Path) -> String {
    if is_standard_input(path) {
        return "standard input".to_owned();
    }
    let mut parts: Vec<_> = path.iter().rev().take(2).collect();
    parts.reverse();
    parts.iter().collect::<PathBuf>().display().to_string()
}

/// The command that does this again, as one would type it.
pub(super) fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| Typed(&word.to_string_lossy()).to_string());
    ["mixlet".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// Lines of `name  text`, for a person.
#[derive(Default)]
pub(super) struct Lines {
    /// All lines so far.
    pub text: String,
}

impl Lines {
    /// A line with a name.
    pub fn add(&mut self, name: &str, text: &str) {
        self.raw(&format!("{name:<11}{text}"));
    }

    /// A line as it is.
    pub fn raw(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}
