//! The ids and epochs, each a type of its own, so that one cannot be taken for another.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map($name)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                $name(value)
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    )*};
}

ids! {
    /// A broker or a controller, `node.id`.
    NodeId(i32);
    /// An idempotent or transactional producer.
    ProducerId(i64);
    /// Fences older incarnations of a producer.
    ProducerEpoch(i16);
    /// Counts the leaderships of a partition, and of the metadata log.
    LeaderEpoch(i32);
    /// The offset of a broker's registration in the metadata log.
    BrokerEpoch(i64);
}

impl NodeId {
    /// Nobody: what Kafka writes where there is no leader or no broker.
    pub const NONE: NodeId = NodeId(-1);
}

impl ProducerId {
    pub const NONE: ProducerId = ProducerId(-1);
}

impl ProducerEpoch {
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);
}

impl LeaderEpoch {
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);

    /// Whether whoever leads in this epoch and led in the other has led all the time: none lies between.
    pub fn follows(self, other: LeaderEpoch) -> bool {
        other.0.checked_add(1) == Some(self.0)
    }
}

impl BrokerEpoch {
    pub const NONE: BrokerEpoch = BrokerEpoch(-1);
}

/// A partition by its topic's name; ordered by topic, then by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The text is not `topic-partition`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not of the form TOPIC-PARTITION")]
pub struct ParseTopicPartitionError(pub String);

impl FromStr for TopicPartition {
    type Err = ParseTopicPartitionError;

    /// Reads what `Display` writes: the number follows the last dash, as in a log directory's name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseTopicPartitionError(text.to_owned());
        let (topic, partition) = text.rsplit_once('-').ok_or_else(refused)?;
        let digits = !partition.is_empty() && partition.bytes().all(|b| b.is_ascii_digit());
        if topic.is_empty() || !digits {
            return Err(refused());
        }
        let partition = partition.parse().map_err(|_| refused())?;
        Ok(TopicPartition::new(topic, partition))
    }
}

/// A partition by its topic's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicIdPartition {
    pub topic_id: Uuid,
    pub partition: i32,
}

impl TopicIdPartition {
    pub fn new(topic_id: Uuid, partition: i32) -> Self {
        TopicIdPartition { topic_id, partition }
    }
}

impl fmt::Display for TopicIdPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_what_they_print() {
        assert_eq!("7".parse(), Ok(NodeId(7)));
        assert_eq!(ProducerId(i64::MAX).to_string().parse(), Ok(ProducerId(i64::MAX)));
        assert!("40000".parse::<ProducerEpoch>().is_err());
    }

    #[test]
    fn a_topic_partition_splits_at_the_last_dash() {
        let tp: TopicPartition = "my-topic-12".parse().unwrap();
        assert_eq!(tp, TopicPartition::new("my-topic", 12));
        assert_eq!(tp.to_string(), "my-topic-12");
    }

    #[test]
    fn what_is_no_topic_partition_is_refused() {
        for text in ["", "orders", "orders-", "-1", "orders-x", "orders-+1", "orders-99999999999"] {
            assert!(text.parse::<TopicPartition>().is_err(), "{text}");
        }
    }
}
