//! What may be altered while the cluster runs: IncrementalAlterConfigs and AlterConfigs, with Kafka's answers.

use std::collections::{BTreeMap, BTreeSet};

use super::error::SettingError;
use super::setting::{Scope, Setting, Type};
use super::value::Value;
use super::values::{Values, refused_name};
use super::{Resource, topic_config};
use crate::ErrorCode;

/// What IncrementalAlterConfigs does to one setting, with the codes of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Op {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

impl Op {
    pub fn from_code(code: i8) -> Option<Op> {
        [Op::Set, Op::Delete, Op::Append, Op::Subtract].into_iter().find(|op| *op as i8 == code)
    }
}

/// Why an alteration is refused; the whole resource stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    #[error("Error due to duplicate config keys")]
    DuplicateKeys,
    #[error("Null value not supported for : {0}")]
    NullValue(String),
    #[error("Unknown operations type {0}")]
    UnknownOp(i8),
    #[error("Can't {op} to key {name} because its type is not LIST.")]
    NotAList { op: &'static str, name: String },
    /// What Kafka's broker says before it asks the controller.
    #[error("Config value {op} is not allowed for config key: {name}")]
    NotAListOfBrokers { op: String, name: String },
    #[error("Unknown config name: {0}")]
    UnknownToBrokers(String),
    #[error(
        "The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes."
    )]
    ValueTooLarge,
    #[error("Cannot update these configs dynamically: [{0}]")]
    NotDynamic(String),
    #[error(
        "Cannot update these configs at default cluster level, broker id must be specified: [{0}]"
    )]
    PerBroker(String),
    /// A broker's setting has a wrong value: Kafka answers INVALID_REQUEST there.
    #[error(transparent)]
    Broker(SettingError),
    #[error(transparent)]
    Setting(#[from] SettingError),
}

impl AlterError {
    pub fn code(&self) -> ErrorCode {
        match self {
            AlterError::DuplicateKeys
            | AlterError::NullValue(_)
            | AlterError::UnknownOp(_)
            | AlterError::NotDynamic(_)
            | AlterError::PerBroker(_)
            | AlterError::Broker(_) => ErrorCode::InvalidRequest,
            AlterError::NotAList { .. }
            | AlterError::NotAListOfBrokers { .. }
            | AlterError::UnknownToBrokers(_)
            | AlterError::ValueTooLarge
            | AlterError::Setting(_) => ErrorCode::InvalidConfig,
        }
    }
}

/// Works out what each operation leaves behind: `None` deletes. Operations that change nothing are in the result too.
/// The outcome must then be validated as a whole.
pub fn alter(
    resource: Resource,
    current: &BTreeMap<String, String>,
    ops: &[(&str, Op, Option<&str>)],
) -> Result<BTreeMap<String, Option<String>>, AlterError> {
    let names: BTreeSet<&str> = ops.iter().map(|(name, ..)| *name).collect();
    if names.len() != ops.len() {
        return Err(AlterError::DuplicateKeys);
    }
    let nulls: Vec<&str> = ops
        .iter()
        .filter(|(_, op, value)| *op != Op::Delete && value.is_none())
        .map(|(name, ..)| *name)
        .collect();
    if !nulls.is_empty() {
        return Err(AlterError::NullValue(nulls.join(",")));
    }
    let mut altered = BTreeMap::new();
    for (name, op, value) in ops {
        let new = apply(resource, current, name, *op, value.unwrap_or_default())?;
        if new.as_ref().is_some_and(|new| new.encode_utf16().count() > MAX_VALUE_LENGTH) {
            return Err(AlterError::ValueTooLarge);
        }
        altered.insert((*name).to_owned(), new);
    }
    Ok(altered)
}

const PER_IP: &str = "max.connections.per.ip";
const PER_IP_OVERRIDES: &str = "max.connections.per.ip.overrides";
const CLEANER_THREADS: &str = "log.cleaner.threads";
const MAX_VALUE_LENGTH: usize = 32_767;

