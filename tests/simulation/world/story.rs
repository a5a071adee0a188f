//! What clients were told, beside what the replicas' leaders said was committed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::Uuid;

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
    topics: BTreeMap<String, Uuid>,
    /// The highest high watermark that a leader has had, by partition.
    committed: BTreeMap<i32, i64>,
    lacked: usize,
    waits_for: String,
    wrong: Vec<String>,
}

impl Story {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_now_ms(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A violation.
    pub fn wrong(&self, what: fmt::Arguments<'_>) {
        let at = self.now_ms.load(Ordering::Relaxed);
        self.state().wrong.push(format!("at {at} ms: {what}"));
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

    pub fn created(&self, name: String, id: Uuid) {
        self.state().topics.insert(name, id);
    }

    pub fn topics(&self) -> BTreeMap<String, Uuid> {
        self.state().topics.clone()
    }

    pub fn lacks(&self, replicas: usize) {
        let mut state = self.state();
        state.lacked = state.lacked.max(replicas);
    }

    /// A leader's high watermark.
    pub fn committed(&self, partition: i32, high_watermark: i64) {
        let mut state = self.state();
        let known = state.committed.entry(partition).or_default();
        *known = high_watermark.max(*known);
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
        let mut state = self.state();
        let committed = state.committed.get(&at.0).copied().unwrap_or_default();
        let known = state.told.entry(at).or_insert_with(|| value.to_owned()).clone();
        drop(state);
        if known != value {
            self.wrong(format_args!("{how} {value:?} at {at:?}, which is {known:?}"));
        }
        if at.1 >= committed {
            self.wrong(format_args!("{how} {value:?} at {at:?}, of {committed} committed"));
        }
    }

    pub fn told(&self) -> Records {
        self.state().told.clone()
    }

    pub fn judge(self: Arc<Story>) -> (Vec<String>, usize, usize, usize) {
        let state = self.state();
        (state.wrong.clone(), state.acknowledged, state.topics.len(), state.lacked)
    }
}
