use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Entry, Registry, Status, bucket_limit_micros, lock};
use crate::world::World;

/// One actor and those below it, as it was when somebody looked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ActorTree {
    pub name: String,
    pub path: String,
    pub kind: String,
    /// running, restarting or offline.
    pub status: String,
    pub bulkhead: String,
    pub generation: u64,
    pub restarts: u64,
    pub last_failure: Option<String>,
    pub state: String,
    pub mailbox_depth: u64,
    pub handled: u64,
    pub messages: Vec<MessageCount>,
    pub in_hand: Option<String>,
    pub stuck: bool,
    pub busy_micros: u64,
    /// Upper bounds, estimated from a sample.
    pub p50_micros: u64,
    pub p99_micros: u64,
    pub numbers: BTreeMap<String, i64>,
    pub children: Vec<ActorTree>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MessageCount {
    pub name: String,
    pub handled: u64,
}

/// How long a look waits for actors that are busy; theirs is the line from before.
const LOOK_LIMIT: Duration = Duration::from_millis(100);
const LOOK_STEP: Duration = Duration::from_millis(2);

impl Registry {
    /// The forest of all actors, each asked for its state line first.
    pub async fn look(&self, world: &World) -> Vec<ActorTree> {
        let asked: Vec<_> =
            self.entries().into_iter().filter_map(|e| e.ask().map(|looks| (e, looks))).collect();
        let answers = async {
            for (entry, looks) in asked {
                while lock(&entry.state).looks == looks {
                    world.sleep(LOOK_STEP).await;
                }
            }
        };
        let _ = world.timeout(LOOK_LIMIT, answers).await;
        self.tree()
    }

    /// The forest of all actors, with the state lines of the last look.
    pub fn tree(&self) -> Vec<ActorTree> {
        let mut roots = Vec::new();
        // Sorted by path, so parents come before their children.
        let mut above: Vec<ActorTree> = Vec::new();
        let mut entries = self.entries();
        entries.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        for entry in entries {
            while above.last().is_some_and(|parent| !is_below(&entry.path, &parent.path)) {
                fold(&mut above, &mut roots);
            }
            above.push(entry.snapshot());
        }
        while !above.is_empty() {
            fold(&mut above, &mut roots);
        }
        roots
    }
}

fn is_below(path: &str, parent: &str) -> bool {
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
        let look = state.look.as_ref()?;
        let is_asked = state.is_asked || look();
        state.is_asked = is_asked;
        is_asked.then_some(state.looks)
    }

    fn snapshot(&self) -> ActorTree {
        let state = lock(&self.state);
        let totals = state.totals();
        let live = (state.status == Status::Running).then_some(state.stats.as_ref()).flatten();
        let counters = state.counters.0.iter().map(|(name, counter)| {
            (name.to_string(), i64::try_from(counter.get()).unwrap_or(i64::MAX))
        });
        let gauges = state.gauges.0.iter().map(|(name, gauge)| (name.to_string(), gauge.get()));
        ActorTree {
            name: self.path.rsplit('/').next().unwrap_or_default().to_owned(),
            path: self.path.to_string(),
            kind: self.kind.to_owned(),
            status: state.status.name().to_owned(),
            bulkhead: self.bulkhead.name().to_owned(),
            generation: state.generation,
            restarts: totals.restarts,
            last_failure: state.last_failure.as_ref().map(ToString::to_string),
            state: state.state_line.clone(),
            mailbox_depth: live.map_or(0, |stats| stats.depth()),
            handled: totals.handled.values().sum(),
            messages: totals
                .handled
                .iter()
                .map(|(name, handled)| MessageCount { name: name.to_string(), handled: *handled })
                .collect(),
            in_hand: live.and_then(|stats| stats.in_hand()).map(str::to_owned),
            stuck: state.stuck,
            busy_micros: totals.busy_micros,
            p50_micros: quantile(&totals.histogram, 0.5),
            p99_micros: quantile(&totals.histogram, 0.99),
            numbers: counters.chain(gauges).collect(),
            children: Vec::new(),
        }
    }
}

fn quantile(histogram: &[u64], share: f64) -> u64 {
    let total: u64 = histogram.iter().sum();
    let wanted = (total as f64 * share).ceil() as u64;
    let mut seen = 0;
    for (bucket, count) in histogram.iter().enumerate() {
        seen += count;
        if total > 0 && seen >= wanted {
            return bucket_limit_micros(bucket);
        }
    }
    0
}
