//! What was done for sampled requests, kept until somebody takes it, as OpenTelemetry's exporter does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::traced::NOT_ENDED;
use super::trouble::cut;
use super::{Registry, lock};
use crate::actor::Outcome;
use crate::request::RequestId;
use crate::world::World;

/// So many are kept; what comes then is counted.
const MOST: usize = 4096;

#[derive(Debug)]
pub struct Span {
    pub request: RequestId,
    pub did: SpanOf,
    /// On the node's monotonic clock.
    pub began: Duration,
    pub took: Duration,
    pub failed: Option<String>,
}

#[derive(Debug)]
pub enum SpanOf {
    /// The request itself, under the name of its API.
    Request { name: &'static str, facts: Vec<(&'static str, String)> },
    /// A part of its time.
    Part(&'static str),
    /// An actor that handled a message.
    Actor { path: Arc<str>, message: &'static str },
}

#[derive(Debug, Default)]
pub(super) struct Spans(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Span>,
    lost: u64,
}

/// A message is in hand for a sampled request.
pub(crate) struct Spanning {
    request: RequestId,
    path: Arc<str>,
    message: &'static str,
    began: Duration,
    failed: Option<String>,
    world: World,
}

impl Spanning {
    /// None where it is not for one.
    pub(crate) fn begin(path: &Arc<str>, message: &'static str, world: &World) -> Option<Spanning> {
        let request = RequestId::current().filter(|request| request.is_sampled())?;
        let failed = Some(NOT_ENDED.to_owned());
        let (path, world, began) = (path.clone(), world.clone(), world.mono());
        Some(Spanning { request, path, message, began, failed, world })
    }

    pub(crate) fn end(mut self, outcome: &Outcome) {
        self.failed = outcome.as_ref().err().map(|failure| cut(failure.to_string()));
    }
}

impl Drop for Spanning {
    fn drop(&mut self) {
        let did = SpanOf::Actor { path: self.path.clone(), message: self.message };
        let (request, began, failed) = (self.request, self.began, self.failed.take());
        let took = self.world.mono().saturating_sub(began);
        self.world.registry().keep_span(Span { request, did, began, took, failed });
    }
}

impl Registry {
    /// Keeps what was done for a sampled request.
    pub fn keep_span(&self, span: Span) {
        let mut kept = lock(&self.0.spans.0);
        if kept.spans.len() < MOST {
            kept.spans.push(span);
        } else {
            kept.lost += 1;
        }
    }

    /// What was kept since the last call, and how many were not, as there were too many.
    pub fn take_spans(&self) -> (Vec<Span>, u64) {
        let Kept { spans, lost } = std::mem::take(&mut *lock(&self.0.spans.0));
        (spans, lost)
    }
}
