//! Fetches of the metadata log and of its snapshots, answered by the leader. A fetch that finds nothing new waits.

use std::time::Duration;

use machines::consensus::{Event, FetchPosition, LogBounds, OffsetAndEpoch, ReplicaKey};
use model::{ErrorCode, LeaderEpoch, Uuid};
use runtime::{Cx, Failure, Outcome};
use wire::fetch_request::FetchPartition;
use wire::fetch_response as fetch;
use wire::fetch_snapshot_request;
use wire::fetch_snapshot_response as fetch_snapshot;
use wire::{FetchRequest, FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, Records};

use super::serve::{Asker, PARTITION, TOPIC};
use super::{Raft, RaftMsg};
use crate::snapshot;

/// From this version on a fetch names topics by id, and its answer says where the leader is.
const TOPIC_IDS_SINCE: i16 = 13;
const REPLICA_STATE_SINCE: i16 = 15;
const ENDPOINTS_SINCE: i16 = 17;
/// More fetches wait for nothing: nodes of a cluster are fewer.
const MAX_WAITING: usize = 10_000;
/// No answer carries more, whatever is asked for.
const MAX_FETCH_BYTES: i32 = 32 << 20;

/// A fetch that found nothing new.
pub(super) struct WaitingFetch {
    asker: Asker,
    replica: ReplicaKey,
    partition: FetchPartition,
    max_bytes: i32,
}

/// Why a fetch is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    First {
        may_wait: bool,
    },
    /// Something happened meanwhile.
    Again,
    /// Its time is over: it says nothing more of whoever asked, who may be gone long since.
    Last,
}

struct Found {
    position: FetchPosition,
    records: bytes::Bytes,
}

impl Raft {
    pub(super) async fn serve_fetch(
        &mut self,
        cx: &mut Cx<Self>,
        asker: Asker,
        request: FetchRequest,
    ) -> Outcome {
        let refuse =
            |error: ErrorCode| FetchResponse { error_code: error.code(), ..Default::default() };
        if !self.is_our_cluster(request.cluster_id.as_ref()) {
            asker.answer(refuse(ErrorCode::InconsistentClusterId));
            return Ok(());
        }
        let named = match (request.topics.as_slice(), asker.version) {
            ([topic], TOPIC_IDS_SINCE..) => topic.topic_id == Uuid::METADATA_TOPIC_ID,
            ([topic], _) => topic.topic == TOPIC,
            _ => false,
        };
        let partitions = request.topics.first().map(|topic| topic.partitions.as_slice());
        let partition = match partitions {
            Some([partition]) if named && partition.partition == PARTITION => partition.clone(),
            _ => {
                asker.answer(refuse(ErrorCode::InvalidRequest));
                return Ok(());
            }
        };
        if request.max_wait_ms < 0
            || partition.fetch_offset < 0
            || partition.last_fetched_epoch < 0
            || partition.last_fetched_epoch > partition.current_leader_epoch
        {
            let response = self.fetch_response(&asker, ErrorCode::InvalidRequest, None);
            asker.answer(response);
            return Ok(());
        }
        let id = match asker.version {
            REPLICA_STATE_SINCE.. => request.replica_state.replica_id,
            _ => request.replica_id,
        };
        let replica = ReplicaKey { id, directory_id: partition.replica_directory_id };
        let max_bytes = request.max_bytes.clamp(0, MAX_FETCH_BYTES);
        let waiting = WaitingFetch { asker, replica, partition, max_bytes };
        let may_wait = request.max_wait_ms > 0 && self.waiting_fetches.len() < MAX_WAITING;
        if let Some(waiting) = self.try_fetch(cx, waiting, Try::First { may_wait }).await? {
            let number = self.next_waiting;
            self.next_waiting += 1;
            let after = Duration::from_millis(u64::from(request.max_wait_ms.unsigned_abs()));
            let timer = cx.send_after(after, RaftMsg::FetchTimedOut { number });
            self.waiting_fetches.insert(number, (waiting, timer));
        }
        Ok(())
    }

    /// Answers a fetch, or gives it back where it may wait and there is nothing to say.
    async fn try_fetch(
        &mut self,
        cx: &mut Cx<Self>,
        fetch: WaitingFetch,
        of: Try,
    ) -> Result<Option<WaitingFetch>, Failure> {
        let error = self.check_leader_request(fetch.partition.current_leader_epoch);
        if error != ErrorCode::None {
            let response = self.fetch_response(&fetch.asker, error, None);
            fetch.asker.answer(response);
            return Ok(None);
        }
        let found = self.find(&fetch)?;
        let (replica, offset) = (fetch.replica, fetch.partition.fetch_offset);
        let follows = replica.id >= 0 && replica.id != self.args.local.key.id;
        if found.position == FetchPosition::Valid && follows && of != Try::Last {
            self.step(cx, Event::Fetched { replica, offset }).await?;
        }
        let known = fetch.partition.high_watermark;
        let news = !found.records.is_empty()
            || found.position != FetchPosition::Valid
            || known < self.consensus.led_high_watermark().unwrap_or(-1);
        let may_wait = matches!(of, Try::First { may_wait: true } | Try::Again);
        if may_wait && !news {
            return Ok(Some(fetch));
        }
        let response = self.fetch_response(&fetch.asker, ErrorCode::None, Some(found));
        fetch.asker.answer(response);
        Ok(None)
    }

