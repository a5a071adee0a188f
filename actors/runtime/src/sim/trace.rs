//! What happened, as a hash; as text on demand.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::random::{HASH_START, add_to_hash};

#[derive(Clone)]
pub(super) struct Trace(Arc<Mutex<State>>);

struct State {
    now_ms: u64,
    hash: u64,
    count: u64,
    line: String,
    kept: Option<Vec<String>>,
}

/// A run's trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLog {
    pub hash: u64,
    pub count: u64,
    /// Empty unless [`SimOptions::keep_lines`](super::SimOptions::keep_lines).
    pub lines: Vec<String>,
}

impl Trace {
    pub(super) fn new(keep_lines: bool) -> Trace {
        Trace(Arc::new(Mutex::new(State {
            now_ms: 0,
            hash: HASH_START,
            count: 0,
            line: String::new(),
            kept: keep_lines.then(Vec::new),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_now(&self, now_ms: u64) {
        self.state().now_ms = now_ms;
    }

    pub(super) fn note(&self, node: &str, what: fmt::Arguments<'_>) {
        let mut state = self.state();
        let state = &mut *state;
        state.line.clear();
        // Writing to a String cannot fail.
        let _ = write!(state.line, "{} {node} {what}", state.now_ms);
        state.hash = state.line.bytes().fold(state.hash, add_to_hash);
        state.count += 1;
        if let Some(kept) = &mut state.kept {
            kept.push(state.line.clone());
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.state().hash
    }

    pub(super) fn log(&self) -> TraceLog {
        let state = self.state();
        let lines = state.kept.clone().unwrap_or_default();
        TraceLog { hash: state.hash, count: state.count, lines }
    }
}

/// Where one life of a node notes what it did; after the life's end, nowhere.
#[derive(Clone)]
pub struct NodeTrace {
    pub(super) trace: Trace,
    pub(super) node: Arc<str>,
    pub(super) ended: Arc<AtomicBool>,
}

impl NodeTrace {
    pub fn note(&self, what: fmt::Arguments<'_>) {
        if !self.ended.load(Ordering::Relaxed) {
            self.trace.note(&self.node, what);
        }
    }
}

impl fmt::Debug for NodeTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeTrace({})", self.node)
    }
}

/// Two runs of one seed that differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed} does not replay: line {line} is {first:?}, and again {second:?}")]
pub struct Divergence {
    pub seed: u64,
    pub line: usize,
    pub first: Option<String>,
    pub second: Option<String>,
}

/// Runs a scenario twice and compares. `run` is given the seed and whether to keep lines, which it does only to name the
/// first difference.
pub fn check_replay(
    seed: u64,
    run: impl Fn(u64, bool) -> TraceLog,
) -> Result<TraceLog, Divergence> {
    let (first, second) = (run(seed, false), run(seed, false));
    if first == second {
        return Ok(first);
    }
    let (first, second) = (run(seed, true).lines, run(seed, true).lines);
    let line = first.iter().zip(&second).take_while(|(a, b)| a == b).count();
    let (first, second) = (first.get(line).cloned(), second.get(line).cloned());
    Err(Divergence { seed, line, first, second })
}
