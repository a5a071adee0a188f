//! The branch `quorum` of a node's tree: raft, the controller where the node has that role, and what follows the metadata log.

use std::sync::Arc;
use std::time::Duration;

use machines::consensus::SnapshotPolicy;
use machines::controller::ControllerConfig;
use machines::metadata::{Endpoint, MetadataImage, MetadataVersion};
use model::node_config::{self, ClusterId, HostPort, NodeConfig};
use quorum::{
    AlterIsr, AlterIsrArgs, AssignmentsArgs, ControllerActor, ControllerArgs, DirectoryAssignments,
    Lifecycle, LifecycleArgs, MetadataPublisher, MetadataRetention, PublisherArgs, Raft, RaftArgs,
    Registrar, RegistrarArgs,
};
use runtime::{Cx, Seed, World};

use super::directories::{fixed_voters, local_voter};
use super::policy;
use super::tree::{NodeActor, Shared};

pub(super) fn members(cx: &Cx<NodeActor>, shared: &Shared) -> Vec<Seed> {
    let config = &shared.config;
    let quorum = &config.quorum;
    let raft = raft_args(shared);
    let settled = Arc::new(runtime::watch(MetadataImage::default()).0);
    let controller = ControllerArgs {
        config: ControllerConfig {
            node_id: config.node_id.0,
            cluster_id: shared.cluster_id.clone(),
            quorum_ids: quorum_ids(config),
            settings: config.values.clone(),
            bootstrap: shared.directories.bootstrap.clone(),
        },
        raft: shared.raft.clone(),
        fast_failover: quorum.fast_failover,
        settled: settled.clone(),
    };
    let snapshots = SnapshotPolicy {
        max_record_bytes: u64::try_from(quorum.bytes_between_snapshots).unwrap_or(u64::MAX),
        max_interval: u64::try_from(quorum.max_snapshot_interval_ms)
            .ok()
            .filter(|ms| *ms > 0)
            .map(Duration::from_millis),
    };
    let images = shared.images.clone();
    let publisher = PublisherArgs { raft: shared.raft.clone(), images, settled, snapshots };
    let member = policy::quorum_member;
    let world = cx.world();
    let (lifecycle, assignments) = (lifecycle_args(world, shared), assignments_args(world, shared));
    let alter_isr = alter_isr_args(world, shared);
    let registrar = registrar_args(world, shared);
    let raft = Seed::at::<Raft>("raft", policy::storage_member(), raft, &shared.raft);
    let controller =
        Seed::at::<ControllerActor>("controller", member(), controller, &shared.controller);
    let publisher = Seed::of::<MetadataPublisher>("metadata-publisher", member(), publisher).0;
    let of_controller = [Seed::of::<Registrar>("registrar", member(), registrar).0];
    let of_broker = [
        Seed::at::<Lifecycle>("lifecycle", member(), lifecycle, &shared.lifecycle),
        Seed::of::<DirectoryAssignments>("assignments", member(), assignments).0,
        Seed::of::<AlterIsr>("alter-isr", member(), alter_isr).0,
    ];
    let roles = config.roles;
    let all = [raft].into_iter().chain(roles.controller.then_some(controller)).chain([publisher]);
    let all = all.chain(of_controller.into_iter().filter(|_| roles.controller));
    all.chain(of_broker.into_iter().filter(|_| roles.broker)).collect()
}

fn quorum_ids(config: &NodeConfig) -> Vec<i32> {
    match config.voters.as_slice() {
        [] => vec![config.node_id.0],
        voters => voters.iter().map(|voter| voter.id.0).collect(),
    }
}

/// Where no servers are named, the voters that are: the log may have others by now.
fn bootstrap(config: &NodeConfig) -> Vec<HostPort> {
    match config.bootstrap_servers.as_slice() {
        [] => config.voters.iter().map(|voter| voter.address.clone()).collect(),
        servers => servers.to_vec(),
    }
}

