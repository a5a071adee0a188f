use bytes::Bytes;
use model::Uuid;
use wire::client_quota_record::EntityData;
use wire::*;

use super::*;

fn topic_id(n: u128) -> Uuid {
    Uuid::from_u128(0x7000 + n)
}

fn topic(n: u128, name: &str) -> MetadataRecord {
    MetadataRecord::Topic(TopicRecord {
        name: name.into(),
        topic_id: topic_id(n),
        ..Default::default()
    })
}

fn partition(n: u128, id: i32) -> PartitionRecord {
    PartitionRecord {
        partition_id: id,
        topic_id: topic_id(n),
        replicas: vec![1, 2],
        isr: vec![1],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![Uuid::from_u128(501), Uuid::from_u128(502)],
        eligible_leader_replicas: Some(vec![2]),
        ..Default::default()
    }
}

fn change(n: u128, id: i32) -> PartitionChangeRecord {
    PartitionChangeRecord { partition_id: id, topic_id: topic_id(n), ..Default::default() }
}

fn level(name: &str, level: i16) -> MetadataRecord {
    feature_level(name, level)
}

fn image(records: &[MetadataRecord]) -> MetadataImage {
    let mut image = MetadataImage::default();
    for (offset, record) in records.iter().enumerate() {
        image.replay(record, offset as i64, 3).unwrap();
    }
    image
}

fn begin() -> MetadataRecord {
    MetadataRecord::BeginTransaction(BeginTransactionRecord::default())
}

fn end() -> MetadataRecord {
    MetadataRecord::EndTransaction(EndTransactionRecord::default())
}

fn abort() -> MetadataRecord {
    MetadataRecord::AbortTransaction(AbortTransactionRecord::default())
}

/// One of everything that Kafka's log may hold.
fn everything() -> Vec<MetadataRecord> {
    let entity = |kind: &str, name: Option<&str>| EntityData {
        entity_type: kind.into(),
        entity_name: name.map(Into::into),
        ..Default::default()
    };
    vec![
        level(METADATA_VERSION, 33),
        level(GROUP_VERSION, 1),
        MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: 1,
            broker_epoch: 2,
            incarnation_id: Uuid::from_u128(9),
            rack: Some("r".into()),
            log_dirs: vec![Uuid::from_u128(501)],
            cordoned_log_dirs: Some(vec![Uuid::from_u128(501)]),
            ..Default::default()
        }),
        MetadataRecord::RegisterController(RegisterControllerRecord {
            controller_id: 7,
            ..Default::default()
        }),
        topic(1, "a"),
        MetadataRecord::Partition(partition(1, 0)),
        MetadataRecord::Config(ConfigRecord {
            resource_type: 2,
            resource_name: "a".into(),
            name: "retention.ms".into(),
            value: Some("1".into()),
            ..Default::default()
        }),
        MetadataRecord::ClientQuota(ClientQuotaRecord {
            entity: vec![entity("user", Some("u")), entity("client-id", None)],
            key: "producer_byte_rate".into(),
            value: 12.5,
            ..Default::default()
        }),
        MetadataRecord::ProducerIds(ProducerIdsRecord {
            next_producer_id: 2000,
            ..Default::default()
        }),
        MetadataRecord::AccessControlEntry(AccessControlEntryRecord {
            id: Uuid::from_u128(600),
            principal: "User:x".into(),
            ..Default::default()
        }),
        MetadataRecord::UserScramCredential(UserScramCredentialRecord {
            name: "u".into(),
            mechanism: 1,
            salt: Bytes::from_static(b"salt"),
            iterations: 4096,
            ..Default::default()
        }),
        MetadataRecord::DelegationToken(DelegationTokenRecord {
            token_id: "t".into(),
            ..Default::default()
        }),
    ]
}

#[test]
fn a_snapshot_keeps_everything_and_in_kafkas_order() {
    let original = image(&everything());
    let records = original.to_records();
    assert_eq!(records.len(), everything().len());
    let again = image(&records);
    let kinds =
        |records: &[MetadataRecord]| records.iter().map(std::mem::discriminant).collect::<Vec<_>>();
    assert_eq!(kinds(&records), kinds(&everything()));
    assert!(again.same_content(&original), "the records stand at the offsets they had");
}

