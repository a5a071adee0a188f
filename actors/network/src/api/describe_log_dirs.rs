//! DescribeLogDirs, API key 35.
//!
//! Versions: 1–5 (v3 an error of the whole, v4 the room on the volume, v5 cordoned directories).
//! Source: `KafkaApis.handleDescribeLogDirsRequest`, `ReplicaManager.describeLogDirs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use disk::{DiskError, Space};
use model::{ErrorCode, TopicPartition, Uuid};
use partitions::{LogDirState, PartitionHandle};
use wire::describe_log_dirs_request::DescribableLogDirTopic;
use wire::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use wire::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::room::{Turns, memory_for};
use super::{Answer, Answering, RequestContext, Staged, too_many};
use crate::Broker;

pub(crate) struct DescribeLogDirs;

/// What is in a directory, by topic.
type Topics = BTreeMap<String, Vec<DescribeLogDirsPartition>>;

/// Why nothing is said of a directory but that.
#[derive(Debug, Clone, thiserror::Error)]
enum Unknown {
    #[error("the log directory is offline")]
    Offline,
    #[error(transparent)]
    Space(#[from] DiskError),
    #[error("nobody looked")]
    Unasked,
}

impl Unknown {
    fn code(&self) -> ErrorCode {
        match self {
            Unknown::Offline => ErrorCode::KafkaStorageError,
            Unknown::Space(_) | Unknown::Unasked => ErrorCode::UnknownServerError,
        }
    }
}

impl Staged for DescribeLogDirs {
    type Request = DescribeLogDirsRequest;

    async fn begin(
        broker: &Arc<Broker>,
        _cx: RequestContext,
        request: DescribeLogDirsRequest,
    ) -> Answering<DescribeLogDirsResponse> {
        let named = request.topics.iter().flatten().map(|each| 1 + each.partitions.len()).sum();
        if let Some(why) = too_many(named) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        Box::pin(answer(broker.clone(), Asked::new(request.topics)))
    }
}

async fn answer(broker: Arc<Broker>, asked: Asked) -> Answer<DescribeLogDirsResponse> {
    let memory = memory_for(&broker, asked.size(&broker)).await;
    let mut held = held(&broker, &asked).await;
    let cordons = broker.metadata.get().metadata_version().cordoned_log_dirs();
    let mut results = Vec::new();
    for dir in &broker.log_dirs.0 {
        let log_dir = dir.absolute_path().to_owned();
        let result = match space(&broker, dir).await {
            Ok(space) => DescribeLogDirsResult {
                log_dir,
                topics: listed(held.remove(&dir.id).unwrap_or_default()),
                total_bytes: bytes(space.total_bytes),
                usable_bytes: bytes(space.usable_bytes),
                is_cordoned: cordons && dir.is_cordoned(),
                ..Default::default()
            },
            Err(unknown) => {
                let error_code = unknown.code().code();
                DescribeLogDirsResult { log_dir, error_code, ..Default::default() }
            }
        };
        results.push(result);
    }
    Answer::Built(DescribeLogDirsResponse { results, ..Default::default() }, memory)
}

/// The partitions that are asked for, by topic; `None` for all.
struct Asked(Option<BTreeMap<String, BTreeSet<i32>>>);

impl Asked {
    fn new(topics: Option<Vec<DescribableLogDirTopic>>) -> Asked {
        Asked(topics.map(|topics| {
            let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
            for topic in topics {
                wanted.entry(topic.topic).or_default().extend(topic.partitions);
            }
            wanted
        }))
    }

    fn takes(&self, handle: &PartitionHandle) -> bool {
        let TopicPartition { topic, partition } = &handle.topic_partition;
        self.0.as_ref().is_none_or(|asked| {
            asked.get(topic).is_some_and(|partitions| partitions.contains(partition))
        })
    }

    /// What the answer comes to in memory, nearly.
    fn size(&self, broker: &Broker) -> usize {
        let replicas = broker.hosted.all();
        let taken = replicas.iter().filter(|handle| self.takes(handle)).count();
        taken * 2 * size_of::<DescribeLogDirsPartition>()
    }
}

/// The replicas that are asked for, by directory.
async fn held(broker: &Broker, asked: &Asked) -> BTreeMap<Uuid, Topics> {
    let mut held: BTreeMap<Uuid, Topics> = BTreeMap::new();
    let mut turns = Turns::default();
    for handle in broker.hosted.all() {
        turns.made().await;
        if !asked.takes(&handle) {
            continue;
        }
        for (dir, described) in describe(&handle) {
            let topics = held.entry(dir).or_default();
            topics.entry(handle.topic_partition.topic.clone()).or_default().push(described);
        }
    }
    held
}

/// Each with the directory it is in: the replica, unless nobody knows how large its log is (its actor starts, or it is
/// offline), and the copy that is to take its place.
fn describe(handle: &PartitionHandle) -> Vec<(Uuid, DescribeLogDirsPartition)> {
    let partition_index = handle.topic_partition.partition;
    let mut described = Vec::new();
    if let Some(view) = handle.view() {
        let replica = DescribeLogDirsPartition {
            partition_index,
            partition_size: bytes(view.size()),
            offset_lag: (handle.high_watermark() - view.log_end_offset()).max(0),
            ..Default::default()
        };
        described.push((handle.log_dir().id, replica));
    }
    if let Some(future) = handle.future() {
        let copy = DescribeLogDirsPartition {
            partition_index,
            partition_size: bytes(future.size()),
            offset_lag: handle.log_end_offset() - future.log_end_offset(),
            is_future_key: true,
            ..Default::default()
        };
        described.push((future.dir.id, copy));
    }
    described
}

fn listed(topics: Topics) -> Vec<DescribeLogDirsTopic> {
    let topics = topics.into_iter();
    topics
        .map(|(name, partitions)| DescribeLogDirsTopic { name, partitions, ..Default::default() })
        .collect()
}

async fn space(broker: &Broker, dir: &LogDirState) -> Result<Space, Unknown> {
    if !dir.is_online() {
        return Err(Unknown::Offline);
    }
    let (disk, path) = (broker.world.disk().clone(), dir.path.clone());
    let look = move || disk.space(&path);
    let looked = broker.world.blocking_in(dir.queue(), "look for room", look).await;
    Ok(looked.map_err(|_| Unknown::Unasked)??)
}

fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
