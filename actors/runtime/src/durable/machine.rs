//! The machine: what a shard hosts.

use std::hash::BuildHasher;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{DecisionOf, ErrorCode, Now, Replicated, Ticket, TimerOp};

use super::answers::Answers;
use super::ask::{AskId, AskRefused, MAX_COMMAND_BYTES, MAX_KEY_BYTES};
use super::codec::encode;
use super::journal::{Answered, Change, Entry, Snapshot};
use super::{At, Decision, Durable};
use crate::map::{FixedHasher, Map};
use crate::panics;
use crate::sharded::{Hosted, WaitsFor};

/// Of one key.
const MAX_TIMERS: usize = 1024;
/// A further one is looked at again when this has passed, as the wall clock may be set meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// What is overdue waits so long once its shard has loaded: a log that refuses what it decides takes the shard back to its load.
const AFTER_LOAD: Duration = Duration::from_millis(100);
/// After a timer's decision that could not be written.
const TIMER_RETRY: Duration = Duration::from_secs(5);
/// No less than what a batch adds to a record.
const RECORD_OVERHEAD: usize = 32;

/// What the machine is told of its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableSettings {
    pub partition: i32,
    /// Of the topic, as registered.
    pub partitions: u32,
    /// After so many entries of a key its state is written.
    pub snapshot_every: u64,
    /// Of what is decided at once.
    pub max_batch_bytes: usize,
    /// Why the topic cannot hold a journal.
    pub unfit: Option<String>,
}

impl DurableSettings {
    fn owns(&self, key: &str) -> bool {
        model::partition_for_key(key.as_bytes(), self.partitions) == self.partition
    }
}

pub struct DurableRequest<D: Durable> {
    pub key: String,
    pub id: AskId,
    pub command: D::Command,
}

/// What leaves the shard once it is committed.
pub struct Leaving {
    part: u64,
    pub what: Left,
}

pub enum Left {
    /// The reply, where there is one.
    Answer(Result<Option<Bytes>, AskRefused>),
    /// To [`Ticket::OUTSIDE`].
    Tell { key: String, command: Bytes },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurableTimer {
    key: Arc<str>,
    name: String,
}

pub struct DurableMachine<D: Durable> {
    durable: Arc<D>,
    settings: DurableSettings,
    keys: Map<Arc<str>, Keyed<D::State>>,
    answers: Answers,
    entries: u64,
    /// Why what was read is no journal of this partition.
    problem: Option<String>,
}

struct Keyed<S> {
    state: S,
    /// Of the last entry.
    sequence: u64,
    /// Of the last one that is in a snapshot and has its tombstone.
    in_snapshot: u64,
    timers: Map<String, i64>,
    /// The first entry whose predecessor is missing: it was compacted away, and a snapshot must follow.
    gap: Option<u64>,
}

impl<S> Keyed<S> {
    fn since_snapshot(&self) -> u64 {
        self.sequence.saturating_sub(self.in_snapshot)
    }
}

impl<S: Default> Default for Keyed<S> {
    fn default() -> Self {
        let (state, timers) = Default::default();
        Keyed { state, sequence: 0, in_snapshot: 0, timers, gap: None }
    }
}

type Decided<D> = DecisionOf<DurableMachine<D>>;

impl<D: Durable> DurableMachine<D> {
    pub fn new(durable: Arc<D>, settings: DurableSettings) -> Self {
        let (keys, answers) = Default::default();
        let problem = settings.unfit.clone();
        DurableMachine { durable, settings, keys, answers, entries: 0, problem }
    }

