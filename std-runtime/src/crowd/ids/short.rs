//! A hash table from names of up to eight bytes to their numbers.

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

/// Packed names and their numbers in one array: open addressing, linear probing, at most 3/4 full.
#[derive(Debug, Default)]
pub(super) struct ShortNames {
    slots: Vec<Slot>,
    len: usize,
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
        let mut place = hash(key) as usize & mask;
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

    /// Adds a name that is not there yet.
    pub fn insert(&mut self, key: u64, number: u32, hash: impl Fn(u64) -> u64) {
        if key < 256 {
            self.single.resize(256, FREE);
            self.single[key as usize] = number;
            return;
        }
        self.len += 1;
        if self.len * 4 > self.slots.len() * 3 {
            let free = Slot { key: [0; 2], number: FREE };
            let larger = vec![free; (self.slots.len() * 2).max(16)];
            for slot in std::mem::replace(&mut self.slots, larger) {
                if slot.number != FREE {
                    self.place(slot, hash(join(slot.key)));
                }
            }
        }
        self.place(Slot { key: split(key), number }, hash(key));
    }

    /// Writes a slot to the first free place.
    fn place(&mut self, slot: Slot, hash: u64) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut place = hash as usize & mask;
        while self.slots[place].number != FREE {
            place = (place + 1) & mask;
        }
        self.slots[place] = slot;
    }
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
    fn every_name_is_found_again_even_if_all_hashes_are_equal() {
        for hash in [|key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15), |_| 7] {
            let mut names = ShortNames::default();
            for number in 0..1000 {
                let key = u64::from(number) * 3 + 1;
                assert_eq!(names.find(key, hash), None);
                names.insert(key, number, hash);
            }
            for number in 0..1000 {
                let key = u64::from(number) * 3 + 1;
                assert_eq!(names.find(key, hash), Some(number));
                assert_eq!(names.find(key + 1, hash), None);
            }
        }
    }
}
