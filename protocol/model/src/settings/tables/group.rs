//! Groups, one by one.

use crate::settings::setting::Check::{Any, AtLeast, OffsetReset, OneOf};
use crate::settings::setting::{Area, settings};

pub(super) const GROUP: Area = Area {
    title: "Groups, one by one",
    settings: settings! {
        Int "consumer.session.timeout.ms" = "45000", AtLeast(1), Group from ["group.consumer.session.timeout.ms" * 1]:
            "The group's session timeout, as a consumer group.";
        Int "consumer.heartbeat.interval.ms" = "5000", AtLeast(1), Group from ["group.consumer.heartbeat.interval.ms" * 1]:
            "How often its members heartbeat, as a consumer group.";
        Int "consumer.assignment.interval.ms" = "1000", AtLeast(0), Group from ["group.consumer.assignment.interval.ms" * 1]:
            "The shortest time between two of its assignments, as a consumer group.";
        Boolean "consumer.assignor.offload.enable" = "true", Any, Group + internal from ["group.consumer.assignor.offload.enable" * 1]:
            "Whether its assignments are worked out on a background thread, as a consumer group.";
        Int "share.session.timeout.ms" = "45000", AtLeast(1), Group from ["group.share.session.timeout.ms" * 1]:
            "The group's session timeout, as a share group.";
        Int "share.heartbeat.interval.ms" = "5000", AtLeast(1), Group from ["group.share.heartbeat.interval.ms" * 1]:
            "How often its members heartbeat, as a share group.";
        Int "share.assignment.interval.ms" = "1000", AtLeast(0), Group from ["group.share.assignment.interval.ms" * 1]:
            "The shortest time between two of its assignments, as a share group.";
        Boolean "share.assignor.offload.enable" = "true", Any, Group + internal from ["group.share.assignor.offload.enable" * 1]:
            "Whether its assignments are worked out on a background thread, as a share group.";
        Int "share.record.lock.duration.ms" = "30000", AtLeast(1000), Group from ["group.share.record.lock.duration.ms" * 1]:
            "How long a consumer holds a record before others may have it.";
        Int "share.delivery.count.limit" = "5", AtLeast(2), Group from ["group.share.delivery.count.limit" * 1]:
            "How often a record is delivered at most.";
        Int "share.partition.max.record.locks" = "2000", AtLeast(100), Group from ["group.share.partition.max.record.locks" * 1]:
            "Records of one partition that may be locked at one time.";
        String "share.auto.offset.reset" = "latest", OffsetReset, Group:
            "Where a new share group begins: latest, earliest, or by_duration:PnDTnHnMn.nS.";
        String "share.isolation.level" = "read_uncommitted", OneOf(&["read_committed", "read_uncommitted"]), Group:
            "Whether a share group sees records of open and aborted transactions.";
        Boolean "share.renew.acknowledge.enable" = "true", Any, Group:
            "Whether consumers may renew their hold on a record.";
        String "errors.deadletterqueue.topic.name" = "", Any, Group:
            "The topic for records that could not be delivered; empty is none.";
        Boolean "errors.deadletterqueue.copy.record.enable" = "false", Any, Group:
            "Whether the whole undeliverable record is copied, or only where it is.";
        Int "streams.session.timeout.ms" = "45000", AtLeast(1), Group from ["group.streams.session.timeout.ms" * 1]:
            "The group's session timeout, as a streams group.";
        Int "streams.heartbeat.interval.ms" = "5000", AtLeast(1), Group from ["group.streams.heartbeat.interval.ms" * 1]:
            "How often its members heartbeat, as a streams group.";
        Int "streams.assignment.interval.ms" = "1000", AtLeast(0), Group from ["group.streams.assignment.interval.ms" * 1]:
            "The shortest time between two of its assignments, as a streams group.";
        Boolean "streams.assignor.offload.enable" = "true", Any, Group + internal from ["group.streams.assignor.offload.enable" * 1]:
            "Whether its assignments are worked out on a background thread, as a streams group.";
        String "streams.assignor.name" = null, Any, Group from ["group.streams.assignors" * 1]:
            "The assignor of the streams group.";
        Int "streams.num.standby.replicas" = "0", AtLeast(0), Group from ["group.streams.num.standby.replicas" * 1]:
            "Standby replicas of each task.";
        Int "streams.num.warmup.replicas" = "2", AtLeast(0), Group + internal from ["group.streams.num.warmup.replicas" * 1]:
            "Tasks that may be warmed up at one time.";
        Long "streams.acceptable.recovery.lag" = "10000", AtLeast(0), Group + internal from ["group.streams.acceptable.recovery.lag" * 1]:
            "How far behind a task may be to count as caught up.";
        Int "streams.initial.rebalance.delay.ms" = "3000", AtLeast(0), Group from ["group.streams.initial.rebalance.delay.ms" * 1]:
            "How long the empty streams group waits for more members before its first assignment.";
        List "streams.rack.aware.assignment.tags" = "", Any, Group from ["group.streams.rack.aware.assignment.tags" * 1]:
            "Client tags by which standby replicas are spread.";
        Int "streams.task.offset.interval.ms" = "60000", AtLeast(1), Group + internal from ["group.streams.task.offset.interval.ms" * 1]:
            "How often its members report the offsets of their tasks.";
    },
};
