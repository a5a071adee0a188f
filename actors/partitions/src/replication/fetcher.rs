//! ReplicaFetcher: fetches for all partitions that one broker leads, or for its share of them.
//!
//! Supervisor: `replication`, which tells each incarnation what to fetch. It remembers nothing of a log: every fetch begins where the
//! log ends. Bound: one response is in hand; the next is asked for when the partitions have taken it in.
//! Source: `AbstractFetcherThread`, `ReplicaFetcherThread`.

mod shown;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use machines::fetch_session::{FetchKey, FetchPartition, FetcherSession, SessionError, TopicKey};
use model::topic::is_internal_topic;
use model::{ErrorCode, LeaderEpoch};
use runtime::{Actor, Backoff, Counter, Cx, Failure, Gauge, Outcome, Ref};
use wire::FetchResponse;

use super::Key;
use super::assigned::{Assigned, is_ready};
pub(super) use super::leader::FetcherArgs;
use super::leader::{AskError, Leader};
use super::taking::{Asked, Found, Task, Took, found, take_all};
use crate::partition::FollowError;
use crate::room::Room;

/// While a replica whose actor has failed is told so. What a leader refuses is asked again as soon at first: mostly it has not yet
/// heard that it leads, and who waits for acknowledgements waits for its followers.
const SHORT_PAUSE: Duration = Duration::from_millis(10);

/// Where the fetcher stands with one partition.
#[derive(Debug)]
enum Stage {
    /// Its actor does not follow yet, or is down.
    Waiting,
    Fetching,
    /// It has not taken in what came, as its disk hangs or is full; it is heard of when it has.
    TakingIn,
    /// After an error, until some time.
    Delayed(String),
    /// Until the throttle allows more, or the disk has room.
    HeldBack,
    /// Until there is a new leader epoch.
    Failed(String),
}

struct Following {
    assigned: Assigned,
    stage: Stage,
    /// Answers in a row that brought it nowhere.
    refused: usize,
    /// Records that it lacks, as of the last fetch in this leader epoch.
    lag: Option<i64>,
}

pub(super) enum FetcherMsg {
    /// From `replication`: fetch these, from now on in these leader epochs.
    Assign { partitions: Vec<Assigned> },
    /// From `replication`: no longer.
    Unassign { partitions: Vec<Key> },
    /// From itself: a replica may be ready to follow.
    Ready { partition: Key },
    /// From itself: what was delayed may be due.
    Again,
    /// From itself: the leader has answered, or has not.
    Fetched { leader: Leader, answer: Box<Result<FetchResponse, AskError>> },
    /// From itself: the partitions have what came, but for those that are late.
    Taken { leader: Leader, results: Vec<(Key, LeaderEpoch, Took)>, late: Vec<Asked> },
    /// From itself: one that was late has it.
    Late { partition: Key, leader_epoch: LeaderEpoch, took: Took },
    /// From itself: what it waited for has failed as a bug would.
    Lost,
    /// From a test or an operator: fail as a bug would.
    Panic { message: String },
}

runtime::messages!(FetcherMsg {
    Assign,
    Unassign,
    Ready,
    Again,
    Fetched,
    Taken,
    Late,
    Lost,
    Panic
});

pub(super) struct ReplicaFetcher {
    args: FetcherArgs,
    /// Here while nothing is under way.
    leader: Option<Leader>,
    session: FetcherSession,
    following: BTreeMap<Key, Following>,
    /// What the session is to be told of, or no longer of.
    changed: BTreeSet<Key>,
    /// In the order in which they are due.
    delayed: VecDeque<(Duration, Key)>,
    /// The leader was not reached.
    paused_until: Duration,
    refused_in_a_row: usize,
    /// Why its last fetch has no answer.
    unreached: Option<String>,
    /// Whose replicas may say another reason than they do why they are not fetched.
    unshown: BTreeSet<Key>,
    fetches: Counter,
    fetched_bytes: Counter,
    failed: Gauge,
}

impl Actor for ReplicaFetcher {
    const KIND: &'static str = "replica-fetcher";
    type Msg = FetcherMsg;
    type Args = FetcherArgs;

