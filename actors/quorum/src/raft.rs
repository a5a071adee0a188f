//! Raft: the shell around the quorum's machine, and the keeper of the metadata log.
//!
//! Supervisor: `quorum`, rest-for-one: what follows the log starts anew with it. Those who follow it subscribe, and get the snapshot,
//! every committed batch, and word of who leads, in the log's order. Runs where blocking is allowed: the storage bulkhead.

mod ask;
mod changes;
mod clean;
#[cfg(test)]
mod clean_tests;
mod describe;
mod effects;
mod feed;
mod follow;
#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod fuzz_tests;
mod open;
#[cfg(test)]
mod other_node;
mod search;
mod serve;
mod serve_fetch;
#[cfg(test)]
mod tests;
mod whereabouts;
#[cfg(test)]
mod whereabouts_tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use log::{Log, LogConfig, SyncJob};
use machines::consensus::{
    Consensus, ConsensusConfig, Event, OffsetAndEpoch, Refusal, ReplicaKey, Voter, VoterChange,
    VoterHistory, VoterSet,
};
use machines::metadata::MetadataVersion;
use model::node_config::HostPort;
use partitions::LogDirState;
use runtime::{Actor, ChildSpec, Cx, Failure, JobQueue, Lent, Outcome, Publisher, Reply, TimerId};
use wire::MetadataRecord;

use crate::files::{METADATA_DIR, RecordsError};
use crate::history::LogPlace;
use crate::peer::PeerAnswer;
use crate::snapshot::SnapshotError;
pub use ask::Question;
use ask::{Lane, PeerWay};
use changes::ChangeAsker;
use clean::Deleted;
pub use clean::MetadataRetention;
pub use effects::SyncFailed;
use effects::ToWrite;
pub(crate) use feed::records_of;
use feed::{LoadedSnapshot, Subscriber};
pub use feed::{RaftEvent, Sink};
use follow::{Fetching, SnapshotFetch};
use open::Opening;
use search::Search;
pub use serve::Asked;
use serve::Asker;
use serve_fetch::WaitingFetch;
use whereabouts::LeaderPlace;

/// A period is at least as long.
const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Clone)]
pub struct RaftArgs {
    /// The log directory that holds the metadata log.
    pub log_dir: Arc<LogDirState>,
    pub cluster_id: String,
    /// The cluster's id follows from its file, which may have altered since other nodes were formatted.
    pub derived_id: bool,
    /// This node, as it is written down where it votes.
    pub local: Voter,
    /// It has the role controller.
    pub may_vote: bool,
    /// controller.quorum.auto.join.enable
    pub auto_join: bool,
    /// Of a fixed quorum; where there are none, the log says who votes.
    pub fixed_voters: VoterSet,
    /// The first of controller.listener.names: by it controllers are asked.
    pub listener: String,
    /// Where the quorum is sought, beside the voters that the log names.
    pub bootstrap: Vec<HostPort>,
    /// How the ways to other nodes are supervised.
    pub peer: ChildSpec,
    pub request_timeout: Duration,
    pub retry_backoff: Duration,
    /// `controller.quorum.append.linger.ms`
    pub append_linger: Duration,
    pub fetch_max_bytes: i32,
    pub fetch_snapshot_max_bytes: i32,
    pub election_timeout: Duration,
    pub election_backoff: Duration,
    pub fetch_timeout: Duration,
    /// `ottla.failover.fast`
    pub fast_failover: bool,
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub retention: MetadataRetention,
    pub status: Arc<Publisher<RaftStatus>>,
}

