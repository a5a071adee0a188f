//! Each honoured setting has a test that shows it from outside: tests/tidy/honoured.txt says which.

use std::collections::BTreeMap;

use model::settings::{Honoured, Resource};

const TABLE: &str = "tests/tidy/honoured.txt";
/// Where the tests of a target are.
const TARGETS: [(&str, &str); 4] = [
    ("conformance", "tests/conformance"),
    ("simulation", "tests/simulation"),
    ("api", "actors/network/tests/api"),
    ("runner", "tests/conformance/runner"),
];

fn read(path: &str) -> String {
    std::fs::read_to_string(crate::root().join(path)).unwrap_or_default()
}

/// By setting: its test, or a dash and why there is none.
fn table() -> BTreeMap<String, String> {
    let text = read(TABLE);
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = lines.map(|line| line.split_once(' ').unwrap_or((line, "")));
    split.map(|(setting, test)| (setting.to_owned(), test.to_owned())).collect()
}

fn honoured() -> Vec<&'static str> {
    let all = Resource::Broker.settings().chain(Resource::Topic.settings());
    let mut names: Vec<_> =
        all.filter(|s| s.honoured != Honoured::No).map(|setting| setting.name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What is wrong with the test of a setting, as the file that it must be in is read by `text_of`.
fn wrong(setting: &str, test: &str, text_of: impl Fn(&str) -> String) -> Option<String> {
    if let Some(why) = test.strip_prefix("- ") {
        return (why.len() < 20).then(|| format!("{setting}: say why nothing shows it"));
    }
    let mut parts: Vec<&str> = test.split("::").collect();
    let (function, target) = (parts.pop()?, parts.first().copied().unwrap_or_default());
    let Some((_, folder)) = TARGETS.iter().find(|(name, _)| *name == target) else {
        return Some(format!("{setting}: {test:?} is in no target of {TARGETS:?}"));
    };
    let (ending, begins) = match target {
        "runner" => ("py", format!("\ndef {function}(")),
        _ => ("rs", format!("fn {function}()")),
    };
    let text = text_of(&format!("{folder}/{}.{ending}", parts[1..].join("/")));
    let attribute = |before: &str| before.trim_end().ends_with(']');
    let is_there = match text.split_once(&begins) {
        Some((before, _)) if target == "runner" => !before.is_empty(),
        Some((before, _)) => attribute(before.trim_end().trim_end_matches("async").trim_end()),
        None => false,
    };
    let used = used_by(function, &text);
    let is_named = ["\"", "=", "\\\""].iter().any(|end| used.contains(&format!("{setting}{end}")));
    match (is_there, is_named) {
        (false, _) => Some(format!("{setting}: there is no test {test}")),
        (_, false) => Some(format!("{setting}: {test} does not name it")),
        _ => None,
    }
}

/// The text of a function, and of what it uses of its file.
fn used_by(function: &str, text: &str) -> String {
    let mut items: BTreeMap<&str, String> = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if line.starts_with(char::is_alphabetic) {
            let words: Vec<_> = words(line).collect();
            let behind = |keywords: &[&str]| {
                let at = words.iter().position(|word| keywords.contains(word))?;
                words.get(at + 1).copied()
            };
            // `impl Drop for Node` is of the node.
            let items = ["impl", "fn", "const", "static", "struct", "enum", "def"];
            name = behind(&["for"]).or_else(|| behind(&items)).unwrap_or(words[0]);
        }
        let item = items.entry(name).or_default();
        item.push_str(line);
        item.push('\n');
    }
    let (mut used, mut wanted) = (String::new(), vec![function]);
    while let Some(name) = wanted.pop() {
        if let Some(item) = items.remove(name) {
            let of_this_file = words(&item).filter_map(|word| items.get_key_value(word));
            wanted.extend(of_this_file.map(|(name, _)| *name));
            used.push_str(&item);
        }
    }
    used
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

#[test]
fn each_honoured_setting_is_shown_from_outside() {
    let table = table();
    let missing = honoured().into_iter().filter(|name| !table.contains_key(*name));
    crate::assert_none(
        "honoured settings that no test shows (tests/tidy/honoured.txt)",
        missing.map(str::to_owned).collect(),
    );
    let honoured = honoured();
    let gone = table.keys().filter(|name| !honoured.contains(&name.as_str())).cloned();
    crate::assert_none("settings in the table that are not honoured", gone.collect());
    let wrong = table.iter().filter_map(|(setting, test)| wrong(setting, test, read));
    crate::assert_none("tests that do not show their settings", wrong.collect());
}

#[test]
fn a_test_that_is_not_there_or_shows_another_setting_is_found() {
    let conformance = [
        "const SET: &str =\n    \"x.y=1\";",
        "#[test]\nfn shows() {\n    set();\n}",
        "fn helps() {}",
        "fn set() {\n    to(SET);\n}",
        "#[test]\nfn beside() {\n    helps();\n}",
    ];
    let text = |path: &str| match path {
        "tests/conformance/a.rs" => conformance.join("\n"),
        "actors/network/tests/api/b.rs" => {
            "#[tokio::test]\nasync fn shows() { set(\"x.y\") }".to_owned()
        }
        _ => String::new(),
    };
    let is_wrong = |test: &str| wrong("x.y", test, text).is_some();
    assert!(!is_wrong("conformance::a::shows") && !is_wrong("api::b::shows"));
    assert!(is_wrong("conformance::a::helps") && is_wrong("conformance::a::none"));
    assert!(is_wrong("conformance::a::beside"));
    assert!(is_wrong("conformance::b::shows") && is_wrong("nowhere::a::shows"));
    assert!(is_wrong("- no") && !is_wrong("- nothing outside can tell"));
    assert!(wrong("other", "conformance::a::shows", text).is_some());
}
