//! Records: in, out, found, cut off.

use crate::session::{Session, batch, reading, topic, versions};
use crate::tree::Tree;
use crate::{Case, own};
use model::Uuid;
use wire::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::describe_log_dirs_request::DescribableLogDirTopic;
use wire::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::produce_request::{PartitionProduceData, TopicProduceData};
use wire::{
    AlterReplicaLogDirsRequest, DeleteRecordsRequest, DescribeLogDirsRequest, FetchRequest,
    InitProducerIdRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    Records,
};

pub fn cases() -> Vec<Case> {
    let mut cases = produce_cases();
    cases.extend(fetch_cases());
    cases.extend(offset_cases());
    cases.extend(epoch_cases());
    cases.extend(directory_cases());
    cases.extend(move_cases());
    cases.extend(delete_cases());
    cases.extend(producer_cases());
    cases
}

/// A topic by name or, from `first_by_id` on, by its id.
fn by(session: &Session, name: &str, version: i16, first_by_id: i16) -> (String, Uuid) {
    if version < first_by_id {
        (name.to_owned(), Uuid::ZERO)
    } else {
        (String::new(), session.topic_id(name))
    }
}

fn produce(
    session: &Session,
    version: i16,
    name: &str,
    partition: i32,
    bytes: Vec<u8>,
) -> ProduceRequest {
    let (name, topic_id) = by(session, name, version, 13);
    let records = Some(Records::Bytes(bytes.into()));
    let data = PartitionProduceData { index: partition, records, ..Default::default() };
    let topic =
        TopicProduceData { name, topic_id, partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 5_000, topic_data: vec![topic], ..Default::default() }
}

fn sound() -> Vec<u8> {
    batch().build().expect("a batch").to_bytes().to_vec()
}

fn produce_cases() -> Vec<Case> {
    let mut cases = versions("sound", |s, version| produce(s, version, &topic(), 0, sound()));
    cases.extend(versions("with acks=1", |s, version| ProduceRequest {
        acks: 1,
        ..produce(s, version, &topic(), 1, sound())
    }));
    cases.extend(versions("with acks=5", |s, version| ProduceRequest {
        acks: 5,
        ..produce(s, version, &topic(), 0, sound())
    }));
    cases.extend(versions("corrupt", |s, version| {
        let mut bytes = sound();
        bytes[65] ^= 1;
        produce(s, version, &topic(), 0, bytes)
    }));
    cases.extend(versions("two batches", |s, version| {
        produce(s, version, &topic(), 0, [sound(), sound()].concat())
    }));
    cases.extend(versions("too large", |s, version| {
        let mut builder = batch();
        builder.append(1_700_000_000_000, None, Some(&vec![1; 1_048_588]), &[]);
        produce(s, version, &topic(), 0, builder.build().expect("a batch").to_bytes().to_vec())
    }));
    cases.extend(versions("to a partition that is not there", |s, version| {
        produce(s, version, &topic(), 7, sound())
    }));
    cases.extend(versions("to a topic that is not there", |s, version| {
        produce(s, version, "not-there", 0, sound())
    }));
    cases.extend(versions("of an unknown producer", |s, version| {
        let bytes = batch().producer(987_654_321, 3, 40 + 3 * i32::from(version)).build();
        produce(s, version, &topic(), 2, bytes.expect("a batch").to_bytes().to_vec())
    }));
    cases.extend(versions("out of order", |s, version| {
        let bytes = batch().producer(987_654_321, 3, 9_000).build();
        produce(s, version, &topic(), 2, bytes.expect("a batch").to_bytes().to_vec())
    }));
    cases.extend(versions("of an old epoch", |s, version| {
        let bytes = batch().producer(987_654_321, 2, 0).build();
        produce(s, version, &topic(), 2, bytes.expect("a batch").to_bytes().to_vec())
    }));
    cases
}

