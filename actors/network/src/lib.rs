//! Listeners, connections, and one file per API key.

mod api;
mod broker;
mod connection;
mod listener;

pub use broker::{Broker, BrokerParts, Limits};
pub use listener::{Bound, ListenerActor, ListenerArgs, ListenerMsg, ListenerSpec};
