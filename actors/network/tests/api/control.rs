//! What the controller is asked by leaders, other controllers and operators, on the listeners that serve it.

use bytes::Bytes;
use machines::metadata::{MetadataVersion, supported_features};
use model::{ErrorCode, Uuid};
use wire::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::alter_partition_request::{BrokerState, PartitionData, TopicData};
use wire::alter_partition_response::PartitionData as Altered;
use wire::controller_registration_request::Listener;
use wire::elect_leaders_request::TopicPartitions;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::register_broker_record::BrokerFeature;
use wire::update_features_request::FeatureUpdateKey;
use wire::{
    AlterPartitionReassignmentsRequest, AlterPartitionRequest, ControllerRegistrationRequest,
    DescribeClusterRequest, DescribeQuorumRequest, ElectLeadersRequest, ElectLeadersResponse,
    EnvelopeRequest, FeatureLevelRecord, IncrementalAlterConfigsRequest,
    ListPartitionReassignmentsRequest, Message, MetadataRecord, Part, PartitionChangeRecord,
    PartitionRecord, RegisterBrokerRecord, RemoveRaftVoterRequest, Request, TopicRecord,
    UnregisterBrokerRequest, UnregisterControllerRequest, UpdateFeaturesRequest,
};

use crate::rig::{CONTROLLER, Client, NODE, Rig, dir_id, topic_id};

const OTHER: i32 = NODE + 1;
/// The offset of the broker's registration.
const EPOCH: i64 = 77;

fn feature(name: &str, feature_level: i16) -> MetadataRecord {
    let name = name.to_owned();
    MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level, ..Default::default() })
}

fn broker(broker_id: i32) -> MetadataRecord {
    let features = supported_features(MetadataVersion::LATEST).into_iter().map(|(name, range)| {
        BrokerFeature {
            name,
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        }
    });
    MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker_id,
        broker_epoch: EPOCH + i64::from(broker_id),
        fenced: false,
        log_dirs: vec![dir_id(broker_id as u8)],
        features: features.collect(),
        ..Default::default()
    })
}

/// Two brokers, and `t` on both, led by the other one.
async fn two() -> Rig {
    let mut rig = Rig::with_dirs(2, &[]).await;
    let topic_id = topic_id("t");
    let partition = |partition_id| {
        MetadataRecord::Partition(PartitionRecord {
            partition_id,
            topic_id,
            replicas: vec![OTHER, NODE],
            isr: vec![OTHER, NODE],
            leader: OTHER,
            leader_epoch: 5,
            partition_epoch: 3,
            directories: vec![dir_id(OTHER as u8), dir_id(NODE as u8)],
            ..Default::default()
        })
    };
    let topic = TopicRecord { name: "t".into(), topic_id, ..Default::default() };
    let first = [broker(NODE), broker(OTHER), MetadataRecord::Topic(topic)];
    rig.publish(first.into_iter().chain([0, 1].map(partition)));
    rig
}

async fn alter(
    client: &mut Client,
    version: i16,
    change: impl Fn(&mut AlterPartitionRequest, &mut PartitionData),
) -> Result<Altered, ErrorCode> {
    let mut partition = PartitionData { leader_epoch: 5, partition_epoch: 3, ..Default::default() };
    let mut request = AlterPartitionRequest {
        broker_id: OTHER,
        broker_epoch: EPOCH + i64::from(OTHER),
        topics: vec![TopicData { topic_id: topic_id("t"), ..Default::default() }],
        ..Default::default()
    };
    if version < 3 {
        partition.new_isr = vec![OTHER];
    } else {
        let broker_epoch = EPOCH + i64::from(OTHER);
        partition.new_isr_with_epochs =
            vec![BrokerState { broker_id: OTHER, broker_epoch, ..Default::default() }];
    }
    change(&mut request, &mut partition);
    request.topics[0].partitions.push(partition);
    let response = client.call(&request, version).await;
    match response.error_code {
        0 => Ok(response.topics[0].partitions[0].clone()),
        code => Err(ErrorCode::from_code(code)),
    }
}

