//! The settings of a node by who needs them, typed.

use crate::settings::{SettingError, Values};

/// Sockets, and what waits behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    pub threads: usize,
    pub io_threads: usize,
    /// -1 leaves it to the operating system.
    pub send_buffer_bytes: i32,
    pub receive_buffer_bytes: i32,
    pub request_max_bytes: i32,
    pub listen_backlog: i32,
    pub max_connections: i32,
    pub max_connections_per_ip: i32,
    /// By address, in the order given.
    pub max_connections_per_ip_overrides: Vec<(String, i32)>,
    /// Negative: never.
    pub connections_max_idle_ms: i64,
    pub queued_max_requests: i32,
    /// -1 is no limit.
    pub queued_max_request_bytes: i64,
    pub request_timeout_ms: i32,
    pub fetch_max_bytes: i32,
    pub fetch_session_slots: i32,
    pub max_request_partitions: i32,
    pub unstable_api_versions: bool,
}

impl NetworkConfig {
    pub(super) fn new(values: &Values) -> Result<NetworkConfig, SettingError> {
        Ok(NetworkConfig {
            threads: count(values.int("num.network.threads")),
            io_threads: count(values.int("num.io.threads")),
            send_buffer_bytes: values.int("socket.send.buffer.bytes"),
            receive_buffer_bytes: values.int("socket.receive.buffer.bytes"),
            request_max_bytes: values.int("socket.request.max.bytes"),
            listen_backlog: values.int("socket.listen.backlog.size"),
            max_connections: values.int("max.connections"),
            max_connections_per_ip: values.int("max.connections.per.ip"),
            max_connections_per_ip_overrides: overrides(
                values.text("max.connections.per.ip.overrides"),
            )?,
            connections_max_idle_ms: values.long("connections.max.idle.ms"),
            queued_max_requests: values.int("queued.max.requests"),
            queued_max_request_bytes: values.long("queued.max.request.bytes"),
            request_timeout_ms: values.int("request.timeout.ms"),
            fetch_max_bytes: values.int("fetch.max.bytes"),
            fetch_session_slots: values.int("max.incremental.fetch.session.cache.slots"),
            max_request_partitions: values.int("max.request.partition.size.limit"),
            unstable_api_versions: values.boolean("unstable.api.versions.enable"),
        })
    }
}

fn count(threads: i32) -> usize {
    usize::try_from(threads).unwrap_or(1)
}

fn overrides(text: &str) -> Result<Vec<(String, i32)>, SettingError> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (address, limit) = pair.rsplit_once(':')?;
        let limit = limit.trim().parse().ok().filter(|limit| *limit >= 0)?;
        Some((address.trim().to_owned(), limit)).filter(|(address, _)| !address.is_empty())
    };
    let refused = |pair: &str| {
        SettingError::invalid(
            "max.connections.per.ip.overrides",
            pair,
            "ADDRESS:COUNT pairs are expected",
        )
    };
    pairs.map(|pair| read(pair).ok_or_else(|| refused(pair))).collect()
}

/// How topics come and go.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicsConfig {
    pub auto_create: bool,
    pub delete_enabled: bool,
    pub default_partitions: i32,
    pub default_replication_factor: i32,
}

impl TopicsConfig {
    pub(super) fn new(values: &Values) -> TopicsConfig {
        TopicsConfig {
            auto_create: values.boolean("auto.create.topics.enable"),
            delete_enabled: values.boolean("delete.topic.enable"),
            default_partitions: values.int("num.partitions"),
            default_replication_factor: values.int("default.replication.factor"),
        }
    }
}

/// What concerns all logs of a node; what concerns one topic's is in `TopicConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogsConfig {
    pub recovery_threads_per_dir: usize,
    pub background_threads: usize,
    pub initial_task_delay_ms: i64,
    pub retention_check_interval_ms: i64,
    pub flush_check_interval_ms: i64,
    pub recovery_checkpoint_interval_ms: i32,
    pub start_offset_checkpoint_interval_ms: i32,
    pub high_watermark_checkpoint_interval_ms: i64,
    pub producer_id_expiration_ms: i32,
    pub producer_id_expiration_check_interval_ms: i32,
    pub replica_lag_time_max_ms: i64,
    pub dir_failure_timeout_ms: i64,
    /// None: one for each log directory.
    pub alter_dirs_threads: Option<i32>,
}

/// Bytes a second that all moves between log directories may copy together.
pub fn alter_log_dirs_rate(values: &Values) -> u64 {
    values.long("replica.alter.log.dirs.io.max.bytes.per.second").max(0).unsigned_abs()
}

