//! What the cluster's settings say about groups.

use model::node_config::GroupsConfig;

/// Values are Kafka's defaults; the names beside them are its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`
    pub max_size: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: i64,
    /// `max.message.bytes` of the topic that holds the groups: what one decision writes must fit.
    pub max_batch_bytes: usize,
    /// Whether that topic's batches are compressed.
    pub compresses: bool,
}

impl GroupSettings {
    pub fn new(config: &GroupsConfig, max_batch_bytes: usize, compresses: bool) -> GroupSettings {
        GroupSettings {
            min_session_timeout_ms: config.min_session_timeout_ms,
            max_session_timeout_ms: config.max_session_timeout_ms,
            initial_rebalance_delay_ms: config.initial_rebalance_delay_ms,
            max_size: usize::try_from(config.max_size).unwrap_or(0),
            offset_metadata_max_bytes: usize::try_from(config.offset_metadata_max_bytes)
                .unwrap_or(0),
            offsets_retention_ms: i64::from(config.retention_minutes) * 60_000,
            retention_check_interval_ms: config.retention_check_interval_ms,
            max_batch_bytes,
            compresses,
        }
    }

    /// What is left of a batch for its records.
    pub(super) fn record_bytes(&self) -> usize {
        const HEADER: usize = 61;
        self.max_batch_bytes.saturating_sub(HEADER)
    }

    /// What one decision may write. Where that is compressed, the log judges whether it fits.
    pub(super) fn decision_bytes(&self) -> usize {
        /// No decision is compressed to less.
        const RATIO: usize = 16;
        /// A load reads no batch that decompresses to more than twice this.
        const MAX: usize = 128 << 20;
        match self.compresses {
            true => self.record_bytes().saturating_mul(RATIO).min(MAX).max(self.record_bytes()),
            false => self.record_bytes(),
        }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        GroupSettings {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 10_080 * 60_000,
            retention_check_interval_ms: 600_000,
            max_batch_bytes: 1_048_588,
            compresses: false,
        }
    }
}

/// A new member's first JoinGroup is parked this long at most: a client that gave up meanwhile is gone by then, and one
/// that is still there asks again.
pub(super) const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1000;

/// Members of one group that were given an id and have not come back with it. Kafka has no such bound; past this one a
/// client is told to ask again later.
pub(super) const MAX_PENDING_MEMBERS: usize = 10_000;
