//! Whatever happens, in whatever order: the log says it all, and no partition is in a state that cannot be.

use model::Uuid;
use wire::DeleteTopicsRequest;
use wire::alter_partition_request::{BrokerState, PartitionData, TopicData};

use super::*;
use crate::controller::random::Random;
use crate::metadata::{
    BrokerRegistration, ConfigResource, LeaderRecoveryState, MetadataDelta, MetadataLoader,
};

fn random_step(cluster: &mut Cluster, random: &mut Random, incarnation: &mut u128) {
    let broker = random.below(4) as i32;
    let name = format!("t{}", random.below(4));
    let registered = cluster.image().broker(broker).is_some();
    match random.below(15) {
        0 => drop(cluster.create(topic(
            &name,
            1 + random.below(4) as i32,
            1 + random.below(3) as i16,
        ))),
        1 => {
            let request = DeleteTopicsRequest { topic_names: vec![name], ..Default::default() };
            let (may_describe, may_delete) = (Permitted::All, Permitted::All);
            cluster.ask(ControllerRequest::DeleteTopics {
                request,
                version: 5,
                may_describe,
                may_delete,
            });
        }
        2 => {
            *incarnation += 1;
            let mut request = registration(broker, *incarnation);
            if random.below(2) == 0 {
                request.previous_broker_epoch =
                    cluster.image().broker(broker).map_or(-1, |b| b.epoch);
            }
            cluster.register(request);
        }
        3 | 4 if registered => drop(cluster.heartbeat(broker, |_| {})),
        5 if registered => drop(cluster.heartbeat(broker, |r| r.want_fence = true)),
        6 if registered => drop(cluster.heartbeat(broker, |r| r.want_shut_down = true)),
        7 => {
            let min = (1 + random.below(3)).to_string();
            cluster.set_config(&name, "min.insync.replicas", &min);
        }
        8 => {
            cluster.pass(3_000);
            cluster.fire(ControllerTimer::FenceStaleBrokers);
        }
        9 | 10 => alter_some_isr(cluster, &name, random),
        11 if registered => {
            let lost = cluster.image().broker(broker).unwrap().directories.first().copied();
            cluster.heartbeat(broker, |r| r.offline_log_dirs.extend(lost));
        }
        12 => {
            let allowed = if random.below(2) == 0 { "TRUE" } else { "false" };
            cluster.set_config(&name, "unclean.leader.election.enable", allowed);
        }
        13 => cluster.lead(),
        _ => drop(cluster.fire(ControllerTimer::BalanceLeaders)),
    }
}

/// As a leader asks, whether or not what it asks for can be.
fn alter_some_isr(cluster: &mut Cluster, topic: &str, random: &mut Random) {
    let Some(known) = cluster.image().topics.by_name(topic).cloned() else { return };
    let id = random.below(known.partitions.size()) as i32;
    let Some(p) = known.partition(id) else { return };
    let broker_id = if random.below(8) == 0 { p.preferred_replica() } else { p.leader };
    let Some(broker_epoch) = cluster.image().broker(broker_id).map(|b| b.epoch) else { return };
    let isr = p.replicas.iter().filter(|r| **r == p.leader || random.below(2) == 0);
    let state = |id: &i32| BrokerState { broker_id: *id, broker_epoch: -1, ..Default::default() };
    let states: Vec<BrokerState> = isr.map(state).collect();
    let partition = PartitionData {
        partition_index: id,
        leader_epoch: p.leader_epoch - i32::from(random.below(8) == 0),
        partition_epoch: p.partition_epoch - i32::from(random.below(8) == 0),
        new_isr_with_epochs: states,
        leader_recovery_state: random.below(2) as i8,
        ..Default::default()
    };
    let topics =
        vec![TopicData { topic_id: known.id, partitions: vec![partition], ..Default::default() }];
    let request =
        wire::AlterPartitionRequest { broker_id, broker_epoch, topics, ..Default::default() };
    cluster.ask(ControllerRequest::AlterPartition { request, version: 3 });
}

/// Every change of a partition is seen by its epoch, every change of its leader by the leader's epoch.
fn assert_epochs_tell(before: &MetadataImage, after: &MetadataImage) {
    for topic in after.topics.iter() {
        let Some(old) = before.topics.by_id(topic.id) else { continue };
        for (id, new) in topic.partitions.iter() {
            let Some(old) = old.partition(*id).filter(|old| *old != new.as_ref()) else { continue };
            let what = || format!("{}-{id} {old:?} -> {new:?}", topic.name);
            assert!(new.partition_epoch > old.partition_epoch, "{}", what());
            assert!(new.leader_epoch >= old.leader_epoch, "{}", what());
            let leads_on = new.leader == old.leader;
            assert!(leads_on || new.leader_epoch > old.leader_epoch, "{}", what());
        }
    }
}

