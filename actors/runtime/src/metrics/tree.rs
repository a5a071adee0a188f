use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sample::quantile;
use super::scope::Scope;
use super::trouble::cut;
use super::{Entry, Gauge, Registry, Status, bucket_limit_micros, lock};
use crate::panics::Panicked;
use crate::world::{Clock, World};

/// One actor and those below it, as it was when somebody looked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ActorTree {
    pub name: String,
    pub path: String,
    pub kind: String,
    /// running, restarting or offline.
    pub status: String,
    pub bulkhead: String,
    pub generation: u64,
    /// How long ago this incarnation began, and the first one at this place.
    pub age_ms: u64,
    pub place_age_ms: u64,
    pub restarts: u64,
    /// The last of them, the newest last.
    pub restarted: Vec<Restarted>,
    pub last_failure: Option<String>,
    pub last_failure_ago_ms: Option<u64>,
    /// Of the last failure, where it was a panic.
    pub backtrace: Option<String>,
    pub state: String,
    pub mailbox_depth: u64,
    /// The most that ever waited.
    pub mailbox_high: u64,
    /// What it has taken in its own name of budgets ([`crate::Cx::credits`]), and not given back.
    pub credits: i64,
    pub handled: u64,
    pub messages: Vec<MessageCount>,
    pub in_hand: Option<String>,
    pub in_hand_ms: u64,
    pub stuck: bool,
    pub busy_micros: u64,
    /// How much of its time it had a message in hand: of its age, and of the last 10 to 20 s.
    pub busy_share: f64,
    pub busy_share_recent: f64,
    /// Upper bounds, estimated from a sample.
    pub p50_micros: u64,
    pub p99_micros: u64,
    /// Of those timed; of all others each that took long enough to be seen by the ticks of the machine's coarse clock.
    pub max_micros: u64,
    /// What somebody has set on purpose.
    pub fault: Option<String>,
    pub numbers: BTreeMap<String, i64>,
    /// So many below it are left out.
    pub hidden: u64,
    pub children: Vec<ActorTree>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MessageCount {
    pub name: String,
    pub handled: u64,
}

/// A new incarnation, and why there had to be one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Restarted {
    pub generation: u64,
    pub ago_ms: u64,
    pub cause: String,
}

/// How long a look waits for actors that are busy; theirs is the line from before.
const LOOK_LIMIT: Duration = Duration::from_millis(100);
const LOOK_STEP: Duration = Duration::from_millis(2);

impl Registry {
    /// The forest of all actors, each asked for its state line first.
    pub async fn look(&self, world: &World) -> Vec<ActorTree> {
        self.look_at(world, &Scope::default()).await
    }

    /// Asks these for their state lines, and how they came to panic.
    pub(super) async fn ask(&self, world: &World, entries: &[Arc<Entry>]) {
        let asked: Vec<_> =
            entries.iter().filter_map(|e| e.ask().map(|looks| (e, looks))).collect();
        let answers = async {
            for (entry, looks) in asked {
                while lock(&entry.state).looks == looks {
                    world.sleep(LOOK_STEP).await;
                }
            }
        };
        let _ = world.timeout(LOOK_LIMIT, answers).await;
        let untold: Vec<_> = entries.iter().filter_map(|e| e.untold_panic()).collect();
        if !untold.is_empty() {
            let tell = move || untold.iter().for_each(|panicked| drop(panicked.backtrace()));
            // One that is lost is one that is not shown.
            let _ = world.blocking("backtraces", tell).await;
        }
    }

    /// The forest of all actors, with the state lines of the last look.
    pub fn tree(&self) -> Vec<ActorTree> {
        self.forest(self.entries(), &BTreeMap::new())
    }

    /// `hidden`: how many are left out below whom.
    pub(super) fn forest(
        &self,
        mut entries: Vec<Arc<Entry>>,
        hidden: &BTreeMap<Arc<str>, u64>,
    ) -> Vec<ActorTree> {
        let mut roots = Vec::new();
        // Sorted by path, so parents come before their children.
        let mut above: Vec<ActorTree> = Vec::new();
        entries.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        for entry in entries {
            while above.last().is_some_and(|parent| !is_below(&entry.path, &parent.path)) {
                fold(&mut above, &mut roots);
            }
            let hidden = hidden.get(&entry.path).copied().unwrap_or(0);
            above.push(ActorTree { hidden, ..entry.snapshot(&*self.0.clock) });
        }
        while !above.is_empty() {
            fold(&mut above, &mut roots);
        }
        roots
    }
}

