//! What the metadata log says: images, what differs between them, and their records.

mod bootstrap;
mod brokers;
mod configs;
mod delta;
mod features;
mod image;
mod loader;
mod replay;
mod snapshot;
mod topics;

#[cfg(test)]
mod kafka_log_tests;
#[cfg(test)]
mod tests;

pub use bootstrap::{
    BootstrapSnapshot, MIN_INSYNC_REPLICAS, activation_records, bootstrap_records,
    bootstrap_snapshot, initial_feature_levels, level_among, meta_properties,
};
pub use brokers::{BrokerRegistration, ControllerRegistration, Endpoint};
pub use configs::{ConfigResource, Configs, ConfigsImage};
pub use delta::{MetadataDelta, PartitionDelta};
pub use features::{
    ELIGIBLE_LEADER_REPLICAS_VERSION, FEATURES, Feature, FeatureError, GROUP_VERSION,
    KRAFT_VERSION, LevelRange, METADATA_VERSION, MetadataVersion, SHARE_VERSION, STREAMS_VERSION,
    TRANSACTION_VERSION, supported_features,
};
pub use image::{MetadataImage, Provenance, QuotaEntity};
pub use loader::MetadataLoader;
pub use replay::ReplayError;
pub use snapshot::{feature_level, record_version};
pub use topics::{
    LeaderRecoveryState, NO_LEADER, NO_LEADER_CHANGE, PartitionRecordError, PartitionRegistration,
    TopicImage, TopicsImage,
};