    fn find(&self, fetch: &WaitingFetch) -> Result<Found, Failure> {
        let (offset, last_epoch) =
            (fetch.partition.fetch_offset, fetch.partition.last_fetched_epoch);
        let position = self.bounds().judge(offset, last_epoch, |epoch| self.end_of(epoch));
        let mut records = bytes::Bytes::new();
        if position == FetchPosition::Valid {
            let max_bytes = usize::try_from(fetch.max_bytes).unwrap_or(0);
            records = self.log.view().read_bytes(offset, max_bytes, true, i64::MAX)?;
        }
        Ok(Found { position, records })
    }

    fn bounds(&self) -> LogBounds {
        LogBounds {
            start_offset: self.log.log_start_offset(),
            earliest_snapshot: self.snapshots.first().copied(),
            latest_snapshot: self.snapshot_id,
        }
    }

    /// Where the records of an epoch end in this log: see [`LogBounds::judge`].
    pub(super) fn end_of(&self, epoch: i32) -> OffsetAndEpoch {
        let end = self.log.log_end_offset();
        let Some(found) = self.log.leader_epochs().end_offset(LeaderEpoch(epoch), end) else {
            return self.consensus.log_end();
        };
        let found = OffsetAndEpoch { epoch: found.epoch.0, offset: found.end_offset };
        match self.snapshots.first() {
            Some(earliest) if earliest.offset == found.offset && found.epoch == epoch => *earliest,
            _ => found,
        }
    }

    fn fetch_response(
        &self,
        asker: &Asker,
        error: ErrorCode,
        found: Option<Found>,
    ) -> FetchResponse {
        let (leader_id, leader_epoch) = (self.leader_id_or_none(), self.consensus.epoch());
        let committed = self.consensus.led_high_watermark().filter(|_| found.is_some());
        let mut partition = fetch::PartitionData {
            partition_index: PARTITION,
            error_code: error.code(),
            high_watermark: committed.unwrap_or(-1),
            log_start_offset: self.log.log_start_offset(),
            current_leader: fetch::LeaderIdAndEpoch {
                leader_id,
                leader_epoch,
                ..Default::default()
            },
            records: Some(Records::Bytes(bytes::Bytes::new())),
            ..Default::default()
        };
        if let Some(Found { position, records }) = found {
            partition.records = Some(Records::Bytes(records));
            match position {
                FetchPosition::Valid => {}
                FetchPosition::Diverging(end) => {
                    partition.diverging_epoch.epoch = end.epoch;
                    partition.diverging_epoch.end_offset = end.offset;
                }
                FetchPosition::Snapshot(id) => {
                    partition.snapshot_id.epoch = id.epoch;
                    partition.snapshot_id.end_offset = id.offset;
                }
            }
        }
        let endpoint = self.leader_endpoint(&asker.listener);
        let endpoint = endpoint.filter(|_| asker.version >= ENDPOINTS_SINCE);
        FetchResponse {
            responses: vec![fetch::FetchableTopicResponse {
                topic: TOPIC.to_owned(),
                topic_id: Uuid::METADATA_TOPIC_ID,
                partitions: vec![partition],
                ..Default::default()
            }],
            node_endpoints: endpoint
                .map(|leader| fetch::NodeEndpoint {
                    node_id: leader.id,
                    host: leader.host,
                    port: i32::from(leader.port),
                    ..Default::default()
                })
                .into_iter()
                .collect(),
            ..Default::default()
        }
    }

    /// The log grew, more is committed, or another leads: those who wait may have something to learn.
    pub(super) async fn wake_fetches(&mut self, cx: &mut Cx<Self>) -> Outcome {
        while std::mem::take(&mut self.fetches_due) {
            for (number, (waiting, timer)) in std::mem::take(&mut self.waiting_fetches) {
                match self.try_fetch(cx, waiting, Try::Again).await? {
                    Some(waiting) => drop(self.waiting_fetches.insert(number, (waiting, timer))),
                    // It may be set for days.
                    None => cx.cancel(timer),
                }
            }
        }
        Ok(())
    }

