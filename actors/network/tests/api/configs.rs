//! Configurations described and altered.

use model::ErrorCode;
use wire::alter_configs_request as alter;
use wire::describe_configs_request::DescribeConfigsResource;
use wire::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use wire::incremental_alter_configs_request as incremental;
use wire::{AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use crate::rig::{Client, Rig};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

fn describe(kind: i8, name: &str, keys: &[&str]) -> DescribeConfigsRequest {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: (!keys.is_empty()).then_some(keys),
            ..Default::default()
        }],
        include_synonyms: true,
        ..Default::default()
    }
}

async fn described(client: &mut Client, kind: i8, name: &str) -> DescribeConfigsResult {
    client.call(&describe(kind, name, &[]), 4).await.results.remove(0)
}

async fn one(
    client: &mut Client,
    kind: i8,
    name: &str,
    key: &str,
) -> DescribeConfigsResourceResult {
    let mut result = client.call(&describe(kind, name, &[key]), 4).await.results.remove(0);
    assert_eq!((result.error_code, result.configs.len()), (0, 1), "{key}");
    result.configs.remove(0)
}

fn set(kind: i8, name: &str, key: &str, value: &str) -> incremental::AlterConfigsResource {
    incremental::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: vec![incremental::AlterableConfig {
            name: key.into(),
            config_operation: 0,
            value: Some(value.into()),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Sets one setting of a topic that is in use.
pub async fn set_topic(client: &mut Client, topic: &str, key: &str, value: &str) {
    let told = alter_all(client, vec![set(TOPIC, topic, key, value)]).await;
    assert_eq!(told, [(0, None)], "{key}={value}");
}

async fn alter_all(
    client: &mut Client,
    resources: Vec<incremental::AlterConfigsResource>,
) -> Vec<(i16, Option<String>)> {
    let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
    let response = client.call(&request, 1).await;
    response.responses.into_iter().map(|r| (r.error_code, r.error_message)).collect()
}

#[tokio::test]
async fn a_topics_settings_name_their_sources() {
    let mut rig = Rig::start().await;
    rig.topic("a", 1, &[("retention.ms", "1000")]).await;
    let mut client = rig.client().await;
    for version in 1..=4 {
        let response = client.call(&describe(TOPIC, "a", &["retention.ms"]), version).await;
        let setting = &response.results[0].configs[0];
        assert_eq!((setting.value.as_deref(), setting.config_source), (Some("1000"), 1));
        assert_eq!(setting.synonyms[0].name, "retention.ms");
        assert_eq!(setting.synonyms[0].source, 1);
        assert_eq!(setting.config_type, if version >= 3 { 5 } else { 0 });
    }
    let mut request = describe(TOPIC, "a", &[]);
    request.include_synonyms = false;
    request.include_documentation = true;
    let result = &client.call(&request, 4).await.results[0];
    assert!(result.configs.len() > 20);
    assert!(result.configs.iter().all(|c| c.synonyms.is_empty() && c.documentation.is_some()));
}

#[tokio::test]
async fn every_kind_of_resource_is_described_or_refused_as_kafka_does() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    for (kind, name, code) in [
        (TOPIC, "none", ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "a b", ErrorCode::InvalidTopicException),
        (BROKER, "1", ErrorCode::None),
        (BROKER, "", ErrorCode::None),
        (BROKER, "2", ErrorCode::InvalidRequest),
        (BROKER, "x", ErrorCode::InvalidRequest),
        (BROKER_LOGGER, "1", ErrorCode::None),
        (BROKER_LOGGER, "", ErrorCode::InvalidRequest),
        (CLIENT_METRICS, "m", ErrorCode::None),
        (CLIENT_METRICS, "", ErrorCode::InvalidRequest),
        (GROUP, "g", ErrorCode::None),
        (GROUP, "", ErrorCode::InvalidRequest),
        (3, "a", ErrorCode::InvalidRequest),
    ] {
        let result = described(&mut client, kind, name).await;
        assert_eq!(result.error_code, code.code(), "{kind} {name:?}");
        assert_eq!((result.resource_type, result.resource_name.as_str()), (kind, name));
    }
    assert!(described(&mut client, BROKER, "1").await.configs.len() > 100);
}

#[tokio::test]
async fn what_was_altered_is_described_at_once() {
    let mut rig = Rig::start().await;
    rig.topic("a", 1, &[]).await;
    let mut client = rig.client().await;
    let told = alter_all(
        &mut client,
        vec![
            set(TOPIC, "a", "retention.ms", "5000"),
            set(BROKER, "1", "log.retention.ms", "7000"),
            set(BROKER, "", "log.retention.ms", "8000"),
        ],
    );
    assert_eq!(told.await, [(0, None), (0, None), (0, None)]);
    let topic = one(&mut client, TOPIC, "a", "retention.ms").await;
    assert_eq!((topic.value.as_deref(), topic.config_source), (Some("5000"), 1));
    let own = one(&mut client, BROKER, "1", "log.retention.ms").await;
    assert_eq!((own.value.as_deref(), own.config_source), (Some("7000"), 2));
    let all = one(&mut client, BROKER, "", "log.retention.ms").await;
    assert_eq!((all.value.as_deref(), all.config_source), (Some("8000"), 3));
}

#[tokio::test]
async fn alterations_that_are_wrong_are_refused_one_by_one() {
    let mut rig = Rig::start().await;
    rig.topic("a", 1, &[]).await;
    let mut client = rig.client().await;
    let told = alter_all(
        &mut client,
        vec![
            set(TOPIC, "a", "retention.ms", "many"),
            set(TOPIC, "none", "retention.ms", "1"),
            set(BROKER, "2", "log.retention.ms", "1"),
            set(BROKER, "1", "log.dirs", "/elsewhere"),
            // Here the log is somebody else's: there are no loggers.
            set(BROKER_LOGGER, "1", "kafka.server", "DEBUG"),
            set(TOPIC, "twice", "retention.ms", "1"),
            set(TOPIC, "twice", "retention.ms", "2"),
            set(9, "a", "retention.ms", "1"),
        ],
    );
    let codes: Vec<i16> = told.await.into_iter().map(|(code, _)| code).collect();
    use ErrorCode::{InvalidConfig, InvalidRequest, UnknownTopicOrPartition};
    let wanted = [
        InvalidConfig,
        UnknownTopicOrPartition,
        InvalidRequest,
        InvalidRequest,
        InvalidConfig,
        InvalidRequest,
        InvalidRequest,
        InvalidRequest,
    ];
    assert_eq!(codes, wanted.map(ErrorCode::code));
}

#[tokio::test]
async fn alter_configs_resets_what_it_does_not_name() {
    let mut rig = Rig::start().await;
    rig.topic("a", 1, &[("retention.ms", "1000"), ("max.message.bytes", "2000")]).await;
    let mut client = rig.client().await;
    for version in 0..=2 {
        let request = AlterConfigsRequest {
            resources: vec![alter::AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: "a".into(),
                configs: vec![alter::AlterableConfig {
                    name: "max.message.bytes".into(),
                    value: Some("3000".into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(client.call(&request, version).await.responses[0].error_code, 0);
    }
    let kept = one(&mut client, TOPIC, "a", "max.message.bytes").await;
    assert_eq!((kept.value.as_deref(), kept.config_source), (Some("3000"), 1));
    let reset = one(&mut client, TOPIC, "a", "retention.ms").await;
    assert_eq!((reset.value.as_deref(), reset.config_source), (Some("604800000"), 5));
}