impl LogsConfig {
    pub(super) fn new(values: &Values) -> LogsConfig {
        LogsConfig {
            recovery_threads_per_dir: count(values.int("num.recovery.threads.per.data.dir")),
            background_threads: count(values.int("background.threads")),
            initial_task_delay_ms: values.long("log.initial.task.delay.ms"),
            retention_check_interval_ms: values.long("log.retention.check.interval.ms"),
            flush_check_interval_ms: values.long("log.flush.scheduler.interval.ms"),
            recovery_checkpoint_interval_ms: values.int("log.flush.offset.checkpoint.interval.ms"),
            start_offset_checkpoint_interval_ms: values
                .int("log.flush.start.offset.checkpoint.interval.ms"),
            high_watermark_checkpoint_interval_ms: values
                .long("replica.high.watermark.checkpoint.interval.ms"),
            producer_id_expiration_ms: values.int("producer.id.expiration.ms"),
            producer_id_expiration_check_interval_ms: values
                .int("producer.id.expiration.check.interval.ms"),
            replica_lag_time_max_ms: values.long("replica.lag.time.max.ms"),
            dir_failure_timeout_ms: values.long("log.dir.failure.timeout.ms"),
            alter_dirs_threads: values.opt_int("num.replica.alter.log.dirs.threads"),
        }
    }
}

/// The log cleaner. Read anew whenever settings change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CleanerConfig {
    pub enabled: bool,
    /// As many passes at a time.
    pub threads: usize,
    /// Over all passes.
    pub dedupe_buffer_bytes: i64,
    pub load_factor: f64,
    /// Over all passes.
    pub io_buffer_bytes: i32,
    pub io_max_bytes_per_second: f64,
    pub backoff_ms: i64,
}

impl CleanerConfig {
    pub fn new(values: &Values) -> CleanerConfig {
        CleanerConfig {
            enabled: values.boolean("log.cleaner.enable"),
            threads: usize::try_from(values.int("log.cleaner.threads")).unwrap_or(0),
            dedupe_buffer_bytes: values.long("log.cleaner.dedupe.buffer.size"),
            load_factor: values.double("log.cleaner.io.buffer.load.factor"),
            io_buffer_bytes: values.int("log.cleaner.io.buffer.size"),
            io_max_bytes_per_second: values.double("log.cleaner.io.max.bytes.per.second"),
            backoff_ms: values.long("log.cleaner.backoff.ms"),
        }
    }
}

/// What is done while there is little room on a disk. Read anew whenever settings change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoomConfig {
    pub warn_free_bytes: u64,
    pub retain_free_bytes: u64,
    pub refuse_free_bytes: u64,
    /// The share of a topic's retention that holds meanwhile.
    pub early_retention: f64,
    pub check_interval_ms: i32,
}

impl RoomConfig {
    pub fn new(values: &Values) -> RoomConfig {
        let bytes = |name| u64::try_from(values.long(name)).unwrap_or(0);
        RoomConfig {
            warn_free_bytes: bytes("ottla.disk.warn.free.bytes"),
            retain_free_bytes: bytes("ottla.disk.retain.free.bytes"),
            refuse_free_bytes: bytes("ottla.disk.refuse.free.bytes"),
            early_retention: values.double("ottla.disk.early.retention"),
            check_interval_ms: values.int("ottla.disk.check.interval.ms"),
        }
    }
}

/// The group coordinator and its topic.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupsConfig {
    pub min_session_timeout_ms: i32,
    pub max_session_timeout_ms: i32,
    pub initial_rebalance_delay_ms: i32,
    pub max_size: i32,
    pub offset_metadata_max_bytes: i32,
    pub commit_timeout_ms: i32,
    pub load_buffer_bytes: i32,
    pub retention_minutes: i32,
    pub retention_check_interval_ms: i64,
    pub topic: InternalTopicConfig,
}

