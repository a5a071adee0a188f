//! Whatever happens, in whatever order: the log says it all, and no partition is in a state that cannot be.

use model::Uuid;
use wire::DeleteTopicsRequest;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};

use super::*;
use crate::controller::random::Random;
use crate::metadata::{ConfigResource, MetadataDelta, MetadataLoader};

fn random_step(cluster: &mut Cluster, random: &mut Random, incarnation: &mut u128) {
    let broker = random.below(4) as i32;
    let name = format!("t{}", random.below(4));
    let registered = cluster.image().broker(broker).is_some();
    match random.below(10) {
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
            let config = AlterableConfig {
                name: "min.insync.replicas".into(),
                value: Some(min),
                ..Default::default()
            };
            let resources = vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: name,
                configs: vec![config],
                ..Default::default()
            }];
            let request = wire::IncrementalAlterConfigsRequest { resources, ..Default::default() };
            cluster.ask(ControllerRequest::IncrementalAlterConfigs(request));
        }
        8 => {
            cluster.pass(3_000);
            cluster.fire(ControllerTimer::FenceStaleBrokers);
        }
        _ => drop(cluster.fire(ControllerTimer::BalanceLeaders)),
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
        }
    }
}

/// A snapshot does not say where in the log each broker registered.
fn without_offsets(image: &MetadataImage) -> MetadataImage {
    let mut image = image.clone();
    for broker in image.clone().brokers.values() {
        let mut broker = broker.as_ref().clone();
        broker.record_offset = 0;
        image.brokers.insert_mut(broker.id, broker.into());
    }
    image
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
            random_step(&mut cluster, &mut random, &mut incarnation);
            assert_sound(cluster.image());
        }
        let mut loader = MetadataLoader::default();
        for (offset, record) in cluster.log.iter().enumerate() {
            loader.replay(record, offset as i64, 1).unwrap();
        }
        assert!(loader.image().same_content(cluster.image()), "seed {seed}: replay");
        let mut from_snapshot = MetadataImage::default();
        for record in cluster.image().to_records() {
            from_snapshot.replay(&record, 5, 1).unwrap();
        }
        let (a, b) = (without_offsets(&from_snapshot), without_offsets(cluster.image()));
        assert!(a.same_content(&b), "seed {seed}: snapshot");
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
