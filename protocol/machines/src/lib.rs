//! Decisions without IO: consensus, controller, partition, groups, fetch sessions.
