//! Settings whose effects take their time, seen on simulated clocks: of one node, of a cluster, of a quorum with a voter that the
//! test plays.

mod cluster;
mod one_node;
mod quorum;