    async fn start(cx: &mut Cx<Self>, args: FetcherArgs) -> Result<Self, Failure> {
        let leader = Leader { args: args.clone(), world: cx.world().clone(), connection: None };
        Ok(ReplicaFetcher {
            args,
            leader: Some(leader),
            session: FetcherSession::default(),
            following: BTreeMap::new(),
            changed: BTreeSet::new(),
            delayed: VecDeque::new(),
            paused_until: Duration::ZERO,
            refused_in_a_row: 0,
            unreached: None,
            unshown: BTreeSet::new(),
            fetches: cx.counter("fetches"),
            fetched_bytes: cx.counter("bytes_fetched"),
            failed: cx.gauge("failed_partitions"),
        })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: FetcherMsg) -> Outcome {
        match msg {
            FetcherMsg::Assign { partitions } => {
                for assigned in partitions {
                    self.begin(cx, assigned);
                }
            }
            FetcherMsg::Unassign { partitions } => {
                for key in partitions {
                    let before = self.following.remove(&key);
                    self.uncount(before.as_ref());
                    self.changed.insert(key);
                }
            }
            FetcherMsg::Ready { partition } => self.look_again(cx, partition),
            FetcherMsg::Again => self.end_delays(cx),
            FetcherMsg::Fetched { leader, answer } => self.fetched(cx, leader, *answer),
            FetcherMsg::Taken { leader, results, late } => {
                self.leader = Some(leader);
                for (key, epoch, took) in results {
                    self.took(cx, key, epoch, took);
                }
                for asked in late {
                    self.leave_out(cx, asked);
                }
            }
            FetcherMsg::Late { partition, leader_epoch, took } => {
                if self.is_in(partition, leader_epoch) {
                    self.set_stage(partition, Stage::Waiting);
                    self.look_again(cx, partition);
                }
                self.took(cx, partition, leader_epoch, took);
            }
            FetcherMsg::Lost => return Err(Failure::new("a task of the fetcher has failed")),
            FetcherMsg::Panic { message } => panic!("{message}"),
        }
        self.fetch(cx);
        self.show_troubles(cx.world().now().wall_ms);
        Ok(())
    }

    fn state_line(&self) -> String {
        self.line()
    }
}

impl ReplicaFetcher {
    fn begin(&mut self, cx: &mut Cx<Self>, assigned: Assigned) {
        let key = assigned.key();
        self.unshown.insert(key);
        let following = Following { assigned, stage: Stage::Waiting, refused: 0, lag: None };
        let before = self.following.insert(key, following);
        self.uncount(before.as_ref());
        self.look_again(cx, key);
    }

    /// Fetches for a replica that waits, if it follows by now; else it is heard of.
    fn look_again(&mut self, cx: &mut Cx<Self>, key: Key) {
        let Some(following) = self.following.get_mut(&key) else { return };
        if !matches!(following.stage, Stage::Waiting) {
            return;
        }
        if following.assigned.view().is_some() {
            following.stage = Stage::Fetching;
            self.changed.insert(key);
        } else {
            self.hear_of(cx, key);
        }
    }

    fn hear_of(&self, cx: &mut Cx<Self>, key: Key) {
        if let Some(following) = self.following.get(&key) {
            cx.spawn_task(hear_of(following.assigned.clone(), cx.me().clone()));
        }
    }

    fn set_stage(&mut self, key: Key, stage: Stage) {
        if let Some(following) = self.following.get_mut(&key) {
            let before = std::mem::replace(&mut following.stage, stage);
            let failed = |stage: &Stage| i64::from(matches!(stage, Stage::Failed(_)));
            self.failed.add(failed(&following.stage) - failed(&before));
            self.unshown.insert(key);
            self.changed.insert(key);
        }
    }

    fn delay(&mut self, cx: &mut Cx<Self>, key: Key, why: String, pause: Duration) {
        self.wait(cx, key, Stage::Delayed(why), pause);
    }

    fn wait(&mut self, cx: &mut Cx<Self>, key: Key, stage: Stage, pause: Duration) {
        self.set_stage(key, stage);
        let due = cx.world().mono() + pause;
        let at = self.delayed.partition_point(|(other, _)| *other <= due);
        self.delayed.insert(at, (due, key));
        cx.send_after(pause, FetcherMsg::Again);
    }

    fn end_delays(&mut self, cx: &mut Cx<Self>) {
        let now = cx.world().mono();
        while let Some((_, key)) = self.delayed.pop_front_if(|(due, _)| *due <= now) {
            if let Some(following) = self.following.get(&key)
                && matches!(following.stage, Stage::Delayed(_) | Stage::HeldBack)
            {
                self.set_stage(key, Stage::Waiting);
                self.look_again(cx, key);
            }
        }
    }

    fn fail(&mut self, key: Key, why: String) {
        if let Some(following) = self.following.get(&key) {
            let partition = &following.assigned.handle.topic_partition;
            tracing::error!(%partition, why, "is not fetched until its leader epoch changes");
            self.set_stage(key, Stage::Failed(why));
        }
    }

