//! A hash table from names of up to eight bytes to their numbers.
//!
//! A name's home is its decimal value, so that ids counted up from anywhere (`0`, `1`, … or `w100`,
//! `w101`, …) lie side by side and never collide. Where names pile up anyway, the table changes
//! to a seeded hash for good.

/// Marks a slot without a name.
const FREE: u32 = u32::MAX;

/// The bytes of a name of one to eight bytes as a number, if no other name has the same.
#[inline]
pub(super) fn pack(name: &[u8]) -> Option<u64> {
    // A zero byte at the end would be lost.
    if name.last().is_none_or(|&byte| byte == 0) {
        return None;
    }
    let len = name.len();
    match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        // The halves of up to eight bytes overlap, and agree where they do.
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            (len <= 8).then(|| u64::from(first) | u64::from(last) << (8 * (len - 4)))
        }
        _ => Some(name.iter().rev().fold(0, |packed, &byte| packed << 8 | u64::from(byte))),
    }
}

/// The value of a packed name that is a plain integer: only digits, the first of which is no needless zero.
#[inline]
pub(super) fn plain_integer(key: u64) -> Option<u32> {
    let free_bits = key.leading_zeros() & 56;
    // Zeros in front make eight digits of any number; a digit stays one when six is added.
    let digits = key << free_bits | ZEROS & !(u64::MAX << free_bits);
    let are_digits = (digits & HIGH_HALVES == ZEROS) & (digits.wrapping_add(SIXES) & HIGH_HALVES == ZEROS);
    let has_needless_zero = key & 0xff == u64::from(b'0') && key > 0xff;
    (are_digits && !has_needless_zero).then(|| decimal(key) as u32)
}

/// The high half of every byte.
const HIGH_HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
const SIXES: u64 = u64::from_ne_bytes([6; 8]);

/// A name that finds no place this near its home makes the table change its hash.
const FARTHEST: usize = 1024;

/// Packed names and their numbers in one array: open addressing, linear probing, at most 3/4 full.
#[derive(Debug, Default)]
pub(super) struct ShortNames {
    slots: Vec<Slot>,
    len: usize,
    /// Homes are seeded hashes, no longer decimal values.
    is_seeded: bool,
    /// The numbers of names of one byte, or [`FREE`]: most labels are such names.
    single: Vec<u32>,
}

/// Twelve bytes: the halves of a packed name, and the number or [`FREE`].
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: [u32; 2],
    number: u32,
}

impl ShortNames {
    /// The number of a name.
    #[inline]
    pub fn find(&self, key: u64, hash: impl Fn(u64) -> u64) -> Option<u32> {
        if key < 256 {
            return self.single.get(key as usize).copied().filter(|&number| number != FREE);
        }
        let halves = split(key);
        let mask = self.slots.len().wrapping_sub(1);
        let mut place = self.home(key, hash) & mask;
        loop {
            let slot = self.slots.get(place)?;
            if slot.key == halves && slot.number != FREE {
                return Some(slot.number);
            }
            if slot.number == FREE {
                return None;
            }
            place = (place + 1) & mask;
        }
    }

    /// Whatever stands at a name's home: reading it brings the home near.
    #[inline]
    pub fn approach(&self, key: u64, hash: impl Fn(u64) -> u64) -> u32 {
        let mask = self.slots.len().wrapping_sub(1);
        self.slots.get(self.home(key, hash) & mask).map_or(0, |slot| slot.number)
    }

    /// Adds a name that is not there yet.
    pub fn insert(&mut self, key: u64, number: u32, hash: impl Fn(u64) -> u64) {
        if key < 256 {
            self.single.resize(256, FREE);
            self.single[key as usize] = number;
            return;
        }
        self.len += 1;
        if self.len * 4 > self.slots.len() * 3 {
            self.rebuild((self.slots.len() * 2).max(16), &hash);
        }
        let slot = Slot { key: split(key), number };
        while !self.place(slot, &hash) {
            self.is_seeded = true;
            self.rebuild(self.slots.len(), &hash);
        }
    }

