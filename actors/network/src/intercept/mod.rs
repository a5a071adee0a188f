//! Users' interceptors: what they do to the records that clients write to a topic and read from it, on the node that serves the request.
//!
//! An interceptor is an actor, under `extensions`: it has one topic, and sees some records at a time. Where it is down the topic is not
//! served, so that nothing passes it by; a topic without one costs a load. Batches are taken apart and written anew beside it (`pass`).

mod actor;
mod pass;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use runtime::{Address, ChildSpec, Credit, Credits, Failure, Map, Reply, Seed};

use actor::Interceptings;
pub(crate) use pass::{Passed, Passing, Stopped};

/// Batches of one topic that are in memory at a time as their interceptor sees them.
const AT_ONCE: u64 = 2;
/// One request waits no longer for interceptors, all its partitions together.
const PATIENCE: Duration = Duration::from_secs(10);
/// For so long nobody waits for one that let somebody wait in vain, unless it is in time meanwhile.
const SHUNNED: Duration = Duration::from_secs(10);

/// On which of their ways an interceptor sees a topic's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// From a client, before they are in the log.
    Produce,
    /// To a client; not to a replica.
    Fetch,
    Both,
}

impl On {
    fn includes(self, way: On) -> bool {
        self == On::Both || self == way
    }
}

/// Where a record is on its way.
#[derive(Debug, Clone)]
pub struct Way {
    /// [`On::Produce`] or [`On::Fetch`].
    pub on: On,
    pub topic: Arc<str>,
    pub partition: i32,
    /// What the client calls itself.
    pub client_id: Option<String>,
}

/// A record as an interceptor sees it, and changes it in place. Its offset and its timestamp are not its to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intercepted {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    timestamp_ms: i64,
}

impl Intercepted {
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }
}

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes, as it is now.
    Pass,
    /// It is left out, and leaves its offset unused. Its producer is told that it is written.
    Drop,
    /// The client is told an error. Of what is produced the whole batch is refused (INVALID_RECORD, with this reason); who reads gets
    /// what lies before the batch, then TOPIC_AUTHORIZATION_FAILED.
    Reject(String),
}

/// What a user does to the records of a topic. It is called on a thread of the node's extensions: its topic waits while it does.
///
/// Where it panics it is started anew, and sees the same records once more: where it panics again, the client is told
/// UNKNOWN_SERVER_ERROR for this batch, and others go on. Where it cannot be started it is down, and tried again under its policy. Who
/// comes meanwhile, or has waited for ten seconds, is told NOT_LEADER_OR_FOLLOWER, at which clients try again.
pub trait Interceptor: Sized + Send + 'static {
    const ON: On;
    /// What it starts from, also after a failure.
    type Args: Clone + Send + Sync + 'static;

    fn start(args: Self::Args) -> Result<Self, Failure>;

    /// One record. A batch that its producer sends again is seen again, as is one at which this panicked.
    fn record(&mut self, way: &Way, record: &mut Intercepted) -> Verdict;
}

/// A topic has one interceptor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the topic {0} has an interceptor")]
pub struct HasInterceptor(pub String);

/// A topic's interceptor, for those who serve the topic.
#[derive(Debug)]
pub(crate) struct Stop {
    on: On,
    to: Address<InterceptMsg>,
    turns: Credits,
    /// Until when nobody waits for it, in milliseconds of the world's monotonic clock.
    shunned: AtomicU64,
}

impl Stop {
    fn new(on: On, to: Address<InterceptMsg>) -> Stop {
        Stop { on, to, turns: Credits::new(AT_ONCE), shunned: AtomicU64::new(0) }
    }

    fn is_shunned(&self, now: Duration) -> bool {
        millis(now) < self.shunned.load(Ordering::Relaxed)
    }

    /// It would not be waited for, or there is nobody to wait for.
    pub(crate) fn is_away(&self, now: Duration) -> bool {
        self.is_shunned(now) || self.to.current().is_none()
    }

    fn was_late(&self, now: Duration) {
        self.shunned.store(millis(now + SHUNNED), Ordering::Relaxed);
    }

    fn was_in_time(&self) {
        // Nobody else's line of memory is touched where nothing changes.
        if self.shunned.load(Ordering::Relaxed) != 0 {
            self.shunned.store(0, Ordering::Relaxed);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Until when a request waits for interceptors, from when it first has to.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<Duration>);

impl Patience {
    pub(crate) fn until(&mut self, now: Duration) -> Duration {
        *self.0.get_or_insert(now + PATIENCE)
    }
}

/// A batch's turn, with the memory that it takes: kept by whatever works on it, also where nobody waits for that any more.
type Turn = Arc<(Credit, Credit)>;

/// The interceptors of a node.
#[derive(Debug, Clone, Default)]
pub struct Interceptors(Arc<ArcSwapOption<Map<String, Arc<Stop>>>>);

impl Interceptors {
    /// From here on the topic's records go through it; who spawns the actor is the caller.
    ///
    /// # Errors
    /// The topic has one.
    pub fn add<I: Interceptor>(
        &self,
        topic: &str,
        name: &str,
        spec: ChildSpec,
        args: I::Args,
    ) -> Result<Seed, HasInterceptor> {
        let (seed, to) = Seed::of::<Interceptings<I>>(name, spec, args);
        let stop = Arc::new(Stop::new(I::ON, to));
        let before = self.0.rcu(|now| {
            let mut all = now.as_deref().cloned().unwrap_or_default();
            all.entry(topic.to_owned()).or_insert_with(|| stop.clone());
            Some(Arc::new(all))
        });
        match before.is_some_and(|before| before.contains_key(topic)) {
            true => Err(HasInterceptor(topic.to_owned())),
            false => Ok(seed),
        }
    }

    /// The topic is served without; whether it had one.
    pub fn remove(&self, topic: &str) -> bool {
        let before = self.0.rcu(|now| {
            let mut all = now.as_deref().cloned().unwrap_or_default();
            all.remove(topic);
            (!all.is_empty()).then(|| Arc::new(all))
        });
        before.is_some_and(|before| before.contains_key(topic))
    }

    pub(crate) fn any(&self) -> bool {
        self.0.load().is_some()
    }

    pub(crate) fn of(&self, topic: &str, way: On) -> Option<Arc<Stop>> {
        let all = self.0.load();
        all.as_ref()?.get(topic).filter(|stop| stop.on.includes(way)).cloned()
    }
}

/// Why records were not seen to their end.
#[derive(Debug)]
pub(crate) enum Unseen {
    Rejected {
        /// Among those that were asked about.
        index: usize,
        reason: String,
    },
    /// It failed on one of them.
    Failed,
}

/// The records as they are now; those that are left out are none.
type Seen = Result<Vec<Option<Intercepted>>, Unseen>;

pub(crate) enum InterceptMsg {
    Records { way: Way, records: Vec<Intercepted>, turn: Turn, reply: Reply<Seen> },
}

runtime::messages!(InterceptMsg { Records });
