//! A node's directories before its actors start: whose they are, locked, formatted where they are new.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, DiskError, DiskLock};
use log::{CheckpointError, MetaProperties, MetaPropertiesError};
use machines::consensus::{ReplicaKey, Voter, VoterEndpoint, VoterSet};
use machines::metadata::{Feature, LevelRange};
use machines::metadata::{FeatureError, KRAFT_VERSION, MetadataVersion, initial_feature_levels};
use model::Uuid;
use model::node_config::{ClusterId, NodeConfig};
use partitions::{Checkpoints, LogDirState, LogDirs, read_log_dir};
use quorum::{
    FormatError, FormatSpec, Formatted, SnapshotError, format_directories, load_directories,
    read_bootstrap,
};
use runtime::World;
use wire::MetadataRecord;

use super::first_voters::{self, FirstVoters};

/// Why directories cannot be started on.
#[derive(Debug, thiserror::Error)]
pub enum DirectoriesError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Feature(#[from] FeatureError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(
        "the node is a controller and controller.quorum.voters is not set: its directories must be formatted by `ottla format`, with one of --standalone, which makes it the only voter, --initial-controllers and --no-initial-controllers"
    )]
    NoVoters,
    #[error(
        "--standalone and --initial-controllers cannot be given where controller.quorum.voters is set (a cluster's file sets it, from its nodes with the role controller): leave it out, or take controller.quorum.voters out and set controller.quorum.bootstrap.servers"
    )]
    StaticVoters,
    #[error("--standalone is for a controller, and process.roles has none")]
    NoController,
    #[error("--initial-controllers: {given}: ID@HOST:PORT:DIRECTORY-ID,... is expected: {reason}")]
    InitialControllers { given: String, reason: &'static str },
    #[error("{dir}: {source}", dir = .dir.display())]
    Bootstrap { dir: PathBuf, source: Box<SnapshotError> },
    #[error("{dir} is in use by another process", dir = .0.display())]
    Locked(PathBuf),
    #[error("{dir} is to hold the metadata log and cannot be used: {source}", dir = .dir.display())]
    MetadataDir { dir: PathBuf, source: DiskError },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Directories that belong to this node, and to no other process while the locks live.
pub(crate) struct Directories {
    pub(crate) cluster_id: String,
    pub(crate) log_dirs: LogDirs,
    /// The one with the metadata log, which may be one of them.
    pub(crate) metadata_dir: Arc<LogDirState>,
    /// What a metadata log begins with whose first snapshot does not say it.
    pub(crate) bootstrap: Vec<MetadataRecord>,
    pub(crate) previous_broker_epoch: i64,
    pub(crate) locks: Arc<Vec<DiskLock>>,
}

/// The directories that can be used, and those that cannot.
#[derive(Default)]
pub(crate) struct Claimed {
    usable: Vec<PathBuf>,
    failed: Vec<(PathBuf, DiskError)>,
    locks: Vec<DiskLock>,
    /// Lock files that were not there before.
    made: Vec<PathBuf>,
}

impl Claimed {
    /// What turns out to be another's, or is not started on, is left as it was.
    pub(crate) fn give_back(&self, disk: &dyn Disk) {
        for lock in &self.made {
            // One that stays behind does no harm.
            let _ = disk.remove_file(lock);
        }
    }
}

/// A directory that cannot be used is offline, and the node starts on the others; not so where it is to hold the metadata log.
pub(crate) fn open(
    world: &World,
    config: &NodeConfig,
    claimed: Claimed,
) -> Result<Directories, DirectoriesError> {
    let disk = world.disk();
    let formatted = load_or_format(world, config, &claimed);
    let formatted = formatted.inspect_err(|_| claimed.give_back(&**disk))?;
    let dir = &config.metadata_log_dir;
    let unread =
        |source| DirectoriesError::Bootstrap { dir: dir.clone(), source: Box::new(source) };
    let bootstrap = read_bootstrap(&**disk, dir).map_err(unread)?;
    let id_of = |path: &Path| formatted.dirs.iter().find(|(p, _)| p == path).map(|(_, id)| *id);
    let read = |path: &Path, id| {
        let threads = config.logs.recovery_threads_per_dir;
        read_log_dir(disk, path, id, threads, config.roles.broker)
    };
    let mut states = Vec::new();
    let mut epochs = Vec::new();
    for path in &config.log_dirs {
        let state = match id_of(path).map(|id| read(path, id)) {
            Some(Ok((state, epoch))) => {
                epochs.push(epoch);
                state
            }
            Some(Err(error)) if *path == config.metadata_log_dir => return Err(error.into()),
            Some(Err(error)) => LogDirState::offline(path.clone(), disk.clone(), error),
            None => {
                let failed = claimed.failed.iter().find(|(dir, _)| dir == path);
                let why = failed.map_or("not formatted".to_owned(), |(_, error)| error.to_string());
                LogDirState::offline(path.clone(), disk.clone(), why)
            }
        };
        states.push(Arc::new(state));
    }
    let metadata_dir = states.iter().find(|dir| dir.path == config.metadata_log_dir).cloned();
    let metadata_dir = metadata_dir.unwrap_or_else(|| {
        let (path, disk) = (config.metadata_log_dir.clone(), disk.clone());
        let id = id_of(&path).unwrap_or(Uuid::ZERO);
        Arc::new(LogDirState::new(id, path, false, Checkpoints::default(), disk))
    });
    Ok(Directories {
        cluster_id: formatted.cluster_id,
        previous_broker_epoch: previous_epoch(&epochs, states.len()),
        log_dirs: LogDirs(states),
        metadata_dir,
        bootstrap,
        locks: Arc::new(claimed.locks),
    })
}

/// Of the last clean stop: one in which every directory took part.
fn previous_epoch(epochs: &[i64], dirs: usize) -> i64 {
    let first = epochs.first().copied().unwrap_or(-1);
    let whole = epochs.len() == dirs && epochs.iter().all(|epoch| *epoch == first);
    if whole { first } else { -1 }
}

/// Keeps other processes out of the directories; what is in them is not touched.
pub(crate) fn claim_all(disk: &dyn Disk, config: &NodeConfig) -> Result<Claimed, DirectoriesError> {
    let mut claimed = Claimed::default();
    let all = claim_each(disk, config, &mut claimed);
    all.inspect_err(|_| claimed.give_back(disk)).map(|()| claimed)
}

fn claim_each(
    disk: &dyn Disk,
    config: &NodeConfig,
    claimed: &mut Claimed,
) -> Result<(), DirectoriesError> {
    let mut all = config.log_dirs.clone();
    if !all.contains(&config.metadata_log_dir) {
        all.push(config.metadata_log_dir.clone());
    }
    for dir in all {
        match claim(disk, &dir) {
            Ok((lock, made)) => {
                claimed.locks.push(lock);
                claimed.usable.push(dir);
                claimed.made.extend(made);
            }
            Err(error) if error.is_locked() => return Err(DirectoriesError::Locked(dir)),
            Err(source) if dir == config.metadata_log_dir => {
                return Err(DirectoriesError::MetadataDir { dir, source });
            }
            Err(error) => claimed.failed.push((dir, error)),
        }
    }
    Ok(())
}

/// The lock, and its file where that was not there before.
fn claim(disk: &dyn Disk, dir: &Path) -> Result<(DiskLock, Option<PathBuf>), DiskError> {
    disk.create_dir_all(dir)?;
    disk.list(dir)?;
    let path = dir.join(".lock");
    let is_made = disk.exists(&path).is_ok_and(|exists| !exists);
    let lock = disk.lock(&path)?;
    let made = is_made.then_some(path);
    match MetaProperties::read(disk, dir) {
        Err(MetaPropertiesError::Disk(error)) => {
            // One that stays behind does no harm.
            let _ = made.map(|path| disk.remove_file(&path));
            Err(error)
        }
        // What it says is judged later.
        _ => Ok((lock, made)),
    }
}

fn load_or_format(
    world: &World,
    config: &NodeConfig,
    claimed: &Claimed,
) -> Result<Formatted, DirectoriesError> {
    let given = match &config.cluster_id {
        ClusterId::Given(id) => Some(id.as_str()),
        ClusterId::Derived(_) | ClusterId::FromDirectories => None,
    };
    let mut random = world.random("directory ids");
    let disk = world.disk();
    let dirs = (&*claimed.usable, &*config.metadata_log_dir);
    let loaded = load_directories(&**disk, config.node_id, dirs, given, || random.uuid())?;
    if let Some(loaded) = loaded {
        return Ok(loaded);
    }
    if let Some((_, error)) = claimed.failed.first() {
        return Err(error.clone().into());
    }
    let cluster_id = match &config.cluster_id {
        ClusterId::Given(id) | ClusterId::Derived(id) => id.clone(),
        ClusterId::FromDirectories => world.random("cluster id").uuid().to_string(),
    };
    let voters = match config.roles.controller && config.voters.is_empty() {
        // It is to find those whom it joins.
        true if config.quorum.auto_join => FirstVoters::Others,
        // Each of those who are named would make a cluster of its own.
        true if config.bootstrap_servers.len() > 1 => return Err(DirectoriesError::NoVoters),
        true => FirstVoters::Standalone,
        false => FirstVoters::Unsaid,
    };
    let features = BTreeMap::new();
    let formatted = format_for(world, config, cluster_id, &features, &voters, FormatAsked::Not)?;
    tracing::info!(cluster_id = formatted.cluster_id, "formatted new directories");
    Ok(formatted)
}

/// Who wants directories to be formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormatAsked {
    /// Nobody: they were found empty by a start.
    Not,
    ForAll,
    /// `--ignore-formatted`
    ForThoseThatAreNot,
}

