// SPDX-License-Identifier: MIT OR Apache-2.0
//! "Did you mean …?": the nearest of a few known words.

use alloc::vec::Vec;

/// Words longer than this are not compared: nobody mistypes one of ours that long.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, if it is near enough to be what was meant: a third of its letters
/// wrong at most, swapped neighbours counting as one.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= word.len().max(candidate.len()).div_ceil(3) && *distance < word.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance, letters compared without case.
fn distance(a: &str, b: &str) -> usize {
    let lower = |text: &str| -> Vec<char> { text.chars().flat_map(char::to_lowercase).collect() };
    let (a, b) = (lower(a), lower(b));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i.saturating_add(1));
        for (j, right) in b.iter().enumerate() {
            let at = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(LONGEST);
            let substituted = at(&last, j).saturating_add(usize::from(left != right));
            let removed = at(&last, j.saturating_add(1)).saturating_add(1);
            let added = at(&row, j).saturating_add(1);
            let mut best = substituted.min(removed).min(added);
            if let (Some(i), Some(j)) = (i.checked_sub(1), j.checked_sub(1))
                && a.get(i) == Some(right)
                && b.get(j) == Some(left)
            {
                best = best.min(at(&before, j).saturating_add(1));
            }
            row.push(best);
        }
        before = core::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["memory", "kernel", "vcpus", "vif", "on_reboot"];
        for (typed, meant) in [
            ("memroy", Some("memory")),
            ("Memory", Some("memory")),
            ("vcpu", Some("vcpus")),
            ("on-reboot", Some("on_reboot")),
            ("kernal", Some("kernel")),
            ("frobnicate", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(suggest(typed, keys), meant, "{typed}");
        }
    }
}
