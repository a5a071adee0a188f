//! What a freshly formatted directory holds, and what the first leader of an empty log writes first.

use std::collections::BTreeMap;

use model::Uuid;
use model::settings::Resource;
use wire::{BeginTransactionRecord, ConfigRecord, EndTransactionRecord, MetadataRecord};

use super::features::{
    ELIGIBLE_LEADER_REPLICAS_VERSION, FEATURES, Feature, FeatureError, KRAFT_VERSION,
    METADATA_VERSION, MetadataVersion,
};
use super::snapshot::feature_level;
use crate::consensus::{ControlRecord, VoterSet};

pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Every feature's level of a new cluster: those asked for, the others as the metadata.version has them by default. kraft.version is 1
/// exactly where the quorum is dynamic, that is where its voters are in the log and not in the settings. `newest`: the metadata.version
/// that is taken where none is asked for, and the newest that may be.
pub fn initial_feature_levels(
    asked: &BTreeMap<String, i16>,
    dynamic_quorum: bool,
    newest: MetadataVersion,
) -> Result<BTreeMap<String, i16>, FeatureError> {
    let unknown =
        asked.keys().find(|name| *name != METADATA_VERSION && Feature::by_name(name).is_none());
    if let Some(name) = unknown {
        return Err(FeatureError::Unknown { name: name.clone() });
    }
    let metadata_version = match asked.get(METADATA_VERSION) {
        Some(level) => MetadataVersion::from_level(*level)
            .ok_or(FeatureError::MetadataVersion { level: *level })?,
        None => newest,
    };
    if metadata_version > newest {
        return Err(FeatureError::Unstable(metadata_version));
    }
    let mut levels = BTreeMap::from([(METADATA_VERSION.to_owned(), metadata_version.0)]);
    for feature in FEATURES {
        let level = match (asked.get(feature.name).copied(), feature.name) {
            (level, KRAFT_VERSION) => kraft_level(level, dynamic_quorum)?,
            (Some(level), _) => level,
            (None, _) => feature.default_level(metadata_version),
        };
        feature.validate(level, metadata_version)?;
        levels.insert(feature.name.to_owned(), level);
    }
    Ok(levels)
}

fn kraft_level(asked: Option<i16>, dynamic_quorum: bool) -> Result<i16, FeatureError> {
    match asked {
        Some(level @ ..=0) if dynamic_quorum => {
            Err(FeatureError::KraftVersion { level, reason: "a dynamic quorum needs 1 or more" })
        }
        Some(level @ 1..) if !dynamic_quorum => Err(FeatureError::KraftVersion {
            level,
            reason: "the voters are fixed by controller.quorum.voters",
        }),
        Some(level) => Ok(level),
        None => Ok(i16::from(dynamic_quorum)),
    }
}

/// FeatureLevel records: metadata.version first, the others by name. kraft.version is no record of this kind.
pub fn bootstrap_records(levels: &BTreeMap<String, i16>) -> Vec<MetadataRecord> {
    let metadata_version =
        levels.get(METADATA_VERSION).copied().unwrap_or(MetadataVersion::LATEST.0);
    let mut records = vec![feature_level(METADATA_VERSION, metadata_version)];
    let others = levels
        .iter()
        .filter(|(name, level)| *name != METADATA_VERSION && *name != KRAFT_VERSION && **level > 0);
    records.extend(others.map(|(name, level)| feature_level(name, *level)));
    records
}

/// The level that these records set a feature to.
pub fn level_among(records: &[MetadataRecord], feature: &str) -> Option<i16> {
    records.iter().rev().find_map(|record| match record {
        MetadataRecord::FeatureLevel(r) if r.name == feature => Some(r.feature_level),
        _ => None,
    })
}

/// The content of `00000000000000000000-0000000000.checkpoint`: a control batch, a data batch, a control batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BootstrapSnapshot {
    pub header: Vec<ControlRecord>,
    pub records: Vec<MetadataRecord>,
    pub footer: ControlRecord,
}

/// `voters` where this directory is formatted with the initial voters of a dynamic quorum, a standalone one included.
pub fn bootstrap_snapshot(
    levels: &BTreeMap<String, i16>,
    voters: Option<&VoterSet>,
    wall_ms: i64,
) -> BootstrapSnapshot {
    let kraft_version = levels.get(KRAFT_VERSION).copied().unwrap_or(0);
    BootstrapSnapshot {
        header: ControlRecord::snapshot_head(wall_ms, kraft_version, voters),
        records: bootstrap_records(levels),
        footer: ControlRecord::snapshot_footer(),
    }
}

