//! What clients were told, beside what the replicas' leaders said was committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::Uuid;

const PORT: u16 = 9092;

/// Something that must hold did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub at_ms: u64,
    /// What: an invariant by its id in docs/INVARIANTS.md, or a name for it. Another failure of the same kind is taken for the same.
    pub kind: String,
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ms: {}: {}", self.at_ms, self.kind, self.what)
    }
}

/// Value by partition and offset.
pub type Records = BTreeMap<(i32, i64), String>;

#[derive(Debug, Default)]
pub struct Story {
    state: Mutex<State>,
    now_ms: AtomicU64,
    calm: AtomicBool,
    done: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// What was acknowledged by all, or read.
    told: Records,
    acknowledged: usize,
    /// Those that are to be there.
    topics: BTreeMap<String, Uuid>,
    created: usize,
    deleted: BTreeSet<Uuid>,
    /// The highest high watermark that a leader has had, by partition.
    committed: BTreeMap<i32, i64>,
    /// Of the newest leader, by partition: its epoch, and how far its log reaches.
    led: BTreeMap<i32, (i32, i64)>,
    group: Group,
    lacked: usize,
    /// Of those nodes that are elsewhere than they were at first.
    ports: BTreeMap<String, u16>,
    waits_for: String,
    wrong: Vec<Wrong>,
}

/// What a consumer group was told.
#[derive(Debug, Default)]
struct Group {
    /// Whose a partition is in a generation.
    owners: BTreeMap<(i32, i32), String>,
    /// The furthest that anybody wanted to commit, and that was acknowledged, by partition.
    tried: BTreeMap<i32, i64>,
    committed: BTreeMap<i32, i64>,
}

