//! Values of a `config.json`, each checked against its range when it is taken out.

use serde_json::{Map, Value};

use crate::error::ConfigProblem;

/// Widths, vocabularies and the like, at most.
pub(super) const MOST_WIDE: usize = 1 << 24;
/// Layers, at most: lists of them are made before any tensor is looked for.
pub(super) const MOST_LAYERS: usize = 1024;
/// Experts of a layer, at most.
pub(super) const MOST_EXPERTS: usize = 1 << 16;

/// The keys of an object.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a>(pub &'a Map<String, Value>);

impl<'a> Keys<'a> {
    /// The value of a key; null is none.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// The value of a key that must be there.
    fn need(&self, key: &'static str) -> Result<&'a Value, ConfigProblem> {
        self.get(key).ok_or(ConfigProblem::Missing { key })
    }

    /// A whole number from 1 on.
    pub fn count(&self, key: &'static str, most: usize) -> Result<usize, ConfigProblem> {
        let value = self.need(key)?;
        let count = value.as_u64().and_then(|number| usize::try_from(number).ok());
        let count = count.filter(|count| (1..=most).contains(count));
        count.ok_or_else(|| wrong(key, value, format!("a whole number from 1 to {most}")))
    }

    /// The same, or what stands for it where the key is absent.
    pub fn count_or(&self, key: &'static str, most: usize, default: usize) -> Result<usize, ConfigProblem> {
        if self.get(key).is_some() { self.count(key, most) } else { Ok(default) }
    }

    /// A width.
    pub fn width(&self, key: &'static str) -> Result<usize, ConfigProblem> {
        self.count(key, MOST_WIDE)
    }

    /// A number of layers.
    pub fn layers(&self, key: &'static str) -> Result<usize, ConfigProblem> {
        self.count(key, MOST_LAYERS)
    }

    /// A number of experts, or of those that a token gets.
    pub fn experts(&self, key: &'static str) -> Result<u32, ConfigProblem> {
        Ok(self.count(key, MOST_EXPERTS)? as u32)
    }

    /// A whole number from 0 on, where the key is there.
    pub fn whole(&self, key: &'static str) -> Result<Option<usize>, ConfigProblem> {
        let whole = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        let checked = |value| whole(value).filter(|number| *number <= MOST_WIDE);
        let expected = || format!("a whole number up to {MOST_WIDE}");
        self.get(key).map(|value| checked(value).ok_or_else(|| wrong(key, value, expected()))).transpose()
    }

    /// An id.
    pub fn id(&self, key: &'static str) -> Result<Option<u32>, ConfigProblem> {
        let id = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let checked = |value| id(value).ok_or_else(|| wrong(key, value, "an id".to_owned()));
        self.get(key).map(checked).transpose()
    }

    /// An id or a list of them; none where the key is absent.
    pub fn ids(&self, key: &'static str) -> Result<Vec<u32>, ConfigProblem> {
        let Some(Value::Array(values)) = self.get(key) else {
            return Ok(self.id(key)?.into_iter().collect());
        };
        let id = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let checked = |value| id(value).ok_or_else(|| wrong(key, value, "an id".to_owned()));
        values.iter().map(checked).collect()
    }

    /// A finite number, or what stands for it.
    pub fn number(&self, key: &'static str, default: f64) -> Result<f64, ConfigProblem> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_f64().ok_or_else(|| wrong(key, value, "a number".to_owned()))
    }

    /// A number above 0, or what stands for it.
    pub fn positive(&self, key: &'static str, default: f64) -> Result<f64, ConfigProblem> {
        let number = self.number(key, default)?;
        let refuse = || wrong(key, &Value::from(number), "a number above 0".to_owned());
        if number > 0.0 { Ok(number) } else { Err(refuse()) }
    }

    /// True or false, or what stands for it.
    pub fn flag(&self, key: &'static str, default: bool) -> Result<bool, ConfigProblem> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| wrong(key, value, "true or false".to_owned()))
    }

    /// A text, where the key is there.
    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>, ConfigProblem> {
        let checked = |value: &'a Value| value.as_str().ok_or_else(|| wrong(key, value, "a text".to_owned()));
        self.get(key).map(checked).transpose()
    }

    /// An object, where the key is there.
    pub fn object(&self, key: &'static str) -> Result<Option<Keys<'a>>, ConfigProblem> {
        let checked = |value: &'a Value| {
            value.as_object().map(Keys).ok_or_else(|| wrong(key, value, "an object".to_owned()))
        };
        self.get(key).map(checked).transpose()
    }

    /// A list, where the key is there.
    pub fn list(&self, key: &'static str) -> Result<Option<&'a [Value]>, ConfigProblem> {
        let checked = |value: &'a Value| {
            value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(key, value, "a list".to_owned()))
        };
        self.get(key).map(checked).transpose()
    }

    /// An error about the value of a key, which may be absent.
    pub fn refuse(&self, key: &'static str, expected: &str) -> ConfigProblem {
        wrong(key, self.0.get(key).unwrap_or(&Value::Null), expected.to_owned())
    }

    /// An error unless a key that changes the numbers is absent or has the only value that is understood.
    pub fn only(&self, key: &'static str, allowed: &Value) -> Result<(), ConfigProblem> {
        match self.get(key) {
            Some(value) if value != allowed => Err(wrong(key, value, allowed.to_string())),
            _ => Ok(()),
        }
    }
}

fn wrong(key: &'static str, found: &Value, expected: String) -> ConfigProblem {
    ConfigProblem::Value { key, found: found.to_string(), expected }
}