#[test]
fn every_record_survives_its_frame() {
    let version = MetadataVersion::LATEST;
    for record in image(&everything()).to_records() {
        let written_as = record_version(&record, version);
        let bytes = record.encode(written_as).unwrap();
        assert_eq!(MetadataRecord::decode(bytes).unwrap(), (record, written_as));
    }
}

#[test]
fn what_is_removed_is_gone() {
    let removals = [
        MetadataRecord::UnregisterBroker(UnregisterBrokerRecord {
            broker_id: 1,
            broker_epoch: 2,
            ..Default::default()
        }),
        MetadataRecord::UnregisterController(UnregisterControllerRecord {
            controller_id: 7,
            ..Default::default()
        }),
        MetadataRecord::RemoveTopic(RemoveTopicRecord {
            topic_id: topic_id(1),
            ..Default::default()
        }),
        level(GROUP_VERSION, 0),
        MetadataRecord::ClientQuota(ClientQuotaRecord {
            remove: true,
            ..match &everything()[7] {
                MetadataRecord::ClientQuota(r) => r.clone(),
                other => panic!("{other:?}"),
            }
        }),
        MetadataRecord::RemoveAccessControlEntry(RemoveAccessControlEntryRecord {
            id: Uuid::from_u128(600),
            ..Default::default()
        }),
        MetadataRecord::RemoveUserScramCredential(RemoveUserScramCredentialRecord {
            name: "u".into(),
            mechanism: 1,
            ..Default::default()
        }),
        MetadataRecord::RemoveDelegationToken(RemoveDelegationTokenRecord {
            token_id: "t".into(),
            ..Default::default()
        }),
    ];
    let mut all = everything();
    all.extend(removals);
    let left = image(&all);
    let expected = MetadataImage {
        next_producer_id: 2000,
        metadata_version: Some(MetadataVersion(33)),
        ..Default::default()
    };
    assert!(left.same_content(&expected), "{left:?}");
}

#[test]
fn an_open_transaction_is_not_shown() {
    let mut loader = MetadataLoader::default();
    loader.replay(&topic(1, "before"), 0, 1).unwrap();
    for (offset, record) in [begin(), topic(2, "within")].iter().enumerate() {
        loader.replay(record, 1 + offset as i64, 1).unwrap();
    }
    assert_eq!(loader.transaction_start(), Some(1));
    assert_eq!((loader.image().topics.len(), loader.newest().topics.len()), (1, 2));
    let mut aborted = loader.clone();
    loader.replay(&end(), 3, 1).unwrap();
    assert_eq!((loader.image().topics.len(), loader.image().provenance.offset), (2, 3));
    aborted.replay(&abort(), 3, 1).unwrap();
    assert_eq!((aborted.image().topics.len(), aborted.image().provenance.offset), (1, 3));
    assert_eq!(aborted.transaction_start(), None);
}

#[test]
fn contradictions_are_errors_and_change_nothing() {
    let fence = FenceBrokerRecord { id: 1, epoch: 99, ..Default::default() };
    let cases = [
        topic(2, "a"),
        MetadataRecord::Partition(partition(9, 0)),
        MetadataRecord::Partition(PartitionRecord {
            directories: vec![Uuid::from_u128(501)],
            ..partition(1, 1)
        }),
        MetadataRecord::Partition(PartitionRecord { leader_recovery_state: 5, ..partition(1, 1) }),
        MetadataRecord::PartitionChange(change(1, 9)),
        MetadataRecord::RemoveTopic(RemoveTopicRecord {
            topic_id: topic_id(9),
            ..Default::default()
        }),
        MetadataRecord::ClearElr(ClearElrRecord {
            topic_name: "none".into(),
            ..Default::default()
        }),
        MetadataRecord::FenceBroker(fence),
        MetadataRecord::UnregisterController(UnregisterControllerRecord {
            controller_id: 1,
            ..Default::default()
        }),
        MetadataRecord::ProducerIds(ProducerIdsRecord {
            next_producer_id: 2000,
            ..Default::default()
        }),
        MetadataRecord::Config(ConfigRecord { resource_type: 3, ..Default::default() }),
        level(METADATA_VERSION, 99),
        end(),
        abort(),
    ];
    let mut loader = MetadataLoader::from_image(image(&everything()));
    let before = loader.newest().clone();
    for record in cases {
        assert!(loader.replay(&record, 50, 3).is_err(), "{record:?}");
        assert_eq!(*loader.newest(), before);
    }
    loader.replay(&begin(), 50, 3).unwrap();
    assert_eq!(loader.replay(&begin(), 51, 3), Err(ReplayError::NestedTransaction { offset: 51 }));
}