/// Who leads the metadata log, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RaftStatus {
    pub leader_id: Option<i32>,
    /// The leader's controller listener.
    pub leader_address: Option<HostPort>,
    pub epoch: i32,
    pub high_watermark: i64,
    /// While no leader is found: which nodes were asked, and what each is reproached with.
    pub unfound: String,
    /// The level of `kraft.version`: 0 where the voters are fixed.
    pub kraft_version: i16,
    /// How many vote, by the newest of the log that this node has.
    pub voters: usize,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum RaftError {
    #[error("this node does not lead the metadata log in epoch {epoch}")]
    NotLeader { epoch: i32 },
    #[error("records for offset {base} of the metadata log, which ends at {end}")]
    UnexpectedOffset { base: i64, end: i64 },
    #[error(transparent)]
    Records(#[from] RecordsError),
}

pub enum RaftMsg {
    /// Follow the log from its beginning.
    Subscribe {
        sink: Sink,
    },
    /// From the controller that leads in this epoch; `base_offset` is where it takes the log to end, but for what raft itself appended
    /// and it was not told of. Answers the offset after the last record, once appended; when that is
    /// committed, followers of the log are told.
    Append {
        epoch: i32,
        base_offset: i64,
        /// Metadata records as they are to stand in the log.
        values: Vec<Bytes>,
        reply: Reply<Result<i64, RaftError>>,
    },
    /// From the controller that leads in this epoch: `kraft.version` is to have this level. Answers once that is appended, or why
    /// it cannot be; `validate_only`: could it?
    Upgrade {
        epoch: i32,
        level: i16,
        validate_only: bool,
        reply: Reply<Result<Option<Refusal>, RaftError>>,
    },
    /// From the publisher: what the log says up to `id`. Answers when the snapshot is on the disk.
    WriteSnapshot {
        id: OffsetAndEpoch,
        records: Vec<MetadataRecord>,
        version: MetadataVersion,
        timestamp_ms: i64,
    },
    Synced {
        result: Result<Box<SyncJob>, SyncFailed>,
    },
    /// There may be room now for what a sync found none for.
    SyncAgain,
    SnapshotWritten {
        id: OffsetAndEpoch,
        result: Result<(), SnapshotError>,
    },
    /// Look whether old snapshots and segments are to go.
    Clean,
    /// What was given up so long ago that nobody reads it any more.
    RemoveFiles {
        deleted: Deleted,
    },
    Removed {
        result: Result<(), String>,
    },
    Wake,
    /// A request of the quorum's protocol that came over the network.
    Serve {
        asked: Box<Asked>,
    },
    /// Another node answered, or did not.
    Answered {
        from: i32,
        question: Question,
        answer: Box<PeerAnswer>,
    },
    /// The pause after a failed request is over.
    TryAgain {
        by: ReplicaKey,
    },
    /// A fetch has waited for as long as it may.
    FetchTimedOut {
        number: u64,
    },
    /// The pause after a failed fetch is over.
    FetchAgain,
    /// What was appended was gathered for long enough.
    Lingered,
    /// Look whether there was a leader since the last look.
    LookForLeader,
    /// Look whether this node is to ask for a change of the voters.
    LookAtVoters,
    /// Where the log can be read beside raft.
    Look {
        reply: Reply<LogPlace>,
    },
    /// The node stops: lead no more. Answers when the other voters know.
    StandDown {
        reply: Reply<()>,
    },
}

runtime::messages!(RaftMsg {
    Subscribe,
    Append,
    Upgrade,
    WriteSnapshot,
    Synced,
    SyncAgain,
    SnapshotWritten,
    Clean,
    RemoveFiles,
    Removed,
    Lingered,
    Wake,
    Serve,
    Answered,
    TryAgain,
    FetchTimedOut,
    FetchAgain,
    LookForLeader,
    LookAtVoters,
    Look,
    StandDown
});

pub struct Raft {
    args: RaftArgs,
    dir: PathBuf,
    log: Lent<Log>,
    consensus: Consensus,
    history: VoterHistory,
    snapshot_id: Option<OffsetAndEpoch>,
    /// What the newest snapshot says, once a subscriber has asked for it.
    snapshot: Option<LoadedSnapshot>,
    subscribers: Vec<Subscriber>,
    committed: i64,
    /// One is being written.
    writes_snapshot: bool,
    /// What the next one is to say, the newest that was asked for meanwhile.
    next_snapshot: Option<Box<ToWrite>>,
    syncing: bool,
    /// What was appended last is synced in a while.
    lingering: bool,
    /// In a row.
    failed_syncs: u32,
    /// What a failed sync left is to be written again.
    rewrite_due: bool,
    wake: Option<TimerId>,
    /// All that are there, oldest first.
    snapshots: Vec<OffsetAndEpoch>,
    ways: BTreeMap<(i32, Lane), PeerWay>,
    /// Where nodes were said to be, for where the log does not say.
    endpoints: BTreeMap<i32, HostPort>,
    leader_place: Option<LeaderPlace>,
    votes: BTreeMap<u64, Asker>,
    /// How many records raft itself has appended in this epoch at a time, after those that begin it.
    own_records: Vec<i64>,
    /// Who waits for a change of the voters.
    changes: BTreeMap<u64, ChangeAsker>,
    /// In this epoch the leader knows what there is to know of this voter.
    told_epoch: i32,
    next_vote: u64,
    waiting_fetches: BTreeMap<u64, (WaitingFetch, TimerId)>,
    next_waiting: u64,
    /// Something happened that fetches wait for.
    fetches_due: bool,
    fetching: Fetching,
    next_fetch: u64,
    /// The last fetch led to nothing.
    seeks_leader: bool,
    asked_last: usize,
    search: Search,
    snapshot_fetch: Option<SnapshotFetch>,
    standing_down: Vec<Reply<()>>,
}

impl Actor for Raft {
    const KIND: &'static str = "raft";
    type Msg = RaftMsg;
    type Args = RaftArgs;

    async fn start(cx: &mut Cx<Self>, args: RaftArgs) -> Result<Self, Failure> {
        let dir = args.log_dir.path.join(METADATA_DIR);
        cx.queue_jobs_in(&JobQueue::new(&dir.to_string_lossy()));
        let opening = Opening {
            disk: args.log_dir.disk().clone(),
            dir: dir.clone(),
            unsynced: args.log_dir.is_unsynced(&dir),
            config: LogConfig {
                segment_bytes: args.segment_bytes,
                segment_ms: args.segment_ms,
                ..LogConfig::default()
            },
            fixed_voters: args.fixed_voters.clone(),
            now_ms: cx.world().now().wall_ms,
        };
        let opened = cx.blocking("open metadata log", move || opening.run()).await??;
        args.log_dir.rewritten(&dir);
        let mut raft = Raft {
            consensus: Consensus::new(ConsensusConfig {
                local: args.local.clone(),
                election_timeout: args.election_timeout,
                election_backoff: args.election_backoff,
                fetch_timeout: args.fetch_timeout,
                request_timeout: args.request_timeout,
                fast_failover: args.fast_failover,
                is_newcomer: opened.is_newcomer,
                jitter_seed: cx.world().random("elections").next_u64(),
            }),
            log: Lent::new(opened.log),
            history: opened.history,
            snapshot_id: opened.snapshot.as_ref().map(|(id, _)| *id),
            snapshot: opened.snapshot.map(|(id, snapshot)| LoadedSnapshot::new(id, snapshot)),
            subscribers: Vec::new(),
            committed: 0,
            writes_snapshot: false,
            next_snapshot: None,
            syncing: false,
            lingering: false,
            failed_syncs: 0,
            rewrite_due: false,
            wake: None,
            snapshots: opened.snapshots,
            ways: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            leader_place: None,
            votes: BTreeMap::new(),
            own_records: Vec::new(),
            changes: BTreeMap::new(),
            told_epoch: -1,
            next_vote: 0,
            waiting_fetches: BTreeMap::new(),
            next_waiting: 0,
            fetches_due: false,
            fetching: Fetching::default(),
            next_fetch: 0,
            seeks_leader: false,
            asked_last: 0,
            search: Search::default(),
            snapshot_fetch: None,
            standing_down: Vec::new(),
            args,
            dir,
        };
        raft.keep_looking(cx);
        raft.step(cx, opened.start).await?;
        raft.fetch_if_due(cx)?;
        Ok(raft)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: RaftMsg) -> Outcome {
        self.take(cx, msg).await?;
        self.wake_fetches(cx).await?;
        self.fetch_if_due(cx)?;
        if !self.is_resigning() {
            self.standing_down.drain(..).for_each(|reply| reply.send(()));
        }
        Ok(())
    }

    async fn stop(&mut self, cx: &mut Cx<Self>) {
        let resigned = self.step(cx, Event::Resign).await;
        let closed = self.close(cx).await;
        if let Err(error) = resigned.and(closed) {
            tracing::warn!(%error, "the metadata log was not closed; it will be recovered");
        }
    }

    fn state_line(&self) -> String {
        let leader = self.consensus.leader_id().map_or("none".to_owned(), |id| id.to_string());
        let (epoch, end) = (self.consensus.epoch(), self.log.log_end_offset());
        let newcomer =
            if self.consensus.is_newcomer() { ", new: votes for nobody ahead of it" } else { "" };
        format!("leader {leader}, epoch {epoch}, committed {} of {end}{newcomer}", self.committed)
    }
}

impl Raft {
    fn keep_looking(&self, cx: &mut Cx<Self>) {
        cx.every(clean::INTERVAL, || RaftMsg::Clean);
        cx.every(search::INTERVAL, || RaftMsg::LookForLeader);
        if self.args.may_vote {
            cx.every(self.args.fetch_timeout.max(MILLISECOND), || RaftMsg::LookAtVoters);
        }
    }

    async fn take(&mut self, cx: &mut Cx<Self>, msg: RaftMsg) -> Outcome {
        match msg {
            RaftMsg::Subscribe { sink } => {
                self.subscribers.push(Subscriber::new(sink));
                self.feed()?;
            }
            RaftMsg::Append { epoch, base_offset, values, reply } => {
                let appended = self.append(cx, epoch, base_offset, values).await?;
                reply.send(appended);
            }
            RaftMsg::Upgrade { epoch, level, validate_only, reply } => {
                self.upgrade(cx, epoch, VoterChange::Upgrade { level, validate_only }, reply)
                    .await?;
            }
            RaftMsg::Synced { result } => self.synced(cx, result).await?,
            RaftMsg::SyncAgain => self.sync_again(cx).await?,
            RaftMsg::Lingered => {
                self.lingering = false;
                self.sync(cx);
            }
            RaftMsg::WriteSnapshot { id, records, version, timestamp_ms } => {
                self.write_snapshot(cx, ToWrite { id, records, version, timestamp_ms });
            }
            RaftMsg::SnapshotWritten { id, result } => {
                self.snapshot_written(cx, id, result).await?;
            }
            RaftMsg::Clean => self.clean(cx).await?,
            RaftMsg::RemoveFiles { deleted } => self.remove_files(cx, deleted),
            RaftMsg::Removed { result } => {
                if let Err(error) = result {
                    tracing::warn!(error, "old metadata stays until the log is opened again");
                }
            }
            RaftMsg::Wake => {
                self.wake = None;
                self.step(cx, Event::Tick).await?;
            }
            RaftMsg::Serve { asked } => self.serve(cx, *asked).await?,
            RaftMsg::Answered { from, question, answer } => {
                self.answered(cx, from, question, *answer).await?;
            }
            RaftMsg::TryAgain { by } => self.step(cx, Event::Unanswered { by }).await?,
            RaftMsg::FetchTimedOut { number } => self.fetch_timed_out(cx, number).await?,
            RaftMsg::FetchAgain => {
                if self.fetching == Fetching::Pausing {
                    self.fetching = Fetching::Nothing;
                }
            }
            RaftMsg::LookForLeader => self.look_for_leader(),
            RaftMsg::LookAtVoters => self.look_at_voters(cx)?,
            RaftMsg::Look { reply } => reply.send(self.place()),
            RaftMsg::StandDown { reply } => {
                self.step(cx, Event::Resign).await?;
                self.standing_down.push(reply);
            }
        }
        Ok(())
    }
}
