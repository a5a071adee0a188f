//! Formatting: what a node's directories hold before it starts for the first time, and whose they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use disk::{Disk, DiskError};
use log::{MetaProperties, MetaPropertiesError};
use machines::consensus::{OffsetAndEpoch, VoterSet};
use machines::metadata::{METADATA_VERSION, MetadataVersion, bootstrap_snapshot};
use model::{NodeId, Uuid};

use crate::files::{METADATA_DIR, mark_newcomer, unmark_newcomer};
use crate::snapshot::{self, SnapshotError};

/// What directories are formatted for.
#[derive(Debug, Clone)]
pub struct FormatSpec {
    pub cluster_id: String,
    pub node: NodeId,
    pub log_dirs: Vec<PathBuf>,
    pub metadata_log_dir: PathBuf,
    /// Finalized levels, by feature.
    pub features: BTreeMap<String, i16>,
    /// The first voters of a quorum that keeps them in its log.
    pub voters: Option<VoterSet>,
    /// The metadata log begins with a snapshot of the features and voters: a controller's. What brokers know they fetch, as in Kafka
    /// (`Formatter.setWriteBootstrapSnapshot`).
    pub bootstrap: bool,
    /// Nobody asked for it by name: a voter with others may have lost what it held.
    pub newcomer: bool,
    /// Leaves formatted directories as they are, where they are this node's; nothing that a voter held is taken for lost.
    pub ignore_formatted: bool,
    pub now_ms: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    MetaProperties(#[from] MetaPropertiesError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(
        "{dir}: already formatted (with cluster id {cluster_id}); --ignore-formatted leaves it as it is"
    )]
    AlreadyFormatted { dir: PathBuf, cluster_id: String },
    #[error(
        "{dir}/meta.properties has cluster.id={found}, but this node belongs to cluster {expected}"
    )]
    ForeignCluster { dir: PathBuf, found: String, expected: String },
    #[error(
        "{dir}/meta.properties has node.id={found}, but this node is {expected}: the directory is another node's"
    )]
    ForeignNode { dir: PathBuf, found: NodeId, expected: NodeId },
    #[error("{dir} has no meta.properties, but it is not empty: it holds {entry:?}")]
    NotEmpty { dir: PathBuf, entry: String },
    #[error(
        "{dir} is to hold the metadata log and is empty, but {other} is formatted: bring back what it held; or begin without that by `ottla format` with --ignore-formatted"
    )]
    NoMetadataLog { dir: PathBuf, other: PathBuf },
    #[error(
        "{other} holds a metadata log, and {dir} is to hold it: set metadata.log.dir={other}; or, where it is an old one, move {other}/{METADATA_DIR} away"
    )]
    MetadataLogElsewhere { dir: PathBuf, other: PathBuf },
    #[error(
        "{dir}/meta.properties and {other}/meta.properties have the same directory.id={id}: one is a copy of the other"
    )]
    DuplicateDirectory { dir: PathBuf, other: PathBuf, id: Uuid },
    #[error("{dir}/meta.properties has directory.id={id}, which stands for no directory")]
    ReservedDirectory { dir: PathBuf, id: Uuid },
}

/// Directories that are ready to be started on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formatted {
    pub cluster_id: String,
    /// Each directory with its id, in the order given.
    pub dirs: Vec<(PathBuf, Uuid)>,
}

/// What a directory's meta.properties says, where it has one; refused where it is another node's.
fn check(
    disk: &dyn Disk,
    dir: &Path,
    node: NodeId,
    cluster_id: Option<&str>,
) -> Result<Option<MetaProperties>, FormatError> {
    let Some(found) = MetaProperties::read(disk, dir)? else { return Ok(None) };
    if let (Some(found), Some(expected)) = (&found.cluster_id, cluster_id)
        && found != expected
    {
        let (found, expected) = (found.clone(), expected.to_owned());
        return Err(FormatError::ForeignCluster { dir: dir.to_owned(), found, expected });
    }
    match found.node_id {
        Some(other) if other != node => {
            Err(FormatError::ForeignNode { dir: dir.to_owned(), found: other, expected: node })
        }
        _ => Ok(Some(found)),
    }
}

/// What holds something and is no node's is somebody else's.
fn check_empty(disk: &dyn Disk, dir: &Path) -> Result<(), FormatError> {
    let entries = disk.list(dir)?;
    match entries.into_iter().find(|e| e.name != ".lock" && e.name != "lost+found") {
        Some(entry) => Err(FormatError::NotEmpty { dir: dir.to_owned(), entry: entry.name }),
        None => Ok(()),
    }
}

/// Formats the directories that are not; `ids` gives a directory its id.
///
/// # Errors
/// A directory is another node's or cluster's, holds something else, cannot be written, or is formatted already and
/// `ignore_formatted` is not set.
pub fn format_directories(
    disk: &dyn Disk,
    spec: &FormatSpec,
    mut ids: impl FnMut(&Path) -> Uuid,
) -> Result<Formatted, FormatError> {
    let mut dirs = Vec::new();
    // It goes first: where it is formatted, others are made as they are found missing.
    let others = spec.log_dirs.iter().filter(|dir| **dir != spec.metadata_log_dir);
    let all = [&spec.metadata_log_dir].into_iter().chain(others);
    // Nothing is written before everything was looked at.
    let mut new = Vec::new();
    for dir in all {
        disk.create_dir_all(dir)?;
        match check(disk, dir, spec.node, Some(&spec.cluster_id))? {
            Some(found) if spec.ignore_formatted => {
                if *dir == spec.metadata_log_dir {
                    unmark_newcomer(disk, &dir.join(METADATA_DIR))?;
                }
                let id = found.directory_id.unwrap_or(Uuid::ZERO);
                dirs.push((dir.clone(), id));
            }
            Some(_) => {
                let cluster_id = spec.cluster_id.clone();
                return Err(FormatError::AlreadyFormatted { dir: dir.clone(), cluster_id });
            }
            None => {
                check_empty(disk, dir)?;
                let id = ids(dir);
                dirs.push((dir.clone(), id));
                new.push((dir, id));
            }
        }
    }
    for (dir, id) in new {
        if spec.bootstrap && *dir == spec.metadata_log_dir {
            write_bootstrap(disk, dir, spec)?;
        }
        let properties = MetaProperties {
            cluster_id: Some(spec.cluster_id.clone()),
            node_id: Some(spec.node),
            directory_id: Some(id),
            other: BTreeMap::new(),
        };
        // Last: a directory that has it is formatted whole.
        properties.write(disk, dir)?;
        disk.sync_dir(dir.parent().unwrap_or(Path::new(".")))?;
    }
    Ok(Formatted { cluster_id: spec.cluster_id.clone(), dirs })
}

