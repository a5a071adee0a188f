//! Network.

use crate::settings::setting::Check::{AddressCounts, Any, AtLeast};
use crate::settings::setting::{Area, settings};

pub(super) const NETWORK: Area = Area {
    title: "Network",
    settings: settings! {
        List "listeners" = "PLAINTEXT://:9092", Any, Broker + honoured_at_start:
            "Where this node listens: NAME://HOST:PORT, separated by commas; no host means every address.";
        List "advertised.listeners" = null, Any, Node + honoured:
            "Where clients are told to connect; the listeners themselves unless given.";
        String "listener.security.protocol.map" = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", Any, Broker + honoured_at_start:
            "Which protocol each listener name speaks, as NAME:PROTOCOL pairs.";
        List "early.start.listeners" = null, Any, Node:
            "Listeners that may start before the authorizer is ready.";
        Int "num.network.threads" = "3", AtLeast(1), Cluster + honoured_at_start:
            "Threads that read from and write to sockets; fitted to the machine unless given.";
        Int "socket.send.buffer.bytes" = "102400", Any, Node + honoured:
            "The socket's send buffer; -1 leaves it to the operating system.";
        Int "socket.receive.buffer.bytes" = "102400", Any, Node + honoured:
            "The socket's receive buffer; -1 leaves it to the operating system.";
        Int "socket.request.max.bytes" = "104857600", AtLeast(1), Node + honoured:
            "The largest request that is read; a larger one closes its connection.";
        Int "socket.listen.backlog.size" = "50", AtLeast(1), Node + honoured:
            "Connections that may wait to be accepted; 4096, or what the operating system allows, unless given.";
        Long "socket.connection.setup.timeout.ms" = "10000", Any, Node:
            "How long connecting to another node may take at first.";
        Long "socket.connection.setup.timeout.max.ms" = "30000", Any, Node:
            "How long connecting to another node may take at most, after failures.";
        Int "max.connections" = "2147483647", AtLeast(0), Cluster + honoured:
            "Connections at one time, over all listeners of brokers; the controller counts its own. At the limit new ones wait. Where it is lowered, those longest unused are closed.";
        Int "max.connections.per.ip" = "2147483647", AtLeast(0), Cluster + honoured:
            "Connections at one time from one address; more are closed at once.";
        String "max.connections.per.ip.overrides" = "", AddressCounts, Cluster + honoured:
            "Other limits for some IP addresses, as ADDRESS:COUNT pairs; host names, which Kafka looks up, are refused.";
        Int "max.connection.creation.rate" = "2147483647", AtLeast(0), Cluster:
            "New connections in a second.";
        Long "connections.max.idle.ms" = "600000", Any, Node + honoured:
            "A connection idle for this long is closed.";
        Int "connection.failed.authentication.delay.ms" = "100", AtLeast(0), Node:
            "How long a connection that failed to authenticate is held before it is closed.";
        Int "queued.max.requests" = "500", AtLeast(1), Node:
            "Requests that may wait to be processed before sockets are no longer read.";
        Long "queued.max.request.bytes" = "-1", Any, Node + honoured:
            "Bytes of requests that may wait to be processed before sockets are no longer read; -1 is 268435456, where Kafka has no limit.";
        Int "fetch.max.bytes" = "57671680", AtLeast(1024), Node + honoured:
            "The most bytes one fetch response holds.";
        Int "max.incremental.fetch.session.cache.slots" = "1000", AtLeast(0), Node + honoured:
            "Incremental fetch sessions kept at one time.";
        Int "fetch.purgatory.purge.interval.requests" = "1000", Any, Node + honoured:
            "How often Kafka sweeps finished fetches out of its list of waiting ones; here they leave it at once.";
        Int "producer.purgatory.purge.interval.requests" = "1000", Any, Node + honoured:
            "How often Kafka sweeps finished produces out of its list of waiting ones; here they leave it at once.";
        Int "delete.records.purgatory.purge.interval.requests" = "1", Any, Node + honoured:
            "How often Kafka sweeps finished DeleteRecords out of its list of waiting ones; here they leave it at once.";
    },
};
