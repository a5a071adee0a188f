//! Each setting that is accepted does something: what is read of it is read where it counts.

use std::collections::BTreeSet;
use std::fs;

use model::settings::{Honoured, Resource, Setting};

use crate::source::{self, Source, words};

const PARTS: &str = "protocol/model/src/node_config/parts.rs";
const TABLES: &str = "protocol/model/src/settings/tables/";

/// Honoured settings whose names are in no code, and why.
const NOT_BY_NAME: [(&str, &str); 4] = [
    (".purgatory.purge.interval.requests", "what Kafka must sweep is always clean here"),
    ("transaction.state.log.", "the network's auto_create reads them by this prefix"),
    ("share.coordinator.state.topic.", "the network's auto_create reads them by this prefix"),
    ("offsets.topic.", "the network's auto_create reads them by this prefix"),
];

/// Where what counts is: not the tables, not the tests, not what only hands on.
fn readers(sources: &[Source]) -> Vec<&Source> {
    let apart = |path: &str| {
        path.starts_with("tests/")
            || path.starts_with("examples/")
            || path.contains("/tests/")
            || path.contains("tests.rs")
            || path.starts_with(TABLES)
    };
    sources.iter().filter(|source| !apart(&source.path)).collect()
}

/// The names of the public fields of structs.
fn fields(code: &str) -> BTreeSet<&str> {
    let lines = code.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(':'));
    lines.map(|(name, _)| name).filter(|name| name.bytes().all(source::is_word)).collect()
}

fn is_read(field: &str, sources: &[&Source]) -> bool {
    let access = format!(".{field}");
    let reads = |source: &&Source| {
        words(&source.code, field).any(|at| at > 0 && source.code[at - 1..].starts_with(&access))
    };
    sources.iter().any(reads)
}

fn is_named(setting: &Setting, sources: &[&Source]) -> bool {
    let quoted = format!("\"{}\"", setting.name);
    let excused = || NOT_BY_NAME.iter().any(|(part, _)| setting.name.contains(part));
    let of_topics = || {
        let honoured = Resource::Topic.settings().filter(|topic| topic.honoured != Honoured::No);
        honoured.flat_map(|topic| topic.synonyms).any(|synonym| synonym.name == setting.name)
    };
    sources.iter().any(|source| source.text.contains(&quoted)) || of_topics() || excused()
}

#[test]
fn what_is_typed_is_read() {
    let sources = source::all();
    let mut readers = readers(&sources);
    readers.retain(|source| !source.path.starts_with("protocol/model/"));
    let parts = sources.iter().find(|source| source.path == PARTS).expect(PARTS);
    let unread = fields(&parts.code).into_iter().filter(|field| !is_read(field, &readers));
    crate::assert_none(
        "fields of a node's configuration that nobody reads",
        unread.map(str::to_owned).collect(),
    );
}

#[test]
fn what_is_honoured_is_named() {
    let sources = source::all();
    let readers = readers(&sources);
    let honoured = Resource::Broker.settings().filter(|setting| setting.honoured != Honoured::No);
    let unread = honoured.filter(|setting| !is_named(setting, &readers));
    crate::assert_none(
        "honoured settings that nobody reads",
        unread.map(|s| s.name.to_owned()).collect(),
    );
}

#[test]
fn these_checks_find_what_they_look_for() {
    let source =
        |text: &str| Source { path: "a.rs".into(), text: text.into(), code: source::code_of(text) };
    let parts = "pub struct A {\n    pub one: i32,\n    /// Of two.\n    pub two: i32,\n}\n    pub fn new(a: i32)";
    assert_eq!(fields(parts), BTreeSet::from(["one", "two"]));
    let code = source("x.one; two; x.twofold; \"x.two\"");
    assert!(is_read("one", &[&code]) && !is_read("two", &[&code]));
    let setting = Resource::Broker.setting("num.io.threads").expect("it is there");
    assert!(
        !is_named(setting, &[&code]) && is_named(setting, &[&source("int(\"num.io.threads\")")])
    );
    assert!(fs::exists(crate::root().join(TABLES)).is_ok_and(|there| there), "{TABLES}");
}
