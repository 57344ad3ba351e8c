//! Every public function of core is called by `tests/no_panic`, the program that links only while none can panic.
//!
//! Both sides are read as text: `pub fn` with the type it belongs to on one, the calls' paths on the other. A new
//! function fails this test until it has a line there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

/// All Rust files below a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The name that text begins with.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The type that an `impl` line is for, or its trait: the last name of it that is not a generic argument.
fn implemented(line: &str) -> &str {
    let mut depth = 0;
    let start = line.find(|c| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        c == ' ' && depth == 0
    });
    name(line[start.unwrap()..].trim_start())
}

/// Functions by what they are called in the check: `Type::function`, or `function`, or `module::function` where several
/// files have one of that name.
#[derive(Default)]
struct Public {
    methods: BTreeSet<String>,
    /// The modules of each free function.
    free: BTreeMap<String, BTreeSet<String>>,
}

impl Public {
    fn of_core() -> Self {
        let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("core/src"));
        // Tests stand at the end of a file.
        let code = |file| read_to_string(file).unwrap().split("#[cfg(test)]").next().unwrap().to_owned();
        let codes: Vec<String> = files.iter().map(code).collect();
        // What a private module has is called through the one above.
        let module = |file: &PathBuf| {
            let stem = file.file_stem().unwrap().to_str().unwrap();
            let is_public = codes.iter().any(|code| code.contains(&format!("pub mod {stem};")));
            let above = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
            if is_public { stem.to_owned() } else { above.to_owned() }
        };
        let texts: Vec<(String, &String)> = files.iter().map(module).zip(&codes).collect();
        let mut types = BTreeSet::new();
        for line in texts.iter().flat_map(|(_, text)| text.lines()) {
            for kind in ["pub struct ", "pub enum ", "pub trait "] {
                types.extend(line.strip_prefix(kind).map(|rest| name(rest).to_owned()));
            }
        }
        let mut public = Self::default();
        texts.iter().for_each(|(stem, text)| public.read(stem, text, &types));
        public
    }

    fn read(&mut self, stem: &str, text: &str, types: &BTreeSet<String>) {
        let mut owner = None;
        let mut in_trait = false;
        for line in text.lines() {
            if line.starts_with("impl") || line.starts_with("pub trait ") {
                in_trait = line.starts_with("pub trait ");
                owner = Some(if in_trait { name(&line["pub trait ".len()..]) } else { implemented(line) });
            } else if line == "}" {
                (owner, in_trait) = (None, false);
            }
            let item = line.trim_start();
            let is_public = item.starts_with("pub ") || in_trait;
            let Some(function) = item.split("fn ").nth(1).map(name).filter(|_| is_public) else { continue };
            let before = item.split("fn ").next().unwrap();
            if !before.split(' ').all(|word| ["", "pub", "const", "unsafe"].contains(&word)) {
                continue;
            }
            match owner {
                Some(owner) if types.contains(owner) => {
                    _ = self.methods.insert(format!("{owner}::{function}"))
                }
                Some(_) => {}
                None => _ = self.free.entry(function.to_owned()).or_default().insert(stem.to_owned()),
            }
        }
    }

    fn names(self) -> BTreeSet<String> {
        let mut names = self.methods;
        for (function, files) in self.free {
            if files.len() == 1 {
                names.insert(function);
            } else {
                names.extend(files.iter().map(|file| format!("{file}::{function}")));
            }
        }
        names
    }
}

/// Text without generic arguments of calls, and with `<T as Trait>::` as `Trait::`.
fn without_generics(line: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    for part in line.replace(" as ", "\u{1}").split_inclusive(['<', '>']) {
        let (text, bracket) = part.split_at(part.len() - part.chars().last().map_or(0, char::len_utf8));
        let (text, bracket) = if bracket == "<" || bracket == ">" { (text, bracket) } else { (part, "") };
        match (depth, text.split_once('\u{1}')) {
            (0, _) => out.push_str(text),
            (_, Some((_, of_trait))) => out.push_str(of_trait),
            _ => {}
        }
        depth += i32::from(bracket == "<") - i32::from(bracket == ">");
    }
    out.replace("::::", "::").replace("::(", "(")
}

/// The last one and the last two names of every path that is called.
fn called() -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/no_panic/src/calls")) {
        let text = read_to_string(file).unwrap();
        for line in text.lines().filter(|line| line.contains("call(|")).map(without_generics) {
            for before in line.split('(') {
                let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
                let path = &before[start.map_or(0, |start| start + 1)..];
                let mut names = path.rsplit("::");
                let (Some(function), owner) = (names.next(), names.next()) else { continue };
                if owner.is_none_or(|owner| owner.starts_with(char::is_lowercase)) {
                    called.insert(function.to_owned());
                }
                called.extend(owner.map(|owner| format!("{owner}::{function}")));
            }
        }
    }
    called
}

#[test]
fn every_public_function_is_called_by_the_check_for_panics() {
    let (public, called) = (Public::of_core().names(), called());
    assert!(public.len() > 300, "only {} public functions were found", public.len());
    let forgotten: Vec<&String> = public.difference(&called).collect();
    assert!(forgotten.is_empty(), "no call in tests/no_panic/src/calls: {forgotten:#?}");
}

#[test]
fn the_reader_tells_public_functions_from_others() {
    let text = "\
pub fn free() {
    let x = 1;
}
pub(crate) fn inner() {}
fn private() {}
impl<'a, T: Lane<1>> Known<'a, T> {
    pub const fn new() -> Self {}
    fn helper(&self) {}
}
impl Hidden {
    pub fn at(self) {}
}
pub trait Able {
    fn able(&self);
}
impl Able for Known<'_, u8> {
    fn able(&self) {}
}
";
    let mut public = Public::default();
    public.read("file", text, &["Known", "Able"].map(str::to_owned).into());
    public.read("other", "pub fn twice() {}\n", &BTreeSet::new());
    public.read("another", "pub unsafe fn twice() {}\n", &BTreeSet::new());
    let expected = ["Able::able", "Known::new", "another::twice", "free", "other::twice"];
    assert!(public.names().iter().eq(expected), "public functions");
    for (line, expected) in [
        ("call(|| route::<R>(&any()))", "call(|| route(&any()))"),
        ("Routing::<'_, R>::tokens(&any::<Vec<u8>>())", "Routing::tokens(&any())"),
        ("<R as Real>::exp(any())", "Real::exp(any())"),
        ("<Plain as Arith>::f32_dots::<2>(any())", "Arith::f32_dots(any())"),
    ] {
        assert_eq!(without_generics(line), expected);
    }
}
