//! A machine that adds numbers, hosted on a log that a test drives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{
    Decision, DecisionOf, ErrorCode, LeaderEpoch, Now, Persist, Replicated, StoredRecord, Ticket,
    TimerOp,
};

use super::test_log::TestLog;
use super::*;
use crate::supervision_tests::world;
use crate::{Answer, AskError, Reply, Root, World, spawn_root};

#[derive(Default)]
struct Sum(u64);

#[derive(Debug, PartialEq)]
struct Added(u64);

/// What the log has no place for.
const UNWRITABLE: u64 = 1 << 40;
/// What is not written, from this number on.
const SOFT: u64 = 1 << 30;
const PEEKED: u64 = 1 << 50;
/// A reply that waits for its own decision's records alone.
const OWN: u64 = PEEKED - 1;

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("too large")]
struct TooLarge;

enum SumRequest {
    Add(u64),
    Get,
    /// Answered with a number that says what it waits for.
    Peek(u64),
    /// Adds the first, unless that is 0, and answers the second.
    AddAndTell(u64, u64),
    AddLater(u64),
}

impl Replicated for Sum {
    type Request = SumRequest;
    type Reply = u64;
    type Event = Added;
    type Timer = u64;

    fn decide(&self, _now: Now, ticket: Ticket, request: SumRequest) -> DecisionOf<Self> {
        match request {
            SumRequest::Add(n) => {
                Decision { events: vec![Added(n)], ..Decision::reply(ticket, self.0 + n) }
            }
            SumRequest::Get => Decision::reply(ticket, self.0),
            SumRequest::Peek(part) => Decision::reply(ticket, PEEKED + part),
            SumRequest::AddAndTell(0, told) => Decision::reply(ticket, told),
            SumRequest::AddAndTell(n, told) => {
                Decision { events: vec![Added(n)], ..Decision::reply(ticket, told) }
            }
            SumRequest::AddLater(n) => Decision {
                timers: vec![TimerOp::Set { timer: n, after: Duration::from_secs(n) }],
                ..Decision::reply(ticket, self.0)
            },
        }
    }

    fn on_loaded(&self, _now: Now) -> DecisionOf<Self> {
        Decision::nothing()
    }

    fn on_timer(&self, _now: Now, timer: u64) -> DecisionOf<Self> {
        Decision { events: vec![Added(timer)], ..Decision::nothing() }
    }

    fn replay(&mut self, event: &Added) {
        self.0 += event.0 % SOFT;
    }
}

impl Persist for Added {
    type Error = TooLarge;

    fn encode(&self) -> Result<Option<StoredRecord>, TooLarge> {
        if self.0 >= UNWRITABLE {
            return Err(TooLarge);
        }
        if self.0 >= SOFT {
            return Ok(None);
        }
        let value = Some(Bytes::copy_from_slice(&self.0.to_be_bytes()));
        Ok(Some(StoredRecord { key: Bytes::new(), value }))
    }

    fn decode(record: &StoredRecord) -> Result<Option<Self>, TooLarge> {
        let bytes = record.value.as_deref().and_then(|value| value.try_into().ok());
        Ok(bytes.map(|bytes| Added(u64::from_be_bytes(bytes))))
    }
}

impl Hosted for Sum {
    const KIND: &'static str = "sum";

    fn part(event: &Added) -> u64 {
        event.0 % SOFT
    }

    fn waits_for(reply: &u64) -> WaitsFor {
        match reply.checked_sub(PEEKED) {
            None if *reply == OWN => WaitsFor::Own,
            None => WaitsFor::Everything,
            Some(0) => WaitsFor::Nothing,
            Some(part) => WaitsFor::Part(part),
        }
    }
}

const LIMIT: Duration = Duration::from_secs(5);

fn led(numbers: &[u64]) -> Arc<TestLog> {
    TestLog::led(numbers.iter().filter_map(|n| Added(*n).encode().unwrap()).collect())
}

fn shard(log: &Arc<TestLog>) -> (World, Root<Shard<Sum>>) {
    let world = world();
    let args = ShardArgs {
        log: log.clone() as Arc<dyn ShardLog>,
        epoch: LeaderEpoch(1),
        machine: Arc::new(Sum::default),
        max_parked: 5,
        outside: Arc::new(|_| {}),
    };
    let root = spawn_root::<Shard<Sum>>(&world, "sum", args).unwrap();
    (world, root)
}

async fn ask(root: &Root<Shard<Sum>>, request: SumRequest) -> Result<u64, Refused> {
    root.me().ask(LIMIT, |reply| ShardMsg::Request { request, reply, held: None }).await.unwrap()
}

