//! What DescribeConfigs answers: every setting of a resource with its value, its source and the others it overrides.

use std::collections::BTreeMap;

use super::setting::{Setting, Type};
use super::value::Value;
use super::values::Values;
use super::{Resource, topic_config};

/// Where a value comes from, with the codes of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ConfigSource {
    Unknown = 0,
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicBrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

impl ConfigSource {
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// One value among those that could have been in force.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedSynonym {
    pub name: &'static str,
    /// `None` where the value is sensitive.
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// One setting, as DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    pub name: &'static str,
    /// `None` where there is none, or it is sensitive.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    pub kind: Type,
    /// The value in force first.
    pub synonyms: Vec<DescribedSynonym>,
    pub doc: &'static str,
}

impl Described {
    fn new(
        setting: &'static Setting,
        value: Option<String>,
        synonyms: Vec<DescribedSynonym>,
    ) -> Self {
        Described {
            name: setting.name,
            value: value.filter(|_| !setting.is_sensitive()),
            source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
            read_only: !setting.scope.is_dynamic(),
            sensitive: setting.is_sensitive(),
            kind: setting.kind,
            synonyms,
            doc: setting.doc,
        }
    }
}

/// Settings of brokers that stand for each other in different units, the most exact first.
pub(super) const UNITS: &[&[&str]] = &[
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
];

fn broker_synonyms(setting: &'static Setting) -> Vec<&'static str> {
    if setting.name == "log.flush.interval.ms" {
        return vec!["log.flush.interval.ms", "log.flush.scheduler.interval.ms"];
    }
    let unit = UNITS.iter().find(|names| names.contains(&setting.name));
    unit.map_or_else(|| vec![setting.name], |names| names.to_vec())
}

/// All values given for a broker's setting or its synonyms, by source and then by exactness. What stands before the
/// first value of the setting's own name is left out, as Kafka does.
fn broker_values(setting: &'static Setting, values: &Values) -> Vec<DescribedSynonym> {
    let mut found: Vec<DescribedSynonym> = Vec::new();
    for name in broker_synonyms(setting) {
        for (text, source) in values.sources(name) {
            let value = (!setting.is_sensitive()).then_some(text);
            found.push(DescribedSynonym { name, value, source });
        }
    }
    // Stable: within one source the more exact name stays first.
    found.sort_by_key(|synonym| synonym.source);
    let own = found.iter().position(|synonym| synonym.name == setting.name);
    found.split_off(own.unwrap_or(found.len()))
}

/// By its name, whether a setting is asked for. Only those are described.
pub type Wanted<'a> = &'a dyn Fn(&str) -> bool;

/// A broker: every setting that is not internal, and those that were given.
pub fn describe_broker(values: &Values, wanted: Wanted<'_>) -> Vec<Described> {
    let shown = |setting: &&Setting| {
        wanted(setting.name) && (!setting.internal || values.is_given(setting.name))
    };
    let describe = |setting: &'static Setting| {
        let value = values.get(setting.name).map(Value::to_string);
        Described::new(setting, value, broker_values(setting, values))
    };
    Resource::Broker.settings().filter(shown).map(describe).collect()
}

/// What is set for all brokers while they run.
pub fn describe_brokers(values: &Values, wanted: Wanted<'_>) -> Vec<Described> {
    let describe = |setting: &'static Setting| {
        let mut synonyms = broker_values(setting, values);
        synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBroker);
        let value = synonyms.first().and_then(|first| first.value.clone());
        Described::new(setting, value, synonyms)
    };
    values
        .given_for_all_brokers()
        .filter(|name| wanted(name))
        .filter_map(|name| Resource::Broker.setting(name))
        .map(describe)
        .collect()
}

/// A topic, with what was set for it over what the broker says.
pub fn describe_topic(
    values: &Values,
    overrides: &BTreeMap<String, String>,
    wanted: Wanted<'_>,
) -> Vec<Described> {
    describe_over_broker(Resource::Topic, ConfigSource::Topic, values, overrides, wanted)
}

/// A group, with what was set for it over what the broker says.
pub fn describe_group(
    values: &Values,
    overrides: &BTreeMap<String, String>,
    wanted: Wanted<'_>,
) -> Vec<Described> {
    let mut described =
        describe_over_broker(Resource::Group, ConfigSource::Group, values, overrides, wanted);
    for entry in described.iter_mut().filter(|entry| entry.synonyms.is_empty()) {
        // Where no broker's setting is the default, Kafka names the group's own.
        let value = Resource::Group.setting(entry.name).and_then(|setting| setting.default);
        if let Some(value) = value {
            let (value, source) = (Some(value.to_owned()), ConfigSource::Default);
            entry.synonyms.push(DescribedSynonym { name: entry.name, value, source });
        }
    }
    described
}

fn describe_over_broker(
    resource: Resource,
    source: ConfigSource,
    values: &Values,
    overrides: &BTreeMap<String, String>,
    wanted: Wanted<'_>,
) -> Vec<Described> {
    let is_shown = |setting: &&Setting| {
        let given = || setting.synonyms.iter().any(|synonym| values.is_given(synonym.name));
        wanted(setting.name)
            && (!setting.internal || overrides.contains_key(setting.name) || given())
    };
    let describe = |setting: &'static Setting| {
        let value =
            topic_config::resolve(setting, values, overrides).map(|value| value.to_string());
        let broker =
            setting.synonyms.first().and_then(|first| Resource::Broker.setting(first.name));
        let inherited = broker.map_or_else(Vec::new, |broker| broker_values(broker, values));
        let own = overrides.contains_key(setting.name).then(|| DescribedSynonym {
            name: setting.name,
            value: value.clone(),
            source,
        });
        Described::new(setting, value, own.into_iter().chain(inherited).collect())
    };
    resource.settings().filter(is_shown).map(describe).collect()
}

/// A client metrics subscription.
pub fn describe_client_metrics(
    overrides: &BTreeMap<String, String>,
    wanted: Wanted<'_>,
) -> Vec<Described> {
    let describe = |setting: &'static Setting| {
        let given = overrides.get(setting.name);
        let own = given.map(|text| DescribedSynonym {
            name: setting.name,
            value: Some(text.clone()),
            source: ConfigSource::ClientMetrics,
        });
        let value = given.cloned().or(setting.default.map(str::to_owned));
        Described::new(setting, value, own.into_iter().collect())
    };
    Resource::ClientMetrics.settings().filter(|s| wanted(s.name)).map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_for_is_not_described() {
        let (none, mut set) = (BTreeMap::new(), BTreeMap::new());
        for name in ["log.retention.ms", "log.roll.ms"] {
            set.insert(name.to_owned(), "1".to_owned());
        }
        let values = Values::default().with_dynamic(&set, &none).0;
        let names = |described: Vec<Described>| -> Vec<&str> {
            described.into_iter().map(|setting| setting.name).collect()
        };
        assert_eq!(names(describe_broker(&values, &|name| name == "node.id")), ["node.id"]);
        let roll = |name: &str| name == "log.roll.ms";
        assert_eq!(names(describe_brokers(&values, &roll)), ["log.roll.ms"]);
        let policy = |name: &str| name == "cleanup.policy";
        assert_eq!(names(describe_topic(&values, &none, &policy)), ["cleanup.policy"]);
        let timeout = |name: &str| name == "consumer.session.timeout.ms";
        let group = names(describe_group(&values, &none, &timeout));
        assert_eq!(group, ["consumer.session.timeout.ms"]);
        assert_eq!(names(describe_client_metrics(&none, &|name| name == "match")), ["match"]);
    }
}
