//! Topics made, widened, set and deleted.

use crate::session::{Session, reading, topic, versions};
use crate::tree::Tree;
use crate::{Case, own};
use wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use wire::delete_topics_request::DeleteTopicState;
use wire::describe_configs_request::DescribeConfigsResource;
use wire::{
    AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, alter_configs_request,
    incremental_alter_configs_request,
};

pub fn cases() -> Vec<Case> {
    let mut cases = create_cases();
    cases.extend(partition_cases());
    cases.extend(alter_cases());
    cases.extend(replace_cases());
    cases.extend(bounds());
    cases.extend(describe_cases());
    cases.extend(delete_cases());
    cases
}

fn creatable(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: 2,
        replication_factor: 1,
        ..Default::default()
    }
}

fn create(topic: CreatableTopic) -> CreateTopicsRequest {
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() }
}

fn config(name: &str, value: Option<&str>) -> CreatableTopicConfig {
    CreatableTopicConfig {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        ..Default::default()
    }
}

fn made(version: i16) -> String {
    own(&format!("made-{version}"))
}

fn create_cases() -> Vec<Case> {
    let wrong = |what, change: fn(&mut CreatableTopic)| {
        versions(what, move |_, _| {
            let mut topic = creatable(&own("wrong"));
            change(&mut topic);
            create(topic)
        })
    };
    let mut cases = versions("sound", |_, version| create(creatable(&made(version))));
    cases.extend(versions("that is there", |_, _| create(creatable(&topic()))));
    cases.extend(versions("checked only", |_, _| CreateTopicsRequest {
        validate_only: true,
        ..create(creatable(&own("unmade")))
    }));
    cases.extend(versions("named twice", |_, _| CreateTopicsRequest {
        topics: vec![creatable(&own("twice")), creatable(&own("twice"))],
        ..create(creatable(""))
    }));
    cases.extend(versions("with defaults", |_, version| {
        let name = own(&format!("defaults-{version}"));
        let (num_partitions, replication_factor) = if version < 4 { (1, 1) } else { (-1, -1) };
        create(CreatableTopic { num_partitions, replication_factor, ..creatable(&name) })
    }));
    cases.extend(versions("with settings", |_, version| {
        let configs =
            vec![config("retention.ms", Some("60000")), config("cleanup.policy", Some("compact"))];
        create(CreatableTopic { configs, ..creatable(&own(&format!("set-{version}"))) })
    }));
    cases.extend(wrong("of no possible name", |t| t.name = "no/good".into()));
    cases.extend(wrong("of an empty name", |t| t.name = String::new()));
    cases.extend(wrong("of a name too long", |t| t.name = "x".repeat(250)));
    cases.extend(wrong("of the name ..", |t| t.name = "..".into()));
    cases.extend(wrong("without partitions", |t| t.num_partitions = 0));
    cases.extend(wrong("of -2 partitions", |t| t.num_partitions = -2));
    cases.extend(wrong("of 20,000 partitions", |t| t.num_partitions = 20_000));
    cases.extend(wrong("without replicas", |t| t.replication_factor = 0));
    cases.extend(wrong("of three replicas", |t| t.replication_factor = 3));
    cases.extend(wrong("with an unknown setting", |t| {
        t.configs = vec![config("no.such", Some("1"))]
    }));
    cases
        .extend(wrong("with a bad value", |t| t.configs = vec![config("retention.ms", Some("x"))]));
    cases.extend(wrong("with a value of null", |t| t.configs = vec![config("retention.ms", None)]));
    cases.extend(wrong("assigned and counted", |t| t.assignments = vec![assignment(0, &[1])]));
    cases.extend(wrong("assigned to nobody", |t| {
        (t.num_partitions, t.replication_factor) = (-1, -1);
        t.assignments = vec![assignment(0, &[77])];
    }));
    cases.extend(wrong("assigned with a gap", |t| {
        (t.num_partitions, t.replication_factor) = (-1, -1);
        t.assignments = vec![assignment(3, &[1])];
    }));
    cases
}

