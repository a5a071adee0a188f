//! A topic's settings, resolved: its own, else the broker's, else Kafka's default.

use std::collections::BTreeMap;

use super::setting::Setting;
use super::value::Value;
use super::values::Values;
use super::{Resource, Type};

/// The value in force for a topic or a group. An override that cannot be read counts as absent.
pub(super) fn resolve(
    setting: &'static Setting,
    values: &Values,
    overrides: &BTreeMap<String, String>,
) -> Option<Value> {
    let own = overrides.get(setting.name).and_then(|text| setting.parse(text).ok());
    own.or_else(|| inherited(setting, values))
        .or_else(|| setting.default.and_then(|text| setting.parse(text).ok()))
}

/// The first of the broker's synonyms that has a value, in this setting's unit and type.
fn inherited(setting: &'static Setting, values: &Values) -> Option<Value> {
    let (synonym, value) = setting
        .synonyms
        .iter()
        .find_map(|synonym| values.get(synonym.name).map(|value| (synonym, value)))?;
    let scaled = |number: i64| number.saturating_mul(synonym.factor);
    let unlimited =
        |number: i64| if setting.name == "retention.ms" { number.max(-1) } else { number };
    Some(match (setting.kind, value) {
        (Type::Long, Value::Int(number)) => Value::Long(unlimited(scaled(i64::from(*number)))),
        (Type::Long, Value::Long(number)) => Value::Long(unlimited(scaled(*number))),
        // The broker lists assignors, a group has one of them.
        (Type::String, Value::List(names)) => Value::Text(names.first()?.clone()),
        _ => value.clone(),
    })
}

/// What happens to old records. Neither: they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// The codec that batches are stored with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// The one they arrive with.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// All of a topic's settings, typed. Sizes in bytes; -1 means no limit where Kafka says so.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    pub cleanup_policy: CleanupPolicy,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_type: CompressionType,
    pub compression_zstd_level: i32,
    pub delete_retention_ms: i64,
    pub errors_deadletterqueue_group_enable: bool,
    pub file_delete_delay_ms: i64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub follower_replication_throttled_replicas: Vec<String>,
    pub index_interval_bytes: i32,
    pub leader_replication_throttled_replicas: Vec<String>,
    pub local_retention_bytes: i64,
    pub local_retention_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub max_decompressed_message_bytes: i32,
    pub max_message_bytes: i32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    pub preallocate: bool,
    pub remote_copy_lag_bytes: i64,
    pub remote_copy_lag_ms: i64,
    pub remote_log_copy_disable: bool,
    pub remote_log_delete_on_disable: bool,
    pub remote_storage_enable: bool,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub segment_bytes: i32,
    pub segment_index_bytes: i32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub unclean_leader_election_enable: bool,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig::resolve(&Values::default(), &BTreeMap::new())
    }
}

/// What has to be decompressed whole, now or when the topic is compacted, may take this at a time, or so many times the
/// topic's largest batch.
const DECOMPRESSED: usize = 32 << 20;
const DECOMPRESSED_RATIO: usize = 16;

impl TopicConfig {
    /// As large may a batch become that is held whole.
    pub fn held_whole(&self) -> usize {
        let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let ratio = size(self.max_message_bytes).saturating_mul(DECOMPRESSED_RATIO);
        size(self.max_decompressed_message_bytes).min(ratio.max(DECOMPRESSED))
    }

