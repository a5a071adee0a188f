//! A part of the tree, for who does not want all of it: only what is in it is looked up, asked and sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ActorTree, Entry, Registry, Status, lock};
use crate::world::World;

/// Which actors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// This one, and those below it.
    pub under: Option<String>,
    /// Those whose name, kind or status has this text, in whatever case; with a slash, whose path has it. Who is above them is there too.
    pub filter: Option<String>,
    /// So many levels at most; what is below is counted.
    pub depth: Option<usize>,
}

/// What makes an actor come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The share of the last seconds that it had a message in hand.
    #[default]
    Busy,
    /// Messages that wait.
    Depth,
    /// The longest handling times, most of all their 99th percentile.
    Slow,
    Restarts,
    Handled,
}

impl Order {
    pub const ALL: [(&'static str, Order); 5] = [
        ("busy", Order::Busy),
        ("depth", Order::Depth),
        ("slow", Order::Slow),
        ("restarts", Order::Restarts),
        ("handled", Order::Handled),
    ];

    pub fn named(name: &str) -> Option<Order> {
        Order::ALL.iter().find(|(there, _)| *there == name).map(|(_, order)| *order)
    }

    pub fn name(self) -> &'static str {
        Order::ALL.iter().find(|(_, order)| *order == self).map_or("", |(name, _)| name)
    }

    /// What is larger comes first.
    pub fn key(self, actor: &ActorTree) -> (u64, u64) {
        match self {
            Order::Busy => ((actor.busy_share_recent * 1e9) as u64, actor.busy_micros),
            Order::Depth => (actor.mailbox_depth, actor.mailbox_high),
            Order::Slow => (actor.p99_micros, actor.max_micros),
            Order::Restarts => (actor.restarts, u64::from(actor.last_failure.is_some())),
            Order::Handled => (actor.handled, 0),
        }
    }
}

/// The first actors in an order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TopPage {
    /// Under which they are, where one is named.
    pub under: Option<ActorTree>,
    /// Each without its children.
    pub first: Vec<ActorTree>,
    /// How many there are.
    pub all: usize,
}

impl TopPage {
    /// With those of another node.
    pub fn join(&mut self, other: TopPage, order: Order, most: usize) {
        self.under = self.under.take().or(other.under);
        self.all += other.all;
        self.first.extend(other.first);
        self.first.sort_by(|one, other| {
            order.key(other).cmp(&order.key(one)).then_with(|| one.path.cmp(&other.path))
        });
        self.first.truncate(most);
    }
}

impl Scope {
    fn has(&self, path: &str) -> bool {
        self.under.as_deref().is_none_or(|top| path == top || super::tree::is_below(path, top))
    }

    /// As many levels as it is below where the scope begins.
    fn level(&self, path: &str) -> usize {
        let above = self.under.as_deref().map_or(0, |top| top.matches('/').count());
        path.matches('/').count() - above
    }

    fn is_meant(&self, entry: &Entry) -> bool {
        let Some(filter) = self.filter.as_deref().map(str::to_lowercase) else { return true };
        let has = |text: &str| text.to_lowercase().contains(&filter);
        if filter.contains('/') {
            return has(&entry.path);
        }
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        let status = lock(&entry.state).status;
        has(name) || has(entry.kind) || (status != Status::Running && has(status.name()))
    }
}

/// Who is in a scope, and how many are below those whose children are left out.
struct Chosen {
    entries: Vec<Arc<Entry>>,
    hidden: BTreeMap<Arc<str>, u64>,
}

impl Registry {
    fn chosen(&self, scope: &Scope) -> Chosen {
        let there = self.entries();
        let mut meant: Vec<&Arc<Entry>> =
            there.iter().filter(|entry| scope.has(&entry.path) && scope.is_meant(entry)).collect();
        if scope.filter.is_some() {
            let above: BTreeSet<&str> = meant.iter().flat_map(|entry| above(&entry.path)).collect();
            let is_above = |entry: &&Arc<Entry>| above.contains(&*entry.path);
            let own = |entry: &&Arc<Entry>| scope.has(&entry.path) && !scope.is_meant(entry);
            meant.extend(there.iter().filter(is_above).filter(own));
        }
        let (mut entries, mut hidden) = (Vec::new(), BTreeMap::new());
        for entry in meant {
            let level = scope.level(&entry.path);
            match scope.depth.filter(|depth| level >= (*depth).max(1)) {
                None => entries.push(entry.clone()),
                Some(depth) => {
                    let last = above(&entry.path).nth(level - depth.max(1));
                    *hidden.entry(Arc::from(last.unwrap_or_default())).or_default() += 1;
                }
            }
        }
        Chosen { entries, hidden }
    }

    /// As [`Registry::look`], of a part.
    pub async fn look_at(&self, world: &World, scope: &Scope) -> Vec<ActorTree> {
        let Chosen { entries, hidden } = self.chosen(scope);
        self.ask(world, &entries).await;
        self.forest(entries, &hidden)
    }

    /// The first so many in this order, without the one that they are under.
    pub async fn top(&self, world: &World, scope: &Scope, order: Order, most: usize) -> TopPage {
        let clock = &*self.0.clock;
        let (mut top, mut ranked) = (None, Vec::new());
        for entry in self.entries() {
            if scope.under.as_deref() == Some(&*entry.path) {
                top = Some(entry);
            } else if scope.has(&entry.path) && scope.is_meant(&entry) {
                ranked.push((order.key(&entry.snapshot(clock)), entry));
            }
        }
        let all = ranked.len();
        ranked.sort_by(|(one, by), (other, with)| other.cmp(one).then(by.path.cmp(&with.path)));
        let mut shown: Vec<_> = ranked.into_iter().take(most).map(|(_, entry)| entry).collect();
        shown.extend(top.clone());
        self.ask(world, &shown).await;
        shown.truncate(shown.len() - usize::from(top.is_some()));
        TopPage {
            under: top.map(|entry| entry.snapshot(clock)),
            first: shown.iter().map(|entry| entry.snapshot(clock)).collect(),
            all,
        }
    }
}

/// The paths above a path, the nearest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(path.rsplit_once('/'), |(above, _)| above.rsplit_once('/'))
        .map(|(above, _)| above)
}
