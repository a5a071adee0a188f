//! Feature levels: which exist, which a new cluster starts with, and what each metadata.version allows in the log.

use std::collections::BTreeMap;

pub const METADATA_VERSION: &str = "metadata.version";
pub const KRAFT_VERSION: &str = "kraft.version";
pub const GROUP_VERSION: &str = "group.version";
pub const TRANSACTION_VERSION: &str = "transaction.version";
pub const SHARE_VERSION: &str = "share.version";
pub const STREAMS_VERSION: &str = "streams.version";
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";

/// The level of `metadata.version`: which record versions and fields every node of the cluster understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataVersion(pub i16);

/// Level, name, and whether it changed what records say.
const METADATA_VERSIONS: &[(i16, &str, bool)] = &[
    (7, "3.3-IV3", true),
    (8, "3.4-IV0", true),
    (9, "3.5-IV0", false),
    (10, "3.5-IV1", false),
    (11, "3.5-IV2", true),
    (12, "3.6-IV0", false),
    (13, "3.6-IV1", true),
    (14, "3.6-IV2", true),
    (15, "3.7-IV0", true),
    (16, "3.7-IV1", false),
    (17, "3.7-IV2", true),
    (18, "3.7-IV3", false),
    (19, "3.7-IV4", false),
    (20, "3.8-IV0", false),
    (21, "3.9-IV0", false),
    (22, "4.0-IV0", false),
    (23, "4.0-IV1", true),
    (24, "4.0-IV2", false),
    (25, "4.0-IV3", false),
    (26, "4.1-IV0", false),
    (27, "4.1-IV1", false),
    (28, "4.2-IV0", false),
    (29, "4.2-IV1", false),
    (30, "4.3-IV0", true),
    (31, "4.4-IV0", false),
    (32, "4.4-IV1", true),
    (33, "4.4-IV2", true),
    (34, "4.5-IV0", false),
];

impl MetadataVersion {
    pub const MINIMUM: MetadataVersion = MetadataVersion(7);
    /// What Kafka 4.4.0 formats a new cluster with.
    pub const LATEST: MetadataVersion = MetadataVersion(33);
    /// Not released with Kafka 4.4.0, which knows it all the same: used where `unstable.feature.versions.enable` is set. It says
    /// nothing yet that 33 does not.
    pub const UNSTABLE: MetadataVersion = MetadataVersion(34);

    pub fn from_level(level: i16) -> Option<MetadataVersion> {
        (Self::MINIMUM.0..=Self::UNSTABLE.0).contains(&level).then_some(MetadataVersion(level))
    }

    /// The newest that a node may use; `unstable` is its `unstable.feature.versions.enable`. Of the other features each level is released.
    pub fn newest(unstable: bool) -> MetadataVersion {
        if unstable { MetadataVersion::UNSTABLE } else { MetadataVersion::LATEST }
    }

    pub fn name(self) -> &'static str {
        METADATA_VERSIONS
            .iter()
            .find(|(level, _, _)| *level == self.0)
            .map_or("unknown", |(_, name, _)| name)
    }

    /// Whether going from one to the other crosses a change of what records say.
    pub fn metadata_changed(self, other: MetadataVersion) -> bool {
        let (low, high) = (self.min(other), self.max(other));
        METADATA_VERSIONS
            .iter()
            .any(|(level, _, changed)| *changed && *level > low.0 && *level <= high.0)
    }

    pub fn scram(self) -> bool {
        self.0 >= 11
    }
    pub fn transactions(self) -> bool {
        self.0 >= 13
    }
    pub fn delegation_tokens(self) -> bool {
        self.0 >= 14
    }
    pub fn controller_registration(self) -> bool {
        self.0 >= 15
    }
    pub fn directory_assignment(self) -> bool {
        self.0 >= 17
    }
    pub fn cordoned_log_dirs(self) -> bool {
        self.0 >= 30
    }
    pub fn controller_unregistration(self) -> bool {
        self.0 >= 33
    }
    /// Before 3.6 every shrink of the ISR was a new leader epoch.
    pub fn leader_epoch_bump_on_isr_shrink(self) -> bool {
        self.0 < 12
    }

    pub fn register_broker_record(self) -> i16 {
        match self.0 {
            30.. => 4,
            17.. => 3,
            8.. => 2,
            _ => 1,
        }
    }

    /// Of PartitionRecord and PartitionChangeRecord alike.
    pub fn partition_record(self) -> i16 {
        match self.0 {
            23.. => 2,
            17.. => 1,
            _ => 0,
        }
    }
}

impl std::fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One feature besides metadata.version: for each level from 1 up, the metadata.version at which new clusters start with it and
/// the one that it needs.
#[derive(Debug)]
pub struct Feature {
    pub name: &'static str,
    levels: &'static [(MetadataVersion, MetadataVersion)],
}

const MIN: MetadataVersion = MetadataVersion::MINIMUM;

