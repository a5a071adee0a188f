//! A subscriber whose partition's log loses its end, and has grown beyond that when it can be read again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ottla::Node;
use ottla::client::{
    Appended, Client, ClientConfig, NewTopic, ProducerConfig, ProducerRecord, Start, TopicPartition,
};
use ottla::runtime::{Actor, Cx, Failure, Outcome, messages, spawn_root};
use ottla::sim::{Life, SimFault, SimOptions, Simulation};

use crate::broker::{NAME, PORT};
use crate::intercepted::read;

/// Of virtual time.
const LIMIT: Duration = Duration::from_secs(300);
/// How long the subscriber is cut off; the node is back long before.
const CUT_OFF: Duration = Duration::from_secs(60);
const DOWN: Duration = Duration::from_secs(1);
/// Of the first life, which may lose some, and of the second.
const RECORDS: [usize; 2] = [10, 30];

type Log = BTreeMap<i64, String>;

#[derive(Default)]
struct Seen {
    /// As the subscriber knows it.
    told: Log,
    events: Vec<String>,
    /// As it is, from the second life on.
    log: Option<Log>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Seen>>);

impl Shared {
    fn now(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("nobody panics with it")
    }
}

struct Subscriber(Shared);

enum SubscriberMsg {
    Appended(Appended),
}

messages!(SubscriberMsg { Appended });

impl Actor for Subscriber {
    const KIND: &'static str = "subscriber";
    type Msg = SubscriberMsg;
    type Args = (Client, Shared);

    async fn start(cx: &mut Cx<Self>, (client, seen): Self::Args) -> Result<Self, Failure> {
        let first = TopicPartition { topic: "t".to_owned(), partition: 0 };
        client.subscribe(cx, first, Start::Earliest, SubscriberMsg::Appended);
        Ok(Subscriber(seen))
    }

    async fn handle(&mut self, _: &mut Cx<Self>, msg: SubscriberMsg) -> Outcome {
        let SubscriberMsg::Appended(appended) = msg;
        let seen = &mut *self.0.now();
        match appended {
            Appended::Records(fed) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let records = fed.records.iter();
                let new = records.map(|r| (r.offset, text(r.value.as_deref().unwrap_or_default())));
                seen.told.extend(new);
            }
            Appended::Missed { from, to } => {
                seen.told.split_off(&to);
                seen.events.push(format!("missed {from}..{to}"));
            }
            Appended::Unreadable(_) => seen.events.push("unreadable".to_owned()),
            Appended::Readable => seen.events.push("readable".to_owned()),
        }
        Ok(())
    }
}

async fn serve(life: Life, lives: Arc<AtomicUsize>, seen: Shared) {
    let builder = Node::builder_in(life.world.clone());
    let node = builder.quick("/data", &format!("{NAME}:{PORT}"), &[]).start().await;
    let node = node.expect("it serves");
    let client = node.client().expect("a client");
    let _there_already = client.admin().create_topic(NewTopic::new("t")).await;
    let lived = lives.load(Ordering::Relaxed);
    let producer = client.producer(ProducerConfig::default());
    for n in 0..RECORDS[lived] {
        let record = ProducerRecord::to("t").value(format!("life {lived}: {n}"));
        producer.send(record).await.await.expect("written");
    }
    if lived == 1 {
        let log = read(&client, "t", 0).await;
        seen.now().log = Some(log);
    }
    lives.store(1, Ordering::Relaxed);
    node.ended().await;
}

/// What the subscriber was told of beside records, and what the log has lost.
fn run(seed: u64) -> (Vec<String>, usize) {
    let mut simulation = Simulation::new(SimOptions::seed(seed));
    let (lives, seen) = (Arc::<AtomicUsize>::default(), Shared::default());
    let (counts, tells) = (lives.clone(), seen.clone());
    let broker = simulation.add_node(NAME, move |life| serve(life, counts.clone(), tells.clone()));
    let told = seen.clone();
    let reader = simulation.add_node("reader", move |life: Life| {
        let told = told.clone();
        async move {
            let config =
                ClientConfig { request_timeout: Duration::from_secs(2), ..ClientConfig::default() };
            let broker = format!("{NAME}:{PORT}");
            let client = Client::with_config(&life.world, [broker], config).expect("an address");
            let root = spawn_root::<Subscriber>(&life.world, "reader", (client, told));
            root.expect("a name").ended().await;
        }
    });
    let has_first = || seen.now().told.len() == RECORDS[0];
    assert!(simulation.run_until(LIMIT, has_first), "seed {seed}: {:?}", seen.now().told);
    // It was there before the node.
    seen.now().events.clear();
    for (from, to) in [(reader, broker), (broker, reader)] {
        simulation.inject(SimFault::Partition { from, to, lasting: CUT_OFF });
    }
    simulation.inject(SimFault::PowerLoss { node: broker, down: DOWN });
    let is_back = || seen.now().log.is_some();
    assert!(simulation.run_until(CUT_OFF, is_back), "seed {seed}: it grows while nobody looks");
    let agrees = || {
        let seen = seen.now();
        seen.log.as_ref() == Some(&seen.told)
    };
    assert!(simulation.run_until(LIMIT, agrees), "seed {seed}: {:?}", seen.now().events);
    let seen = seen.now();
    let of_first = seen.told.values().filter(|value| value.starts_with("life 0")).count();
    (seen.events.clone(), RECORDS[0] - of_first)
}

#[test]
fn a_subscriber_is_told_of_a_log_that_was_cut_and_has_grown_again_and_of_one_it_cannot_read() {
    let mut lost = 0;
    for seed in 0..8 {
        let (events, missing) = run(seed);
        let kept = RECORDS[0] - missing;
        let mut expected = vec!["unreadable".to_owned()];
        if missing > 0 {
            expected.push(format!("missed {}..{kept}", RECORDS[0]));
        }
        expected.push("readable".to_owned());
        assert_eq!(events, expected, "seed {seed}");
        lost += missing;
    }
    assert!(lost > 0, "no power loss took anything");
}
