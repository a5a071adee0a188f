//! The settings of a topic that its logs obey.

/// Defaults are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`, less the jitter that the owner drew for this log.
    pub segment_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `preallocate`.
    pub preallocate: bool,
    /// The topic is compacted: offsets may be missing between segments, below the recovery point. Elsewhere a gap means that
    /// a segment lost its end in a crash.
    pub compacted: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            preallocate: false,
            compacted: false,
        }
    }
}

impl LogConfig {
    pub(crate) fn max_offset_entries(&self) -> usize {
        self.segment_index_bytes as usize / crate::index::OFFSET_ENTRY
    }

    /// One slot stays free for the entry that closes a segment.
    pub(crate) fn max_time_entries(&self) -> usize {
        (self.segment_index_bytes as usize / crate::index::TIME_ENTRY).saturating_sub(1)
    }
}