pub(super) fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

/// Hands the last one to its parent, or to the roots.
fn fold(above: &mut Vec<ActorTree>, roots: &mut Vec<ActorTree>) {
    if let Some(done) = above.pop() {
        above.last_mut().map_or(roots, |parent| &mut parent.children).push(done);
    }
}

impl Entry {
    /// Asks for the state line; the number of lines seen so far, or `None` where nobody would answer.
    fn ask(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let hands = state.hands.as_ref()?;
        let is_asked = state.is_asked || hands.look();
        state.is_asked = is_asked;
        is_asked.then_some(state.looks)
    }

    pub(super) fn snapshot(&self, clock: &dyn Clock) -> ActorTree {
        let state = lock(&self.state);
        let (totals, now) = (state.totals(), clock.mono());
        let ms = |since: Duration| now.saturating_sub(since).as_millis() as u64;
        let live = (state.status == Status::Running).then_some(state.stats.as_ref()).flatten();
        if let Some(stats) = live {
            stats.note(clock);
        }
        let numbers = state.numbers().into_iter().map(|(name, value)| (name.to_owned(), value));
        let shares = live.map(|stats| stats.busy_shares(clock));
        let (busy_share, busy_share_recent) = shares.unwrap_or_default();
        let in_hand = live.map(|stats| stats.in_hand_for(clock)).unwrap_or_default();
        let max_micros = totals.max_micros.max(in_hand.as_micros() as u64);
        // A bucket ends behind what is in it.
        let within = |share| {
            quantile(&totals.histogram, share)
                .map_or(0, |bucket| bucket_limit_micros(bucket).min(max_micros))
        };
        let trouble = state.trouble.as_deref();
        let last = trouble.and_then(|trouble| trouble.last.as_ref());
        let panicked = last.and_then(|(_, failure)| failure.panicked.as_ref());
        ActorTree {
            name: self.path.rsplit('/').next().unwrap_or_default().to_owned(),
            path: self.path.to_string(),
            kind: self.kind.to_owned(),
            status: state.status.name().to_owned(),
            bulkhead: self.bulkhead.name().to_owned(),
            generation: state.generation,
            age_ms: live.map_or(0, |stats| ms(stats.began())),
            place_age_ms: ms(self.since),
            restarts: totals.restarts,
            restarted: trouble.map(|trouble| trouble.restarts(now)).unwrap_or_default(),
            last_failure: last.map(|(_, failure)| cut(failure.to_string())),
            last_failure_ago_ms: last.map(|(at, _)| ms(*at)),
            backtrace: panicked.and_then(|panicked| Some(panicked.known_backtrace()?.to_string())),
            state: state.state_line.clone(),
            mailbox_depth: live.map_or(0, |stats| stats.depth()),
            mailbox_high: totals.high,
            credits: state.credits.as_ref().map_or(0, Gauge::get),
            handled: totals.handled.values().sum(),
            messages: totals
                .handled
                .iter()
                .map(|(name, handled)| MessageCount { name: name.to_string(), handled: *handled })
                .collect(),
            in_hand: live.and_then(|stats| stats.in_hand()).map(str::to_owned),
            in_hand_ms: in_hand.as_millis() as u64,
            stuck: state.stuck,
            busy_micros: totals.busy_micros,
            busy_share,
            busy_share_recent,
            p50_micros: within(0.5),
            p99_micros: within(0.99),
            max_micros,
            fault: live.and_then(|stats| stats.faults(now)),
            numbers: numbers.collect(),
            hidden: 0,
            children: Vec::new(),
        }
    }

    /// Where it panicked last, where nobody has asked for the way there yet.
    fn untold_panic(&self) -> Option<Arc<Panicked>> {
        let state = lock(&self.state);
        let (_, failure) = state.trouble.as_ref()?.last.as_ref()?;
        failure.panicked.clone().filter(|panicked| panicked.known_backtrace().is_none())
    }
}
