//! Decisions without IO: consensus, controller, partition, groups, fetch sessions.

pub mod fetch_session;
pub mod partition;
