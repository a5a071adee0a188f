use model::ErrorCode;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::{AlterConfigsRequest, IncrementalAlterConfigsRequest, MetadataRecord};

use super::*;
use crate::metadata::ConfigResource;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const METRICS: i8 = 16;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Change<'a> = (&'a str, i8, Option<&'a str>);

fn resource(kind: i8, name: &str, changes: &[Change]) -> AlterConfigsResource {
    let config = |(name, op, value): &Change| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *op,
        value: value.map(str::to_owned),
        ..Default::default()
    };
    AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: changes.iter().map(config).collect(),
        ..Default::default()
    }
}

fn alter(
    cluster: &mut Cluster,
    resources: Vec<AlterConfigsResource>,
) -> Vec<(ErrorCode, Option<String>)> {
    alter_by(true, cluster, resources)
}

fn alter_by(
    forwarded: bool,
    cluster: &mut Cluster,
    resources: Vec<AlterConfigsResource>,
) -> Vec<(ErrorCode, Option<String>)> {
    let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
    match cluster.ask(ControllerRequest::IncrementalAlterConfigs { request, forwarded }) {
        ControllerReply::IncrementalAlterConfigs(response) => response
            .responses
            .into_iter()
            .map(|r| (ErrorCode::from_code(r.error_code), r.error_message))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn one(
    cluster: &mut Cluster,
    kind: i8,
    name: &str,
    changes: &[Change],
) -> (ErrorCode, Option<String>) {
    alter(cluster, vec![resource(kind, name, changes)]).remove(0)
}

fn value<'a>(cluster: &'a Cluster, resource: &ConfigResource, key: &str) -> Option<&'a str> {
    cluster.image().configs.get(resource, key)
}

#[test]
fn an_operation_that_is_none_fails_all_that_is_asked_with_it() {
    let mut cluster = Cluster::of(1);
    cluster.create(topic("a", 1, 1));
    cluster.create(topic("b", 1, 1));
    let sound = resource(TOPIC, "a", &[("retention.ms", SET, Some("1"))]);
    let unknown = resource(TOPIC, "b", &[("retention.ms", 9, Some("1"))]);
    let failed = (ErrorCode::UnknownServerError, None);
    let told = alter(&mut cluster, vec![sound, unknown.clone()]);
    assert_eq!(told, [failed.clone(), failed]);
    assert_eq!(value(&cluster, &ConfigResource::topic("a"), "retention.ms"), None);
    let twice = alter(&mut cluster, vec![unknown.clone(), unknown]);
    assert_eq!(twice[0].0, ErrorCode::InvalidRequest, "what is not looked at fails nothing");
}

#[test]
fn set_delete_append_subtract() {
    let mut cluster = Cluster::of(1);
    cluster.create(topic("t", 1, 1));
    let t = ConfigResource::topic("t");
    let steps: [(Change, Option<&str>); 6] = [
        (("cleanup.policy", SET, Some("compact")), Some("compact")),
        (("cleanup.policy", APPEND, Some("delete")), Some("compact,delete")),
        (("cleanup.policy", APPEND, Some("delete")), Some("compact,delete")),
        (("cleanup.policy", SUBTRACT, Some("compact")), Some("delete")),
        (("cleanup.policy", DELETE, None), None),
        (("cleanup.policy", APPEND, Some("compact")), Some("delete,compact")),
    ];
    for (change, expected) in steps {
        assert_eq!(one(&mut cluster, TOPIC, "t", &[change]), (ErrorCode::None, None), "{change:?}");
        assert_eq!(value(&cluster, &t, "cleanup.policy"), expected, "{change:?}");
    }
    let before = cluster.log.len();
    one(&mut cluster, TOPIC, "t", &[("cleanup.policy", SET, Some("delete,compact"))]);
    assert_eq!(cluster.log.len(), before, "what says nothing new is not written");
}

#[test]
fn what_is_not_honoured_is_refused_of_the_clusters_own_topics_too() {
    let mut cluster = Cluster::of(1);
    cluster.create(topic("__consumer_offsets", 1, 1));
    let change = ("remote.storage.enable", SET, Some("true"));
    let (error, said) = one(&mut cluster, TOPIC, "__consumer_offsets", &[change]);
    assert_eq!(error, ErrorCode::InvalidConfig);
    assert!(said.as_deref().is_some_and(|said| said.contains("remote.storage.enable")), "{said:?}");
}

