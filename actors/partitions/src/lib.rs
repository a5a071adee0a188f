//! Partition actors, log dirs, and the directory through which others find them.

mod assignments;
mod checkpoints;
mod cleaner;
mod followers;
mod future;
mod handle;
mod hosted;
mod log_dir;
mod log_dirs;
mod partition;
mod partitions;
mod reads;
mod recovery;
mod replication;
mod room;
mod traffic;
mod uncleanable;
mod unsynced;

pub use assignments::{Assignments, ForController, IsrChanges, ReplicaName, UnderWay};
pub use checkpoints::{Checkpoint, Checkpoints};
pub use cleaner::{
    CleanRequest, CleanerTurns, LogCleaner, LogCleanerArgs, LogCleanerMsg, PassFailed, PassResult,
    Throttle, names_replica,
};
pub use future::FutureLog;
pub use handle::{
    Append, AppendResult, Appending, PartitionHandle, Role, Serving, Standing, Trouble,
};
pub use hosted::{Hosted, HostedTopic};
pub use log_dir::{LogDir, LogDirArgs, LogDirMsg, read_log_dir};
pub use log_dirs::{LogDirState, LogDirs};
pub use partition::{
    Cut, DeleteRecords, DeleteRecordsError, FollowError, FollowResult, FollowerEnd, IsrAnswer,
    NotPromoted, OpenTransaction, PartitionActor, PartitionArgs, PartitionMsg, Replicate, Truncate,
};
pub use partitions::{AlterDirError, DirMoves, Partitions, PartitionsArgs, PartitionsMsg};
#[cfg(test)]
mod recovery_tests;

pub use reads::{Isolation, NotServed, ReadFrom, Readable, read_error_code};
pub use replication::{Replication, ReplicationArgs, ReplicationMsg};
pub use room::Room;
pub use traffic::{Counted, TopicTraffic, Traffic};
pub use uncleanable::{Uncleanable, UncleanableLogs};