    /// What the user's function comes to: a panic in it, or in a type of the user's, costs its caller alone.
    fn ask_user(
        &self,
        key: &str,
        now: Now,
        asked: Option<(Ticket, AskId)>,
        decide: impl FnOnce(&D, At<'_>, &D::State) -> Decision<D>,
    ) -> Result<Decided<D>, AskRefused> {
        let at = At { key, now_ms: now.wall_ms };
        let decided = panics::catch(AssertUnwindSafe(|| {
            let decision = match self.keys.get(key) {
                Some(keyed) => decide(&self.durable, at, &keyed.state),
                None => decide(&self.durable, at, &D::State::default()),
            };
            self.journal(now, key, asked, decision)
        }));
        decided.unwrap_or_else(|failure| {
            // A user's panic may say much.
            let message = format!("its decision failed: {:.1000}", failure.to_string());
            Err(AskRefused::new(ErrorCode::UnknownServerError, message))
        })
    }

    /// What a decision comes to for the shard.
    fn journal(
        &self,
        now: Now,
        key: &str,
        asked: Option<(Ticket, AskId)>,
        mut decision: Decision<D>,
    ) -> Result<Decided<D>, AskRefused> {
        let reply = self.reply_of(decision.reply.take())?;
        let tells = std::mem::take(&mut decision.tells);
        let mut decided = Decided::<D>::nothing();
        if !(decision.events.is_empty() && decision.timers.is_empty()) {
            let found = self.keys.get_key_value(key);
            let name = found.map_or_else(|| Arc::from(key), |(name, _)| name.clone());
            decided.timers = self.soft_timers(now, &name, &decision.timers)?;
            let answered = asked.map(|(_, id)| (id, reply.clone()));
            decided.events = self.changes(now, name, answered, decision)?;
        }
        let part = part_of(key);
        for (key, command) in tells {
            let what = told(key, &command)?;
            decided.replies.push((Ticket::OUTSIDE, Leaving { part, what }));
        }
        if let Some((ticket, _)) = asked {
            let what = Left::Answer(Ok(reply));
            decided.replies.push((ticket, Leaving { part, what }));
        }
        Ok(decided)
    }

    fn reply_of(&self, reply: Option<D::Reply>) -> Result<Option<Bytes>, AskRefused> {
        let encoded = reply.as_ref().map(encode).transpose();
        Ok(encoded.map_err(|error| cannot_write("the reply", &error))?.map(Bytes::from))
    }

    /// A snapshot where one is due, and the entry: together they fit a batch, or the entry goes alone.
    fn changes(
        &self,
        now: Now,
        key: Arc<str>,
        asked: Option<Answered>,
        decision: Decision<D>,
    ) -> Result<Vec<Change<D>>, AskRefused> {
        let keyed = self.keys.get(&key);
        let sequence = keyed.map_or(0, |keyed| keyed.sequence) + 1;
        let entry = Entry::new(key.clone(), sequence, now.wall_ms, asked, decision);
        let entry = Change::Entry(entry.map_err(|error| cannot_write("an event", &error))?);
        let (size, most) = (record_size(&entry), self.settings.max_batch_bytes);
        if size > most {
            let message = format!(
                "the events come to {size} bytes, and {most} is all that the topic's max.message.bytes lets in"
            );
            return Err(AskRefused::new(ErrorCode::MessageTooLarge, message));
        }
        let mut changes =
            keyed.map_or_else(Vec::new, |keyed| self.snapshot(&key, keyed, most - size));
        changes.push(entry);
        Ok(changes)
    }

    /// The state where it is due and there is room for it, and tombstones of what is in it. Where it has no room it is tried again when
    /// as many entries have followed.
    fn snapshot(&self, key: &Arc<str>, keyed: &Keyed<D::State>, room: usize) -> Vec<Change<D>> {
        let (since, every) = (keyed.since_snapshot(), self.settings.snapshot_every.max(1));
        if since == 0 || since % every != 0 {
            return Vec::new();
        }
        let timers = keyed.timers.iter().map(|(name, at)| (name.clone(), *at)).collect();
        let snapshot = Snapshot::new::<D>(key.clone(), keyed.sequence, timers, &keyed.state);
        let snapshot = match snapshot.map(Change::Snapshot) {
            Ok(snapshot) if record_size(&snapshot) < room => snapshot,
            Ok(_) => return Vec::new(),
            Err(error) => {
                tracing::error!(%key, %error, "a state that cannot be written");
                return Vec::new();
            }
        };
        let covered = |sequence| Change::Covered { key: key.clone(), sequence };
        let of_each = record_size::<D>(&covered(0));
        let fit = (room - record_size(&snapshot)) / of_each;
        let covered = (keyed.in_snapshot + 1..=keyed.sequence).take(fit).map(covered);
        std::iter::once(snapshot).chain(covered).collect()
    }

    fn soft_timers(
        &self,
        now: Now,
        key: &Arc<str>,
        timers: &[(String, Option<i64>)],
    ) -> Result<Vec<TimerOp<DurableTimer>>, AskRefused> {
        let none = Map::new();
        let running = self.keys.get(key).map_or(&none, |keyed| &keyed.timers);
        let too_long = timers.iter().any(|(name, _)| name.len() > MAX_KEY_BYTES);
        let last: Map<&str, bool> =
            timers.iter().map(|(name, at_ms)| (&**name, at_ms.is_some())).collect();
        let (set, ended): (Vec<_>, Vec<_>) = last.into_iter().partition(|(_, set)| *set);
        let more = set.iter().filter(|(name, _)| !running.contains_key(*name)).count();
        let fewer = ended.iter().filter(|(name, _)| running.contains_key(*name)).count();
        if too_long || more > fewer && running.len() + more - fewer > MAX_TIMERS {
            let message = format!(
                "a key may have {MAX_TIMERS} timers, whose names have at most {MAX_KEY_BYTES} bytes"
            );
            return Err(AskRefused::new(ErrorCode::InvalidRequest, message));
        }
        let op = |(name, at_ms): &(String, Option<i64>)| {
            let timer = DurableTimer { key: key.clone(), name: name.clone() };
            match at_ms {
                Some(at_ms) => TimerOp::Set { timer, after: wait(now, *at_ms) },
                None => TimerOp::Cancel { timer },
            }
        };
        Ok(timers.iter().map(op).collect())
    }

    fn replay_entry(&mut self, entry: &Entry<D>) {
        self.entries += 1;
        if let Some((id, answer)) = &entry.asked {
            self.answers.add(entry.at_ms, *id, &entry.key, answer.clone());
        }
        let keyed = self.keys.entry(entry.key.clone()).or_default();
        if keyed.sequence.checked_add(1) != Some(entry.sequence) {
            keyed.gap.get_or_insert(entry.sequence);
        }
        keyed.sequence = entry.sequence;
        if keyed.gap.is_some() {
            return;
        }
        for event in &entry.events {
            self.durable.replay(&mut keyed.state, event);
        }
        for (name, at_ms) in &entry.timers {
            match at_ms {
                Some(at_ms) => keyed.timers.insert(name.clone(), *at_ms),
                None => keyed.timers.remove(name),
            };
        }
    }

    fn replay_snapshot(&mut self, snapshot: &Snapshot) {
        let keyed = self.keys.entry(snapshot.key.clone()).or_default();
        let Some(read) = &snapshot.read else { return };
        match read.state::<D>() {
            Ok(state) => {
                let timers = read.timers.iter().cloned().collect();
                let sequence = snapshot.sequence;
                *keyed = Keyed { state, sequence, in_snapshot: sequence, timers, gap: None };
            }
            Err(error) => {
                let problem = format!("the snapshot of the key {:?}: {error}", snapshot.key);
                self.problem.get_or_insert(problem);
            }
        }
    }
}

impl<D: Durable> Replicated for DurableMachine<D> {
    type Request = DurableRequest<D>;
    type Reply = Leaving;
    type Event = Change<D>;
    type Timer = DurableTimer;

