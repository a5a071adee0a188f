//! The names of files and directories.

use model::{TopicPartition, Uuid};

pub(crate) const LOG: &str = ".log";
pub(crate) const OFFSET_INDEX: &str = ".index";
pub(crate) const TIME_INDEX: &str = ".timeindex";
pub(crate) const TXN_INDEX: &str = ".txnindex";
pub(crate) const SNAPSHOT: &str = ".snapshot";
pub(crate) const DELETED: &str = ".deleted";
pub(crate) const CLEANED: &str = ".cleaned";
pub(crate) const SWAP: &str = ".swap";
/// There while a log is cut: what went may come back until it is synced. Kafka passes over it.
pub(crate) const CUTTING: &str = ".ottla_cutting";

/// A file name is at most this long on every file system in use.
const MAX_NAME: usize = 255;

pub(crate) fn file_name(base_offset: i64, suffix: &str) -> String {
    format!("{base_offset:020}{suffix}")
}

/// The offset that a file's name begins with, and the suffix behind it.
pub(crate) fn parse_file_name(name: &str) -> Option<(i64, &str)> {
    let (digits, suffix) = name.split_at_checked(20)?;
    let offset = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    suffix.starts_with('.').then_some((offset, suffix))
}

/// What a directory in a log directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirKind {
    Current,
    /// Waits to be removed.
    Delete,
    /// The copy that grows when a replica moves between log directories.
    Future,
    /// A replica that the metadata no longer knows here.
    Stray,
}

/// A partition's directory, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDir {
    pub topic_partition: TopicPartition,
    pub kind: DirKind,
}

impl PartitionDir {
    /// `None` for what is no partition's directory.
    pub fn parse(name: &str) -> Option<PartitionDir> {
        let marked = [
            ("-delete", DirKind::Delete),
            ("-future", DirKind::Future),
            ("-stray", DirKind::Stray),
        ];
        for (suffix, kind) in marked {
            let Some(front) = name.strip_suffix(suffix) else { continue };
            let Some((partition, uuid)) = front.rsplit_once('.') else { continue };
            if uuid.len() == 32 && uuid.bytes().all(|b| b.is_ascii_hexdigit()) {
                let topic_partition = partition.parse().ok()?;
                return Some(PartitionDir { topic_partition, kind });
            }
        }
        let topic_partition: TopicPartition = name.parse().ok()?;
        (partition_dir_name(&topic_partition) == name)
            .then_some(PartitionDir { topic_partition, kind: DirKind::Current })
    }
}

pub fn partition_dir_name(partition: &TopicPartition) -> String {
    partition.to_string()
}

/// The name that a directory gets when it is to be deleted, moved or put aside: made unique by a
/// random id, the topic's name cut where the whole would be too long.
pub fn delete_dir_name(partition: &TopicPartition, kind: DirKind, unique: Uuid) -> String {
    let suffix = match kind {
        DirKind::Current => return partition_dir_name(partition),
        DirKind::Delete => "-delete",
        DirKind::Future => "-future",
        DirKind::Stray => "-stray",
    };
    let hex: String = unique.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let tail = format!("-{}.{hex}{suffix}", partition.partition);
    let room = MAX_NAME - tail.len();
    let topic: String = partition.topic.chars().take(room).collect();
    topic + &tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_told_apart() {
        let orders = TopicPartition::new("my-orders", 3);
        let id = Uuid([0xab; 16]);
        for kind in [DirKind::Current, DirKind::Delete, DirKind::Future, DirKind::Stray] {
            let name = delete_dir_name(&orders, kind, id);
            let parsed = PartitionDir { topic_partition: orders.clone(), kind };
            assert_eq!(PartitionDir::parse(&name), Some(parsed), "{name}");
        }
        assert_eq!(delete_dir_name(&orders, DirKind::Current, id), "my-orders-3");
        for name in ["orders", "orders-", "-3", "orders-x", "orders-03", "meta.properties"] {
            assert_eq!(PartitionDir::parse(name), None, "{name}");
        }
    }

    #[test]
    fn long_topics_are_cut_in_deleted_names() {
        let long = TopicPartition::new("t".repeat(249), 12);
        let name = delete_dir_name(&long, DirKind::Delete, Uuid([1; 16]));
        assert_eq!(name.len(), 255);
        assert_eq!(PartitionDir::parse(&name).unwrap().kind, DirKind::Delete);
    }

    #[test]
    fn file_names_carry_their_offset() {
        assert_eq!(file_name(42, LOG), "00000000000000000042.log");
        assert_eq!(parse_file_name("00000000000000000042.log.swap"), Some((42, ".log.swap")));
        for name in ["42.log", "leader-epoch-checkpoint", "99999999999999999999.log", "0000"] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
