//! Prompts and chats out of files; `-` is standard input, gzip is unpacked.

use std::path::Path;

use minijinja::value::{Value, ValueKind};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::error::{Error, Quoted, Result, TextProblem};
use crate::table::input::Input;

/// What somebody says in a chat; it may have more than a template looks at.
#[derive(Clone, Debug)]
pub struct Message(pub(super) Value);

impl Message {
    /// What a role (`system`, `user`, `assistant`) says.
    pub fn new(role: &str, content: &str) -> Self {
        Self(Value::from_pairs([("role", role), ("content", content)]))
    }

    fn of(value: Value) -> Option<Self> {
        let has_role = value.get_attr("role").is_ok_and(|role| role.kind() == ValueKind::String);
        (value.kind() == ValueKind::Map && has_role).then_some(Self(value))
    }
}

/// All of a file of text, without the byte order mark.
pub fn read_text(path: &Path) -> Result<String> {
    let mut bytes = Input::read_all(path)?;
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(.."\u{feff}".len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        wrong(path, line, "the line is no UTF-8, expected text")
    })
}

/// What is wrong with [a list of objects](is_list_of_objects).
pub(crate) const LIST: &str = "a list of objects, expected an object in each line";

/// Whether a text is a list of objects in JSON.
pub(crate) fn is_list_of_objects(text: &str) -> bool {
    text.trim_start().starts_with('[') && serde_json::from_str::<Vec<Map<String, Json>>>(text).is_ok()
}

/// The prompts of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptLines {
    /// Each with the line it begins in, counted from 1.
    pub prompts: Vec<(usize, String)>,
    /// Lines that hold nothing but space, which are no prompts.
    pub blank: usize,
}

/// The prompts of a file: one in each line that is not blank, or objects with a text `prompt`.
pub fn read_prompts(path: &Path) -> Result<PromptLines> {
    let text = read_text(path)?;
    if is_list_of_objects(&text) {
        return Err(wrong(path, 1, LIST));
    }
    let (prompts, blank) = if text.trim_start().starts_with('{') {
        let prompt = |(line, value): (usize, Json)| match of_object(&value) {
            Ok(prompt) => Ok((line, prompt)),
            Err(reason) => Err(wrong(path, line, &reason)),
        };
        (values(path, &text)?.into_iter().map(prompt).collect::<Result<Vec<_>>>()?, 0)
    } else {
        let lines = (1..).zip(text.lines());
        let (prompts, blank): (Vec<_>, Vec<_>) = lines.partition(|(_, text)| !text.trim().is_empty());
        (prompts.into_iter().map(|(line, text)| (line, text.to_owned())).collect(), blank.len())
    };
    let none = || wrong(path, 1, "there is no prompt, expected one in each line");
    if prompts.is_empty() { Err(none()) } else { Ok(PromptLines { prompts, blank }) }
}

/// The text `prompt` of an object, or what is there instead.
fn of_object(value: &Json) -> Result<String, String> {
    let Json::Object(map) = value else {
        return Err(format!(
            "{} is no object, expected one with a text `prompt`",
            Quoted(&value.to_string())
        ));
    };
    match map.get("prompt") {
        Some(Json::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("`prompt` is {}, expected a text", Quoted(&other.to_string()))),
        None => {
            let keys = map.keys().map(|key| Quoted(key).to_string()).collect::<Vec<_>>().join(", ");
            let found = if keys.is_empty() { "none" } else { &keys };
            Err(format!("the key `prompt` is not there, expected it with a text; the keys are {found}"))
        }
    }
}

/// The chats of a file: lists of messages, lists of such lists, objects whose `messages` are a list, or the messages of one chat
/// one after the other. A message is an object with a text `role`. Each comes with the line it begins in, counted from 1; those of a
/// list with the line of the list.
pub fn read_chats(path: &Path) -> Result<Vec<(usize, Vec<Message>)>> {
    let (mut chats, mut single) = (Vec::new(), Vec::new());
    for (line, value) in values::<Value>(path, &read_text(path)?)? {
        let fail =
            || wrong(path, line, "no chat, expected messages, objects with the texts `role` and `content`");
        match (value.kind(), value.get_attr("messages")) {
            (ValueKind::Map, Ok(messages)) if messages.kind() == ValueKind::Seq => {
                chats.push((line, chat(&messages).ok_or_else(fail)?));
            }
            (ValueKind::Map, _) => single.push((line, Message::of(value).ok_or_else(fail)?)),
            _ => match chat(&value) {
                Some(chat) => chats.push((line, chat)),
                None => {
                    let several = value.try_iter().ok().and_then(|all| all.map(|it| chat(&it)).collect());
                    let several: Vec<Vec<Message>> = several.ok_or_else(fail)?;
                    chats.extend(several.into_iter().map(|chat| (line, chat)));
                }
            },
        }
    }
    match (chats.is_empty(), single.first()) {
        (true, None) => Err(wrong(path, 1, "there is no message, expected at least one")),
        (false, Some(_)) => Err(wrong(path, 1, "chats and messages of one are mixed, expected either")),
        (true, Some((line, _))) => Ok(vec![(*line, single.into_iter().map(|(_, said)| said).collect())]),
        (false, None) => Ok(chats),
    }
}

/// A list of messages, at least one.
fn chat(value: &Value) -> Option<Vec<Message>> {
    let list = Some(value).filter(|value| value.kind() == ValueKind::Seq)?;
    let messages: Vec<Message> = list.try_iter().ok()?.map(Message::of).collect::<Option<_>>()?;
    Some(messages).filter(|messages| !messages.is_empty())
}

/// Values of JSON one after the other, each with the line it begins in.
fn values<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Vec<(usize, T)>> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<T>();
    let mut out = Vec::new();
    let (mut line, mut counted) = (1, 0);
    loop {
        let rest = text.get(stream.byte_offset()..).unwrap_or_default();
        let start = text.len() - rest.trim_start().len();
        line += text.get(counted..start).unwrap_or_default().matches('\n').count();
        counted = start;
        match stream.next() {
            None => return Ok(out),
            Some(Ok(value)) => out.push((line, value)),
            Some(Err(error)) => return Err(wrong(path, error.line(), &json_reason(&error))),
        }
    }
}

/// What is wrong with JSON, without the line, which is said before.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let reason = text.strip_suffix(&format!(" at line {line} column {column}"));
    reason.map_or_else(|| text.clone(), |reason| format!("{reason} at column {column}"))
}

fn wrong(path: &Path, line: usize, reason: &str) -> Error {
    TextProblem::Input { line, reason: reason.to_owned() }.at(path)
}
