//! Replication.

use crate::settings::setting::Check::{Any, AtLeast, OneOf};
use crate::settings::setting::{Area, settings};

pub(super) const REPLICATION: Area = Area {
    title: "Replication",
    settings: settings! {
        String "inter.broker.listener.name" = null, Any, Node + honoured:
            "The listener that brokers use among themselves.";
        String "security.inter.broker.protocol" = "PLAINTEXT", OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Node:
            "The protocol brokers speak among themselves, where inter.broker.listener.name is not given.";
        Int "num.replica.fetchers" = "1", AtLeast(1), Cluster + honoured:
            "Fetchers for each leader's broker that a follower runs.";
        Long "replica.lag.time.max.ms" = "30000", Any, Node + honoured:
            "A follower that has not caught up for this long leaves the ISR.";
        Int "replica.fetch.min.bytes" = "1", Any, Node + honoured:
            "How many bytes a follower's fetch waits for.";
        Int "replica.fetch.max.bytes" = "1048576", AtLeast(0), Node + honoured:
            "How many bytes of one partition a follower's fetch asks for.";
        Int "replica.fetch.response.max.bytes" = "10485760", AtLeast(0), Node + honoured:
            "How many bytes a follower's fetch asks for in all.";
        Int "replica.fetch.wait.max.ms" = "500", Any, Node + honoured:
            "How long a follower's fetch waits at most.";
        Int "replica.fetch.backoff.ms" = "1000", AtLeast(0), Node + honoured:
            "How long a follower waits after a failed fetch.";
        Int "replica.socket.timeout.ms" = "30000", Any, Node + honoured:
            "How long a follower's request waits for its answer.";
        Int "replica.socket.receive.buffer.bytes" = "65536", Any, Node + honoured:
            "The receive buffer of a follower's socket.";
        Long "replica.high.watermark.checkpoint.interval.ms" = "5000", Any, Node + honoured:
            "How often high watermarks are written down.";
        String "replica.selector.class" = null, Any, Node + honoured:
            "A class that picks the replica a consumer should fetch from.";
        Int "controller.socket.timeout.ms" = "30000", Any, Node + honoured:
            "How long a broker waits for an answer of the controller before it asks over another connection.";
        Boolean "follower.fetch.last.tiered.offset.enable" = "false", Any, Cluster:
            "Whether an empty follower starts from the last tiered offset instead of the log's start.";
    },
};
