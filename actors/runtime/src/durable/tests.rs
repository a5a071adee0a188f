//! Durable actors as their shard runs them, on a log that a test drives.

mod journal;
mod timers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use disk::RealDisk;
use model::{ErrorCode, LeaderEpoch, StoredRecord, Uuid};
use serde::{Deserialize, Serialize};

use super::*;
use crate::sharded::test_log::TestLog;
use crate::sharded::{Refused, Shard, ShardArgs, ShardLog, ShardMsg};
use crate::{
    Answer, Clock, Handles, Parts, RealJobs, RealNet, RealRandom, Reply, Root, World, spawn_root,
};

const LIMIT: Duration = Duration::from_secs(5);
const SNAPSHOT_EVERY: u64 = 4;
/// What the clock on the wall shows when a test begins.
const START_MS: i64 = 1_000_000;

/// Adds, to the number of a key, and to one that a timer has reached.
pub(super) struct Tally;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    Add(u64),
    Get,
    Refuse,
    Panic,
    /// Adds the number at a time.
    AddAt(String, u64, i64),
    Cancel(String),
    AddElsewhere(String, u64),
    Grow(usize),
    Nothing,
    Break,
    Shrink,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Event {
    Added(u64),
    Later { timer: String, adds: u64 },
    Grown(Vec<u8>),
    Broken,
    Shrunk,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Total {
    pub(super) sum: u64,
    later: std::collections::BTreeMap<String, u64>,
    ballast: Vec<u8>,
}

impl Durable for Tally {
    type Command = Command;
    type Event = Event;
    type State = Total;
    type Reply = Result<u64, String>;

    const VERSION: u32 = 2;

    fn decide(&self, at: At<'_>, total: &Total, command: Command) -> Decision<Self> {
        match command {
            Command::Add(n) => Decision::persist(Event::Added(n)).reply(Ok(total.sum + n)),
            Command::Get => Decision::none().reply(Ok(total.sum)),
            Command::Refuse => Decision::none().reply(Err(format!("{} says no", at.key))),
            Command::Panic => panic!("a bug of the user's"),
            Command::AddAt(timer, adds, at_ms) => {
                Decision::persist(Event::Later { timer: timer.clone(), adds })
                    .set_timer(timer, at_ms)
                    .reply(Ok(total.sum))
            }
            Command::Cancel(timer) => Decision::none().cancel_timer(timer).reply(Ok(total.sum)),
            Command::AddElsewhere(key, n) => {
                Decision::persist(Event::Added(0)).tell(key, Command::Add(n)).reply(Ok(n))
            }
            Command::Grow(by) => Decision::persist(Event::Grown(vec![7; by])).reply(Ok(0)),
            Command::Nothing => Decision::persist(Event::Added(1)),
            Command::Break => Decision::persist(Event::Added(7)).and(Event::Broken).reply(Ok(0)),
            Command::Shrink => Decision::persist(Event::Shrunk).reply(Ok(total.sum)),
        }
    }

    fn replay(&self, total: &mut Total, event: &Event) {
        match event {
            Event::Added(n) => total.sum += n,
            Event::Later { timer, adds } => drop(total.later.insert(timer.clone(), *adds)),
            Event::Grown(bytes) => total.ballast.extend(bytes),
            Event::Broken => panic!("a bug of the user's replay"),
            Event::Shrunk => total.ballast.clear(),
        }
    }

    fn timer(&self, _at: At<'_>, total: &Total, name: &str) -> Decision<Self> {
        match name {
            "panics" => panic!("a bug of the user's timer"),
            _ => Decision::persist(Event::Added(total.later[name])),
        }
    }

    /// Version 1 had numbers alone.
    fn upgrade(version: u32, event: &[u8]) -> Result<Event, CodecError> {
        assert_eq!(version, 1);
        Ok(Event::Added(decode(event)?))
    }
}

/// The clock on the wall goes with the paused one.
struct PausedClock(tokio::time::Instant);

impl Clock for PausedClock {
    fn mono(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        START_MS + self.0.elapsed().as_millis() as i64
    }
}

fn world() -> World {
    let handles = Handles::current();
    World::new(Parts {
        clock: Arc::new(PausedClock(tokio::time::Instant::now())),
        random: Arc::new(RealRandom),
        net: Arc::new(RealNet { most_accepted: usize::MAX }),
        disk: Arc::new(RealDisk::new()),
        jobs: Arc::new(RealJobs::new(handles.get(crate::Bulkhead::Storage).clone())),
        handles,
        gate: None,
    })
}

pub(super) type TallyShard = Shard<DurableMachine<Tally>>;
type Asked = Answer<Result<Leaving, Refused>>;

/// A shard over a log, in a world of its own.
pub(super) struct Rig {
    world: World,
    log: Arc<TestLog>,
    root: Root<TallyShard>,
    told: Arc<std::sync::Mutex<Vec<(String, Bytes)>>>,
}

/// What a test does not name itself is a command of its own, in all rigs.
static NEXT: AtomicU64 = AtomicU64::new(1000);

fn settings() -> DurableSettings {
    DurableSettings {
        partition: 0,
        partitions: 1,
        snapshot_every: SNAPSHOT_EVERY,
        max_batch_bytes: 10_000,
        unfit: None,
    }
}

impl Rig {
    fn over(records: Vec<StoredRecord>) -> Rig {
        Rig::with(TestLog::led(records), settings())
    }

    fn with(log: Arc<TestLog>, settings: DurableSettings) -> Rig {
        let world = world();
        let told = Arc::<std::sync::Mutex<Vec<_>>>::default();
        let outside = told.clone();
        let args = ShardArgs {
            log: log.clone(),
            epoch: LeaderEpoch(1),
            machine: Arc::new(move || DurableMachine::new(Arc::new(Tally), settings.clone())),
            max_parked: 100,
            outside: Arc::new(move |leaving: Leaving| {
                let Left::Tell { key, command } = leaving.what else { panic!("an answer") };
                outside.lock().unwrap().push((key, command));
            }),
        };
        let root = spawn_root::<TallyShard>(&world, "tally", args).unwrap();
        Rig { world, log, root, told }
    }

    async fn loaded(records: Vec<StoredRecord>) -> Rig {
        let rig = Rig::over(records);
        rig.settle().await;
        rig
    }

    /// Lets everything run that can.
    async fn settle(&self) {
        self.world.sleep(Duration::from_millis(1)).await;
    }

    fn records(&self) -> Vec<StoredRecord> {
        self.log.state().records.clone()
    }

    fn begin(&self, sequence: u64, key: &str, command: Command) -> Asked {
        let (reply, answer) = Reply::new();
        let id = AskId { asker: Uuid([9; 16]), sequence };
        let request = DurableRequest { key: key.to_owned(), id, command };
        self.root.me().send_now(ShardMsg::Request { request, reply, held: None }).unwrap();
        answer
    }

    async fn try_ask(&self, key: &str, command: Command) -> Result<u64, AskRefused> {
        let sequence = NEXT.fetch_add(1, Ordering::Relaxed);
        answer(self.begin(sequence, key, command)).await.map(|reply| reply.unwrap())
    }

    async fn ask(&self, key: &str, command: Command) -> u64 {
        self.try_ask(key, command).await.unwrap()
    }

    /// Why the shard ended.
    async fn failure(&self) -> String {
        let ended = self.world.timeout(LIMIT, self.root.ended()).await;
        format!("{:?}", ended.expect("it does not end"))
    }
}

async fn answer(asked: Asked) -> Result<Result<u64, String>, AskRefused> {
    match asked.get().await.unwrap().unwrap().what {
        Left::Answer(answer) => answer.map(|reply| decode(&reply.expect("a reply")).unwrap()),
        Left::Tell { .. } => panic!("it was told"),
    }
}

#[tokio::test(start_paused = true)]
async fn keys_have_states_of_their_own_that_survive() {
    let rig = Rig::loaded(Vec::new()).await;
    for (key, n, sum) in [("a", 1, 1), ("a", 2, 3), ("b", 10, 10), ("a", 3, 6)] {
        assert_eq!(rig.ask(key, Command::Add(n)).await, sum);
    }
    let again = Rig::loaded(rig.records()).await;
    assert_eq!(again.ask("a", Command::Get).await, 6);
    assert_eq!(again.ask("b", Command::Add(1)).await, 11);
    assert_eq!(again.ask("c", Command::Get).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_asked_again_is_answered_as_before_and_not_decided_again() {
    let rig = Rig::loaded(Vec::new()).await;
    for _ in 0..3 {
        assert_eq!(answer(rig.begin(1, "a", Command::Add(5))).await, Ok(Ok(5)));
    }
    assert_eq!(rig.log.end_offset(), 1);
    // Neither by the next owner.
    let again = Rig::loaded(rig.records()).await;
    assert_eq!(answer(again.begin(1, "a", Command::Add(5))).await, Ok(Ok(5)));
    assert_eq!(answer(again.begin(2, "a", Command::Add(5))).await, Ok(Ok(10)));
    assert_eq!(again.log.end_offset(), 2);
}

#[tokio::test(start_paused = true)]
async fn replies_and_what_is_told_wait_for_what_they_saw_to_be_committed() {
    let rig = Rig::loaded(Vec::new()).await;
    rig.log.state().commits = false;
    let other = rig.begin(1, "b", Command::Refuse);
    let told = rig.begin(2, "a", Command::AddElsewhere("c".to_owned(), 4));
    let seen = rig.begin(3, "a", Command::Get);
    let refused = rig.begin(4, "a", Command::Refuse);
    // Nothing of its key waits.
    assert_eq!(answer(other).await, Ok(Err("b says no".to_owned())));
    let mut all =
        std::pin::pin!(async { (answer(told).await, answer(seen).await, answer(refused).await) });
    assert!(rig.world.timeout(LIMIT, all.as_mut()).await.is_err());
    assert_eq!(rig.told.lock().unwrap().len(), 0);
    rig.log.commit_all();
    assert_eq!(all.await, (Ok(Ok(4)), Ok(Ok(0)), Ok(Err("a says no".to_owned()))));
    let told = rig.told.lock().unwrap().clone();
    assert_eq!((told.len(), &*told[0].0), (1, "c"));
    assert!(matches!(decode(&told[0].1), Ok(Command::Add(4))));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decided_or_written_costs_its_asker_alone() {
    let rig = Rig::loaded(Vec::new()).await;
    let failed = rig.try_ask("a", Command::Panic).await.unwrap_err();
    assert!(failed.message.contains("a bug of the user's"), "{failed}");
    let large = rig.try_ask("a", Command::Grow(20_000)).await.unwrap_err();
    assert_eq!(large.code, ErrorCode::MessageTooLarge);
    let far = "x".repeat(MAX_KEY_BYTES + 1);
    let refused = rig.try_ask(&far, Command::Get).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidRequest, "{refused}");
    assert_eq!(rig.ask("a", Command::Add(1)).await, 1);
    assert_eq!(rig.root.me().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_replayed_is_as_if_it_had_not_been_asked() {
    let rig = Rig::loaded(Vec::new()).await;
    for key in ["a", "b"] {
        rig.ask(key, Command::Add(1)).await;
    }
    for _ in 0..3 {
        let failed = rig.begin(1, "a", Command::Break).get().await.unwrap();
        assert!(matches!(failed, Err(Refused::Failed)));
        rig.settle().await;
        assert_eq!(rig.ask("a", Command::Get).await, 1);
    }
    assert_eq!((rig.ask("b", Command::Get).await, rig.root.me().generation()), (1, 1));
    assert_eq!(rig.records().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_command_without_a_reply_is_not_decided_again() {
    let rig = Rig::loaded(Vec::new()).await;
    let unanswered = async |rig: &Rig| {
        let left = rig.begin(1, "a", Command::Nothing).get().await.unwrap().unwrap().what;
        assert!(matches!(left, Left::Answer(Ok(None))));
    };
    unanswered(&rig).await;
    unanswered(&rig).await;
    let again = Rig::loaded(rig.records()).await;
    unanswered(&again).await;
    assert_eq!((again.ask("a", Command::Get).await, again.records().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_has_no_room_is_written_once_it_is_smaller() {
    let rig = Rig::loaded(Vec::new()).await;
    for _ in 0..3 * SNAPSHOT_EVERY {
        rig.ask("a", Command::Grow(4_000)).await;
    }
    let snapshots = |rig: &Rig| rig.records().iter().filter(|record| record.key[0] == 0).count();
    let before = snapshots(&rig);
    rig.ask("a", Command::Shrink).await;
    for _ in 0..SNAPSHOT_EVERY {
        rig.ask("a", Command::Add(1)).await;
    }
    assert_eq!(snapshots(&rig), before + 1);
    let again = Rig::loaded(rig.records()).await;
    assert_eq!(again.ask("a", Command::Get).await, SNAPSHOT_EVERY);
}

#[tokio::test(start_paused = true)]
async fn keys_of_other_partitions_are_refused_and_not_read() {
    let two = |partition| DurableSettings { partition, partitions: 2, ..settings() };
    let of_key = model::partition_for_key(b"a", 2);
    let right = Rig::with(TestLog::led(Vec::new()), two(of_key));
    right.settle().await;
    assert_eq!(right.ask("a", Command::Add(1)).await, 1);
    let wrong = Rig::with(TestLog::led(Vec::new()), two(1 - of_key));
    wrong.settle().await;
    assert!(wrong.try_ask("a", Command::Add(1)).await.is_err());
    let read = Rig::with(TestLog::led(right.records()), two(1 - of_key));
    let why = read.failure().await;
    assert!(why.contains("the number of partitions was another"), "{why}");
}
