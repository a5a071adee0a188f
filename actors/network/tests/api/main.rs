//! The APIs over a real socket, on a real disk.
#![allow(clippy::unwrap_used)]

mod admin;
mod batches;
mod client;
mod compaction;
mod configs;
mod control;
mod controller;
mod describe;
mod durables;
mod envelope;
mod failures;
mod fetch;
mod fetcher;
mod follow;
mod groups;
mod groups_stalled;
mod log_dirs;
mod lookups;
mod produce;
mod promotions;
mod replicas;
mod rig;
mod topic_settings;
