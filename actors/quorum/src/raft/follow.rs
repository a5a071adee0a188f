//! Following: the metadata log of the leader is fetched, cut where it diverges, and taken over as it is; or its newest snapshot is.

use std::path::PathBuf;
use std::sync::Arc;

use disk::{DiskFile, Open};
use log::{Log, TruncateError};
use machines::consensus::{Event, OffsetAndEpoch, Role, truncation_offset};
use model::{ErrorCode, Uuid};
use runtime::{Cx, Failure, Outcome};
use wire::batch::batches;
use wire::fetch_response::PartitionData;
use wire::fetch_snapshot_response::PartitionSnapshot;
use wire::{FetchRequest, FetchSnapshotRequest, Records};
use wire::{fetch_request, fetch_snapshot_request};

use super::ask::{Lane, Question};
use super::open::add_control;
use super::serve::{PARTITION, TOPIC};
use super::{Raft, RaftMsg};
use crate::peer::{PeerAnswer, Unanswered};
use crate::rpc::{QuorumRequest, QuorumResponse};
use crate::snapshot::{self, Snapshot};

/// How long a leader keeps a fetch that finds nothing new, as Kafka's.
const MAX_WAIT_MS: i32 = 500;

/// A snapshot that is on its way here.
pub(super) struct SnapshotFetch {
    id: OffsetAndEpoch,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    size: u64,
    /// Of whom: another leader may not have it.
    epoch: i32,
}

/// Where the node stands with its fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fetching {
    #[default]
    Nothing,
    /// Under way.
    Asked(u64),
    /// After a failure.
    Pausing,
}

impl Raft {
    /// One fetch at a time, and only from where everything is on disk: the leader takes the offset for an acknowledgement.
    pub(super) fn fetch_if_due(&mut self, cx: &mut Cx<Self>) -> Outcome {
        if self.fetching != Fetching::Nothing || self.syncing || self.consensus.is_leader() {
            return Ok(());
        }
        if self.log.sync_job().is_some() {
            self.sync(cx);
            return Ok(());
        }
        let leader = self.consensus.leader_id().filter(|id| self.address_of(*id).is_some());
        let to = match self.consensus.role() {
            // Nobody tells an observer of another leader.
            Role::Follower { deadline: None, .. } if std::mem::take(&mut self.seeks_leader) => {
                self.somebody()
            }
            Role::Follower { .. } if leader.is_some() => leader,
            Role::Follower { .. } | Role::Unattached { .. } => self.somebody(),
            _ => None,
        };
        let Some(to) = to else { return Ok(()) };
        let epoch = self.consensus.epoch();
        if self.snapshot_fetch.as_ref().is_some_and(|fetch| fetch.epoch != epoch) {
            self.give_up_snapshot()?;
        }
        let number = self.next_fetch;
        self.next_fetch += 1;
        self.fetching = Fetching::Asked(number);
        let request = match &self.snapshot_fetch {
            Some(fetch) => self.snapshot_request(fetch).into(),
            None => QuorumRequest::from(self.fetch_request()),
        };
        self.ask(cx, to, Lane::Fetches, Question::Fetch { number }, request)
    }

    /// Anybody who may know who leads: one after the other.
    fn somebody(&mut self) -> Option<i32> {
        let ids = self.who_may_know();
        self.asked_last = self.asked_last.wrapping_add(1);
        ids.get(self.asked_last.checked_rem(ids.len())?).copied()
    }

    fn fetch_request(&self) -> FetchRequest {
        let local = self.args.local.key;
        let end = self.consensus.log_end();
        let partition = fetch_request::FetchPartition {
            partition: PARTITION,
            current_leader_epoch: self.consensus.epoch(),
            fetch_offset: end.offset,
            last_fetched_epoch: end.epoch,
            replica_directory_id: local.directory_id,
            high_watermark: self.consensus.high_watermark().unwrap_or(-1),
            ..Default::default()
        };
        let topic = fetch_request::FetchTopic {
            topic: TOPIC.to_owned(),
            topic_id: Uuid::METADATA_TOPIC_ID,
            partitions: vec![partition],
            ..Default::default()
        };
        let mut request = FetchRequest {
            cluster_id: Some(self.args.cluster_id.clone()),
            max_wait_ms: MAX_WAIT_MS,
            max_bytes: self.args.fetch_max_bytes,
            topics: vec![topic],
            ..Default::default()
        };
        request.replica_state.replica_id = local.id;
        request
    }

