//! How long a partition whose actor panics is away, as its producers see it, and what its neighbours see.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use model::node_config::HostPort;
use ottla::Node;
use ottla::console::{Console, fetch_tree};
use ottla::runtime::Scope;
use tokio::runtime::Runtime;

use crate::raw::Connection;
use crate::{LIMIT, PARTITIONS, batch, find, requests};

const TOPIC: &str = "payments";
const FAILS: i32 = 2;
/// On each partition before the panic, and again after it.
const ENOUGH: usize = 200;
/// Against hanging; the figure itself is printed, and held to its limit by the runner.
const SAFETY: Duration = Duration::from_secs(1);
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// What one partition answered, and when.
#[derive(Default)]
struct Answers {
    acknowledged: Vec<Instant>,
    refused: Vec<(Instant, i16)>,
}

impl Answers {
    /// The longest time from one acknowledgement to the next.
    fn longest_silence(&self) -> Duration {
        self.acknowledged.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default()
    }

    /// From the first refusal to the first acknowledgement behind the last.
    fn refusing(&self) -> Duration {
        let (Some((first, _)), Some((last, _))) = (self.refused.first(), self.refused.last())
        else {
            return Duration::ZERO;
        };
        let back = self.acknowledged.iter().find(|at| *at > last);
        back.map_or(Duration::MAX, |at| *at - *first)
    }
}

/// One record at a time, the next as soon as there is an answer, whatever it is.
fn produce(at: SocketAddr, partition: i32, done: &AtomicBool, count: &AtomicUsize) -> Answers {
    let mut answers = Answers::default();
    let mut connection = Connection::open(at);
    let record = batch::of(&[b"a record"]).bytes();
    while !done.load(Ordering::Relaxed) {
        let error = requests::produce(&mut connection, TOPIC, partition, &record).error;
        if error == 0 {
            answers.acknowledged.push(Instant::now());
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            answers.refused.push((Instant::now(), error));
        }
    }
    answers
}

/// What the node logs.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Said {
    fn listen() -> Said {
        let said = Said::default();
        let writer = said.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        log.try_init().expect("the only log of this process");
        said
    }

    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

fn wait_for(what: &str, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < LIMIT, "waited for {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Produces to all partitions, and lets one of them panic amid that.
fn answers_around_a_panic(runtime: &Runtime, node: &Node) -> Vec<Answers> {
    let done = AtomicBool::new(false);
    let counts: [AtomicUsize; PARTITIONS as usize] = Default::default();
    let all_reach = |what, least: &dyn Fn(usize) -> usize| {
        wait_for(what, || (0..).zip(&counts).all(|(n, c)| c.load(Ordering::Relaxed) >= least(n)));
    };
    let (at, done_ref) = (node.bootstrap(), &done);
    thread::scope(|scope| {
        let producers: Vec<_> = (0..)
            .zip(&counts)
            .map(|(partition, count)| scope.spawn(move || produce(at, partition, done_ref, count)))
            .collect();
        all_reach("acknowledgements before the panic", &|_| ENOUGH);
        let before = counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        runtime.block_on(node.panic_partition(TOPIC, FAILS)).expect("its actor is up");
        all_reach("acknowledgements after the panic", &|n| before[n] + ENOUGH);
        wait_for("the restart", || {
            let forest = runtime.block_on(node.tree());
            find(&forest, "payments-2").is_some_and(|p| p.restarts == 1 && p.status == "running")
        });
        done.store(true, Ordering::Relaxed);
        producers.into_iter().map(|producer| producer.join().expect("a producer")).collect()
    })
}

#[test]
fn a_partition_that_panics_is_soon_back_and_its_neighbours_do_not_notice() {
    let said = Said::listen();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = Runtime::new().expect("a runtime");
    let _within = runtime.enter();
    let starting = Node::builder().quick(dir.path(), "127.0.0.1:0", &[]).start();
    let node = runtime.block_on(starting).expect("a node");
    let console = runtime.block_on(Console::bind("127.0.0.1", 0)).expect("a console");
    let port = console.address().expect("its address").port();
    let serving = runtime.spawn(console.serve(&[&node]));
    requests::create_topic(&mut Connection::open(node.bootstrap()), TOPIC, PARTITIONS);

    for (partition, answers) in (0..).zip(answers_around_a_panic(&runtime, &node)) {
        let silence = answers.longest_silence();
        if partition == FAILS {
            let (refused, refusing) = (answers.refused.len(), answers.refusing());
            eprintln!(
                "MEASURED: a partition that panics refuses {refused} requests in {refusing:?}, {silence:?} without an acknowledgement"
            );
            assert!(silence < SAFETY && refusing < SAFETY, "{silence:?}, {refusing:?}");
            let retriable = |(_, error): &(Instant, i16)| *error == NOT_LEADER_OR_FOLLOWER;
            assert!(answers.refused.iter().all(retriable), "{:?}", answers.refused);
        } else {
            eprintln!("MEASURED: a neighbour is at most {silence:?} without an acknowledgement");
            assert_eq!(answers.refused.len(), 0, "partition {partition} noticed");
            assert!(silence < SAFETY, "partition {partition} waited {silence:?}");
        }
    }

    let console = HostPort { host: "127.0.0.1".to_owned(), port };
    let forest = fetch_tree(&console, &Scope::default()).expect("/tree");
    let partition = find(&forest, "payments-2").expect("it is in the tree");
    assert_eq!(partition.restarts, 1);
    let cause = partition.last_failure.as_deref().unwrap_or_default();
    assert!(cause.contains("injected: a bug in this partition"), "{cause}");
    let logged = |line: &String| {
        ["partitions/payments-2", "injected: a bug", "restarted"].iter().all(|w| line.contains(w))
    };
    assert!(said.lines().iter().any(logged), "{:#?}", said.lines());
    serving.abort();
    runtime.block_on(node.stop());
}
