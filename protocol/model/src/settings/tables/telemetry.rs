//! Metrics and telemetry.

use crate::settings::setting::Check::{Any, AtLeast};
use crate::settings::setting::{Area, settings};

pub(super) const TELEMETRY: Area = Area {
    title: "Metrics and telemetry",
    settings: settings! {
        List "metric.reporters" = "org.apache.kafka.common.metrics.JmxReporter", Any, Cluster:
            "Classes that report metrics.";
        Int "metrics.num.samples" = "2", AtLeast(1), Node:
            "Samples a metric is worked out from.";
        Long "metrics.sample.window.ms" = "30000", AtLeast(1), Node:
            "How long one sample of a metric is.";
        String "metrics.recording.level" = "INFO", Any, Node:
            "Which metrics are recorded: INFO, DEBUG or TRACE.";
        List "kafka.metrics.reporters" = "", Any, Node:
            "Classes that report the broker's oldest metrics.";
        Int "kafka.metrics.polling.interval.secs" = "10", AtLeast(1), Node:
            "How often those are asked.";
        Int "telemetry.max.bytes" = "1048576", AtLeast(1), Node:
            "The largest metrics a client may push.";
    },
};
