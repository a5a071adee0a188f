//! What topics and brokers are set to.

use model::ErrorCode;
use runtime::Map;
use wire::describe_configs_request::DescribeConfigsResource;
use wire::{DescribeConfigsRequest, DescribeConfigsResponse};

use crate::error::Refused;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Whose configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigsOf {
    Topic(String),
    /// What it was started with only the broker itself knows.
    Broker(i32),
}

/// Who set a config; the first goes before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigSource {
    Topic,
    Broker,
    AllBrokers,
    StartedWith,
    Default,
    Other,
}

impl ConfigSource {
    fn of(code: i8) -> ConfigSource {
        match code {
            1 => ConfigSource::Topic,
            2 => ConfigSource::Broker,
            3 => ConfigSource::AllBrokers,
            4 => ConfigSource::StartedWith,
            5 => ConfigSource::Default,
            _ => ConfigSource::Other,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            ConfigSource::Topic => "topic",
            ConfigSource::Broker => "broker",
            ConfigSource::AllBrokers => "all brokers",
            ConfigSource::StartedWith => "started with",
            ConfigSource::Default => "default",
            ConfigSource::Other => "other",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Absent where it is secret.
    pub value: Option<String>,
    pub is_secret: bool,
    pub read_only: bool,
    pub source: ConfigSource,
}

impl ConfigEntry {
    /// Whether nobody set it.
    pub fn is_default(&self) -> bool {
        self.source == ConfigSource::Default
    }
}

impl ConfigsOf {
    /// All of them.
    pub fn request(&self) -> DescribeConfigsRequest {
        let (resource_type, resource_name) = match self {
            ConfigsOf::Topic(name) => (TOPIC, name.clone()),
            ConfigsOf::Broker(id) => (BROKER, id.to_string()),
        };
        DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type,
                resource_name,
                configuration_keys: None,
                ..DescribeConfigsResource::default()
            }],
            ..DescribeConfigsRequest::default()
        }
    }

    pub(super) fn check(answer: &DescribeConfigsResponse) -> Result<(), Refused> {
        match answer.results.first() {
            Some(found) => Refused::check(found.error_code, found.error_message.clone()),
            None => Err(Refused::of(ErrorCode::UnknownServerError)),
        }
    }

    /// # Errors
    /// They are not told.
    pub fn told(answer: DescribeConfigsResponse) -> Result<Map<String, ConfigEntry>, Refused> {
        ConfigsOf::check(&answer)?;
        let configs = answer.results.into_iter().flat_map(|found| found.configs);
        let entries = configs.map(|config| {
            let entry = ConfigEntry {
                value: config.value,
                is_secret: config.is_sensitive,
                read_only: config.read_only,
                source: ConfigSource::of(config.config_source),
            };
            (config.name, entry)
        });
        Ok(entries.collect())
    }
}
