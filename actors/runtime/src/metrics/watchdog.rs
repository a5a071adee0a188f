use std::collections::BTreeMap;
use std::time::Duration;

use super::{Registry, Status, lock};

/// Finds handlers that do not come to an end. Whoever owns it calls [`check`](Self::check) now and then.
#[derive(Debug)]
pub struct Watchdog {
    registry: Registry,
    limit: Duration,
    /// By path: messages handled when the one in hand was first seen there, and when that was.
    seen: BTreeMap<String, (u64, u64, Duration)>,
}

impl Watchdog {
    /// Reports what has one message in hand for longer than `limit`.
    pub fn new(registry: Registry, limit: Duration) -> Watchdog {
        Watchdog { registry, limit, seen: BTreeMap::new() }
    }

    /// The paths of those that are stuck now. Each is logged once, when it is found. Traces that nobody asks for end.
    pub fn check(&mut self) -> Vec<String> {
        self.registry.end_traces();
        let now = self.registry.0.clock.mono();
        let mut seen = BTreeMap::new();
        let mut stuck = Vec::new();
        for entry in self.registry.entries() {
            let mut state = lock(&entry.state);
            let stats = state.stats.clone().filter(|_| state.status == Status::Running);
            if let Some(stats) = &stats {
                stats.note(&*self.registry.0.clock);
            }
            let Some((message, handled)) =
                stats.and_then(|stats| Some((stats.in_hand()?, stats.handled())))
            else {
                state.stuck = false;
                continue;
            };
            let path = entry.path().to_string();
            let same = |&&(generation, before, _): &&(u64, u64, Duration)| {
                generation == state.generation && before == handled
            };
            let since = self.seen.get(&path).filter(same).map_or(now, |&(_, _, since)| since);
            let is_stuck = now.saturating_sub(since) >= self.limit;
            if is_stuck {
                if !state.stuck {
                    tracing::warn!(%path, message, since = ?(now - since), "a handler is stuck");
                }
                stuck.push(path.clone());
            }
            state.stuck = is_stuck;
            let generation = state.generation;
            drop(state);
            if is_stuck {
                self.registry.0.noted.note(&entry);
            }
            seen.insert(path, (generation, handled, since));
        }
        self.seen = seen;
        stuck
    }
}
