//! Topics made, grown and deleted: what is answered is served, or gone.

use model::ErrorCode;
use partitions::Standing;
use wire::create_partitions_request::CreatePartitionsTopic;
use wire::create_topics_request::CreatableTopic;
use wire::delete_topics_request::DeleteTopicState;
use wire::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, Message};

use crate::rig::Rig;

fn create(names: &[&str], partitions: i32) -> CreateTopicsRequest {
    let topic = |name: &&str| CreatableTopic {
        name: (*name).to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: 30_000,
        ..Default::default()
    }
}

#[tokio::test]
async fn what_every_version_creates_is_served_when_it_answers() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    for version in CreateTopicsRequest::VERSIONS.min..=CreateTopicsRequest::VERSIONS.max {
        let name = format!("topic-{version}");
        let response = client.call(&create(&[&name], 2), version).await;
        let topic = &response.topics[0];
        assert_eq!((topic.error_code, topic.name.as_str()), (0, name.as_str()));
        assert_eq!(topic.num_partitions, if version >= 5 { 2 } else { -1 });
        for partition in 0..2 {
            let handle = rig.handle(&name, partition);
            assert!(matches!(*handle.standing(), Standing::Leader(_)));
            assert_eq!(topic.topic_id == handle.topic_id, version >= 7);
        }
    }
}

#[tokio::test]
async fn refusals_to_create_stand_beside_what_was_created() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    let response = client.call(&create(&["a", "twice", "twice", "no/slash"], 1), 7).await;
    let mut found: Vec<_> =
        response.topics.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect();
    found.sort_unstable();
    let invalid = ErrorCode::InvalidTopicException.code();
    let twice = ErrorCode::InvalidRequest.code();
    assert_eq!(found, [("a", 0), ("no/slash", invalid), ("twice", twice)]);
    let again = client.call(&create(&["a"], 1), 7).await;
    assert_eq!(again.topics[0].error_code, ErrorCode::TopicAlreadyExists.code());
    let tried = CreateTopicsRequest { validate_only: true, ..create(&["tried"], 1) };
    assert_eq!(client.call(&tried, 7).await.topics[0].error_code, 0);
    assert!(rig.hosted.topic("tried").is_none());
}

#[tokio::test]
async fn new_partitions_serve_when_they_are_told() {
    let mut rig = Rig::start().await;
    rig.topic("a", 1, &[]).await;
    let mut client = rig.client().await;
    for (version, count) in (0..=3).zip(2..) {
        let topic = CreatePartitionsTopic {
            name: "a".into(),
            count,
            assignments: None,
            ..Default::default()
        };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: 30_000,
            ..Default::default()
        };
        assert_eq!(client.call(&request, version).await.results[0].error_code, 0);
        let handle = rig.handle("a", count - 1);
        assert!(matches!(*handle.standing(), Standing::Leader(_)));
        let again = client.call(&request, version).await;
        assert_eq!(again.results[0].error_code, ErrorCode::InvalidPartitions.code());
    }
}

#[tokio::test]
async fn deleted_topics_are_gone_when_it_is_told() {
    let mut rig = Rig::start().await;
    let mut client = rig.client().await;
    for version in 1..=5 {
        rig.topic("a", 1, &[]).await;
        let request = DeleteTopicsRequest {
            topic_names: vec!["a".into(), "none".into()],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let response = client.call(&request, version).await;
        let code = |name| {
            let of = |r: &&wire::delete_topics_response::DeletableTopicResult| {
                r.name.as_deref() == Some(name)
            };
            response.responses.iter().find(of).unwrap().error_code
        };
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!((code("a"), code("none")), (0, unknown));
        assert!(rig.hosted.topic("a").is_none());
    }
    let topic_id = rig.topic("b", 1, &[]).await;
    let topic = DeleteTopicState { topic_id, name: None, ..Default::default() };
    let request =
        DeleteTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let response = client.call(&request, 6).await;
    assert_eq!(response.responses[0].name.as_deref(), Some("b"));
    assert_eq!(response.responses[0].error_code, 0);
    let response = client.call(&request, 6).await;
    assert_eq!(response.responses[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn deletion_that_is_disabled_is_refused() {
    let mut rig = Rig::with_settings(&[("delete.topic.enable", "false")]).await;
    rig.topic("a", 1, &[]).await;
    let mut client = rig.client().await;
    let request = DeleteTopicsRequest {
        topic_names: vec!["a".into()],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let told = client.call(&request, 2).await.responses[0].error_code;
    assert_eq!(told, ErrorCode::InvalidRequest.code());
    let told = client.call(&request, 3).await.responses[0].error_code;
    assert_eq!(told, ErrorCode::TopicDeletionDisabled.code());
    assert!(rig.hosted.topic("a").is_some());
}
