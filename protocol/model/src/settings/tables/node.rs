//! Node and cluster.

use crate::settings::setting::Check::{Any, AtLeast, OneOf};
use crate::settings::setting::{Area, settings};

pub(super) const NODE: Area = Area {
    title: "Node and cluster",
    settings: settings! {
        Int "node.id" = null, AtLeast(0), Node + honoured:
            "The id of this node, unique in the cluster.";
        Int "broker.id" = "-1", Any, Node + honoured:
            "The old name of node.id; where both are given they must be equal.";
        List "process.roles" = null, OneOf(&["broker", "controller"]), Node + honoured:
            "What this node is: broker, controller, or both.";
        String "broker.rack" = null, Any, Node + honoured:
            "The rack this broker stands in; replicas are spread over racks, and consumers may fetch from their own.";
        Int "broker.heartbeat.interval.ms" = "2000", Any, Node + honoured:
            "How often a broker tells the controller that it is alive.";
        Int "broker.session.timeout.ms" = "9000", Any, Node + honoured:
            "A broker that has not been heard of for this long is fenced.";
        Int "initial.broker.registration.timeout.ms" = "60000", Any, Node + honoured:
            "How long a starting broker tries to register with the controller before it gives up.";
        Long "server.max.startup.time.ms" = "9223372036854775807", AtLeast(0), Node + internal:
            "A node that has not started within this time stops.";
        Boolean "controlled.shutdown.enable" = "true", Any, Node + honoured:
            "Whether a stopping broker hands its leaderships over first.";
        Boolean "auto.create.topics.enable" = "true", Any, Node + honoured:
            "Whether a topic is created when a client first asks for it.";
        Boolean "delete.topic.enable" = "true", Any, Node + honoured:
            "Whether topics may be deleted.";
        Int "num.partitions" = "1", AtLeast(1), Node + honoured:
            "Partitions of a topic that is created without saying how many.";
        Int "default.replication.factor" = "1", Any, Node + honoured:
            "Replicas of a topic that is created without saying how many.";
        Boolean "auto.leader.rebalance.enable" = "true", Any, Node + honoured:
            "Whether the controller gives leadership back to preferred leaders in the background.";
        Long "leader.imbalance.check.interval.seconds" = "300", AtLeast(1), Node + honoured:
            "How often the controller looks for partitions that are not led by their preferred leader.";
        Long "unclean.leader.election.interval.ms" = "300000", AtLeast(1), Node + internal + honoured:
            "How often the controller looks for partitions that need an unclean election.";
        Class "create.topic.policy.class.name" = null, Any, Node:
            "A class that decides whether a topic may be created.";
        Class "alter.config.policy.class.name" = null, Any, Node:
            "A class that decides whether a configuration may be altered.";
        Int "background.threads" = "10", AtLeast(1), Cluster + honoured_at_start:
            "Threads for background work; here for all jobs of a node that block: opening, syncing and cleaning logs; 16 unless given.";
        Int "num.io.threads" = "8", AtLeast(1), Cluster + honoured_at_start:
            "Threads that process requests; here the size of the pool for disk work; fitted to the machine unless given.";
        Int "request.timeout.ms" = "30000", Any, Node + honoured:
            "How long a request between nodes waits for its answer.";
        Int "max.request.partition.size.limit" = "2000", AtLeast(1), Node + honoured:
            "The most partitions one request may ask to have described.";
        Boolean "unstable.api.versions.enable" = "false", Any, Node + honoured + internal:
            "Whether versions of APIs that are not released yet are offered.";
        Boolean "unstable.feature.versions.enable" = "false", Any, Node + honoured + internal:
            "Whether versions of features that are not released yet may be used.";
        List "config.providers" = "", Any, Cluster:
            "Names of the sources that ${...} references in the configuration are resolved from.";
        Long "controller.performance.sample.period.ms" = "60000", AtLeast(100), Node + internal:
            "Over what time the controller samples how long its events take.";
        Long "controller.performance.always.log.threshold.ms" = "2000", AtLeast(0), Node + internal:
            "A controller event that takes this long is always logged.";
    },
};
