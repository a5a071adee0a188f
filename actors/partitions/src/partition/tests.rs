use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use disk::{Crash, Disk, Open, PooledDisk, SimDisk, SimDiskOptions};
use log::{Log, LogConfig, OpenOptions, RecentBatches};
use machines::partition::{Acks, Leadership, Origin, ReplicaFetch};
use model::settings::TopicConfig;
use model::{LeaderEpoch, NodeId, TopicPartition, Uuid};
use runtime::{Address, Answer, Bulkhead, Handles, JobQueue, Reply, Root, World, spawn_root};
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::Compression;

use super::{Cut, NotPromoted, PartitionActor, PartitionArgs, PartitionMsg, Replicate, Truncate};
use crate::checkpoints::Offsets;
use crate::future::FutureLog;
use crate::handle::{Append, AppendResult, Appending, PartitionHandle};
use crate::hosted::Hosted;
use crate::{LogDirState, read_log_dir};

fn log_dir(disk: &Arc<dyn Disk>, path: &str) -> Arc<LogDirState> {
    disk.create_dir_all(Path::new(path)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    Arc::new(read_log_dir(disk, Path::new(path), Uuid([1; 16]), 1, true).unwrap().0)
}

fn batch(value: &[u8]) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.append(1, None, Some(value), &[]);
    builder.build().unwrap()
}

pub(super) struct Replica {
    pub world: World,
    sim: SimDisk,
    pub handle: Arc<PartitionHandle>,
    actor: Root<PartitionActor>,
}

impl Replica {
    pub async fn start() -> Replica {
        Replica::on(SimDisk::new(SimDiskOptions::default())).await
    }

    async fn on(sim: SimDisk) -> Replica {
        let disk = sim.mount();
        Replica::on_disk(sim, disk).await
    }

    pub async fn on_disk(sim: SimDisk, disk: Arc<dyn Disk>) -> Replica {
        let dir = log_dir(&disk, "/data");
        let (name, config) = (TopicPartition::new("orders", 0), Arc::new(TopicConfig::default()));
        let address = Address::vacant();
        let handle = PartitionHandle::new(name, Uuid([2; 16]), config, dir, address);
        let handle = Arc::new(handle);
        let args = PartitionArgs {
            handle: handle.clone(),
            isr_changes: Arc::default(),
            producer_id_expiration_ms: i64::MAX,
            hosted: Arc::new(Hosted::new(RecentBatches::new(1 << 20, 0))),
        };
        let world = World::real(Handles::current(), disk);
        let actor = spawn_root::<PartitionActor>(&world, "orders-0", args).unwrap();
        actor.started().await.unwrap();
        Replica { world, sim, handle, actor }
    }

    pub fn tell(&self, message: PartitionMsg) {
        self.actor.me().send_now(message).unwrap();
    }

    pub fn lead(&self, epoch: i32) {
        self.lead_of(epoch, &[NodeId(1)]);
    }

    fn lead_of(&self, epoch: i32, replicas: &[NodeId]) {
        let leadership = Box::new(Leadership {
            node: NodeId(1),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: epoch,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            min_insync_replicas: 1,
            live: Vec::new(),
            max_lag: Duration::from_secs(30),
            pending: None,
        });
        self.tell(PartitionMsg::Lead { leadership });
    }

    pub fn append(&self) -> Answer<AppendResult> {
        self.append_value(b"value")
    }

    pub fn append_value(&self, value: &[u8]) -> Answer<AppendResult> {
        self.append_batch(batch(value))
    }

    pub fn append_batch(&self, batch: RecordBatch) -> Answer<AppendResult> {
        self.append_for(batch, Acks::Leader)
    }

    fn append_for(&self, batch: RecordBatch, acks: Acks) -> Answer<AppendResult> {
        let append = Append { batch, acks, origin: Origin::Client, leader_epoch: None, held: None };
        let (reply, answer) = Reply::new();
        self.tell(PartitionMsg::Append { asked: Box::new(Appending { append, reply }) });
        answer
    }

    /// A copy in another directory, of nothing yet.
    pub fn copy(&self) -> Arc<FutureLog> {
        let there = log_dir(&self.handle.log_dir().disk().clone(), "/other");
        let path = there.path.join("orders-0.00000000000000000000000000000001-future");
        let (disk, config) = (there.disk().clone(), LogConfig::default());
        Log::open(disk, path.clone(), config, OpenOptions::default()).unwrap().0.close().unwrap();
        Arc::new(FutureLog::new(there, path, JobQueue::new("copies"), None, Offsets::default()))
    }

    async fn promote(&self, future: &Arc<FutureLog>) -> Result<(), NotPromoted> {
        let (reply, answer) = Reply::new();
        let (future, reply) = (future.clone(), Box::new(reply));
        self.tell(PartitionMsg::Promote { future, reply });
        answer.get().await.unwrap()
    }
}

