//! What OTLP calls an ExportTraceServiceRequest, in its JSON.

use std::time::Duration;

use model::{NodeId, Now};
use runtime::{RandomStream, Span, SpanOf};
use serde_json::{Value, json};

/// As OTLP numbers kinds of spans and states.
const INTERNAL: u32 = 1;
const SERVER: u32 = 2;
const ERROR: u32 = 2;

pub(super) struct Traces {
    resource: Value,
    /// Half of the id of each trace: those of other processes are others.
    process: u64,
    spans: RandomStream,
}

impl Traces {
    pub(super) fn new(node: NodeId, cluster_id: &str, mut random: RandomStream) -> Traces {
        let resource = json!({"attributes": [
            attribute("service.name", "ottla"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
            attribute("service.instance.id", &node.0.to_string()),
            attribute("kafka.cluster.id", cluster_id),
        ]});
        Traces { resource, process: random.next_u64(), spans: random }
    }

    pub(super) fn encoded(&mut self, spans: &[Span], now: Now) -> String {
        let spans: Vec<Value> = spans.iter().map(|span| self.span(span, now)).collect();
        let scope = json!({"name": "ottla", "version": env!("CARGO_PKG_VERSION")});
        let scoped = json!({"scope": scope, "spans": spans});
        json!({"resourceSpans": [{"resource": self.resource, "scopeSpans": [scoped]}]}).to_string()
    }

    fn span(&mut self, span: &Span, now: Now) -> Value {
        // The request's own span is known before it is there.
        let request = span.request.number();
        let of_request =
            json!({"key": "kafka.request.id", "value": {"stringValue": span.request.to_string()}});
        let began = unix_nanos(span.began, now);
        let mut told = json!({
            "traceId": format!("{:016x}{request:016x}", self.process),
            "startTimeUnixNano": began.to_string(),
            "endTimeUnixNano": (began + span.took.as_nanos()).to_string(),
        });
        let (name, id, attributes) = match &span.did {
            SpanOf::Request { name, facts } => {
                told["kind"] = SERVER.into();
                let facts = facts.iter().map(|(key, value)| attribute(key, value));
                (*name, request, facts.chain([of_request]).collect())
            }
            SpanOf::Part(name) => (*name, self.spans.next_u64().max(1), Vec::new()),
            SpanOf::Actor { path, message } => {
                (*message, self.spans.next_u64().max(1), vec![attribute("ottla.actor", path)])
            }
        };
        told["name"] = name.into();
        told["spanId"] = format!("{id:016x}").into();
        told["attributes"] = attributes.into();
        if id != request {
            told["kind"] = INTERNAL.into();
            told["parentSpanId"] = format!("{request:016x}").into();
        }
        if let Some(why) = &span.failed {
            told["status"] = json!({"code": ERROR, "message": why});
        }
        told
    }
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn unix_nanos(at: Duration, now: Now) -> u128 {
    let now_nanos = u128::try_from(now.wall_ms).unwrap_or(0) * 1_000_000;
    now_nanos.saturating_sub(now.mono.saturating_sub(at).as_nanos())
}
