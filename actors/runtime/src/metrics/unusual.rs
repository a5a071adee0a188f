//! Actors that do not run as they should: kept by themselves, so that who asks for them goes through no others.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, Weak};

use super::{Entry, Registry, Status, lock};
use crate::world::Clock;

/// Of so many below one parent the others are not looked through.
const SIBLINGS: usize = 20;
/// So many are looked at while nobody else can be noted.
const AT_ONCE: usize = 64;

/// An actor that does not run as it should, or on which somebody has set a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusual {
    pub path: Arc<str>,
    /// In a few words.
    pub what: String,
}

/// Whoever may be unusual, by path. Who asks strikes out those that are well again.
#[derive(Default)]
pub(super) struct Noted(Mutex<BTreeMap<Arc<str>, Weak<Entry>>>);

impl Noted {
    /// Nobody holds the entry's state: who asks holds this and looks at that.
    pub(super) fn note(&self, entry: &Arc<Entry>) {
        lock(&self.0).insert(entry.path.clone(), Arc::downgrade(entry));
    }

    pub(super) fn forget(&self, entry: &Entry) {
        let mut noted = lock(&self.0);
        let is_this = |there: &Weak<Entry>| std::ptr::eq(there.as_ptr(), entry);
        if noted.get(&entry.path).is_some_and(is_this) {
            noted.remove(&entry.path);
        }
    }

    /// Of the next ones, those that are unusual; where to go on, as long as there are more.
    fn page(
        &self,
        clock: &dyn Clock,
        from: &mut Bound<Arc<str>>,
        siblings: &mut Siblings,
    ) -> (Vec<Unusual>, bool) {
        let mut noted = lock(&self.0);
        let (mut found, mut well) = (Vec::new(), Vec::new());
        let mut more = false;
        for (count, (path, entry)) in
            noted.range::<Arc<str>, _>((from.clone(), Bound::Unbounded)).enumerate()
        {
            if count == AT_ONCE {
                more = true;
                break;
            }
            *from = Bound::Excluded(path.clone());
            let Some(what) = entry.upgrade().and_then(|entry| entry.unusual(clock)) else {
                well.push(path.clone());
                continue;
            };
            if let Some(behind) = siblings.are_enough(path) {
                *from = Bound::Included(behind);
                more = true;
                break;
            }
            found.push(Unusual { path: path.clone(), what });
        }
        for path in well {
            noted.remove(&path);
        }
        (found, more)
    }
}

/// How many of one parent's children were found.
#[derive(Default)]
struct Siblings {
    parent: String,
    found: usize,
}

impl Siblings {
    /// Where there were enough of them: what is behind all of them.
    fn are_enough(&mut self, path: &str) -> Option<Arc<str>> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if self.parent != parent {
            *self = Siblings { parent: parent.to_owned(), found: 0 };
        }
        self.found += 1;
        // The character behind the slash.
        (self.found > SIBLINGS && !parent.is_empty()).then(|| format!("{parent}0").into())
    }
}

impl Registry {
    /// Those that do not run as they should: first of these and of those above them, then some of all others, at most so many of
    /// each. What that takes does not grow with the number of actors.
    pub fn unusual(&self, first: &[Arc<str>], most: usize) -> Vec<Unusual> {
        let clock = &*self.0.clock;
        let mut found: BTreeMap<Arc<str>, Unusual> = BTreeMap::new();
        for path in first {
            let own_and_above = std::iter::successors(Some(&**path), |path| {
                path.rsplit_once('/').map(|(above, _)| above)
            });
            for path in own_and_above {
                let Some(entry) = self.entry(path).filter(|_| found.len() < most) else { continue };
                if let Some(what) = entry.unusual(clock) {
                    found.insert(entry.path.clone(), Unusual { path: entry.path.clone(), what });
                }
            }
        }
        let mut named: Vec<Unusual> = found.values().cloned().collect();
        let (mut from, mut siblings) = (Bound::Unbounded, Siblings::default());
        let mut others = 0;
        loop {
            let (page, more) = self.0.noted.page(clock, &mut from, &mut siblings);
            let new = page.into_iter().filter(|unusual| !found.contains_key(&unusual.path));
            let new: Vec<Unusual> = new.take(most - others).collect();
            others += new.len();
            named.extend(new);
            if !more || others == most {
                return named;
            }
        }
    }
}

impl Entry {
    fn unusual(&self, clock: &dyn Clock) -> Option<String> {
        let state = lock(&self.state);
        let live = (state.status == Status::Running).then_some(state.stats.as_ref()).flatten();
        if let Some(fault) = live.and_then(|stats| stats.faults(clock.mono())) {
            return Some(format!("a fault is set on it: {fault}"));
        }
        match (state.status, live) {
            (Status::Running, Some(stats)) if state.stuck => {
                let message = stats.in_hand().unwrap_or("a message");
                let ms = stats.in_hand_for(clock).as_millis();
                Some(format!("has had {message} in hand for {ms} ms"))
            }
            (Status::Running, _) => None,
            (status, _) => {
                let last = state.trouble.as_ref().and_then(|trouble| trouble.last.as_ref());
                let failed = last.map(|(_, failure)| super::cut(failure.to_string()));
                let failed = failed.as_deref().unwrap_or("for no reason that is known");
                Some(format!("is {}: {failed}", status.name()))
            }
        }
    }
}
