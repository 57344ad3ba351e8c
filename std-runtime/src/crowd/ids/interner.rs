//! Numbering names in the order they come.
//!
//! Short names are found by one look into one table ([`ShortNames`]), others by their hash and a
//! comparison with the stored text.
//!
//! *Why two tables:* with a million ids in random order, reading is waiting for memory. The general
//! table waits three times (bucket, offset, text), the short one once; most ids are short.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::short::{ShortNames, pack};
use super::{Ids, Names, Stored};

/// Why a name cannot be interned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It is not UTF-8.
    NotUtf8,
    /// There are 2³² − 1 names already.
    TooMany,
}

/// Numbers names in the order they come.
#[derive(Debug, Default)]
pub struct Interner {
    names: Names,
    short: ShortNames,
    long: HashTable<u32>,
    hasher: RandomState,
    /// The short name found last, packed, and its number; files are often sorted by a column.
    last: Option<(u64, u32)>,
}

impl Interner {
    /// No names yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names of a finished set, with their places as numbers.
    pub fn from_ids(ids: &Ids) -> Self {
        let mut interner = Self::new();
        for name in ids.iter() {
            interner.add(name, pack(name.as_bytes()));
        }
        interner
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name with a number; the empty text if there is none.
    pub fn get(&self, number: u32) -> &str {
        self.names.get(number as usize)
    }

    /// The number of a name, new or not.
    ///
    /// Only new names are checked for UTF-8: the others equal one that was.
    #[inline]
    pub fn intern(&mut self, name: &[u8]) -> Result<u32, NameError> {
        let key = pack(name);
        // Names of one byte have a table of their own, which is as fast and needs no luck.
        match self.last {
            Some((last, number)) if key == Some(last) && name.len() > 1 => return Ok(number),
            _ => {}
        }
        let number = match self.find_packed(name, key) {
            Some(number) => number,
            None if self.len() >= u32::MAX as usize => return Err(NameError::TooMany),
            None => self.add(std::str::from_utf8(name).map_err(|_| NameError::NotUtf8)?, key),
        };
        self.last = key.map(|key| (key, number));
        Ok(number)
    }

    /// The number of a name, if it has one.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.find_packed(name, pack(name))
    }

    /// Brings near what will be needed to find these names soon.
    ///
    /// One look into a table larger than the caches takes as long as everything else about a row;
    /// a row of looks that do not wait for each other takes little longer than one.
    pub fn approach<'a>(&self, names: impl Iterator<Item = &'a [u8]>) {
        let look =
            |name| pack(name).map_or(0, |key| self.short.approach(key, |key| self.hasher.hash_one(key)));
        std::hint::black_box(names.map(look).fold(0, |all, number| all ^ number));
    }

    /// The names in order, and for every number the place it went to.
    pub fn finish(self) -> (Ids, Vec<u32>) {
        let Self { names, short, long, .. } = self;
        // The tables are as large as the names, and not needed for what follows.
        drop((short, long));
        let order = names.order();
        let count = names.len() as u32;
        let mut keys: Vec<(u64, u32)> =
            (0..count).map(|number| (order.key(names.get(number as usize)), number)).collect();
        let compare = |a: &(u64, u32), b: &(u64, u32)| {
            a.0.cmp(&b.0).then_with(|| order.compare(names.get(a.1 as usize), names.get(b.1 as usize)))
        };
        if keys.is_sorted_by(|a, b| compare(a, b).is_lt()) {
            return (Ids { order, names: Stored::Names(names) }, (0..count).collect());
        }
        keys.sort_unstable_by(compare);
        let mut places = vec![0; names.len()];
        let mut sorted =
            Names { text: String::with_capacity(names.text.len()), ends: Vec::with_capacity(names.len()) };
        for (place, &(_, number)) in (0..).zip(&keys) {
            sorted.push(names.get(number as usize));
            places[number as usize] = place;
        }
        (Ids { order, names: Stored::Names(sorted) }, places)
    }

    #[inline]
    fn find_packed(&self, name: &[u8], key: Option<u64>) -> Option<u32> {
        match key {
            Some(key) => self.short.find(key, |key| self.hasher.hash_one(key)),
            None => {
                let hash = hash(&self.hasher, name);
                self.long.find(hash, |&number| self.names.bytes(number as usize) == name).copied()
            }
        }
    }

    fn add(&mut self, name: &str, key: Option<u64>) -> u32 {
        let number = self.names.len() as u32;
        self.names.push(name);
        let (names, hasher) = (&self.names, &self.hasher);
        match key {
            Some(key) => self.short.insert(key, number, |key| hasher.hash_one(key)),
            None => {
                let rehash = |&other: &u32| hash(hasher, names.bytes(other as usize));
                self.long.insert_unique(hash(hasher, name.as_bytes()), number, rehash);
            }
        }
        number
    }
}

fn hash(hasher: &RandomState, name: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(name);
    state.finish()
}
