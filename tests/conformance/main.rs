//! Other people's clients, and bad ones, against a running node. OTTLA_BOOTSTRAP=HOST:PORT judges another broker instead,
//! such as a real Kafka: the answers asserted here are those Apache Kafka 4.4.0 gave.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "these tests are the world outside of the node"
)]

mod actors;
mod amplification;
mod bad_batches;
mod bad_frames;
mod bad_text;
mod batch;
mod bootstrap;
mod clients;
mod cluster;
mod cold;
mod commands;
mod compaction;
mod console;
mod console_cluster;
mod crash;
mod crowds;
mod defaults;
mod directories;
mod endings;
mod flights;
mod format;
mod groups;
mod holes;
mod idle;
mod last_words;
mod limits;
mod loggers;
mod metadata_log;
mod metrics;
mod named;
mod node;
mod observed;
mod one_process;
mod otel;
mod raw;
mod replication;
mod requests;
mod roles;
mod round_trip;
mod served;
mod settings;
mod shortage;
mod slow;
mod starting;
mod top;
mod traced;
mod voters;

use std::sync::atomic::{AtomicU32, Ordering};

/// A name of its own for each topic and group: the broker may be one that other tests have used.
fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{next}", std::process::id())
}