fn apply(
    resource: Resource,
    current: &BTreeMap<String, String>,
    name: &str,
    op: Op,
    value: &str,
) -> Result<Option<String>, AlterError> {
    let op_name = match op {
        Op::Set => return Ok(Some(value.to_owned())),
        Op::Delete => return Ok(None),
        Op::Append => "APPEND",
        Op::Subtract => "SUBTRACT",
    };
    let setting = resource.setting(name).filter(|setting| setting.kind == Type::List);
    let Some(setting) = setting else {
        let name = name.to_owned();
        return Err(match resource {
            Resource::Broker if resource.setting(&name).is_none() => {
                AlterError::UnknownToBrokers(name)
            }
            Resource::Broker => AlterError::NotAListOfBrokers { op: op_name.to_lowercase(), name },
            _ => AlterError::NotAList { op: op_name, name },
        });
    };
    let start = current.get(name).map(String::as_str).or(setting.default).unwrap_or_default();
    let mut elements: Vec<&str> = start.split(',').filter(|element| !element.is_empty()).collect();
    match op {
        Op::Append => append(&mut elements, split(value)),
        _ => subtract(&mut elements, split(value)),
    }
    Ok(Some(elements.join(",")))
}

/// As Java does: what is empty at the end is not there, unless there is nothing else.
fn split(value: &str) -> impl Iterator<Item = &str> {
    let kept = value.trim_end_matches(',');
    let none = kept.is_empty() && !value.is_empty();
    kept.split(',').filter(move |_| !none)
}

/// Each that is not there yet.
fn append<T: Copy + Ord>(elements: &mut Vec<T>, more: impl Iterator<Item = T>) {
    let mut known: BTreeSet<T> = elements.iter().copied().collect();
    elements.extend(more.filter(|element| known.insert(*element)));
}

/// Of each the first, as often as it is named.
fn subtract<T: Copy + Ord>(elements: &mut Vec<T>, less: impl Iterator<Item = T>) {
    let mut named: BTreeMap<T, usize> = BTreeMap::new();
    less.for_each(|element| *named.entry(element).or_default() += 1);
    elements.retain(|element| match named.get_mut(element) {
        Some(times) if *times > 0 => {
            *times -= 1;
            false
        }
        _ => true,
    });
}

/// Checks all settings of one topic together, as they will be: names, values, and what contradicts itself.
pub fn validate_topic(
    values: &Values,
    overrides: &BTreeMap<String, String>,
) -> Result<(), AlterError> {
    validate_each(Resource::Topic, overrides)?;
    let long = |name: &str| {
        let setting = Resource::Topic.setting(name)?;
        match topic_config::resolve(setting, values, overrides)? {
            Value::Long(value) => Some(value),
            _ => None,
        }
    };
    let (min, max) = (long("min.compaction.lag.ms"), long("max.compaction.lag.ms"));
    match (min, max) {
        (Some(min), Some(max)) if min > max => Err(SettingError::conflict(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ))
        .into()),
        _ => Ok(()),
    }
}

pub fn validate_group(overrides: &BTreeMap<String, String>) -> Result<(), AlterError> {
    validate_each(Resource::Group, overrides)
}

pub fn validate_client_metrics(overrides: &BTreeMap<String, String>) -> Result<(), AlterError> {
    validate_each(Resource::ClientMetrics, overrides)
}

fn validate_each(
    resource: Resource,
    overrides: &BTreeMap<String, String>,
) -> Result<(), AlterError> {
    for (name, text) in overrides {
        let setting = resource.setting(name).ok_or_else(|| resource.unknown(name))?;
        setting.parse(text)?;
    }
    Ok(())
}

/// Checks what is to be set for one broker, or (`all_brokers`) for all of them, while they run. Only what is altered is
/// looked at. A name that Kafka does not know is refused, which Kafka does not do.
pub fn validate_broker(
    all_brokers: bool,
    altered: &BTreeMap<String, Option<String>>,
) -> Result<(), AlterError> {
    let joined = |refused: &dyn Fn(&Setting) -> bool| {
        let named = |name: &String| {
            Resource::Broker.setting(name).filter(|s| refused(s)).map(|setting| setting.name)
        };
        altered.keys().filter_map(named).collect::<Vec<_>>().join(", ")
    };
    let fixed = joined(&|setting| !setting.scope.is_dynamic());
    if !fixed.is_empty() {
        return Err(AlterError::NotDynamic(fixed));
    }
    for (name, text) in altered {
        let Some(text) = text else { continue };
        let setting = Resource::Broker.setting(name).ok_or_else(|| refused_name(name, text))?;
        setting.parse(text).map_err(AlterError::Broker)?;
    }
    let per_broker = joined(&|setting| setting.scope == Scope::Broker);
    if all_brokers && !per_broker.is_empty() {
        return Err(AlterError::PerBroker(per_broker));
    }
    Ok(())
}

