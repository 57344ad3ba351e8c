//! Plain integers as ids: each is its own number, and a bit says that it is there.
//!
//! *Why:* 20 million names in a hash table take 384 MB, and a look into it waits for memory; as
//! bits they take 2.5 MB, which stay in the caches, and they lie in order.

use std::fmt::Write;

use super::short::{pack, plain_integer};
use super::{Ids, Names, Order, Stored};

/// Bits of a word of the set.
const WORD: usize = u64::BITS as usize;

/// Distinct integers of at most eight digits: 12.5 MB at most.
#[derive(Debug, Default)]
pub struct Integers {
    words: Vec<u64>,
}

impl Integers {
    /// The value of a name, if there is only one way to write it and it has at most eight digits.
    ///
    /// ```
    /// # use mixlet_runtime::crowd::ids::Integers;
    /// assert_eq!(Integers::value(b"70"), Some(70));
    /// assert_eq!([&b"070"[..], b"+70", b"-7", b"100000000", b""].map(Integers::value), [None; 5]);
    /// ```
    #[inline]
    pub fn value(name: &[u8]) -> Option<u32> {
        pack(name).and_then(plain_integer)
    }

    /// Adds an integer below 10⁸; it may be there already.
    #[inline]
    pub fn insert(&mut self, integer: u32) {
        let word = integer as usize / WORD;
        if word >= self.words.len() {
            self.grow(word + 1);
        }
        self.words[word] |= 1 << (integer as usize % WORD);
    }

    /// Whether an integer is there.
    pub fn contains(&self, integer: u32) -> bool {
        self.words.get(integer as usize / WORD).is_some_and(|word| word >> (integer as usize % WORD) & 1 == 1)
    }

    /// Adds the place of every integer.
    pub fn ranked(self) -> RankedIntegers {
        let mut total = 0;
        let mut count = |word: &u64| {
            let before = total;
            total += word.count_ones();
            before
        };
        let before = self.words.iter().map(&mut count).collect();
        RankedIntegers { words: self.words, before, len: total as usize }
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        // New zeros take no memory before they are written to.
        let mut words = vec![0; len.max(self.words.len() * 2)];
        words[..self.words.len()].copy_from_slice(&self.words);
        self.words = words;
    }
}

/// A finished set of integers, which knows how many are smaller than each.
#[derive(Debug)]
pub struct RankedIntegers {
    words: Vec<u64>,
    /// For every word, how many integers lie in those before it.
    before: Vec<u32>,
    len: usize,
}

impl RankedIntegers {
    /// The place of an integer of the set among all.
    #[inline]
    pub fn place(&self, integer: u32) -> u32 {
        let (word, bit) = (integer as usize / WORD, integer as usize % WORD);
        self.before[word] + (self.words[word] & !(u64::MAX << bit)).count_ones()
    }

    /// All integers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).step_by(WORD).zip(&self.words).flat_map(|(start, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(start + bit)
            })
        })
    }

    /// Their names, at the same places.
    pub fn ids(&self) -> Ids {
        let digits = self.iter().map(|integer| integer.checked_ilog10().unwrap_or(0) as usize + 1).sum();
        let mut names = Names { text: String::with_capacity(digits), ends: Vec::with_capacity(self.len) };
        for integer in self.iter() {
            // Writing to a text cannot fail.
            let _ = write!(names.text, "{integer}");
            names.ends.push(names.text.len());
        }
        Ids { order: Order::Numeric, names: Stored::Names(names) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::ids::Interner;

    #[test]
    fn only_names_that_a_value_is_written_as_have_one() {
        let mut random = 1_u32;
        for step in 0..100_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = if step < 2000 { step } else { random >> (step % 28) };
            let expected = (value < 100_000_000).then_some(value);
            assert_eq!(Integers::value(value.to_string().as_bytes()), expected, "{value}");
        }
        let others =
            ["", "00", "007", "+7", "-0", "-7", " 7", "7 ", "7.", "1e3", "7/", "1:", "99999999\0", "９"];
        for name in others.into_iter().chain(["000000001", "100000000", "4294967295", "18446744073709551615"])
        {
            assert_eq!(Integers::value(name.as_bytes()), None, "{name}");
        }
        for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_digit()) {
            for name in [&[byte][..], &[b'1', byte], &[byte, b'1'], b"1234567\xff"] {
                assert_eq!(Integers::value(name), None, "{name:?}");
            }
        }
    }

    #[test]
    fn integers_have_the_places_of_their_names() {
        let sets: [&[u32]; 5] =
            [&[], &[0], &[63, 64, 0, 63, 127, 128], &[99_999_999, 0, 5], &[7, 70, 700, 70, 8]];
        for set in sets {
            let (mut integers, mut names) = (Integers::default(), Interner::new());
            for &integer in set {
                assert_eq!(integers.contains(integer), names.find(integer.to_string().as_bytes()).is_some());
                integers.insert(integer);
                names.intern(integer.to_string().as_bytes()).unwrap();
            }
            let (ids, _) = names.finish();
            let ranked = integers.ranked();
            assert_eq!(ranked.ids(), ids);
            assert_eq!(
                ranked.iter().map(|integer| integer.to_string()).collect::<Vec<_>>(),
                ids.iter().collect::<Vec<_>>()
            );
            for &integer in set {
                assert_eq!(Some(ranked.place(integer)), ids.find(&integer.to_string()), "{integer}");
            }
        }
    }
}
