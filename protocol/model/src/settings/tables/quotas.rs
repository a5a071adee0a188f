//! Quotas.

use crate::settings::setting::Check::{Any, AtLeast};
use crate::settings::setting::{Area, settings};

pub(super) const QUOTAS: Area = Area {
    title: "Quotas",
    settings: settings! {
        Int "quota.window.num" = "11", AtLeast(1), Node:
            "Samples of client quotas that are kept.";
        Int "quota.window.size.seconds" = "1", AtLeast(1), Node:
            "How long one sample of client quotas is.";
        Int "replication.quota.window.num" = "11", AtLeast(1), Node + honoured:
            "Samples of replication quotas that are kept.";
        Int "replication.quota.window.size.seconds" = "1", AtLeast(1), Node + honoured:
            "How long one sample of replication quotas is.";
        Int "alter.log.dirs.replication.quota.window.num" = "11", AtLeast(1), Node:
            "Samples of quotas for moves between log directories that are kept.";
        Int "alter.log.dirs.replication.quota.window.size.seconds" = "1", AtLeast(1), Node:
            "How long one sample of those is.";
        Int "controller.quota.window.num" = "11", AtLeast(1), Node:
            "Samples of controller mutation quotas that are kept.";
        Int "controller.quota.window.size.seconds" = "1", AtLeast(1), Node:
            "How long one sample of controller mutation quotas is.";
        Class "client.quota.callback.class" = null, Any, Node:
            "The class that decides which quota a client has.";
        Long "leader.replication.throttled.rate" = "9223372036854775807", AtLeast(0), Cluster + honoured + internal:
            "Bytes a second that leaders send for throttled replicas.";
        Long "follower.replication.throttled.rate" = "9223372036854775807", AtLeast(0), Cluster + honoured + internal:
            "Bytes a second that followers take for throttled replicas.";
        Long "replica.alter.log.dirs.io.max.bytes.per.second" = "9223372036854775807", AtLeast(0), Cluster + honoured + internal:
            "Bytes a second that are moved between log directories.";
    },
};
