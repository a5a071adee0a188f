//! Log.

use crate::settings::setting::Check::{Any, AtLeast, Between, BetweenOr, Fraction, OneOf};
use crate::settings::setting::{Area, settings};

pub(super) const LOG: Area = Area {
    title: "Log",
    settings: settings! {
        List "log.dir" = "/tmp/kafka-logs", Any, Node + honoured:
            "Where data is kept, if log.dirs is not given.";
        List "log.dirs" = null, Any, Node + honoured:
            "The directories where data is kept, separated by commas.";
        List "cordoned.log.dirs" = "", Any, Broker + honoured:
            "Log directories that take no new partitions.";
        Long "log.dir.failure.timeout.ms" = "30000", AtLeast(1), Node + honoured:
            "A broker that cannot report a failed log directory to the controller for this long stops.";
        Int "num.recovery.threads.per.data.dir" = "2", AtLeast(1), Cluster + honoured_at_start:
            "Threads for each log directory that recover logs at start; at stop all logs are flushed side by side.";
        Int "num.replica.alter.log.dirs.threads" = null, Any, Node + honoured:
            "Threads that move replicas between log directories; one for each directory unless given.";
        Int "log.segment.bytes" = "1073741824", AtLeast(1048576), Cluster + honoured:
            "The largest a log segment grows.";
        Long "log.roll.ms" = null, Any, Cluster + honoured:
            "The oldest an active segment grows before a new one is begun; log.roll.hours unless given.";
        Int "log.roll.hours" = "168", AtLeast(1), Node + honoured:
            "The oldest an active segment grows before a new one is begun.";
        Long "log.roll.jitter.ms" = null, Any, Cluster + honoured:
            "Up to how much log.roll.ms is shortened at random, so that not all segments roll at once.";
        Int "log.roll.jitter.hours" = "0", AtLeast(0), Node + honoured:
            "Up to how much log.roll.hours is shortened at random, so that not all segments roll at once.";
        Long "log.retention.ms" = null, Any, Cluster + honoured:
            "How long records are kept; log.retention.minutes unless given; -1 is for ever.";
        Int "log.retention.minutes" = null, Any, Node + honoured:
            "How long records are kept; log.retention.hours unless given.";
        Int "log.retention.hours" = "168", Any, Node + honoured:
            "How long records are kept.";
        Long "log.retention.bytes" = "-1", Any, Cluster + honoured:
            "How large a partition's log may grow before its oldest segments are deleted; -1 is no limit.";
        Long "log.retention.check.interval.ms" = "300000", AtLeast(1), Node + honoured:
            "How often logs are looked through for segments to delete.";
        List "log.cleanup.policy" = "delete", OneOf(&["compact", "delete"]), Cluster + honoured:
            "What happens to old records: delete, compact, or both.";
        Int "log.index.size.max.bytes" = "10485760", AtLeast(4), Cluster + honoured:
            "The largest an index file grows.";
        Int "log.index.interval.bytes" = "4096", AtLeast(0), Cluster + honoured:
            "After how many bytes of records an index entry is added.";
        Long "log.flush.interval.messages" = "9223372036854775807", AtLeast(1), Cluster + honoured:
            "After how many records a log is flushed to disk.";
        Long "log.flush.interval.ms" = null, Any, Cluster + honoured:
            "How long a record may stay unflushed; log.flush.scheduler.interval.ms unless given.";
        Long "log.flush.scheduler.interval.ms" = "9223372036854775807", Any, Node + honoured:
            "How often Kafka looks for logs that need flushing; here each is flushed when its time has come. Also the default of log.flush.interval.ms.";
        Int "log.flush.offset.checkpoint.interval.ms" = "60000", AtLeast(0), Node + honoured:
            "How often the point that recovery starts from is written down.";
        Int "log.flush.start.offset.checkpoint.interval.ms" = "60000", AtLeast(0), Node + honoured:
            "How often log start offsets are written down.";
        Long "log.segment.delete.delay.ms" = "60000", AtLeast(0), Cluster + honoured:
            "How long a deleted segment's files stay on disk.";
        Boolean "log.preallocate" = "false", Any, Cluster + honoured:
            "Whether a new segment's file is made at full size at once.";
        Long "log.initial.task.delay.ms" = "30000", AtLeast(0), Node + honoured + internal:
            "How long after the start the log's background tasks begin.";
        String "log.message.timestamp.type" = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Cluster + honoured:
            "Whether a record keeps the timestamp its producer gave it or gets the time of its append.";
        Long "log.message.timestamp.before.max.ms" = "9223372036854775807", AtLeast(0), Cluster + honoured:
            "How far a record's timestamp may lie behind the broker's clock.";
        Long "log.message.timestamp.after.max.ms" = "3600000", AtLeast(0), Cluster + honoured:
            "How far a record's timestamp may lie ahead of the broker's clock.";
        Int "message.max.bytes" = "1048588", AtLeast(0), Cluster + honoured:
            "The largest record batch that is accepted.";
        Int "max.decompressed.message.bytes" = "2147483639", Between(1, 2147483639), Cluster + honoured:
            "The largest a record batch may become when it is decompressed.";
        String "compression.type" = "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Cluster + honoured:
            "The codec that batches are stored with; producer keeps what they arrive with.";
        Int "compression.gzip.level" = "-1", BetweenOr(1, 9, -1), Cluster + honoured:
            "The level to compress with where the codec is gzip; -1 is the codec's own default.";
        Int "compression.lz4.level" = "9", Between(1, 17), Cluster:
            "The level to compress with where the codec is lz4.";
        Int "compression.zstd.level" = "3", Between(-131072, 22), Cluster + honoured:
            "The level to compress with where the codec is zstd.";
        Boolean "log.cleaner.enable" = "true", Any, Node + honoured:
            "Whether logs are compacted.";
        Int "log.cleaner.threads" = "1", AtLeast(0), Cluster + honoured:
            "Threads that compact logs.";
        Double "log.cleaner.io.max.bytes.per.second" = "1.7976931348623157E308", Any, Cluster + honoured:
            "The most bytes a second that compaction reads and writes.";
        Long "log.cleaner.dedupe.buffer.size" = "134217728", Any, Cluster + honoured:
            "Memory for the keys of the log being compacted, over all cleaner threads.";
        Int "log.cleaner.io.buffer.size" = "524288", AtLeast(0), Cluster + honoured:
            "Memory for reading and writing while compacting, over all cleaner threads.";
        Double "log.cleaner.io.buffer.load.factor" = "0.9", Any, Cluster + honoured:
            "How full the map of keys may become.";
        Long "log.cleaner.backoff.ms" = "15000", AtLeast(0), Cluster + honoured:
            "How long the cleaner sleeps when there is nothing to compact.";
        Double "log.cleaner.min.cleanable.ratio" = "0.5", Fraction(0.0, 1.0), Cluster + honoured:
            "The share of a log that must be uncompacted before it is compacted.";
        Long "log.cleaner.delete.retention.ms" = "86400000", AtLeast(0), Cluster + honoured:
            "How long tombstones are kept in compacted logs.";
        Long "log.cleaner.min.compaction.lag.ms" = "0", AtLeast(0), Cluster + honoured:
            "How long a record stays uncompacted at least.";
        Long "log.cleaner.max.compaction.lag.ms" = "9223372036854775807", AtLeast(1), Cluster + honoured:
            "How long a record stays uncompacted at most.";
        Int "producer.id.expiration.ms" = "86400000", AtLeast(1), Cluster + honoured:
            "How long the state of an idle producer is kept.";
        Int "producer.id.expiration.check.interval.ms" = "600000", AtLeast(1), Node + honoured + internal:
            "How often expired producers are looked for.";
        Int "min.insync.replicas" = "1", AtLeast(1), Cluster + honoured:
            "How many replicas must be in sync for a write with acks=all to be taken.";
        Boolean "unclean.leader.election.enable" = "false", Any, Cluster + honoured:
            "Whether a replica that is out of sync may become leader, losing records, where no other is left.";
    },
};
