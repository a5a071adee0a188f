//! What Kafka has no name for.

use crate::settings::setting::Check::{Any, AtLeast, Fraction};
use crate::settings::setting::{Area, settings};

pub(super) const OWN: Area = Area {
    title: "Ottla's own",
    settings: settings! {
        Long "ottla.disk.warn.free.bytes" = "2147483648", AtLeast(0), Cluster + honoured + internal:
            "Less room than this on the disk of a log directory is warned of. Like the next two it is at most a share of the disk: here a tenth.";
        Long "ottla.disk.retain.free.bytes" = "1073741824", AtLeast(0), Cluster + honoured + internal:
            "With less room than this, or a twentieth of the disk, retention looks for old segments all the time, and what was deleted leaves the disk without delay.";
        Long "ottla.disk.refuse.free.bytes" = "268435456", AtLeast(0), Cluster + honoured + internal:
            "With less room than this, or a fortieth of the disk, producers to user topics are told to try again later; internal topics, reads and deletions go on.";
        Double "ottla.disk.early.retention" = "1.0", Fraction(0.0, 1.0), Cluster + honoured + internal:
            "The share of retention.ms and retention.bytes that holds for user topics while room is below ottla.disk.retain.free.bytes; 1 keeps all that was promised.";
        Int "ottla.disk.check.interval.ms" = "1000", AtLeast(1), Node + honoured + internal:
            "How often the room on the disks is measured.";
        Int "ottla.control.threads" = null, AtLeast(1), Node + honoured + internal:
            "Threads of the controller and all that is neither sockets nor disks; one on a machine of four cores or more, on smaller ones those of num.network.threads, unless given.";
        Long "ottla.recent.bytes" = "33554432", AtLeast(0), Node + honoured + internal:
            "Memory for the newest batches of all partitions led here, so that who reads at the end of a log needs no file; they are kept for 5 to 10 seconds, and 0 keeps none.";
        Boolean "ottla.faults.enable" = "false", Any, Node + honoured + internal:
            "Whether ottla fault may kill, pause, delay and fail the node's actors, from the machine that it runs on; for tests and drills.";
        Long "ottla.slow.request.ms" = "1000", AtLeast(1), Cluster + honoured + internal:
            "A request that takes as long is told of in the log, with where its time went; what a fetch waits for records and a member for its group does not count. At most ten in a second.";
        String "ottla.otel.endpoint" = null, Any, Node + honoured + internal:
            "Where an OpenTelemetry collector takes OTLP over HTTP, as http://HOST:PORT: traces of requests are sent there, with the actors that had a part in them. Unless given, none are made.";
        Double "ottla.otel.share" = "0.01", Fraction(0.0, 1.0), Node + honoured + internal:
            "The share of requests that are traced where ottla.otel.endpoint is given.";
        Boolean "ottla.failover.fast" = "true", Any, Node + honoured + internal:
            "A node whose process is known to be gone, as its connections are reset and nothing listens where it was, is replaced at once; else after the timeouts that count for one that is slow or cut off.";
    },
};
