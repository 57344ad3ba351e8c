//! Names and their numbers: interned while a file is read, sorted when it ends.
//!
//! [`Interner`] numbers names in the order they come, [`Ids`] is the finished, sorted set. Names lie
//! end to end in one text, so a name costs its bytes and an offset, not an allocation. [`Integers`]
//! is the short cut for ids that are their own numbers.
//!
//! The order is numeric if all names are integers (any length; equal numbers such as `7` and `007`
//! are different names, ordered by their bytes), and by bytes otherwise.

mod integers;
mod interner;
mod short;

use std::cmp::Ordering;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use integers::{Integers, RankedIntegers};
pub use interner::{Interner, NameError};

/// Sorted, distinct names; a name's number is its place.
///
/// ```
/// # use mixlet_runtime::crowd::ids::Interner;
/// let mut names = Interner::new();
/// for name in ["10", "9", "10", "-1"] {
///     names.intern(name.as_bytes()).unwrap();
/// }
/// let (ids, places) = names.finish();
/// assert_eq!(ids.iter().collect::<Vec<_>>(), ["-1", "9", "10"]);
/// assert_eq!(places, [2, 1, 0]); // "10" came first and is last
/// assert_eq!((ids.find("9"), ids.find("09")), (Some(1), None));
/// ```
#[derive(Clone, Debug)]
pub struct Ids {
    order: Order,
    names: Stored,
}

#[derive(Clone, Debug)]
enum Stored {
    Names(Names),
    /// The names are the numbers below a count; written out when somebody asks for a text.
    Numbers(u32, OnceLock<Names>),
}

/// How names are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Numeric,
    Bytes,
}

impl Ids {
    /// The names `0`, `1`, … below a count. They take no memory until a text is asked for.
    pub fn numbers(count: u32) -> Self {
        Self { order: Order::Numeric, names: Stored::Numbers(count, OnceLock::new()) }
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        match &self.names {
            Stored::Names(names) => names.len(),
            Stored::Numbers(count, _) => *count as usize,
        }
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name at a place; the empty text if there is none.
    pub fn get(&self, place: usize) -> &str {
        self.names().get(place)
    }

    /// The place of a name.
    pub fn find(&self, name: &str) -> Option<u32> {
        if self.order == Order::Numeric && !is_integer(name) {
            return None;
        }
        if let Stored::Numbers(count, _) = self.names {
            let is_canonical = name == "0" || !name.starts_with(['0', '-']);
            return name.parse().ok().filter(|&number| is_canonical && number < count);
        }
        let names = self.names();
        let (mut low, mut high) = (0, names.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.order.compare(names.get(middle), name) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return u32::try_from(middle).ok(),
            }
        }
        None
    }

    /// All names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let names = self.names();
        (0..names.len()).map(|place| names.get(place))
    }

    fn names(&self) -> &Names {
        match &self.names {
            Stored::Names(names) => names,
            Stored::Numbers(count, names) => names.get_or_init(|| {
                let mut names = Names::default();
                (0..*count).for_each(|number| names.push(&number.to_string()));
                names
            }),
        }
    }
}

impl PartialEq for Ids {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Serialize for Ids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut names = Names::default();
        Vec::<String>::deserialize(deserializer)?.iter().for_each(|name| names.push(name));
        let order = names.order();
        let is_sorted = (1..names.len())
            .all(|place| order.compare(names.get(place - 1), names.get(place)) == Ordering::Less);
        match is_sorted {
            true => Ok(Self { order, names: Stored::Names(names) }),
            false => Err(de::Error::custom("the ids are not distinct and sorted")),
        }
    }
}

/// Names end to end in one text.
#[derive(Clone, Debug, Default)]
struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    #[inline]
    fn bytes(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| end);
        let end = self.ends.get(place).map_or(start, |&end| end);
        self.text.as_bytes().get(start..end).unwrap_or(&[])
    }

    fn get(&self, place: usize) -> &str {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| end);
        let end = self.ends.get(place).map_or(start, |&end| end);
        self.text.get(start..end).unwrap_or("")
    }

    fn order(&self) -> Order {
        let all_integers = (0..self.len()).all(|place| is_integer(self.get(place)));
        if all_integers { Order::Numeric } else { Order::Bytes }
    }
}

