use super::*;
use bytes::Bytes;
use model::{Persist, StoredRecord};

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn offset(value: Option<wire::OffsetCommitValue>) -> GroupEvent {
    let key = wire::OffsetCommitKey {
        group: "g".into(),
        topic: "t".into(),
        partition: 7,
        ..Default::default()
    };
    GroupEvent::Record(Record::OffsetCommit { key, value })
}

#[test]
fn an_offset_is_written_as_kafka_writes_it() {
    let value = wire::OffsetCommitValue {
        offset: 5,
        leader_epoch: 2,
        metadata: "m".into(),
        commit_timestamp: 9,
        topic_id: model::Uuid::ONE,
        ..Default::default()
    };
    let record = offset(Some(value.clone())).encode().unwrap().unwrap();
    assert_eq!(record.key, hex("0001 0001 67 0001 74 00000007"));
    let expected = "0004 0000000000000005 00000002 02 6d 0000000000000009 \
        01 00 10 00000000000000000000000000000001";
    assert_eq!(record.value, Some(hex(expected)));
    assert_eq!(GroupEvent::decode(&record).unwrap(), Some(offset(Some(value))));
}

#[test]
fn an_offset_that_expires_is_written_in_version_1() {
    let value = wire::OffsetCommitValue {
        offset: 5,
        metadata: "m".into(),
        commit_timestamp: 9,
        expire_timestamp: 10,
        ..Default::default()
    };
    let record = offset(Some(value)).encode().unwrap().unwrap();
    let expected = "0001 0000000000000005 0001 6d 0000000000000009 000000000000000a";
    assert_eq!(record.value, Some(hex(expected)));
}

#[test]
fn a_tombstone_has_no_value() {
    let record = offset(None).encode().unwrap().unwrap();
    assert_eq!(record.value, None);
    assert_eq!(GroupEvent::decode(&record).unwrap(), Some(offset(None)));
}

#[test]
fn a_group_is_written_as_kafka_writes_it() {
    let member = wire::group_metadata_value::MemberMetadata {
        member_id: "m".into(),
        group_instance_id: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_timeout: 1,
        session_timeout: 2,
        subscription: Bytes::from_static(b"s"),
        assignment: Bytes::from_static(b"a"),
        ..Default::default()
    };
    let value = wire::GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some("m".into()),
        current_state_timestamp: 4,
        members: vec![member],
        ..Default::default()
    };
    let key = wire::GroupMetadataKey { group: "g".into(), ..Default::default() };
    let event = GroupEvent::Record(Record::GroupMetadata { key, value: Some(value) });
    let record = event.encode().unwrap().unwrap();
    assert_eq!(record.key, hex("0002 0001 67"));
    let expected = "0003 0008 636f6e73756d6572 00000003 0005 72616e6765 0001 6d \
        0000000000000004 00000001 \
        0001 6d ffff 0001 63 0002 2f68 00000001 00000002 00000001 73 00000001 61";
    assert_eq!(record.value, Some(hex(expected)));
    assert_eq!(GroupEvent::decode(&record).unwrap(), Some(event));
}

#[test]
fn what_is_not_known_is_passed_over_and_what_is_broken_is_an_error() {
    let record = |key: &str, value: &str| StoredRecord { key: hex(key), value: Some(hex(value)) };
    assert_eq!(GroupEvent::decode(&record("7fff 00", "00")).unwrap(), None);
    // A member of a consumer group.
    assert_eq!(GroupEvent::decode(&record("0005 0001 67 0001 6d", "0000")).unwrap(), None);
    for (key, value) in [("", ""), ("00", ""), ("0001 0001", ""), ("0002 0001 67", "0009 00")] {
        assert!(GroupEvent::decode(&record(key, value)).is_err(), "{key} {value}");
    }
    let consumer = GroupEvent::decode(&record("0003 0001 67", "0000 00000001 00")).unwrap();
    assert!(matches!(consumer, Some(GroupEvent::Record(Record::OtherGroup { exists: true, .. }))));
    let legacy = GroupEvent::decode(&record(
        "0000 0001 67 0001 74 00000007",
        "0000 0000000000000005 0001 6d 0000000000000009",
    ));
    assert!(
        matches!(legacy.unwrap(), Some(GroupEvent::Record(Record::OffsetCommit { value: Some(value), .. }))
        if value.offset == 5 && value.leader_epoch == -1)
    );
}

/// What an event is counted as, and what it adds to a batch.
fn sizes(event: &GroupEvent) -> (usize, usize) {
    let record = event.encode().unwrap().unwrap();
    (event.max_bytes(), rig::batch_bytes(&[record]) - rig::batch_bytes(&[]))
}

#[test]
fn an_event_is_counted_as_what_it_adds_to_a_batch() {
    for length in [0, 1, 20, 55, 63, 64, 127, 128, 4_000, 9_000, 20_000] {
        let text = "x".repeat(length);
        let key =
            wire::OffsetCommitKey { group: text.clone(), topic: "t".into(), ..Default::default() };
        let value = |expire_timestamp, topic_id| wire::OffsetCommitValue {
            metadata: text.clone(),
            expire_timestamp,
            topic_id,
            ..Default::default()
        };
        let values = [
            None,
            Some(value(-1, model::Uuid::ZERO)),
            Some(value(-1, model::Uuid::ONE)),
            Some(value(7, model::Uuid::ZERO)),
        ];
        let member = wire::group_metadata_value::MemberMetadata {
            member_id: text.clone(),
            group_instance_id: (length % 2 == 0).then(|| text.clone()),
            subscription: Bytes::from(text.clone()),
            ..Default::default()
        };
        let group = wire::GroupMetadataValue {
            protocol: Some(text.clone()),
            members: vec![member.clone(), member],
            ..Default::default()
        };
        let offsets = values.map(|value| Record::OffsetCommit { key: key.clone(), value });
        let key = wire::GroupMetadataKey { group: text.clone(), ..Default::default() };
        let groups =
            [None, Some(group)].map(|value| Record::GroupMetadata { key: key.clone(), value });
        for record in offsets.into_iter().chain(groups) {
            let (counted, taken) = sizes(&GroupEvent::Record(record.clone()));
            assert!((taken..taken + 5).contains(&counted), "{counted} {taken} {record:?}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_record_makes_the_shard_panic(key: Vec<u8>, value: Option<Vec<u8>>, record_type in 0..24i16) {
        let mut typed = record_type.to_be_bytes().to_vec();
        typed.extend(key);
        let record = StoredRecord { key: typed.into(), value: value.map(Bytes::from) };
        if let Ok(Some(event)) = GroupEvent::decode(&record) {
            let mut shard = GroupShard::new(GroupSettings::default());
            model::Replicated::replay(&mut shard, &event);
            model::Replicated::on_loaded(&shard, Default::default());
        }
    }
}