fn assignment(partition_index: i32, brokers: &[i32]) -> CreatableReplicaAssignment {
    let broker_ids = brokers.to_vec();
    CreatableReplicaAssignment { partition_index, broker_ids, ..Default::default() }
}

fn partition_cases() -> Vec<Case> {
    let widen = |name: String, count: i32, assigned: Option<i32>| {
        let to =
            |broker| CreatePartitionsAssignment { broker_ids: vec![broker], ..Default::default() };
        let assignments = assigned.map(|broker| vec![to(broker)]);
        let topic = CreatePartitionsTopic { name, count, assignments, ..Default::default() };
        CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() }
    };
    let mut cases =
        versions("to more", move |_, version| widen(made(2), 3 + i32::from(version), None));
    cases.extend(versions("to fewer", move |_, _| widen(made(2), 1, None)));
    cases.extend(versions("to as many", move |_, _| widen(topic(), 3, None)));
    cases.extend(versions("to none", move |_, _| widen(topic(), 0, None)));
    cases.extend(versions("checked only", move |_, _| CreatePartitionsRequest {
        validate_only: true,
        ..widen(topic(), 9, None)
    }));
    cases.extend(versions("to nobody", move |_, _| widen(topic(), 4, Some(77))));
    cases.extend(versions("of what is not there", move |_, _| widen(own("none"), 4, None)));
    cases
}

/// More than 10,000 records are written for no request; a topic is one beside its partitions.
fn bounds() -> Vec<Case> {
    let checked = |counts: &[i32]| {
        let named = |(at, count): (usize, &i32)| CreatableTopic {
            num_partitions: *count,
            ..creatable(&own(&format!("bound-{}", at.min(1))))
        };
        let topics = counts.iter().enumerate().map(named).collect();
        CreateTopicsRequest { topics, validate_only: true, ..create(creatable("")) }
    };
    let mut cases = versions("of 9,999 partitions", move |_, _| checked(&[9_999]));
    cases.extend(versions("of 10,000 partitions", move |_, _| checked(&[10_000])));
    cases.extend(versions("of 10,000 and a name twice", move |_, _| checked(&[10_000, 1, 1])));
    cases.extend(versions("of 10,001 and a name twice", move |_, _| checked(&[10_001, 1, 1])));
    for count in [10_000, 10_001] {
        cases.extend(versions(&format!("of {count} resources"), move |_, _| {
            let of_one = |at| {
                let name = own(&format!("bound-{at}"));
                let mut one = alter(&name, "interval.ms", 0, Some("300000")).resources.remove(0);
                one.resource_type = CLIENT_METRICS;
                one
            };
            let resources = (0..count).map(of_one).collect();
            IncrementalAlterConfigsRequest { resources, validate_only: true, ..Default::default() }
        }));
    }
    cases
}

const CLIENT_METRICS: i8 = 16;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn alter(
    name: &str,
    key: &str,
    operation: i8,
    value: Option<&str>,
) -> IncrementalAlterConfigsRequest {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = AlterableConfig {
        name: key.to_owned(),
        config_operation: operation,
        value: value.map(str::to_owned),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: name.to_owned(),
        configs: vec![config],
        ..Default::default()
    };
    IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }
}

