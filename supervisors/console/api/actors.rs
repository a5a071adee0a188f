//! The supervision tree, a level at a time.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use runtime::{ActorTree, Order, World};
use serde_json::{Value, json};

use super::query::Asked;
use super::{All, Answer, ApiError, Json, Seen};

/// Looks are shared for so long: each goes through all actors.
const FRESH: Duration = Duration::from_millis(1000);
/// What failed so lately is shown as troubled.
const LATELY_MS: u64 = 300_000;
/// So many messages wait only for who does not keep up.
const MANY: u64 = 100;

/// What was seen of a node's actors the last time.
#[derive(Default)]
pub(super) struct Looks {
    last: Mutex<Option<Look>>,
    looking: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Look {
    at: Duration,
    forest: Arc<Vec<ActorTree>>,
}

impl Looks {
    fn fresh(&self, world: &World) -> Option<Arc<Vec<ActorTree>>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = last.as_ref().filter(|look| world.mono().saturating_sub(look.at) < FRESH);
        fresh.map(|look| look.forest.clone())
    }

    async fn look(&self, world: &World) -> Arc<Vec<ActorTree>> {
        // One at a time; who waited takes what the one before found.
        let _looking = self.looking.lock().await;
        if let Some(forest) = self.fresh(world) {
            return forest;
        }
        let forest = Arc::new(world.registry().look(world).await);
        let look = Look { at: world.mono(), forest: forest.clone() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
        forest
    }

    /// Tens of thousands of actors take megabytes: nobody looks any more.
    pub(super) fn forget_old(&self, world: &World) {
        if self.fresh(world).is_none() {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// What is wrong with an actor, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Ok,
    /// It does not keep up.
    Behind,
    /// It failed lately, is being restarted, or has a fault set.
    Troubled,
    /// It was given up, or does not come to an end.
    Down,
}

impl Health {
    fn of(actor: &ActorTree) -> Health {
        let lately = actor.last_failure_ago_ms.is_some_and(|ago| ago < LATELY_MS);
        match actor {
            _ if actor.status == "offline" || actor.stuck => Health::Down,
            _ if actor.status != "running" || lately || actor.fault.is_some() => Health::Troubled,
            _ if actor.mailbox_depth >= MANY => Health::Behind,
            _ => Health::Ok,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Behind => "behind",
            Health::Troubled => "troubled",
            Health::Down => "down",
        }
    }
}

/// Over an actor and all below it.
#[derive(Clone, Copy)]
struct Below {
    health: Health,
    actors: usize,
    /// Threads that they keep busy.
    load: f64,
}

impl Below {
    fn of(actor: &ActorTree) -> Below {
        let own = Below { health: Health::of(actor), actors: 1, load: actor.busy_share_recent };
        actor.children.iter().map(Below::of).fold(own, |sum, next| Below {
            health: sum.health.max(next.health),
            actors: sum.actors + next.actors,
            load: sum.load + next.load,
        })
    }
}

fn brief(actor: &ActorTree) -> Value {
    let below = Below::of(actor);
    json!({
        "path": actor.path, "name": actor.name, "kind": actor.kind, "status": actor.status, "state": actor.state,
        "health": Health::of(actor).name(), "worst": below.health.name(),
        "actors": below.actors, "load": below.load, "own_load": actor.busy_share_recent,
        "children": actor.children.len(), "mailbox": actor.mailbox_depth, "handled": actor.handled,
        "restarts": actor.restarts, "p99_micros": actor.p99_micros, "max_micros": actor.max_micros,
    })
}

fn find<'a>(forest: &'a [ActorTree], path: &str) -> Option<&'a ActorTree> {
    let is_on_the_way = |actor: &&ActorTree| {
        path.strip_prefix(&*actor.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let actor = forest.iter().find(is_on_the_way)?;
    if actor.path == path { Some(actor) } else { find(&actor.children, path) }
}

fn search<'a>(actors: &'a [ActorTree], wanted: &str, found: &mut Vec<&'a ActorTree>) {
    for actor in actors {
        let texts = [&actor.name, &actor.kind, &actor.state];
        if texts.iter().any(|text| text.to_lowercase().contains(wanted)) {
            found.push(actor);
        }
        search(&actor.children, wanted, found);
    }
}

fn sort(actors: &mut [&ActorTree], by: &str) -> Result<(), ApiError> {
    match by {
        "name" => {}
        "load" => actors.sort_by(|a, b| Below::of(b).load.total_cmp(&Below::of(a).load)),
        "health" => actors.sort_by_key(|actor| Reverse(Below::of(actor).health)),
        _ => {
            let unknown = || ApiError::wrong("nothing is sorted by that");
            let order = Order::named(by).ok_or_else(unknown)?;
            actors.sort_by_key(|actor| Reverse(order.key(actor)));
        }
    }
    Ok(())
}

/// Of the actor at `path`, or of the root: its children, or with `search` all below it that are meant.
pub(super) async fn children(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let (seen, page, wanted) = (all.meant(&asked)?, asked.page()?, asked.search()?);
    let forest = seen.looks.look(&seen.world).await;
    let of = match asked.text("path") {
        None => forest.first(),
        Some(path) => find(&forest, path),
    };
    let of = of.ok_or_else(gone)?;
    let mut actors = Vec::new();
    match wanted.is_empty() {
        true => actors.extend(&of.children),
        false => search(&of.children, &wanted, &mut actors),
    }
    sort(&mut actors, asked.text("sort").unwrap_or("name"))?;
    let total = actors.len();
    let shown: Vec<Value> = page.of(actors).map(brief).collect();
    Ok(Json(json!({ "of": brief(of), "total": total, "offset": page.offset, "actors": shown })))
}

fn gone() -> ApiError {
    ApiError::missing("there is no such actor, or no longer")
}

/// All that is known of one actor.
pub(super) async fn one(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let seen: &Seen = all.meant(&asked)?;
    let path = asked.needed("path")?;
    let forest = seen.looks.look(&seen.world).await;
    let actor = find(&forest, path).ok_or_else(gone)?;
    let below = Below::of(actor);
    let mut told = brief(actor);
    // All but those below it, of which there may be tens of thousands.
    let more = json!({
        "bulkhead": actor.bulkhead, "generation": actor.generation, "age_ms": actor.age_ms,
        "place_age_ms": actor.place_age_ms, "restarted": actor.restarted, "last_failure": actor.last_failure,
        "last_failure_ago_ms": actor.last_failure_ago_ms, "backtrace": actor.backtrace,
        "mailbox_high": actor.mailbox_high, "credits": actor.credits, "messages": actor.messages,
        "in_hand": actor.in_hand, "in_hand_ms": actor.in_hand_ms, "stuck": actor.stuck,
        "busy_micros": actor.busy_micros, "busy_share": actor.busy_share, "p50_micros": actor.p50_micros,
        "fault": actor.fault, "numbers": actor.numbers, "below": below.actors - 1,
    });
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    Ok(Json(told))
}
