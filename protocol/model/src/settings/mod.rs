//! Every setting Kafka 4.4 knows, declared once: its type, default, bounds, scope, and whether this build honours it.
//! From here come the typed values a node runs on, what DescribeConfigs shows, what may be altered, and docs/CONFIG.md.

mod alter;
mod describe;
mod document;
mod error;
mod nearest;
mod setting;
mod tables;
mod topic_config;
mod value;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The one value of `replica.selector.class` that is honoured (KIP-392).
pub const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

pub use alter::{AlterError, Op, alter, refuse_unhonoured, validate_group, validate_topic};
pub use alter::{validate_broker, validate_broker_change, validate_client_metrics};
pub use describe::{ConfigSource, Described, DescribedSynonym, describe_broker, describe_brokers};
pub use describe::{Wanted, describe_client_metrics, describe_group, describe_topic};
pub use document::document;
pub use error::SettingError;
pub use nearest::nearest;
pub use setting::{Area, Check, Honoured, Scope, Setting, Synonym, Type};
pub use topic_config::{CleanupPolicy, CompressionType, TimestampType, TopicConfig};
pub use value::{Value, address_counts};
pub use values::Values;

/// What a configuration belongs to, with the codes of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum Resource {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl Resource {
    pub fn code(self) -> i8 {
        self as i8
    }

    pub fn from_code(code: i8) -> Option<Resource> {
        use Resource::*;
        [Topic, Broker, BrokerLogger, ClientMetrics, Group].into_iter().find(|r| r.code() == code)
    }

    pub fn name(self) -> &'static str {
        match self {
            Resource::Topic => "topic",
            Resource::Broker => "broker",
            Resource::BrokerLogger => "broker logger",
            Resource::ClientMetrics => "client metrics",
            Resource::Group => "group",
        }
    }

    /// The areas of its settings; a broker logger has none, its names are those of loggers.
    pub fn areas(self) -> &'static [Area] {
        match self {
            Resource::Topic => tables::TOPIC,
            Resource::Broker => tables::BROKER,
            Resource::BrokerLogger => &[],
            Resource::ClientMetrics => tables::CLIENT_METRICS,
            Resource::Group => tables::GROUP,
        }
    }

    /// Every setting there is for it, in the order of the tables.
    pub fn settings(self) -> impl Iterator<Item = &'static Setting> {
        self.areas().iter().flat_map(|area| area.settings)
    }

    pub fn setting(self, name: &str) -> Option<&'static Setting> {
        match self {
            Resource::Topic => TOPIC.get(name).copied(),
            Resource::Broker => BROKER.get(name).map(|known| known.setting),
            _ => self.settings().find(|setting| setting.name == name),
        }
    }

    /// The error for a name that is none of its settings, with the one that was probably meant.
    pub fn unknown(self, name: &str) -> SettingError {
        let nearest = nearest(name, self.settings().map(|setting| setting.name));
        SettingError::Unknown { of: self.name(), name: value::shortened(name), nearest }
    }
}

/// A broker's setting with its default, read once.
struct Known {
    setting: &'static Setting,
    default: Option<Value>,
}

static BROKER: LazyLock<BTreeMap<&str, Known>> = LazyLock::new(|| {
    let known = |setting: &'static Setting| {
        let default = setting.default.and_then(|text| setting.parse(text).ok());
        (setting.name, Known { setting, default })
    };
    Resource::Broker.settings().map(known).collect()
});

static TOPIC: LazyLock<BTreeMap<&str, &Setting>> =
    LazyLock::new(|| Resource::Topic.settings().map(|setting| (setting.name, setting)).collect());

/// The name without `listener.name.NAME.`, by which settings are given for one listener.
fn listener_base(name: &str) -> Option<&str> {
    let (listener, base) = name.strip_prefix("listener.name.")?.split_once('.')?;
    if listener.is_empty() {
        return None;
    }
    if Resource::Broker.setting(base).is_some() {
        return Some(base);
    }
    // Settings of one SASL mechanism stand behind its name, too.
    base.split_once('.').map(|(_, rest)| rest)
}

impl Setting {
    /// Reads a value and refuses one that this build would not live up to: of a setting that is not honoured, only
    /// the default is accepted, as clients and ready-made configurations often spell defaults out.
    pub fn accept(&self, text: &str) -> Result<Value, SettingError> {
        let value = self.parse(text)?;
        let is_default =
            || self.default.is_some_and(|default| self.parse(default).as_ref() == Ok(&value));
        if self.honoured != Honoured::No || is_default() {
            return Ok(value);
        }
        let shown = if self.is_sensitive() { "[hidden]" } else { text.trim() };
        Err(SettingError::NotHonoured {
            name: self.name.to_owned(),
            value: value::shortened(shown),
            default: self.default,
        })
    }
    /// Reads a value that is set while the node runs.
    pub fn accept_dynamic(&self, text: &str) -> Result<Value, SettingError> {
        let value = self.accept(text)?;
        match self.honoured {
            Honoured::AtStart => Err(SettingError::AtStart { name: self.name }),
            _ => Ok(value),
        }
    }
}
