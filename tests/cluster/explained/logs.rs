//! Logs that keep what they should not, and replicas that are throttled.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use wire::batch::BatchBuilder;
use wire::compression::Compression;

use super::groups::{GROUP, Member};
use super::{Asked, SOON, contains};
use crate::asks::{self, Resource};
use crate::nodes::{Cluster, Shape};
use crate::rig::turn;
use crate::wait_for;

const HALF_AN_HOUR_MS: i64 = 1_800_000;

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time");
    i64::try_from(since.as_millis()).expect("a time")
}

impl Asked {
    /// As many records of ten thousand bytes.
    fn produce_large(&self, topic: &str, count: usize, timestamp: i64) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap()).set("acks", "1");
        let producer: BaseProducer = config.create().expect("a producer");
        let payload = vec![7; 10_000];
        for key in 0..count {
            let key = key.to_string();
            let record = BaseRecord::to(topic).partition(0).key(&key).payload(&payload);
            producer.send(record.timestamp(timestamp)).expect("room");
        }
        producer.flush(Duration::from_secs(30)).expect("they are sent");
    }

    pub(super) fn alter(&self, of: &Resource<'_>, name: &str, value: &str) {
        let at = match of {
            Resource::Topic(_) => self.cluster.broker_address(0),
            Resource::Broker(id) => self.cluster.broker_address(self.cluster.index_of(*id)),
        };
        wait_for(name, || asks::alter(at, of, name, value).then_some(()));
    }
}

#[test]
fn a_log_whose_records_are_stamped_in_the_future_and_logs_that_nobody_looks_at() {
    let _turn = turn();
    let often =
        ["\"log.retention.check.interval.ms\" = 1000", "\"log.initial.task.delay.ms\" = 100"];
    let asked = Asked { cluster: Cluster::start(Shape::Combined, None, &[SOON, &often].concat()) };
    asked.create("stamped", &[&[1, 2, 3]], 2);
    asked.produce_large("stamped", 2, now_ms());
    let kept = ["it goes at 20", "by retention.ms=604800000", "holds offsets 0 to 1"];
    asked.until(0, &["partition", "stamped-0"], &kept);
    asked.produce_large("stamped", 1, now_ms() + HALF_AN_HOUR_MS);
    let what =
        "stamped-0: old records are not deleted by their time: some are stamped in the future";
    let said = asked.until(1, &["partition", "stamped-0"], &[what]);
    contains(&said, &["retention.ms=604800000", "message.timestamp.after.max.ms"]);
    asked.alter(&Resource::Topic("stamped"), "retention.ms", "-1");
    let kept = ["neither retention.ms nor retention.bytes lets it go", "verdict: all is well"];
    asked.until(2, &["partition", "stamped-0"], &kept);

    // Who tells the logs to look at retention does not.
    for (topic, name, limit) in [("aged", "retention.ms", "0"), ("large", "retention.bytes", "0")] {
        asked.create(topic, &[&[1]], 1);
        asked.alter(&Resource::Topic(topic), name, limit);
    }
    let node = asked.cluster.index_of(1);
    asked.fault(node, &["pause", "partitions", "--for", "600s"]);
    asked.produce_large("aged", 1, now_ms());
    asked.produce_large("large", 1, now_ms());
    let looked = "s ago last, and is to be every 1 s";
    for name in ["aged-0", "large-0"] {
        let overdue = format!("{name}: old records are not deleted, although they are due");
        let said = asked.until(2, &["partition", name], &[&overdue, looked]);
        contains(&said, &["since: 20", "unblock: look at the partition's actor"]);
    }
    asked.fault(node, &["resume", "partitions"]);
    for name in ["aged-0", "large-0"] {
        asked.until(2, &["partition", name], &["verdict: all is well"]);
    }
}

#[test]
fn a_log_whose_old_records_are_not_committed() {
    let _turn = turn();
    let patient = ["\"replica.lag.time.max.ms\" = 600000"];
    let others = SOON.iter().copied().filter(|line| !line.contains("replica.lag.time.max.ms"));
    let settings: Vec<&str> = others.chain(patient).collect();
    let asked = Asked { cluster: Cluster::start(Shape::Combined, None, &settings) };
    let [follower, leader] = asked.followers();
    let (id, other) = (asked.cluster.id(follower), asked.cluster.id(leader));
    asked.create("kept", &[&[other, id]], 1);
    let fetcher = format!("replication/leader-{other}-0");
    asked.fault(follower, &["pause", &fetcher, "--for", "600s"]);
    asked.produce_large("kept", 3, now_ms());
    asked.alter(&Resource::Topic("kept"), "retention.ms", "0");
    let what = "kept-0: old records are not deleted: those behind them are not committed";
    let said = asked.until(0, &["partition", "kept-0"], &[what]);
    contains(&said, &["the high watermark is 0, and the segment ends at 2", "since: 20"]);
    contains(&said, &[&format!("broker {id} is in sync: it "), "unblock: bring the followers"]);
    asked.fault(follower, &["resume", &fetcher]);
    let due = ["verdict: all is well", "it goes when retention is next looked at (every 300 s)"];
    asked.until(0, &["partition", "kept-0"], &due);
}