fn fetch(session: &Session, version: i16, name: &str, from: &[(i32, i64)]) -> FetchRequest {
    let (name, topic_id) = by(session, name, version, 13);
    let partition = |(partition, offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let partitions = from.iter().map(partition).collect();
    let topics = vec![FetchTopic { topic: name, topic_id, partitions, ..Default::default() }];
    FetchRequest { max_wait_ms: 0, min_bytes: 0, max_bytes: 1 << 22, topics, ..Default::default() }
}

fn fetch_cases() -> Vec<Case> {
    let mut cases =
        reading("whole", |s, version| fetch(s, version, &topic(), &[(0, 0), (1, 0), (2, 0)]));
    let at = |what, offset: i64| {
        reading(what, move |s, version| fetch(s, version, &topic(), &[(0, offset)]))
    };
    cases.extend(at("from within a batch", 4));
    cases.extend(at("from beyond the end", 1_000_000));
    cases.extend(at("from a negative offset", -1));
    cases.extend(reading("of a byte", |s, version| FetchRequest {
        max_bytes: 1,
        ..fetch(s, version, &topic(), &[(0, 0), (1, 0)])
    }));
    cases.extend(reading("committed only", |s, version| FetchRequest {
        isolation_level: 1,
        ..fetch(s, version, &topic(), &[(0, 0)])
    }));
    cases.extend(reading("of a partition that is not there", |s, version| {
        fetch(s, version, &topic(), &[(9, 0)])
    }));
    cases.extend(reading("of a topic that is not there", |s, version| {
        fetch(s, version, "not-there", &[(0, 0)])
    }));
    cases.extend(reading("at a wrong leader epoch", |s, version| {
        let mut request = fetch(s, version, &topic(), &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = if version < 9 { -1 } else { 7 };
        request
    }));
    cases.extend(reading("of a session that is not there", |s, version| FetchRequest {
        session_id: if version < 7 { 0 } else { 12_345 },
        session_epoch: if version < 7 { -1 } else { 3 },
        ..fetch(s, version, &topic(), &[(0, 0)])
    }));
    cases.extend((7..=18).map(session_case));
    cases
}

/// Opened with three partitions, then asked for news, then one forgotten, then out of step, then closed.
fn session_case(version: i16) -> Case {
    let run = move |session: &mut Session| {
        let first = FetchRequest {
            session_epoch: 0,
            ..fetch(session, version, &topic(), &[(0, 0), (1, 1_000_000), (2, 0)])
        };
        let opened = session.ask(&first, version).expect("Fetch");
        let id = opened.session_id;
        let mut answers = vec![Tree::of(&opened)];
        let (name, topic_id) = by(session, &topic(), version, 13);
        let forgotten =
            ForgottenTopic { topic: name, topic_id, partitions: vec![0, 1], ..Default::default() };
        let within = |epoch: i32| FetchRequest {
            session_id: id,
            session_epoch: epoch,
            max_bytes: 1 << 22,
            ..Default::default()
        };
        let steps = [
            within(1),
            FetchRequest { forgotten_topics_data: vec![forgotten], ..within(2) },
            within(3),
            within(9),
            within(-1),
        ];
        answers.extend(steps.map(|request| session.tree(&request, version)));
        let names = ["opened", "news", "forgotten", "again", "out of step", "closed"];
        Tree::Struct(names.map(str::to_owned).into_iter().zip(answers).collect())
    };
    Case { name: format!("Fetch v{version} session"), reads: true, run: Box::new(run) }
}

fn list(version: i16, name: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let wanted =
        ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
    let topic =
        ListOffsetsTopic { name: name.to_owned(), partitions: vec![wanted], ..Default::default() };
    let timeout_ms = if version < 10 { 0 } else { 5_000 };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], timeout_ms, ..Default::default() }
}

fn offset_cases() -> Vec<Case> {
    let times = [-1, -2, -3, -4, -5, -6, -7, 0, 1_700_000_000_500, 1_700_000_002_000, i64::MAX];
    let at = |time: i64| {
        reading(&format!("at {time}"), move |_, version| list(version, &topic(), 0, time))
    };
    let mut cases: Vec<Case> = times.into_iter().flat_map(at).collect();
    cases.extend(reading("of a partition that is not there", |_, v| list(v, &topic(), 9, -1)));
    cases.extend(reading("of a topic that is not there", |_, v| list(v, "not-there", 0, -1)));
    cases.extend(reading("of a partition named twice", |_, version| {
        let mut request = list(version, &topic(), 0, -1);
        let again = request.topics[0].partitions[0].clone();
        request.topics[0].partitions.push(again);
        request
    }));
    cases.extend(reading("at a wrong leader epoch", |_, version| {
        let mut request = list(version, &topic(), 0, -1);
        request.topics[0].partitions[0].current_leader_epoch = if version < 4 { -1 } else { 7 };
        request
    }));
    cases
}