fn assert_sound(image: &MetadataImage) {
    for topic in image.topics.iter() {
        for (id, p) in topic.partitions.iter() {
            let what = || format!("{}-{id} {p:?}", topic.name);
            assert!(p.isr.iter().chain(&p.elr).all(|r| p.replicas.contains(r)), "{}", what());
            assert!(!p.isr.iter().any(|r| p.elr.contains(r)), "{}", what());
            assert!(p.leader == -1 || p.isr.contains(&p.leader), "{}", what());
            assert!(p.leader == -1 || image.broker_active(p.leader), "{}", what());
            assert_eq!(p.directories.len(), p.replicas.len(), "{}", what());
            let recovers = p.leader_recovery_state == LeaderRecoveryState::Recovering;
            assert!(!recovers || p.isr.len() <= 1, "{}", what());
            let leader = image.broker(p.leader);
            let lost = |b: &BrokerRegistration| !b.has_online_dir(p.directory(b.id).unwrap());
            assert!(!leader.is_some_and(lost), "{}", what());
        }
    }
}

#[test]
fn the_log_and_the_snapshot_say_what_the_controller_knows() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::with(
            &[],
            if seed % 3 == 0 { &[("eligible.leader.replicas.version", 0)] } else { &[] },
        );
        let mut incarnation = 1;
        let mut seen = cluster.image().clone();
        for _ in 0..60 {
            let before = cluster.image().clone();
            random_step(&mut cluster, &mut random, &mut incarnation);
            assert_sound(cluster.image());
            assert_epochs_tell(&before, cluster.image());
        }
        let mut loader = MetadataLoader::default();
        for (offset, record) in cluster.log.iter().enumerate() {
            loader.replay(record, offset as i64, 1).unwrap();
        }
        let content =
            MetadataImage { provenance: cluster.image().provenance, ..loader.image().clone() };
        assert!(content == *cluster.image(), "seed {seed}: replay");
        let mut from_snapshot = MetadataImage::default();
        for record in cluster.image().to_records() {
            from_snapshot.replay(&record, 5, 1).unwrap();
        }
        assert!(from_snapshot.same_content(cluster.image()), "seed {seed}: snapshot");
        // What is new is exactly what the delta says.
        let delta = MetadataDelta::between(&seen, cluster.image());
        seen = cluster.image().clone();
        let ids: Vec<Uuid> = delta.created_topics.iter().map(|t| t.id).collect();
        assert_eq!(ids, seen.topics.iter().map(|t| t.id).collect::<Vec<_>>(), "seed {seed}");
        assert!(MetadataDelta::between(&seen, &seen).is_empty());
    }
}

#[test]
fn a_deposed_leader_goes_back_to_what_is_committed() {
    let mut cluster = Cluster::of(2);
    cluster.create(configured(topic("a.b", 1, 1), &[("retention.ms", Some("1"))]));
    let committed = cluster.image().clone();
    let log = cluster.log.clone();
    cluster.create(topic("never", 1, 1));
    cluster.controller =
        Controller::from_image(cluster.controller.config().clone(), committed.clone());
    cluster.log = log;
    assert_eq!(*cluster.image(), committed);
    cluster.lead();
    let again = cluster.create(topic("a_b", 1, 1));
    assert!(again.error_message.unwrap().contains("collides with existing topic: a.b"));
    assert_eq!(cluster.create(topic("never", 1, 1)).error_code, 0);
    assert_eq!(
        cluster.image().configs.get(&ConfigResource::topic("a.b"), "retention.ms"),
        Some("1")
    );
}

#[test]
fn a_loader_is_taken_over_with_its_open_transaction() {
    let mut cluster = Cluster::with(&[], &[]);
    cluster.log.truncate(3);
    let mut loader = MetadataLoader::default();
    for (offset, record) in cluster.log.iter().enumerate() {
        loader.replay(record, offset as i64, 1).unwrap();
    }
    cluster.controller = Controller::from_loader(config(&[], &[]), loader);
    assert_eq!(cluster.controller.next_offset(), 3);
    cluster.lead();
    assert!(matches!(cluster.log[3], MetadataRecord::AbortTransaction(_)));
    assert!(cluster.image().elr_enabled());
}