/// A follower's log is cut by what the leader says of its epochs.
#[tokio::test]
async fn records_that_wait_while_another_epoch_begins_are_of_the_one_before() {
    let replica = Replica::start().await;
    let mut last = None;
    // All in the mailbox before the first is handled.
    for epoch in [0, 1, 2] {
        replica.lead(epoch);
        last = Some(replica.append());
    }
    assert_eq!(last.unwrap().get().await.unwrap().unwrap().base_offset, 2);
    let view = replica.handle.view().unwrap();
    let epochs: Vec<_> =
        view.leader_epochs().entries().map(|e| (e.epoch.0, e.start_offset)).collect();
    assert_eq!(epochs, [(0, 0), (1, 1), (2, 2)]);
}

/// From the frame that a client sent to who reads at the log's end: the header is the leader's own, all else is never copied.
#[tokio::test]
async fn who_reads_at_the_end_gets_the_very_bytes_that_came() {
    const BEFORE: usize = 100;
    const HEADER: usize = 61;
    let replica = Replica::start().await;
    replica.lead(3);
    let mut last = None;
    let mut frames = Vec::new();
    for value in [vec![7; 8_000], vec![8; 9_000]] {
        let frame = Bytes::from([&[0; BEFORE], &batch(&value).to_bytes()[..]].concat());
        let came = RecordBatch::parse(&frame.slice(BEFORE..)).unwrap();
        frames.push(frame);
        last = Some(replica.append_batch(came));
    }
    assert_eq!(last.unwrap().get().await.unwrap().unwrap().base_offset, 1);
    let read = replica.handle.view().unwrap().read(0, 1 << 20, true, 2).unwrap();
    let read = read.in_memory.expect("the newest batches").bytes;
    assert_eq!(read.iter().map(Bytes::len).sum::<usize>(), 2 * (HEADER + 8) + 17_000 + 4);
    let records = read.iter().filter(|piece| piece.len() > HEADER);
    let at: Vec<_> = records.map(|piece| piece.as_ptr_range().end).collect();
    let came: Vec<_> = frames.iter().map(|frame| frame.as_ptr_range().end).collect();
    assert_eq!(at, came);
    let header = RecordBatch::parse(&read.concat().into()).unwrap();
    assert_eq!((header.header().base_offset, header.header().leader_epoch), (0, 3));
}

/// Whose copy lacks more than can be waited for is served on where it is.
#[tokio::test]
async fn a_copy_that_is_far_behind_is_copied_on_before_it_takes_the_logs_place() {
    let replica = Replica::start().await;
    replica.lead(0);
    let value = vec![7; 1 << 20];
    for _ in 0..20 {
        replica.append_value(&value).get().await.unwrap().unwrap();
    }
    let here = replica.handle.log_dir();
    let future = replica.copy();
    assert_eq!(replica.promote(&future).await, Err(NotPromoted::Behind));
    assert!(Arc::ptr_eq(&replica.handle.log_dir(), &here), "16 MiB are copied at most");
    let nearer = future.log_end_offset();
    assert!((10..20).contains(&nearer), "{nearer}");
    assert_eq!(replica.append().get().await.unwrap().unwrap().base_offset, 20);
    assert_eq!(replica.promote(&future).await, Ok(()));
    assert!(Arc::ptr_eq(&replica.handle.log_dir(), &future.dir));
    assert_eq!(replica.handle.log_end_offset(), 21);
}

#[tokio::test]
async fn who_waits_for_followers_waits_on_while_the_log_changes_its_directory() {
    let replica = Replica::start().await;
    replica.lead_of(3, &[NodeId(1), NodeId(2)]);
    let waits = replica.append_for(batch(b"value"), Acks::All);
    let future = replica.copy();
    assert_eq!(replica.promote(&future).await, Ok(()));
    assert!(Arc::ptr_eq(&replica.handle.log_dir(), &future.dir));
    let fetch = ReplicaFetch {
        offset: 1,
        log_start_offset: 0,
        leader_end: 1,
        broker_epoch: -1,
        at: Duration::ZERO,
    };
    replica.handle.replica_fetched(NodeId(2), LeaderEpoch(3), &fetch);
    replica.tell(PartitionMsg::ReplicaFetched { replica: NodeId(2) });
    assert_eq!(waits.get().await.unwrap().unwrap().base_offset, 0);
    // In the same epoch, and to those who read at its end.
    assert_eq!(
        replica.append_for(batch(b"more"), Acks::Leader).get().await.unwrap().unwrap().base_offset,
        1
    );
    let view = replica.handle.view().unwrap();
    assert_eq!(view.leader_epochs().latest().unwrap().epoch, LeaderEpoch(3));
    assert!(view.read(1, 1 << 20, true, 2).unwrap().in_memory.is_some());
}

