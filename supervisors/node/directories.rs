//! A node's directories before its actors start: whose they are, locked, formatted where they are new.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use disk::{DiskError, DiskLock};
use log::CheckpointError;
use machines::consensus::{ReplicaKey, Voter, VoterEndpoint, VoterSet};
use machines::metadata::{Feature, LevelRange};
use machines::metadata::{FeatureError, KRAFT_VERSION, initial_feature_levels};
use model::Uuid;
use model::node_config::{ClusterId, NodeConfig};
use partitions::{LogDirState, LogDirs, read_log_dir};
use quorum::{FormatError, FormatSpec, Formatted, format_directories, load_directories};
use runtime::World;

/// Why directories cannot be started on.
#[derive(Debug, thiserror::Error)]
pub enum DirectoriesError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Feature(#[from] FeatureError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{dir} is in use by another process", dir = .0.display())]
    Locked(PathBuf),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Directories that belong to this node, and to no other process while the locks live.
pub(crate) struct Directories {
    pub(crate) cluster_id: String,
    pub(crate) log_dirs: LogDirs,
    pub(crate) metadata_dir_id: Uuid,
    pub(crate) previous_broker_epoch: i64,
    pub(crate) locks: Arc<Vec<DiskLock>>,
}

pub(crate) fn open(world: &World, config: &NodeConfig) -> Result<Directories, DirectoriesError> {
    let disk = world.disk();
    let mut locks = Vec::new();
    let mut all = config.log_dirs.clone();
    if !all.contains(&config.metadata_log_dir) {
        all.push(config.metadata_log_dir.clone());
    }
    for dir in &all {
        disk.create_dir_all(dir)?;
        locks.push(disk.lock(&dir.join(".lock")).map_err(|error| match error.is_locked() {
            true => DirectoriesError::Locked(dir.clone()),
            false => error.into(),
        })?);
    }
    let formatted = load_or_format(world, config, &all)?;
    let mut states = Vec::new();
    let mut previous_broker_epoch = -1;
    for (path, id) in formatted.dirs.iter().filter(|(path, _)| config.log_dirs.contains(path)) {
        let (state, epoch) = read_log_dir(&**disk, path, *id)?;
        previous_broker_epoch = previous_broker_epoch.max(epoch);
        states.push(Arc::<LogDirState>::new(state));
    }
    let metadata = formatted.dirs.iter().find(|(path, _)| *path == config.metadata_log_dir);
    Ok(Directories {
        cluster_id: formatted.cluster_id,
        log_dirs: LogDirs(states),
        metadata_dir_id: metadata.map_or(Uuid::ZERO, |(_, id)| *id),
        previous_broker_epoch,
        locks: Arc::new(locks),
    })
}

fn load_or_format(
    world: &World,
    config: &NodeConfig,
    dirs: &[PathBuf],
) -> Result<Formatted, DirectoriesError> {
    let given = match &config.cluster_id {
        ClusterId::Given(id) => Some(id.as_str()),
        ClusterId::Derived(_) | ClusterId::FromDirectories => None,
    };
    let mut random = world.random("directory ids");
    let disk = world.disk();
    let loaded = load_directories(&**disk, config.node_id, dirs, given, || random.uuid())?;
    if let Some(loaded) = loaded {
        return Ok(loaded);
    }
    let cluster_id = match &config.cluster_id {
        ClusterId::Given(id) | ClusterId::Derived(id) => id.clone(),
        ClusterId::FromDirectories => world.random("cluster id").uuid().to_string(),
    };
    tracing::info!(cluster_id, "formatting new directories");
    format_for(world, config, cluster_id, &BTreeMap::new(), config.voters.is_empty(), false)
}

/// Formats the directories of a node: `standalone` makes it the sole voter of a quorum kept in the metadata log.
///
/// # Errors
/// See [`format_directories`]; also a feature level that does not exist or does not fit.
pub(crate) fn format_for(
    world: &World,
    config: &NodeConfig,
    cluster_id: String,
    features: &BTreeMap<String, i16>,
    standalone: bool,
    ignore_formatted: bool,
) -> Result<Formatted, DirectoriesError> {
    let levels = initial_feature_levels(features, config.voters.is_empty())?;
    let mut random = world.random("directory ids");
    let mut spec = FormatSpec {
        cluster_id,
        node: config.node_id,
        log_dirs: config.log_dirs.clone(),
        metadata_log_dir: config.metadata_log_dir.clone(),
        features: levels,
        voters: None,
        ignore_formatted,
        now_ms: world.now().wall_ms,
    };
    // The voter's own directory id is drawn first, so that the snapshot can name it.
    let metadata_dir_id = random.uuid();
    if standalone {
        spec.voters = Some(VoterSet::new([local_voter(config, metadata_dir_id)]));
    }
    let metadata = config.metadata_log_dir.clone();
    let ids = |dir: &std::path::Path| if dir == metadata { metadata_dir_id } else { random.uuid() };
    Ok(format_directories(&**world.disk(), &spec, ids)?)
}

/// This node, as it is written down where it votes.
pub(crate) fn local_voter(config: &NodeConfig, directory_id: Uuid) -> Voter {
    let latest = Feature::by_name(KRAFT_VERSION).map_or(0, Feature::latest);
    Voter {
        key: ReplicaKey { id: config.node_id.0, directory_id },
        endpoints: config
            .advertised_controller
            .iter()
            .map(|endpoint| VoterEndpoint {
                listener: endpoint.name.clone(),
                host: endpoint.address.host.clone(),
                port: endpoint.address.port,
            })
            .collect(),
        kraft_versions: LevelRange { min: 0, max: latest },
    }
}

/// The voters that `controller.quorum.voters` names.
pub(crate) fn fixed_voters(config: &NodeConfig) -> VoterSet {
    let listener = config.controller_listener_names.first().cloned().unwrap_or_default();
    VoterSet::new(config.voters.iter().map(|voter| Voter {
        key: ReplicaKey { id: voter.id.0, directory_id: Uuid::ZERO },
        endpoints: vec![VoterEndpoint {
            listener: listener.clone(),
            host: voter.address.host.clone(),
            port: voter.address.port,
        }],
        kraft_versions: LevelRange { min: 0, max: 0 },
    }))
}