    /// The topic's own settings over the broker's. What cannot be read falls back: it was checked when it was set, and
    /// a partition must not fail for it now.
    pub fn resolve(values: &Values, overrides: &BTreeMap<String, String>) -> TopicConfig {
        let r = Resolver { values, overrides };
        let policies = r.list("cleanup.policy");
        let has_policy = |name: &str| policies.iter().any(|policy| policy == name);
        TopicConfig {
            cleanup_policy: CleanupPolicy {
                delete: has_policy("delete"),
                compact: has_policy("compact"),
            },
            compression_gzip_level: r.int("compression.gzip.level"),
            compression_lz4_level: r.int("compression.lz4.level"),
            compression_type: r.compression_type(),
            compression_zstd_level: r.int("compression.zstd.level"),
            delete_retention_ms: r.long("delete.retention.ms"),
            errors_deadletterqueue_group_enable: r.boolean("errors.deadletterqueue.group.enable"),
            file_delete_delay_ms: r.long("file.delete.delay.ms"),
            flush_messages: r.long("flush.messages"),
            flush_ms: r.long("flush.ms"),
            follower_replication_throttled_replicas: r
                .list("follower.replication.throttled.replicas"),
            index_interval_bytes: r.int("index.interval.bytes"),
            leader_replication_throttled_replicas: r.list("leader.replication.throttled.replicas"),
            local_retention_bytes: r.long("local.retention.bytes"),
            local_retention_ms: r.long("local.retention.ms"),
            max_compaction_lag_ms: r.long("max.compaction.lag.ms"),
            max_decompressed_message_bytes: r.int("max.decompressed.message.bytes"),
            max_message_bytes: r.int("max.message.bytes"),
            message_timestamp_after_max_ms: r.long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: r.long("message.timestamp.before.max.ms"),
            message_timestamp_type: r.timestamp_type(),
            min_cleanable_dirty_ratio: r.double("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: r.long("min.compaction.lag.ms"),
            min_insync_replicas: r.int("min.insync.replicas"),
            preallocate: r.boolean("preallocate"),
            remote_copy_lag_bytes: r.long("remote.copy.lag.bytes"),
            remote_copy_lag_ms: r.long("remote.copy.lag.ms"),
            remote_log_copy_disable: r.boolean("remote.log.copy.disable"),
            remote_log_delete_on_disable: r.boolean("remote.log.delete.on.disable"),
            remote_storage_enable: r.boolean("remote.storage.enable"),
            retention_bytes: r.long("retention.bytes"),
            retention_ms: r.long("retention.ms"),
            segment_bytes: r.segment_bytes(),
            segment_index_bytes: r.int("segment.index.bytes"),
            segment_jitter_ms: r.long("segment.jitter.ms"),
            segment_ms: r.long("segment.ms"),
            unclean_leader_election_enable: r.boolean("unclean.leader.election.enable"),
        }
    }
}

struct Resolver<'a> {
    values: &'a Values,
    overrides: &'a BTreeMap<String, String>,
}

/// Each names a setting of the table and its type; resolving any topic's configuration asks for all of them.
impl Resolver<'_> {
    fn get(&self, name: &str) -> Option<Value> {
        resolve(Resource::Topic.setting(name)?, self.values, self.overrides)
    }

    fn boolean(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Value::Boolean(value)) => value,
            other => wrong_type(name, &other),
        }
    }

    fn int(&self, name: &str) -> i32 {
        match self.get(name) {
            Some(Value::Int(value)) => value,
            other => wrong_type(name, &other),
        }
    }

    fn long(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Value::Long(value)) => value,
            other => wrong_type(name, &other),
        }
    }

    fn double(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Value::Double(value)) => value,
            other => wrong_type(name, &other),
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::List(values)) => values,
            other => wrong_type(name, &other),
        }
    }

    fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Value::Text(value)) => value,
            other => wrong_type(name, &other),
        }
    }

    fn segment_bytes(&self) -> i32 {
        match self.get("internal.segment.bytes") {
            Some(Value::Int(bytes)) => bytes,
            _ => self.int("segment.bytes"),
        }
    }

    fn timestamp_type(&self) -> TimestampType {
        match self.text("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }

    fn compression_type(&self) -> CompressionType {
        match self.text("compression.type").as_str() {
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip,
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4,
            "zstd" => CompressionType::Zstd,
            _ => CompressionType::Producer,
        }
    }
}

fn wrong_type(name: &str, value: &Option<Value>) -> ! {
    panic!("{name} is declared with another type: {value:?}")
}
