//! Each invariant names tests that would see it broken.

use std::collections::BTreeSet;

use crate::{assert_none, root, source};

#[test]
fn each_invariant_is_shown_by_tests_that_are_there() {
    let text = std::fs::read_to_string(root().join("docs/INVARIANTS.md")).expect("the invariants");
    let tests: BTreeSet<String> =
        source::all().iter().flat_map(|file| tests_of(&file.text)).collect();
    let invariants: Vec<&str> = text.split("\n- **").skip(1).collect();
    assert!(invariants.len() > 30, "{}", invariants.len());
    let mut findings = Vec::new();
    for invariant in invariants {
        let id = invariant.split("**").next().unwrap_or_default();
        let shown = invariant.split_once("Shown by ").map_or("", |(_, shown)| shown);
        let shown = shown.split("\n\n").next().unwrap_or_default();
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(format!("{id}: shown by nothing"));
        }
        let missing = names.into_iter().filter(|name| !tests.contains(*name));
        findings.extend(missing.map(|name| format!("{id}: no test {name}")));
    }
    assert_none("docs/INVARIANTS.md", findings);
}

/// The functions behind `#[test]` or `#[tokio::test(..)]`, whatever stands between.
fn tests_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            names.extend(rest.split('(').next().map(str::to_owned));
            is_test = false;
        }
    }
    names
}
