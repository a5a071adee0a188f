//! Sizes, words and constructs that neither the compiler nor clippy holds.

use crate::source::{self, Source, block_after, line_of, words};
use std::fs;

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
/// An example of its own is read in one look.
const EXAMPLE_LINES: usize = 60;

fn check(what: &str, rule: fn(&Source) -> Vec<String>) {
    crate::assert_none(what, source::all().iter().flat_map(rule).collect());
}

fn found(source: &Source, at: usize, what: &str) -> String {
    format!("{}:{}: {what}", source.path, line_of(&source.code, at))
}

fn long_file(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let limit = if source.path.starts_with("examples/") { EXAMPLE_LINES } else { FILE_LINES };
    if lines < limit { Vec::new() } else { vec![format!("{}: {lines} lines", source.path)] }
}

fn long_functions(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for at in words(&source.code, "fn") {
        let Some((_, end)) = block_after(&source.code, at) else { continue };
        let lines = line_of(&source.code, end) - line_of(&source.code, at) + 1;
        if lines >= FUNCTION_LINES {
            findings.push(found(source, at, &format!("a function of {lines} lines")));
        }
    }
    findings
}

fn unbiased_select(source: &Source) -> Vec<String> {
    let calls = words(&source.code, "select").filter(|at| source.code[at + 6..].starts_with('!'));
    let unbiased = calls.filter(|at| {
        let inside = block_after(&source.code, *at).map(|(from, _)| &source.code[from + 1..]);
        !inside.is_some_and(|text| text.trim_start().starts_with("biased;"))
    });
    unbiased.map(|at| found(source, at, "select! without biased; draws lots")).collect()
}

fn put_off(source: &Source) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let places = marks.iter().flat_map(|mark| words(&source.text, mark));
    places.map(|at| found(source, at.min(source.code.len()), "work put off in a comment")).collect()
}

fn hidden(source: &Source) -> Vec<String> {
    let all = ["allow(dead_code", "allow(unused)", "#[ignore"];
    let places = all.iter().flat_map(|text| source.code.match_indices(text));
    places.map(|(at, text)| found(source, at, text)).collect()
}

fn impure(source: &Source) -> Vec<String> {
    if !source.path.starts_with("protocol/") || !source.path.contains("/src/") {
        return Vec::new();
    }
    let all = [
        "std::fs",
        "std::net",
        "std::time::Instant",
        "std::time::SystemTime",
        "std::env",
        "std::thread",
    ];
    let places = all.iter().flat_map(|text| words(&source.code, text).map(move |at| (at, text)));
    places.map(|(at, text)| found(source, at, text)).collect()
}

/// Files outside storage/disk that may say `unsafe`, a line each: the path, then why.
fn excused() -> Vec<(String, String)> {
    let path = crate::root().join("tests/tidy/unsafe.txt");
    let text = fs::read_to_string(path).expect("tests/tidy/unsafe.txt");
    let entries = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = entries.map(|line| line.split_once(' ').unwrap_or((line, "")));
    split.map(|(path, why)| (path.to_owned(), why.trim().to_owned())).collect()
}

fn unsafe_code(source: &Source) -> Vec<String> {
    let place = source.path.as_str();
    if place.starts_with("storage/disk/") || excused().iter().any(|(path, _)| path == place) {
        return Vec::new();
    }
    words(&source.code, "unsafe").map(|at| found(source, at, "unsafe")).collect()
}

#[test]
fn files_are_short() {
    check("files of 500 lines and more", long_file);
}

#[test]
fn functions_are_short() {
    check("functions of 70 lines and more", long_functions);
}

#[test]
fn select_is_biased() {
    check("select", unbiased_select);
}

#[test]
fn nothing_is_put_off() {
    check("put off", put_off);
}

#[test]
fn nothing_is_hidden() {
    check("hidden from the compiler or the tests", hidden);
}

#[test]
fn protocol_is_pure() {
    check("the outside world in protocol/", impure);
}

#[test]
fn unsafe_has_its_place() {
    check("unsafe outside storage/disk", unsafe_code);
}

#[test]
fn each_excuse_has_a_reason_and_a_use() {
    let sources = source::all();
    for (path, why) in excused() {
        assert!(why.len() > 20, "{path}: say why");
        let used =
            sources.iter().any(|s| s.path == path && words(&s.code, "unsafe").next().is_some());
        assert!(used, "{path} has no unsafe code: take its line out of unsafe.txt");
    }
}

#[test]
fn the_rules_find_what_they_forbid() {
    let of = |path: &str, text: &str| Source {
        path: path.into(),
        text: text.into(),
        code: source::code_of(text),
    };
    let body = "\n".repeat(FUNCTION_LINES);
    let long = of("a.rs", &format!("fn long(a: [u8; 2]) -> u8 {{{body}}}\nfn short() {{}}"));
    assert_eq!(long_functions(&long).len(), 1);
    assert_eq!(long_functions(&of("a.rs", &format!("trait T {{ fn f(); {body} }}"))).len(), 0);
    assert_eq!(long_file(&of("a.rs", &"\n".repeat(FILE_LINES))).len(), 1);
    assert_eq!(unbiased_select(&of("a.rs", "tokio::select! { _ = a => {} }")).len(), 1);
    assert_eq!(unbiased_select(&of("a.rs", "tokio::select! {\n biased;\n _ = a => {} }")).len(), 0);
    assert_eq!(put_off(&of("a.rs", concat!("// TO", "DO: later"))).len(), 1);
    assert_eq!(impure(&of("protocol/a/src/b.rs", "use std::fs;")).len(), 1);
    assert_eq!(
        impure(&of("protocol/a/src/b.rs", "// std::fs\nconst A: &str = \"std::fs\";")).len(),
        0
    );
    assert_eq!(unsafe_code(&of("a.rs", "unsafe { x }")).len(), 1);
    assert_eq!(unsafe_code(&of("a.rs", "#![deny(unsafe_code)] // unsafe")).len(), 0);
    assert_eq!(unsafe_code(&of("a.rs", "let c = '\"'; let l: &'a str = r#\"unsafe\"#;")).len(), 0);
}
