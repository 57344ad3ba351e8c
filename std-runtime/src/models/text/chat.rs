//! Chats: messages as the text that a model was trained on, by the template in its folder.
//!
//! Templates are Jinja as transformers runs it: blocks take their line with them (`trim_blocks`, `lstrip_blocks`), Python's methods
//! of strings, lists and maps, `tojson` as Python writes it, `raise_exception`, `strftime_now`, and `{% generation %}`, which
//! only training looks at. A template is input: what it may compute is limited, and whatever it does is a text or an error.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, State, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::Tokenizer;
use super::clock::format_time;
use super::files::{object, text};
use super::inputs::Message;
use crate::error::{Result, TextProblem};

/// What a template may do: an instruction costs one, and so do 64 bytes of text.
const FUEL: u64 = 2_000_000;
/// The template that is meant where a folder has several.
const DEFAULT: &str = "default";

/// How a model's chats are written.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    path: PathBuf,
}

impl ChatTemplate {
    /// Reads the template of a folder: `chat_template.jinja`, else what `tokenizer_config.json` says.
    pub fn open(folder: &Path) -> Result<Self> {
        let file = folder.join("chat_template.jinja");
        let config = folder.join("tokenizer_config.json");
        match text(&file)? {
            Some(source) => Self::new(&source, file),
            None => match configured(&config)? {
                Some(source) => Self::new(&source, config),
                None => Err(TextProblem::NoTemplate.at(folder)),
            },
        }
    }

    /// A template from its text; `path` is for messages.
    pub fn new(source: &str, path: PathBuf) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| problem(&error).at(&path))?);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let added = environment.add_template_owned(DEFAULT, without_generation(source));
        added.map_err(|error| problem(&error).at(&path))?;
        Ok(Self { environment, path })
    }

    /// The text of a chat up to where the model is to answer. The tokenizer's special tokens have their names in it.
    ///
    /// Times are those of `now`, in UTC.
    pub fn render(&self, tokenizer: &Tokenizer, messages: &[Message], now: SystemTime) -> Result<String> {
        let fail = |error: minijinja::Error| problem(&error).at(&self.path);
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let clock = Value::from_function(move |format: String| format_time(seconds, &format));
        let messages: Vec<Value> = messages.iter().map(|message| message.0.clone()).collect();
        let chat = context! {
            messages, add_generation_prompt => true, tools => (), documents => (), strftime_now => clock,
        };
        let special = Value::from_pairs(tokenizer.specials());
        let template = self.environment.get_template(DEFAULT).map_err(fail)?;
        template.render(context! { ..chat, ..special }).map_err(fail)
    }
}

/// The template that `tokenizer_config.json` has: one, or several with names.
fn configured(path: &Path) -> Result<Option<String>> {
    use serde_json::Value;
    let Some(mut config) = object(path)? else { return Ok(None) };
    let of = |template: &Value| template.get("template")?.as_str().map(str::to_owned);
    match config.remove("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source)),
        Some(Value::Array(named)) => {
            let name = |template: &Value| template.get("name").and_then(Value::as_str).map(str::to_owned);
            let default = named.iter().find(|template| name(template).as_deref() == Some(DEFAULT));
            let only = named.first().filter(|_| named.len() == 1);
            let found = named.iter().filter_map(name).collect();
            let none = || TextProblem::NamedTemplates { found }.at(path);
            default.or(only).and_then(of).map(Some).ok_or_else(none)
        }
        Some(other) => {
            let reason = format!("chat_template is {other}");
            Err(TextProblem::Damaged { reason }.at(path))
        }
    }
}

/// The template with its marks of what the model says, which have no output, as conditions that hold.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        let Some((inside, after)) = tag.split_once("%}") else {
            rest = tag;
            break;
        };
        match inside.trim_matches(['-', '+']).trim() {
            "generation" => out.push_str(&inside.replace("generation", " if true ")),
            "endgeneration" => out.push_str(&inside.replace("endgeneration", " endif ")),
            _ => out.push_str(inside),
        }
        out.push_str("%}");
        rest = after;
    }
    out + rest
}

/// Where a template fails, and why.
fn problem(error: &minijinja::Error) -> TextProblem {
    let reason = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("it computes more than {FUEL} steps"),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    TextProblem::Template { line: error.line().unwrap_or(1), reason }
}

/// JSON as Python's `json.dumps` writes it: letters as they are, blanks behind `,` and `:`.
fn to_json(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _is_ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        Some(indent) => {
            let indent = " ".repeat(indent.min(16));
            value.serialize(&mut Serializer::with_formatter(
                &mut out,
                PrettyFormatter::with_indent(indent.as_bytes()),
            ))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, Spaced)),
    };
    let fail = |reason: String| minijinja::Error::new(ErrorKind::BadSerialization, reason);
    written.map_err(|error| fail(error.to_string()))?;
    state.consume_fuel(out.len() as u64 / 4)?;
    String::from_utf8(out).map_err(|error| fail(error.to_string()))
}

/// Blanks behind separators.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}
