//! Groups and committed offsets.

use crate::settings::setting::Check::{Any, AtLeast, OneOf, OneOfIgnoreCase};
use crate::settings::setting::{Area, settings};

pub(super) const GROUPS: Area = Area {
    title: "Groups and committed offsets",
    settings: settings! {
        Int "group.min.session.timeout.ms" = "6000", Any, Node + honoured:
            "The shortest session timeout a classic member may ask for.";
        Int "group.max.session.timeout.ms" = "1800000", Any, Node + honoured:
            "The longest session timeout a classic member may ask for.";
        Int "group.initial.rebalance.delay.ms" = "3000", Any, Node + honoured:
            "How long an empty classic group waits for more members before its first rebalance.";
        Int "group.max.size" = "2147483647", AtLeast(1), Node + honoured:
            "The most members of a classic group.";
        List "group.coordinator.rebalance.protocols" = "classic,consumer,streams", OneOf(&["consumer", "classic", "share", "streams"]), Node + honoured:
            "The group protocols this broker serves. It serves classic alone yet: where this is given it must say so.";
        Int "group.coordinator.threads" = "4", AtLeast(1), Node:
            "Threads of the group coordinator.";
        Int "group.coordinator.background.threads" = "2", AtLeast(1), Node:
            "Threads of the group coordinator for work that takes long.";
        Int "group.coordinator.append.linger.ms" = "-1", AtLeast(-1), Node:
            "How long the group coordinator gathers records before it writes them; -1 lets it adapt.";
        Int "group.coordinator.cached.buffer.max.bytes" = "1048588", AtLeast(524288), Cluster:
            "The largest write buffer the group coordinator keeps for its next write.";
        Int "offset.metadata.max.bytes" = "4096", Any, Node + honoured:
            "The largest metadata a client may commit with an offset.";
        Int "offsets.commit.timeout.ms" = "5000", AtLeast(1), Node + honoured:
            "How long a commit waits for its replicas.";
        Int "offsets.load.buffer.size" = "5242880", AtLeast(1), Node + honoured:
            "How much of an offsets partition is read at a time while it is loaded.";
        Int "offsets.retention.minutes" = "10080", AtLeast(1), Node + honoured:
            "How long committed offsets are kept once their group is empty.";
        Long "offsets.retention.check.interval.ms" = "600000", AtLeast(1), Node + honoured:
            "How often expired offsets are looked for.";
        Int "offsets.topic.num.partitions" = "50", AtLeast(1), Node + honoured:
            "Partitions of __consumer_offsets.";
        Short "offsets.topic.replication.factor" = "3", AtLeast(1), Node + honoured:
            "Replicas of __consumer_offsets; while there are fewer brokers it is not created.";
        Int "offsets.topic.segment.bytes" = "104857600", AtLeast(1), Node + honoured:
            "The segment size of __consumer_offsets.";
        Int "offsets.topic.compression.codec" = "0", Any, Node + honoured:
            "The codec of __consumer_offsets by its number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.";
        Int "group.consumer.session.timeout.ms" = "45000", AtLeast(1), Node:
            "The session timeout of consumer groups.";
        Int "group.consumer.min.session.timeout.ms" = "45000", AtLeast(1), Node:
            "The shortest session timeout that may be set for a consumer group.";
        Int "group.consumer.max.session.timeout.ms" = "60000", AtLeast(1), Node:
            "The longest session timeout that may be set for a consumer group.";
        Int "group.consumer.heartbeat.interval.ms" = "5000", AtLeast(1), Node:
            "How often members of consumer groups heartbeat.";
        Int "group.consumer.min.heartbeat.interval.ms" = "5000", AtLeast(1), Node:
            "The shortest heartbeat interval that may be set for a consumer group.";
        Int "group.consumer.max.heartbeat.interval.ms" = "15000", AtLeast(1), Node:
            "The longest heartbeat interval that may be set for a consumer group.";
        Int "group.consumer.max.size" = "2147483647", AtLeast(1), Node:
            "The most members of a consumer group.";
        List "group.consumer.assignors" = "uniform,range", Any, Node:
            "The assignors consumer groups may use; the first is the default.";
        Int "group.consumer.assignment.interval.ms" = "1000", AtLeast(0), Cluster:
            "The shortest time between two assignments of a consumer group.";
        Int "group.consumer.min.assignment.interval.ms" = "0", AtLeast(0), Node:
            "The shortest assignment interval that may be set for a consumer group.";
        Int "group.consumer.max.assignment.interval.ms" = "15000", AtLeast(0), Node:
            "The longest assignment interval that may be set for a consumer group.";
        Boolean "group.consumer.assignor.offload.enable" = "true", Any, Cluster + internal:
            "Whether assignments of consumer groups are worked out on a background thread.";
        String "group.consumer.migration.policy" = "bidirectional", OneOfIgnoreCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), Node:
            "In which directions a group may change between the classic and the consumer protocol while it runs.";
        Int "group.consumer.regex.refresh.interval.ms" = "600000", AtLeast(10000), Node + internal:
            "How often subscriptions by pattern are matched against the topics anew.";
        Int "group.streams.session.timeout.ms" = "45000", AtLeast(1), Node:
            "The session timeout of streams groups.";
        Int "group.streams.min.session.timeout.ms" = "45000", AtLeast(1), Node:
            "The shortest session timeout that may be set for a streams group.";
        Int "group.streams.max.session.timeout.ms" = "60000", AtLeast(1), Node:
            "The longest session timeout that may be set for a streams group.";
        Int "group.streams.heartbeat.interval.ms" = "5000", AtLeast(1), Node:
            "How often members of streams groups heartbeat.";
        Int "group.streams.min.heartbeat.interval.ms" = "5000", AtLeast(1), Node:
            "The shortest heartbeat interval that may be set for a streams group.";
        Int "group.streams.max.heartbeat.interval.ms" = "15000", AtLeast(1), Node:
            "The longest heartbeat interval that may be set for a streams group.";
        Int "group.streams.max.size" = "2147483647", AtLeast(1), Node:
            "The most members of a streams group.";
        List "group.streams.assignors" = "sticky", Any, Node:
            "The assignors streams groups may use; the first is the default.";
        Int "group.streams.num.standby.replicas" = "0", AtLeast(0), Node:
            "Standby replicas of each task.";
        Int "group.streams.max.standby.replicas" = "2", AtLeast(0), Node:
            "The most standby replicas that may be set for a streams group.";
        Int "group.streams.num.warmup.replicas" = "2", AtLeast(0), Node + internal:
            "Tasks that may be warmed up at one time.";
        Int "group.streams.max.warmup.replicas" = "20", AtLeast(0), Node + internal:
            "The most warm-up replicas that may be set for a streams group.";
        Long "group.streams.acceptable.recovery.lag" = "10000", AtLeast(0), Node + internal:
            "How far behind a task may be to count as caught up.";
        Int "group.streams.initial.rebalance.delay.ms" = "3000", AtLeast(0), Node:
            "How long an empty streams group waits for more members before its first assignment.";
        Int "group.streams.assignment.interval.ms" = "1000", AtLeast(0), Cluster:
            "The shortest time between two assignments of a streams group.";
        Int "group.streams.min.assignment.interval.ms" = "0", AtLeast(0), Node:
            "The shortest assignment interval that may be set for a streams group.";
        Int "group.streams.max.assignment.interval.ms" = "15000", AtLeast(0), Node:
            "The longest assignment interval that may be set for a streams group.";
        Boolean "group.streams.assignor.offload.enable" = "true", Any, Cluster + internal:
            "Whether assignments of streams groups are worked out on a background thread.";
        List "group.streams.rack.aware.assignment.tags" = "", Any, Node:
            "Client tags by which standby replicas are spread.";
        Int "group.streams.task.offset.interval.ms" = "60000", AtLeast(1), Node + internal:
            "How often members of streams groups report the offsets of their tasks.";
        Int "group.streams.min.task.offset.interval.ms" = "15000", AtLeast(1), Node + internal:
            "The shortest such interval that may be set for a streams group.";
        Class "group.streams.topology.description.plugin.class" = null, Any, Node:
            "A class that keeps the descriptions of topologies.";
    },
};
