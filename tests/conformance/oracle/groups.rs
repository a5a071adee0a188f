//! Offsets of groups that nobody is a member of, and groups that are not there.

use crate::session::{Session, reading, topic, versions};
use crate::{Case, own};
use model::Uuid;
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use wire::{
    DeleteGroupsRequest, DescribeGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest,
};

pub fn cases() -> Vec<Case> {
    let mut cases = commit_cases();
    cases.extend(fetch_cases());
    cases.extend(delete_cases());
    cases.extend(describe_cases());
    cases
}

fn group() -> String {
    own("simple")
}

pub fn commit(
    session: &Session,
    version: i16,
    group: &str,
    (name, partition, offset): (&str, i32, i64),
) -> OffsetCommitRequest {
    let committed = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_metadata: Some("a note".to_owned()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: if version < 10 { name.to_owned() } else { String::new() },
        topic_id: if version < 10 { Uuid::ZERO } else { session.topic_id(name) },
        partitions: vec![committed],
        ..Default::default()
    };
    OffsetCommitRequest { group_id: group.to_owned(), topics: vec![topic], ..Default::default() }
}

fn commit_cases() -> Vec<Case> {
    let mut cases = versions("sound", |s, version| {
        commit(s, version, &group(), (&topic(), 0, 10 + i64::from(version)))
    });
    cases.extend(versions("to a partition that is not there", |s, version| {
        commit(s, version, &group(), (&topic(), 9, 1))
    }));
    cases.extend(versions("to a topic that is not there", |s, version| {
        commit(s, version, &group(), ("not-there", 0, 1))
    }));
    cases.extend(versions("of a negative offset", |s, version| {
        commit(s, version, &group(), (&topic(), 1, -5))
    }));
    cases.extend(versions("with a note too long", |s, version| {
        let mut request = commit(s, version, &group(), (&topic(), 1, 1));
        request.topics[0].partitions[0].committed_metadata = Some("x".repeat(4_097));
        request
    }));
    cases.extend(versions("by a member that is not there", |s, version| OffsetCommitRequest {
        member_id: "nobody".to_owned(),
        generation_id_or_member_epoch: 3,
        ..commit(s, version, &group(), (&topic(), 1, 1))
    }));
    cases.extend(versions("by a member of no group", |s, version| OffsetCommitRequest {
        member_id: "nobody".to_owned(),
        generation_id_or_member_epoch: 3,
        ..commit(s, version, &own("none"), (&topic(), 1, 1))
    }));
    cases.extend(versions("of a group of no name", |s, version| {
        commit(s, version, "", (&topic(), 1, 1))
    }));
    cases
}

/// Partitions 0, 1 and 9 of the topic, or all that there is.
fn fetch(session: &Session, version: i16, group: &str, name: Option<&str>) -> OffsetFetchRequest {
    let partition_indexes = vec![0, 1, 9];
    if version < 8 {
        let topic = name.map(|name| OffsetFetchRequestTopic {
            name: name.to_owned(),
            partition_indexes,
            ..Default::default()
        });
        // Version 1 cannot ask for all.
        let topics =
            if version < 2 || topic.is_some() { Some(Vec::from_iter(topic)) } else { None };
        return OffsetFetchRequest { group_id: group.to_owned(), topics, ..Default::default() };
    }
    let topic = name.map(|name| OffsetFetchRequestTopics {
        name: if version < 10 { name.to_owned() } else { String::new() },
        topic_id: if version < 10 { Uuid::ZERO } else { session.topic_id(name) },
        partition_indexes,
        ..Default::default()
    });
    let wanted = OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: topic.map(|topic| vec![topic]),
        ..Default::default()
    };
    OffsetFetchRequest { groups: vec![wanted], ..Default::default() }
}

fn fetch_cases() -> Vec<Case> {
    let mut cases = reading("of a topic", |s, v| fetch(s, v, &group(), Some(&topic())));
    cases.extend(reading("of all", |s, v| fetch(s, v, &group(), None)));
    cases.extend(reading("of a topic that is not there", |s, v| {
        fetch(s, v, &group(), Some("not-there"))
    }));
    cases.extend(reading("of a group that is not there", |s, v| {
        fetch(s, v, &own("none"), Some(&topic()))
    }));
    cases.extend(reading("of a group of no name", |s, v| fetch(s, v, "", Some(&topic()))));
    cases.extend(reading("of what is stable", |s, version| OffsetFetchRequest {
        require_stable: version >= 7,
        ..fetch(s, version, &group(), Some(&topic()))
    }));
    cases
}

fn delete_cases() -> Vec<Case> {
    let delete = |group: String, name: &str, partition_index: i32| {
        let partitions =
            vec![OffsetDeleteRequestPartition { partition_index, ..Default::default() }];
        let topic =
            OffsetDeleteRequestTopic { name: name.to_owned(), partitions, ..Default::default() };
        OffsetDeleteRequest { group_id: group, topics: vec![topic], ..Default::default() }
    };
    let mut cases = versions("sound", move |_, _| delete(group(), &topic(), 0));
    cases.extend(versions("again", move |_, _| delete(group(), &topic(), 0)));
    cases.extend(versions("of what is not there", move |_, _| delete(group(), "not-there", 0)));
    cases.extend(versions("of no group", move |_, _| delete(own("none"), &topic(), 0)));
    cases.extend(versions("of a group of no name", move |_, _| delete(String::new(), &topic(), 0)));
    cases
}

fn describe_cases() -> Vec<Case> {
    let describe =
        |name: &str| DescribeGroupsRequest { groups: vec![name.to_owned()], ..Default::default() };
    let mut cases = reading("of a group of offsets alone", move |_, _| describe(&group()));
    cases.extend(reading("of a group that is not there", move |_, _| describe(&own("none"))));
    cases.extend(reading("of a group of no name", move |_, _| describe("")));
    cases.extend(reading("with what one may", move |_, version| DescribeGroupsRequest {
        include_authorized_operations: version >= 3,
        ..describe(&group())
    }));
    let delete = |name: &str| DeleteGroupsRequest {
        groups_names: vec![name.to_owned()],
        ..Default::default()
    };
    cases.extend(versions("of offsets alone", move |_, _| delete(&group())));
    cases.extend(versions("of a group that is not there", move |_, _| delete(&own("none"))));
    cases.extend(versions("of a group of no name", move |_, _| delete("")));
    cases
}
