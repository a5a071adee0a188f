//! Which segments are cleaned into one (Kafka: `Cleaner.groupSegmentsBySize`).

use std::sync::Arc;

use crate::config::LogConfig;
use crate::index::{OFFSET_ENTRY, TIME_ENTRY};
use crate::segment::Segment;

/// How many neighbours each group takes. Sizes of log and indexes stay within what one segment may have, before cleaning,
/// so that segments do not become ever smaller, and that of the log within `most`. No offset is at or above `bound`.
pub(crate) fn group_sizes(
    segments: &[Arc<Segment>],
    config: &LogConfig,
    most: u64,
    bound: i64,
) -> Vec<usize> {
    let most = most.min(u64::from(config.segment_bytes));
    let max_index = u64::from(config.segment_index_bytes);
    let sizes = |segment: &Segment| {
        let offsets = segment.index.offset_len() * OFFSET_ENTRY;
        let times = segment.index.time_len() * TIME_ENTRY;
        [segment.size, offsets as u64, times as u64]
    };
    let mut groups = Vec::new();
    let mut rest = segments;
    while let [first, after @ ..] = rest {
        let mut total = sizes(first);
        let mut count = 1;
        for (at, segment) in after.iter().enumerate() {
            let more = sizes(segment);
            let sum = [total[0] + more[0], total[1] + more[1], total[2] + more[2]];
            let next_base = after.get(at + 1).map_or(bound, |next| next.base);
            let reaches = next_base - 1 - first.base <= i64::from(i32::MAX);
            // An empty segment joins whatever its offsets: else one would be left every 2^31 offsets.
            let fits = sum[0] <= most
                && sum[1] <= max_index
                && sum[2] <= max_index
                && (segment.size == 0 || reaches);
            if !fits {
                break;
            }
            total = sum;
            count += 1;
        }
        groups.push(count);
        rest = &rest[count..];
    }
    groups
}
