//! What a scraper reads, with nothing let pass: Prometheus' text format 0.0.4 and OpenMetrics 1.0, as far as types of metrics go that
//! a node has.

use std::collections::{BTreeMap, BTreeSet};

/// Name and labels, sorted.
pub type Series = (String, BTreeMap<String, String>);

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub unit: Option<String>,
    pub samples: Vec<(Series, f64)>,
}

/// By their names.
pub type Families = BTreeMap<String, Family>;

fn is_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || "_:".contains(c));
    begins && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}

/// The labels behind an opening brace, and what is behind the closing one.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, behind) = rest.split_once("=\"")?;
        if !is_name(name) || name.contains(':') {
            return None;
        }
        let (mut value, mut chars) = (String::new(), behind.char_indices());
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    plain @ ('\\' | '"') => plain,
                    _ => return None,
                }),
                (_, plain) => value.push(plain),
            }
        };
        labels.insert(name.to_owned(), value).is_none().then_some(())?;
        rest = &behind[end..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Some((labels, rest.strip_prefix('}')?)),
        }
    }
}

fn sample(line: &str) -> Option<(Series, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    is_name(name).then_some(((name.to_owned(), labels), value))
}

/// What its type lets follow a family's name.
fn suffixes(kind: &str, open_metrics: bool) -> &'static [&'static str] {
    match (kind, open_metrics) {
        ("gauge", _) | ("counter", false) => &[""],
        ("counter", true) => &["_total"],
        ("histogram", _) => &["_bucket", "_sum", "_count"],
        ("summary", _) => &["", "_sum", "_count"],
        (other, _) => panic!("type {other}"),
    }
}

/// # Panics
/// Where a strict reader would refuse it.
pub fn read(text: &str, open_metrics: bool) -> Families {
    let text = match open_metrics {
        true => text.strip_suffix("# EOF\n").expect("it ends with # EOF"),
        false => text,
    };
    assert!(text.ends_with('\n'), "its last line ends");
    let (mut families, mut now, mut told) = (Families::new(), String::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("{line}"));
            let (what, name, rest) = (word(), word(), word());
            assert!(is_name(name), "{line}");
            assert!(told.insert((what.to_owned(), name.to_owned())), "told twice: {line}");
            if now != name {
                assert!(!families.contains_key(name), "it comes again: {line}");
                families.insert(name.to_owned(), Family::default());
                name.clone_into(&mut now);
            }
            let family = families.get_mut(name).expect("it was begun");
            assert!(family.samples.is_empty(), "it comes late: {line}");
            match what {
                "HELP" => assert!(!rest.is_empty() && !rest.contains(['\\', '"']), "{line}"),
                "TYPE" => rest.clone_into(&mut family.kind),
                "UNIT" if open_metrics && name.ends_with(&format!("_{rest}")) => {
                    family.unit = Some(rest.to_owned());
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = sample(line).unwrap_or_else(|| panic!("no sample: {line:?}"));
        let family = families.get_mut(&now).unwrap_or_else(|| panic!("of no family: {line}"));
        let suffix = series.0.strip_prefix(&now).unwrap_or_else(|| panic!("of another: {line}"));
        assert!(suffixes(&family.kind, open_metrics).contains(&suffix), "{line}");
        assert!(seen.insert(series.clone()), "it is there twice: {line}");
        family.samples.push((series, value));
    }
    families.iter().for_each(|(name, family)| check(name, family));
    families
}

fn check(name: &str, family: &Family) {
    let without = |labels: &BTreeMap<String, String>, label: &str| {
        let mut labels = labels.clone();
        let value = labels.remove(label);
        (labels, value)
    };
    let number = |text: &str| match text {
        "+Inf" => f64::INFINITY,
        other => other.parse().unwrap_or_else(|_| panic!("{name}: {other}")),
    };
    let mut below: BTreeMap<_, (f64, f64)> = BTreeMap::new();
    for ((of, labels), value) in &family.samples {
        assert!(family.kind == "gauge" || *value >= 0.0, "{of} {labels:?} {value}");
        match (family.kind.as_str(), of.strip_prefix(name).unwrap_or_default()) {
            ("histogram", "_bucket") => {
                let (labels, limit) = without(labels, "le");
                let limit = number(&limit.unwrap_or_else(|| panic!("{of} {labels:?}")));
                let before = below.insert(labels.clone(), (limit, *value));
                let (last, count) = before.unwrap_or((f64::NEG_INFINITY, 0.0));
                assert!(limit > last && *value >= count, "{of} {labels:?} {limit}");
            }
            ("histogram", "_count") => {
                let last = below.get(labels);
                assert_eq!(last, Some(&(f64::INFINITY, *value)), "{of} {labels:?}");
            }
            ("summary", "") => {
                let quantile = number(labels.get("quantile").expect("a quantile"));
                assert!((0.0..=1.0).contains(&quantile), "{of} {labels:?}");
            }
            _ => {}
        }
    }
    if matches!(family.kind.as_str(), "histogram" | "summary") {
        let of = |suffix: &str| {
            let name = format!("{name}{suffix}");
            family.samples.iter().filter(|((of, _), _)| *of == name).count()
        };
        assert!(of("_sum") > 0 && of("_sum") == of("_count"), "{name}");
    }
}

/// The one sample of this name with these labels beside `node`.
pub fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut wanted: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    wanted.insert("node".to_owned(), "1".to_owned());
    let mut all = families.values().flat_map(|family| &family.samples);
    all.find(|((of, labels), _)| of == name && *labels == wanted).map(|(_, value)| *value)
}

#[test]
fn what_is_not_well_formed_is_refused() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"\\\"\"} 1\n";
    assert_eq!(read(good, false)["a_total"].samples.len(), 1);
    let wrong = [
        "a_total 1\n",
        "# TYPE a counter\na 1\na 2\n",
        "# TYPE a counter\na 1\nb 1\n",
        "# TYPE a counter\na{b=\"1\" c=\"2\"} 1\n",
        "# TYPE a counter\na{b=\"1\",b=\"2\"} 1\n",
        "# TYPE a counter\na{b=\"\\x\"} 1\n",
        "# TYPE a counter\na one\n",
        "# TYPE a counter\na -1\n",
        "# TYPE a counter\n\na 1\n",
        "# TYPE a counter\na 1",
        "# TYPE a counter\na 1\n# TYPE b gauge\nb 1\n# TYPE a counter\n",
        "# TYPE a gauge\na_total 1\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
        "# TYPE a summary\na{quantile=\"2\"} 1\na_sum 1\na_count 1\n",
        "# TYPE a gauge\na 1\n# EOF\n",
    ];
    for text in wrong {
        assert!(std::panic::catch_unwind(|| read(text, false)).is_err(), "{text}");
    }
    let wrong = [
        "# TYPE a counter\na_total 1\n",
        "# TYPE a_total counter\na_total 1\n# EOF\n",
        "# TYPE a gauge\n# UNIT a seconds\na 1\n# EOF\n",
    ];
    for text in wrong {
        assert!(std::panic::catch_unwind(|| read(text, true)).is_err(), "{text}");
    }
}