    pub(super) async fn fetch_timed_out(&mut self, cx: &mut Cx<Self>, number: u64) -> Outcome {
        if let Some((waiting, _)) = self.waiting_fetches.remove(&number) {
            self.try_fetch(cx, waiting, Try::Last).await?;
        }
        Ok(())
    }

    pub(super) async fn serve_snapshot(
        &mut self,
        cx: &mut Cx<Self>,
        asker: Asker,
        request: FetchSnapshotRequest,
    ) -> Outcome {
        let refuse = |error: ErrorCode| FetchSnapshotResponse {
            error_code: error.code(),
            ..Default::default()
        };
        if !self.is_our_cluster(request.cluster_id.as_ref()) {
            asker.answer(refuse(ErrorCode::InconsistentClusterId));
            return Ok(());
        }
        let [topic] = request.topics.as_slice() else {
            asker.answer(refuse(ErrorCode::InvalidRequest));
            return Ok(());
        };
        let [asked] = topic.partitions.as_slice() else {
            asker.answer(refuse(ErrorCode::InvalidRequest));
            return Ok(());
        };
        let partition = self
            .snapshot_part(cx, &topic.name, asked, request.replica_id, request.max_bytes)
            .await?;
        let endpoint = self.leader_endpoint(&asker.listener).filter(|_| asker.version >= 1);
        let response = FetchSnapshotResponse {
            topics: vec![fetch_snapshot::TopicSnapshot {
                name: topic.name.clone(),
                partitions: vec![partition],
                ..Default::default()
            }],
            node_endpoints: endpoint
                .map(|leader| fetch_snapshot::NodeEndpoint {
                    node_id: leader.id,
                    host: leader.host,
                    port: leader.port,
                    ..Default::default()
                })
                .into_iter()
                .collect(),
            ..Default::default()
        };
        asker.answer(response);
        Ok(())
    }

    async fn snapshot_part(
        &mut self,
        cx: &mut Cx<Self>,
        topic: &str,
        asked: &fetch_snapshot_request::PartitionSnapshot,
        replica_id: i32,
        max_bytes: i32,
    ) -> Result<fetch_snapshot::PartitionSnapshot, Failure> {
        let mut partition = fetch_snapshot::PartitionSnapshot {
            index: asked.partition,
            unaligned_records: Some(Records::Bytes(bytes::Bytes::new())),
            ..Default::default()
        };
        partition.error_code = if topic != TOPIC || asked.partition != PARTITION {
            ErrorCode::UnknownTopicOrPartition.code()
        } else {
            partition.current_leader.leader_id = self.leader_id_or_none();
            partition.current_leader.leader_epoch = self.consensus.epoch();
            match self.check_leader_request(asked.current_leader_epoch) {
                ErrorCode::None => {
                    let id = OffsetAndEpoch {
                        epoch: asked.snapshot_id.epoch,
                        offset: asked.snapshot_id.end_offset,
                    };
                    let error =
                        self.read_snapshot(id, asked.position, max_bytes, &mut partition)?;
                    if error == ErrorCode::None {
                        let (id, directory_id) = (replica_id, asked.replica_directory_id);
                        let replica = ReplicaKey { id, directory_id };
                        self.step(cx, Event::SnapshotFetched { replica }).await?;
                    }
                    error.code()
                }
                error => error.code(),
            }
        };
        Ok(partition)
    }

    /// The snapshot that a cluster begins with is not handed on: the first leader writes what it says to the log.
    fn read_snapshot(
        &self,
        id: OffsetAndEpoch,
        position: i64,
        max_bytes: i32,
        partition: &mut fetch_snapshot::PartitionSnapshot,
    ) -> Result<ErrorCode, Failure> {
        if id == OffsetAndEpoch::EMPTY || !self.snapshots.contains(&id) {
            return Ok(ErrorCode::SnapshotNotFound);
        }
        let path = snapshot::path(&self.dir, id);
        let file = self.args.log_dir.disk().open(&path, disk::Open::Read)?;
        let size = file.len()?;
        let at = u64::try_from(position).ok().filter(|at| *at < size);
        let Some(at) = at else { return Ok(ErrorCode::PositionOutOfRange) };
        let most = u64::from(max_bytes.clamp(0, MAX_FETCH_BYTES).unsigned_abs());
        let mut bytes = vec![0; (size - at).min(most) as usize];
        file.read_exact_at(&mut bytes, at)?;
        partition.snapshot_id.end_offset = id.offset;
        partition.snapshot_id.epoch = id.epoch;
        partition.size = i64::try_from(size).unwrap_or(i64::MAX);
        partition.position = position;
        partition.unaligned_records = Some(Records::Bytes(bytes.into()));
        Ok(ErrorCode::None)
    }
}