const REFUSED: &[(i8, &str, &[Change], ErrorCode, &str)] = &[
    (99, "x", &[], ErrorCode::UnsupportedVersion, "Unknown resource type 99."),
    (
        TOPIC,
        "none",
        &[("retention.ms", SET, Some("1"))],
        ErrorCode::UnknownTopicOrPartition,
        "The topic 'none' does not exist.",
    ),
    (
        TOPIC,
        "",
        &[("retention.ms", SET, Some("1"))],
        ErrorCode::InvalidRequest,
        "Default topic resources are not allowed.",
    ),
    (
        TOPIC,
        "a b",
        &[("retention.ms", SET, Some("1"))],
        ErrorCode::InvalidTopicException,
        "Topic name is invalid",
    ),
    (
        TOPIC,
        "t",
        &[("retention.ms", SET, None)],
        ErrorCode::InvalidRequest,
        "Null value not supported for : retention.ms",
    ),
    (
        TOPIC,
        "t",
        &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)],
        ErrorCode::InvalidRequest,
        "Error due to duplicate config keys",
    ),
    (
        TOPIC,
        "t",
        &[("retention.ms", APPEND, Some("1"))],
        ErrorCode::InvalidConfig,
        "Can't APPEND to key retention.ms because its type is not LIST.",
    ),
    (TOPIC, "t", &[("retention.ms", SET, Some("x"))], ErrorCode::InvalidConfig, "retention.ms"),
    (TOPIC, "t", &[("nothing", SET, Some("x"))], ErrorCode::InvalidConfig, "nothing"),
    (
        BROKER,
        "one",
        &[("log.retention.ms", SET, Some("1"))],
        ErrorCode::InvalidRequest,
        "Unable to parse broker name as a base 10 number.",
    ),
    (
        BROKER,
        "-3",
        &[("log.retention.ms", SET, Some("1"))],
        ErrorCode::InvalidRequest,
        "Invalid negative broker ID.",
    ),
    (
        BROKER,
        "55",
        &[("log.retention.ms", SET, Some("1"))],
        ErrorCode::BrokerIdNotRegistered,
        "No node with id 55 found.",
    ),
    (
        BROKER,
        "",
        &[("min.insync.replicas", DELETE, None)],
        ErrorCode::InvalidConfig,
        "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
    ),
    (
        BROKER,
        "0",
        &[("min.insync.replicas", SET, Some("2"))],
        ErrorCode::InvalidConfig,
        "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
    ),
    (
        BROKER,
        "",
        &[("node.id", SET, Some("2"))],
        ErrorCode::InvalidRequest,
        "Cannot update these configs dynamically: [node.id]",
    ),
    (LOGGER, "0", &[], ErrorCode::InvalidRequest, "Unknown resource type BROKER_LOGGER"),
    (GROUP, "", &[], ErrorCode::InvalidRequest, "Default group resources are not allowed."),
    (GROUP, "g", &[("nothing", SET, Some("1"))], ErrorCode::InvalidConfig, "nothing"),
    (METRICS, "m", &[("nothing", SET, Some("1"))], ErrorCode::InvalidConfig, "nothing"),
];

#[test]
fn what_is_refused() {
    let mut cluster = Cluster::of(1);
    cluster.create(topic("t", 1, 1));
    for (kind, name, changes, code, message) in REFUSED {
        let before = cluster.log.len();
        let (got, told) = one(&mut cluster, *kind, name, changes);
        assert_eq!(got, *code, "{kind} {name} {changes:?}");
        assert!(told.as_deref().unwrap_or_default().contains(message), "{told:?}");
        assert_eq!(cluster.log.len(), before);
    }
}

#[test]
fn one_bad_resource_spoils_no_other_and_a_doubled_one_is_answered_once() {
    let mut cluster = Cluster::of(1);
    cluster.create(topic("t", 1, 1));
    cluster.create(topic("u", 1, 1));
    let set = [("retention.ms", SET, Some("7"))];
    let resources =
        vec![resource(TOPIC, "t", &set), resource(TOPIC, "u", &set), resource(TOPIC, "t", &set)];
    let outcomes = alter(&mut cluster, resources);
    assert_eq!(outcomes[0], (ErrorCode::InvalidRequest, Some("Duplicate resource.".to_owned())));
    assert_eq!((outcomes[1].0, outcomes.len()), (ErrorCode::None, 2));
    assert_eq!(value(&cluster, &ConfigResource::topic("t"), "retention.ms"), None);
}

#[test]
fn brokers_one_and_all() {
    let mut cluster = Cluster::of(1);
    assert_eq!(
        one(&mut cluster, BROKER, "", &[("log.retention.ms", SET, Some("60000"))]).0,
        ErrorCode::None
    );
    assert_eq!(
        one(&mut cluster, BROKER, "1", &[("log.retention.ms", SET, Some("50000"))]).0,
        ErrorCode::None,
        "a controller"
    );
    assert_eq!(
        value(&cluster, &ConfigResource::broker_default(), "log.retention.ms"),
        Some("60000")
    );
    let configs = cluster.create(topic("t", 1, 1)).configs.unwrap();
    let retention = configs.iter().find(|c| c.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("50000"), 2));
    let before = cluster.log.len();
    one(&mut cluster, BROKER, "", &[("log.retention.ms", SET, Some("60000"))]);
    assert_eq!(cluster.log.len(), before + 1, "a broker's is written though nothing changes");
}