fn write_bootstrap(disk: &dyn Disk, dir: &Path, spec: &FormatSpec) -> Result<(), FormatError> {
    let log_dir = dir.join(METADATA_DIR);
    disk.create_dir_all(&log_dir)?;
    let bootstrap = bootstrap_snapshot(&spec.features, spec.voters.as_ref(), spec.now_ms);
    let level = spec.features.get(METADATA_VERSION).copied();
    let version = level.and_then(MetadataVersion::from_level).unwrap_or(MetadataVersion::LATEST);
    let id = OffsetAndEpoch { epoch: 0, offset: 0 };
    let (head, records) = (&bootstrap.header, &bootstrap.records);
    snapshot::write(disk, &log_dir, id, head, records, version, spec.now_ms)?;
    if spec.newcomer {
        mark_newcomer(disk, &log_dir)?;
    }
    disk.sync_dir(dir)?;
    Ok(())
}

/// An empty one would be another log than the one that the node had.
fn check_metadata_dir(
    disk: &dyn Disk,
    found: &[(&PathBuf, Option<MetaProperties>)],
    metadata_log_dir: &Path,
) -> Result<(), FormatError> {
    let mut formatted = None;
    for (other, properties) in found.iter().filter(|(dir, _)| *dir != metadata_log_dir) {
        if disk.exists(&other.join(METADATA_DIR))? {
            let (dir, other) = (metadata_log_dir.to_owned(), (*other).clone());
            return Err(FormatError::MetadataLogElsewhere { dir, other });
        }
        formatted = formatted.or(properties.as_ref().map(|_| *other));
    }
    let is_empty = !found.iter().any(|(dir, found)| *dir == metadata_log_dir && found.is_some());
    match formatted.filter(|_| is_empty) {
        Some(other) => {
            let (dir, other) = (metadata_log_dir.to_owned(), other.clone());
            Err(FormatError::NoMetadataLog { dir, other })
        }
        None => Ok(()),
    }
}

/// The directories of a node that was formatted before; an empty directory added since gets its id now. None where none of them
/// is formatted.
///
/// # Errors
/// They are another node's or cluster's, differ from each other, one holds something else, the one for the metadata log alone is
/// empty (Kafka: `MetaPropertiesEnsemble`, `REQUIRE_METADATA_LOG_DIR`), or another holds that log (`KafkaRaftServer.initializeLogDirs`).
pub fn load_directories(
    disk: &dyn Disk,
    node: NodeId,
    (log_dirs, metadata_log_dir): (&[PathBuf], &Path),
    cluster_id: Option<&str>,
    mut ids: impl FnMut() -> Uuid,
) -> Result<Option<Formatted>, FormatError> {
    let mut cluster: Option<String> = cluster_id.map(str::to_owned);
    let mut found = Vec::new();
    for dir in log_dirs {
        let properties = match disk.exists(dir)? {
            true => check(disk, dir, node, cluster.as_deref())?,
            false => None,
        };
        if let Some(properties) = &properties {
            cluster = cluster.or_else(|| properties.cluster_id.clone());
        }
        found.push((dir, properties));
    }
    let Some(cluster_id) = cluster.filter(|_| found.iter().any(|(_, p)| p.is_some())) else {
        return Ok(None);
    };
    check_metadata_dir(disk, &found, metadata_log_dir)?;
    for (dir, _) in found.iter().filter(|(_, properties)| properties.is_none()) {
        if disk.exists(dir)? {
            check_empty(disk, dir)?;
        }
    }
    let mut dirs: Vec<(PathBuf, Uuid)> = Vec::new();
    for (dir, properties) in found {
        if let Some(id) = properties.as_ref().and_then(|p| p.directory_id) {
            if id.is_reserved_directory() {
                return Err(FormatError::ReservedDirectory { dir: dir.clone(), id });
            }
            if let Some((other, _)) = dirs.iter().find(|(_, known)| *known == id) {
                let (dir, other) = (dir.clone(), other.clone());
                return Err(FormatError::DuplicateDirectory { dir, other, id });
            }
            dirs.push((dir.clone(), id));
            continue;
        }
        disk.create_dir_all(dir)?;
        let id = ids();
        let mut properties = properties.unwrap_or(MetaProperties {
            cluster_id: None,
            node_id: None,
            directory_id: None,
            other: BTreeMap::new(),
        });
        properties.cluster_id = Some(cluster_id.clone());
        properties.node_id = Some(node);
        properties.directory_id = Some(id);
        properties.write(disk, dir)?;
        dirs.push((dir.clone(), id));
    }
    Ok(Some(Formatted { cluster_id, dirs }))
}