#[tokio::test]
async fn a_leader_alters_its_isr_in_every_version() {
    for version in AlterPartitionRequest::VERSIONS.min..=AlterPartitionRequest::VERSIONS.max {
        let rig = two().await;
        let (mut client, _listener) = rig.controller().await;
        let stale = |request: &mut AlterPartitionRequest, _: &mut PartitionData| {
            request.broker_epoch -= 1;
        };
        let refused = alter(&mut client, version, stale).await;
        assert_eq!(refused, Err(ErrorCode::StaleBrokerEpoch));
        let altered = alter(&mut client, version, |_, _| {}).await.unwrap();
        assert_eq!((altered.error_code, altered.isr), (0, vec![OTHER]));
        // An ISR that shrinks is no new leader's, since directories are assigned to replicas.
        assert_eq!((altered.leader_id, altered.leader_epoch), (OTHER, 5));
        assert_eq!(altered.partition_epoch, 4);
        let again = alter(&mut client, version, |_, _| {}).await.unwrap();
        assert_eq!(again.error_code, ErrorCode::InvalidUpdateVersion.code());
        let unknown = |request: &mut AlterPartitionRequest, _: &mut PartitionData| {
            request.topics[0].topic_id = topic_id("u");
        };
        let unknown = alter(&mut client, version, unknown).await.unwrap();
        assert_eq!(unknown.error_code, ErrorCode::UnknownTopicId.code());
    }
}

#[tokio::test]
async fn an_isr_names_the_epochs_that_its_brokers_have() {
    let rig = two().await;
    let (mut client, _listener) = rig.controller().await;
    let of_another_life = |_: &mut AlterPartitionRequest, partition: &mut PartitionData| {
        partition.new_isr_with_epochs[0].broker_epoch -= 1;
    };
    let refused = alter(&mut client, 3, of_another_life).await.unwrap();
    assert_eq!(refused.error_code, ErrorCode::IneligibleReplica.code());
}

fn election(kind: i8, partitions: Option<&[i32]>) -> ElectLeadersRequest {
    let named = |partitions: &[i32]| TopicPartitions {
        topic: "t".into(),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    ElectLeadersRequest {
        election_type: kind,
        topic_partitions: partitions.map(|partitions| vec![named(partitions)]),
        timeout_ms: 30_000,
        ..Default::default()
    }
}

#[tokio::test]
async fn leaders_are_elected_in_every_version() {
    let mut rig = two().await;
    let mut client = rig.client().await;
    for version in ElectLeadersRequest::VERSIONS.min..=ElectLeadersRequest::VERSIONS.max {
        rig.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
            topic_id: topic_id("t"),
            partition_id: 1,
            leader: NODE,
            ..Default::default()
        })]);
        let named = client.call(&election(0, Some(&[0, 1, 2])), version).await;
        let codes: Vec<_> = named.replica_election_results[0]
            .partition_result
            .iter()
            .map(|result| (result.partition_id, ErrorCode::from_code(result.error_code)))
            .collect();
        let expected = [
            (0, ErrorCode::ElectionNotNeeded),
            (1, ErrorCode::None),
            (2, ErrorCode::UnknownTopicOrPartition),
        ];
        assert_eq!((named.error_code, codes.as_slice()), (0, expected.as_slice()));
        // Of all, those that need none are not named.
        let all = client.call(&election(0, None), version).await;
        assert_eq!(all.replica_election_results[0].partition_result, []);
    }
    let unknown = client.call(&election(7, Some(&[1])), 2).await;
    let refused = &unknown.replica_election_results[0].partition_result[0];
    assert_eq!(unknown.error_code, ErrorCode::InvalidRequest.code());
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
    assert_eq!(refused.error_message.as_deref(), Some("Unknown election type 7"));
}

#[tokio::test]
async fn features_change_in_every_version() {
    let rig = two().await;
    let mut client = rig.client().await;
    for version in UpdateFeaturesRequest::VERSIONS.min..=UpdateFeaturesRequest::VERSIONS.max {
        let request = |level, validate_only| UpdateFeaturesRequest {
            feature_updates: vec![FeatureUpdateKey {
                feature: "transaction.version".into(),
                max_version_level: level,
                upgrade_type: if version > 0 && level == 0 { 2 } else { 1 },
                ..Default::default()
            }],
            validate_only,
            timeout_ms: 30_000,
            ..Default::default()
        };
        let checked = client.call(&request(1, version > 0), version).await;
        assert_eq!((checked.error_code, checked.results.len()), (0, usize::from(version < 2)));
        assert_eq!(client.call(&request(1, false), version).await.error_code, 0);
        let raised = client.call(&request(99, false), version).await;
        assert_eq!(raised.error_code, ErrorCode::InvalidUpdateVersion.code());
        assert!(raised.error_message.is_some());
        // By version 0 nothing goes down.
        let lowered = client.call(&request(0, false), version).await;
        let refused = ErrorCode::InvalidUpdateVersion.code();
        assert_eq!(lowered.error_code, if version == 0 { refused } else { 0 });
    }
}

