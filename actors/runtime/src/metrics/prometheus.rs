use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Gauge, Registry, Status, Totals, bucket_limit_micros, lock};
use crate::credits::Credits;

/// Sums over the actors of one kind: the number of series does not grow with partitions or connections.
#[derive(Default)]
struct Kind {
    actors: u64,
    offline: u64,
    stuck: u64,
    depth: u64,
    credits: i64,
    totals: Totals,
}

/// Metrics of one name, which differ in their labels: each is there once, as Prometheus wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    /// counter, gauge or histogram.
    pub kind: &'static str,
    /// Beside `node`, the id of the node.
    pub labels: &'static [&'static str],
    pub unit: &'static str,
    pub help: &'static str,
}

/// Everything that [`prometheus`] tells, in its order.
pub fn families() -> impl Iterator<Item = Family> {
    let actors = GAUGES.iter().map(|(family, _)| family);
    let actors = actors.chain(COUNTERS.iter().map(|(family, _)| family));
    let actors = actors.chain([&HANDLED, &HANDLING, &COUNTS, &NUMBERS]);
    actors.chain(CREDITS.iter().map(|(family, _)| family)).copied()
}

const fn family(
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    help: &'static str,
) -> Family {
    Family { name, kind, labels: &["kind"], unit, help }
}

/// A family, and its value for one of those that it is told of.
type Series<T> = (Family, fn(&T) -> u64);

const GAUGES: [Series<Kind>; 7] = [
    (family("ottla_actors", "gauge", "actors", "Actors of this kind."), |k| k.actors),
    (family("ottla_actors_offline", "gauge", "actors", "Actors that were given up."), |k| {
        k.offline
    }),
    (family("ottla_actors_stuck", "gauge", "actors", "Actors whose handler does not end."), |k| {
        k.stuck
    }),
    (
        family("ottla_mailbox_depth", "gauge", "messages", "Messages sent and not yet handled."),
        |k| k.depth,
    ),
    (
        family(
            "ottla_mailbox_high",
            "gauge",
            "messages",
            "The most messages that ever waited for one actor.",
        ),
        |k| k.totals.high,
    ),
    (
        family(
            "ottla_handling_max_micros",
            "gauge",
            "microseconds",
            "The longest time that one message took.",
        ),
        |k| k.totals.max_micros,
    ),
    (
        family(
            "ottla_actor_credits",
            "gauge",
            "bytes",
            "What actors have taken of budgets, and not given back.",
        ),
        |k| k.credits.max(0).cast_unsigned(),
    ),
];

const COUNTERS: [Series<Totals>; 2] = [
    (
        family(
            "ottla_actor_restarts_total",
            "counter",
            "restarts",
            "Incarnations after the first.",
        ),
        |t| t.restarts,
    ),
    (
        family("ottla_actor_failures_total", "counter", "failures", "Incarnations that failed."),
        |t| t.failures,
    ),
];

const HANDLED: Family = Family {
    labels: &["kind", "message"],
    ..family("ottla_messages_handled_total", "counter", "messages", "Messages handled.")
};

const HANDLING: Family = family(
    "ottla_handling_seconds",
    "histogram",
    "seconds",
    "Time to handle a message, estimated from a sample.",
);

const COUNTS: Family = Family {
    labels: &["kind", "name"],
    ..family(
        "ottla_actor_count_total",
        "counter",
        "by its name",
        "What actors count for themselves.",
    )
};

const NUMBERS: Family = Family {
    labels: &["kind", "name"],
    ..family("ottla_actor_number", "gauge", "by its name", "What actors show that comes and goes.")
};

const fn of_credits(
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    help: &'static str,
) -> Family {
    Family { name, kind, labels: &["name"], unit, help }
}

const CREDITS: [Series<Credits>; 3] = [
    (of_credits("ottla_credits_limit", "gauge", "bytes", "The budget."), Credits::limit),
    (of_credits("ottla_credits_used", "gauge", "bytes", "What of it is taken."), Credits::used),
    (
        of_credits(
            "ottla_credits_waits_total",
            "counter",
            "waits",
            "How often it had to be waited for.",
        ),
        Credits::waits,
    ),
];

/// What one node counts.
struct Sums {
    node: String,
    kinds: BTreeMap<&'static str, Kind>,
    counts: BTreeMap<(&'static str, &'static str), u64>,
    numbers: BTreeMap<(&'static str, &'static str), i64>,
    credits: BTreeMap<String, Credits>,
}

