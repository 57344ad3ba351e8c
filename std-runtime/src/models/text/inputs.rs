//! Prompts and chats out of files; `-` is standard input, gzip is unpacked.

use std::path::Path;

use minijinja::value::{Value, ValueKind};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::error::{Error, Result, TextProblem};
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

/// The prompts of a file: one in each line, or objects with a text `prompt`. Empty lines are none.
pub fn read_prompts(path: &Path) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Object {
        prompt: String,
    }
    let text = read_text(path)?;
    if is_list_of_objects(&text) {
        return Err(wrong(path, 1, LIST));
    }
    let prompts: Vec<String> = match text.trim_start().starts_with('{') {
        true => values::<Object>(path, &text)?.into_iter().map(|(_, object)| object.prompt).collect(),
        false => text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect(),
    };
    let is_empty = prompts.is_empty();
    if is_empty { Err(wrong(path, 1, "there is no prompt, expected one in each line")) } else { Ok(prompts) }
}

/// The chats of a file: lists of messages, lists of such lists, objects whose `messages` are a list, or the messages of one chat
/// one after the other. A message is an object with a text `role`.
pub fn read_chats(path: &Path) -> Result<Vec<Vec<Message>>> {
    let (mut chats, mut single) = (Vec::new(), Vec::new());
    for (line, value) in values::<Value>(path, &read_text(path)?)? {
        let fail =
            || wrong(path, line, "no chat, expected messages, objects with the texts `role` and `content`");
        match (value.kind(), value.get_attr("messages")) {
            (ValueKind::Map, Ok(messages)) if messages.kind() == ValueKind::Seq => {
                chats.push(chat(&messages).ok_or_else(fail)?);
            }
            (ValueKind::Map, _) => single.push(Message::of(value).ok_or_else(fail)?),
            _ => match chat(&value) {
                Some(chat) => chats.push(chat),
                None => {
                    let several = value.try_iter().ok().and_then(|all| all.map(|it| chat(&it)).collect());
                    let several: Vec<Vec<Message>> = several.ok_or_else(fail)?;
                    chats.extend(several);
                }
            },
        }
    }
    match (chats.is_empty(), single.is_empty()) {
        (true, true) => Err(wrong(path, 1, "there is no message, expected at least one")),
        (false, false) => Err(wrong(path, 1, "chats and messages of one are mixed, expected either")),
        (true, false) => Ok(vec![single]),
        (false, true) => Ok(chats),
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
            Some(Err(error)) => return Err(wrong(path, line, &error.to_string())),
        }
    }
}

fn wrong(path: &Path, line: usize, reason: &str) -> Error {
    TextProblem::Input { line, reason: reason.to_owned() }.at(path)
}
