//! docs/METRICS.md says what the code shows, and the code shows nothing else.

use std::collections::BTreeSet;

use ottla::console::metrics::{BUDGETS, NUMBERS, document};

use crate::source::{self, Source};

const PATH: &str = "docs/METRICS.md";

#[test]
fn docs_metrics_is_up_to_date() {
    let path = crate::root().join(PATH);
    if std::env::var_os("OTTLA_BLESS").is_some() {
        std::fs::write(&path, document()).expect("docs/METRICS.md can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document(), "{PATH} is out of date: OTTLA_BLESS=1 rewrites it");
}

/// The arguments of calls that begin so, up to their end, in a node's own code.
fn arguments(source: &Source, call: &str) -> Vec<String> {
    let begins = source.text.match_indices(call).map(|(at, _)| at + call.len());
    // Not in comments.
    let begins = begins.filter(|at| source.code[..*at].ends_with(call));
    let argument =
        |at: usize| source.text[at..].split_once(')').map(|(inside, _)| inside.to_owned());
    begins.filter_map(argument).collect()
}

/// What stands between quotes; of a name that is chosen elsewhere, all that is quoted in the same file's lines that choose it.
fn quoted(source: &Source, argument: &str) -> Vec<String> {
    let texts = |text: &str| {
        let parts: Vec<String> = text.split('"').map(str::to_owned).collect();
        parts.into_iter().skip(1).step_by(2).collect::<Vec<_>>()
    };
    match argument.starts_with('"') {
        true => texts(argument),
        false => {
            let chosen = format!("let {argument} = ");
            source.text.lines().filter(|line| line.contains(&chosen)).flat_map(texts).collect()
        }
    }
}

fn shown(sources: &[Source], call: &str) -> BTreeSet<String> {
    let own = |source: &&Source| {
        (source.path.starts_with("actors/") || source.path.starts_with("supervisors/"))
            && source.path.contains("src/") | source.path.starts_with("supervisors/")
            && !source.path.contains("tests")
            && !source.path.contains("/examples/")
    };
    let all = sources.iter().filter(own);
    all.flat_map(|s| arguments(s, call).into_iter().flat_map(|a| quoted(s, &a))).collect()
}

#[test]
fn each_number_that_is_shown_is_told_of_and_each_that_is_told_of_is_shown() {
    let sources = source::all();
    for (call, kind) in [("cx.counter(", "counter"), ("cx.gauge(", "gauge")] {
        let told = NUMBERS.iter().filter(|number| number.kind == kind);
        let told: BTreeSet<String> = told.map(|number| number.name.to_owned()).collect();
        assert_eq!(
            shown(&sources, call),
            told,
            "{call} in the code, and supervisors/console/metrics.rs"
        );
    }
    // The registry's users name their budgets in one place.
    let broker = sources.iter().find(|source| source.path == "actors/network/src/broker.rs");
    let broker = broker.expect("the broker's budgets");
    for budget in BUDGETS {
        assert!(broker.text.contains(&format!("\"{}\"", budget.name)), "{}", budget.name);
    }
    assert_eq!(broker.text.matches("show_credits(").count(), 8, "a budget that is not told of?");
}
