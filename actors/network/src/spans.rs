//! What is kept of a sampled request: itself and the parts of its time.

use std::time::Duration;

use runtime::{Registry, Span, SpanOf};

use crate::api::ConnectionInfo;
use crate::requests::{Moments, Part};

/// Of one whose answer is out.
pub(crate) fn keep(
    registry: &Registry,
    moments: &Moments,
    now: Duration,
    by: &ConnectionInfo,
    client_id: &str,
) {
    let request = moments.id;
    let keep = |did, began, took| {
        registry.keep_span(Span { request, did, began, took, failed: None });
    };
    let facts = vec![
        ("kafka.api.version", moments.version.to_string()),
        ("client.id", client_id.to_owned()),
        ("client.software", by.software().to_owned()),
        ("client.address", by.peer.to_string()),
        ("kafka.listener", by.listener.name.clone()),
    ];
    let did = SpanOf::Request { name: moments.key.name(), facts };
    keep(did, moments.came, now.saturating_sub(moments.came));
    let mut began = moments.came;
    for (part, took) in Part::ALL.into_iter().zip(moments.parts(now)) {
        keep(SpanOf::Part(part.name()), began, took);
        began += took;
    }
}
