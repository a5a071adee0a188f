//! Whether a broker's process is gone: its connections end, and nothing listens any more where this node has reached it before.
//!
//! A listener counts once it was reached in the broker's present life, so that one which is advertised for others alone, or stands behind
//! a wall, proves nothing. All that count must refuse. One that is merely slow, stopped or cut off refuses nobody: its session decides.

use std::io::{self, ErrorKind};
use std::time::Duration;

use machines::metadata::{BrokerRegistration, MetadataImage};
use model::node_config::HostPort;
use runtime::{Map, World};

/// A process that was reached, and a listener of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub broker_id: i32,
    pub broker_epoch: i64,
}

/// Somebody looks for the listeners of a broker that has come to serve, until it serves no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    broker_id: i32,
    /// A broker that serves again in the same life is greeted anew.
    serial: u64,
}

/// The end of a process closes its connections and its listeners one after the other, the listeners maybe last, and one that begins to
/// serve opens them maybe after that is known: it is looked for after pauses of so many milliseconds.
const LOOKS: [u64; 9] = [0, 10, 20, 40, 80, 160, 320, 640, 1280];
/// Who was not reached at first is looked for so often, all its life: it may have begun to listen since.
const AGAIN: [u64; 1] = [5000];
/// Who takes longer is neither here nor gone.
const CONNECT: Duration = Duration::from_secs(1);

/// The brokers that serve, and where each was reached. One life of each: bounded by the registrations.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    known: Map<i32, Known>,
    greetings: u64,
}

#[derive(Debug)]
struct Known {
    epoch: i64,
    greeting: u64,
    reached: Vec<HostPort>,
}

impl Reach {
    /// Who serves and was not greeted yet. Who serves no more is forgotten.
    pub(crate) fn ungreeted(&mut self, image: &MetadataImage) -> Vec<(Greeting, Vec<HostPort>)> {
        self.known.retain(|id, known| {
            image.broker(*id).is_some_and(|broker| !broker.fenced && broker.epoch == known.epoch)
        });
        let mut greet = Vec::new();
        for broker in image.alive_brokers() {
            self.known.entry(broker.id).or_insert_with(|| {
                self.greetings += 1;
                let (broker_id, serial) = (broker.id, self.greetings);
                greet.push((Greeting { broker_id, serial }, addresses(broker)));
                Known { epoch: broker.epoch, greeting: serial, reached: Vec::new() }
            });
        }
        greet
    }

    /// Where it was reached since it has come to serve; `None` where that is over.
    pub(crate) fn reached(&mut self, greeting: Greeting) -> Option<&mut Vec<HostPort>> {
        let known = self.known.get_mut(&greeting.broker_id)?;
        (known.greeting == greeting.serial).then_some(&mut known.reached)
    }

    /// Where to look for it; nowhere, where nothing would prove it gone.
    pub(crate) fn of(&self, process: &Process) -> Option<Vec<HostPort>> {
        let known = self.known.get(&process.broker_id)?;
        let is_known = known.epoch == process.broker_epoch && !known.reached.is_empty();
        is_known.then(|| known.reached.clone())
    }

    pub(crate) fn all(&self) -> Vec<Process> {
        let process =
            |(id, known): (&i32, &Known)| Process { broker_id: *id, broker_epoch: known.epoch };
        self.known.iter().map(process).collect()
    }
}

fn addresses(broker: &BrokerRegistration) -> Vec<HostPort> {
    let address = |endpoint: &machines::metadata::Endpoint| HostPort {
        host: endpoint.host.clone(),
        port: endpoint.port,
    };
    broker.listeners.iter().map(address).collect()
}

/// Whether the listener can be reached, `again` where it could not before.
pub(crate) async fn greet(world: &World, address: &HostPort, again: bool) -> bool {
    let pauses = if again { &AGAIN[..] } else { &LOOKS[..] };
    for pause in pauses {
        world.sleep(Duration::from_millis(*pause)).await;
        if connect(world, address).await.is_ok() {
            return true;
        }
    }
    false
}

/// Whether all of these come to refuse.
pub(crate) async fn is_gone(world: &World, addresses: &[HostPort]) -> bool {
    for pause in LOOKS.map(Duration::from_millis) {
        world.sleep(pause).await;
        if all_refuse(world, addresses).await {
            return true;
        }
    }
    false
}

async fn all_refuse(world: &World, addresses: &[HostPort]) -> bool {
    for address in addresses {
        let refused = connect(world, address)
            .await
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        if !refused {
            return false;
        }
    }
    true
}

async fn connect(world: &World, address: &HostPort) -> io::Result<()> {
    let connecting = world.net().connect(&address.host, address.port);
    match world.timeout(CONNECT, connecting).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use machines::metadata::MetadataLoader;
    use wire::register_broker_record::BrokerEndpoint;
    use wire::{FenceBrokerRecord, MetadataRecord, RegisterBrokerRecord, UnfenceBrokerRecord};

    use super::*;

    const ID: i32 = 4;

    fn registered(epoch: i64) -> MetadataRecord {
        let listener = BrokerEndpoint { host: "late".into(), port: 9092, ..Default::default() };
        MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: ID,
            broker_epoch: epoch,
            fenced: false,
            end_points: vec![listener],
            ..Default::default()
        })
    }

    #[test]
    fn a_broker_that_serves_again_in_the_same_life_is_looked_for_once() {
        let (mut loader, mut reach, mut offset) = (MetadataLoader::default(), Reach::default(), 0);
        let mut told = |record: MetadataRecord| {
            loader.replay(&record, offset, 1).unwrap();
            offset += 1;
            reach.ungreeted(loader.image())
        };
        let (id, epoch) = (ID, 7);
        let fence = FenceBrokerRecord { id, epoch, ..Default::default() };
        let unfence = UnfenceBrokerRecord { id, epoch, ..Default::default() };
        let first = told(registered(epoch));
        assert_eq!(told(MetadataRecord::FenceBroker(fence)), []);
        let again = told(MetadataRecord::UnfenceBroker(unfence));
        let ([(first, at)], [(again, _)]) = (&first[..], &again[..]) else { panic!("{again:?}") };
        assert_eq!((at.len(), &*at[0].host), (1, "late"));
        assert_eq!(reach.reached(*first), None, "who looked before ends");
        reach.reached(*again).expect("it serves").push(at[0].clone());
        let process = Process { broker_id: ID, broker_epoch: epoch };
        assert_eq!(reach.of(&process), Some(at.clone()));
    }
}