impl Story {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_now_ms(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// A violation.
    pub fn wrong(&self, kind: &str, what: fmt::Arguments<'_>) {
        let (at_ms, kind, what) = (self.now_ms(), kind.to_owned(), what.to_string());
        self.state().wrong.push(Wrong { at_ms, kind, what });
    }

    pub fn is_wrong(&self) -> bool {
        !self.state().wrong.is_empty()
    }

    pub fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn done(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    pub fn wait_for(&self, what: String) {
        self.state().waits_for = what;
    }

    pub fn waits_for(&self) -> String {
        self.state().waits_for.clone()
    }

    /// False where the topic was deleted before, so that whoever says otherwise is behind.
    pub fn created(&self, name: &str, id: Uuid) -> bool {
        let mut state = self.state();
        let is_new = !state.deleted.contains(&id);
        if is_new {
            state.created += 1;
            state.topics.insert(name.to_owned(), id);
        }
        is_new
    }

    /// From now on nobody can say whether it is there.
    pub fn deleting(&self, name: &str) {
        self.state().topics.remove(name);
    }

    pub fn deleted(&self, id: Uuid) {
        self.state().deleted.insert(id);
    }

    pub fn is_deleted(&self, id: Uuid) -> bool {
        self.state().deleted.contains(&id)
    }

    pub fn topics(&self) -> BTreeMap<String, Uuid> {
        self.state().topics.clone()
    }

    pub fn lacks(&self, replicas: usize) {
        let mut state = self.state();
        state.lacked = state.lacked.max(replicas);
    }

    pub fn moved(&self, host: String, port: u16) {
        self.state().ports.insert(host, port);
    }

    /// Where clients reach a node.
    pub fn port(&self, host: &str) -> u16 {
        self.state().ports.get(host).copied().unwrap_or(PORT)
    }

    /// A leader's high watermark.
    pub fn committed(&self, partition: i32, high_watermark: i64) {
        let mut state = self.state();
        let known = state.committed.entry(partition).or_default();
        *known = high_watermark.max(*known);
    }

    pub fn led(&self, partition: i32, leader_epoch: i32, log_end: i64) {
        let mut state = self.state();
        let known = state.led.entry(partition).or_insert((leader_epoch, log_end));
        if known.0 <= leader_epoch {
            *known = (leader_epoch, log_end);
        }
    }

    /// Replicas show so many records; the leader has all that were committed, and is yet to hear from its followers that they were.
    pub fn shows_not_yet_all(&self, partition: i32, shown: i64) -> bool {
        let state = self.state();
        let committed = state.committed.get(&partition).copied().unwrap_or_default();
        shown < committed && state.led.get(&partition).is_some_and(|led| led.1 >= committed)
    }

    pub fn acknowledged(&self, at: (i32, i64), value: &str) {
        self.state().acknowledged += 1;
        self.tell("acknowledged", at, value);
    }

    pub fn read(&self, at: (i32, i64), value: &str) {
        self.tell("read", at, value);
    }

    /// Whoever tells of a record has it from a leader whose high watermark had passed it a tick ago at least.
    fn tell(&self, how: &str, at: (i32, i64), value: &str) {
        tracing::debug!("at {} ms: {how} {value:?} at {at:?}", self.now_ms());
        let mut state = self.state();
        let committed = state.committed.get(&at.0).copied().unwrap_or_default();
        let known = state.told.entry(at).or_insert_with(|| value.to_owned()).clone();
        drop(state);
        if known != value {
            self.wrong("PA-1", format_args!("{how} {value:?} at {at:?}, which is {known:?}"));
        }
        if at.1 >= committed {
            let kind = if how == "read" { "a read beyond the high watermark" } else { "PA-1" };
            self.wrong(kind, format_args!("{how} {value:?} at {at:?}, of {committed} committed"));
        }
    }

    /// A member was given a partition.
    pub fn assigned(&self, generation: i32, partition: i32, member: &str) {
        let mut state = self.state();
        let owner = state.group.owners.entry((generation, partition));
        let owner = owner.or_insert_with(|| member.to_owned()).clone();
        drop(state);
        if owner != member {
            self.wrong(
                "GR-2",
                format_args!("{partition} is {owner}'s in generation {generation}, and {member}'s"),
            );
        }
    }

    /// A member is about to commit.
    pub fn commits(&self, partition: i32, offset: i64) {
        let mut state = self.state();
        let tried = state.group.tried.entry(partition).or_default();
        *tried = offset.max(*tried);
    }

    /// A commit was acknowledged.
    pub fn has_committed(&self, partition: i32, offset: i64) {
        let mut state = self.state();
        let committed = state.group.committed.entry(partition).or_default();
        *committed = offset.max(*committed);
    }

    pub fn committed_by_group(&self, partition: i32) -> i64 {
        self.state().group.committed.get(&partition).copied().unwrap_or_default()
    }

    /// The group is said to be at this offset; when that was asked, it had committed so far already.
    pub fn group_is_at(&self, partition: i32, offset: i64, least: i64) {
        let mut state = self.state();
        let most = state.group.tried.get(&partition).copied().unwrap_or_default();
        // Also what was committed without being heard of.
        let committed = state.group.committed.entry(partition).or_default();
        *committed = offset.max(*committed);
        drop(state);
        if !(least..=most).contains(&offset) {
            self.wrong(
                "GR-2",
                format_args!(
                    "the group is at {offset} of {partition}, having committed {least}, and tried {most}"
                ),
            );
        }
    }

    /// All that was committed in the partition is committed by the group.
    pub fn group_has_all(&self, partition: i32) -> Result<(), String> {
        let state = self.state();
        let end = state.committed.get(&partition).copied().unwrap_or_default();
        let at = state.group.committed.get(&partition).copied().unwrap_or_default();
        if at == end {
            Ok(())
        } else {
            Err(format!("the group is at {at} of {end} of {partition}"))
        }
    }

    pub fn told(&self) -> Records {
        self.state().told.clone()
    }

    pub fn judge(self: Arc<Story>) -> (Vec<Wrong>, usize, usize, usize) {
        let state = self.state();
        (state.wrong.clone(), state.acknowledged, state.created, state.lacked)
    }
}
