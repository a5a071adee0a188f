use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Registry, Status, Totals, bucket_limit_micros, lock};

/// Sums over the actors of one kind: the number of series does not grow with partitions or connections.
#[derive(Default)]
struct Kind {
    actors: u64,
    offline: u64,
    stuck: u64,
    depth: u64,
    totals: Totals,
}

/// Name, help, and the value for one kind.
type Series<T> = (&'static str, &'static str, fn(&T) -> u64);

impl Registry {
    /// All numbers in Prometheus' text format.
    pub fn prometheus(&self) -> String {
        let mut kinds: BTreeMap<&'static str, Kind> = BTreeMap::new();
        let mut numbers: BTreeMap<(&'static str, &'static str), i64> = BTreeMap::new();
        {
            let past = lock(&self.0.past);
            for (kind, totals) in &past.kinds {
                kinds.entry(kind).or_default().totals.add(totals);
            }
            for (key, count) in &past.counters {
                *numbers.entry(*key).or_default() += *count as i64;
            }
        }
        for entry in self.entries() {
            let state = lock(&entry.state);
            let kind = kinds.entry(entry.kind).or_default();
            kind.actors += 1;
            kind.offline += u64::from(state.status == Status::Offline);
            kind.stuck += u64::from(state.stuck);
            kind.totals.add(&state.totals());
            if let Some(stats) = state.stats.as_ref().filter(|_| state.status == Status::Running) {
                kind.depth += stats.depth();
            }
            for (name, counter) in &state.counters.0 {
                *numbers.entry((entry.kind, name)).or_default() += counter.get() as i64;
            }
            for (name, gauge) in &state.gauges.0 {
                *numbers.entry((entry.kind, name)).or_default() += gauge.get();
            }
        }
        let mut text = Text(String::new());
        text.kinds(&kinds);
        text.numbers(&numbers);
        text.credits(self);
        text.0
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn kinds(&mut self, kinds: &BTreeMap<&'static str, Kind>) {
        let gauges: [Series<Kind>; 4] = [
            ("ottla_actors", "Actors of this kind.", |k| k.actors),
            ("ottla_actors_offline", "Actors that were given up.", |k| k.offline),
            ("ottla_actors_stuck", "Actors whose handler does not end.", |k| k.stuck),
            ("ottla_mailbox_depth", "Messages sent and not yet handled.", |k| k.depth),
        ];
        for (name, help, value) in gauges {
            self.head(name, "gauge", help);
            for (kind, sums) in kinds {
                self.line(name, &format!("kind=\"{kind}\""), value(sums));
            }
        }
        let counters: [Series<Totals>; 2] = [
            ("ottla_actor_restarts_total", "Incarnations after the first.", |t| t.restarts),
            ("ottla_actor_failures_total", "Incarnations that failed.", |t| t.failures),
        ];
        for (name, help, value) in counters {
            self.head(name, "counter", help);
            for (kind, sums) in kinds {
                self.line(name, &format!("kind=\"{kind}\""), value(&sums.totals));
            }
        }
        self.head("ottla_messages_handled_total", "counter", "Messages handled.");
        for (kind, sums) in kinds {
            for (message, count) in &sums.totals.handled {
                let labels = format!("kind=\"{kind}\",message=\"{message}\"");
                self.line("ottla_messages_handled_total", &labels, count);
            }
        }
        self.histogram(kinds);
    }

    fn histogram(&mut self, kinds: &BTreeMap<&'static str, Kind>) {
        let name = "ottla_handling_seconds";
        self.head(name, "histogram", "Time to handle a message, estimated from a sample.");
        for (kind, sums) in kinds {
            let mut below = 0;
            let last = sums.totals.histogram.len() - 1;
            for (bucket, count) in sums.totals.histogram[..last].iter().enumerate() {
                below += count;
                let limit = bucket_limit_micros(bucket) as f64 / 1e6;
                let labels = format!("kind=\"{kind}\",le=\"{limit}\"");
                self.line("ottla_handling_seconds_bucket", &labels, below);
            }
            let all = below + sums.totals.histogram[last];
            let kind = format!("kind=\"{kind}\"");
            self.line("ottla_handling_seconds_bucket", &format!("{kind},le=\"+Inf\""), all);
            let busy = sums.totals.busy_micros as f64 / 1e6;
            self.line("ottla_handling_seconds_sum", &kind, busy);
            self.line("ottla_handling_seconds_count", &kind, all);
        }
    }

    fn numbers(&mut self, numbers: &BTreeMap<(&'static str, &'static str), i64>) {
        self.head("ottla_actor_number", "gauge", "What actors count for themselves.");
        for ((kind, name), value) in numbers {
            self.line("ottla_actor_number", &format!("kind=\"{kind}\",name=\"{name}\""), value);
        }
    }

    fn credits(&mut self, registry: &Registry) {
        let credits = lock(&registry.0.credits).clone();
        let limits = credits.iter().map(|(name, c)| (name, c.limit()));
        let used = credits.iter().map(|(name, c)| (name, c.used()));
        let waits = credits.iter().map(|(name, c)| (name, c.waits()));
        let series: [(&str, &str, &str, Vec<_>); 3] = [
            ("ottla_credits_limit", "gauge", "The budget.", limits.collect()),
            ("ottla_credits_used", "gauge", "What of it is taken.", used.collect()),
            (
                "ottla_credits_waits_total",
                "counter",
                "How often it had to be waited for.",
                waits.collect(),
            ),
        ];
        for (name, kind, help, values) in series {
            self.head(name, kind, help);
            for (credits, value) in values {
                self.line(name, &format!("name=\"{credits}\""), value);
            }
        }
    }
}
