use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::ErrorCode;

const ALL: Wanted<'_> = &|_| true;
const RESOURCES: [Resource; 4] =
    [Resource::Broker, Resource::Topic, Resource::Group, Resource::ClientMetrics];

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

fn values(entries: &[(&str, &str)]) -> Values {
    Values::new(entries.iter().copied()).unwrap()
}

fn refused(entries: &[(&str, &str)]) -> String {
    let errors = Values::new(entries.iter().copied()).unwrap_err();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_row_is_sound() {
    for resource in RESOURCES {
        let mut names = BTreeSet::new();
        for setting in resource.settings() {
            assert!(names.insert(setting.name), "{} is declared twice", setting.name);
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
            assert_eq!(resource.setting(setting.name), Some(setting));
            if let Some(default) = setting.default {
                let value = setting.parse(default).unwrap();
                assert_eq!(value.to_string(), default, "{}", setting.name);
            }
            for synonym in setting.synonyms {
                assert!(Resource::Broker.setting(synonym.name).is_some(), "{}", synonym.name);
            }
        }
    }
}

#[test]
fn as_many_as_kafka_knows() {
    // Kafka 4.4.0 declares 379 for brokers; three more, the throttles, can only be set while it runs.
    let kafkas = |setting: &&Setting| !setting.name.starts_with("ottla.");
    let count = |resource: Resource| resource.settings().filter(kafkas).count();
    assert_eq!(RESOURCES.map(count), [382, 38, 27, 3]);
    let listed = |resource: Resource| resource.settings().filter(|s| !s.internal).count();
    assert_eq!(listed(Resource::Topic), 37);
}

#[test]
fn a_topics_default_is_its_brokers() {
    let values = Values::default();
    for setting in Resource::Topic.settings().filter(|setting| !setting.synonyms.is_empty()) {
        let resolved = topic_config::resolve(setting, &values, &BTreeMap::new());
        assert_eq!(resolved, setting.parse(setting.default.unwrap()).ok(), "{}", setting.name);
    }
}

#[test]
fn wrong_values_get_kafkas_words() {
    for (name, text, expected) in [
        (
            "retention.ms",
            "abc",
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            "retention.ms",
            "-5",
            "Invalid value -5 for configuration retention.ms: Value must be at least -1",
        ),
        (
            "cleanup.policy",
            "foo",
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            "preallocate",
            "foo",
            "Invalid value foo for configuration preallocate: Expected value to be either true or false",
        ),
        (
            "min.cleanable.dirty.ratio",
            "2",
            "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
        ),
        (
            "max.message.bytes",
            "2000000000000",
            "Invalid value 2000000000000 for configuration max.message.bytes: Not a number of type INT",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        (
            "cleanup.policy",
            "delete,delete",
            "Configuration 'cleanup.policy' values must not be duplicated.",
        ),
        ("cleanup.policy", "delete,", "Configuration 'cleanup.policy' values must not be empty."),
    ] {
        let error = Resource::Topic.setting(name).unwrap().parse(text).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn right_values_are_trimmed_and_read() {
    for (name, text, shown) in [
        ("retention.ms", " 100000 ", "100000"),
        ("retention.ms", "+7", "7"),
        ("preallocate", "TRUE", "true"),
        ("cleanup.policy", " compact , delete ", "compact,delete"),
        ("cleanup.policy", "", ""),
        ("min.cleanable.dirty.ratio", "1", "1.0"),
        ("leader.replication.throttled.replicas", "0:1,1:2", "0:1,1:2"),
        ("leader.replication.throttled.replicas", "*", "*"),
        ("compression.zstd.level", "-131072", "-131072"),
    ] {
        assert_eq!(Resource::Topic.setting(name).unwrap().parse(text).unwrap().to_string(), shown);
    }
    let replicas = Resource::Topic.setting("leader.replication.throttled.replicas").unwrap();
    assert!(replicas.parse("*,0:1").is_err());
    assert!(replicas.parse("0-1").is_err());
}

#[test]
fn offset_resets() {
    let reset = Resource::Group.setting("share.auto.offset.reset").unwrap();
    for text in ["latest", "earliest", "by_duration:PT1H", "by_duration:P1DT2H3.5S"] {
        assert!(reset.parse(text).is_ok(), "{text}");
    }
    for text in [
        "none",
        "by_duration:",
        "by_duration:P",
        "by_duration:PT",
        "by_duration:-PT1H",
        "by_duration:PT1S1H",
        "by_duration:PT1.5H",
        "by_duration:PTH",
    ] {
        assert!(reset.parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_not_honoured_is_refused_by_name_unless_it_is_the_default() {
    assert_eq!(
        refused(&[("ssl.client.auth", "required")]),
        "ssl.client.auth=required: known to Kafka, not yet honoured by Ottla; only its default none is accepted"
    );
    assert!(Values::new([("ssl.client.auth", " none ")]).is_ok());
    assert!(Values::new([("log.cleaner.min.cleanable.ratio", "0.50")]).is_ok());
    assert!(refused(&[("ssl.keystore.password", "secret")]).contains("[hidden]"));
    assert!(
        refused(&[("listener.name.external.ssl.client.auth", "required")])
            .contains("not yet honoured")
    );
    assert!(refused(&[("rsm.config.bucket", "b")]).contains("not yet honoured"));
}

#[test]
fn wrong_names_are_refused_with_the_right_one() {
    assert_eq!(
        refused(&[("log.dris", "/d")]),
        "Unknown broker config name: log.dris; did you mean log.dirs?"
    );
    assert_eq!(
        refused(&[("no.such.thing.here", "1")]),
        "Unknown broker config name: no.such.thing.here"
    );
    assert!(
        refused(&[("zookeeper.connect", "z:2181")])
            .starts_with("zookeeper.connect: removed in Kafka 4.")
    );
    // All at once, not one after the other.
    assert_eq!(refused(&[("log.dris", "/d"), ("num.partitions", "x")]).lines().count(), 2);
}

#[test]
fn node_and_broker_id_are_one() {
    assert_eq!(values(&[("broker.id", "7")]).int("node.id"), 7);
    assert_eq!(values(&[("node.id", "7")]).int("broker.id"), 7);
    assert!(refused(&[("node.id", "7"), ("broker.id", "8")]).contains("must be equal"));
}

#[test]
fn the_most_exact_unit_wins() {
    let retention = |entries| TopicConfig::resolve(&values(entries), &BTreeMap::new()).retention_ms;
    assert_eq!(retention(&[]), 604_800_000);
    assert_eq!(retention(&[("log.retention.hours", "1")]), 3_600_000);
    assert_eq!(retention(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")]), 120_000);
    assert_eq!(retention(&[("log.retention.ms", "5"), ("log.retention.minutes", "2")]), 5);
    assert_eq!(retention(&[("log.retention.hours", "-1")]), -1);
}

#[test]
fn a_topics_own_setting_wins_over_dynamic_over_fixed() {
    let fixed = values(&[("log.segment.bytes", "2000000"), ("log.flush.interval.messages", "9")]);
    let (all, one) =
        (map(&[("log.segment.bytes", "3000000")]), map(&[("log.segment.bytes", "4000000")]));
    let (dynamic, errors) = fixed.with_dynamic(&all, &one);
    assert!(errors.is_empty());
    let segment = |values: &Values, own: &[(&str, &str)]| {
        TopicConfig::resolve(values, &map(own)).segment_bytes
    };
    assert_eq!(segment(&fixed, &[]), 2_000_000);
    assert_eq!(segment(&fixed.with_dynamic(&all, &map(&[])).0, &[]), 3_000_000);
    assert_eq!(segment(&dynamic, &[]), 4_000_000);
    assert_eq!(segment(&dynamic, &[("segment.bytes", "5000000")]), 5_000_000);
    assert_eq!(segment(&dynamic, &[("segment.bytes", "nonsense")]), 4_000_000);
    assert_eq!(TopicConfig::resolve(&dynamic, &map(&[])).flush_messages, 9);
}

#[test]
fn dynamic_settings_that_cannot_be_used_are_left_out() {
    let all = map(&[("log.segment.bytes", "x"), ("no.such.name", "1"), ("max.connections", "5")]);
    let (values, errors) = Values::default().with_dynamic(&all, &map(&[]));
    assert_eq!(errors.len(), 2);
    assert_eq!(
        (values.int("max.connections"), values.int("log.segment.bytes")),
        (5, 1_073_741_824)
    );
}

#[test]
fn what_was_laid_over_the_fixed_settings_is_known_again() {
    let given = ["5", "6"].map(|most| map(&[("max.connections", most)]));
    let (laid, _) = values(&[]).with_dynamic(&given[0], &given[1]);
    let known = |all: usize, own: usize| laid.has_dynamic(&given[all], &given[own]);
    assert!(known(0, 1) && !known(0, 0) && !known(1, 1));
    assert!(!laid.has_dynamic(&given[0], &map(&[])) && !laid.has_dynamic(&map(&[]), &given[1]));
}

fn shown(described: &[Described], name: &str) -> String {
    let entry = described.iter().find(|entry| entry.name == name).unwrap();
    let synonyms: Vec<String> = entry
        .synonyms
        .iter()
        .map(|s| format!("{}={}@{}", s.name, s.value.as_deref().unwrap_or("null"), s.source.code()))
        .collect();
    let value = entry.value.as_deref().unwrap_or("null");
    format!("{value} {} {} [{}]", entry.source.code(), entry.read_only, synonyms.join(", "))
}

/// The expected lines are what Kafka 4.4.0 answered to the same alterations.
#[test]
fn described_as_kafka_does() {
    let fixed = values(&[("node.id", "1"), ("offsets.topic.replication.factor", "1")]);
    let all = map(&[("log.retention.ms", "77777777")]);
    let (values, _) = fixed.with_dynamic(&all, &map(&[("max.connections", "12345")]));
    let broker = describe_broker(&values, ALL);
    for (name, expected) in [
        (
            "max.connections",
            "12345 2 false [max.connections=12345@2, max.connections=2147483647@5]",
        ),
        (
            "log.retention.ms",
            "77777777 3 false [log.retention.ms=77777777@3, log.retention.hours=168@5]",
        ),
        ("log.retention.hours", "168 5 true [log.retention.hours=168@5]"),
        ("log.roll.ms", "null 5 false []"),
        ("node.id", "1 4 true [node.id=1@4]"),
        ("broker.id", "1 4 true [broker.id=1@4, broker.id=-1@5]"),
        ("sasl.jaas.config", "null 5 false []"),
        (
            "offsets.topic.replication.factor",
            "1 4 true [offsets.topic.replication.factor=1@4, offsets.topic.replication.factor=3@5]",
        ),
    ] {
        assert_eq!(shown(&broker, name), expected, "{name}");
    }
    assert!(!broker.iter().any(|entry| entry.name == "unstable.api.versions.enable"));

    let topic = describe_topic(&values, &map(&[("retention.ms", " 100000 ")]), ALL);
    assert_eq!(
        shown(&topic, "retention.ms"),
        "100000 1 false [retention.ms=100000@1, log.retention.ms=77777777@3, log.retention.hours=168@5]"
    );
    assert_eq!(
        shown(&describe_topic(&fixed, &map(&[]), ALL), "retention.ms"),
        "604800000 5 false []"
    );
    assert_eq!(shown(&topic, "preallocate"), "false 5 false [log.preallocate=false@5]");
    assert_eq!(shown(&topic, "flush.ms"), "9223372036854775807 5 false []");
    assert_eq!(shown(&topic, "remote.storage.enable"), "false 5 false []");

    let group = describe_group(&values, &map(&[]), ALL);
    for (name, expected) in [
        (
            "consumer.session.timeout.ms",
            "45000 5 false [group.consumer.session.timeout.ms=45000@5]",
        ),
        ("streams.assignor.name", "sticky 5 false [group.streams.assignors=sticky@5]"),
        ("share.auto.offset.reset", "latest 5 false [share.auto.offset.reset=latest@5]"),
        ("errors.deadletterqueue.topic.name", " 5 false [errors.deadletterqueue.topic.name=@5]"),
    ] {
        assert_eq!(shown(&group, name), expected, "{name}");
    }

    let all_brokers = describe_brokers(&values, ALL);
    assert_eq!(all_brokers.len(), 1);
    assert_eq!(
        shown(&all_brokers, "log.retention.ms"),
        "77777777 3 false [log.retention.ms=77777777@3]"
    );

    let metrics = describe_client_metrics(&map(&[("interval.ms", "5000")]), ALL);
    assert_eq!(shown(&metrics, "interval.ms"), "5000 7 false [interval.ms=5000@7]");
    assert_eq!(shown(&metrics, "match"), " 5 false []");
}

#[test]
fn lists_are_appended_to_and_subtracted_from() {
    let altered = |current: &[(&str, &str)], op, value| {
        let ops = [("cleanup.policy", op, Some(value))];
        alter(Resource::Topic, &map(current), &ops).unwrap()["cleanup.policy"].clone().unwrap()
    };
    assert_eq!(altered(&[], Op::Append, "compact"), "delete,compact");
    assert_eq!(altered(&[("cleanup.policy", "compact")], Op::Append, "compact"), "compact");
    assert_eq!(altered(&[("cleanup.policy", "compact,delete")], Op::Subtract, "compact"), "delete");
    assert_eq!(altered(&[("cleanup.policy", "delete")], Op::Subtract, "delete,compact"), "");
}

#[test]
fn alterations_kafka_refuses() {
    let refused = |ops: &[(&str, Op, Option<&str>)]| {
        let error = alter(Resource::Topic, &map(&[]), ops).unwrap_err();
        (error.code(), error.to_string())
    };
    assert_eq!(
        refused(&[("retention.ms", Op::Append, Some("1"))]),
        (
            ErrorCode::InvalidConfig,
            "Can't APPEND to key retention.ms because its type is not LIST.".into()
        )
    );
    assert_eq!(
        refused(&[("retention.ms", Op::Set, None)]),
        (ErrorCode::InvalidRequest, "Null value not supported for : retention.ms".into())
    );
    let twice = [("retention.ms", Op::Set, Some("1")), ("retention.ms", Op::Delete, None)];
    assert_eq!(refused(&twice).0, ErrorCode::InvalidRequest);
    let long = "x".repeat(40_000);
    assert_eq!(refused(&[("retention.ms", Op::Set, Some(&long))]).0, ErrorCode::InvalidConfig);
    // Deleting what was never set, or was never known, is no error.
    let deleted = alter(Resource::Topic, &map(&[]), &[("nope.x", Op::Delete, None)]).unwrap();
    assert_eq!(deleted["nope.x"], None);
}

#[test]
fn a_topics_settings_are_judged_together() {
    let judged = |entries: &[(&str, &str)]| {
        validate_topic(&Values::default(), &map(entries)).map_err(|error| error.to_string())
    };
    assert_eq!(judged(&[("retention.ms", "5"), ("cleanup.policy", "compact")]), Ok(()));
    assert_eq!(
        judged(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]),
        Err("conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
            .into())
    );
    assert_eq!(judged(&[("nope.x", "1")]), Err("Unknown topic config name: nope.x".into()));
    let level = map(&[("compression.lz4.level", "5")]);
    let unhonoured = refuse_unhonoured(Resource::Topic, &level).unwrap_err();
    assert_eq!(unhonoured.code(), ErrorCode::InvalidConfig);
    assert!(unhonoured.to_string().starts_with("compression.lz4.level=5: known to Kafka"));
}

#[test]
fn cleaner_threads_are_doubled_or_halved_at_most() {
    let values = Values::new([("log.cleaner.threads", "4")]).unwrap();
    for (threads, taken) in [("0", false), ("1", false), ("2", true), ("8", true), ("9", false)] {
        let altered = BTreeMap::from([("log.cleaner.threads".to_owned(), Some(threads.into()))]);
        let judged = validate_broker_change(&values, &altered).map_err(|error| error.code());
        let expected = if taken { Ok(()) } else { Err(ErrorCode::InvalidRequest) };
        assert_eq!(judged, expected, "{threads}");
    }
}

#[test]
fn what_a_running_broker_can_be_told() {
    let judged = |all_brokers, name: &str, text: &str| {
        let altered = BTreeMap::from([(name.to_owned(), Some(text.to_owned()))]);
        validate_broker(all_brokers, &altered).map_err(|error| (error.code(), error.to_string()))
    };
    assert_eq!(judged(false, "max.connections", "5"), Ok(()));
    assert_eq!(judged(true, "log.retention.ms", "5"), Ok(()));
    assert_eq!(judged(false, "listeners", "PLAINTEXT://:1"), Ok(()));
    for (all_brokers, name, text, expected) in [
        (false, "log.dirs", "x", "Cannot update these configs dynamically: [log.dirs]"),
        (
            true,
            "listeners",
            "PLAINTEXT://:1",
            "Cannot update these configs at default cluster level, broker id must be specified: [listeners]",
        ),
        (
            false,
            "log.retention.ms",
            "abc",
            "Invalid value abc for configuration log.retention.ms: Not a number of type LONG",
        ),
    ] {
        let error = judged(all_brokers, name, text).unwrap_err();
        assert_eq!(error, (ErrorCode::InvalidRequest, expected.to_owned()));
    }
    assert_eq!(judged(false, "max.conections", "5").unwrap_err().0, ErrorCode::InvalidConfig);
    let at_start =
        refuse_unhonoured(Resource::Broker, &map(&[("num.io.threads", "9")])).unwrap_err();
    assert!(at_start.to_string().contains("at start only"));
    let deleted = BTreeMap::from([("nope.x".to_owned(), None)]);
    assert_eq!(validate_broker(false, &deleted), Ok(()));
}

#[test]
fn the_shipped_server_properties_are_accepted() {
    let shipped = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.bootstrap.servers", "localhost:9093"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
        ),
        ("num.network.threads", "3"),
        ("num.io.threads", "8"),
        ("socket.send.buffer.bytes", "102400"),
        ("socket.receive.buffer.bytes", "102400"),
        ("socket.request.max.bytes", "104857600"),
        ("log.dirs", "/tmp/kraft-combined-logs"),
        ("num.partitions", "1"),
        ("num.recovery.threads.per.data.dir", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("log.retention.hours", "168"),
        ("log.segment.bytes", "1073741824"),
        ("log.retention.check.interval.ms", "300000"),
    ];
    assert!(Values::new(shipped).is_ok(), "{}", refused(&shipped));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_any_setting_panic(text in "\\PC*", list in "[-0-9a-zPTDHMS.:,* ]{0,24}") {
        for setting in RESOURCES.iter().flat_map(|resource| resource.settings()) {
            for text in [&text, &list] {
                if let Ok(value) = setting.parse(text) {
                    let again = setting.parse(&value.to_string());
                    proptest::prop_assert!(again == Ok(value.clone()) || value.to_string() == "NaN");
                }
                let _ = setting.accept(text).map_err(|error| error.to_string());
            }
        }
        let _ = Values::check(&text, &list).map_err(|error| error.to_string());
        let _ = Values::check(&format!("listener.name.{text}"), &list);
    }

    #[test]
    fn what_alterations_leave_behind_is_whole(
        ops in proptest::collection::vec(("[a-c]|cleanup.policy", 0i8..4, proptest::option::of("[a-z,]{0,9}")), 0..4)
    ) {
        let ops: Vec<_> = ops
            .iter()
            .map(|(name, op, value)| (name.as_str(), Op::from_code(*op).unwrap(), value.as_deref()))
            .collect();
        if let Ok(altered) = alter(Resource::Topic, &map(&[]), &ops) {
            proptest::prop_assert_eq!(altered.len(), ops.len());
        }
    }
}

#[test]
fn no_broker_is_closed_to_all_addresses() {
    let values = Values::default();
    let judge = |altered: &[(&str, &str)]| {
        let altered = altered.iter().map(|(name, text)| ((*name).into(), Some((*text).into())));
        validate_broker_change(&values, &altered.collect()).map_err(|error| error.code())
    };
    let zero = ("max.connections.per.ip", "0");
    assert_eq!(judge(&[zero]), Err(ErrorCode::InvalidRequest));
    assert_eq!(judge(&[zero, ("max.connections.per.ip.overrides", "10.0.0.1:5")]), Ok(()));
    assert_eq!(judge(&[("max.connections.per.ip", "1")]), Ok(()));
}
