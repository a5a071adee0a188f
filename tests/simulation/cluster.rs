//! Three nodes that vote, and a broker that only observes; what several scenarios ask of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla::Node;
use ottla::client::{ClientConfig, Connection};
use ottla::sim::Life;
use wire::DescribeQuorumRequest;
use wire::describe_quorum_request::{PartitionData, TopicData};
use wire::describe_quorum_response::PartitionData as Described;

pub const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
pub const LIMIT: Duration = Duration::from_secs(2);

/// Snapshots are made and fetched within the run.
pub fn file() -> String {
    let nodes = NODES.iter().enumerate().map(|(index, name)| {
        let id = index + 1;
        let rest = match *name {
            "n4" => "roles = [\"broker\"]".to_owned(),
            _ => format!("controller = \"{name}:9093\""),
        };
        format!("[[node]]\nid = {id}\nlisten = \"{name}:9092\"\ndata = \"/data\"\n{rest}\n")
    });
    let settings = "[settings]\n\"metadata.log.max.record.bytes.between.snapshots\" = 3000\n\
        \"metadata.max.retention.bytes\" = 4000\n\"internal.metadata.log.segment.bytes\" = 2000\n\
        \"internal.metadata.delete.delay.millis\" = 1000\n";
    settings.to_owned() + &nodes.collect::<String>()
}

/// One of the nodes on a machine of this name, until its process ends.
pub async fn serve_at(life: Life, index: usize, name: &str, ended: Arc<AtomicBool>) {
    let id = index as i32 + 1;
    let text = file().replace(NODES[index], name);
    let configs = ottla::config::from_cluster("cluster.toml", &text, Some(id), &[], "machine");
    let config = configs.expect("a configuration").pop().expect("one node");
    match Node::builder_in(life.world.clone()).node_config(config).start().await {
        Ok(node) => life.trace.note(format_args!("ended: {:?}", node.ended().await)),
        Err(error) => life.trace.note(format_args!("cannot start: {error}")),
    }
    ended.store(true, Ordering::Relaxed);
}

/// What the broker that does not vote says of the quorum.
pub async fn describe(life: &Life, config: &ClientConfig) -> Option<Described> {
    let connection = Connection::open(&life.world, "n4", 9092, config).await.ok()?;
    let partition = PartitionData::default();
    let topic_name = "__cluster_metadata".to_owned();
    let topics = vec![TopicData { topic_name, partitions: vec![partition], ..Default::default() }];
    let request = DescribeQuorumRequest { topics, ..Default::default() };
    let answer = connection.request(&request, LIMIT).await.ok()?;
    answer.topics.into_iter().flat_map(|t| t.partitions).next().filter(|p| p.error_code == 0)
}
