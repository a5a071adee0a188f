//! Metadata quorum.

use crate::settings::setting::Check::{Any, AtLeast};
use crate::settings::setting::{Area, settings};

pub(super) const QUORUM: Area = Area {
    title: "Metadata quorum",
    settings: settings! {
        List "controller.listener.names" = null, Any, Node + honoured:
            "The listeners that controllers use.";
        List "controller.quorum.voters" = "", Any, Node + honoured:
            "The voters of a quorum that is fixed, as ID@HOST:PORT, separated by commas.";
        List "controller.quorum.bootstrap.servers" = "", Any, Node + honoured:
            "Where the quorum is first sought, as HOST:PORT, separated by commas.";
        Boolean "controller.quorum.auto.join.enable" = "false", Any, Node + honoured:
            "Whether a controller joins the voters by itself.";
        Int "controller.quorum.election.timeout.ms" = "1000", AtLeast(0), Node + honoured:
            "How long a candidate waits for votes.";
        Int "controller.quorum.election.backoff.max.ms" = "1000", AtLeast(0), Node + honoured:
            "How long a candidate waits at most before it stands again.";
        Int "controller.quorum.fetch.timeout.ms" = "2000", AtLeast(0), Node + honoured:
            "How long a voter goes without its leader before it stands itself.";
        Int "controller.quorum.fetch.max.bytes" = "1048576", AtLeast(1), Node + honoured:
            "How many bytes a fetch of the metadata log asks for.";
        Int "controller.quorum.fetch.snapshot.max.bytes" = "1048576", AtLeast(1), Node + honoured:
            "How many bytes a fetch of a metadata snapshot asks for.";
        Int "controller.quorum.append.linger.ms" = "25", AtLeast(0), Node + honoured:
            "How long the quorum's leader gathers records before it brings them to the disk; it does not unless this is given.";
        Int "controller.quorum.request.timeout.ms" = "2000", AtLeast(0), Node + honoured:
            "How long a request within the quorum waits for its answer.";
        Int "controller.quorum.retry.backoff.ms" = "20", AtLeast(0), Node + honoured:
            "How long a failed request within the quorum waits before it is sent again.";
        String "metadata.log.dir" = null, Any, Node + honoured:
            "Where the metadata log is kept; the first of log.dirs unless given.";
        Int "metadata.log.segment.bytes" = "1073741824", AtLeast(8388608), Node + honoured:
            "The largest a segment of the metadata log grows.";
        Long "metadata.log.segment.ms" = "604800000", Any, Node + honoured:
            "The oldest a segment of the metadata log grows.";
        Long "metadata.max.retention.bytes" = "104857600", Any, Node + honoured:
            "How large the metadata log and its snapshots grow before the oldest go.";
        Long "metadata.max.retention.ms" = "604800000", Any, Node + honoured:
            "How long the metadata log and its snapshots are kept.";
        Long "metadata.log.max.record.bytes.between.snapshots" = "20971520", AtLeast(1), Node + honoured:
            "After how many bytes of records a new metadata snapshot is made.";
        Long "metadata.log.max.snapshot.interval.ms" = "3600000", AtLeast(0), Node + honoured:
            "After how long a new metadata snapshot is made, if there is anything new; 0 is never.";
        Int "metadata.max.idle.interval.ms" = "500", AtLeast(0), Node + honoured:
            "How often the active controller writes a no-op record, so that its high watermark moves; 0 is never.";
        Int "internal.metadata.log.segment.bytes" = null, Any, Node + honoured + internal:
            "Sets the metadata log's segment size below its usual minimum, for tests.";
        Int "internal.metadata.max.batch.size.in.bytes" = "8388608", Any, Node + internal:
            "The largest batch written to the metadata log.";
        Long "internal.metadata.delete.delay.millis" = "60000", Any, Node + honoured + internal:
            "How long deleted segments and snapshots of the metadata log stay on disk.";
    },
};
