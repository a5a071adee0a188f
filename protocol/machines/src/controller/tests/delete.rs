use std::collections::BTreeSet;

use model::{ErrorCode, Uuid};
use wire::delete_topics_request::DeleteTopicState;
use wire::delete_topics_response::DeletableTopicResult;
use wire::{DeleteTopicsRequest, MetadataRecord};

use super::*;

fn delete(
    cluster: &mut Cluster,
    request: DeleteTopicsRequest,
    version: i16,
) -> Vec<DeletableTopicResult> {
    let (may_describe, may_delete) = (Permitted::All, Permitted::All);
    match cluster.ask(ControllerRequest::DeleteTopics {
        request,
        version,
        may_describe,
        may_delete,
    }) {
        ControllerReply::DeleteTopics(response) => response.responses,
        other => panic!("{other:?}"),
    }
}

fn state(name: Option<&str>, topic_id: Uuid) -> DeleteTopicState {
    DeleteTopicState { name: name.map(str::to_owned), topic_id, ..Default::default() }
}

fn codes(results: &[DeletableTopicResult]) -> Vec<(Option<&str>, ErrorCode)> {
    results.iter().map(|r| (r.name.as_deref(), ErrorCode::from_code(r.error_code))).collect()
}

#[test]
fn by_name_and_by_id() {
    let mut cluster = Cluster::of(1);
    cluster.create(topic("a", 1, 1));
    let b = cluster.create(topic("b", 1, 1)).topic_id;
    let by_name =
        DeleteTopicsRequest { topic_names: vec!["a".into(), "none".into()], ..Default::default() };
    let results = delete(&mut cluster, by_name, 5);
    let expected =
        [(Some("none"), ErrorCode::UnknownTopicOrPartition), (Some("a"), ErrorCode::None)];
    assert_eq!(codes(&results), expected);
    let unknown = Uuid::from_u128(77);
    let topics = vec![state(None, b), state(None, unknown)];
    let results = delete(&mut cluster, DeleteTopicsRequest { topics, ..Default::default() }, 6);
    let of = |id: Uuid| results.iter().find(|r| r.topic_id == id).unwrap();
    assert_eq!((of(b).name.as_deref(), of(b).error_code), (Some("b"), 0));
    assert_eq!(ErrorCode::from_code(of(unknown).error_code), ErrorCode::UnknownTopicId);
    assert!(cluster.image().topics.is_empty());
}

#[test]
fn a_topic_takes_its_configuration_with_it() {
    let mut cluster = Cluster::of(1);
    cluster.create(configured(topic("a", 1, 1), &[("retention.ms", Some("5"))]));
    delete(
        &mut cluster,
        DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() },
        5,
    );
    assert!(matches!(cluster.log.last(), Some(MetadataRecord::RemoveTopic(_))));
    assert_eq!(cluster.image().configs.of(&crate::metadata::ConfigResource::topic("a")).len(), 0);
}

#[test]
fn contradictions_are_refused() {
    let mut cluster = Cluster::of(1);
    let id = cluster.create(topic("a", 1, 1)).topic_id;
    let cases = [
        (vec![state(None, Uuid::ZERO)], "Neither topic name nor id were specified."),
        (vec![state(Some("a"), id)], "You may not specify both topic name and topic id."),
        (vec![state(None, id), state(None, id)], "Duplicate topic id."),
        (vec![state(Some("a"), Uuid::ZERO), state(Some("a"), Uuid::ZERO)], "Duplicate topic name."),
        (
            vec![state(None, id), state(Some("a"), Uuid::ZERO)],
            "The provided topic name maps to an ID that was already supplied.",
        ),
    ];
    for (topics, message) in cases {
        let results = delete(&mut cluster, DeleteTopicsRequest { topics, ..Default::default() }, 6);
        assert_eq!(results.len(), 1, "{message}");
        assert_eq!(ErrorCode::from_code(results[0].error_code), ErrorCode::InvalidRequest);
        assert_eq!(results[0].error_message.as_deref(), Some(message));
        assert_eq!(cluster.image().topics.len(), 1);
    }
}

#[test]
fn nothing_is_deleted_where_deletion_is_off() {
    let mut cluster = Cluster::with(&[("delete.topic.enable", "false")], &[]);
    cluster.join(0);
    cluster.create(topic("a", 1, 1));
    for (version, code) in [(2, ErrorCode::InvalidRequest), (3, ErrorCode::TopicDeletionDisabled)] {
        let request = DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() };
        let results = delete(&mut cluster, request, version);
        assert_eq!(codes(&results), [(Some("a"), code)]);
    }
    assert_eq!(cluster.image().topics.len(), 1);
}

#[test]
fn a_name_is_not_told_to_those_who_may_not_see_it() {
    let mut cluster = Cluster::of(1);
    let id = cluster.create(topic("secret", 1, 1)).topic_id;
    let nobody = || Permitted::Only(BTreeSet::new());
    let request = DeleteTopicsRequest { topics: vec![state(None, id)], ..Default::default() };
    let asked = ControllerRequest::DeleteTopics {
        request,
        version: 6,
        may_describe: nobody(),
        may_delete: nobody(),
    };
    let ControllerReply::DeleteTopics(response) = cluster.ask(asked) else { panic!() };
    assert_eq!(codes(&response.responses), [(None, ErrorCode::TopicAuthorizationFailed)]);
}
