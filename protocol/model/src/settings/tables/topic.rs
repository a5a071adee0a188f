//! Topics.

use crate::settings::setting::Check::{
    Any, AtLeast, Between, BetweenOr, Fraction, OneOf, ThrottledReplicas,
};
use crate::settings::setting::{Area, settings};

pub(super) const TOPIC: Area = Area {
    title: "Topics",
    settings: settings! {
        Int "segment.bytes" = "1073741824", AtLeast(1048576), Topic + honoured from ["log.segment.bytes" * 1]:
            "The largest a log segment grows.";
        Long "segment.ms" = "604800000", AtLeast(1), Topic + honoured from ["log.roll.ms" * 1, "log.roll.hours" * 3600000]:
            "The oldest an active segment grows before a new one is begun.";
        Long "segment.jitter.ms" = "0", AtLeast(0), Topic + honoured from ["log.roll.jitter.ms" * 1, "log.roll.jitter.hours" * 3600000]:
            "Up to how much segment.ms is shortened at random, so that not all segments roll at once.";
        Int "segment.index.bytes" = "10485760", AtLeast(4), Topic + honoured from ["log.index.size.max.bytes" * 1]:
            "The largest an index file grows.";
        Int "internal.segment.bytes" = null, Any, Topic + honoured + internal:
            "Sets the segment size below its usual minimum, for tests.";
        Long "flush.messages" = "9223372036854775807", AtLeast(1), Topic + honoured from ["log.flush.interval.messages" * 1]:
            "After how many records the log is flushed to disk.";
        Long "flush.ms" = "9223372036854775807", AtLeast(0), Topic + honoured from ["log.flush.interval.ms" * 1, "log.flush.scheduler.interval.ms" * 1]:
            "How long a record may stay unflushed.";
        Long "retention.bytes" = "-1", Any, Topic + honoured from ["log.retention.bytes" * 1]:
            "How large a partition's log may grow before its oldest segments are deleted; -1 is no limit.";
        Long "retention.ms" = "604800000", AtLeast(-1), Topic + honoured from ["log.retention.ms" * 1, "log.retention.minutes" * 60000, "log.retention.hours" * 3600000]:
            "How long records are kept; -1 is for ever.";
        Int "max.message.bytes" = "1048588", AtLeast(0), Topic + honoured from ["message.max.bytes" * 1]:
            "The largest record batch that is accepted.";
        Int "max.decompressed.message.bytes" = "2147483639", Between(1, 2147483639), Topic + honoured from ["max.decompressed.message.bytes" * 1]:
            "The largest a record batch may become when it is decompressed.";
        Int "index.interval.bytes" = "4096", AtLeast(0), Topic + honoured from ["log.index.interval.bytes" * 1]:
            "After how many bytes of records an index entry is added.";
        Long "delete.retention.ms" = "86400000", AtLeast(0), Topic + honoured from ["log.cleaner.delete.retention.ms" * 1]:
            "How long tombstones are kept in a compacted log.";
        Long "min.compaction.lag.ms" = "0", AtLeast(0), Topic + honoured from ["log.cleaner.min.compaction.lag.ms" * 1]:
            "How long a record stays uncompacted at least.";
        Long "max.compaction.lag.ms" = "9223372036854775807", AtLeast(1), Topic + honoured from ["log.cleaner.max.compaction.lag.ms" * 1]:
            "How long a record stays uncompacted at most.";
        Long "file.delete.delay.ms" = "60000", AtLeast(0), Topic + honoured from ["log.segment.delete.delay.ms" * 1]:
            "How long a deleted segment's files stay on disk.";
        Double "min.cleanable.dirty.ratio" = "0.5", Fraction(0.0, 1.0), Topic + honoured from ["log.cleaner.min.cleanable.ratio" * 1]:
            "The share of the log that must be uncompacted before it is compacted.";
        List "cleanup.policy" = "delete", OneOf(&["compact", "delete"]), Topic + honoured from ["log.cleanup.policy" * 1]:
            "What happens to old records: delete, compact, or both; empty keeps them all.";
        Boolean "unclean.leader.election.enable" = "false", Any, Topic + honoured from ["unclean.leader.election.enable" * 1]:
            "Whether a replica that is out of sync may become leader, losing records, where no other is left.";
        Int "min.insync.replicas" = "1", AtLeast(1), Topic + honoured from ["min.insync.replicas" * 1]:
            "How many replicas must be in sync for a write with acks=all to be taken.";
        String "compression.type" = "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Topic + honoured from ["compression.type" * 1]:
            "The codec that batches are stored with; producer keeps what they arrive with.";
        Int "compression.gzip.level" = "-1", BetweenOr(1, 9, -1), Topic + honoured from ["compression.gzip.level" * 1]:
            "The level to compress with where the codec is gzip; -1 is the codec's own default.";
        Int "compression.lz4.level" = "9", Between(1, 17), Topic from ["compression.lz4.level" * 1]:
            "The level to compress with where the codec is lz4.";
        Int "compression.zstd.level" = "3", Between(-131072, 22), Topic + honoured from ["compression.zstd.level" * 1]:
            "The level to compress with where the codec is zstd.";
        Boolean "preallocate" = "false", Any, Topic + honoured from ["log.preallocate" * 1]:
            "Whether a new segment's file is made at full size at once.";
        String "message.timestamp.type" = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Topic + honoured from ["log.message.timestamp.type" * 1]:
            "Whether a record keeps the timestamp its producer gave it or gets the time of its append.";
        Long "message.timestamp.before.max.ms" = "9223372036854775807", AtLeast(0), Topic + honoured from ["log.message.timestamp.before.max.ms" * 1]:
            "How far a record's timestamp may lie behind the broker's clock.";
        Long "message.timestamp.after.max.ms" = "3600000", AtLeast(0), Topic + honoured from ["log.message.timestamp.after.max.ms" * 1]:
            "How far a record's timestamp may lie ahead of the broker's clock.";
        List "leader.replication.throttled.replicas" = "", ThrottledReplicas, Topic + honoured:
            "Replicas whose replication the leader throttles, as PARTITION:BROKER pairs, or * for all.";
        List "follower.replication.throttled.replicas" = "", ThrottledReplicas, Topic + honoured:
            "Replicas whose replication the follower throttles, as PARTITION:BROKER pairs, or * for all.";
        Boolean "remote.storage.enable" = "false", Any, Topic:
            "Whether the topic is tiered.";
        Long "local.retention.ms" = "-2", AtLeast(-2), Topic from ["log.local.retention.ms" * 1]:
            "How long tiered records are also kept on the broker; -2 is as long as retention.ms says.";
        Long "local.retention.bytes" = "-2", AtLeast(-2), Topic from ["log.local.retention.bytes" * 1]:
            "How much of a tiered log is also kept on the broker; -2 is as much as retention.bytes says.";
        Boolean "remote.log.copy.disable" = "false", Any, Topic:
            "Whether a tiered topic's remote tier is read only.";
        Long "remote.copy.lag.ms" = "0", AtLeast(-1), Topic from ["log.remote.copy.lag.ms" * 1]:
            "How old a segment becomes before it is copied to the remote tier; -1 lets local retention decide.";
        Long "remote.copy.lag.bytes" = "-1", AtLeast(-1), Topic from ["log.remote.copy.lag.bytes" * 1]:
            "How much of the log is left uncopied; -1 lets local retention decide.";
        Boolean "remote.log.delete.on.disable" = "false", Any, Topic:
            "Whether remote data is deleted when tiering is turned off.";
        Boolean "errors.deadletterqueue.group.enable" = "false", Any, Topic:
            "Whether share groups may write undeliverable records to this topic.";
    },
};
