//! What every node must agree on before a byte is read: ids, epochs, error codes and the table of settings.

mod error_code;
mod hash;
mod ids;
mod murmur2;
pub mod node_config;
mod now;
pub mod producers;
mod replicated;
pub mod settings;
pub mod topic;
mod uuid;

pub use error_code::ErrorCode;
pub use hash::{coordinator_partition, java_string_hash};
pub use ids::{
    BrokerEpoch, LeaderEpoch, NodeId, ParseTopicPartitionError, ProducerEpoch, ProducerId,
    TopicIdPartition, TopicPartition,
};
pub use murmur2::{murmur2, partition_for_key};
pub use node_config::NodeConfig;
pub use now::Now;
pub use replicated::{Decision, DecisionOf, Persist, Replicated, StoredRecord, Ticket, TimerOp};
pub use uuid::{ParseUuidError, Uuid};
