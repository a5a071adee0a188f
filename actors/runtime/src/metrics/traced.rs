//! What an actor did while somebody looks: of one whom nobody traces nothing is kept, nor timed for it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::trouble::cut;
use super::{Registry, Status, lock};
use crate::actor::Outcome;
use crate::metrics::NoSuchActor;
use crate::request::RequestId;
use crate::world::{Clock, World};

/// So much is kept of each, the newest.
const KEPT: usize = 1024;
/// So many actors of a node are traced at a time.
const MOST_TRACED: usize = 16;
/// A trace that nobody asks for ends.
const UNASKED: Duration = Duration::from_secs(5);

/// What came of a message whose handling is dropped before its end.
pub(super) const NOT_ENDED: &str = "killed as it was in hand";

/// What somebody asks for, again and again: else the trace ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskTrace {
    /// Its path, or as much of the path's end as no other actor's has.
    pub actor: String,
    /// [`Traced::next`] of the answer before.
    pub since: Option<TracePlace>,
}

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracePlace {
    /// When the trace began: tells it from earlier ones of the same actor.
    pub began_nanos: u64,
    pub line: u64,
}

/// What an actor did since that place; since now where none was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    pub path: String,
    /// running, restarting or offline.
    pub status: String,
    /// The trace from before has ended: it is not known what came between the two.
    pub interrupted: bool,
    /// What came before these lines and is no longer kept.
    pub lost: u64,
    pub lines: Vec<TraceLine>,
    /// The message that it handles right now.
    pub in_hand: Option<InHand>,
    pub next: TracePlace,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InHand {
    pub message: String,
    pub for_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceLine {
    /// When it began, in Unix milliseconds.
    pub at_ms: i64,
    /// The [`RequestId`] that it was for.
    pub request: Option<String>,
    pub did: Did,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Did {
    Handled { message: String, nanos: u64, failed: Option<String> },
    Restarted { generation: u64, cause: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTraced {
    #[error(transparent)]
    NoSuchActor(#[from] NoSuchActor),
    #[error("{MOST_TRACED} actors of the node are being traced: no more are at a time")]
    TooMany,
}

/// Over all incarnations of an actor, until nobody asks.
#[derive(Debug)]
pub(crate) struct Trace {
    began: Duration,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// When it ends, unless somebody asks before; none once it has.
    until: Option<Duration>,
    /// How many there were before those that are kept.
    before: u64,
    lines: VecDeque<Line>,
}

#[derive(Debug)]
struct Line {
    at: Duration,
    request: Option<RequestId>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Handled { message: &'static str, took: Duration, failed: Option<Cow<'static, str>> },
    Restarted { generation: u64, cause: Box<str> },
}

impl Kind {
    fn told(&self) -> Did {
        match self {
            Kind::Handled { message, took, failed } => Did::Handled {
                message: (*message).to_owned(),
                nanos: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
                failed: failed.as_deref().map(str::to_owned),
            },
            Kind::Restarted { generation, cause } => {
                Did::Restarted { generation: *generation, cause: cause.to_string() }
            }
        }
    }
}

impl Trace {
    fn new(now: Duration) -> Trace {
        let kept = Kept { until: Some(now + UNASKED), before: 0, lines: VecDeque::new() };
        Trace { began: now, kept: Mutex::new(kept) }
    }

    pub(crate) fn is_on(&self) -> bool {
        lock(&self.kept).until.is_some()
    }

    fn add(&self, at: Duration, request: Option<RequestId>, kind: Kind) {
        let mut kept = lock(&self.kept);
        if kept.until.is_none() {
            return;
        }
        if kept.lines.len() == KEPT {
            kept.lines.pop_front();
            kept.before += 1;
        }
        kept.lines.push_back(Line { at, request, kind });
    }

    pub(crate) fn restarted(&self, generation: u64, at: Duration, cause: String) {
        self.add(at, None, Kind::Restarted { generation, cause: cause.into() });
    }

    /// Ends it where its time is over; whether it goes on.
    fn goes_on(&self, now: Duration) -> bool {
        let mut kept = lock(&self.kept);
        if kept.until.is_some_and(|until| until <= now) {
            kept.until = None;
            kept.lines = VecDeque::new();
        }
        kept.until.is_some()
    }

    /// Keeps it on for some time; none where it has ended.
    fn asked(&self, since: Option<TracePlace>, clock: &dyn Clock) -> Option<Asked> {
        let now = clock.now();
        let mut kept = lock(&self.kept);
        kept.until?;
        kept.until = Some(now.mono + UNASKED);
        let end = kept.before + kept.lines.len() as u64;
        let began_nanos = u64::try_from(self.began.as_nanos()).unwrap_or(u64::MAX);
        let from = match since {
            Some(place) if place.began_nanos == began_nanos => place.line.min(end),
            // Of a trace that it follows on from all there is is new.
            Some(_) => 0,
            None => end,
        };
        let first = from.max(kept.before);
        let ago_ms = |at: Duration| now.mono.saturating_sub(at).as_millis() as i64;
        let lines = kept.lines.iter().skip((first - kept.before) as usize);
        let lines = lines.map(|Line { at, request, kind }| TraceLine {
            at_ms: now.wall_ms.saturating_sub(ago_ms(*at)),
            request: request.map(|request| request.to_string()),
            did: kind.told(),
        });
        Some(Asked {
            interrupted: since.is_some_and(|place| place.began_nanos != began_nanos),
            lost: first - from,
            lines: lines.collect(),
            next: TracePlace { began_nanos, line: end },
        })
    }
}

struct Asked {
    interrupted: bool,
    lost: u64,
    lines: Vec<TraceLine>,
    next: TracePlace,
}

/// A message is in hand, and traced.
pub(crate) struct Tracing {
    trace: Arc<Trace>,
    message: &'static str,
    request: Option<RequestId>,
    at: Duration,
    failed: Option<Cow<'static, str>>,
    world: World,
}

impl Tracing {
    pub(super) fn new(trace: Arc<Trace>, message: &'static str, world: &World) -> Tracing {
        let failed = Some(NOT_ENDED.into());
        let (request, at) = (RequestId::current(), world.mono());
        Tracing { trace, message, request, at, failed, world: world.clone() }
    }

    /// It came to this.
    pub(crate) fn end(mut self, outcome: &Outcome) {
        self.failed = outcome.as_ref().err().map(|failure| cut(failure.to_string()).into());
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let (message, failed) = (self.message, self.failed.take());
        let took = self.world.mono().saturating_sub(self.at);
        self.trace.add(self.at, self.request, Kind::Handled { message, took, failed });
    }
}

impl Registry {
    /// What the actor at a path did since then. It is traced from now on, for as long as somebody asks.
    ///
    /// # Errors
    /// It is gone, has not begun, or as many as may be are traced.
    pub fn trace(&self, path: &str, since: Option<TracePlace>) -> Result<Traced, NotTraced> {
        let clock = &*self.0.clock;
        let mut traces = lock(&self.0.traces);
        traces.retain(|trace| trace.goes_on(clock.mono()));
        let gone = || NoSuchActor::None { name: path.to_owned(), nearest: None };
        let entry = self.entry(path).ok_or_else(gone)?;
        let state = lock(&entry.state);
        let status = state.status.name();
        let down = || NoSuchActor::Down { path: path.to_owned(), status };
        let stats = state.stats.as_ref().ok_or_else(down)?;
        let trace = match stats.traced() {
            Some(trace) => trace,
            None if traces.len() >= MOST_TRACED => return Err(NotTraced::TooMany),
            None => {
                let trace = Arc::new(Trace::new(clock.mono()));
                traces.push(trace.clone());
                stats.trace(trace.clone());
                trace
            }
        };
        let asked = trace.asked(since, clock).ok_or_else(down)?;
        let Asked { interrupted, lost, lines, next } = asked;
        let in_hand = stats.in_hand().filter(|_| state.status == Status::Running).map(|message| {
            let for_ms = stats.in_hand_for(clock).as_millis() as u64;
            InHand { message: message.to_owned(), for_ms }
        });
        let (path, status) = (path.to_owned(), status.to_owned());
        Ok(Traced { path, status, interrupted, lost, lines, in_hand, next })
    }

    /// Ends those that nobody asks for.
    pub(super) fn end_traces(&self) {
        let now = self.0.clock.mono();
        lock(&self.0.traces).retain(|trace| trace.goes_on(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics_tests::world;
    use crate::world::Bulkhead;

    static NAMES: &[&str] = &["Stir"];

    fn begin(world: &World, path: &str) -> Arc<crate::metrics::Stats> {
        let entry = world.registry().add(path.to_owned(), "cook", Bulkhead::Control);
        entry.begin(1, &NAMES, world.mono())
    }

    fn stir(stats: &crate::metrics::Stats, world: &World, times: usize) {
        for _ in 0..times {
            if let Some(tracing) = stats.tracing("Stir", world) {
                tracing.end(&Ok(()));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_there_is_no_room_for_is_counted() {
        let world = world();
        let stats = begin(&world, "cook");
        let ask = |since| world.registry().trace("cook", since).unwrap();
        let place = ask(None).next;
        stir(&stats, &world, KEPT + 76);
        let traced = ask(Some(place));
        assert_eq!((traced.lines.len(), traced.lost), (KEPT, 76));
        assert_eq!(traced.next.line, place.line + (KEPT + 76) as u64);
        stir(&stats, &world, 3);
        let more = ask(Some(traced.next));
        assert_eq!((more.lines.len(), more.lost), (3, 0));
        let beyond = TracePlace { line: u64::MAX, ..place };
        assert_eq!(ask(Some(beyond)).lines, []);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_where_nobody_asks_and_then_costs_nothing() {
        let world = world();
        let stats = begin(&world, "cook");
        let ask = |since| world.registry().trace("cook", since).unwrap();
        assert!(!stats.is_watched());
        let mut place = ask(None).next;
        for _ in 0..3 {
            world.sleep(UNASKED - Duration::from_millis(1)).await;
            stir(&stats, &world, 2);
            let traced = ask(Some(place));
            assert_eq!((traced.lines.len(), traced.interrupted), (2, false));
            stats.befall(&world, Some("Stir")).await.unwrap();
            assert!(stats.is_watched());
            place = traced.next;
        }
        let trace = Arc::downgrade(&stats.traced().unwrap());
        world.sleep(UNASKED).await;
        world.registry().end_traces();
        stats.befall(&world, Some("Stir")).await.unwrap();
        assert!(!stats.is_watched());
        assert_eq!(trace.strong_count(), 0);
        stir(&stats, &world, 2);
        let anew = ask(Some(place));
        assert_eq!((anew.lines.len(), anew.interrupted), (0, true));
        assert!(stats.is_watched());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_traced_than_may_be() {
        let world = world();
        let paths: Vec<_> = (0..=MOST_TRACED).map(|number| format!("cook-{number}")).collect();
        let _all: Vec<_> = paths.iter().map(|path| begin(&world, path)).collect();
        let ask = |number: usize| world.registry().trace(&paths[number], None).map(|_| ());
        for _ in 0..2 {
            for number in 0..MOST_TRACED {
                assert_eq!(ask(number), Ok(()));
            }
            assert_eq!(ask(MOST_TRACED), Err(NotTraced::TooMany));
        }
        world.sleep(UNASKED).await;
        assert_eq!(ask(MOST_TRACED), Ok(()));
    }
}
