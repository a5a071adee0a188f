//! Listeners, connections, and one file per API key.

mod api;
mod broker;
mod cold;
mod connection;
mod departed;
mod door;
mod histogram;
mod histories;
mod intercept;
mod listener;
mod producer_ids;
mod quotas;
mod requests;
mod slow;
mod spans;
mod vigil;

pub use broker::{Broker, BrokerParts, Limits};
pub use connection::READ_BUFFER;
pub use door::Door;
pub use intercept::{HasInterceptor, Intercepted, Interceptor, Interceptors, On, Verdict, Way};
pub use listener::{Bound, ListenerActor, ListenerArgs, ListenerMsg, ListenerSpec};
pub use producer_ids::{AllocateBlock, Block, NoBlock};
pub use quotas::ConnectionQuotas;
pub use requests::{OfRequest, Part, RequestMetrics, Times};