/// What the first leader writes into a log without records: the bootstrap records as one transaction. With ELR the cluster-wide
/// min.insync.replicas becomes explicit, since from then on the controller must know it.
pub fn activation_records(
    bootstrap: &[MetadataRecord],
    min_insync_replicas: i32,
) -> Vec<MetadataRecord> {
    let level = |wanted: &str| level_among(bootstrap, wanted);
    let version = level(METADATA_VERSION).map_or(MetadataVersion::LATEST, MetadataVersion);
    let mut records = Vec::new();
    if version.transactions() {
        let name = Some("Bootstrap records".to_owned());
        records.push(MetadataRecord::BeginTransaction(BeginTransactionRecord {
            name,
            ..Default::default()
        }));
    }
    records.extend(bootstrap.iter().cloned());
    if level(ELIGIBLE_LEADER_REPLICAS_VERSION).is_some_and(|level| level > 0) {
        records.push(MetadataRecord::Config(ConfigRecord {
            resource_type: Resource::Broker.code(),
            resource_name: String::new(),
            name: MIN_INSYNC_REPLICAS.to_owned(),
            value: Some(min_insync_replicas.to_string()),
            ..Default::default()
        }));
    }
    if version.transactions() {
        records.push(MetadataRecord::EndTransaction(EndTransactionRecord::default()));
    }
    records
}

/// The content of a log directory's `meta.properties`. A cluster id is any text; Kafka's own are uuids.
pub fn meta_properties(cluster_id: &str, node_id: i32, directory_id: Uuid) -> String {
    format!(
        "#\nnode.id={node_id}\ndirectory.id={directory_id}\nversion=1\ncluster.id={cluster_id}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(records: &[MetadataRecord]) -> Vec<(String, i16)> {
        let level = |r: &MetadataRecord| match r {
            MetadataRecord::FeatureLevel(r) => (r.name.clone(), r.feature_level),
            other => (format!("{other:?}"), -1),
        };
        records.iter().map(level).collect()
    }

    /// As dumped from a directory that Kafka 4.4.0 formatted.
    #[test]
    fn the_bootstrap_snapshot_is_kafkas() {
        let levels =
            initial_feature_levels(&BTreeMap::new(), false, MetadataVersion::LATEST).unwrap();
        let snapshot = bootstrap_snapshot(&levels, None, 7);
        assert_eq!(snapshot.header, [ControlRecord::snapshot_header(7)]);
        let expected = [
            ("metadata.version", 33),
            ("eligible.leader.replicas.version", 1),
            ("group.version", 1),
            ("share.version", 2),
            ("streams.version", 1),
            ("transaction.version", 2),
        ];
        let expected: Vec<_> = expected.map(|(name, level)| (name.to_owned(), level)).into();
        assert_eq!(names(&snapshot.records), expected);
    }

    #[test]
    fn a_standalone_directory_names_its_voter() {
        let levels =
            initial_feature_levels(&BTreeMap::new(), true, MetadataVersion::LATEST).unwrap();
        let snapshot = bootstrap_snapshot(&levels, Some(&VoterSet::default()), 7);
        let types: Vec<i16> = snapshot.header.iter().map(|r| r.kind() as i16).collect();
        assert_eq!(types, [3, 5, 6]);
    }

    #[test]
    fn what_was_asked_for_is_checked() {
        let ask = |name: &str, level: i16| BTreeMap::from([(name.to_owned(), level)]);
        let with = |name, level, dynamic| {
            initial_feature_levels(&ask(name, level), dynamic, MetadataVersion::LATEST)
        };
        assert_eq!(with("share.version", 0, false).unwrap()["share.version"], 0);
        assert_eq!(
            with("metadata.version", 22, false).unwrap()["eligible.leader.replicas.version"],
            0
        );
        assert!(matches!(with("no.such", 1, false), Err(FeatureError::Unknown { .. })));
        assert!(matches!(
            with("metadata.version", 6, false),
            Err(FeatureError::MetadataVersion { level: 6 })
        ));
        assert_eq!(
            with("metadata.version", 34, false).unwrap_err().to_string(),
            "metadata.version 4.5-IV0 is not yet stable. It may be used where unstable.feature.versions.enable=true."
        );
        let unstable = initial_feature_levels(&BTreeMap::new(), false, MetadataVersion::UNSTABLE);
        assert_eq!(unstable.unwrap()["metadata.version"], 34);
        assert!(matches!(with("group.version", 7, false), Err(FeatureError::NoSuchLevel { .. })));
        assert!(matches!(with("kraft.version", 1, false), Err(FeatureError::KraftVersion { .. })));
        assert!(matches!(with("kraft.version", 0, true), Err(FeatureError::KraftVersion { .. })));
    }

    #[test]
    fn an_empty_log_starts_with_one_transaction() {
        let levels =
            initial_feature_levels(&BTreeMap::new(), false, MetadataVersion::LATEST).unwrap();
        let records = activation_records(&bootstrap_records(&levels), 2);
        assert_eq!(records.len(), 9);
        assert!(matches!(&records[0], MetadataRecord::BeginTransaction(_)));
        assert!(
            matches!(&records[7], MetadataRecord::Config(r) if r.value.as_deref() == Some("2"))
        );
        assert!(matches!(&records[8], MetadataRecord::EndTransaction(_)));
    }

    #[test]
    fn meta_properties_are_java_properties() {
        let text = meta_properties("a", 3, Uuid::ZERO);
        assert!(
            text.contains("\nnode.id=3\n")
                && text.contains("\nversion=1\n")
                && text.contains("\ncluster.id=a\n")
        );
    }
}
