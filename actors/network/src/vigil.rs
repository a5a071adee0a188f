//! Whether those live whom clients are to be told of as leaders.
//!
//! Where a broker's process has died, others lead some round trips later. A client whose connection broke asks at once, mostly before
//! that, and goes by what it hears: librdkafka 2.12 asks again when its second is over, and no sooner. So it is looked first whether
//! the leaders answer; where nothing listens any more, this one's answer waits until others lead.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use machines::metadata::{BrokerRegistration, MetadataImage};
use model::node_config::HostPort;
use runtime::{Bulkhead, Map, Publisher, World, watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Broker;

/// No longer than this an answer waits for others to lead.
const PATIENCE: Duration = Duration::from_millis(500);
/// Who takes longer to answer is neither here nor gone.
const ANSWER: Duration = Duration::from_millis(50);
/// Before one is asked again that did not answer to the end, at first; then twice as long.
const AGAIN: Duration = Duration::from_millis(1);
/// From one look at a broker to the next, however many ask; twice as long after each that led to nothing: it may take no more
/// connections than it has.
const BETWEEN: Duration = Duration::from_millis(10);
const MAX_IN_VAIN: u32 = 7;

/// The brokers that were asked about. Bounded by the registrations.
#[derive(Debug, Default)]
pub(crate) struct Vigil(Mutex<Map<i32, Arc<Life>>>);

/// A broker, from one registration to the next.
#[derive(Debug)]
struct Life {
    id: i32,
    epoch: i64,
    address: HostPort,
    next: Mutex<Next>,
    found: Publisher<Found>,
}

#[derive(Debug, Default)]
struct Next {
    /// A look is asked for and has not begun: who comes now can wait for that.
    asked: bool,
    earliest: Duration,
    /// Looks in a row that led to nothing.
    in_vain: u32,
}

/// What the newest look found.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    began: Duration,
    refuses: bool,
    /// It was reached before, so that a refusal proves something; not where that was waited for in vain.
    proves: bool,
}

impl Vigil {
    fn lives(&self, image: &MetadataImage, ids: &BTreeSet<i32>, listener: &str) -> Vec<Arc<Life>> {
        let mut known = lock(&self.0);
        let alive = |id: i32| image.broker(id).filter(|broker| !broker.fenced);
        known.retain(|id, life| alive(*id).is_some_and(|broker| broker.epoch == life.epoch));
        let life = |broker: &BrokerRegistration| {
            Some(match known.entry(broker.id) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(place) => place.insert(Arc::new(Life::of(broker, listener)?)).clone(),
            })
        };
        ids.iter().filter_map(|id| alive(*id)).filter_map(life).collect()
    }
}

impl Life {
    fn of(broker: &BrokerRegistration, listener: &str) -> Option<Life> {
        let endpoint = broker.listener(listener)?;
        Some(Life {
            id: broker.id,
            epoch: broker.epoch,
            address: HostPort { host: endpoint.host.clone(), port: endpoint.port },
            next: Mutex::default(),
            found: watch(Found::default()).0,
        })
    }

    /// Sees to it that it is looked at from now on. Gives when, in the monotonic time.
    fn look(self: &Arc<Life>, world: World) -> Duration {
        let mut next = lock(&self.next);
        let when = next.earliest;
        if std::mem::replace(&mut next.asked, true) {
            return when;
        }
        let (life, due, handle) = (self.clone(), next.earliest, world.clone());
        drop(handle.spawn(Bulkhead::Network, async move {
            if due > world.mono() {
                world.sleep_until(due).await;
            }
            let began = world.mono();
            {
                let mut next = lock(&life.next);
                (next.asked, next.earliest) = (false, began + BETWEEN);
            }
            let lives = world.timeout(ANSWER, lives(&world, &life.address)).await.ok();
            life.looked(began, lives);
        }));
        when
    }

    fn looked(&self, began: Duration, lives: Option<bool>) {
        let mut next = lock(&self.next);
        next.in_vain = match lives {
            None => MAX_IN_VAIN.min(next.in_vain + 1),
            Some(_) => 0,
        };
        next.earliest = next.earliest.max(began + BETWEEN * 2u32.pow(next.in_vain));
        let before = *self.found.get();
        if began >= before.began {
            let (refuses, proves) = (lives == Some(false), before.proves || lives == Some(true));
            self.found.publish(Found { began, refuses, proves });
        }
    }