/// Its next fetch says so, also where nothing had to be cut.
#[tokio::test]
async fn what_is_left_of_a_cut_is_durable_where_the_topic_wants_that_of_what_is_fetched() {
    for (seed, to) in (0..8).flat_map(|seed| [(seed, 5), (seed, 4)]) {
        let sim = SimDisk::new(SimDiskOptions { seed, ..SimDiskOptions::default() });
        let replica = Replica::on(sim).await;
        let config = |flush_messages| {
            let config = TopicConfig { flush_messages, ..TopicConfig::default() };
            PartitionMsg::Configure { config: Arc::new(config) }
        };
        replica.tell(config(i64::MAX));
        let leader_epoch = LeaderEpoch(1);
        replica.tell(PartitionMsg::Follow { leader_epoch, partition_epoch: 1 });
        let at = |offset| {
            let mut batch = batch(b"value");
            batch.assign(offset, 1);
            batch
        };
        let (reply, answer) = Reply::new();
        let brought = Replicate {
            leader_epoch,
            fetch_offset: 0,
            batches: (0..5).map(at).collect(),
            high_watermark: 0,
            log_start_offset: 0,
            reply,
        };
        replica.tell(PartitionMsg::Replicate { asked: Box::new(brought) });
        assert_eq!(answer.get().await.unwrap().unwrap().offset, 5);
        replica.tell(config(1));
        let (reply, answer) = Reply::new();
        let cut = Truncate { leader_epoch, to: Cut::Offset(to), reply };
        replica.tell(PartitionMsg::Truncate { asked: Box::new(cut) });
        assert_eq!(answer.get().await.unwrap().unwrap().offset, to);
        let path = replica.handle.path();
        replica.sim.crash(Crash::PowerLoss);
        let (config, options) = (LogConfig::default(), OpenOptions::default());
        let found = Log::open(replica.sim.mount(), path, config, options).unwrap().0;
        assert_eq!(found.log_end_offset(), to, "seed {seed}");
    }
}

/// No job in a queue of its directory goes on until the answer is dropped.
fn held_up(replica: &Replica, queue: fn(&LogDirState) -> &JobQueue) -> Sender<()> {
    const AT_ONCE: usize = 16;
    let (go_on, waits) = channel::<()>();
    let waits = Arc::new(Mutex::new(waits));
    for _ in 0..AT_ONCE {
        let (world, dir, waits) = (replica.world.clone(), replica.handle.log_dir(), waits.clone());
        let job = move || waits.lock().unwrap().recv().unwrap_err();
        let hold = async move {
            world.blocking_in(queue(&dir), "held up", job).await.unwrap();
        };
        drop(replica.world.spawn(Bulkhead::Storage, hold));
    }
    go_on
}

fn rolls_with_each_record(replica: &Replica) {
    replica.lead(0);
    let config = TopicConfig { segment_bytes: 200, ..TopicConfig::default() };
    replica.tell(PartitionMsg::Configure { config: Arc::new(config) });
}

/// Whose files are made while others on its thread go on.
#[tokio::test]
async fn a_segment_is_begun_by_a_job_of_its_directory() {
    let replica = Replica::start().await;
    rolls_with_each_record(&replica);
    let busy = held_up(&replica, LogDirState::appends);
    assert_eq!(replica.append().get().await.unwrap().unwrap().base_offset, 0);
    let begins_one = replica.append_value(&[7; 150]);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(replica.handle.log_end_offset(), 1);
    drop(busy);
    assert_eq!(begins_one.get().await.unwrap().unwrap().base_offset, 1);
    assert_eq!(replica.append_value(&[7; 150]).get().await.unwrap().unwrap().base_offset, 2);
}

/// Syncs, moves and passes of the log cleaner are many, and take long.
#[tokio::test]
async fn a_segment_is_begun_before_what_else_its_directory_has_to_do() {
    let replica = Replica::start().await;
    rolls_with_each_record(&replica);
    let busy = held_up(&replica, LogDirState::queue);
    for offset in 0..3 {
        let appended = replica.append_value(&[7; 150]).get();
        let appended = tokio::time::timeout(Duration::from_secs(60), appended).await;
        assert_eq!(appended.expect("it waits for others").unwrap().unwrap().base_offset, offset);
    }
    drop(busy);
}

/// Its descriptor was given to others, of which one may have to be synced first.
#[tokio::test]
async fn a_file_that_was_closed_is_opened_by_a_job_of_its_directory() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let disk: Arc<dyn Disk> = Arc::new(PooledDisk::new(sim.mount(), 1));
    let replica = Replica::on_disk(sim, disk.clone()).await;
    replica.lead(0);
    assert_eq!(replica.append().get().await.unwrap().unwrap().base_offset, 0);
    // Until it has been looked at twice.
    for _ in 0..3 {
        drop(disk.keep(Path::new("/data/other"), Open::Create).unwrap());
    }
    let busy = held_up(&replica, LogDirState::appends);
    let opens = replica.append();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(replica.handle.log_end_offset(), 1);
    drop(busy);
    assert_eq!(opens.get().await.unwrap().unwrap().base_offset, 1);
}
