//! Ottla: Apache Kafka 4.4 as a tree of supervised actors.

pub mod cli;
pub mod config;
