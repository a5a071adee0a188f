//! Where a partition is: its replica on this node, or who leads it.

use std::sync::Arc;

use machines::metadata::MetadataImage;
use model::{ErrorCode, Uuid};
use partitions::PartitionHandle;
use runtime::Map;

use crate::Broker;

/// A topic as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TopicRef<'a> {
    Name(&'a str),
    Id(Uuid),
}

/// Why a partition has no replica here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotHere {
    #[error("there is no such topic or partition")]
    Unknown,
    #[error("there is no topic with this id")]
    UnknownId,
    #[error("the topic here has another id")]
    OtherId,
    #[error("no replica of the partition is on this node")]
    Elsewhere,
}

impl NotHere {
    pub(super) fn code(self) -> ErrorCode {
        match self {
            NotHere::Unknown => ErrorCode::UnknownTopicOrPartition,
            NotHere::UnknownId => ErrorCode::UnknownTopicId,
            NotHere::OtherId => ErrorCode::InconsistentTopicId,
            NotHere::Elsewhere => ErrorCode::NotLeaderOrFollower,
        }
    }

    /// Whether the metadata does not know the partition at all.
    pub(super) fn is_unknown(self) -> bool {
        matches!(self, NotHere::Unknown | NotHere::UnknownId)
    }
}

/// The replica of a partition on this node. The metadata is looked at only where there is none.
pub(super) fn find(
    broker: &Broker,
    topic: TopicRef<'_>,
    partition: i32,
) -> Result<Arc<PartitionHandle>, NotHere> {
    let hosted = match topic {
        TopicRef::Name(name) => broker.hosted.get(name, partition),
        TopicRef::Id(id) => broker.hosted.get_by_id(id, partition),
    };
    if let Some(handle) = hosted {
        return Ok(handle);
    }
    let image = broker.metadata.get();
    let (known, unknown) = match topic {
        TopicRef::Name(name) => (image.topics.by_name(name), NotHere::Unknown),
        TopicRef::Id(id) => (image.topics.by_id(id), NotHere::UnknownId),
    };
    let known = known.ok_or(unknown)?;
    known.partition(partition).ok_or(NotHere::Unknown)?;
    if broker.hosted.get(&known.name, partition).is_some() {
        return Err(NotHere::OtherId);
    }
    Err(NotHere::Elsewhere)
}

/// A broker that clients can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) host: String,
    pub(super) port: i32,
    pub(super) rack: Option<String>,
}

/// The leaders that a response names beside its errors (KIP-951).
pub(super) struct Leaders<'a> {
    image: Arc<MetadataImage>,
    listener: &'a str,
    named: Map<i32, Node>,
}

impl<'a> Leaders<'a> {
    pub(super) fn new(broker: &Broker, listener: &'a str) -> Leaders<'a> {
        Leaders { image: broker.metadata.get(), listener, named: Map::new() }
    }

    /// Leader and leader epoch; -1 where they are not known.
    pub(super) fn of(&mut self, topic: TopicRef<'_>, partition: i32) -> (i32, i32) {
        let topic = match topic {
            TopicRef::Name(name) => self.image.topics.by_name(name),
            TopicRef::Id(id) => self.image.topics.by_id(id),
        };
        let Some(known) = topic.and_then(|topic| topic.partition(partition)) else {
            return (-1, -1);
        };
        let (leader, epoch) = (known.leader, known.leader_epoch);
        let broker = self.image.broker(leader).filter(|broker| !broker.fenced);
        if let Some(broker) = broker
            && let Some(endpoint) = broker.listener(self.listener)
        {
            self.named.entry(leader).or_insert_with(|| Node {
                id: leader,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: broker.rack.clone(),
            });
        }
        (leader, epoch)
    }

    pub(super) fn nodes(self) -> impl Iterator<Item = Node> {
        self.named.into_values()
    }
}
