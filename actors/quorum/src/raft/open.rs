//! Opening the metadata log: the newest snapshot, and what follows it in the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::Disk;
use log::{Log, LogConfig, OpenError, OpenOptions};
use machines::consensus::{Event, OffsetAndEpoch, VoterHistory, VoterSet};
use runtime::Failure;
use wire::batch::RecordBatch;

use crate::files::{RecordsError, is_newcomer, parse_control, read_quorum_state};
use crate::snapshot::{self, Snapshot};

pub(super) struct Opening {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    /// A failed sync left it: what the kernel takes for written may not be.
    pub(super) unsynced: bool,
    pub(super) config: LogConfig,
    pub(super) fixed_voters: VoterSet,
    pub(super) now_ms: i64,
}

pub(super) struct Opened {
    pub(super) log: Log,
    /// The newest.
    pub(super) snapshot: Option<(OffsetAndEpoch, Snapshot)>,
    /// All of them, oldest first.
    pub(super) snapshots: Vec<OffsetAndEpoch>,
    pub(super) start: Event,
    pub(super) history: VoterHistory,
    pub(super) is_newcomer: bool,
}

impl Opening {
    pub(super) fn run(&self) -> Result<Opened, Failure> {
        let (disk, dir) = (&*self.disk, &*self.dir);
        let ids = if disk.exists(dir)? { snapshot::list(disk, dir)? } else { Vec::new() };
        let snapshot = match ids.last() {
            Some(id) => Some((*id, snapshot::read(disk, dir, *id)?)),
            None => None,
        };
        let newest = ids.last().copied().unwrap_or(OffsetAndEpoch { epoch: 0, offset: 0 });
        let mut log = self.open_log(newest.offset)?;
        let latest = log.leader_epochs().latest().map_or(0, |latest| latest.epoch.0);
        if newest > (OffsetAndEpoch { epoch: latest, offset: log.log_end_offset() }) {
            tracing::warn!(
                ?newest,
                "the metadata log ends before its newest snapshot: it goes on there"
            );
            log.truncate_fully_and_start_at(newest.offset, self.now_ms)?.remove(disk)?;
        }
        let start = log.log_start_offset();
        if newest.offset < start {
            return Err(Failure::new(format!(
                "{}: the log begins at offset {start}, and no snapshot says what was before: restore the snapshot that \
                 ended at this offset or later, or the log's older segments",
                dir.display()
            )));
        }
        snapshot::clear(disk, dir, start)?;
        // What is found counts as acknowledged from here on, so it must not be lost any more.
        if self.unsynced {
            log.rewrite_unsynced()?;
        }
        log.sync()?;
        let snapshots = snapshot::list(disk, dir)?;
        let said = snapshot.as_ref().map(|(_, snapshot)| snapshot);
        let history = history(&log, newest, said, &self.fixed_voters)?;
        let epoch = log.leader_epochs().latest().map_or(newest.epoch, |latest| latest.epoch.0);
        let start = Event::Start {
            state: read_quorum_state(&*self.disk, &self.dir)?,
            log_end: OffsetAndEpoch { epoch, offset: log.log_end_offset() },
            voters: history.newest(),
        };
        let is_newcomer = is_newcomer(disk, dir)?;
        if is_newcomer {
            tracing::info!(
                "this voter's directory was empty: until it holds what is committed, it votes for no leader with more than that. \
                 Where none can be elected without it, `ottla format --ignore-formatted` says that nothing was lost"
            );
        }
        Ok(Opened { log, snapshot, snapshots, start, history, is_newcomer })
    }

    /// What a snapshot says was committed, and so durable: all before it needs no recovery.
    fn open_log(&self, recovery_point: i64) -> Result<Log, Failure> {
        let open = |recovery_point| {
            let options =
                OpenOptions { recovery_point, now_ms: self.now_ms, ..OpenOptions::default() };
            Log::open(self.disk.clone(), self.dir.clone(), self.config.clone(), options)
        };
        let opened = match open(recovery_point) {
            // Nothing is missing that the snapshot does not say.
            Err(OpenError::CommittedLost { path, position, .. })
                if self.ends_at(&path, position)? =>
            {
                open(0)
            }
            Err(OpenError::NoSegments { .. }) => open(0),
            opened => opened,
        };
        let (log, recovered) = opened?;
        if recovered.truncated_bytes > 0 {
            tracing::warn!(?recovered, "the end of the metadata log was not whole");
        }
        Ok(log)
    }

    /// Whether there is nothing of the log behind this position of this segment.
    fn ends_at(&self, segment: &Path, position: u64) -> Result<bool, Failure> {
        let name = segment.file_name().unwrap_or_default().to_string_lossy();
        let later = |other: &disk::DirEntry| other.name.ends_with(".log") && *other.name > *name;
        Ok(self.disk.metadata(segment)?.len == position
            && !self.disk.list(&self.dir)?.iter().any(later))
    }
}

/// Who voted when, as the newest snapshot and the log after it say.
fn history(
    log: &Log,
    newest: OffsetAndEpoch,
    snapshot: Option<&Snapshot>,
    fixed: &VoterSet,
) -> Result<VoterHistory, Failure> {
    let mut history = VoterHistory::new(fixed.clone());
    if let Some(snapshot) = snapshot {
        history.begin_with(newest.offset, snapshot.voters.clone(), snapshot.kraft_version);
    }
    let mut failed = None;
    log.view().batches_from(newest.offset).for_each(|batch| {
        failed = add_control(&batch, &mut history).err();
        failed.is_none()
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(history),
    }
}

/// Whether a batch names voters.
pub(super) fn add_control(
    batch: &RecordBatch,
    history: &mut VoterHistory,
) -> Result<bool, RecordsError> {
    let mut found = false;
    if batch.header().is_control() {
        for record in batch.records(snapshot::MAX_BATCH_BYTES)? {
            let record = record?;
            let control = parse_control(&record)?;
            found |= control.is_some_and(|control| history.add(record.offset, &control));
        }
    }
    Ok(found)
}
