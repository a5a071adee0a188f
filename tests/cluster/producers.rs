//! Producers of librdkafka at its defaults, but for acks=all and enable.idempotence: a record to each partition again and again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

/// The n-th record of a producer to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent {
    pub producer: u32,
    pub partition: i32,
    pub number: u64,
}

#[derive(Debug, Clone)]
pub struct Delivery {
    pub sent: Sent,
    pub sent_at: Instant,
    pub at: Instant,
    /// Its offset; or why it may not be there.
    pub outcome: Result<i64, String>,
}

/// For what they say with OTTLA_RDKAFKA_DEBUG.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

const COUNT: u32 = 2;
const BETWEEN: Duration = Duration::from_millis(10);

impl Sent {
    fn value(&self) -> String {
        let Sent { producer, partition, number } = self;
        format!("{producer} {partition} {number} {:>100}", "padding")
    }

    pub fn parse(value: &[u8]) -> Option<Sent> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        Some(Sent {
            producer: words.next()?.parse().ok()?,
            partition: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
        })
    }
}

#[derive(Default)]
struct Shared {
    deliveries: Mutex<Vec<Delivery>>,
    stop: AtomicBool,
    pause: AtomicBool,
    /// Producers that pause, and have nothing under way.
    idle: AtomicU32,
}

struct Context(Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        eprintln!("{:.3} {message}", BEGIN.elapsed().as_secs_f64());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("a producer: {error}: {reason}");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<(Sent, Instant)>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Self::DeliveryOpaque) {
        let (sent, sent_at) = *sent;
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.to_string()),
        };
        let delivery = Delivery { sent, sent_at, at: Instant::now(), outcome };
        self.0.deliveries.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
    }
}

pub struct Producers {
    shared: Arc<Shared>,
    running: Vec<JoinHandle<()>>,
    partitions: i32,
}

impl Producers {
    pub fn start(bootstrap: &str, topic: &str, partitions: i32) -> Producers {
        let shared = Arc::<Shared>::default();
        let running = (0..COUNT).map(|id| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", bootstrap).set("client.id", format!("producer-{id}"));
            config.set("acks", "all").set("enable.idempotence", "true");
            if let Ok(debug) = std::env::var("OTTLA_RDKAFKA_DEBUG") {
                config.set("debug", debug).set_log_level(RDKafkaLogLevel::Debug);
            }
            let producer: BaseProducer<Context> =
                config.create_with_context(Context(shared.clone())).expect("a producer");
            let (topic, shared) = (topic.to_owned(), shared.clone());
            thread::spawn(move || produce(&producer, id, &topic, partitions, &shared))
        });
        Producers { running: running.collect(), shared, partitions }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Delivery>> {
        self.shared.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether each producer has an acknowledgement from each partition of what it sent after this.
    pub fn are_all_served_since(&self, begin: Instant) -> bool {
        let mut served = vec![false; COUNT as usize * self.partitions as usize];
        let all = self.lock();
        for delivery in all.iter().rev().take_while(|delivery| delivery.at >= begin) {
            if delivery.sent_at >= begin && delivery.outcome.is_ok() {
                served[(delivery.sent.producer as i32 * self.partitions + delivery.sent.partition)
                    as usize] = true;
            }
        }
        served.iter().all(|served| *served)
    }

    /// Between acknowledgements of one producer's records to one partition: the longest that ends after this, for each of them.
    pub fn longest_gaps(&self, begin: Instant) -> Vec<(i32, Duration)> {
        let all = self.lock();
        let of = |producer, partition| {
            let times = all.iter().filter(|d| {
                d.outcome.is_ok() && d.sent.producer == producer && d.sent.partition == partition
            });
            let times: Vec<Instant> = times.map(|delivery| delivery.at).collect();
            let gaps = times.windows(2).filter(|pair| pair[1] >= begin);
            let longest = gaps.map(|pair| pair[1].duration_since(pair[0])).max();
            (partition, longest.unwrap_or_default())
        };
        let partitions = 0..self.partitions;
        partitions.flat_map(|partition| (0..COUNT).map(move |p| of(p, partition))).collect()
    }

    /// Until they have nothing under way.
    pub fn pause(&self) {
        self.shared.pause.store(true, Ordering::Relaxed);
        crate::wait_for("all to be acknowledged", || {
            (self.shared.idle.load(Ordering::Relaxed) == COUNT).then_some(())
        });
    }

    pub fn go_on(&self) {
        self.shared.pause.store(false, Ordering::Relaxed);
    }

    /// Waits for what is under way; answers all that became of what was sent.
    pub fn end(mut self) -> Vec<Delivery> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for producer in self.running.drain(..) {
            producer.join().expect("a producer");
        }
        std::mem::take(&mut self.lock())
    }
}

/// Also where the test fails: else its producers would go on.
impl Drop for Producers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn produce(
    producer: &BaseProducer<Context>,
    id: u32,
    topic: &str,
    partitions: i32,
    shared: &Shared,
) {
    let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
    for number in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        if shared.pause.load(Ordering::Relaxed) {
            producer.flush(crate::LIMIT).expect("all that was sent is answered");
            shared.idle.fetch_add(1, Ordering::Relaxed);
            while shared.pause.load(Ordering::Relaxed) && !shared.stop.load(Ordering::Relaxed) {
                producer.poll(BETWEEN);
            }
            shared.idle.fetch_sub(1, Ordering::Relaxed);
        }
        for partition in 0..partitions {
            let sent = Sent { producer: id, partition, number };
            let (key, value) = (id.to_string(), sent.value());
            let opaque = Box::new((sent, Instant::now()));
            let mut record = BaseRecord::with_opaque_to(topic, opaque);
            record = record.partition(partition).key(&key).payload(&value);
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(error, full, "send");
                producer.poll(BETWEEN);
                record = back;
            }
        }
        let next = Instant::now() + BETWEEN;
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            producer.poll(left);
        }
    }
    producer.flush(crate::LIMIT).expect("all that was sent is answered");
}
