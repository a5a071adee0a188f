//! One look at the partitions of a fetch: what is there for it now.

use log::{AbortedTransaction, EpochEnd, FileSlice, InMemory, ReadError};
use machines::fetch_session::FetchPartition;
use machines::partition::ReplicaFetch;
use model::{ErrorCode, LeaderEpoch, NodeId};
use partitions::{Isolation, PartitionHandle, Readable, read_error_code};
use runtime::Counter;

use super::replica::Follower;
use super::respond::COPIED;
use super::{Params, Target};
use crate::Broker;
use crate::cold::AHEAD;

/// What a look reads of a log: the headers up to its offset, an index interval or so, and what is copied at once.
const LOOKED_AT: usize = 4096 + COPIED;

/// What one partition has.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
    pub(super) diverging: Option<EpochEnd>,
    /// The consumer should ask this replica instead.
    pub(super) preferred: Option<NodeId>,
    pub(super) slice: Option<FileSlice>,
    /// Its bytes, where they are in memory.
    pub(super) in_memory: Option<InMemory>,
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

/// One look of a fetch.
pub(super) struct Looking<'a> {
    pub(super) broker: &'a Broker,
    pub(super) params: &'a Params,
    pub(super) cold_reads: &'a Counter,
    /// It is the fetch's first, which notes how far a follower has come.
    pub(super) first: bool,
}

/// What of the fetch's bound is left.
#[derive(Clone, Copy)]
struct Budget {
    left: usize,
    /// The first batch is given whatever its size.
    min_one: bool,
}