    fn decide(&self, now: Now, ticket: Ticket, request: DurableRequest<D>) -> Decided<D> {
        let DurableRequest { key, id, command } = request;
        let answer = |answer| {
            let leaving = Leaving { part: part_of(&key), what: Left::Answer(answer) };
            Decided::<D>::reply(ticket, leaving)
        };
        if let Some(known) = self.answers.get(&id, &key) {
            return answer(Ok(known.clone()));
        }
        if key.len() > MAX_KEY_BYTES {
            let message = format!("a key has at most {MAX_KEY_BYTES} bytes");
            return answer(Err(AskRefused::new(ErrorCode::InvalidRequest, message)));
        }
        if !self.settings.owns(&key) {
            let DurableSettings { partition, partitions, .. } = self.settings;
            let message = format!("partition {partition} of {partitions} does not hold the key");
            return answer(Err(AskRefused::new(ErrorCode::InvalidRequest, message)));
        }
        let decide = |durable: &D, at: At<'_>, state: &D::State| durable.decide(at, state, command);
        let decided = self.ask_user(&key, now, Some((ticket, id)), decide);
        decided.unwrap_or_else(|refused| answer(Err(refused)))
    }

    fn on_loaded(&self, now: Now) -> Decided<D> {
        let mut decided = Decided::<D>::nothing();
        for (key, keyed) in &self.keys {
            decided.timers.extend(keyed.timers.iter().map(|(name, at_ms)| TimerOp::Set {
                timer: DurableTimer { key: key.clone(), name: name.clone() },
                after: wait(now, *at_ms).max(AFTER_LOAD),
            }));
        }
        decided
    }

