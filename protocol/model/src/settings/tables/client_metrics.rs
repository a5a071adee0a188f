//! Client metrics subscriptions.

use crate::settings::setting::Check::Any;
use crate::settings::setting::{Area, settings};

pub(super) const CLIENT_METRICS: Area = Area {
    title: "Client metrics subscriptions",
    settings: settings! {
        List "metrics" = "", Any, ClientMetrics:
            "The metrics clients should push, by the beginnings of their names; * is all.";
        Int "interval.ms" = "300000", Any, ClientMetrics:
            "How often clients should push them.";
        List "match" = "", Any, ClientMetrics:
            "Which clients are meant, as NAME=PATTERN pairs.";
    },
};
