//! Opening a replica's log and rebuilding what its machine knows, and closing both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::Disk;
use log::{
    Log, LogConfig, OpenOptions, list_producer_snapshots, read_partition_metadata,
    read_producer_snapshot, remove_producer_snapshot, write_partition_metadata,
    write_producer_snapshot,
};
use machines::partition::{Opened, Origin, Partition, ProducerEntry, Producers, RememberedBatch};
use model::settings::TopicConfig;
use model::{ProducerEpoch, ProducerId, Uuid};
use runtime::{Cx, Failure, Map, RandomStream};
use wire::producer_snapshot::ProducerEntry as StoredProducer;

use super::PartitionActor;
use crate::handle::{PartitionHandle, Role};
use crate::info::{batch_info, header_info};
use crate::log_dirs::Checkpoint;

#[derive(Clone)]
pub struct PartitionArgs {
    pub handle: Arc<PartitionHandle>,
    pub path: PathBuf,
}

struct OpenedLog {
    log: Log,
    producers: Producers,
}

pub(super) async fn open(
    cx: &mut Cx<PartitionActor>,
    args: PartitionArgs,
) -> Result<PartitionActor, Failure> {
    let PartitionArgs { handle, path } = args;
    let config = handle.config();
    let mut jitter = cx.world().random("segment jitter");
    let log_config = log_config(&config, &mut jitter);
    let now_ms = cx.world().now().wall_ms;
    let (options, high_watermark) = found(&handle, now_ms);
    let (disk, topic_id) = (cx.world().disk().clone(), handle.topic_id);
    let dir = path.clone();
    let job = move || open_log(disk, dir, log_config, options, topic_id);
    let OpenedLog { log, producers } = cx.world().blocking("open log", job).await??;
    let machine = Partition::new(Opened {
        log_start_offset: log.log_start_offset(),
        log_end_offset: log.log_end_offset(),
        high_watermark,
        producers,
    });
    handle.set_log_start(log.log_start_offset());
    handle.set_recovery_point(log.recovery_point());
    handle.set_high_watermark(machine.high_watermark());
    handle.set_last_stable(machine.last_stable_offset());
    handle.set_opened();
    match handle.role().as_deref() {
        Some(Role::Lead(leadership)) => {
            let leadership = Box::new(leadership.clone());
            let _ = cx.me().send(super::PartitionMsg::Lead { leadership }).await;
        }
        Some(Role::Follow { leader_epoch, partition_epoch }) => {
            let (leader_epoch, partition_epoch) = (*leader_epoch, *partition_epoch);
            let follow = super::PartitionMsg::Follow { leader_epoch, partition_epoch };
            let _ = cx.me().send(follow).await;
        }
        None => {}
    }
    Ok(PartitionActor {
        appended: cx.counter("batches_appended"),
        appended_bytes: cx.counter("bytes_appended"),
        handle,
        log,
        machine,
        config,
        next_ticket: 0,
        parked: Default::default(),
        pending: Vec::new(),
        pending_memory: Vec::new(),
        flush_queued: false,
        syncing: false,
        failed_syncs: 0,
        ticked_end: -1,
        sync_timer: None,
        jitter,
        deleted: Map::new(),
        deletions: 0,
        path,
        effects: Vec::new(),
    })
}

/// What is known of the log before it is opened, and the high watermark: from this process's own earlier actor, else from
/// the checkpoints.
fn found(handle: &PartitionHandle, now_ms: i64) -> (OpenOptions, i64) {
    if handle.was_opened() {
        let options = OpenOptions {
            clean: false,
            writes_survived: true,
            recovery_point: handle.recovery_point(),
            log_start_offset: handle.log_start_offset(),
            now_ms,
        };
        return (options, handle.high_watermark());
    }
    let (dir, name) = (handle.log_dir(), &handle.topic_partition);
    let stored = |checkpoint| dir.checkpoints.of(checkpoint).get(name).copied();
    if let Some(cleaned) = stored(Checkpoint::Cleaned) {
        handle.set_cleaned(cleaned);
    }
    let of = |checkpoint| stored(checkpoint).unwrap_or(0);
    let options = OpenOptions {
        clean: dir.clean,
        writes_survived: false,
        recovery_point: of(Checkpoint::RecoveryPoints),
        log_start_offset: of(Checkpoint::LogStarts),
        now_ms,
    };
    (options, of(Checkpoint::HighWatermarks))
}

/// What a log obeys, with a part of the jitter drawn for its next segment.
pub(super) fn log_config(config: &TopicConfig, jitter: &mut RandomStream) -> LogConfig {
    let positive = |n: i32| u32::try_from(n).unwrap_or(0);
    let jitter_ms = config.segment_jitter_ms.min(config.segment_ms).max(1).unsigned_abs();
    // What is to be compacted in time must leave the active segment before.
    let segment_ms = match config.cleanup_policy.compact {
        true => config.segment_ms.min(config.max_compaction_lag_ms),
        false => config.segment_ms,
    };
    LogConfig {
        segment_bytes: positive(config.segment_bytes),
        segment_ms: segment_ms.saturating_sub_unsigned(jitter.below(jitter_ms)),
        index_interval_bytes: positive(config.index_interval_bytes),
        segment_index_bytes: positive(config.segment_index_bytes),
        preallocate: config.preallocate,
        compacted: config.cleanup_policy.compact,
    }
}