#[test]
fn a_new_min_isr_forgets_who_was_eligible() {
    let mut cluster = Cluster::of(2);
    cluster.create(configured(assigned("t", &[&[0, 1]]), &[("min.insync.replicas", Some("2"))]));
    cluster.fence(1);
    assert_eq!(cluster.partition("t", 0).elr, [1]);
    let epoch = cluster.partition("t", 0).partition_epoch;
    one(&mut cluster, TOPIC, "t", &[("min.insync.replicas", SET, Some("1"))]);
    assert!(matches!(cluster.log.last(), Some(MetadataRecord::ClearElr(r)) if r.topic_name == "t"));
    let p = cluster.partition("t", 0);
    assert_eq!((p.elr.as_slice(), p.partition_epoch), ([].as_slice(), epoch + 1));
    one(&mut cluster, BROKER, "", &[("min.insync.replicas", SET, Some("2"))]);
    assert!(
        matches!(cluster.log.last(), Some(MetadataRecord::ClearElr(r)) if r.topic_name.is_empty())
    );
}

#[test]
fn the_old_api_replaces_everything() {
    use wire::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let mut cluster = Cluster::of(1);
    cluster.create(configured(
        topic("t", 1, 1),
        &[("retention.ms", Some("1")), ("segment.ms", Some("2"))],
    ));
    let config = AlterableConfig {
        name: "retention.ms".into(),
        value: Some("3".into()),
        ..Default::default()
    };
    let asked = |validate_only: bool| AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs: vec![config.clone()],
            ..Default::default()
        }],
        validate_only,
        ..Default::default()
    };
    let t = ConfigResource::topic("t");
    for (validate_only, retention, segment) in [(true, "1", Some("2")), (false, "3", None)] {
        let request = asked(validate_only);
        let reply = cluster.ask(ControllerRequest::AlterConfigs { request, forwarded: true });
        assert!(
            matches!(reply, ControllerReply::AlterConfigs(r) if r.responses[0].error_code == 0)
        );
        assert_eq!(value(&cluster, &t, "retention.ms"), Some(retention));
        assert_eq!(value(&cluster, &t, "segment.ms"), segment);
    }
}

/// It knows the ids of a broker's directories, and not their paths.
#[test]
fn a_controller_that_is_asked_itself_lets_cordoned_directories_go_and_cordons_none() {
    const NAME: &str = "cordoned.log.dirs";
    let mut cluster = Cluster::of(1);
    let mut code = |forwarded, op, value| {
        let asked = resource(BROKER, "0", &[(NAME, op, value)]);
        alter_by(forwarded, &mut cluster, vec![asked])[0].0
    };
    for (forwarded, op, value, expected) in [
        (false, SET, Some("/a"), ErrorCode::InvalidConfig),
        (false, APPEND, Some("/a"), ErrorCode::InvalidConfig),
        (true, SET, Some("/a,/b"), ErrorCode::None),
        (false, SET, Some(" /b , /a "), ErrorCode::None),
        (false, SET, Some("/a,/c"), ErrorCode::InvalidConfig),
        (false, SET, Some("/a"), ErrorCode::None),
        (false, SET, Some("/b"), ErrorCode::InvalidConfig),
        (false, SET, Some(" "), ErrorCode::None),
        (true, SET, Some("/b"), ErrorCode::None),
        (false, DELETE, None, ErrorCode::None),
    ] {
        assert_eq!(code(forwarded, op, value), expected, "{forwarded} {op} {value:?}");
    }
    let legacy = |cluster: &mut Cluster, forwarded| {
        let config = wire::alter_configs_request::AlterableConfig {
            name: NAME.to_owned(),
            value: Some("/a".to_owned()),
            ..Default::default()
        };
        let asked = wire::alter_configs_request::AlterConfigsResource {
            resource_type: BROKER,
            resource_name: "0".to_owned(),
            configs: vec![config],
            ..Default::default()
        };
        let request = AlterConfigsRequest { resources: vec![asked], ..Default::default() };
        match cluster.ask(ControllerRequest::AlterConfigs { request, forwarded }) {
            ControllerReply::AlterConfigs(response) => {
                ErrorCode::from_code(response.responses[0].error_code)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(legacy(&mut cluster, false), ErrorCode::InvalidConfig);
    assert_eq!(legacy(&mut cluster, true), ErrorCode::None);
}