fn alter_cases() -> Vec<Case> {
    const ALL: [(&str, &str, i8, Option<&str>); 16] = [
        ("set", "retention.ms", 0, Some("123456")),
        ("set to null", "retention.ms", 0, None),
        ("deleted", "retention.ms", 1, None),
        ("appended", "cleanup.policy", 2, Some("compact")),
        ("subtracted", "cleanup.policy", 3, Some("delete")),
        ("appended what is there", "cleanup.policy", 2, Some("compact")),
        ("appended what is no value of it", "cleanup.policy", 2, Some("no.such")),
        ("subtracted what is not there", "cleanup.policy", 3, Some("delete")),
        ("appended to what is no list", "retention.ms", 2, Some("1")),
        ("subtracted from what is no list", "retention.ms", 3, Some("1")),
        ("of an unknown key", "no.such", 0, Some("1")),
        ("of a bad value", "segment.bytes", 0, Some("many")),
        ("of a value out of range", "segment.bytes", 0, Some("3")),
        ("of an unknown operation", "retention.ms", 9, Some("1")),
        ("a key of no name", "", 0, Some("1")),
        ("set last", "min.insync.replicas", 0, Some("1")),
    ];
    let case = |(what, key, operation, value): (&str, &'static str, i8, Option<&'static str>)| {
        versions(what, move |_, _| alter(&topic(), key, operation, value))
    };
    let mut cases: Vec<Case> = ALL.into_iter().flat_map(case).collect();
    cases.extend(versions("of what is not there", |_, _| {
        alter("not-there", "retention.ms", 0, Some("1"))
    }));
    cases.extend(versions("checked only", |_, _| IncrementalAlterConfigsRequest {
        validate_only: true,
        ..alter(&topic(), "retention.ms", 0, Some("77"))
    }));
    let of = |resource_type: i8, name: &str, key: &str, operation: i8, value: &str| {
        let mut request = alter(name, key, operation, Some(value));
        request.resources[0].resource_type = resource_type;
        request
    };
    cases.extend(versions("of a wrong type", move |_, _| of(99, &topic(), "retention.ms", 0, "7")));
    cases.extend(versions("of an unknown operation, beside a sound one", |_, _| {
        let mut request = alter(&topic(), "retention.ms", 0, Some("77"));
        request.resources.extend(alter(&made(3), "retention.ms", 9, Some("1")).resources);
        request
    }));
    cases.extend(versions("of one topic twice", |_, _| {
        let mut request = alter(&topic(), "retention.ms", 0, Some("77"));
        request.resources.extend(alter(&topic(), "retention.ms", 0, Some("78")).resources);
        request
    }));
    cases.extend(versions("of one key twice", |_, _| {
        let mut request = alter(&topic(), "retention.ms", 0, Some("77"));
        let again = request.resources[0].configs[0].clone();
        request.resources[0].configs.push(again);
        request
    }));
    cases.extend(broker_cases(of));
    cases
}

fn broker_cases(of: fn(i8, &str, &str, i8, &str) -> IncrementalAlterConfigsRequest) -> Vec<Case> {
    const ALL: [(&str, &str, &str, i8, &str); 9] = [
        ("of all brokers", "", "message.max.bytes", 0, "1048588"),
        ("of all brokers, what each has for itself", "", "node.id", 0, "7"),
        ("of another broker", "77", "message.max.bytes", 0, "1048588"),
        ("of a broker that is no number", "x", "message.max.bytes", 0, "1048588"),
        ("of all brokers, out of range", "", "message.max.bytes", 0, "-1"),
        ("of all brokers, an unknown operation", "", "message.max.bytes", 9, "1"),
        ("of all brokers, appended to what is no list", "", "message.max.bytes", 2, "1"),
        ("of all brokers, appended to what is not known", "", "no.such", 2, "1"),
        ("of all brokers, deleted", "", "message.max.bytes", 1, ""),
    ];
    let case = |(what, name, key, operation, value): (&str, &'static str, &'static str, i8, _)| {
        versions(what, move |_, _| of(BROKER, name, key, operation, value))
    };
    let mut cases: Vec<Case> = ALL.into_iter().flat_map(case).collect();
    cases.extend(versions("of this broker", move |session, _| {
        of(BROKER, &session.broker_id(), "message.max.bytes", 0, "1048588")
    }));
    cases.extend(versions("of this broker, deleted", move |session, _| {
        of(BROKER, &session.broker_id(), "message.max.bytes", 1, "")
    }));
    cases
}