    /// Begins the next fetch, unless something is under way or there is nothing to fetch.
    fn fetch(&mut self, cx: &mut Cx<Self>) {
        if self.leader.is_none() {
            return;
        }
        self.hold_back(cx);
        self.tell_session(cx);
        if self.session.is_empty() || cx.world().mono() < self.paused_until {
            return;
        }
        let Some(mut leader) = self.leader.take() else { return };
        let request = self.session.request();
        let task = Task::new(cx.me().clone());
        cx.spawn_task(async move {
            let answer = Box::new(leader.fetch(request).await);
            task.done(FetcherMsg::Fetched { leader, answer }).await;
        });
    }

    /// What is throttled waits until the rate allows more; but for a replica in sync, which would fall out of sync by that. Where the
    /// disk is full, all but internal topics wait, in sync or not, as their producers do: what is left is for those.
    fn hold_back(&mut self, cx: &mut Cx<Self>) {
        let (now, backoff) = (cx.world().mono(), self.args.config.fetch_backoff);
        let wait = |key: &Key| {
            let following = self.following.get(key)?;
            let handle = &following.assigned.handle;
            let fetching = matches!(following.stage, Stage::Fetching);
            let internal = is_internal_topic(&handle.topic_partition.topic);
            if fetching && !internal && handle.log_dir().room() == Room::Full {
                return Some((*key, backoff));
            }
            let wait = self.args.throttle.wait(handle, now);
            (fetching && following.lag != Some(0) && !wait.is_zero()).then_some((*key, wait))
        };
        let held: Vec<_> = self.changed.iter().filter_map(wait).collect();
        for (key, wait) in held {
            // The rate may be altered meanwhile.
            self.wait(cx, key, Stage::HeldBack, wait.min(backoff));
        }
    }

    fn tell_session(&mut self, cx: &mut Cx<Self>) {
        for key in std::mem::take(&mut self.changed) {
            let wanted = match self.following.get(&key) {
                Some(Following { assigned, stage: Stage::Fetching, .. }) => {
                    Some(wanted(assigned, self.args.config.fetch_max_bytes))
                }
                _ => None,
            };
            match wanted {
                Some(Some(wanted)) => self.session.want(wanted),
                Some(None) => {
                    self.session.forget(&session_key(key));
                    self.set_stage(key, Stage::Waiting);
                    // Also where it can be fetched by now: nobody may be asked before that is said.
                    self.hear_of(cx, key);
                }
                None => self.session.forget(&session_key(key)),
            }
        }
    }