fn raft_args(shared: &Shared) -> RaftArgs {
    let config = &shared.config;
    let quorum = &config.quorum;
    let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    RaftArgs {
        log_dir: shared.directories.metadata_dir.clone(),
        local: local_voter(config, shared.directories.metadata_dir.id),
        may_vote: config.roles.controller,
        auto_join: quorum.auto_join,
        derived_id: config.cluster_id == ClusterId::Derived(shared.cluster_id.clone()),
        cluster_id: shared.cluster_id.clone(),
        fixed_voters: fixed_voters(config),
        listener: config.controller_listener_names.first().cloned().unwrap_or_default(),
        bootstrap: bootstrap(config),
        peer: policy::peer(),
        request_timeout: ms(quorum.request_timeout_ms),
        retry_backoff: ms(quorum.retry_backoff_ms),
        append_linger: ms(quorum.append_linger_ms),
        fetch_max_bytes: quorum.fetch_max_bytes,
        fetch_snapshot_max_bytes: quorum.fetch_snapshot_max_bytes,
        election_timeout: ms(quorum.election_timeout_ms),
        election_backoff: ms(quorum.election_backoff_max_ms),
        fetch_timeout: ms(quorum.fetch_timeout_ms),
        fast_failover: quorum.fast_failover,
        segment_bytes: u32::try_from(quorum.segment_bytes).unwrap_or(u32::MAX),
        segment_ms: quorum.segment_ms,
        retention: MetadataRetention {
            bytes: quorum.retention_bytes,
            ms: quorum.retention_ms,
            delete_delay: Duration::from_millis(quorum.delete_delay_ms.max(0).unsigned_abs()),
        },
        status: shared.raft_status.clone(),
    }
}

fn assignments_args(world: &World, shared: &Shared) -> AssignmentsArgs {
    let timeout_ms = shared.config.network.request_timeout_ms;
    AssignmentsArgs {
        node: shared.node(),
        assignments: shared.assignments.clone(),
        controller: shared.controller_handle(world),
        metadata: shared.images.subscribe(),
        broker_epoch: shared.broker_epoch.clone(),
        request_timeout: Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)),
    }
}

fn alter_isr_args(world: &World, shared: &Shared) -> AlterIsrArgs {
    let timeout_ms = shared.config.network.request_timeout_ms;
    AlterIsrArgs {
        node: shared.node(),
        changes: shared.isr_changes.clone(),
        hosted: shared.hosted.clone(),
        controller: shared.controller_handle(world),
        broker_epoch: shared.broker_epoch.clone(),
        request_timeout: Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)),
    }
}

fn registrar_args(world: &World, shared: &Shared) -> RegistrarArgs {
    let timeout_ms = shared.config.network.request_timeout_ms;
    RegistrarArgs {
        node: shared.node(),
        listeners: told(shared, &shared.config.advertised_controller),
        metadata_version: MetadataVersion::newest(shared.config.unstable_feature_versions),
        controller: shared.controller_handle(world),
        metadata: shared.images.subscribe(),
        request_timeout: Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)),
    }
}

fn lifecycle_args(world: &World, shared: &Shared) -> LifecycleArgs {
    let config = &shared.config;
    let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    LifecycleArgs {
        node: config.node_id,
        cluster_id: shared.cluster_id.clone(),
        incarnation: shared.incarnation,
        rack: config.rack.clone(),
        listeners: told(shared, &shared.config.advertised),
        log_dirs: shared.log_dirs.clone(),
        metadata_version: MetadataVersion::newest(config.unstable_feature_versions),
        previous_broker_epoch: shared.directories.previous_broker_epoch,
        controller: shared.controller_handle(world),
        metadata: shared.images.subscribe(),
        followed: shared.followed.clone(),
        applied: shared.applied.subscribe(),
        state: shared.lifecycle_state.clone(),
        has_served: shared.has_served.clone(),
        refusal: shared.refusal.clone(),
        stopping: shared.stopping.clone(),
        broker_epoch: shared.broker_epoch.clone(),
        heartbeat_interval: ms(config.quorum.heartbeat_interval_ms),
        request_timeout: ms(config.quorum.heartbeat_interval_ms),
    }
}

/// What others are told to connect to; a port of 0 is the one that the system gave.
fn told(shared: &Shared, advertised: &[node_config::Endpoint]) -> Vec<Endpoint> {
    let endpoints = advertised.iter().map(|endpoint| {
        let bound = shared.bound.iter().find(|bound| bound.name() == endpoint.name);
        let port = match endpoint.address.port {
            0 => bound.map_or(0, |bound| bound.address().port()),
            port => port,
        };
        Endpoint {
            name: endpoint.name.clone(),
            host: endpoint.address.host.clone(),
            port,
            // Other protocols are refused where they are configured.
            security_protocol: 0,
        }
    });
    endpoints.collect()
}
