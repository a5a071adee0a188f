//! Coordinator shards: replicated machines on internal topics.

mod coordinators;
mod group_coordinator;
mod groups;
mod partition_log;

pub use coordinators::{Coordinators, CoordinatorsArgs, CoordinatorsMsg};
pub use group_coordinator::{GroupCoordinator, GroupShardActor, GroupShardMsg};
pub use groups::Groups;
pub use partition_log::PartitionLog;
