//! The name that was probably meant.

/// The name with the fewest letters to change, if that is less than half of it; the first of equals.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = (name.len() / 2, None);
    for other in names {
        let distance = distance(name.as_bytes(), other.as_bytes(), best.0);
        if distance < best.0 {
            best = (distance, Some(other));
        }
    }
    best.1
}

/// Letters to insert, remove or replace (Levenshtein); `limit` or more where there are as many.
fn distance(from: &[u8], to: &[u8], limit: usize) -> usize {
    if from.len().abs_diff(to.len()) >= limit {
        return limit;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (nth, letter) in from.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], nth + 1);
        for (place, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
        if row.iter().all(|distance| *distance >= limit) {
            return limit;
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_with_the_fewest_changes() {
        let names = ["layer.0.q_proj", "layer.1.q_proj", "layer.0.v_proj", "norm"];
        let cases = [
            ("layer.0.q_proj.", Some("layer.0.q_proj")),
            ("layer.2.q_proj", Some("layer.0.q_proj")),
            ("layer.0.w_proj", Some("layer.0.q_proj")),
            ("nrm", None),
            ("something else", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, names.into_iter()), expected, "{name}");
        }
    }
}
