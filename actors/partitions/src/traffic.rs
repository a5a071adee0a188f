//! What goes in and out, by topic: counted where it passes, told to whoever watches the node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number that only grows, in its place.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of one topic's replicas on this node. Each has a cache line of its own: who counts for one topic takes it from nobody who counts for
/// another.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct TopicTraffic {
    /// Records, and their bytes, that leaders here appended.
    pub messages_in: Count,
    pub bytes_in: Count,
    /// What consumers were given.
    pub bytes_out: Count,
    /// Partitions in requests of producers.
    pub produced: Count,
    /// Partitions in fetches.
    pub fetched: Count,
}

/// What was counted of one topic, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub messages_in: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub produced: u64,
    pub fetched: u64,
}

impl TopicTraffic {
    fn counted(&self) -> Counted {
        Counted {
            messages_in: self.messages_in.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            produced: self.produced.get(),
            fetched: self.fetched.get(),
        }
    }
}

impl Counted {
    fn add(&mut self, other: Counted) {
        self.messages_in += other.messages_in;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.produced += other.produced;
        self.fetched += other.fetched;
    }
}

/// Of all topics of this node.
#[derive(Debug, Default)]
pub struct Traffic {
    topics: Mutex<Topics>,
    /// What followers were given.
    pub replication_bytes_out: Count,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<String, Arc<TopicTraffic>>,
    /// Of topics that are gone.
    past: Counted,
    /// With so many it is looked which of them are gone.
    sweep_at: usize,
}

impl Topics {
    /// Nobody but this counts for a topic that has no replica here any more.
    fn sweep(&mut self) {
        let past = &mut self.past;
        self.by_name.retain(|_, topic| {
            let is_gone = Arc::strong_count(topic) == 1;
            if is_gone {
                past.add(topic.counted());
            }
            !is_gone
        });
        self.sweep_at = (2 * self.by_name.len()).max(64);
    }
}

impl Traffic {
    /// Where a replica of this topic counts.
    pub fn of(&self, topic: &str) -> Arc<TopicTraffic> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = topics.by_name.get(topic) {
            return there.clone();
        }
        if topics.by_name.len() >= topics.sweep_at {
            topics.sweep();
        }
        topics.by_name.entry(topic.to_owned()).or_default().clone()
    }

    /// All that was counted, and what of each topic that is here, by its name.
    pub fn counted(&self) -> (Counted, Vec<(String, Counted)>) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.sweep();
        let each: Vec<_> =
            topics.by_name.iter().map(|(name, topic)| (name.clone(), topic.counted())).collect();
        let mut all = topics.past;
        each.iter().for_each(|(_, counted)| all.add(*counted));
        (all, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_topics_that_are_gone_counted_stays_in_the_sum() {
        let traffic = Traffic::default();
        let (kept, gone) = (traffic.of("kept"), traffic.of("gone"));
        kept.bytes_in.add(1);
        gone.bytes_in.add(10);
        let (all, each) = traffic.counted();
        assert_eq!((all.bytes_in, each.len()), (11, 2));
        let late = gone.clone();
        drop(gone);
        late.bytes_in.add(100);
        assert_eq!(traffic.counted().1.len(), 2, "somebody counts for it still");
        drop(late);
        let (all, each) = traffic.counted();
        assert_eq!(all.bytes_in, 111);
        assert_eq!(each, [("kept".to_owned(), Counted { bytes_in: 1, ..Counted::default() })]);
        traffic.of("gone").bytes_in.add(1000);
        assert_eq!(traffic.counted().0.bytes_in, 1111, "one of the same name");
    }

    #[test]
    fn no_two_topics_count_in_one_cache_line() {
        let traffic = Traffic::default();
        let lines = |topic: &str| {
            let at = std::ptr::from_ref(&*traffic.of(topic)).addr();
            at / 64..=(at + size_of::<TopicTraffic>() - 1) / 64
        };
        let all: Vec<usize> = (0..50).flat_map(|i| lines(&format!("topic-{i}"))).collect();
        let distinct: std::collections::BTreeSet<&usize> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (50, 50));
    }

    #[test]
    fn topics_that_come_and_go_do_not_pile_up_while_nobody_looks() {
        let traffic = Traffic::default();
        for i in 0..10_000 {
            traffic.of(&format!("topic-{i}")).produced.add(1);
            assert!(traffic.topics.lock().unwrap().by_name.len() <= 64, "after {i}");
        }
        assert_eq!(traffic.counted().0.produced, 10_000);
    }
}