fn epoch_cases() -> Vec<Case> {
    let ask = |name: &str, partition, leader_epoch, current_leader_epoch| {
        let wanted = OffsetForLeaderPartition {
            partition,
            leader_epoch,
            current_leader_epoch,
            ..Default::default()
        };
        let topic = OffsetForLeaderTopic {
            topic: name.to_owned(),
            partitions: vec![wanted],
            ..Default::default()
        };
        OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
    };
    let mut cases = reading("of the epoch that is", move |_, _| ask(&topic(), 0, 0, -1));
    cases.extend(reading("of an epoch to come", move |_, _| ask(&topic(), 0, 5, -1)));
    cases.extend(reading("of no epoch", move |_, _| ask(&topic(), 0, -1, -1)));
    cases.extend(reading("by a leader to come", move |_, _| ask(&topic(), 0, 0, 4)));
    cases.extend(reading("of what is not there", move |_, _| ask("not-there", 0, 0, -1)));
    cases
}

/// What neither can do: directories that both have would have to be of one name.
fn move_cases() -> Vec<Case> {
    let to = |path: &str, topic: String, partition: i32| {
        let topic = AlterReplicaLogDirTopic {
            name: topic,
            partitions: vec![partition],
            ..Default::default()
        };
        let dir =
            AlterReplicaLogDir { path: path.to_owned(), topics: vec![topic], ..Default::default() };
        AlterReplicaLogDirsRequest { dirs: vec![dir], ..Default::default() }
    };
    let mut cases =
        versions("to a directory that is not there", move |_, _| to("/not/there", topic(), 0));
    cases.extend(versions("to a relative path", move |_, _| to("not/there", topic(), 0)));
    cases.extend(versions("of what is not there", move |_, _| {
        to("/not/there", own("not-there"), 0)
    }));
    cases.extend(versions("of nothing", |_, _| AlterReplicaLogDirsRequest::default()));
    cases
}

fn directory_cases() -> Vec<Case> {
    let ask = |name: String, partitions: &[i32]| {
        let partitions = partitions.to_vec();
        let topic = DescribableLogDirTopic { topic: name, partitions, ..Default::default() };
        DescribeLogDirsRequest { topics: Some(vec![topic]), ..Default::default() }
    };
    let mut cases = reading("of what was written", move |_, _| ask(topic(), &[0, 1, 2]));
    cases.extend(reading("of what is not there", move |_, _| ask(topic(), &[7])));
    cases.extend(reading("of a topic that is not there", move |_, _| ask(own("not-there"), &[0])));
    cases.extend(reading("of nothing", |_, _| DescribeLogDirsRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    }));
    cases
}

fn delete_cases() -> Vec<Case> {
    let delete = |name: String, partition_index, offset| {
        let wanted = DeleteRecordsPartition { partition_index, offset, ..Default::default() };
        let topic = DeleteRecordsTopic { name, partitions: vec![wanted], ..Default::default() };
        DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5_000, ..Default::default() }
    };
    let mut cases =
        versions("below 5", move |_, version| delete(topic(), 1, 5 + i64::from(version)));
    cases.extend(versions("below what is gone", move |_, _| delete(topic(), 1, 2)));
    cases.extend(versions("beyond the end", move |_, _| delete(topic(), 1, 1_000_000)));
    cases.extend(versions("below -2", move |_, _| delete(topic(), 1, -2)));
    cases.extend(versions("all", move |_, _| delete(topic(), 1, -1)));
    cases.extend(versions("of a partition that is not there", move |_, _| delete(topic(), 9, 0)));
    cases.extend(versions("of a topic that is not there", move |_, _| {
        delete(own("not-there"), 0, 0)
    }));
    cases.extend(reading("of what was cut off", |s, version| {
        fetch(s, version, &topic(), &[(1, 0)])
    }));
    cases
}

fn producer_cases() -> Vec<Case> {
    let init = |version: i16, producer_id: i64, producer_epoch: i16| InitProducerIdRequest {
        transaction_timeout_ms: 60_000,
        producer_id: if version < 3 { -1 } else { producer_id },
        producer_epoch: if version < 3 { -1 } else { producer_epoch },
        ..Default::default()
    };
    let mut cases = reading("without a transactional id", move |_, v| init(v, -1, -1));
    cases.extend(reading("with a producer id alone", move |_, v| init(v, 5, -1)));
    cases.extend(reading("with an epoch alone", move |_, v| init(v, -1, 5)));
    cases.extend(reading("with both", move |_, v| init(v, 5, 5)));
    cases.extend(reading("with an empty transactional id", move |_, v| InitProducerIdRequest {
        transactional_id: Some(String::new()),
        ..init(v, -1, -1)
    }));
    cases
}
