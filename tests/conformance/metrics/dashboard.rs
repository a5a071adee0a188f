//! docs/grafana/ottla.json asks for what a node tells, and for nothing else.

use super::strict::Families;
use super::{load, scraped};
use crate::commands::is_foreign;
use crate::observed::start;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const DASHBOARD: &str = include_str!("../../../docs/grafana/ottla.json");
/// What PromQL itself has, as far as the dashboard uses it.
const WORDS: &[&str] = &["by", "histogram_quantile", "increase", "max", "rate", "sum", "topk"];

/// What is asked for: PromQL as panels have it, and the values of a variable.
fn queries(dashboard: &Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let variables = dashboard["templating"]["list"].as_array().expect("variables").iter();
    let values = variables.filter_map(|variable| variable["query"]["query"].as_str());
    targets.map(|target| target["expr"].as_str().expect("an expression")).chain(values).collect()
}

/// Of an expression: each metric with the labels that its selector names, and the labels that sums are by.
fn read(query: &str) -> (Vec<(&str, Vec<&str>)>, BTreeSet<&str>) {
    if let Some(inside) = query.strip_prefix("label_values(") {
        let (metric, label) = inside.trim_end_matches(')').split_once(", ").expect("two");
        return (vec![(metric, vec![label])], BTreeSet::new());
    }
    let (mut metrics, mut by) = (Vec::new(), BTreeSet::new());
    let mut rest = query;
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '[') {
        if let Some(window) = rest[at..].strip_prefix('[') {
            rest = window.split_once(']').expect("it ends").1;
            continue;
        }
        let word = rest[at..].split(|c| !is_word(c)).next().expect("a word");
        rest = &rest[at + word.len()..];
        if let Some(selector) = rest.strip_prefix('{') {
            let (inside, behind) = selector.split_once('}').expect("it ends");
            // No value has a comma.
            let labels = inside.split(',').map(|part| part.split(['=', '!']).next().expect("one"));
            metrics.push((word, labels.collect()));
            rest = behind;
        } else if word == "by" {
            let (inside, behind) = rest.trim_start()[1..].split_once(')').expect("it ends");
            by.extend(inside.split(", "));
            rest = behind;
        } else {
            assert!(WORDS.contains(&word), "{word} in {query}: without a selector");
        }
    }
    (metrics, by)
}

/// The labels of each name that a sample has.
fn served(families: &Families) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut served: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let samples = families.values().flat_map(|family| &family.samples);
    for ((name, labels), _) in samples {
        served.entry(name).or_default().extend(labels.keys().map(String::as_str));
    }
    served
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    if is_foreign("the_dashboard_asks_for_what_there_is") {
        return;
    }
    let (node, console) = start(&[]);
    load(&node, &mut node.connect());
    let families = scraped(console, "/metrics");
    let served = served(&families);
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let queries = queries(&dashboard);
    assert!(queries.len() > 35, "{}", queries.len());
    for query in queries {
        let (metrics, by) = read(query);
        assert!(!metrics.is_empty(), "{query}");
        for (metric, labels) in metrics {
            let there =
                served.get(metric).unwrap_or_else(|| panic!("{metric} is not served: {query}"));
            for label in labels.iter().chain(&by) {
                assert!(there.contains(label), "{metric} has no label {label}: {query}");
            }
        }
    }
}

#[test]
fn queries_are_taken_apart() {
    let (metrics, by) = read(
        "topk(3, sum by (a, b) (rate(x_total{a=~\"$n\",c!=\"\"}[$__rate_interval])) / y{d=\"1\"})",
    );
    assert_eq!(metrics, [("x_total", vec!["a", "c"]), ("y", vec!["d"])]);
    assert_eq!(by, BTreeSet::from(["a", "b"]));
    assert!(std::panic::catch_unwind(|| read("sum(x_total)")).is_err(), "no selector");
}
