//! The nearest right name, for messages about a wrong one.

/// The candidate that takes the fewest edits to get to, if that is few for the length of the name.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(MAX_LENGTH + 1).collect();
    if name.len() > MAX_LENGTH {
        return None;
    }
    let limit = (name.len() / 3).max(2);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit + 4)
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longer than any setting's name; what is longer gets no suggestion.
const MAX_LENGTH: usize = 100;

/// Levenshtein's distance, with two neighbours swapped as one edit; case does not count.
fn distance(name: &[char], candidate: &str) -> usize {
    let theirs: Vec<char> = candidate.chars().collect();
    let same = |i: usize, j: usize| theirs[i].eq_ignore_ascii_case(&name[j]);
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=name.len()).collect();
    for i in 0..theirs.len() {
        let mut row = vec![i + 1];
        for j in 0..name.len() {
            let substituted = last[j] + usize::from(!same(i, j));
            let mut edits = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && same(i, j - 1) && same(i - 1, j) {
                edits = edits.min(before_last[j - 1] + 1);
            }
            row.push(edits);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["log.dirs", "log.dir", "num.partitions", "listeners"];
        for (wrong, right) in [
            ("log.dris", Some("log.dirs")),
            ("num.partition", Some("num.partitions")),
            ("LISTENERS", Some("listeners")),
            ("completely.else", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, names), right, "{wrong}");
        }
    }

    #[test]
    fn distances() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("kitten"), "sitting"), 3);
        assert_eq!(distance(&chars(""), "abc"), 3);
        assert_eq!(distance(&chars("abc"), ""), 3);
        assert_eq!(distance(&chars("log.dris"), "log.dirs"), 1);
    }

    #[test]
    fn endless_names_cost_nothing() {
        assert_eq!(nearest(&"log.dirs".repeat(10_000), ["log.dirs"]), None);
    }
}