/// By name, as Kafka lists them.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: ELIGIBLE_LEADER_REPLICAS_VERSION,
        levels: &[(MetadataVersion(26), MetadataVersion(23))],
    },
    Feature { name: GROUP_VERSION, levels: &[(MetadataVersion(22), MIN)] },
    Feature { name: KRAFT_VERSION, levels: &[(MetadataVersion(21), MIN)] },
    Feature {
        name: SHARE_VERSION,
        levels: &[(MetadataVersion(28), MIN), (MetadataVersion(31), MIN)],
    },
    Feature { name: STREAMS_VERSION, levels: &[(MetadataVersion(29), MIN)] },
    Feature {
        name: TRANSACTION_VERSION,
        levels: &[(MetadataVersion(24), MIN), (MetadataVersion(24), MIN)],
    },
];

impl Feature {
    pub fn by_name(name: &str) -> Option<&'static Feature> {
        FEATURES.iter().find(|f| f.name == name)
    }

    pub fn latest(&self) -> i16 {
        self.levels.len() as i16
    }

    /// The level a cluster formatted at this metadata.version starts with.
    pub fn default_level(&self, metadata_version: MetadataVersion) -> i16 {
        self.levels.iter().take_while(|(bootstrap, _)| *bootstrap <= metadata_version).count()
            as i16
    }

    /// Whether the level may stand beside the metadata.version.
    pub fn validate(
        &self,
        level: i16,
        metadata_version: MetadataVersion,
    ) -> Result<(), FeatureError> {
        if level == 0 {
            return Ok(());
        }
        let (_, needs) = usize::try_from(level - 1)
            .ok()
            .and_then(|at| self.levels.get(at))
            .ok_or(FeatureError::NoSuchLevel { feature: self.name, level })?;
        if metadata_version < *needs {
            return Err(FeatureError::Depends { feature: self.name, level, needs: *needs });
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    #[error("Unsupported feature: {name}. Supported features are: {}", supported_names())]
    Unknown { name: String },
    #[error("No feature:{feature} with feature level {level}")]
    NoSuchLevel { feature: &'static str, level: i16 },
    #[error("{feature} could not be set to {level} because it depends on metadata.version level {}", needs.0)]
    Depends { feature: &'static str, level: i16, needs: MetadataVersion },
    #[error(
        "No MetadataVersion with feature level {level}. Valid feature levels are from {min} to {max}.",
        min = MetadataVersion::MINIMUM.0,
        max = MetadataVersion::UNSTABLE.0
    )]
    MetadataVersion { level: i16 },
    #[error(
        "metadata.version {0} is not yet stable. It may be used where unstable.feature.versions.enable=true."
    )]
    Unstable(MetadataVersion),
    #[error("kraft.version {level} does not fit: {reason}")]
    KraftVersion { level: i16, reason: &'static str },
}

fn supported_names() -> String {
    FEATURES.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
}

/// The inclusive range of levels that a node understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelRange {
    pub min: i16,
    pub max: i16,
}

impl LevelRange {
    pub const DISABLED: LevelRange = LevelRange { min: 0, max: 0 };

    pub fn contains(self, level: i16) -> bool {
        (self.min..=self.max).contains(&level)
    }
}

/// What a node understands that uses metadata.version up to `newest`: registered with the controller by brokers and controllers alike.
pub fn supported_features(newest: MetadataVersion) -> BTreeMap<String, LevelRange> {
    let mut out: BTreeMap<String, LevelRange> = FEATURES
        .iter()
        .map(|f| (f.name.to_owned(), LevelRange { min: 0, max: f.latest() }))
        .collect();
    let range = LevelRange { min: MetadataVersion::MINIMUM.0, max: newest.0 };
    out.insert(METADATA_VERSION.to_owned(), range);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_clusters_start_as_kafka_4_4_formats_them() {
        let at = |name: &str, mv: i16| {
            Feature::by_name(name).unwrap().default_level(MetadataVersion(mv))
        };
        assert_eq!(at(ELIGIBLE_LEADER_REPLICAS_VERSION, 33), 1);
        assert_eq!(at(ELIGIBLE_LEADER_REPLICAS_VERSION, 25), 0);
        assert_eq!(at(SHARE_VERSION, 33), 2);
        assert_eq!(at(SHARE_VERSION, 30), 1);
        assert_eq!(at(TRANSACTION_VERSION, 23), 0);
        assert_eq!(at(TRANSACTION_VERSION, 24), 2);
        assert_eq!(at(GROUP_VERSION, 22), 1);
    }

    #[test]
    fn names_and_levels() {
        assert_eq!(MetadataVersion::from_level(6), None);
        assert_eq!(MetadataVersion::from_level(34), Some(MetadataVersion::UNSTABLE));
        assert_eq!(MetadataVersion::from_level(35), None);
        assert_eq!(MetadataVersion(30).name(), "4.3-IV0");
    }

    #[test]
    fn a_downgrade_across_a_metadata_change_is_seen() {
        assert!(!MetadataVersion(29).metadata_changed(MetadataVersion(24)));
        assert!(MetadataVersion(30).metadata_changed(MetadataVersion(29)));
        assert!(MetadataVersion(24).metadata_changed(MetadataVersion(33)));
    }

    #[test]
    fn a_level_needs_its_metadata_version() {
        let elr = Feature::by_name(ELIGIBLE_LEADER_REPLICAS_VERSION).unwrap();
        assert!(elr.validate(1, MetadataVersion(22)).is_err());
        assert!(elr.validate(1, MetadataVersion(23)).is_ok());
        assert!(elr.validate(2, MetadataVersion(33)).is_err());
    }
}
