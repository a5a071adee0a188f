//! What settings have to do with it: of a topic, and which replicas are throttled, and to what.

use std::collections::BTreeMap;

use wire::DescribeConfigsRequest;
use wire::describe_configs_request::DescribeConfigsResource;
use wire::describe_configs_response::DescribeConfigsResponse;
use wire::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition as Partition;

use super::ExplainError;
use super::cluster::{Cluster, all};

const MIN_ISR: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";
const LEADERS: &str = "leader.replication.throttled.replicas";
const FOLLOWERS: &str = "follower.replication.throttled.replicas";
const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;
const MOST_ASKED: usize = 30;
/// So many of the replicas that a topic names as throttled are looked at.
const MOST_NAMED: usize = 10_000;

/// Of a topic.
pub(super) struct TopicSettings {
    pub(super) min_isr: usize,
    pub(super) unclean: bool,
    /// The replicas whose leader gives them less, and those that ask for less.
    throttled: [Vec<String>; 2],
}

/// What of it is throttled by the brokers that have to do with it.
#[derive(Debug, Default)]
pub(super) struct Throttles {
    throttled: [Vec<String>; 2],
    /// As a leader, and as a follower; bytes per second, none where there is no limit.
    rates: BTreeMap<i32, [Option<i64>; 2]>,
}

impl TopicSettings {
    pub(super) async fn of(cluster: &Cluster, topic: &str) -> Result<TopicSettings, ExplainError> {
        let request = asked(TOPIC_RESOURCE, topic, &[MIN_ISR, UNCLEAN, LEADERS, FOLLOWERS]);
        let answer = cluster.ask(&request).await?;
        let named = |name| {
            let all = value(&answer, name).unwrap_or_default().split(',').map(str::trim);
            all.filter(|named| !named.is_empty()).take(MOST_NAMED).map(str::to_owned).collect()
        };
        let min_isr = value(&answer, MIN_ISR).and_then(|value| value.parse().ok());
        Ok(TopicSettings {
            min_isr: min_isr.unwrap_or(1),
            unclean: value(&answer, UNCLEAN) == Some("true"),
            throttled: [named(LEADERS), named(FOLLOWERS)],
        })
    }
}

fn asked(resource_type: i8, name: &str, keys: &[&str]) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: Some(keys.iter().map(|key| (*key).to_owned()).collect()),
        ..Default::default()
    };
    DescribeConfigsRequest { resources: vec![resource], ..Default::default() }
}

/// The value of a setting in an answer.
fn value<'a>(answer: &'a DescribeConfigsResponse, name: &str) -> Option<&'a str> {
    let mut configs = answer.results.iter().flat_map(|result| &result.configs);
    configs.find(|config| config.name == name)?.value.as_deref()
}

impl Throttles {
    /// The brokers are asked only where the topic names any replicas.
    pub(super) async fn of(cluster: &Cluster, topic: &TopicSettings, brokers: &[i32]) -> Throttles {
        let throttled = topic.throttled.clone();
        if throttled.iter().all(Vec::is_empty) {
            return Throttles::default();
        }
        let ids = brokers.iter().copied().take(MOST_ASKED);
        let asked = ids.map(|id| async move { Some((id, rates(cluster, id).await?)) });
        let rates = all(asked.collect::<Vec<_>>()).await.into_iter().flatten().collect();
        Throttles { throttled, rates }
    }

    /// What holds back a replica's fetches.
    pub(super) fn of_replica(&self, p: &Partition, id: i32) -> Vec<String> {
        let sides = [(p.leader_id, LEADER_RATE), (id, FOLLOWER_RATE)];
        let told = sides.into_iter().enumerate().filter_map(|(side, (broker, setting))| {
            let named = names(&self.throttled[side], p, broker);
            let rate = self.rates.get(&broker)?[side].filter(|_| named)?;
            Some(format!(
                "its fetches are throttled: {setting}={rate} bytes/s on broker {broker}, for all throttled replicas together"
            ))
        });
        told.collect()
    }
}

/// `*`, or the partition and the broker.
fn names(named: &[String], p: &Partition, broker: i32) -> bool {
    let replica = format!("{}:{broker}", p.partition_index);
    named.iter().any(|named| named == "*" || *named == replica)
}

/// What a broker says of itself; none where there is no limit.
async fn rates(cluster: &Cluster, id: i32) -> Option<[Option<i64>; 2]> {
    let place = cluster.brokers.get(&id)?;
    let request = asked(BROKER_RESOURCE, &id.to_string(), &[LEADER_RATE, FOLLOWER_RATE]);
    let answer = cluster.ask_at(&place.host, place.port, &request).await.ok()?;
    let rate = |name| value(&answer, name)?.parse().ok().filter(|rate| *rate < i64::MAX);
    Some([rate(LEADER_RATE), rate(FOLLOWER_RATE)])
}
