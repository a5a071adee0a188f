//! Tiered storage.

use crate::settings::setting::Check::{Any, AtLeast, Fraction, NotEmpty};
use crate::settings::setting::{Area, settings};

pub(super) const REMOTE: Area = Area {
    title: "Tiered storage",
    settings: settings! {
        Boolean "remote.log.storage.system.enable" = "false", Any, Node:
            "Whether tiered storage is on.";
        String "remote.log.storage.manager.class.name" = null, NotEmpty, Node:
            "The class that reads and writes the remote tier.";
        String "remote.log.storage.manager.class.path" = null, Any, Node:
            "Where that class is loaded from.";
        String "remote.log.storage.manager.impl.prefix" = "rsm.config.", NotEmpty, Node:
            "What the names of that class's own settings begin with.";
        String "remote.log.metadata.manager.class.name" = "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", NotEmpty, Node:
            "The class that keeps the metadata of the remote tier.";
        String "remote.log.metadata.manager.class.path" = null, Any, Node:
            "Where that class is loaded from.";
        String "remote.log.metadata.manager.impl.prefix" = "rlmm.config.", NotEmpty, Node:
            "What the names of that class's own settings begin with.";
        String "remote.log.metadata.manager.listener.name" = null, NotEmpty, Node:
            "The listener that the metadata manager connects to.";
        Int "remote.log.metadata.custom.metadata.max.bytes" = "128", AtLeast(0), Node:
            "The largest metadata of its own that the storage manager may keep with a segment.";
        Long "remote.log.index.file.cache.total.size.bytes" = "1073741824", AtLeast(1), Cluster:
            "How much disk the cache of remote indexes takes.";
        Long "remote.log.index.file.cache.ttl.ms" = "900000", AtLeast(-1), Node + internal:
            "How long an unused remote index stays in the cache.";
        Int "remote.log.manager.thread.pool.size" = "2", AtLeast(1), Node:
            "Threads that schedule the work of the remote tier.";
        Int "remote.log.manager.copier.thread.pool.size" = "10", AtLeast(1), Cluster:
            "Threads that copy segments to the remote tier.";
        Int "remote.log.manager.expiration.thread.pool.size" = "10", AtLeast(1), Cluster:
            "Threads that delete expired remote segments.";
        Int "remote.log.manager.follower.thread.pool.size" = "2", AtLeast(1), Cluster:
            "Threads that follow the remote tier on followers.";
        Long "remote.log.manager.task.interval.ms" = "30000", AtLeast(1), Node:
            "How often those tasks run.";
        Long "remote.log.manager.task.retry.backoff.ms" = "500", AtLeast(1), Node + internal:
            "How long a failed task waits at first.";
        Long "remote.log.manager.task.retry.backoff.max.ms" = "30000", AtLeast(1), Node + internal:
            "How long a failed task waits at most.";
        Double "remote.log.manager.task.retry.jitter" = "0.2", Fraction(0.0, 0.5), Node + internal:
            "By what share that wait is varied at random.";
        Long "remote.log.manager.copy.max.bytes.per.second" = "9223372036854775807", AtLeast(1), Cluster:
            "Bytes a second that are copied to the remote tier.";
        Int "remote.log.manager.copy.quota.window.num" = "11", AtLeast(1), Node:
            "Samples of the copy quota that are kept.";
        Int "remote.log.manager.copy.quota.window.size.seconds" = "1", AtLeast(1), Node:
            "How long one sample of the copy quota is.";
        Long "remote.log.manager.fetch.max.bytes.per.second" = "9223372036854775807", AtLeast(1), Cluster:
            "Bytes a second that are fetched from the remote tier.";
        Int "remote.log.manager.fetch.quota.window.num" = "11", AtLeast(1), Node:
            "Samples of the fetch quota that are kept.";
        Int "remote.log.manager.fetch.quota.window.size.seconds" = "1", AtLeast(1), Node:
            "How long one sample of the fetch quota is.";
        Int "remote.log.reader.threads" = "10", AtLeast(1), Cluster:
            "Threads that read from the remote tier.";
        Int "remote.log.reader.max.pending.tasks" = "100", AtLeast(1), Node:
            "Reads from the remote tier that may wait.";
        Int "remote.fetch.max.wait.ms" = "500", AtLeast(1), Cluster:
            "How long a fetch waits for the remote tier.";
        Long "remote.list.offsets.request.timeout.ms" = "30000", AtLeast(1), Cluster:
            "How long a ListOffsets waits for the remote tier.";
        Long "log.local.retention.ms" = "-2", AtLeast(-2), Cluster:
            "How long tiered records are also kept on the broker; -2 is as long as log.retention.ms says.";
        Long "log.local.retention.bytes" = "-2", AtLeast(-2), Cluster:
            "How much of a tiered log is also kept on the broker; -2 is as much as log.retention.bytes says.";
        Long "log.remote.copy.lag.ms" = "0", AtLeast(-1), Cluster:
            "How old a segment becomes before it is copied to the remote tier; -1 lets local retention decide.";
        Long "log.remote.copy.lag.bytes" = "-1", AtLeast(-1), Cluster:
            "How much of a log is left uncopied; -1 lets local retention decide.";
    },
};