fn open_log(
    disk: Arc<dyn Disk>,
    path: PathBuf,
    config: LogConfig,
    options: OpenOptions,
    topic_id: Uuid,
) -> Result<OpenedLog, Failure> {
    let (log, recovered) = Log::open(disk.clone(), path.clone(), config, options)?;
    if recovered.truncated_bytes > 0 || recovered.removed_segments > 0 {
        tracing::warn!(log = %path.display(), ?recovered, "the end of the log was not whole");
    }
    match read_partition_metadata(&*disk, &path)? {
        Some(found) if found != topic_id => {
            return Err(Failure::new(format!(
                "{} belongs to topic id {found}, not {topic_id}",
                path.display()
            )));
        }
        Some(_) => {}
        None => write_partition_metadata(&*disk, &path, topic_id)?,
    }
    let producers = rebuild_producers(&*disk, &path, &log)?;
    Ok(OpenedLog { log, producers })
}

/// From the newest usable snapshot, and the batches that follow it.
fn rebuild_producers(disk: &dyn Disk, path: &Path, log: &Log) -> Result<Producers, Failure> {
    let mut producers = Producers::default();
    let mut from = log.log_start_offset();
    for offset in list_producer_snapshots(disk, path)?.into_iter().rev() {
        if offset > log.log_end_offset() {
            remove_producer_snapshot(disk, path, offset)?;
            continue;
        }
        match read_producer_snapshot(disk, path, offset) {
            Ok(stored) => {
                for entry in stored {
                    producers.restore(ProducerId(entry.producer_id), restored(&entry));
                }
                from = offset.max(from);
                break;
            }
            Err(error) => {
                tracing::warn!(%error, "producer snapshot ignored");
                remove_producer_snapshot(disk, path, offset)?;
            }
        }
    }
    replay_producers(log, from, producers)
}

fn replay_producers(log: &Log, from: i64, start: Producers) -> Result<Producers, Failure> {
    if from >= log.log_end_offset() {
        return Ok(start);
    }
    let mut producers = start.clone();
    let mut has_control = false;
    let mut failed = None;
    log.view().batches_from(from).for_each_header(|header| {
        has_control |= header.is_control();
        if !has_control {
            let info = header_info(header);
            failed = producers.append(&info, header.base_offset, Origin::Replication).err();
        }
        !has_control && failed.is_none()
    })?;
    if has_control {
        // Markers are in the records: the batches are read whole.
        return replay_with_markers(log, from, start);
    }
    failed.map_or(Ok(producers), |error| Err(error.into()))
}

fn replay_with_markers(
    log: &Log,
    from: i64,
    mut producers: Producers,
) -> Result<Producers, Failure> {
    let mut failed: Option<Failure> = None;
    log.view().batches_from(from).for_each(|batch| {
        let replayed = batch_info(&batch).map_err(Failure::from).and_then(|info| {
            let offset = batch.header().base_offset;
            Ok(producers.append(&info, offset, Origin::Replication)?)
        });
        failed = replayed.err();
        failed.is_none()
    })?;
    failed.map_or(Ok(producers), Err)
}

fn restored(stored: &StoredProducer) -> ProducerEntry {
    let epoch = ProducerEpoch(stored.epoch);
    let mut entry = ProducerEntry::new(epoch, stored.coordinator_epoch, stored.timestamp);
    if stored.last_offset >= 0 {
        entry.remember(
            epoch,
            RememberedBatch {
                last_sequence: stored.last_sequence,
                last_offset: stored.last_offset,
                offset_delta: stored.offset_delta,
                timestamp: stored.timestamp,
            },
        );
    }
    entry.transaction_first_offset =
        (stored.current_txn_first_offset >= 0).then_some(stored.current_txn_first_offset);
    entry
}

fn stored(id: ProducerId, entry: &ProducerEntry) -> StoredProducer {
    let last = entry.last_batch();
    StoredProducer {
        producer_id: id.0,
        epoch: entry.epoch.0,
        last_sequence: entry.last_sequence(),
        last_offset: last.map_or(-1, |batch| batch.last_offset),
        offset_delta: last.map_or(0, |batch| batch.offset_delta),
        timestamp: entry.last_timestamp,
        coordinator_epoch: entry.coordinator_epoch,
        current_txn_first_offset: entry.transaction_first_offset.unwrap_or(-1),
        ..Default::default()
    }
}

impl PartitionActor {
    /// Keeps the producers' state as of the log's end, and drops what earlier snapshots kept.
    pub(super) fn snapshot_producers(
        &self,
    ) -> impl FnOnce(&dyn Disk) -> Result<(), Failure> + use<> {
        let entries =
            self.machine.producers().iter().map(|(id, entry)| stored(id, entry)).collect();
        let (path, offset) = (self.log.dir().to_owned(), self.log.log_end_offset());
        move |disk| {
            let older = list_producer_snapshots(disk, &path)?;
            write_producer_snapshot(disk, &path, offset, entries)?;
            for old in older.into_iter().filter(|old| *old != offset) {
                remove_producer_snapshot(disk, &path, old)?;
            }
            Ok(())
        }
    }

    /// Leaves the log so that the next start needs no recovery; where that fails, it will recover.
    pub(super) async fn close(&mut self, cx: &mut Cx<Self>) {
        if self.handle.is_deleted() {
            return;
        }
        let closed = async {
            self.flush(cx).await?;
            let snapshot = self.snapshot_producers();
            let settled = self.log.closing()?;
            let disk = cx.world().disk().clone();
            let job = move || {
                settled.run()?;
                snapshot(&*disk)?;
                Ok::<_, Failure>(settled)
            };
            let settled = cx.world().blocking("close log", job).await??;
            self.log.synced(&settled);
            self.handle.set_recovery_point(self.log.recovery_point());
            Ok::<(), Failure>(())
        };
        if let Err(error) = closed.await {
            self.handle.log_dir().set_unclean();
            let partition = &self.handle.topic_partition;
            tracing::warn!(%partition, %error, "the log was not closed; it will be recovered");
        }
    }
}
