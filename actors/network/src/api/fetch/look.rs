//! One look at the partitions of a fetch: what is there for it now.

use log::{AbortedTransaction, EpochEnd, FileSlice, ReadError};
use machines::fetch_session::FetchPartition;
use model::{ErrorCode, LeaderEpoch};
use partitions::{Isolation, PartitionHandle, Readable, read_error_code};

use super::{Params, Target};

/// What one partition has.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
    pub(super) diverging: Option<EpochEnd>,
    pub(super) slice: Option<FileSlice>,
    /// For a read_committed reader of the slice.
    pub(super) aborted: Vec<AbortedTransaction>,
    /// Its segment gives no more than this, but later ones would.
    more_behind: bool,
}

/// What all have together.
#[derive(Debug)]
pub(super) struct Looks {
    pub(super) each: Vec<Look>,
    bytes: usize,
    /// Waiting would not better it.
    final_already: bool,
}

impl Looks {
    pub(super) fn enough(&self, params: &Params) -> bool {
        self.final_already || self.bytes >= params.min_bytes
    }
}

/// Reads each partition in the order asked for. Until one has given something, it may give its first batch whatever its size.
pub(super) fn look(params: &Params, targets: &[Target]) -> Looks {
    let mut looks =
        Looks { each: Vec::with_capacity(targets.len()), bytes: 0, final_already: false };
    let mut left = params.max_bytes;
    let mut any_known = false;
    for target in targets {
        let Some(handle) = &target.handle else {
            looks.final_already |= !target.is_unknown();
            any_known |= !target.is_unknown();
            looks.each.push(Look::refused(target.error));
            continue;
        };
        any_known = true;
        let found = look_at(params, handle, &target.wanted, left, looks.bytes == 0)
            .unwrap_or_else(Look::refused);
        let size = found.slice.as_ref().map_or(0, |slice| slice.len);
        looks.bytes += size;
        left = left.saturating_sub(size);
        looks.final_already |=
            found.error != ErrorCode::None || found.diverging.is_some() || found.more_behind;
        looks.each.push(found);
    }
    looks.final_already |= !any_known;
    looks
}

/// Whether a new look may find more than the last one.
pub(super) fn may_find_more(params: &Params, target: &Target) -> bool {
    let Some(handle) = &target.handle else { return false };
    match handle.readable(epoch(target.wanted.current_leader_epoch), params.from) {
        Ok(log) => log.end(params.isolation) > target.wanted.fetch_offset,
        Err(_) => true,
    }
}

fn epoch(given: i32) -> Option<LeaderEpoch> {
    (given >= 0).then_some(LeaderEpoch(given))
}

fn look_at(
    params: &Params,
    handle: &PartitionHandle,
    wanted: &FetchPartition,
    left: usize,
    min_one: bool,
) -> Result<Look, ErrorCode> {
    let current = epoch(wanted.current_leader_epoch);
    let log = handle.readable(current, params.from).map_err(|error| error.code())?;
    if params.follower {
        // It is no replica that this leader knows, which its fetcher takes for being early.
        return Err(match current {
            Some(_) => ErrorCode::UnknownLeaderEpoch,
            None => ErrorCode::NotLeaderOrFollower,
        });
    }
    if wanted.max_bytes < 0 {
        return Err(ErrorCode::UnknownServerError);
    }
    read(params, &log, wanted, left, min_one).map_err(|error| {
        if !matches!(error, ReadError::OutOfRange { .. }) {
            let partition = &handle.topic_partition;
            tracing::error!(%partition, %error, "a fetch could not be read");
        }
        read_error_code(&error)
    })
}

fn read(
    params: &Params,
    log: &Readable,
    wanted: &FetchPartition,
    left: usize,
    min_one: bool,
) -> Result<Look, ReadError> {
    let mut look = Look {
        error: ErrorCode::None,
        high_watermark: log.high_watermark,
        last_stable_offset: log.last_stable_offset,
        log_start_offset: log.log_start_offset(),
        diverging: None,
        slice: None,
        aborted: Vec::new(),
        more_behind: false,
    };
    if let Some(last) = epoch(wanted.last_fetched_epoch) {
        look.diverging = log.divergence(last, wanted.fetch_offset)?;
        if look.diverging.is_some() {
            return Ok(look);
        }
    }
    let max_bytes = usize::try_from(wanted.max_bytes).unwrap_or(0).min(left);
    let read = log.read(wanted.fetch_offset, max_bytes, min_one, params.isolation)?;
    if read.slice.len > 0 {
        look.more_behind = log.continues_after(&read);
        if params.isolation == Isolation::Committed {
            look.aborted = log.view.aborted_in(wanted.fetch_offset, &read)?;
        }
        look.slice = Some(read.slice);
    }
    Ok(look)
}

impl Look {
    pub(super) fn refused(error: ErrorCode) -> Look {
        Look {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            slice: None,
            aborted: Vec::new(),
            more_behind: false,
        }
    }
}