    /// Moves all names to a table of another length or with other homes.
    fn rebuild(&mut self, len: usize, hash: &impl Fn(u64) -> u64) {
        let free = Slot { key: [0; 2], number: FREE };
        let old = std::mem::replace(&mut self.slots, vec![free; len]);
        let all_placed = old.iter().all(|slot| slot.number == FREE || self.place(*slot, hash));
        if !all_placed {
            self.is_seeded = true;
            self.slots.fill(free);
            for slot in old.iter().filter(|slot| slot.number != FREE) {
                self.place(*slot, hash);
            }
        }
    }

    /// Writes a slot to the first free place; false if that is too far from home and another hash may help.
    fn place(&mut self, slot: Slot, hash: &impl Fn(u64) -> u64) -> bool {
        let mask = self.slots.len().wrapping_sub(1);
        let home = self.home(join(slot.key), hash);
        let farthest = if self.is_seeded { self.slots.len() } else { FARTHEST };
        for step in 0..farthest {
            let place = &mut self.slots[home.wrapping_add(step) & mask];
            if place.number == FREE {
                *place = slot;
                return true;
            }
        }
        false
    }

    #[inline]
    fn home(&self, key: u64, hash: impl Fn(u64) -> u64) -> usize {
        (if self.is_seeded { hash(key) } else { decimal(key) }) as usize
    }
}

/// The value of up to eight digits, packed; other bytes count as their low four bits.
#[inline]
fn decimal(key: u64) -> u64 {
    // The first byte is the lowest and the highest digit: pairs, fours and eights are summed in place.
    let digits = key << (key.leading_zeros() & 56) & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

#[inline]
fn split(key: u64) -> [u32; 2] {
    [(key >> 32) as u32, key as u32]
}

fn join([high, low]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_have_different_keys_or_none() {
        let names: [&[u8]; 8] = [b"a", b"\0a", b"b", b"ab", b"ba", b"12345678", b"1234567", b"\xff"];
        for (place, name) in names.iter().enumerate() {
            assert_eq!(split(pack(name).unwrap()), split(join(split(pack(name).unwrap()))));
            assert!(names[..place].iter().all(|other| pack(other) != pack(name)), "{name:?}");
        }
        for name in [&b""[..], b"\0", b"a\0", b"123456789"] {
            assert_eq!(pack(name), None, "{name:?}");
        }
    }

    #[test]
    fn homes_of_numbers_are_their_values() {
        for (name, home) in [("10", 10), ("99", 99), ("12345678", 12_345_678), ("w17", 717), ("007", 7)] {
            assert_eq!(decimal(pack(name.as_bytes()).unwrap()), home, "{name}");
        }
        assert_eq!(decimal(u64::MAX), 166_666_665);
    }

    #[test]
    fn every_name_is_found_again_even_if_homes_are_equal() {
        // Letters with equal low bits share a decimal home; the second hash is no help either.
        let letters = |number: u32| {
            let name: Vec<u8> = (0..6).map(|bit| b'a' + ((number >> bit & 1) as u8) * 16).collect();
            let more = b'A' + (number >> 6 & 1) as u8 * 16;
            pack(&[&name[..], &[more, b'0' + (number >> 7) as u8]].concat()).unwrap()
        };
        let digits = |number: u32| pack((number + 10).to_string().as_bytes()).unwrap();
        for hash in [|key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20, |_| 7] {
            for key in [&digits as &dyn Fn(u32) -> u64, &letters] {
                let mut names = ShortNames::default();
                for number in 0..5000 {
                    assert_eq!(names.find(key(number), hash), None);
                    names.insert(key(number), number, hash);
                }
                assert!((0..5000).all(|number| names.find(key(number), hash) == Some(number)));
                assert_eq!(names.find(key(5001), hash), None);
            }
        }
    }

    #[test]
    fn names_that_pile_up_change_the_homes() {
        let mut names = ShortNames::default();
        let hash = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        for number in 0..3000 {
            let name = (number << 14).to_string();
            names.insert(pack(name.as_bytes()).unwrap(), number, hash);
        }
        assert!(names.is_seeded);
        assert!(
            (1..3000)
                .all(|n: u32| names.find(pack((n << 14).to_string().as_bytes()).unwrap(), hash) == Some(n))
        );
    }
}