impl Order {
    /// A number that is smaller for names that come first; names with equal keys need [`compare`](Self::compare).
    fn key(self, name: &str) -> u64 {
        match self {
            Self::Bytes => {
                let mut first = [0; 8];
                first.iter_mut().zip(name.bytes()).for_each(|(byte, from)| *byte = from);
                u64::from_be_bytes(first)
            }
            Self::Numeric => {
                let (is_negative, _) = split_integer(name);
                let beyond = if is_negative { i64::MIN } else { i64::MAX };
                name.parse().unwrap_or(beyond).cast_unsigned() ^ (1 << 63)
            }
        }
    }

    fn compare(self, a: &str, b: &str) -> Ordering {
        if self == Self::Bytes {
            return a.cmp(b);
        }
        let ((a_negative, a_digits), (b_negative, b_digits)) = (split_integer(a), split_integer(b));
        let size = a_digits.len().cmp(&b_digits.len()).then_with(|| a_digits.cmp(b_digits));
        let value = match (a_negative, b_negative) {
            (false, false) => size,
            (true, true) => size.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        };
        value.then_with(|| a.cmp(b))
    }
}

/// An optional minus sign, then digits.
fn is_integer(name: &str) -> bool {
    let digits = name.strip_prefix('-').unwrap_or(name);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether an integer is below zero, and its digits without leading zeros.
fn split_integer(name: &str) -> (bool, &str) {
    let digits = name.strip_prefix('-').unwrap_or(name).trim_start_matches('0');
    (name.starts_with('-') && !digits.is_empty(), digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> (Ids, Vec<u32>) {
        let mut interner = Interner::new();
        for name in names {
            interner.intern(name.as_bytes()).unwrap();
        }
        interner.finish()
    }

    #[test]
    fn names_sort_as_numbers_only_if_all_are() {
        let huge = "123456789012345678901234567890";
        let minus_huge = format!("-{huge}");
        let cases: [(&[&str], &[&str]); 6] = [
            (&["10", "9", "-3", "-20"], &["-20", "-3", "9", "10"]),
            (&["10", "9", "x"], &["10", "9", "x"]),
            (&["7", "007", "07", "0", "-0"], &["-0", "0", "007", "07", "7"]),
            (
                &[huge, &minus_huge, "9223372036854775807", "1"],
                &[&minus_huge, "1", "9223372036854775807", huge],
            ),
            (&["-", "1"], &["-", "1"]),
            (&["prefixed-b", "prefixed-a", "é", "z"], &["prefixed-a", "prefixed-b", "z", "é"]),
        ];
        for (names, sorted) in cases {
            let (ids, places) = ids(names);
            assert_eq!(ids.iter().collect::<Vec<_>>(), sorted);
            for (name, place) in names.iter().zip(places) {
                assert_eq!(ids.get(place as usize), *name);
                assert_eq!(ids.find(name), Some(place), "{name}");
            }
            assert_eq!(ids.find("absent"), None);
        }
    }

    #[test]
    fn numbers_behave_like_their_names() {
        let names: Vec<String> = (0..120).map(|number: u32| number.to_string()).collect();
        let (written, _) = ids(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let numbers = Ids::numbers(120);
        for name in ["0", "7", "119", "120", "007", "-0", "-1", "+1", "", "x", "99999999999"] {
            assert_eq!(numbers.find(name), written.find(name), "{name}");
        }
        assert_eq!(numbers, written);
        assert_eq!((numbers.get(119), numbers.get(120)), ("119", ""));
    }

    #[test]
    fn ids_are_a_list_of_strings_in_json() {
        let (names, _) = ids(&["b", "a"]);
        let json = serde_json::to_string(&names).unwrap();
        assert_eq!(json, r#"["a","b"]"#);
        assert_eq!(serde_json::from_str::<Ids>(&json).unwrap(), names);
        assert!(serde_json::from_str::<Ids>(r#"["b","a"]"#).is_err());
        assert!(serde_json::from_str::<Ids>(r#"["a","a"]"#).is_err());
    }

    #[test]
    fn an_interner_made_of_ids_keeps_their_places() {
        let (names, _) = ids(&["b", "a"]);
        let mut interner = Interner::from_ids(&names);
        assert_eq!(interner.intern(b"b"), Ok(1));
        assert_eq!(interner.intern(b"new"), Ok(2));
        assert_eq!(interner.intern(b"\xff"), Err(NameError::NotUtf8));
        assert_eq!((interner.find(b"a"), interner.find(b"c")), (Some(0), None));
    }
}