    fn snapshot_request(&self, fetch: &SnapshotFetch) -> FetchSnapshotRequest {
        let mut partition = fetch_snapshot_request::PartitionSnapshot {
            partition: PARTITION,
            current_leader_epoch: self.consensus.epoch(),
            position: fetch.size as i64,
            replica_directory_id: self.args.local.key.directory_id,
            ..Default::default()
        };
        partition.snapshot_id.end_offset = fetch.id.offset;
        partition.snapshot_id.epoch = fetch.id.epoch;
        FetchSnapshotRequest {
            cluster_id: Some(self.args.cluster_id.clone()),
            replica_id: self.args.local.key.id,
            max_bytes: self.args.fetch_snapshot_max_bytes,
            topics: vec![fetch_snapshot_request::TopicSnapshot {
                name: TOPIC.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    pub(super) async fn fetch_answered(
        &mut self,
        cx: &mut Cx<Self>,
        from: i32,
        number: u64,
        answer: PeerAnswer,
    ) -> Outcome {
        if self.fetching != Fetching::Asked(number) {
            return Ok(());
        }
        let taken = match answer {
            Ok(QuorumResponse::Fetch(response)) => self.take_fetch(cx, response).await?,
            Ok(QuorumResponse::FetchSnapshot(response)) => self.take_part(cx, response).await?,
            Err(Unanswered::Refused(_)) => {
                let epoch = self.consensus.epoch();
                self.step(cx, Event::LeaderGone { leader_id: from, epoch }).await?;
                false
            }
            Ok(_) | Err(Unanswered::Failed(_) | Unanswered::Overtaken) => false,
        };
        // Raft goes on with the next one, unless another leader was found meanwhile and is asked already.
        self.fetching = Fetching::Nothing;
        self.seeks_leader = !taken;
        if taken {
            self.leader_found();
        } else {
            tracing::debug!(from, "a fetch of the metadata log got nothing; it is tried again");
            self.fetching = Fetching::Pausing;
            cx.send_after(self.pause(), RaftMsg::FetchAgain);
        }
        Ok(())
    }

    /// False where it is to be tried again later.
    async fn take_fetch(
        &mut self,
        cx: &mut Cx<Self>,
        response: wire::FetchResponse,
    ) -> Result<bool, Failure> {
        let partition = response.responses.into_iter().next().and_then(|topic| {
            topic.partitions.into_iter().next().filter(|p| p.partition_index == PARTITION)
        });
        let Some(partition) = partition.filter(|_| response.error_code == 0) else {
            let error = ErrorCode::from_code(response.error_code);
            tracing::debug!(error = error.name(), "a fetch of the metadata log is refused");
            return Ok(false);
        };
        let leader = &partition.current_leader;
        let place = response.node_endpoints.iter().find(|e| e.node_id == leader.leader_id);
        if let Some((place, Ok(port))) = place.map(|place| (place, u16::try_from(place.port))) {
            self.leader_said_at(place.node_id, leader.leader_epoch, &place.host, port);
        }
        if !self.still_follows(cx, leader.leader_id, leader.leader_epoch).await?
            || partition.error_code != 0
        {
            return Ok(false);
        }
        if partition.diverging_epoch.epoch >= 0 {
            self.cut(cx, &partition).await?;
        } else if partition.snapshot_id.epoch >= 0 && partition.snapshot_id.end_offset >= 0 {
            let id = &partition.snapshot_id;
            let id = OffsetAndEpoch { epoch: id.epoch, offset: id.end_offset };
            self.step(cx, Event::FetchAnswered { high_watermark: None }).await?;
            return self.begin_snapshot(id);
        } else {
            let Some(bytes) = flat(partition.records) else { return Ok(false) };
            if !self.append_as_follower(cx, bytes).await? {
                return Ok(false);
            }
            let high_watermark = Some(partition.high_watermark).filter(|offset| *offset >= 0);
            self.step(cx, Event::FetchAnswered { high_watermark }).await?;
        }
        Ok(true)
    }

    /// Whether what a leader answered is from the one that this node follows, with what it says of the epoch.
    async fn still_follows(
        &mut self,
        cx: &mut Cx<Self>,
        leader_id: i32,
        epoch: i32,
    ) -> Result<bool, Failure> {
        let leader_id = (leader_id >= 0).then_some(leader_id);
        self.step(cx, Event::Heard { leader_id, epoch }).await?;
        Ok(matches!(self.consensus.role(), Role::Follower { .. })
            && self.consensus.epoch() == epoch
            && self.consensus.leader_id() == leader_id)
    }

    async fn cut(&mut self, cx: &mut Cx<Self>, partition: &PartitionData) -> Outcome {
        let diverging = OffsetAndEpoch {
            epoch: partition.diverging_epoch.epoch,
            offset: partition.diverging_epoch.end_offset,
        };
        let offset = truncation_offset(diverging, |epoch| self.end_of(epoch));
        let committed = self.committed.max(self.snapshot_id.map_or(0, |id| id.offset));
        if offset < committed {
            let why = format!(
                "the leader asks to cut the metadata log at offset {offset}, and {committed} of it is committed: the directory of \
                 one of the voters was lost or replaced; find which, and restore it",
            );
            // Raft alone, started anew, would not know what was committed, and cut it off.
            self.args.log_dir.fail(&why);
            return Err(Failure::new(why));
        }
        let now_ms = cx.world().now().wall_ms;
        let cut = move |log: &mut Log| -> Result<(), TruncateError> {
            let gone = log.truncate_to(offset, now_ms)?;
            Ok(gone.map_or(Ok(()), |gone| log.remove(&gone))?)
        };
        cx.lend("cut metadata log", &mut self.log, cut).await??;
        let end = OffsetAndEpoch { epoch: self.last_epoch(), offset: self.log.log_end_offset() };
        tracing::info!(
            offset = end.offset,
            "the metadata log was cut where it parts from the leader's"
        );
        self.step(cx, Event::Truncated { end }).await?;
        self.history.truncate(end.offset);
        self.tell_voters(cx).await?;
        self.step(cx, Event::FetchAnswered { high_watermark: None }).await
    }

    /// Of the last record, or of the snapshot that the log begins with.
    pub(super) fn last_epoch(&self) -> i32 {
        let latest = self.log.leader_epochs().latest().map(|latest| latest.epoch.0);
        latest.or(self.snapshot_id.map(|id| id.epoch)).unwrap_or(0)
    }

    /// False where the records do not continue this log: nothing is taken then.
    async fn append_as_follower(
        &mut self,
        cx: &mut Cx<Self>,
        bytes: bytes::Bytes,
    ) -> Result<bool, Failure> {
        let mut next = self.log.log_end_offset();
        let mut epoch = self.last_epoch();
        let (is_news, mut found) = (!bytes.is_empty(), Vec::new());
        for batch in batches(bytes) {
            // The last one may be cut off.
            let Ok(batch) = batch else { break };
            let header = *batch.header();
            let fits = header.base_offset == next
                && header.next_offset() > next
                && (epoch..=self.consensus.epoch()).contains(&header.leader_epoch);
            if !fits || batch.verify_crc().is_err() {
                tracing::error!(
                    offset = header.base_offset,
                    "records that do not fit the metadata log"
                );
                return Ok(false);
            }
            (next, epoch) = (header.next_offset(), header.leader_epoch);
            found.push(batch);
        }
        if found.is_empty() {
            // What begins with half a batch is damaged: a leader sends one whole at least.
            return Ok(!is_news);
        }
        let appended = self.write(cx, &found, epoch)?;
        self.sync(cx);
        self.step(cx, appended).await?;
        let mut changed = false;
        for batch in &found {
            changed |= add_control(batch, &mut self.history)?;
        }
        if changed {
            self.tell_voters(cx).await?;
        }
        Ok(true)
    }

    /// The log names other voters than before, or none of those that it named.
    async fn tell_voters(&mut self, cx: &mut Cx<Self>) -> Outcome {
        self.step(cx, Event::VotersChanged { voters: self.history.newest() }).await
    }

    /// False where this node has it already: asked at once, the leader would say the same.
    fn begin_snapshot(&mut self, id: OffsetAndEpoch) -> Result<bool, Failure> {
        self.give_up_snapshot()?;
        if self.snapshot_id >= Some(id) {
            return Ok(false);
        }
        let path = snapshot::part_path(&self.dir, id);
        let file = self.args.log_dir.disk().open(&path, Open::Truncate)?;
        tracing::info!(?id, "fetching a snapshot of the metadata log");
        let epoch = self.consensus.epoch();
        self.snapshot_fetch = Some(SnapshotFetch { id, path, file, size: 0, epoch });
        Ok(true)
    }

    fn give_up_snapshot(&mut self) -> Outcome {
        if let Some(fetch) = self.snapshot_fetch.take() {
            snapshot::remove_if_there(&**self.args.log_dir.disk(), &fetch.path)?;
        }
        Ok(())
    }

    async fn take_part(
        &mut self,
        cx: &mut Cx<Self>,
        response: wire::FetchSnapshotResponse,
    ) -> Result<bool, Failure> {
        let partition =
            response.topics.into_iter().next().and_then(|topic| {
                topic.partitions.into_iter().next().filter(|p| p.index == PARTITION)
            });
        let Some(partition) = partition.filter(|_| response.error_code == 0) else {
            return Ok(false);
        };
        let leader = &partition.current_leader;
        if let Some(place) = response.node_endpoints.iter().find(|e| e.node_id == leader.leader_id)
        {
            self.leader_said_at(place.node_id, leader.leader_epoch, &place.host, place.port);
        }
        if !self.still_follows(cx, leader.leader_id, leader.leader_epoch).await? {
            self.give_up_snapshot()?;
            return Ok(false);
        }
        self.step(cx, Event::FetchAnswered { high_watermark: None }).await?;
        let Some(fetch) = &mut self.snapshot_fetch else { return Ok(true) };
        let PartitionSnapshot { error_code, size, position, snapshot_id, .. } = &partition;
        let fits = *error_code == 0
            && *position == fetch.size as i64
            && snapshot_id.end_offset == fetch.id.offset
            && snapshot_id.epoch == fetch.id.epoch;
        let size = u64::try_from(*size).unwrap_or(0);
        let bytes = flat(partition.unaligned_records).filter(|bytes| !bytes.is_empty());
        let Some(bytes) = bytes.filter(|_| fits && size <= snapshot::MAX_SNAPSHOT as u64) else {
            self.give_up_snapshot()?;
            return Ok(false);
        };
        fetch.file.write_at(&bytes, fetch.size)?;
        fetch.size += bytes.len() as u64;
        if fetch.size >= size {
            self.take_snapshot(cx).await?;
        }
        Ok(true)
    }

    /// The snapshot is here whole: the log goes on where it ends.
    async fn take_snapshot(&mut self, cx: &mut Cx<Self>) -> Outcome {
        let Some(fetch) = self.snapshot_fetch.take() else { return Ok(()) };
        let disk = self.args.log_dir.disk().clone();
        let (id, dir, now_ms) = (fetch.id, self.dir.clone(), cx.world().now().wall_ms);
        let take = move |log: &mut Log| -> Result<Snapshot, Failure> {
            fetch.file.sync_all()?;
            drop(fetch.file);
            // What is not one is found before anything is given up for it: the newest snapshot is what the node starts with.
            let said = snapshot::read_file(&*disk, &fetch.path, snapshot::MAX_SNAPSHOT)?;
            disk.rename(&fetch.path, &snapshot::path(&dir, id))?;
            disk.sync_dir(&dir)?;
            log.truncate_fully_and_start_at(id.offset, now_ms)?.remove(&*disk)?;
            Ok(said)
        };
        let said = cx.lend("take snapshot", &mut self.log, take).await??;
        self.snapshot_id = Some(id);
        self.snapshot = None;
        // What the log said before is no part of this one: it neither begins nor parts from another there.
        self.snapshots = vec![id];
        self.clean(cx).await?;
        tracing::info!(?id, "the metadata log goes on where the snapshot of its leader ends");
        self.step(cx, Event::Appended { end: id }).await?;
        self.step(cx, Event::Flushed { end_offset: id.offset }).await?;
        self.history.begin_with(id.offset, said.voters, said.kraft_version);
        self.tell_voters(cx).await?;
        self.step(cx, Event::FetchAnswered { high_watermark: Some(id.offset) }).await
    }
}

/// An answer that was read from the network lies in one piece.
fn flat(records: Option<Records>) -> Option<bytes::Bytes> {
    match records {
        Some(Records::Bytes(bytes)) => Some(bytes),
        None => Some(bytes::Bytes::new()),
        Some(_) => None,
    }
}
