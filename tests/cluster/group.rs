//! Members of a group, and who looks at what the group commits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::producers::Sent;

const MEMBERS: usize = 2;
const BETWEEN_COMMITS: Duration = Duration::from_millis(500);

/// By partition and offset.
pub type Records = BTreeMap<(i32, i64), Sent>;

#[derive(Default)]
struct Seen {
    records: Records,
    /// What is committed for each partition, each time that it was looked at and had changed.
    committed: BTreeMap<i32, Vec<i64>>,
    wrong: Vec<String>,
}

pub struct Group {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Members commit what they have seen themselves, the next commit when the one before has ended. With enable.auto.commit
/// librdkafka sends a commit whose coordinator has died, or that timed out, again behind newer ones (it retries them since its
/// issue 3398), so that what is committed goes back, with any broker.
fn consumer(bootstrap: &str, group: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", group);
    config.set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "earliest").create().expect("a consumer")
}

impl Group {
    pub fn start(bootstrap: &str, topic: &str, partitions: i32) -> Group {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let mut running: Vec<_> = (0..MEMBERS)
            .map(|_| {
                let member = consumer(bootstrap, "group");
                member.subscribe(&[topic]).expect("a subscription");
                let (seen, stop) = (seen.clone(), stop.clone());
                thread::spawn(move || consume(&member, &seen, &stop))
            })
            .collect();
        let (observer, topic) = (consumer(bootstrap, "group"), topic.to_owned());
        let (to, until) = (seen.clone(), stop.clone());
        running.push(thread::spawn(move || {
            observe(&observer, &topic, partitions, &to, &until);
        }));
        Group { seen, stop, running }
    }

    /// Until it has seen all of this, and committed it.
    pub fn wait_until_it_has(&self, records: &Records, ends: &BTreeMap<i32, i64>) {
        crate::wait_for("the group to have seen all", || {
            let seen = lock(&self.seen);
            let lacks = records.keys().find(|place| !seen.records.contains_key(place));
            lacks.is_none().then_some(())
        });
        crate::wait_for("the group to have committed all", || {
            let seen = lock(&self.seen);
            let commits = |partition| seen.committed.get(partition).and_then(|all| all.last());
            ends.iter().all(|(partition, end)| commits(partition) == Some(end)).then_some(())
        });
        for (place, sent) in &lock(&self.seen).records {
            assert_eq!(records.get(place), Some(sent), "the group saw another record at {place:?}");
        }
    }

    /// Fails where a commit went back.
    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.running.drain(..) {
            thread.join().expect("a consumer");
        }
        let seen = lock(&self.seen);
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        for (partition, commits) in &seen.committed {
            let back = commits.windows(2).find(|pair| pair[1] < pair[0]);
            assert_eq!(back, None, "commits of {partition} went back: {commits:?}");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn consume(member: &BaseConsumer, seen: &Mutex<Seen>, stop: &AtomicBool) {
    let mut committed = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if committed.elapsed() > BETWEEN_COMMITS {
            // What is refused, in a rebalance say, is committed with what comes next, or seen again by who has the partition then.
            drop(member.commit_consumer_state(CommitMode::Sync));
            committed = Instant::now();
        }
        match member.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let place = (message.partition(), message.offset());
                let sent = Sent::parse(message.payload().unwrap_or_default()).expect("a record");
                let mut seen = lock(seen);
                if let Some(before) = seen.records.insert(place, sent)
                    && before != sent
                {
                    seen.wrong.push(format!("{place:?} was {before:?} and is {sent:?}"));
                }
            }
            // A broker that is away is the client's to mend.
            Some(Err(error)) => eprintln!("a member: {error}"),
            None => {}
        }
    }
}

fn observe(
    observer: &BaseConsumer,
    topic: &str,
    partitions: i32,
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
) {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_range(topic, 0, partitions - 1);
    while !stop.load(Ordering::Relaxed) {
        let found = observer.committed_offsets(wanted.clone(), Duration::from_secs(5));
        for element in found.iter().flat_map(|list| list.elements()) {
            if let Offset::Offset(offset) = element.offset() {
                let mut seen = lock(seen);
                let commits = seen.committed.entry(element.partition()).or_default();
                if commits.last() != Some(&offset) {
                    commits.push(offset);
                }
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The whole topic, from its first offset to its last, without a group.
pub fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> (Records, BTreeMap<i32, i64>) {
    let reader = consumer(bootstrap, "reader");
    let mut assignment = TopicPartitionList::new();
    let mut ends = BTreeMap::new();
    for partition in 0..partitions {
        let marks = reader.fetch_watermarks(topic, partition, crate::LIMIT);
        let (low, high) = marks.expect("watermarks");
        assert_eq!(low, 0, "the first offset of {partition}");
        ends.insert(partition, high);
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    reader.assign(&assignment).expect("an assignment");
    let (mut records, all) = (Records::new(), ends.values().sum::<i64>());
    crate::wait_for("the whole topic", || {
        while let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) {
            let sent = Sent::parse(message.payload().unwrap_or_default()).expect("a record");
            let twice = records.insert((message.partition(), message.offset()), sent);
            assert_eq!(twice, None, "an offset comes once");
        }
        (records.len() as i64 == all).then_some(())
    });
    (records, ends)
}