    fn fetched(
        &mut self,
        cx: &mut Cx<Self>,
        leader: Leader,
        answer: Result<FetchResponse, AskError>,
    ) {
        self.fetches.add(1);
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                self.session.failed();
                self.set_unreached(Some(format!("broker {}: {error}", self.args.leader)));
                tracing::warn!(leader = self.args.leader, %error, "a replica's fetch has failed");
                self.leader = Some(leader);
                self.refused_in_a_row += 1;
                return self.pause(cx);
            }
        };
        self.set_unreached(None);
        let found: Vec<Found> = found(response.responses);
        let named = found.iter().map(|found| &found.key);
        let error = ErrorCode::from_code(response.error_code);
        if let Err(error) = self.session.answered(error, response.session_id, named) {
            tracing::info!(leader = self.args.leader, %error, "the fetch session is opened anew");
            self.leader = Some(leader);
            self.refused_in_a_row += 1;
            let session_gone = matches!(
                error,
                SessionError::Refused(
                    ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch
                )
            );
            if !session_gone || self.refused_in_a_row > 1 {
                self.pause(cx);
            }
            return;
        }
        self.refused_in_a_row = 0;
        let mut taking = Vec::with_capacity(found.len());
        for found in found {
            let Some(asked) = self.session.get(&found.key) else { continue };
            let Some(key) = own_key(&found.key) else { continue };
            // Since then it may have been given up, or have a new leader epoch.
            let following = self.following.get(&key).map(|following| following.assigned.clone());
            let current = |now: &Assigned| asked.current_leader_epoch == now.leader_epoch.0;
            let Some(assigned) = following.filter(current) else {
                self.session.unheard(&found.key);
                continue;
            };
            let size = found.size() as u64;
            self.fetched_bytes.add(size);
            self.args.throttle.took(&assigned.handle, size, cx.world().mono());
            taking.push((key, assigned, asked.fetch_offset, found.data));
        }
        let task = Task::new(cx.me().clone());
        cx.spawn_task(async move {
            let mut leader = leader;
            let (results, late) = take_all(&mut leader, taking).await;
            task.done(FetcherMsg::Taken { leader, results, late }).await;
        });
    }

    fn is_in(&self, key: Key, epoch: LeaderEpoch) -> bool {
        self.following.get(&key).is_some_and(|following| following.assigned.leader_epoch == epoch)
    }

    /// Nobody else waits for it.
    fn leave_out(&mut self, cx: &mut Cx<Self>, mut asked: Asked) {
        let (partition, leader_epoch) = (asked.key, asked.leader_epoch);
        if self.is_in(partition, leader_epoch) {
            self.set_stage(partition, Stage::TakingIn);
        }
        let task = Task::new(cx.me().clone());
        cx.spawn_task(async move {
            let took = asked.took().await;
            task.done(FetcherMsg::Late { partition, leader_epoch, took }).await;
        });
    }

    fn pause(&mut self, cx: &mut Cx<Self>) {
        let pause = self.backoff(cx, self.refused_in_a_row);
        self.paused_until = cx.world().mono() + pause;
        cx.send_after(pause, FetcherMsg::Again);
    }

    /// After so many failures in a row: `replica.fetch.backoff.ms` at most.
    fn backoff(&self, cx: &Cx<Self>, failures: usize) -> Duration {
        let backoff =
            Backoff { initial: SHORT_PAUSE, max: self.args.config.fetch_backoff, jitter: 0.02 };
        backoff.delay(failures, &mut cx.world().random("replica fetch backoff"))
    }

    fn took(&mut self, cx: &mut Cx<Self>, key: Key, epoch: LeaderEpoch, took: Took) {
        // What was an error the leader says again by itself.
        if matches!(took, Took::Down | Took::Refused(_)) {
            self.session.unheard(&session_key(key));
        }
        let current = self.following.get_mut(&key);
        let Some(following) = current.filter(|f| f.assigned.leader_epoch == epoch) else { return };
        let partition = following.assigned.handle.topic_partition.clone();
        following.refused += 1;
        let refused = following.refused;
        match took {
            Took::Taken { lag } => {
                let was_refused = refused > 1;
                (following.lag, following.refused) = (Some(lag), 0);
                if was_refused {
                    self.unshown.insert(key);
                }
                self.changed.insert(key);
            }
            Took::Down => {
                let pause = self.backoff(cx, 1);
                self.delay(cx, key, "its actor is down".to_owned(), pause);
            }
            Took::Refused(FollowError::OtherEpoch { .. }) => {
                self.set_stage(key, Stage::Waiting);
                self.look_again(cx, key);
            }
            Took::Refused(error @ FollowError::OffsetMismatch { .. }) => {
                tracing::info!(%partition, %error, "fetched again");
                let pause = self.backoff(cx, refused);
                self.delay(cx, key, error.to_string(), pause);
            }
            Took::Refused(error @ FollowError::OutOfOrder { .. }) => {
                self.fail(key, error.to_string());
            }
            Took::Fenced => {
                let why = "the leader has a newer leader epoch, of which this broker is to hear";
                tracing::info!(%partition, why, "is not fetched until its leader epoch changes");
                self.set_stage(key, Stage::Failed(why.to_owned()));
            }
            Took::Retry(why) => {
                tracing::info!(%partition, why, "a replica's fetch is tried again later");
                let pause = self.backoff(cx, refused);
                self.delay(cx, key, why, pause);
            }
            Took::Failed(why) => self.fail(key, why),
        }
    }
}

/// What the next fetch asks for; none where the replica does not follow any more.
fn wanted(assigned: &Assigned, max_bytes: i32) -> Option<FetchPartition> {
    let view = assigned.view()?;
    let epoch = view.leader_epochs().latest().map_or(-1, |latest| latest.epoch.0);
    Some(FetchPartition {
        key: session_key(assigned.key()),
        fetch_offset: view.log_end_offset(),
        log_start_offset: view.log_start_offset(),
        max_bytes,
        current_leader_epoch: assigned.leader_epoch.0,
        last_fetched_epoch: epoch,
    })
}

fn session_key((topic, partition): Key) -> FetchKey {
    FetchKey { topic: TopicKey::Id(topic), partition }
}

fn own_key(key: &FetchKey) -> Option<Key> {
    match &key.topic {
        TopicKey::Id(id) => Some((*id, key.partition)),
        TopicKey::Name(_) => None,
    }
}

/// Tells when a replica follows in its epoch.
async fn hear_of(assigned: Assigned, to: Ref<FetcherMsg>) {
    if is_ready(&assigned).await {
        let _ = to.send(FetcherMsg::Ready { partition: assigned.key() }).await;
    }
}