#[test]
fn a_log_that_cannot_be_compacted() {
    let _turn = turn();
    let often = ["\"log.cleaner.backoff.ms\" = 100"];
    let cluster = Cluster::start(Shape::Combined, None, &[SOON, &often].concat());
    let asked = Asked { cluster };
    let id = asked.cluster.id(1);
    asked.create("keyed", &[&[id]], 1);
    asked.produce_large("keyed", 300, now_ms());
    let dir = asked.cluster.data(1).join("keyed-0");
    let segments = || -> Vec<PathBuf> {
        let files = fs::read_dir(&dir).expect("a log").filter_map(|file| Some(file.ok()?.path()));
        files.filter(|path| path.extension().is_some_and(|it| it == "log")).collect()
    };
    wait_for("segments", || (segments().len() > 1).then_some(()));
    let first = segments().into_iter().min().expect("a segment");
    let first = OpenOptions::new().write(true).open(first).expect("the segment");
    first.write_all_at(b"decayed", 5_000).expect("a write");
    asked.alter(&Resource::Topic("keyed"), "cleanup.policy", "compact");
    let (what, broker) =
        (format!("keyed-0: its log on broker {id} cannot be compacted, and grows"), id.to_string());
    for what_of in [&["partition", "keyed-0"][..], &["topic", "keyed"], &["broker", &broker]] {
        let said = asked.until(0, what_of, &[&what]);
        contains(&said, &["since: 20", "by: the log cleaner of ", "because: ", "unblock: repair"]);
    }
    asked.alter(&Resource::Topic("keyed"), "cleanup.policy", "delete");
    asked.until(0, &["partition", "keyed-0"], &["verdict: all is well"]);
}

/// As a log that came from Kafka with a transaction that its producer never ended.
#[test]
fn a_last_stable_offset_that_is_held() {
    let _turn = turn();
    let mut asked = Asked::start();
    let id = asked.cluster.id(1);
    asked.create("orders", &[&[id]], 1);
    asked.create("young", &[&[id]], 1);
    asked.produce("orders", "all");
    asked.produce("young", "all");
    asked.cluster.kill(1);
    let log = asked.cluster.data(1).join("orders-0/00000000000000000000.log");
    let open = BatchBuilder::new(Compression::NONE).producer(4242, 3, 0).transactional(true);
    let mut open = open.base_offset(10).leader_epoch(0);
    open.append(now_ms() - 120_000, None, Some(b"in a transaction"), &[]);
    let open = open.build().expect("a batch").to_bytes();
    let mut log = OpenOptions::new().append(true).open(log).expect("the log");
    log.write_all(&open).expect("a write");
    let log = asked.cluster.data(1).join("young-0/00000000000000000000.log");
    let young = BatchBuilder::new(Compression::NONE).producer(77, 0, 0).transactional(true);
    let mut young = young.base_offset(10).leader_epoch(0);
    young.append(now_ms(), None, Some(b"in a young transaction"), &[]);
    let young = young.build().expect("a batch").to_bytes();
    let mut log = OpenOptions::new().append(true).open(log).expect("the log");
    log.write_all(&young).expect("a write");
    asked.cluster.launch(1);
    let young = "read_committed consumers do not see 1 records yet, from offset 10 on: producer 77";
    asked.until(0, &["partition", "young-0"], &[young, "verdict: all is well"]);
    let held = "orders-0: the last stable offset is held at 10: read_committed consumers see none";
    let who = "producer 4242 (epoch 3) has a transaction open from offset 10 on, and wrote last ";
    let said = asked.until(0, &["partition", "orders-0"], &[held, who]);
    contains(&said, &["of the 1 records behind it", "since: 20", "must commit or abort"]);
    let nobody = "what its transactional.id is nobody tells: no broker of this cluster";
    contains(&said, &[nobody]);

    let member = Member::join(&asked.cluster.bootstrap(), "first");
    member.wait_for_assignment();
    member.commit(0, 10);
    let further = "verdict: orders-0: consumers that read_committed get no further";
    let said = asked.until(2, &GROUP, &[further, "producer 4242 (epoch 3)", nobody]);
    contains(&said, &["1 records are behind it", "since: 20", "must commit or abort"]);
}

#[test]
fn a_replica_that_is_throttled() {
    let _turn = turn();
    let asked = Asked::start();
    let [follower, leader] = asked.followers();
    let (id, other) = (asked.cluster.id(follower), asked.cluster.id(leader));
    asked.create("orders", &[&[other, id]], 1);
    let fetcher = format!("replication/leader-{other}-0");
    asked.fault(follower, &["pause", &fetcher, "--for", "600s"]);
    asked.produce_large("orders", 300, now_ms());
    let out = format!("orders-0: broker {id} is not in sync");
    asked.until(leader, &["partition", "orders-0"], &[&out]);
    // What is in sync is not throttled, so as to stay so.
    let (topic, broker) = (Resource::Topic("orders"), Resource::Broker(id));
    asked.alter(&broker, "follower.replication.throttled.rate", "1000");
    asked.alter(&topic, "follower.replication.throttled.replicas", "*");
    asked.fault(follower, &["resume", &fetcher]);
    let throttled =
        format!("follower.replication.throttled.rate=1000 bytes/s on broker {id}, for all");
    let held = "its fetches are held back by the throttle";
    let said = asked.until(leader, &["partition", "orders-0"], &[&out, &throttled, held]);
    contains(
        &said,
        &["it lacks ", "orders-0: broker ", "To unblock it: raise the throttle: kafka-configs"],
    );
    asked.alter(&topic, "follower.replication.throttled.replicas", "");
    asked.until(
        leader,
        &["partition", "orders-0"],
        &["verdict: all is well", "is in sync: it lacks 0"],
    );
}