fn replace_cases() -> Vec<Case> {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let replace = |name: &str, key: &str, value: Option<&str>| {
        let config = AlterableConfig {
            name: key.to_owned(),
            value: value.map(str::to_owned),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: name.to_owned(),
            configs: vec![config],
            ..Default::default()
        };
        AlterConfigsRequest { resources: vec![resource], ..Default::default() }
    };
    let mut cases =
        versions("sound", move |_, _| replace(&made(3), "segment.bytes", Some("2000000")));
    cases
        .extend(versions("of a bad value", move |_, _| replace(&made(3), "segment.ms", Some("-"))));
    cases
        .extend(versions("of an unknown key", move |_, _| replace(&made(3), "no.such", Some("1"))));
    cases.extend(versions("of null", move |_, _| replace(&made(3), "segment.ms", None)));
    cases.extend(versions("of what is not there", move |_, _| {
        replace("not-there", "segment.ms", Some("1"))
    }));
    cases
}

fn describe(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
        ..Default::default()
    };
    DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        ..Default::default()
    }
}

fn describe_cases() -> Vec<Case> {
    let mut cases = reading("of a topic", |_, _| describe(TOPIC, &topic(), None));
    cases.extend(reading("of a topic that was set", |_, _| describe(TOPIC, &made(3), None)));
    cases.extend(reading("of two keys and one unknown", |_, _| {
        describe(TOPIC, &topic(), Some(&["retention.ms", "cleanup.policy", "no.such"]))
    }));
    cases.extend(reading("with documentation", |_, version| DescribeConfigsRequest {
        include_documentation: version >= 3,
        include_synonyms: false,
        ..describe(TOPIC, &topic(), Some(&["retention.ms", "segment.bytes", "compression.type"]))
    }));
    cases.extend(reading("without keys", |_, _| describe(TOPIC, &topic(), Some(&[]))));
    cases.extend(reading("of what is not there", |_, _| describe(TOPIC, "not-there", None)));
    cases.extend(reading("of no possible topic", |_, _| describe(TOPIC, "no good", None)));
    cases.extend(reading("of a wrong type", |_, _| describe(99, "x", None)));
    cases.extend(reading("of a broker that is no number", |_, _| describe(BROKER, "x", None)));
    cases.extend(reading("of another broker", |_, _| describe(BROKER, "77", None)));
    cases.extend(reading("of the brokers' default", |_, _| describe(BROKER, "", None)));
    let keys = ["num.partitions", "log.retention.ms", "log.retention.hours", "message.max.bytes"];
    cases.extend(reading("of the broker", move |session, _| {
        let id = session.broker_id();
        describe(BROKER, &id, Some(&keys))
    }));
    cases
}

fn delete_cases() -> Vec<Case> {
    let delete = |session: &Session, name: &str, version: i16, by_id: bool| {
        let by_name = DeleteTopicState {
            name: (!by_id).then(|| name.to_owned()),
            topic_id: if by_id { session.topic_id(name) } else { Default::default() },
            ..Default::default()
        };
        let (topics, topic_names) = if version < 6 {
            (Vec::new(), vec![name.to_owned()])
        } else {
            (vec![by_name], Vec::new())
        };
        DeleteTopicsRequest { topics, topic_names, timeout_ms: 10_000, ..Default::default() }
    };
    let mut cases =
        versions("sound", move |s, version| delete(s, &made(version.max(2)), version, false));
    cases.extend(versions("of what is not there", move |s, v| delete(s, "not-there", v, false)));
    cases.extend(versions("of an id that is not there", move |s, v| {
        delete(s, "not-there", v, true)
    }));
    cases.push(Case {
        name: "DeleteTopics v6 by id".to_owned(),
        reads: false,
        run: Box::new(move |session| {
            session.settle(&made(7), 2);
            let request = delete(session, &made(7), 6, true);
            let answers = [session.tree(&request, 6), session.tree(&request, 6)];
            Tree::List(answers.into())
        }),
    });
    cases
}
