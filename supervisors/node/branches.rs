//! What the branches of a node's tree are made of.

use std::sync::Arc;
use std::time::Duration;

use coordinators::{Coordinators, Groups};
use model::node_config::{
    ReplicationConfig, RoomConfig, TelemetryConfig, controller_socket_timeout,
};
use network::{Broker, BrokerParts, ConnectionQuotas, Limits, ListenerActor, ListenerArgs};
use partitions::{
    CleanerTurns, LogCleaner, LogCleanerArgs, LogDir, LogDirArgs, Partitions, PartitionsArgs,
    Replication, ReplicationArgs,
};
use quorum::ControllerHandle;
use runtime::{Cx, Seed, Strategy, Supervisor, SupervisorArgs};
use wire::ListenerKind;

use super::tree::{NodeActor, Shared};
use super::{metadata, policy, producer_ids, shards};
use crate::telemetry::{Exporter, ExporterArgs};

/// So much of what can be held open is for listeners of controllers.
const CONTROLLERS_SHARE: usize = 8;
/// Where `queued.max.request.bytes` sets no limit.
const REQUEST_MEMORY: u64 = 256 << 20;

/// The branches, in the order in which they start, the last with what users put under it.
pub(super) fn branches(cx: &Cx<NodeActor>, shared: &Shared, of_users: Vec<Seed>) -> Vec<Seed> {
    let supervisor = |name: &str, strategy, children| {
        let args = SupervisorArgs::new(strategy, children);
        Seed::of::<Supervisor>(name, policy::branch(), args).0
    };
    let groups = shards::groups(cx, shared);
    let coordinators = shards::coordinators_args(shared, groups.clone());
    let extensions = SupervisorArgs::new(Strategy::OneForOne, Vec::new()).with_added(of_users);
    let quorum = supervisor("quorum", Strategy::RestForOne, metadata::members(cx, shared));
    let network = supervisor("network", Strategy::OneForOne, network_members(cx, shared, groups));
    let branch = policy::branch;
    let extensions = Seed::at::<Supervisor>("extensions", branch(), extensions, &shared.extensions);
    let telemetry = telemetry(shared);
    if !shared.config.roles.broker {
        // It has no replicas, and clients' listeners are not bound.
        return [vec![quorum, network, extensions], telemetry].concat();
    }
    let (args, at) = (partitions_args(shared), &shared.partitions);
    let mut branches = vec![
        supervisor("storage", Strategy::OneForOne, storage(shared)),
        quorum,
        Seed::at::<Partitions>("partitions", branch(), args, at),
        Seed::of::<Replication>("replication", branch(), replication_args(shared)).0,
        Seed::of::<Coordinators>("coordinators", branch(), coordinators).0,
    ];
    let durables = shards::durable_members(shared);
    if !durables.is_empty() {
        branches.push(supervisor("durables", Strategy::OneForOne, durables));
    }
    branches.extend([network, extensions]);
    branches.extend(telemetry);
    branches
}

/// Where traces are asked for, who sends them.
fn telemetry(shared: &Shared) -> Vec<Seed> {
    let args = |config: &TelemetryConfig| ExporterArgs {
        config: config.clone(),
        node: shared.node(),
        cluster_id: shared.cluster_id.clone(),
    };
    let seed = |args| Seed::of::<Exporter>("opentelemetry", policy::exporter(), args).0;
    shared.config.telemetry.iter().map(args).map(seed).collect()
}

fn storage(shared: &Shared) -> Vec<Seed> {
    let logs = &shared.config.logs;
    let ms = |ms: i64| Duration::from_millis(ms.max(1).unsigned_abs());
    let seeds = shared.log_dirs.0.iter().enumerate().map(|(index, state)| {
        let args = LogDirArgs {
            state: state.clone(),
            hosted: shared.hosted.clone(),
            broker_epoch: shared.broker_epoch.clone(),
            settings: shared.settings.subscribe(),
            log_start_interval: ms(i64::from(logs.start_offset_checkpoint_interval_ms)),
            recovery_point_interval: ms(i64::from(logs.recovery_checkpoint_interval_ms)),
            high_watermark_interval: ms(logs.high_watermark_checkpoint_interval_ms),
            room_interval: ms(i64::from(RoomConfig::new(&shared.config.values).check_interval_ms)),
        };
        let spec = policy::storage_member();
        Seed::at::<LogDir>(format!("log-dir-{index}"), spec, args, state.address())
    });
    let turns = Arc::new(CleanerTurns::default());
    let cleaners = shared.log_dirs.0.iter().enumerate().map(|(index, dir)| {
        let args = LogCleanerArgs {
            index,
            dir: dir.clone(),
            turns: turns.clone(),
            hosted: shared.hosted.clone(),
            settings: shared.settings.subscribe(),
        };
        let name = format!("log-cleaner-{index}");
        Seed::of::<LogCleaner>(name, policy::storage_member(), args).0
    });
    seeds.chain(cleaners).collect()
}