/// Checks what is to be set for one broker against what it runs on (Kafka: `LogCleaner.validateReconfiguration` and
/// `KafkaConfig.validateValues`).
pub fn validate_broker_change(
    values: &Values,
    altered: &BTreeMap<String, Option<String>>,
) -> Result<(), AlterError> {
    if closes_to_all(values, altered) {
        let why =
            format!("{PER_IP} can be set to zero only if {PER_IP_OVERRIDES} property is set.");
        return Err(AlterError::Broker(SettingError::conflict(why)));
    }
    let Some(Some(text)) = altered.get(CLEANER_THREADS) else { return Ok(()) };
    let (now, new) = (values.int(CLEANER_THREADS), text.trim().parse::<i32>().unwrap_or(0));
    let why = if new < 1 {
        "Log cleaner threads should be at least 1".to_owned()
    } else if new < now / 2 {
        format!("Log cleaner threads cannot be reduced to less than half the current value {now}")
    } else if new > now.saturating_mul(2) {
        format!(
            "Log cleaner threads cannot be increased to more than double the current value {now}"
        )
    } else {
        return Ok(());
    };
    Err(AlterError::Broker(SettingError::conflict(why)))
}

/// Whether no address could connect any more.
fn closes_to_all(values: &Values, altered: &BTreeMap<String, Option<String>>) -> bool {
    let given = |name: &str| altered.get(name).and_then(Option::as_deref).map(str::trim);
    let zero = given(PER_IP).map(|text| text.parse() == Ok(0)).unwrap_or(values.int(PER_IP) == 0);
    let overrides = given(PER_IP_OVERRIDES).unwrap_or(values.text(PER_IP_OVERRIDES));
    (altered.contains_key(PER_IP) || altered.contains_key(PER_IP_OVERRIDES))
        && zero
        && overrides.is_empty()
}

/// Refuses, by name, what this build would accept without living up to it.
pub fn refuse_unhonoured<'a>(
    resource: Resource,
    altered: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), AlterError> {
    for (name, text) in altered {
        if let Some(setting) = resource.setting(name) {
            setting.accept_dynamic(text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::value::repeats;
    use super::*;
    use std::cell::Cell;
    use std::cmp::Ordering;

    /// Counts how often it is compared.
    #[derive(Clone, Copy)]
    struct Counted<'a>(usize, &'a Cell<usize>);

    impl Ord for Counted<'_> {
        fn cmp(&self, other: &Self) -> Ordering {
            self.1.set(self.1.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted<'_> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Counted<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }

    impl Eq for Counted<'_> {}

    #[test]
    fn long_lists_are_not_compared_each_with_each() {
        const ELEMENTS: usize = 8_000;
        let compared = Cell::new(0);
        let all = || (0..ELEMENTS).map(|n| Counted(n * 7_919 % ELEMENTS, &compared));
        assert!(!repeats(&all().collect::<Vec<_>>()));
        let mut elements = Vec::new();
        append(&mut elements, all().chain(all()));
        assert_eq!(elements.len(), ELEMENTS);
        subtract(&mut elements, all().skip(1));
        assert_eq!(elements.len(), 1);
        assert!(compared.get() < ELEMENTS * 100, "{} comparisons", compared.get());
    }

    #[test]
    fn elements_are_split_as_java_does() {
        let cases: [(&str, &[&str]); 6] = [
            ("a,b", &["a", "b"]),
            ("a,,b", &["a", "", "b"]),
            ("a,,", &["a"]),
            (",a", &["", "a"]),
            (",", &[]),
            ("", &[""]),
        ];
        for (value, elements) in cases {
            assert_eq!(split(value).collect::<Vec<_>>(), elements, "{value:?}");
        }
    }

    #[test]
    fn each_time_that_an_element_is_subtracted_one_goes() {
        let mut elements = vec!["a", "b", "a", "c", "a"];
        subtract(&mut elements, ["a", "a", "c", "d"].into_iter());
        assert_eq!(elements, ["b", "a"]);
    }
}
