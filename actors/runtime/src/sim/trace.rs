//! What happened, as a hash; as text on demand.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::random::HASH_START;
use crate::world::GatePoint;

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
        state.hash = add_bytes(state.hash, state.line.as_bytes());
        state.count += 1;
        if let Some(kept) = &mut state.kept {
            kept.push(state.line.clone());
        }
    }

    /// An actor is given a step: by far the most frequent of notes, and so made into text only where that is kept.
    fn step(&self, node: &str, point: GatePoint, actor: &str) {
        let mut state = self.state();
        let state = &mut *state;
        let place = state.now_ms << 1 | u64::from(point == GatePoint::Send);
        state.hash = add_bytes(add_word(state.hash, place), node.as_bytes());
        state.hash = add_bytes(state.hash, actor.as_bytes());
        state.count += 1;
        if let Some(kept) = &mut state.kept {
            kept.push(format!("{} {node} {point:?} {actor}", state.now_ms));
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

pub(super) fn add_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, word| add_word(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    add_word(add_word(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}

fn add_word(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
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

    pub(super) fn step(&self, point: GatePoint, actor: &str) {
        if !self.ended.load(Ordering::Relaxed) {
            self.trace.step(&self.node, point, actor);
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