#[tokio::test]
async fn brokers_are_forgotten_by_either_listener() {
    let rig = two().await;
    let (mut controller, _listener) = rig.controller().await;
    let mut client = rig.client().await;
    for client in [&mut client, &mut controller] {
        let request = UnregisterBrokerRequest { broker_id: 9, ..Default::default() };
        let unknown = client.call(&request, 0).await;
        assert_eq!(unknown.error_code, ErrorCode::BrokerIdNotRegistered.code());
        assert_eq!(
            unknown.error_message.as_deref(),
            Some("Broker ID 9 is not currently registered")
        );
    }
    let request = UnregisterBrokerRequest { broker_id: OTHER, ..Default::default() };
    assert_eq!(controller.call(&request, 0).await.error_code, 0);
    let again = client.call(&request, 0).await;
    assert_eq!(again.error_code, ErrorCode::BrokerIdNotRegistered.code());
}

#[tokio::test]
async fn controllers_make_themselves_known_and_are_forgotten() {
    let mut rig = Rig::with_dirs(2, &[]).await;
    let (mut client, _listener) = rig.controller().await;
    let registration = |id: i32| ControllerRegistrationRequest {
        controller_id: id,
        incarnation_id: Uuid::from_u128(id as u128),
        listeners: vec![Listener {
            name: CONTROLLER.into(),
            host: format!("host-{id}"),
            port: 9093,
            ..Default::default()
        }],
        ..Default::default()
    };
    for id in [NODE, 8] {
        assert_eq!(client.call(&registration(id), 0).await.error_code, 0);
    }
    let described = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let known = client.call(&described, 2).await;
    let hosts: Vec<_> = known.brokers.iter().map(|node| (node.broker_id, &*node.host)).collect();
    assert_eq!(hosts, [(NODE, "host-1"), (8, "host-8")]);
    assert_eq!(known.controller_id, -1, "nobody leads the metadata log of these tests");
    let mut broker = rig.client().await;
    let forget = |id| UnregisterControllerRequest { controller_id: id, ..Default::default() };
    for client in [&mut client, &mut broker] {
        let itself = client.call(&forget(NODE), 0).await;
        assert_eq!(itself.error_code, ErrorCode::InvalidRequest.code());
    }
    assert_eq!(broker.call(&forget(8), 0).await.error_code, 0);
    let again = broker.call(&forget(8), 0).await;
    assert_eq!(again.error_code, ErrorCode::ControllerIdNotRegistered.code());
    rig.publish([feature("metadata.version", 14)]);
    let early = client.call(&registration(8), 0).await;
    assert_eq!(early.error_code, ErrorCode::UnsupportedVersion.code());
    let early = client.call(&described, 2).await;
    assert_eq!(early.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(
        early.error_message.as_deref(),
        Some(
            "Direct-to-controller communication is not supported with the current MetadataVersion."
        )
    );
}

fn assignment(partition_index: i32, replicas: Option<&[i32]>) -> ReassignablePartition {
    let replicas = replicas.map(<[i32]>::to_vec);
    ReassignablePartition { partition_index, replicas, ..Default::default() }
}

#[tokio::test]
async fn partitions_are_reassigned_in_every_version() {
    let rig = two().await;
    let mut client = rig.client().await;
    let versions = AlterPartitionReassignmentsRequest::VERSIONS;
    for version in versions.min..=versions.max {
        let partitions = vec![assignment(0, None), assignment(9, Some(&[NODE]))];
        let topic = ReassignableTopic { name: "t".into(), partitions, ..Default::default() };
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![topic],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let response = client.call(&request, version).await;
        let codes: Vec<_> = response.responses[0]
            .partitions
            .iter()
            .map(|partition| ErrorCode::from_code(partition.error_code))
            .collect();
        let expected = [ErrorCode::NoReassignmentInProgress, ErrorCode::UnknownTopicOrPartition];
        assert_eq!((response.error_code, codes.as_slice()), (0, expected.as_slice()));
    }
    let none = ListPartitionReassignmentsRequest { timeout_ms: 30_000, ..Default::default() };
    assert_eq!(client.call(&none, 0).await.topics, []);
}

/// A request as it stands in an envelope: header and body.
pub fn enveloped<R: Request>(request: &R, version: i16) -> Bytes {
    let parts = wire::encode_request(request, version, 77, Some("within")).unwrap();
    let parts = parts.iter().map(|part| match part {
        Part::Bytes(bytes) => bytes.as_ref(),
        Part::External { .. } => panic!("requests have no files"),
    });
    Bytes::from(parts.collect::<Vec<_>>().concat()).slice(4..)
}

pub fn envelope(request_data: Bytes) -> EnvelopeRequest {
    // User:ANONYMOUS, as Kafka's brokers write it.
    let principal = b"\0\0\x05User\x0aANONYMOUS\0\0";
    EnvelopeRequest {
        request_data,
        request_principal: Some(Bytes::from_static(principal)),
        client_host_address: Bytes::from_static(&[127, 0, 0, 1]),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_a_broker_sends_on_is_answered_within_the_envelope() {
    let rig = two().await;
    let (mut client, _listener) = rig.controller().await;
    for version in ElectLeadersRequest::VERSIONS.min..=ElectLeadersRequest::VERSIONS.max {
        let request = election(0, Some(&[0]));
        let answer = client.call(&envelope(enveloped(&request, version)), 0).await;
        assert_eq!(answer.error_code, 0);
        let data = answer.response_data.expect("a response within");
        let (id, within) = wire::decode_response::<ElectLeadersResponse>(data, version).unwrap();
        let result = &within.replica_election_results[0].partition_result[0];
        assert_eq!((id, result.error_code), (77, ErrorCode::ElectionNotNeeded.code()));
    }
    let whole = envelope(enveloped(&election(0, Some(&[0])), 2));
    let described = enveloped(&DescribeClusterRequest::default(), 0);
    let again = enveloped(&whole, 0);
    let cut = |bytes: &Bytes| bytes.slice(..bytes.len() - 1);
    let cases = [
        (
            EnvelopeRequest { request_principal: None, ..whole.clone() },
            ErrorCode::PrincipalDeserializationFailure,
        ),
        (
            EnvelopeRequest {
                request_principal: Some(Bytes::from_static(b"\0\x09\0")),
                ..whole.clone()
            },
            ErrorCode::PrincipalDeserializationFailure,
        ),
        (
            EnvelopeRequest {
                client_host_address: Bytes::from_static(&[1, 2, 3]),
                ..whole.clone()
            },
            ErrorCode::InvalidRequest,
        ),
        (envelope(described), ErrorCode::InvalidRequest),
        (envelope(again), ErrorCode::InvalidRequest),
        // This node does not lead the quorum.
        (envelope(enveloped(&DescribeQuorumRequest::default(), 2)), ErrorCode::NotController),
        (envelope(enveloped(&RemoveRaftVoterRequest::default(), 0)), ErrorCode::NotController),
        (envelope(cut(&whole.request_data)), ErrorCode::UnsupportedVersion),
        (envelope(whole.request_data.slice(..3)), ErrorCode::UnsupportedVersion),
    ];
    for (request, expected) in cases {
        let answer = client.call(&request, 0).await;
        assert_eq!(ErrorCode::from_code(answer.error_code), expected);
        assert_eq!(answer.response_data, None);
    }
}

/// As `kafka-reassign-partitions` does, which takes its throttles away from every broker: each sends its own on.
#[tokio::test]
async fn the_controller_alters_what_any_broker_has() {
    let rig = two().await;
    let (mut controller, _listener) = rig.controller().await;
    let mut client = rig.client().await;
    let resource = AlterConfigsResource {
        resource_type: 4,
        resource_name: OTHER.to_string(),
        configs: vec![AlterableConfig {
            name: "log.cleaner.threads".into(),
            value: Some("2".into()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let refused = client.call(&request, 1).await;
    assert_eq!(refused.responses[0].error_code, ErrorCode::InvalidRequest.code());
    let altered = controller.call(&request, 1).await;
    assert_eq!(altered.responses[0].error_code, 0, "{:?}", altered.responses[0].error_message);
}
