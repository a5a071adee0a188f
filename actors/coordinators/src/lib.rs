//! Coordinator shards: replicated machines on topics. Kafka's own, and the durable actors of users.

mod durables;
mod group_coordinator;
mod group_host;
mod groups;
mod hosting;
mod partition_log;

pub use durables::{DurableTopic, Durables, DurablesParts, Registration, Served, Tell, register};
pub use group_coordinator::{GroupCoordinator, GroupShardActor, GroupShardMsg};
pub use group_host::{Coordinators, CoordinatorsArgs, GroupHost};
pub use groups::Groups;
pub use hosting::{Host, Hosting, HostingArgs, HostingMsg, Shards};
pub use partition_log::PartitionLog;
