//! Share groups.

use crate::settings::setting::Check::{Any, AtLeast, Between};
use crate::settings::setting::{Area, settings};

pub(super) const SHARES: Area = Area {
    title: "Share groups",
    settings: settings! {
        Int "group.share.session.timeout.ms" = "45000", AtLeast(1), Node:
            "The session timeout of share groups.";
        Int "group.share.min.session.timeout.ms" = "45000", AtLeast(1), Node:
            "The shortest session timeout that may be set for a share group.";
        Int "group.share.max.session.timeout.ms" = "60000", AtLeast(1), Node:
            "The longest session timeout that may be set for a share group.";
        Int "group.share.heartbeat.interval.ms" = "5000", AtLeast(1), Node:
            "How often members of share groups heartbeat.";
        Int "group.share.min.heartbeat.interval.ms" = "5000", AtLeast(1), Node:
            "The shortest heartbeat interval that may be set for a share group.";
        Int "group.share.max.heartbeat.interval.ms" = "15000", AtLeast(1), Node:
            "The longest heartbeat interval that may be set for a share group.";
        Int "group.share.max.size" = "200", Between(1, 1000), Node:
            "The most members of a share group.";
        List "group.share.assignors" = "simple", Any, Node:
            "The assignors share groups may use; the first is the default.";
        Int "group.share.assignment.interval.ms" = "1000", AtLeast(0), Cluster:
            "The shortest time between two assignments of a share group.";
        Int "group.share.min.assignment.interval.ms" = "0", AtLeast(0), Node:
            "The shortest assignment interval that may be set for a share group.";
        Int "group.share.max.assignment.interval.ms" = "15000", AtLeast(0), Node:
            "The longest assignment interval that may be set for a share group.";
        Boolean "group.share.assignor.offload.enable" = "true", Any, Cluster + internal:
            "Whether assignments of share groups are worked out on a background thread.";
        Int "group.share.delivery.count.limit" = "5", Between(2, 10), Node:
            "How often a record is delivered at most.";
        Int "group.share.min.delivery.count.limit" = "2", Between(2, 5), Node:
            "The lowest delivery limit that may be set for a share group.";
        Int "group.share.max.delivery.count.limit" = "10", Between(5, 25), Node:
            "The highest delivery limit that may be set for a share group.";
        Int "group.share.record.lock.duration.ms" = "30000", Between(1000, 3600000), Node:
            "How long a consumer holds a record before others may have it.";
        Int "group.share.min.record.lock.duration.ms" = "15000", Between(1000, 30000), Node:
            "The shortest lock that may be set for a share group.";
        Int "group.share.max.record.lock.duration.ms" = "60000", Between(30000, 3600000), Node:
            "The longest lock that may be set for a share group.";
        Int "group.share.partition.max.record.locks" = "2000", Between(100, 10000), Node:
            "Records of one partition that may be locked at one time.";
        Int "group.share.min.partition.max.record.locks" = "100", Between(100, 2000), Node:
            "The lowest such limit that may be set for a share group.";
        Int "group.share.max.partition.max.record.locks" = "4000", Between(2000, 10000), Node:
            "The highest such limit that may be set for a share group.";
        Int "group.share.max.share.sessions" = "2000", AtLeast(1), Node:
            "Share sessions kept at one time.";
        Int "group.share.initialize.retry.interval.ms" = "30000", AtLeast(1), Node + internal:
            "How often the first state of a share partition is tried to be written.";
        String "group.share.persister.class.name" = "org.apache.kafka.server.share.persister.DefaultStatePersister", Any, Node + internal:
            "The class that keeps the state of share groups.";
        String "group.share.dlq.manager.class.name" = "org.apache.kafka.server.share.dlq.DefaultShareGroupDLQManager", Any, Node + internal:
            "The class that writes undeliverable records of share groups.";
        Int "share.coordinator.state.topic.num.partitions" = "50", AtLeast(1), Node + honoured:
            "Partitions of __share_group_state.";
        Short "share.coordinator.state.topic.replication.factor" = "3", AtLeast(1), Node + honoured:
            "Replicas of __share_group_state; while there are fewer brokers it is not created.";
        Short "share.coordinator.state.topic.min.isr" = "2", AtLeast(1), Node + honoured:
            "The min.insync.replicas of __share_group_state.";
        Int "share.coordinator.state.topic.segment.bytes" = "104857600", AtLeast(1), Node + honoured:
            "The segment size of __share_group_state.";
        Int "share.coordinator.state.topic.compression.codec" = "0", Any, Node:
            "The codec of __share_group_state by its number; 0 is none.";
        Int "share.coordinator.state.topic.prune.interval.ms" = "300000", AtLeast(1), Node + internal:
            "How often old records of __share_group_state are deleted.";
        Int "share.coordinator.snapshot.update.records.per.snapshot" = "500", Between(0, 500), Node:
            "Updates between two snapshots of a share partition's state.";
        Int "share.coordinator.cold.partition.snapshot.interval.ms" = "300000", AtLeast(1), Node + internal:
            "How often share partitions that nobody uses are written anew.";
        Int "share.coordinator.write.timeout.ms" = "5000", AtLeast(1), Node:
            "How long a write of the share coordinator waits for its replicas.";
        Int "share.coordinator.load.buffer.size" = "5242880", AtLeast(1), Node:
            "How much of a share state partition is read at a time while it is loaded.";
        Int "share.coordinator.threads" = "1", AtLeast(1), Node:
            "Threads of the share coordinator.";
        Int "share.coordinator.append.linger.ms" = "-1", AtLeast(-1), Node:
            "How long the share coordinator gathers records before it writes them; -1 lets it adapt.";
        Int "share.coordinator.cached.buffer.max.bytes" = "1048588", AtLeast(524288), Cluster:
            "The largest write buffer the share coordinator keeps for its next write.";
        Int "share.fetch.purgatory.purge.interval.requests" = "1000", Any, Node:
            "After how many finished share fetches Kafka sweeps its list of waiting ones.";
        Boolean "errors.deadletterqueue.auto.create.topics.enable" = "false", Any, Cluster:
            "Whether topics for undeliverable records are created on first use.";
        String "errors.deadletterqueue.topic.name.prefix" = "dlq.", Any, Cluster:
            "What the names of topics for undeliverable records must begin with.";
    },
};
