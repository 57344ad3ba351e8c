//! The keys and values of tokens already seen, so that each new token attends to its past.

use super::NnError;
use super::error::check_length;

/// Keys and values of one layer and one sequence, in the caller's memory.
///
/// ```
/// # use mixlet_core::nn::KeyValueCache;
/// let (mut keys, mut values) = ([0.0f32; 6], [0.0f32; 3]);
/// let mut cache = KeyValueCache::new(&mut keys, &mut values, [2, 1])?; // room for three tokens
/// cache.append(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0])?;
/// assert_eq!((cache.tokens(), cache.keys(), cache.values()), (2, &[1.0, 2.0, 3.0, 4.0][..], &[5.0, 6.0][..]));
/// # Ok::<(), mixlet_core::nn::NnError>(())
/// ```
#[derive(Debug)]
pub struct KeyValueCache<'a, R> {
    keys: &'a mut [R],
    values: &'a mut [R],
    widths: [usize; 2],
    tokens: usize,
}

impl<'a, R: Copy> KeyValueCache<'a, R> {
    /// An empty cache. `widths` are those of a token's keys and values, `kv_heads · head_dim` and
    /// `kv_heads · value_dim`; both slices must hold the same number of tokens.
    pub fn new(keys: &'a mut [R], values: &'a mut [R], widths: [usize; 2]) -> Result<Self, NnError> {
        let [key_width, value_width] = widths;
        let capacity = keys.len() / key_width.max(1);
        check_length("key cache", keys.len(), capacity * key_width)?;
        check_length("value cache", values.len(), capacity * value_width)?;
        Ok(Self { keys, values, widths, tokens: 0 })
    }

    /// Tokens it can hold.
    pub fn capacity(&self) -> usize {
        self.keys.len() / self.key_width().max(1)
    }

    /// Tokens it holds.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// `[tokens, kv_heads, head_dim]`: the keys so far.
    pub fn keys(&self) -> &[R] {
        self.keys.get(..self.tokens * self.key_width()).unwrap_or_default()
    }

    /// `[tokens, kv_heads, value_dim]`: the values so far.
    pub fn values(&self) -> &[R] {
        self.values.get(..self.tokens * self.value_width()).unwrap_or_default()
    }

    /// Adds the keys and values of one or more tokens. Nothing changes on an error.
    pub fn append(&mut self, keys: &[R], values: &[R]) -> Result<(), NnError> {
        let added = keys.len() / self.key_width().max(1);
        check_length("keys", keys.len(), added * self.key_width())?;
        check_length("values", values.len(), added * self.value_width())?;
        let tokens = self.tokens + added;
        let full = NnError::CacheFull { tokens, capacity: self.capacity() };
        let [key_start, value_start] = self.widths.map(|width| self.tokens * width);
        let keys_out = self.keys.get_mut(key_start..key_start + keys.len()).ok_or(full)?;
        let values_out = self.values.get_mut(value_start..value_start + values.len()).ok_or(full)?;
        keys_out.copy_from_slice(keys);
        values_out.copy_from_slice(values);
        self.tokens = tokens;
        Ok(())
    }

    /// Forgets all tokens from `tokens` on; keeps everything if there are not as many.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
    }

    fn key_width(&self) -> usize {
        let [width, _] = self.widths;
        width
    }

    fn value_width(&self) -> usize {
        let [_, width] = self.widths;
        width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_says_so_and_keeps_what_it_holds() {
        let (mut keys, mut values) = ([0; 4], [0; 6]);
        let mut cache = KeyValueCache::new(&mut keys, &mut values, [2, 3]).unwrap();
        assert_eq!(cache.capacity(), 2);
        assert_eq!(cache.append(&[1, 2], &[3, 4, 5]), Ok(()));
        let full = NnError::CacheFull { tokens: 3, capacity: 2 };
        assert_eq!(cache.append(&[6; 4], &[7; 6]), Err(full));
        let short = NnError::Length { what: "values", found: 2, expected: 3 };
        assert_eq!(cache.append(&[6; 2], &[7; 2]), Err(short));
        assert_eq!((cache.keys(), cache.values()), (&[1, 2][..], &[3, 4, 5][..]));
        cache.truncate(9);
        assert_eq!(cache.tokens(), 1);
        cache.truncate(0);
        assert_eq!(cache.append(&[6; 4], &[7; 6]), Ok(()));
        assert_eq!(cache.tokens(), 2);
    }

    #[test]
    fn memory_for_different_numbers_of_tokens_is_refused() {
        let expected = NnError::Length { what: "value cache", found: 5, expected: 6 };
        assert_eq!(KeyValueCache::new(&mut [0; 4], &mut [0; 5], [2, 3]).map(drop), Err(expected));
    }
}