fn partitions_args(shared: &Shared) -> PartitionsArgs {
    let logs = &shared.config.logs;
    let ms = |ms: i64| Duration::from_millis(ms.unsigned_abs());
    PartitionsArgs {
        node: shared.node(),
        log_dirs: shared.log_dirs.clone(),
        hosted: shared.hosted.clone(),
        assignments: shared.assignments.clone(),
        isr_changes: shared.isr_changes.clone(),
        metadata: shared.followed.subscribe(),
        settings: shared.settings.subscribe(),
        applied: shared.applied.clone(),
        replica: Arc::new(policy::partition()),
        initial_delay: ms(logs.initial_task_delay_ms),
        retention_interval: ms(logs.retention_check_interval_ms),
        expiration_interval: ms(i64::from(logs.producer_id_expiration_check_interval_ms)),
        alter_dirs_threads: logs
            .alter_dirs_threads
            .and_then(|threads| usize::try_from(threads).ok())
            .unwrap_or(shared.log_dirs.0.len()),
    }
}

fn replication_args(shared: &Shared) -> ReplicationArgs {
    ReplicationArgs {
        node: shared.node(),
        hosted: shared.hosted.clone(),
        metadata: shared.followed.subscribe(),
        applied: shared.applied.subscribe(),
        settings: shared.settings.subscribe(),
        config: ReplicationConfig::new(&shared.config.values),
        listener: shared.config.inter_broker_listener_name.clone(),
        broker_epoch: shared.broker_epoch.clone(),
        fetcher: policy::fetcher(),
    }
}

fn network_members(cx: &Cx<NodeActor>, shared: &Shared, groups: Groups) -> Vec<Seed> {
    let network = &shared.config.network;
    let positive = |n: i32| usize::try_from(n).unwrap_or(0);
    let limits = Limits {
        max_request_bytes: positive(network.request_max_bytes),
        max_idle: match u64::try_from(network.connections_max_idle_ms) {
            Ok(ms) => Duration::from_millis(ms),
            Err(_) => Duration::from_secs(u64::from(u32::MAX)),
        },
        request_memory: u64::try_from(network.queued_max_request_bytes)
            .ok()
            .filter(|bytes| *bytes > 0)
            .unwrap_or(REQUEST_MEMORY),
        fetch_sessions: positive(network.fetch_session_slots),
    };
    let broker = Broker::new(BrokerParts {
        world: cx.world().clone(),
        role: ListenerKind::Broker,
        node: shared.node(),
        cluster_id: shared.cluster_id.clone(),
        inter_broker_listener: shared.config.inter_broker_listener_name.clone(),
        limits,
        metadata: shared.images.subscribe(),
        quorum: shared.quorum_handle(),
        applied: shared.applied.subscribe(),
        settings: shared.settings.subscribe(),
        hosted: shared.hosted.clone(),
        log_dirs: shared.log_dirs.clone(),
        partitions: shared.partitions.clone(),
        groups,
        durables: shared.durables.clone(),
        requests: shared.requests.clone(),
        interceptors: shared.interceptors.clone(),
        controller: shared
            .controller_handle(cx.world())
            .for_clients(controller_socket_timeout(&shared.config.values)),
        producer_id_blocks: producer_ids::blocks(
            shared.node(),
            shared.broker_epoch.clone(),
            shared.controller_handle(cx.world()),
        ),
    });
    let controller = Broker::new(BrokerParts {
        role: ListenerKind::Controller,
        controller: ControllerHandle::new(shared.controller.clone()),
        ..broker.parts().clone()
    });
    // As in Kafka, where each role has its socket server.
    let quotas = |most| ConnectionQuotas::new(shared.settings.subscribe(), most);
    let most = cx.world().net().most_accepted();
    let of_controllers = quotas(most / CONTROLLERS_SHARE);
    let of_brokers = quotas(most - most / CONTROLLERS_SHARE);
    let seeds = shared.bound.iter().map(|bound| {
        let controllers = shared.config.is_controller_listener(bound.name());
        let args = ListenerArgs {
            bound: bound.clone(),
            broker: if controllers { controller.clone() } else { broker.clone() },
            quotas: if controllers { of_controllers.clone() } else { of_brokers.clone() },
            open: shared.lifecycle_state.subscribe(),
            connection: policy::connection(),
        };
        Seed::of::<ListenerActor>(bound.name(), policy::listener(), args).0
    });
    seeds.collect()
}
