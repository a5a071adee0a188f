//! Decisions without IO: consensus, controller, partition, groups, fetch sessions.

pub mod consensus;
pub mod controller;
pub mod fetch_session;
pub mod groups;
pub mod metadata;
pub mod partition;
