//! Ottla: Apache Kafka 4.4 as a tree of supervised actors.

pub mod cli;
pub mod config;
pub mod console;
pub mod dump_log;
pub mod durable;
pub mod explain;
mod lines;
pub mod logging;
mod node;
pub mod run;
mod signals;
pub mod sim;
mod telemetry;

pub use client;
pub use network::{Intercepted, Interceptor, On, Verdict, Way};
pub use node::{DirectoriesError, ExtendError, Node, NodeBuilder, NodeHandle, StartError};
pub use runtime;
