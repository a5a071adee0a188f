//! What clients were told, and whether what is left agrees with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::Uuid;

pub type Partition = (String, i32);

/// A record that a client was told of, by an acknowledgement or by reading it.
#[derive(Debug, Clone)]
struct Seen {
    how: &'static str,
    offset: i64,
    value: String,
    /// How often the power had failed when the connection that told of it was made.
    losses: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { how, offset, value, losses } = self;
        write!(f, "{value} at {offset}, {how} after {losses} power losses")
    }
}

#[derive(Debug, Default)]
struct State {
    /// Every record is synced before it is acknowledged.
    synced: bool,
    losses: u64,
    seen: BTreeMap<Partition, Vec<Seen>>,
    created: BTreeMap<String, Uuid>,
    deleted: BTreeSet<Uuid>,
    last: BTreeMap<Partition, Vec<String>>,
    violations: BTreeSet<String>,
    done: bool,
}

/// Shared by a scenario's clients; outlives the simulated world.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<State>>);

impl History {
    pub fn new(synced: bool) -> History {
        History(Arc::new(Mutex::new(State { synced, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn synced(&self) -> bool {
        self.state().synced
    }

    pub fn power_failed(&self) {
        self.state().losses += 1;
    }

    pub fn losses(&self) -> u64 {
        self.state().losses
    }

    /// Whether records that a client was told of may be gone since then.
    pub fn may_have_lost(&self, since: u64) -> bool {
        let state = self.state();
        !state.synced && state.losses > since
    }

    pub fn violation(&self, what: String) {
        self.state().violations.insert(what);
    }

    pub fn seen(
        &self,
        how: &'static str,
        partition: &Partition,
        offset: i64,
        value: &str,
        losses: u64,
    ) {
        let seen = Seen { how, offset, value: value.to_owned(), losses };
        self.state().seen.entry(partition.clone()).or_default().push(seen);
    }

    pub fn created(&self, topic: &str, id: Uuid) {
        self.state().created.insert(topic.to_owned(), id);
    }

    pub fn deleted(&self, topic: &str) {
        let mut state = self.state();
        if let Some(id) = state.created.remove(topic) {
            state.deleted.insert(id);
        }
    }

    /// What the broker shows of its topics now, all of them.
    pub fn shows(&self, topics: &BTreeMap<String, Uuid>) {
        let mut state = self.state();
        let state = &mut *state;
        for (topic, id) in &state.created {
            if topics.get(topic) != Some(id) {
                let shown = topics.get(topic);
                state.violations.insert(format!("topic {topic} was {id}, and is {shown:?}"));
            }
        }
        for (topic, id) in topics {
            if state.deleted.contains(id) {
                state.violations.insert(format!("topic {topic} {id} was deleted, and is there"));
            }
        }
    }

    /// The whole of a partition, when all faults are over.
    pub fn is_left(&self, partition: &Partition, values: Vec<String>) {
        self.state().last.insert(partition.clone(), values);
    }

    pub fn finish(&self) {
        self.state().done = true;
    }

    pub fn is_done(&self) -> bool {
        self.state().done
    }

    /// Everything that is wrong.
    pub fn judge(&self) -> Vec<String> {
        let state = self.state();
        let mut wrong: Vec<String> = state.violations.iter().cloned().collect();
        if !state.done {
            wrong.push("the clients did not come to an end after the faults".to_owned());
            return wrong;
        }
        for (partition, seen) in &state.seen {
            let left = state.last.get(partition).map_or(&[][..], Vec::as_slice);
            state.judge_losses(partition, seen, left, &mut wrong);
        }
        for (partition, left) in &state.last {
            judge_order(partition, left, &mut wrong);
        }
        wrong
    }

    /// A line for people: how much there was.
    pub fn summary(&self) -> String {
        let state = self.state();
        let left: usize = state.last.values().map(Vec::len).sum();
        let seen: usize = state.seen.values().map(Vec::len).sum();
        let topics = state.created.len();
        format!("{left} records left, {seen} seen, {topics} topics, {} power losses", state.losses)
    }
}

impl State {
    /// A log loses its end only, only by a loss of power, and nothing where every record is synced.
    fn judge_losses(
        &self,
        partition: &Partition,
        seen: &[Seen],
        left: &[String],
        wrong: &mut Vec<String>,
    ) {
        let is_left = |seen: &Seen| {
            usize::try_from(seen.offset).ok().and_then(|at| left.get(at)) == Some(&seen.value)
        };
        let lost = || seen.iter().filter(|seen| !is_left(seen));
        let mut never = lost().filter(|seen| self.synced || seen.losses >= self.losses);
        if let Some(first) = never.next() {
            let (more, left) = (never.count(), left.len());
            wrong.push(format!("{partition:?} of {left} lost {first}, and {more} more"));
        }
        for lost in lost() {
            let behind = seen.iter().find(|other| {
                other.offset > lost.offset && other.losses <= lost.losses && is_left(other)
            });
            if let Some(behind) = behind {
                wrong.push(format!("{partition:?} lost {lost}; but not {behind}"));
                return;
            }
        }
    }
}

/// Values are `<producer>-<number>`: each once, each producer's in order.
fn judge_order(partition: &Partition, left: &[String], wrong: &mut Vec<String>) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for (offset, value) in left.iter().enumerate() {
        let parsed = value.split_once('-').and_then(|(who, n)| Some((who, n.parse().ok()?)));
        let Some((who, number)) = parsed else {
            wrong.push(format!("{partition:?} has {value:?} at {offset}, which nobody wrote"));
            continue;
        };
        if let Some(before) = last.insert(who, number).filter(|before| *before >= number) {
            wrong.push(format!("{partition:?} has {value} at {offset}, behind {who}-{before}"));
        }
    }
}

#[test]
fn the_judge_finds_what_is_wrong() {
    let partition = ("topic".to_owned(), 0);
    let told = |synced, losses| {
        let history = History::new(synced);
        for (offset, value) in ["a-0", "a-1", "a-2"].iter().enumerate() {
            history.seen("acknowledged", &partition, offset as i64, value, 0);
        }
        (0..losses).for_each(|_| history.power_failed());
        history.finish();
        history
    };
    let judge = |history: &History, left: &[&str]| {
        history.is_left(&partition, left.iter().map(|v| (*v).to_owned()).collect());
        history.judge().len()
    };
    assert_eq!(judge(&told(true, 1), &["a-0", "a-1", "a-2"]), 0);
    assert_eq!(judge(&told(true, 1), &["a-0", "a-1"]), 1, "lost though synced");
    assert_eq!(judge(&told(false, 0), &["a-0", "a-1"]), 1, "lost though the power was there");
    assert_eq!(judge(&told(false, 1), &["a-0", "b-0"]), 0, "an end may be lost with the power");
    assert_eq!(judge(&told(false, 1), &["a-0", "b-0", "a-2"]), 1, "nothing from the middle");
    assert_eq!(judge(&told(false, 0), &["a-0", "a-1", "a-2", "a-2"]), 1, "twice");
}