    fn on_timer(&self, now: Now, timer: DurableTimer) -> Decided<D> {
        let due = self.keys.get(&timer.key).and_then(|keyed| keyed.timers.get(&timer.name));
        let Some(at_ms) = due.copied() else { return Decided::<D>::nothing() };
        let again = |after| {
            let timers = vec![TimerOp::Set { timer: timer.clone(), after }];
            Decided::<D> { timers, ..Decided::<D>::nothing() }
        };
        if at_ms > now.wall_ms {
            return again(wait(now, at_ms));
        }
        let decided = self.ask_user(&timer.key, now, None, |durable, at, state| {
            let mut decision = durable.timer(at, state, &timer.name);
            decision.timers.insert(0, (timer.name.clone(), None));
            decision
        });
        decided.unwrap_or_else(|refused| {
            let (key, name) = (&timer.key, &timer.name);
            tracing::error!(%key, name, %refused, "a timer fires again later");
            again(TIMER_RETRY)
        })
    }

    fn replay(&mut self, change: &Change<D>) {
        if !self.settings.owns(change.key()) {
            let DurableSettings { partition, partitions, .. } = self.settings;
            self.problem.get_or_insert_with(|| {
                let key = change.key();
                format!("partition {partition} of {partitions} would not hold the key {key:?}, which it has: the number of partitions was another")
            });
        }
        match change {
            Change::Entry(entry) => self.replay_entry(entry),
            Change::Snapshot(snapshot) => self.replay_snapshot(snapshot),
            Change::Covered { key, sequence } => {
                if let Some(keyed) = self.keys.get_mut(key) {
                    keyed.in_snapshot = *sequence;
                }
            }
        }
    }
}

impl<D: Durable> Hosted for DurableMachine<D> {
    const KIND: &'static str = "durable";

    fn part(change: &Change<D>) -> u64 {
        part_of(change.key())
    }

    fn waits_for(leaving: &Leaving) -> WaitsFor {
        WaitsFor::Part(leaving.part)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        match self.keys.iter().find_map(|(key, keyed)| Some((key, keyed.gap?))) {
            None => Ok(()),
            Some((key, at)) => Err(format!(
                "before entry {at} of the key {key:?} one is missing, and no snapshot follows"
            )),
        }
    }

    fn state_line(&self) -> String {
        format!(
            "{} keys, {} entries replayed, at most {} since a snapshot, {} timers, {} answers kept",
            self.keys.len(),
            self.entries,
            self.keys.values().map(Keyed::since_snapshot).max().unwrap_or(0),
            self.keys.values().map(|keyed| keyed.timers.len()).sum::<usize>(),
            self.answers.len(),
        )
    }
}

fn part_of(key: &str) -> u64 {
    FixedHasher::default().hash_one(key)
}

fn record_size<D: Durable>(change: &Change<D>) -> usize {
    change.size() + RECORD_OVERHEAD
}

fn wait(now: Now, at_ms: i64) -> Duration {
    let ms = u64::try_from(at_ms.saturating_sub(now.wall_ms)).unwrap_or(0);
    Duration::from_millis(ms).min(LONGEST_WAIT)
}

fn cannot_write(what: &str, error: &dyn std::error::Error) -> AskRefused {
    AskRefused::new(ErrorCode::UnknownServerError, format!("{what} {error}"))
}

fn told<C: serde::Serialize>(key: String, command: &C) -> Result<Left, AskRefused> {
    let encoded = encode(command).map_err(|error| cannot_write("a command", &error))?;
    if key.len() > MAX_KEY_BYTES || encoded.len() > MAX_COMMAND_BYTES {
        let message = format!(
            "a command that is told has at most {MAX_COMMAND_BYTES} bytes, and its key {MAX_KEY_BYTES}"
        );
        return Err(AskRefused::new(ErrorCode::MessageTooLarge, message));
    }
    Ok(Left::Tell { key, command: encoded.into() })
}
