//! docs/METRICS.md, written from what the code shows.

use std::fmt::Write;

use runtime::{Family, families};

use super::kafka::{self, OfKafka};

/// A number that actors of one kind show of themselves: in `/tree` of each, in `/metrics` the sum of all of them.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    /// The actors' kind.
    pub of: &'static str,
    pub name: &'static str,
    /// counter or gauge.
    pub kind: &'static str,
    pub unit: &'static str,
    pub meaning: &'static str,
}

/// A budget of memory.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    pub name: &'static str,
    pub meaning: &'static str,
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

const fn number(
    of: &'static str,
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> Number {
    Number { of, name, kind, unit, meaning }
}

/// Every number that a node's own actors show; those of custom actors are their authors'.
#[rustfmt::skip]
pub const NUMBERS: &[Number] = &[
    number("connection", "requests", COUNTER, "requests", "Requests that were begun."),
    number("durable", "records_replayed", COUNTER, "records", "Records of journals that were read as shards loaded."),
    number("durable", "records_written", COUNTER, "records", "Records of journals that were decided on and sent to the log."),
    number("durable", "replies_parked", GAUGE, "replies", "Answers that wait until what they tell of is committed."),
    number("group-coordinator", "records_replayed", COUNTER, "records", "Records of groups and offsets that were read as coordinators loaded."),
    number("group-coordinator", "records_written", COUNTER, "records", "Records of groups and offsets that were decided on and sent to the log."),
    number("group-coordinator", "replies_parked", GAUGE, "replies", "Answers that wait until their records are committed."),
    number("interceptor", "records_seen", COUNTER, "records", "Records that an interceptor of a topic was shown."),
    number("interceptor", "records_dropped", COUNTER, "records", "Records that it left out."),
    number("interceptor", "batches_rejected", COUNTER, "batches", "Batches of which it rejected a record."),
    number("interceptor", "panics", COUNTER, "panics", "How often it panicked at what it was shown."),
    number("listener", "cold_reads", COUNTER, "reads", "Reads of records that were not in memory, which waited for the disk beside the threads that serve connections."),
    number("listener", "connections_accepted", COUNTER, "connections", "Connections that were let in."),
    number("listener", "connections_refused", COUNTER, "connections", "Connections that were closed at once, as their address had too many (max.connections.per.ip)."),
    number("listener", "connections", GAUGE, "connections", "Connections that are open."),
    number("log-cleaner", "passes", COUNTER, "passes", "Passes over a log that ended well."),
    number("log-cleaner", "bytes_read", COUNTER, "bytes", "What passes have read."),
    number("log-cleaner", "bytes_written", COUNTER, "bytes", "What passes have written."),
    number("log-cleaner", "max_dirty_percent", GAUGE, "percent", "Of all logs, the largest share that is not compacted."),
    number("log-cleaner", "uncleanable_partitions", GAUGE, "partitions", "Partitions whose logs cannot be compacted, and are left alone."),
    number("log-cleaner", "max_compaction_delay_ms", GAUGE, "milliseconds", "Of all logs, how long the one that is most overdue has been beyond max.compaction.lag.ms."),
    number("log-cleaner", "buffer_utilization_percent", GAUGE, "percent", "How full the fullest map of keys was in the last pass."),
    number("log-dir", "free_bytes", GAUGE, "bytes", "Room on the disk of the log directory, when it was last measured (ottla.disk.check.interval.ms)."),
    number("opentelemetry", "spans_sent", COUNTER, "spans", "Spans of traced requests that a collector took (ottla.otel.endpoint)."),
    number("opentelemetry", "spans_lost", COUNTER, "spans", "Spans that it did not take, or of which there were too many at a time."),
    number("partition", "batches_appended", COUNTER, "batches", "Batches that were written to the log."),
    number("partition", "bytes_appended", COUNTER, "bytes", "What was written to the log."),
    number("partition", "failed_isr_updates", COUNTER, "updates", "Changes of the ISR that the controller refused, or was not asked in time."),
    number("partition", "isr_expansions", COUNTER, "changes", "Changes that put a replica into the ISR."),
    number("partition", "isr_shrinks", COUNTER, "changes", "Changes that put a replica out of the ISR."),
    number("partition", "under_min_isr", GAUGE, "partitions", "Partitions led here with fewer replicas in sync than min.insync.replicas."),
    number("partition", "under_replicated", GAUGE, "partitions", "Partitions led here whose ISR lacks a replica."),
    number("replica-fetcher", "fetches", COUNTER, "requests", "Fetches that were sent to leaders."),
    number("replica-fetcher", "bytes_fetched", COUNTER, "bytes", "Records that were fetched from leaders."),
    number("replica-fetcher", "failed_partitions", GAUGE, "partitions", "Partitions that are not fetched, as their logs cannot follow their leaders'."),
];

/// Every budget that a node shows.
pub const BUDGETS: &[Budget] = &[
    Budget {
        name: "request-memory",
        meaning: "Frames of requests to the broker, from their first bytes until they are answered (queued.max.request.bytes).",
    },
    Budget {
        name: "decoded-memory",
        meaning: "What large requests to the broker are decoded into (as much again).",
    },
    Budget { name: "waiting-polls", meaning: "Fetches that wait for records (as much again)." },
    Budget {
        name: "cluster-answers",
        meaning: "Answers to Metadata, ListGroups and DescribeLogDirs of more than 64 KiB until they are encoded (as much again).",
    },
    Budget {
        name: "named-answers",
        meaning: "Answers to other requests that name 4096 things or more, until they are encoded (as much again).",
    },
    Budget {
        name: "members-memory",
        meaning: "What the members of classic groups offered and were assigned (as much again).",
    },
    Budget {
        name: "intercepted-fetches",
        meaning: "What interceptors left of what is fetched, until it is on its way (as much again).",
    },
    Budget {
        name: "intercepted-batches",
        meaning: "Batches while interceptors see them: decompressed, and written anew (as much again).",
    },
    Budget {
        name: "controller-request-memory",
        meaning: "As request-memory, of the controller's listeners.",
    },
    Budget {
        name: "controller-decoded-memory",
        meaning: "As decoded-memory, of the controller's listeners.",
    },
];

const PREFACE: &str = "\
# Metrics

<!-- Written from the code by a test: OTTLA_BLESS=1 cargo test --test tidy -->

What `/metrics` on the console (`127.0.0.1:8080`, `--console HOST:PORT|off`) tells Prometheus: in its text format, or as OpenMetrics 1.0
where the request's `Accept` prefers that. Each line has the label `node`, the id of the node: the nodes of a process share one
exposition. Counters begin at 0 with the process; what was counted of what is gone stays counted. A dashboard for Grafana is
[grafana/ottla.json](grafana/ottla.json).

The number of lines does not grow with partitions or connections. With topics it grows up to 500, those with the most traffic:
`/metrics?detail=topics` tells of all, `/metrics?detail=partitions` of each replica too, and `topic=NAME` beside that of one topic alone.

## Kafka's

Under the names that the [JMX exporter](https://github.com/prometheus/jmx_exporter) gives Kafka's own metrics by its examples of rules
(`kafka-2_0_0.yml`, `kafka-kraft-3_0_0.yml`), so that panels made for those find them; the two of `socket-server-metrics` as other widespread rules
do, which make the listener a label. `TotalTimeMs` and its parts are summaries here: what the exporter calls `_count_total` is their
`_count`. What Kafka has and this list has not, is not known here, or means nothing here.

";

const OWN: &str = "
## Ottla's

`kind` is a kind of actor, as `ottla tree` and `/tree` show them in parentheses; the actors of a kind are summed (of what has \"most\" or
\"longest\" in its meaning, the largest counts). What each of them shows for itself is in `/tree`, last section.

";

const REQUESTS: &str = "
### One request

Each request has an id, such as `17.42`: the 42nd of the connection whose name in the tree ends with `#17`. What an actor of the kit's or a blocking job says
in the log in the course of it names it (`request=17.42`), and so does `ottla trace` beside each message that was sent for it, from actor to actor. One
that takes `ottla.slow.request.ms` is told of in the log, with the parts of its time. Where `ottla.otel.endpoint` is given, `ottla.otel.share` of all
requests go to a collector of OpenTelemetry's as traces: the request with its parts, and each actor that handled a message for it.
";

const TREE: &str = "
### Actors

What `/tree` has of each actor, whatever its kind; `ottla tree` draws what is unusual of it. `/tree?under=ACTOR` has one actor and those
below it, `depth=N` and `filter=TEXT` beside it fewer of them, as the options of `ottla tree`; `/top?sort=KEY&limit=N` the first in an
order, as `ottla top`.

| Name | Meaning |
|---|---|
| `path`, `name`, `kind`, `bulkhead`, `children` | Its place in the tree, what it is, on which threads it runs, and what it supervises. |
| `status`, `state` | running, restarting or offline; its state in one line. |
| `generation`, `age_ms`, `place_age_ms` | The how manyth incarnation it is, how long this one has lived, and how long ago the first one began. |
| `restarts`, `restarted` | How often it was restarted; the last eight, the newest last, with generation, how long ago, and the cause. |
| `last_failure`, `last_failure_ago_ms`, `backtrace` | The last failure with all its causes, and the calls that led to it where it was a panic. |
| `mailbox_depth`, `mailbox_high` | Messages that wait, and the most that ever waited. |
| `credits` | Bytes of request memory that it has taken and that are not given back yet, wherever the request is that they are for; of the other budgets there are only the sums below `Budgets`. Custom actors count what they take by `Cx::credits`. |
| `handled`, `messages` | Messages handled, and how many of each name. |
| `in_hand`, `in_hand_ms`, `stuck` | The message that is being handled, for how long, and whether that is for too long. |
| `busy_micros`, `busy_share`, `busy_share_recent` | How long it had a message in hand, and what share that is of its age and of the last 10 to 20 s. |
| `p50_micros`, `p99_micros`, `max_micros` | Handling times. One message in 16 is timed; while it is slow, each. Of the others those are seen that take longer than two ticks of the kernel's coarse clock (a tick is 1 to 10 ms), less one tick. |
| `fault` | What somebody has set on purpose (`ottla fault`). |
| `numbers` | Its own numbers, above. |
";

fn labels(family: &Family) -> String {
    let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    labels.join(", ")
}

/// The whole document. A test holds docs/METRICS.md to it.
pub fn document() -> String {
    let mut text = String::from(PREFACE);
    text += "| Name | Type | Unit | Labels | In Kafka | Meaning |\n|---|---|---|---|---|---|\n";
    for OfKafka { family, bean, .. } in kafka::all() {
        let Family { name, kind, unit, help, .. } = family;
        let labels = labels(family);
        let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | `{bean}` | {help} |");
    }
    text += OWN;
    text += "| Name | Type | Unit | Labels | Meaning |\n|---|---|---|---|---|\n";
    for family in families() {
        let Family { name, kind, unit, help, .. } = family;
        let labels = labels(&family);
        let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
    }
    text += "\n### Numbers of actors\n\nCounters in `ottla_actor_count_total{kind=\"...\",name=\"...\"}`, gauges in `ottla_actor_number`, both in `numbers` in `/tree`. Custom actors add their own.\n\n\
        | Kind | Name | Type | Unit | Meaning |\n|---|---|---|---|---|\n";
    for Number { of, name, kind, unit, meaning } in NUMBERS {
        let _ = writeln!(text, "| `{of}` | `{name}` | {kind} | {unit} | {meaning} |");
    }
    text += "\n### Budgets\n\n`ottla_credits_limit_bytes{name=\"...\"}` and its neighbours, in bytes.\n\n| Name | Of what |\n|---|---|\n";
    for Budget { name, meaning } in BUDGETS {
        let _ = writeln!(text, "| `{name}` | {meaning} |");
    }
    text += REQUESTS;
    text += TREE;
    text
}
