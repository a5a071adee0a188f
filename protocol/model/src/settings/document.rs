//! docs/CONFIG.md, written from the tables.

use std::fmt::Write;

use super::Resource;
use super::setting::{Area, Check, Honoured, Scope, Setting};

/// The whole document. A test holds docs/CONFIG.md to it.
pub fn document() -> String {
    let mut text = String::from(PREFACE);
    for (resource, title) in SECTIONS {
        let _ = writeln!(text, "\n## {title}");
        for area in resource.areas() {
            write_area(&mut text, area, resource.areas().len() > 1);
        }
    }
    text
}

const PREFACE: &str = "\
# Settings

<!-- Written from the tables in protocol/model/src/settings/tables by a test; OTTLA_BLESS=1 cargo test -p ottla-model -->

Ottla takes Kafka 4.4's settings by Kafka's own names. They are given in Kafka's `server.properties` (`--properties FILE`), in the
`[settings]` of a cluster's TOML file (`--config FILE`), or one by one (`--set KEY=VALUE`).

- **Honoured** says whether this build does what the setting says. A setting that is not honoured yet is refused by its name,
  unless it is given Kafka's default, which many ready-made configurations spell out; the log then says that it changes nothing.
  (Kafka's default of `group.coordinator.rebalance.protocols` names protocols that are not served yet: where it is given, it must say `classic`.)
  *At start* means that it cannot be altered while the node runs, though Kafka could.
- A name that Kafka does not know is refused, with the nearest right name. (Kafka passes such names on to plugins without a word.)
- **Scope**: `node` is read at start; `broker` can also be altered for one broker while it runs, `cluster` for one or for all of them.
- Threads: Kafka's thread counts size the pools that do the same work here. Where none is given they are fitted to the machine's cores;
  nodes in one process share the pools, and the largest number counts. In a program of one's own the threads are that program's,
  and a warning names such a setting that is given.
- What is wrong is told before anything starts, each with its place, the allowed values and the nearest right name: first all that is wrong
  with a file's own keys, then all settings that are wrong by themselves, then all that do not fit together.

With nothing configured, `ottla start` runs node 1 as broker and controller: data in `./ottla-data`, clients on `127.0.0.1:9092`, the
controller on the next port. Kafka's internal topics get as many replicas as there are brokers, three at most; in a `server.properties`
Kafka's own defaults hold.

## The file of a cluster

The same file on each machine; `--node ID` says which node to run, without it all of them run in one process.

```toml
[cluster]
name = \"orders\"                   # the cluster id follows from the name, or give it: id = \"...\"

[settings]                        # any setting by its own name, for all nodes; quotes around the name are free
default.replication.factor = 3
\"min.insync.replicas\" = 2

[[node]]
id = 1
roles = [\"broker\", \"controller\"]  # the default
listen = \"127.0.0.1:9092\"         # where clients and brokers connect
controller = \"127.0.0.1:9192\"     # where controllers and brokers find this controller
advertised = \"localhost:9092\"     # what clients are told, if it is not `listen`
data = [\"data/1\"]                 # the log directories; ottla-data/ID unless given
rack = \"a\"
settings = { log.retention.hours = 24 }   # over those for all nodes

[[node]]
id = 2
roles = [\"broker\"]
listen = \"127.0.0.1:9093\"
```

Without a name the cluster's id follows from the controllers' addresses: a node that is added after one of them has moved is then
refused by the others, unless `id` is given. Directories that are formatted keep the id that they have.

The settings that these keys say (`node.id`, `process.roles`, `listeners`, `advertised.listeners`, `controller.*` addresses, `log.dirs`,
`broker.rack`) are not given beside them. All clients' and brokers' connections use the listener PLAINTEXT, the controllers' CONTROLLER.
";

const SECTIONS: [(Resource, &str); 4] = [
    (Resource::Broker, "Nodes"),
    (Resource::Topic, "Topics"),
    (Resource::Group, "Groups"),
    (Resource::ClientMetrics, "Client metrics subscriptions"),
];

fn write_area(text: &mut String, area: &Area, with_title: bool) {
    if with_title {
        let _ = writeln!(text, "\n### {}", area.title);
    }
    text.push_str("\n| Setting | Type | Default | Allowed | Scope | Honoured | What it does |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    for setting in
        area.settings.iter().filter(|setting| !setting.internal || setting.honoured != Honoured::No)
    {
        write_row(text, setting);
    }
}

fn write_row(text: &mut String, setting: &Setting) {
    let default = match setting.default {
        None => "none".to_owned(),
        Some("") => "empty".to_owned(),
        Some(value) => format!("`{value}`"),
    };
    let from: Vec<String> =
        setting.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
    let default =
        if from.is_empty() { default } else { format!("{} ({default})", from.join(", ")) };
    let _ = writeln!(
        text,
        "| `{}` | {} | {default} | {} | {} | {} | {} |",
        setting.name,
        setting.kind.name().to_lowercase(),
        allowed(setting.check),
        scope(setting.scope),
        match setting.honoured {
            Honoured::No => "no",
            Honoured::AtStart => "at start",
            Honoured::Yes => "yes",
        },
        setting.doc.replace('|', "\\|"),
    );
}

fn allowed(check: Check) -> String {
    match check {
        Check::Any => String::new(),
        Check::AtLeast(min) => format!("{min} or more"),
        Check::Between(min, max) => format!("{min} to {max}"),
        Check::BetweenOr(min, max, or) => format!("{min} to {max}, or {or}"),
        Check::Fraction(min, max) => format!("{min} to {max}"),
        Check::OneOf(names) | Check::OneOfIgnoreCase(names) => names.join(", "),
        Check::NotEmpty => "not empty".to_owned(),
        Check::AddressCounts => "ADDRESS:COUNT, ...".to_owned(),
        Check::ThrottledReplicas => "PARTITION:BROKER, ... or *".to_owned(),
        Check::OffsetReset => "latest, earliest, by_duration:PnDTnHnMn.nS".to_owned(),
    }
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Node => "node",
        Scope::Broker => "broker",
        Scope::Cluster => "cluster",
        Scope::Topic => "topic",
        Scope::Group => "group",
        Scope::ClientMetrics => "subscription",
    }
}
