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
    known: Map<i32, (i64, Vec<HostPort>)>,
}

impl Reach {
    /// Who serves and was not greeted yet. Who serves no more is forgotten.
    pub(crate) fn ungreeted(&mut self, image: &MetadataImage) -> Vec<(Process, Vec<HostPort>)> {
        self.known.retain(|id, (epoch, _)| {
            image.broker(*id).is_some_and(|broker| !broker.fenced && broker.epoch == *epoch)
        });
        let mut greet = Vec::new();
        for broker in image.alive_brokers() {
            self.known.entry(broker.id).or_insert_with(|| {
                greet.push((process(broker), addresses(broker)));
                (broker.epoch, Vec::new())
            });
        }
        greet
    }

    /// Where it was reached in its present life; `None` where that is over.
    pub(crate) fn reached(&mut self, process: &Process) -> Option<&mut Vec<HostPort>> {
        let (epoch, addresses) = self.known.get_mut(&process.broker_id)?;
        (*epoch == process.broker_epoch).then_some(addresses)
    }

    /// Where to look for it; nowhere, where nothing would prove it gone.
    pub(crate) fn of(&self, process: &Process) -> Option<Vec<HostPort>> {
        let (epoch, addresses) = self.known.get(&process.broker_id)?;
        let known = *epoch == process.broker_epoch && !addresses.is_empty();
        known.then(|| addresses.clone())
    }

    pub(crate) fn all(&self) -> Vec<Process> {
        let process = |(id, (epoch, _)): (&i32, &(i64, Vec<HostPort>))| Process {
            broker_id: *id,
            broker_epoch: *epoch,
        };
        self.known.iter().map(process).collect()
    }
}

fn process(broker: &BrokerRegistration) -> Process {
    Process { broker_id: broker.id, broker_epoch: broker.epoch }
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
