//! The settings of a node by who needs them, typed.

use core::net::IpAddr;

use crate::settings::{Values, address_counts};

/// Sockets, and what waits behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    /// `None` leaves these four to the machine.
    pub threads: Option<usize>,
    pub io_threads: Option<usize>,
    pub control_threads: Option<usize>,
    pub listen_backlog: Option<usize>,
    /// -1 leaves it to the operating system.
    pub send_buffer_bytes: i32,
    pub receive_buffer_bytes: i32,
    pub request_max_bytes: i32,
    /// Negative: never.
    pub connections_max_idle_ms: i64,
    /// -1 leaves it to the node.
    pub queued_max_request_bytes: i64,
    pub request_timeout_ms: i32,
    pub fetch_session_slots: i32,
    pub unstable_api_versions: bool,
}

impl NetworkConfig {
    pub(super) fn new(values: &Values) -> NetworkConfig {
        NetworkConfig {
            threads: given_count(values, "num.network.threads"),
            io_threads: given_count(values, "num.io.threads"),
            control_threads: given_count(values, "ottla.control.threads"),
            listen_backlog: given_count(values, "socket.listen.backlog.size"),
            send_buffer_bytes: values.int("socket.send.buffer.bytes"),
            receive_buffer_bytes: values.int("socket.receive.buffer.bytes"),
            request_max_bytes: values.int("socket.request.max.bytes"),
            connections_max_idle_ms: values.long("connections.max.idle.ms"),
            queued_max_request_bytes: values.long("queued.max.request.bytes"),
            request_timeout_ms: values.int("request.timeout.ms"),
            fetch_session_slots: values.int("max.incremental.fetch.session.cache.slots"),
            unstable_api_versions: values.boolean("unstable.api.versions.enable"),
        }
    }
}

/// `None` where it was not said.
fn given_count(values: &Values, name: &str) -> Option<usize> {
    let said = values.is_given(name).then(|| values.opt_int(name)).flatten();
    said.map(count)
}

fn count(threads: i32) -> usize {
    usize::try_from(threads).unwrap_or(1)
}

/// How many connections there may be at one time. Read anew whenever settings change.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionLimits {
    pub in_all: usize,
    pub(super) per_ip: usize,
    /// Of an address named twice the last counts.
    pub(super) per_ip_overrides: Vec<(IpAddr, usize)>,
}

impl ConnectionLimits {
    pub fn new(values: &Values) -> ConnectionLimits {
        let limit = |name| usize::try_from(values.int(name)).unwrap_or(0);
        let overrides = address_counts(values.text("max.connections.per.ip.overrides"));
        ConnectionLimits {
            in_all: limit("max.connections"),
            per_ip: limit("max.connections.per.ip"),
            // What is not well formed was refused where it was set.
            per_ip_overrides: overrides.unwrap_or_default(),
        }
    }

    /// The same, with no more connections in all than this.
    #[must_use]
    pub fn at_most(self, connections: usize) -> ConnectionLimits {
        ConnectionLimits { in_all: self.in_all.min(connections), ..self }
    }

    pub fn of(&self, ip: IpAddr) -> usize {
        let own = self.per_ip_overrides.iter().rev().find(|(address, _)| *address == ip);
        own.map_or(self.per_ip, |(_, limit)| *limit)
    }
}