/// Formats the directories of a node.
///
/// # Errors
/// See [`format_directories`]; also a feature level that does not exist or does not fit, and voters that are named twice or not at
/// all (as Kafka's `StorageTool`).
pub(crate) fn format_for(
    world: &World,
    config: &NodeConfig,
    cluster_id: String,
    features: &BTreeMap<String, i16>,
    voters: &FirstVoters,
    asked: FormatAsked,
) -> Result<Formatted, DirectoriesError> {
    match (voters, config.roles.controller, config.voters.is_empty()) {
        (FirstVoters::Unsaid, true, true) => return Err(DirectoriesError::NoVoters),
        (FirstVoters::Standalone | FirstVoters::Given(_), _, false) => {
            return Err(DirectoriesError::StaticVoters);
        }
        (FirstVoters::Standalone, false, true) => return Err(DirectoriesError::NoController),
        _ => {}
    }
    let newest = MetadataVersion::newest(config.unstable_feature_versions);
    let levels = initial_feature_levels(features, config.voters.is_empty(), newest)?;
    let mut random = world.random("directory ids");
    let mut spec = FormatSpec {
        cluster_id,
        node: config.node_id,
        log_dirs: config.log_dirs.clone(),
        metadata_log_dir: config.metadata_log_dir.clone(),
        features: levels,
        voters: None,
        // Of a quorum that keeps its voters in its log, a voter is known by its directory's id as well.
        newcomer: asked == FormatAsked::Not && config.roles.controller && config.voters.len() > 1,
        bootstrap: config.roles.controller,
        ignore_formatted: asked == FormatAsked::ForThoseThatAreNot,
        now_ms: world.now().wall_ms,
    };
    // The voter's own directory id is drawn first, so that the snapshot can name it.
    let mut metadata_dir_id = random.uuid();
    spec.voters = match voters {
        FirstVoters::Standalone => Some(VoterSet::new([local_voter(config, metadata_dir_id)])),
        FirstVoters::Given(text) => Some(first_voters::parse(text, config)?),
        FirstVoters::Others | FirstVoters::Unsaid => None,
    };
    if let Some(own) = spec.voters.as_ref().and_then(|voters| voters.get(config.node_id.0)) {
        metadata_dir_id = own.key.directory_id;
    }
    let metadata = config.metadata_log_dir.clone();
    let ids = |dir: &Path| if dir == metadata { metadata_dir_id } else { random.uuid() };
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
