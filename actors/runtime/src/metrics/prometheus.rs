use std::collections::BTreeMap;

use super::exposition::{Exposition, Format};
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
    /// counter, gauge, histogram or summary.
    pub kind: &'static str,
    /// Beside `node`, the id of the node.
    pub labels: &'static [&'static str],
    pub unit: &'static str,
    pub help: &'static str,
}

impl Family {
    /// Without what says that it is a counter.
    pub fn bare_name(&self) -> &'static str {
        match self.kind {
            "counter" => self.name.strip_suffix("_total").unwrap_or(self.name),
            _ => self.name,
        }
    }
}

/// Everything that [`expose`] tells, in its order.
pub fn families() -> impl Iterator<Item = Family> {
    let actors = GAUGES.iter().map(|(family, _)| family).chain([&LONGEST]);
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

const GAUGES: [Series<Kind>; 6] = [
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
            "ottla_actor_credits_bytes",
            "gauge",
            "bytes",
            "What actors have taken of request memory, custom actors of budgets of their own, and not given back.",
        ),
        |k| k.credits.max(0).cast_unsigned(),
    ),
];

const LONGEST: Family = family(
    "ottla_handling_max_seconds",
    "gauge",
    "seconds",
    "The longest time that one message took.",
);

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
    (of_credits("ottla_credits_limit_bytes", "gauge", "bytes", "The budget."), Credits::limit),
    (
        of_credits("ottla_credits_used_bytes", "gauge", "bytes", "What of it is taken."),
        Credits::used,
    ),
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

/// What one node's actors count, summed by their kinds.
pub struct Sums {
    node: String,
    kinds: BTreeMap<&'static str, Kind>,
    counts: BTreeMap<(&'static str, &'static str), u64>,
    numbers: BTreeMap<(&'static str, &'static str), i64>,
    credits: BTreeMap<String, Credits>,
}

impl Sums {
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What actors of a kind have counted by a name, those that are gone included.
    pub fn counted(&self, kind: &'static str, name: &'static str) -> u64 {
        self.counts.get(&(kind, name)).copied().unwrap_or(0)
    }

    /// What actors of a kind show by a name.
    pub fn number(&self, kind: &'static str, name: &'static str) -> i64 {
        self.numbers.get(&(kind, name)).copied().unwrap_or(0)
    }

    pub fn of(node: &str, registry: &Registry) -> Sums {
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
            for (name, value) in state.gauges() {
                *numbers.entry((entry.kind, name)).or_default() += value;
            }
        }
        let credits = lock(&registry.0.credits).clone();
        Sums { node: node.to_owned(), kinds, counts, numbers, credits }
    }
}

/// All numbers of nodes, each by its name and what it counts: a family is there once, whatever the number of nodes, and its samples
/// have the label `node`.
pub fn expose(nodes: &[Sums], text: &mut Exposition) {
    let mut text = Text(text);
    text.kinds(nodes);
    text.named(&COUNTS, nodes, |sums| &sums.counts);
    text.named(&NUMBERS, nodes, |sums| &sums.numbers);
    text.credits(nodes);
}

/// As [`expose`], in Prometheus' text format.
pub fn prometheus<'a>(nodes: impl IntoIterator<Item = (&'a str, &'a Registry)>) -> String {
    let nodes: Vec<Sums> = nodes.into_iter().map(|(node, its)| Sums::of(node, its)).collect();
    let mut text = Exposition::new(Format::Prometheus);
    expose(&nodes, &mut text);
    text.finish()
}

/// Each kind of actor of each node.
fn kinds(nodes: &[Sums]) -> impl Iterator<Item = ([(&str, &str); 2], &Kind)> {
    nodes.iter().flat_map(|Sums { node, kinds, .. }| {
        kinds.iter().map(move |(kind, sums)| ([("node", node.as_str()), ("kind", *kind)], sums))
    })
}

struct Text<'a>(&'a mut Exposition);

impl Text<'_> {
    fn kinds(&mut self, nodes: &[Sums]) {
        for (family, value) in &GAUGES {
            self.0.family(family);
            for (labels, sums) in kinds(nodes) {
                self.0.sample(family.name, &labels, value(sums));
            }
        }
        self.longest(nodes);
        for (family, value) in &COUNTERS {
            self.0.family(family);
            for (labels, sums) in kinds(nodes) {
                self.0.sample(family.name, &labels, value(&sums.totals));
            }
        }
        self.0.family(&HANDLED);
        for ([node, kind], sums) in kinds(nodes) {
            for (message, count) in &sums.totals.handled {
                self.0.sample(HANDLED.name, &[node, kind, ("message", *message)], count);
            }
        }
        self.histogram(nodes);
    }

    fn longest(&mut self, nodes: &[Sums]) {
        self.0.family(&LONGEST);
        for (labels, sums) in kinds(nodes) {
            self.0.sample(LONGEST.name, &labels, sums.totals.max_micros as f64 / 1e6);
        }
    }

    fn histogram(&mut self, nodes: &[Sums]) {
        self.0.family(&HANDLING);
        for ([node, kind], sums) in kinds(nodes) {
            let mut below = 0;
            let last = sums.totals.histogram.len() - 1;
            for (bucket, count) in sums.totals.histogram[..last].iter().enumerate() {
                below += count;
                // With its fraction, as OpenMetrics wants it, and so that it is the same series in both formats.
                let limit = format!("{:?}", bucket_limit_micros(bucket) as f64 / 1e6);
                let labels = [node, kind, ("le", limit.as_str())];
                self.0.sample("ottla_handling_seconds_bucket", &labels, below);
            }
            let all = below + sums.totals.histogram[last];
            self.0.sample("ottla_handling_seconds_bucket", &[node, kind, ("le", "+Inf")], all);
            let busy = sums.totals.busy_micros as f64 / 1e6;
            self.0.sample("ottla_handling_seconds_sum", &[node, kind], busy);
            self.0.sample("ottla_handling_seconds_count", &[node, kind], all);
        }
    }

    fn named<T: std::fmt::Display>(
        &mut self,
        family: &Family,
        nodes: &[Sums],
        of: impl Fn(&Sums) -> &BTreeMap<(&'static str, &'static str), T>,
    ) {
        self.0.family(family);
        for sums in nodes {
            for ((kind, name), value) in of(sums) {
                let labels = [("node", sums.node.as_str()), ("kind", kind), ("name", name)];
                self.0.sample(family.name, &labels, value);
            }
        }
    }

    fn credits(&mut self, nodes: &[Sums]) {
        for (family, value) in &CREDITS {
            self.0.family(family);
            for Sums { node, credits, .. } in nodes {
                for (budget, credits) in credits {
                    let labels = [("node", node.as_str()), ("name", budget.as_str())];
                    self.0.sample(family.name, &labels, value(credits));
                }
            }
        }
    }
}