/// What concerns all logs of a node; what concerns one topic's is in `TopicConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogsConfig {
    pub recovery_threads_per_dir: usize,
    /// `None` leaves it to the machine.
    pub background_threads: Option<usize>,
    pub initial_task_delay_ms: i64,
    pub retention_check_interval_ms: i64,
    pub recovery_checkpoint_interval_ms: i32,
    pub start_offset_checkpoint_interval_ms: i32,
    pub high_watermark_checkpoint_interval_ms: i64,
    pub producer_id_expiration_check_interval_ms: i32,
    pub dir_failure_timeout_ms: i64,
    pub recent_bytes: usize,
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
            background_threads: given_count(values, "background.threads"),
            initial_task_delay_ms: values.long("log.initial.task.delay.ms"),
            retention_check_interval_ms: values.long("log.retention.check.interval.ms"),
            recovery_checkpoint_interval_ms: values.int("log.flush.offset.checkpoint.interval.ms"),
            start_offset_checkpoint_interval_ms: values
                .int("log.flush.start.offset.checkpoint.interval.ms"),
            high_watermark_checkpoint_interval_ms: values
                .long("replica.high.watermark.checkpoint.interval.ms"),
            producer_id_expiration_check_interval_ms: values
                .int("producer.id.expiration.check.interval.ms"),
            dir_failure_timeout_ms: values.long("log.dir.failure.timeout.ms"),
            recent_bytes: usize::try_from(values.long("ottla.recent.bytes")).unwrap_or(0),
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
    /// The id of a codec, as in a batch's attributes.
    pub compression_codec: i32,
    pub retention_minutes: i32,
    pub retention_check_interval_ms: i64,
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
            compression_codec: values.int("offsets.topic.compression.codec"),
            retention_minutes: values.int("offsets.retention.minutes"),
            retention_check_interval_ms: values.long("offsets.retention.check.interval.ms"),
        }
    }
}

const APPEND_LINGER: &str = "controller.quorum.append.linger.ms";

/// The metadata quorum, and a broker's life in it.
#[derive(Debug, Clone, PartialEq)]
pub struct QuorumConfig {
    pub election_timeout_ms: i32,
    pub election_backoff_max_ms: i32,
    pub fetch_timeout_ms: i32,
    pub fast_failover: bool,
    pub auto_join: bool,
    pub request_timeout_ms: i32,
    pub retry_backoff_ms: i32,
    /// Kafka's default does not count: unless it is given, nothing is waited for.
    pub append_linger_ms: i32,
    pub fetch_max_bytes: i32,
    pub fetch_snapshot_max_bytes: i32,
    pub segment_bytes: i32,
    pub segment_ms: i64,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub delete_delay_ms: i64,
    pub bytes_between_snapshots: i64,
    pub max_snapshot_interval_ms: i64,
    pub heartbeat_interval_ms: i32,
    pub session_timeout_ms: i32,
    pub registration_timeout_ms: i32,
    pub controlled_shutdown: bool,
}

impl QuorumConfig {
    pub(super) fn new(values: &Values) -> QuorumConfig {
        QuorumConfig {
            election_timeout_ms: values.int("controller.quorum.election.timeout.ms"),
            election_backoff_max_ms: values.int("controller.quorum.election.backoff.max.ms"),
            fetch_timeout_ms: values.int("controller.quorum.fetch.timeout.ms"),
            auto_join: values.boolean("controller.quorum.auto.join.enable"),
            fast_failover: values.boolean("ottla.failover.fast"),
            request_timeout_ms: values.int("controller.quorum.request.timeout.ms"),
            retry_backoff_ms: values.int("controller.quorum.retry.backoff.ms"),
            append_linger_ms: match values.is_given(APPEND_LINGER) {
                true => values.int(APPEND_LINGER),
                false => 0,
            },
            fetch_max_bytes: values.int("controller.quorum.fetch.max.bytes"),
            fetch_snapshot_max_bytes: values.int("controller.quorum.fetch.snapshot.max.bytes"),
            segment_bytes: values
                .opt_int("internal.metadata.log.segment.bytes")
                // Kafka sets no bound here; from 1 down every batch has a segment of its own.
                .map(|bytes| bytes.max(1))
                .unwrap_or_else(|| values.int("metadata.log.segment.bytes")),
            segment_ms: values.long("metadata.log.segment.ms"),
            retention_bytes: values.long("metadata.max.retention.bytes"),
            retention_ms: values.long("metadata.max.retention.ms"),
            delete_delay_ms: values.long("internal.metadata.delete.delay.millis"),
            bytes_between_snapshots: values.long("metadata.log.max.record.bytes.between.snapshots"),
            max_snapshot_interval_ms: values.long("metadata.log.max.snapshot.interval.ms"),
            heartbeat_interval_ms: values.int("broker.heartbeat.interval.ms"),
            session_timeout_ms: values.int("broker.session.timeout.ms"),
            registration_timeout_ms: values.int("initial.broker.registration.timeout.ms"),
            controlled_shutdown: values.boolean("controlled.shutdown.enable"),
        }
    }
}