impl GroupsConfig {
    pub fn new(values: &Values) -> GroupsConfig {
        GroupsConfig {
            min_session_timeout_ms: values.int("group.min.session.timeout.ms"),
            max_session_timeout_ms: values.int("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: values.int("group.initial.rebalance.delay.ms"),
            max_size: values.int("group.max.size"),
            offset_metadata_max_bytes: values.int("offset.metadata.max.bytes"),
            commit_timeout_ms: values.int("offsets.commit.timeout.ms"),
            load_buffer_bytes: values.int("offsets.load.buffer.size"),
            retention_minutes: values.int("offsets.retention.minutes"),
            retention_check_interval_ms: values.long("offsets.retention.check.interval.ms"),
            topic: InternalTopicConfig {
                partitions: values.int("offsets.topic.num.partitions"),
                replication_factor: values.int("offsets.topic.replication.factor"),
                segment_bytes: values.int("offsets.topic.segment.bytes"),
                min_insync_replicas: None,
            },
        }
    }
}

/// How a coordinator's topic is created.
#[derive(Debug, Clone, PartialEq)]
pub struct InternalTopicConfig {
    pub partitions: i32,
    pub replication_factor: i32,
    pub segment_bytes: i32,
    /// `None`: the broker's.
    pub min_insync_replicas: Option<i32>,
}

impl InternalTopicConfig {
    pub(super) fn transaction_state(values: &Values) -> InternalTopicConfig {
        InternalTopicConfig {
            partitions: values.int("transaction.state.log.num.partitions"),
            replication_factor: values.int("transaction.state.log.replication.factor"),
            segment_bytes: values.int("transaction.state.log.segment.bytes"),
            min_insync_replicas: Some(values.int("transaction.state.log.min.isr")),
        }
    }

    pub(super) fn share_group_state(values: &Values) -> InternalTopicConfig {
        InternalTopicConfig {
            partitions: values.int("share.coordinator.state.topic.num.partitions"),
            replication_factor: values.int("share.coordinator.state.topic.replication.factor"),
            segment_bytes: values.int("share.coordinator.state.topic.segment.bytes"),
            min_insync_replicas: Some(values.int("share.coordinator.state.topic.min.isr")),
        }
    }
}

/// The metadata quorum, and a broker's life in it.
#[derive(Debug, Clone, PartialEq)]
pub struct QuorumConfig {
    pub append_linger_ms: i32,
    pub election_timeout_ms: i32,
    pub election_backoff_max_ms: i32,
    pub fetch_timeout_ms: i32,
    pub fetch_max_bytes: i32,
    pub fetch_snapshot_max_bytes: i32,
    pub request_timeout_ms: i32,
    pub retry_backoff_ms: i32,
    pub auto_join: bool,
    pub segment_bytes: i32,
    pub segment_ms: i64,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub bytes_between_snapshots: i64,
    pub max_snapshot_interval_ms: i64,
    pub max_idle_interval_ms: i32,
    pub heartbeat_interval_ms: i32,
    pub session_timeout_ms: i32,
    pub registration_timeout_ms: i32,
    pub controlled_shutdown: bool,
    pub unstable_feature_versions: bool,
}

impl QuorumConfig {
    pub(super) fn new(values: &Values) -> QuorumConfig {
        QuorumConfig {
            append_linger_ms: values.int("controller.quorum.append.linger.ms"),
            election_timeout_ms: values.int("controller.quorum.election.timeout.ms"),
            election_backoff_max_ms: values.int("controller.quorum.election.backoff.max.ms"),
            fetch_timeout_ms: values.int("controller.quorum.fetch.timeout.ms"),
            fetch_max_bytes: values.int("controller.quorum.fetch.max.bytes"),
            fetch_snapshot_max_bytes: values.int("controller.quorum.fetch.snapshot.max.bytes"),
            request_timeout_ms: values.int("controller.quorum.request.timeout.ms"),
            retry_backoff_ms: values.int("controller.quorum.retry.backoff.ms"),
            auto_join: values.boolean("controller.quorum.auto.join.enable"),
            segment_bytes: values
                .opt_int("internal.metadata.log.segment.bytes")
                .unwrap_or_else(|| values.int("metadata.log.segment.bytes")),
            segment_ms: values.long("metadata.log.segment.ms"),
            retention_bytes: values.long("metadata.max.retention.bytes"),
            retention_ms: values.long("metadata.max.retention.ms"),
            bytes_between_snapshots: values.long("metadata.log.max.record.bytes.between.snapshots"),
            max_snapshot_interval_ms: values.long("metadata.log.max.snapshot.interval.ms"),
            max_idle_interval_ms: values.int("metadata.max.idle.interval.ms"),
            heartbeat_interval_ms: values.int("broker.heartbeat.interval.ms"),
            session_timeout_ms: values.int("broker.session.timeout.ms"),
            registration_timeout_ms: values.int("initial.broker.registration.timeout.ms"),
            controlled_shutdown: values.boolean("controlled.shutdown.enable"),
            unstable_feature_versions: values.boolean("unstable.feature.versions.enable"),
        }
    }
}