impl Looking<'_> {
    /// Reads each partition in the order asked for. Until one has given something, it may give its first batch whatever its
    /// size. What it would wait for on the disk is read in first, beside.
    pub(super) async fn look(&self, targets: &[Target]) -> Looks {
        let cold = self.cold(targets);
        if !cold.is_empty() {
            let now = self.broker.world.mono();
            let read = move || {
                cold.iter().for_each(|(log, offset)| log.view.fetch_in(*offset, AHEAD, now));
            };
            self.broker.cold_reads.run(self.cold_reads, read).await;
        }
        self.look_now(targets)
    }

    /// Where the look would wait for the disk: logs, and offsets in them.
    fn cold(&self, targets: &[Target]) -> Vec<(Readable, i64)> {
        let (now, mut left) = (self.broker.world.mono(), self.params.max_bytes);
        let mut cold = Vec::new();
        for target in targets {
            let (offset, current) =
                (target.wanted.fetch_offset, target.wanted.current_leader_epoch);
            let Some(handle) = target.handle.as_ref().filter(|_| left > 0) else { continue };
            let Ok(log) = handle.readable(epoch(current), self.params.from) else { continue };
            if offset >= log.end(self.params.isolation) {
                continue;
            }
            if !log.view.is_at_hand(offset, LOOKED_AT, now) {
                cold.push((log, offset));
            }
            let wanted = usize::try_from(target.wanted.max_bytes).unwrap_or(0);
            left = left.saturating_sub(wanted.clamp(1, AHEAD));
        }
        cold
    }

    fn look_now(&self, targets: &[Target]) -> Looks {
        let mut looks =
            Looks { each: Vec::with_capacity(targets.len()), bytes: 0, final_already: false };
        let mut left = self.params.max_bytes;
        let mut any_known = false;
        for target in targets {
            let Some(handle) = &target.handle else {
                looks.final_already |= !target.is_unknown();
                any_known |= !target.is_unknown();
                looks.each.push(Look::refused(target.error));
                continue;
            };
            any_known = true;
            let budget = Budget { left, min_one: looks.bytes == 0 };
            let found = self.look_at(handle, &target.wanted, budget);
            let found = found.unwrap_or_else(Look::refused);
            let size = found.slice.as_ref().map_or(0, |slice| slice.len);
            looks.bytes += size;
            left = left.saturating_sub(size);
            looks.final_already |= found.error != ErrorCode::None
                || found.diverging.is_some()
                || found.preferred.is_some()
                || found.more_behind;
            looks.each.push(found);
        }
        looks.final_already |= !any_known;
        looks
    }

    fn look_at(
        &self,
        handle: &PartitionHandle,
        wanted: &FetchPartition,
        budget: Budget,
    ) -> Result<Look, ErrorCode> {
        let params = self.params;
        let current = epoch(wanted.current_leader_epoch);
        let log = handle.readable(current, params.from).map_err(|error| error.code())?;
        if let Some(follower) = &params.follower {
            let known = handle.check_replica(follower.id, log.leader_epoch, current);
            known.map_err(|error| error.code())?;
        }
        if wanted.max_bytes < 0 {
            return Err(ErrorCode::UnknownServerError);
        }
        if let Some(nearest) = &params.nearest {
            let now = self.broker.world.mono();
            let preferred = nearest.replica(handle, log.leader_epoch, wanted.fetch_offset, now);
            if preferred.is_some() {
                return Ok(Look { preferred, ..Look::of(&log) });
            }
        }
        let mut look = read(params, &log, wanted, budget).map_err(|error| {
            if !matches!(error, ReadError::OutOfRange { .. }) {
                let partition = &handle.topic_partition;
                tracing::error!(%partition, %error, "a fetch could not be read");
            }
            read_error_code(&error)
        })?;
        if let Some(follower) = &params.follower {
            if self.first && look.diverging.is_none() {
                self.note(follower, handle, &log, wanted)?;
            }
            if follower.is_held_back(self.broker, handle) {
                look.hold_back();
            }
        }
        Ok(look)
    }

    /// What a follower asks for tells what it has.
    fn note(
        &self,
        follower: &Follower,
        handle: &PartitionHandle,
        log: &Readable,
        wanted: &FetchPartition,
    ) -> Result<(), ErrorCode> {
        if follower.stale {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let fetch = ReplicaFetch {
            offset: wanted.fetch_offset,
            log_start_offset: wanted.log_start_offset,
            leader_end: log.end(Isolation::LogEnd),
            broker_epoch: follower.broker_epoch,
            at: self.broker.world.mono(),
        };
        handle.replica_fetched(follower.id, log.leader_epoch, &fetch);
        Ok(())
    }
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

fn read(
    params: &Params,
    log: &Readable,
    wanted: &FetchPartition,
    budget: Budget,
) -> Result<Look, ReadError> {
    let mut look = Look::of(log);
    if let Some(last) = epoch(wanted.last_fetched_epoch) {
        look.diverging = log.divergence(last, wanted.fetch_offset)?;
        if look.diverging.is_some() {
            return Ok(look);
        }
    }
    let max_bytes = usize::try_from(wanted.max_bytes).unwrap_or(0).min(budget.left);
    let read = log.read(wanted.fetch_offset, max_bytes, budget.min_one, params.isolation)?;
    if read.slice.len > 0 {
        look.more_behind = log.continues_after(&read);
        if params.isolation == Isolation::Committed {
            look.aborted = log.view.aborted_in(wanted.fetch_offset, &read)?;
        }
        (look.slice, look.in_memory) = (Some(read.slice), read.in_memory);
    }
    Ok(look)
}

impl Look {
    /// Nothing of what is there.
    fn of(log: &Readable) -> Look {
        Look {
            high_watermark: log.high_watermark,
            last_stable_offset: log.last_stable_offset,
            log_start_offset: log.log_start_offset(),
            ..Look::refused(ErrorCode::None)
        }
    }

    /// It tells of no records, and of nothing else.
    pub(super) fn is_empty_handed(&self) -> bool {
        let tells = self.diverging.is_some() || self.preferred.is_some();
        self.slice.is_none() && self.error == ErrorCode::None && !tells
    }

    /// The records come later.
    pub(super) fn hold_back(&mut self) {
        (self.slice, self.in_memory, self.more_behind) = (None, None, false);
    }

    pub(super) fn refused(error: ErrorCode) -> Look {
        Look {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            preferred: None,
            slice: None,
            in_memory: None,
            aborted: Vec::new(),
            more_behind: false,
        }
    }
}