#[test]
fn a_change_raises_the_epochs() {
    let p = PartitionRegistration::from_record(&partition(1, 0)).unwrap();
    let isr = p.merge(&PartitionChangeRecord { isr: Some(vec![1, 2]), ..change(1, 0) }).unwrap();
    assert_eq!((isr.leader_epoch, isr.partition_epoch, isr.isr.len()), (0, 1, 2));
    let led = isr.merge(&PartitionChangeRecord { leader: 2, ..change(1, 0) }).unwrap();
    assert_eq!((led.leader, led.leader_epoch, led.partition_epoch), (2, 1, 2));
    let moved = PartitionChangeRecord { replicas: Some(vec![1, 2, 3]), ..change(1, 0) };
    assert_eq!(led.merge(&moved).unwrap().directories, [Uuid::MIGRATING_DIRECTORY; 3]);
}

#[test]
fn cleared_eligible_replicas_are_a_change_of_the_partition() {
    for name in ["a", ""] {
        let mut image = image(&everything());
        let record = MetadataRecord::ClearElr(ClearElrRecord {
            topic_name: name.into(),
            ..Default::default()
        });
        image.replay(&record, 90, 3).unwrap();
        let p = image.topics.partition(topic_id(1), 0).unwrap();
        assert_eq!((p.elr.len(), p.partition_epoch), (0, 1));
    }
}

#[test]
fn the_delta_names_what_differs_and_nothing_else() {
    let before = image(&everything());
    let mut after = before.clone();
    let records = [
        topic(2, "b"),
        MetadataRecord::Partition(partition(2, 0)),
        MetadataRecord::PartitionChange(PartitionChangeRecord { leader: -1, ..change(1, 0) }),
        level(SHARE_VERSION, 1),
        MetadataRecord::UnfenceBroker(UnfenceBrokerRecord {
            id: 1,
            epoch: 2,
            ..Default::default()
        }),
        MetadataRecord::Config(ConfigRecord {
            resource_type: 4,
            name: "x".into(),
            value: Some("1".into()),
            ..Default::default()
        }),
    ];
    for (offset, record) in records.iter().enumerate() {
        after.replay(record, 20 + offset as i64, 3).unwrap();
    }
    let delta = MetadataDelta::between(&before, &after);
    assert_eq!(delta.created_topics.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["b"]);
    let changed: Vec<_> = delta
        .partitions
        .iter()
        .map(|p| (p.topic.name.as_str(), p.before.is_some(), p.after.leader))
        .collect();
    assert_eq!(changed, [("a", true, -1), ("b", false, 1)]);
    assert_eq!(delta.brokers, [1]);
    assert_eq!(delta.features.into_iter().collect::<Vec<_>>(), [(SHARE_VERSION.to_owned(), 1)]);
    assert_eq!(delta.configs, [ConfigResource::broker_default()]);
    assert!(
        !delta.acls && !delta.client_quotas && !delta.scram_credentials && !delta.delegation_tokens
    );
    assert!(delta.deleted_topics.is_empty() && delta.controllers.is_empty());
    let back = MetadataDelta::between(&after, &before);
    assert_eq!(back.deleted_topics.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn topics_are_found_by_name_from_anywhere() {
    let image = image(&[topic(1, "b"), topic(2, "a"), topic(3, "c")]);
    let names: Vec<&str> = image.topics.iter_names_from("b").map(|(name, _)| name).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(
        image.topics.iter_by_name().map(|(name, _)| name).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    assert_eq!(image.topics.id_of("a"), Some(topic_id(2)));
}

#[test]
fn a_replica_is_online_where_its_directory_is_or_may_be() {
    let image = image(&everything());
    let broker = image.broker(1).unwrap();
    let cases = [
        (Uuid::from_u128(501), true),
        (Uuid::from_u128(777), false),
        (Uuid::UNASSIGNED_DIRECTORY, true),
        (Uuid::MIGRATING_DIRECTORY, true),
        (Uuid::LOST_DIRECTORY, false),
    ];
    for (directory, online) in cases {
        assert_eq!(broker.has_online_dir(directory), online, "{directory}");
    }
    assert!(!broker.has_uncordoned_dirs());
}