impl Sums {
    fn of(node: &str, registry: &Registry) -> Sums {
        let mut kinds: BTreeMap<&'static str, Kind> = BTreeMap::new();
        let mut counts: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
        let mut numbers: BTreeMap<(&'static str, &'static str), i64> = BTreeMap::new();
        // In this order, so that who goes meanwhile is counted once.
        let entries = registry.entries();
        let gone = {
            let past = lock(&registry.0.past);
            for (kind, totals) in &past.kinds {
                kinds.entry(kind).or_default().totals.add(totals);
            }
            for (key, count) in &past.counters {
                *counts.entry(*key).or_default() += count;
            }
            past.gone
        };
        for entry in entries {
            let state = lock(&entry.state);
            if state.gone.is_some_and(|at| at <= gone) {
                continue;
            }
            let kind = kinds.entry(entry.kind).or_default();
            kind.actors += 1;
            kind.offline += u64::from(state.status == Status::Offline);
            kind.stuck += u64::from(state.stuck);
            kind.totals.add(&state.totals());
            if let Some(stats) = state.stats.as_ref().filter(|_| state.status == Status::Running) {
                kind.depth += stats.depth();
            }
            kind.credits += state.credits.as_ref().map_or(0, Gauge::get);
            for (name, counter) in &state.counters.0 {
                *counts.entry((entry.kind, name)).or_default() += counter.get();
            }
            for (name, gauge) in &state.gauges.0 {
                *numbers.entry((entry.kind, name)).or_default() += gauge.get();
            }
        }
        let credits = lock(&registry.0.credits).clone();
        Sums { node: node.to_owned(), kinds, counts, numbers, credits }
    }
}

/// All numbers of nodes, each by its name and what it counts, in Prometheus' text format: a family is there once, whatever the number of
/// nodes, and its lines have the label `node`.
pub fn prometheus<'a>(nodes: impl IntoIterator<Item = (&'a str, &'a Registry)>) -> String {
    let nodes: Vec<Sums> = nodes.into_iter().map(|(node, its)| Sums::of(node, its)).collect();
    let mut text = Text(String::new());
    text.kinds(&nodes);
    text.named(&COUNTS, &nodes, |sums| &sums.counts);
    text.named(&NUMBERS, &nodes, |sums| &sums.numbers);
    text.credits(&nodes);
    text.0
}

/// A label's value: names of kinds, messages and numbers are also those of users' actors.
fn escaped(value: &str) -> Cow<'_, str> {
    match value.contains(['\\', '"', '\n']) {
        true => value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into(),
        false => value.into(),
    }
}

/// Each kind of actor of each node, with its labels.
fn kinds(nodes: &[Sums]) -> impl Iterator<Item = (String, &Kind)> {
    nodes.iter().flat_map(|Sums { node, kinds, .. }| {
        kinds
            .iter()
            .map(move |(kind, sums)| (format!("node=\"{node}\",kind=\"{}\"", escaped(kind)), sums))
    })
}

struct Text(String);

impl Text {
    fn head(&mut self, family: &Family) {
        let Family { name, kind, help, .. } = family;
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn kinds(&mut self, nodes: &[Sums]) {
        for (family, value) in &GAUGES {
            self.head(family);
            for (labels, sums) in kinds(nodes) {
                self.line(family.name, &labels, value(sums));
            }
        }
        for (family, value) in &COUNTERS {
            self.head(family);
            for (labels, sums) in kinds(nodes) {
                self.line(family.name, &labels, value(&sums.totals));
            }
        }
        self.head(&HANDLED);
        for (labels, sums) in kinds(nodes) {
            for (message, count) in &sums.totals.handled {
                let labels = format!("{labels},message=\"{}\"", escaped(message));
                self.line(HANDLED.name, &labels, count);
            }
        }
        self.histogram(nodes);
    }

    fn histogram(&mut self, nodes: &[Sums]) {
        self.head(&HANDLING);
        for (labels, sums) in kinds(nodes) {
            let mut below = 0;
            let last = sums.totals.histogram.len() - 1;
            for (bucket, count) in sums.totals.histogram[..last].iter().enumerate() {
                below += count;
                let limit = bucket_limit_micros(bucket) as f64 / 1e6;
                let labels = format!("{labels},le=\"{limit}\"");
                self.line("ottla_handling_seconds_bucket", &labels, below);
            }
            let all = below + sums.totals.histogram[last];
            self.line("ottla_handling_seconds_bucket", &format!("{labels},le=\"+Inf\""), all);
            let busy = sums.totals.busy_micros as f64 / 1e6;
            self.line("ottla_handling_seconds_sum", &labels, busy);
            self.line("ottla_handling_seconds_count", &labels, all);
        }
    }

    fn named<T: std::fmt::Display>(
        &mut self,
        family: &Family,
        nodes: &[Sums],
        of: impl Fn(&Sums) -> &BTreeMap<(&'static str, &'static str), T>,
    ) {
        self.head(family);
        for sums in nodes {
            for ((kind, name), value) in of(sums) {
                let (node, kind, name) = (&sums.node, escaped(kind), escaped(name));
                let labels = format!("node=\"{node}\",kind=\"{kind}\",name=\"{name}\"");
                self.line(family.name, &labels, value);
            }
        }
    }

    fn credits(&mut self, nodes: &[Sums]) {
        for (family, value) in &CREDITS {
            self.head(family);
            for Sums { node, credits, .. } in nodes {
                for (budget, credits) in credits {
                    let budget = escaped(budget);
                    let labels = format!("node=\"{node}\",name=\"{budget}\"");
                    self.line(family.name, &labels, value(credits));
                }
            }
        }
    }
}
