//! Chaos on real processes: the nodes of one cluster file are killed, stopped, cut off and started anew under librdkafka's producers and
//! groups; then the whole history is checked.
//!
//! As it stands it takes a minute and asserts no time. OTTLA_KILLS=20 kills that often each kind of node; what it says behind
//! `MEASURED:` is judged by the steps `kill -9 in a cluster` and `three nodes from nothing` of `tests/conformance/run`.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "these tests are the world outside of the nodes"
)]

mod asks;
mod chaos;
mod explained;
mod gaps;
mod group;
mod history;
#[path = "../conformance/last_words.rs"]
mod last_words;
mod network;
mod nodes;
mod producers;
mod rig;
mod starting;

use std::time::{Duration, Instant};

/// How long anything may take before it counts as never.
const LIMIT: Duration = Duration::from_secs(60);

/// Looks until it is there.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