/// Sends without waiting.
fn begin(root: &Root<Shard<Sum>>, request: SumRequest) -> Answer<Result<u64, Refused>> {
    let (reply, answer) = Reply::new();
    root.me().send_now(ShardMsg::Request { request, reply, held: None }).unwrap();
    answer
}

/// Lets everything run that can.
async fn settle(world: &World) {
    world.sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_refuses_while_it_loads_and_then_knows_its_log() {
    let log = led(&[1, 2, 3, 4, 5]);
    let (world, root) = shard(&log);
    let early = begin(&root, SumRequest::Get);
    assert_eq!(early.get().await, Ok(Err(Refused::Loading)));
    settle(&world).await;
    assert_eq!(ask(&root, SumRequest::Get).await, Ok(15));
    assert_eq!(ask(&root, SumRequest::Add(10)).await, Ok(25));
    assert_eq!(log.end_offset(), 6);
}

#[tokio::test(start_paused = true)]
async fn no_reply_tells_of_what_is_not_committed() {
    let log = led(&[]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().commits = false;
    let add = begin(&root, SumRequest::Add(1));
    let get = begin(&root, SumRequest::Get);
    settle(&world).await;
    assert_eq!(log.end_offset(), 1);
    let mut both = std::pin::pin!(async { (add.get().await, get.get().await) });
    assert!(world.timeout(LIMIT, both.as_mut()).await.is_err());
    log.commit_all();
    assert_eq!(world.timeout(LIMIT, both).await.unwrap(), (Ok(Ok(1)), Ok(Ok(1))));
}

#[tokio::test(start_paused = true)]
async fn what_was_loaded_but_not_committed_holds_replies_back() {
    let log = led(&[7]);
    log.state().high_watermark = 0;
    let (world, root) = shard(&log);
    settle(&world).await;
    let mut get = std::pin::pin!(begin(&root, SumRequest::Get).get());
    assert!(world.timeout(LIMIT, get.as_mut()).await.is_err());
    log.commit_all();
    assert_eq!(world.timeout(LIMIT, get).await.unwrap(), Ok(Ok(7)));
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_during_an_append_goes_into_the_next_one() {
    let log = led(&[]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().held = Some(Vec::new());
    let answers = [1, 2, 3].map(|n| begin(&root, SumRequest::Add(n)));
    settle(&world).await;
    let held = log.state().held.take().unwrap();
    assert_eq!((held.len(), log.state().appends.clone()), (1, vec![1]));
    held.into_iter().for_each(|(end, reply)| reply.send(Ok(end)));
    for (answer, sum) in answers.into_iter().zip([1, 3, 6]) {
        assert_eq!(answer.get().await, Ok(Ok(sum)));
    }
    assert_eq!(log.state().appends, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_append_takes_the_shard_back_to_its_log() {
    let log = led(&[1]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().refuses = Some(ErrorCode::NotEnoughReplicas);
    let refused = Err(Refused::Write(ErrorCode::NotEnoughReplicas));
    assert_eq!(ask(&root, SumRequest::Add(5)).await, refused);
    settle(&world).await;
    log.state().refuses = None;
    assert_eq!(ask(&root, SumRequest::Get).await, Ok(1));
    assert_eq!(root.me().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_refused_and_changes_nothing() {
    let log = led(&[1]);
    let (world, root) = shard(&log);
    settle(&world).await;
    let refused = Err(Refused::Failed);
    assert_eq!(ask(&root, SumRequest::Add(UNWRITABLE)).await, refused);
    assert_eq!(ask(&root, SumRequest::Add(1)).await, Ok(2));
    assert_eq!(log.end_offset(), 2);
    assert_eq!(root.me().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_leadership_nothing_is_answered_and_the_shard_ends() {
    let log = led(&[]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().commits = false;
    let parked = begin(&root, SumRequest::Add(1));
    settle(&world).await;
    // In the epoch between them another may have led.
    log.change(|state| state.epoch = Some(LeaderEpoch(3)));
    assert_eq!(parked.get().await, Ok(Err(Refused::NotLeader)));
    assert_eq!(root.ended().await, crate::Exit::Finished);
    let dead = root.me().ask(LIMIT, |reply| ShardMsg::Request {
        request: SumRequest::Get,
        reply,
        held: None,
    });
    assert_eq!(dead.await, Err(AskError::Dead));
}

#[tokio::test(start_paused = true)]
async fn a_shard_goes_on_in_its_leaders_next_epoch() {
    let log = led(&[]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().commits = false;
    let parked = begin(&root, SumRequest::Add(1));
    settle(&world).await;
    for epoch in [2, 3] {
        log.change(|state| state.epoch = Some(LeaderEpoch(epoch)));
        settle(&world).await;
    }
    let later = begin(&root, SumRequest::Add(1));
    settle(&world).await;
    log.commit_all();
    assert_eq!(parked.get().await, Ok(Ok(1)));
    assert_eq!(later.get().await, Ok(Ok(2)));
}

#[tokio::test(start_paused = true)]
async fn replies_wait_for_no_more_than_they_tell_of() {
    let log = led(&[]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().commits = false;
    let add = begin(&root, SumRequest::Add(5));
    let peek = begin(&root, SumRequest::Peek(5));
    // It waits, but nothing of it is written.
    let _soft = begin(&root, SumRequest::Add(SOFT + 7));
    for other in [0, 7] {
        assert_eq!(ask(&root, SumRequest::Peek(other)).await, Ok(PEEKED + other));
    }
    for (adds, told) in [(0, OWN), (0, PEEKED), (3, PEEKED)] {
        assert_eq!(ask(&root, SumRequest::AddAndTell(adds, told)).await, Ok(told));
    }
    let own = begin(&root, SumRequest::AddAndTell(3, OWN));
    let mut all = std::pin::pin!(async { (add.get().await, peek.get().await, own.get().await) });
    assert!(world.timeout(LIMIT, all.as_mut()).await.is_err());
    log.commit_all();
    assert_eq!(all.await, (Ok(Ok(5)), Ok(Ok(PEEKED + 5)), Ok(Ok(OWN))));
}

#[tokio::test(start_paused = true)]
async fn batches_end_where_the_log_takes_no_more() {
    let log = led(&[]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().max_batch_bytes = 60;
    log.state().held = Some(Vec::new());
    let answers = [1, 2, 3].map(|n| begin(&root, SumRequest::Add(n)));
    settle(&world).await;
    let held = log.state().held.take().unwrap();
    held.into_iter().for_each(|(end, reply)| reply.send(Ok(end)));
    for answer in answers {
        assert!(answer.get().await.unwrap().is_ok());
    }
    assert_eq!(log.state().appends, [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_fits_no_batch_is_refused_alone() {
    let log = led(&[1]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().max_batch_bytes = 20;
    let refused = Err(Refused::Failed);
    assert_eq!(ask(&root, SumRequest::Add(2)).await, refused);
    assert_eq!(ask(&root, SumRequest::Get).await, Ok(1));
    log.state().compresses = true;
    assert_eq!(ask(&root, SumRequest::Add(2)).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_fenced_shard_refuses_before_it_was_told() {
    let log = led(&[]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().epoch = None;
    assert_eq!(ask(&root, SumRequest::Add(1)).await, Err(Refused::NotLeader));
    assert_eq!(log.end_offset(), 0);
}

#[tokio::test(start_paused = true)]
async fn parked_replies_are_bounded() {
    let log = led(&[]);
    let (world, root) = shard(&log);
    settle(&world).await;
    log.state().commits = false;
    let parked = [1; 5].map(|n| begin(&root, SumRequest::Add(n)));
    assert_eq!(ask(&root, SumRequest::Add(1)).await, Err(Refused::Overloaded));
    settle(&world).await;
    log.commit_all();
    for answer in parked {
        assert!(answer.get().await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_set_anew_fires_once() {
    let log = led(&[]);
    let (world, root) = shard(&log);
    settle(&world).await;
    ask(&root, SumRequest::AddLater(3)).await.unwrap();
    world.sleep(Duration::from_secs(2)).await;
    ask(&root, SumRequest::AddLater(3)).await.unwrap();
    world.sleep(Duration::from_secs(2)).await;
    assert_eq!(ask(&root, SumRequest::Get).await, Ok(0));
    world.sleep(Duration::from_secs(10)).await;
    assert_eq!(ask(&root, SumRequest::Get).await, Ok(3));
}

/// A peer may be gone long before the shard comes to what it asked: the mailbox is bounded all the same.
#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_waits_for_keeps_its_credit_until_the_shard_comes_to_it() {
    let (world, root) = shard(&led(&[]));
    settle(&world).await;
    let credits = crate::Credits::new(1);
    let held: Option<Held> = credits.try_take(1).map(|credit| Arc::new(credit) as Held);
    let (reply, answer) = Reply::new();
    root.me().send_now(ShardMsg::Request { request: SumRequest::Get, reply, held }).unwrap();
    drop(answer);
    assert_eq!(credits.used(), 1, "in the mailbox");
    settle(&world).await;
    assert_eq!(credits.used(), 0, "decided");
}