    /// By a look that began no earlier.
    async fn is_gone(&self, since: Duration) -> bool {
        let found = self.found.subscribe().until(|found| found.began >= since).await;
        found.refuses && found.proves
    }

    async fn until_fenced(&self, broker: &Broker, limit: Duration) {
        let mut metadata = broker.metadata.clone();
        let fenced = metadata.until(|image| {
            let known = image.broker(self.id).filter(|known| known.epoch == self.epoch);
            known.is_none_or(|known| known.fenced)
        });
        if broker.world.timeout(limit, fenced).await.is_err() {
            let _one_at_a_time = lock(&self.next);
            self.found.publish(Found { proves: false, ..*self.found.get() });
        }
    }
}

/// A process that ends closes its connections and its listeners one after the other: only an answer says that it does not.
async fn lives(world: &World, at: &HostPort) -> bool {
    let mut pause = AGAIN;
    loop {
        match ask(world, at).await {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return false,
            Err(_) => world.sleep(pause).await,
        }
        pause *= 2;
    }
}

async fn ask(world: &World, at: &HostPort) -> io::Result<()> {
    let mut stream = world.net().connect(&at.host, at.port).await?;
    let question = wire::encode_request(&wire::ApiVersionsRequest::default(), 0, 0, None);
    for part in question.map_err(io::Error::other)? {
        if let wire::Part::Bytes(bytes) = part {
            stream.write_all(&bytes).await?;
        }
    }
    stream.read_u32().await.map(drop)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until none of these brokers is known to be gone and not known to be fenced.
pub(crate) async fn settled(
    broker: &Broker,
    leaders: impl FnOnce(&MetadataImage) -> BTreeSet<i32>,
) {
    let begin = broker.world.mono();
    let lives = {
        let image = broker.metadata.get();
        let others = || image.alive_brokers().any(|other| other.id != broker.node.0);
        if !others() || !broker.settings.get().boolean("ottla.failover.fast") {
            return;
        }
        let mut leaders = leaders(&image);
        leaders.remove(&broker.node.0);
        broker.vigil.lives(&image, &leaders, &broker.inter_broker_listener)
    };
    // Who was looked at in vain is looked at again too late to be waited for.
    let soon = |life: &Arc<Life>| life.look(broker.world.clone()) <= begin + BETWEEN;
    let lives: Vec<_> = lives.into_iter().filter(soon).collect();
    for life in lives {
        let left = || (begin + PATIENCE).saturating_sub(broker.world.mono());
        if broker.world.timeout(left(), life.is_gone(begin)).await.is_ok_and(|gone| gone) {
            life.until_fenced(broker, left()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use disk::SimDisk;
    use runtime::{Handles, ListenOptions};

    use super::*;

    #[tokio::test]
    async fn who_closes_at_once_is_looked_at_ever_less_often() {
        let disk = SimDisk::new(disk::SimDiskOptions::default()).mount();
        let world = World::real(Handles::current(), disk);
        let options = ListenOptions::default();
        let listener = world.net().listen("127.0.0.1", 0, options).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let closes =
            world.spawn(Bulkhead::Network, async move { while listener.accept().await.is_ok() {} });
        let address = HostPort { host: "127.0.0.1".to_owned(), port };
        let found = watch(Found::default()).0;
        let life = Arc::new(Life { id: 2, epoch: 1, address, next: Mutex::default(), found });
        let mut before = Duration::ZERO;
        for turn in 0..5 {
            let began = world.mono();
            life.look(world.clone());
            let found = life.found.subscribe().until(|found| found.began > began).await;
            assert!(!found.refuses && !found.proves);
            if turn > 0 {
                assert!(found.began - before >= BETWEEN * 2u32.pow(turn), "turn {turn}");
            }
            before = found.began;
        }
        closes.abort();
        while !life.found.get().refuses {
            life.look(world.clone());
            life.found.subscribe().until(|found| found.began > before).await;
            before = life.found.get().began;
        }
    }
}
