//! A sort that needs no memory and cannot fail: the standard library's panics where an order contradicts itself.

/// Sorts `0..order.len()`'s numbers so that `before(a, b)` puts `a` first: heap sort, which needs no memory and cannot fail.
///
/// Ties go to the lower number, so the order is the one a stable sort gives.
pub(crate) fn sort_by(order: &mut [u32], before: impl Fn(u32, u32) -> bool) {
    // The root of the heap is what comes last.
    let later = |a: u32, b: u32| before(b, a) || (!before(a, b) && a > b);
    for root in (0..order.len() / 2).rev() {
        sift_down(order, root, &later);
    }
    for end in (1..order.len()).rev() {
        if let Some(heap) = order.get_mut(..=end) {
            swap(heap, 0, end);
        }
        if let Some(heap) = order.get_mut(..end) {
            sift_down(heap, 0, &later);
        }
    }
}

fn sift_down(heap: &mut [u32], mut root: usize, later: &impl Fn(u32, u32) -> bool) {
    loop {
        let mut child = 2 * root + 1;
        let Some(&left) = heap.get(child) else {
            return;
        };
        let mut last = left;
        if let Some(&right) = heap.get(child + 1).filter(|&&right| later(right, left)) {
            (child, last) = (child + 1, right);
        }
        if !heap.get(root).is_some_and(|&parent| later(last, parent)) {
            return;
        }
        swap(heap, root, child);
        root = child;
    }
}

fn swap(values: &mut [u32], a: usize, b: usize) {
    if let Ok([a, b]) = values.get_disjoint_mut([a, b]) {
        core::mem::swap(a, b);
    }
}

#[cfg(test)]
mod tests {
    use super::sort_by;

    #[test]
    fn the_order_is_the_one_of_a_stable_sort() {
        let mut state = 1_u32;
        for len in 0..60 {
            // Many ties.
            let values: [u32; 60] = core::array::from_fn(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 28
            });
            let mut numbers = [0; 60];
            (0..).zip(&mut numbers).for_each(|(nth, number)| *number = nth);
            let (mut found, mut expected) = (numbers, numbers);
            sort_by(&mut found[..len], |a, b| values[a as usize] > values[b as usize]);
            expected[..len].sort_by_key(|&number| core::cmp::Reverse(values[number as usize]));
            assert_eq!(found, expected, "{len} numbers");
        }
    }
}
