//! docs/decisions/0001 names what is taken from others: all of it, and nothing else.

use std::collections::BTreeSet;

use toml::Table;

const DECISION: &str = "docs/decisions/0001-dependencies.md";

/// The names in the first column of the table: before a word that is none, and without what stands in brackets.
fn named(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let names = rows.skip(1).flat_map(|cell| cell.split(", "));
    let names = names.map(|name| name.split(" (").next().unwrap_or_default());
    names.filter(|name| !name.contains(' ')).map(str::to_owned).collect()
}

/// Those of the workspace, and of one crate alone, that are not its own.
fn taken() -> BTreeSet<String> {
    let text = std::fs::read_to_string(crate::root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: Table = text.parse().expect("TOML");
    let workspace = manifest["workspace"]["dependencies"].as_table().expect("a table");
    let path_of = |name: &str| workspace.get(name)?.get("path")?.as_str();
    let mut taken: BTreeSet<String> = workspace.keys().cloned().collect();
    taken.retain(|name| path_of(name).is_none());
    for found in crate::manifest::workspace() {
        let names = found.dependencies.into_iter().map(|dependency| dependency.name);
        // A wrapper has the name of what it wraps.
        taken.extend(names.filter(|name| path_of(name).is_none_or(|path| path == found.dir)));
    }
    taken.remove("ottla");
    taken
}

#[test]
fn the_decision_names_every_dependency_and_no_other() {
    let text = std::fs::read_to_string(crate::root().join(DECISION)).expect(DECISION);
    let (named, taken) = (named(&text), taken());
    let differences = named.symmetric_difference(&taken).map(|name| match taken.contains(name) {
        true => format!("{name} is not in it"),
        false => format!("{name} is in it, and nowhere used"),
    });
    crate::assert_none(DECISION, differences.collect());
}
