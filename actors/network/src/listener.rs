//! Listener: one address that clients connect to, and the parent of their connections.
//!
//! Supervisor: `network`. A port in use is told before the actor starts. Clients' port is open from when they are served until the
//! actor stops: who finds nobody there turns to another broker, as with Kafka (`SocketServer`); it outlives the actor's restarts. Bound:
//! `max.connections` and `max.connections.per.ip`, over all listeners that count together.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use machines::metadata::MetadataVersion;
use quorum::LifecycleState;
use runtime::{
    Actor, Bulkhead, ChildChange, ChildEvent, ChildSpec, Counter, Cx, Failure, Gauge,
    ListenOptions, Listener, Map, NetStream, Outcome, Publisher, Waiter, Watch, World,
};
use wire::ListenerKind;

use crate::Broker;
use crate::api::{ConnectionInfo, ListenerInfo};
use crate::connection::{Connection, ConnectionArgs};
use crate::door::{Door, Inside};
use crate::quotas::{ConnectionQuotas, Slot, TooMany};

/// After an accept fails (no descriptors left), this long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener as it is configured.
#[derive(Debug, Clone)]
pub struct ListenerSpec {
    pub name: String,
    pub kind: ListenerKind,
    pub host: String,
    pub port: u16,
    pub options: ListenOptions,
    pub unstable_versions: bool,
    /// The newest that is told to be supported.
    pub metadata_version: MetadataVersion,
    /// Where `max.connections` is reached, another listener's connection closes for one of this.
    pub protected: bool,
}

/// Where it is open.
type Socket = Option<Arc<Listener>>;

/// A listener whose address is known.
#[derive(Clone)]
pub struct Bound {
    spec: ListenerSpec,
    address: SocketAddr,
    socket: Arc<Publisher<Socket>>,
    door: Door,
    inside: Inside,
}

impl Bound {
    /// Controllers' ports are open at once, and those that the system chose, which are known by that alone.
    ///
    /// # Errors
    /// The port is in use, there is no such address.
    pub async fn open(world: &World, spec: ListenerSpec) -> io::Result<Bound> {
        let socket = world.net().listen(&spec.host, spec.port, spec.options).await?;
        let address = socket.local_addr()?;
        let stays = spec.kind == ListenerKind::Controller || spec.port == 0;
        let (socket, _) = runtime::watch(stays.then(|| Arc::new(socket)));
        let (door, inside) = Door::of(&spec.name, address);
        Ok(Bound { spec, address, socket: Arc::new(socket), door, inside })
    }

    /// For those who connect from within this process.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Waits until somebody who connects is not refused.
    pub async fn listens(&self) {
        self.socket.subscribe().until(Option::is_some).await;
    }

    async fn listen(&self, world: &World) -> io::Result<Arc<Listener>> {
        if let Some(socket) = &*self.socket.get() {
            return Ok(socket.clone());
        }
        let (host, port) = (&self.spec.host, self.address.port());
        let socket = Arc::new(world.net().listen(host, port, self.spec.options).await?);
        self.socket.publish(Some(socket.clone()));
        Ok(socket)
    }

    /// Whoever comes next, from within or not.
    async fn accept(&self, socket: &Listener) -> io::Result<(NetStream, SocketAddr)> {
        tokio::select! {
            biased;
            accepted = self.inside.accept() => accepted,
            accepted = socket.accept() => accepted,
        }
    }

    fn close(&self) {
        self.inside.close();
        self.socket.publish(None);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }
}

#[derive(Clone)]
pub struct ListenerArgs {
    pub bound: Bound,
    pub broker: Arc<Broker>,
    pub quotas: Arc<ConnectionQuotas>,
    /// Clients are let in once the controller has let this broker in.
    pub open: Watch<LifecycleState>,
    /// How a connection is supervised: it is never restarted.
    pub connection: ChildSpec,
}

pub enum ListenerMsg {
    Accepted {
        arrival: Arrival,
    },
    /// Its address has too many connections already.
    Refused {
        peer: SocketAddr,
    },
    AcceptFailed {
        error: String,
    },
    CannotListen {
        error: String,
    },
    /// There are more connections than are allowed.
    TooMany,
}

runtime::messages!(ListenerMsg { Accepted, Refused, AcceptFailed, CannotListen, TooMany });

/// A connection that was accepted.
pub struct Arrival {
    stream: NetStream,
    peer: SocketAddr,
    slot: Slot,
}

struct Open {
    info: Arc<ConnectionInfo>,
    slot: Slot,
}

pub struct ListenerActor {
    args: ListenerArgs,
    info: Arc<ListenerInfo>,
    open: Map<String, Open>,
    accepted: Counter,
    refused: Counter,
    connections: Gauge,
}

impl Actor for ListenerActor {
    const KIND: &'static str = "listener";
    type Msg = ListenerMsg;
    type Args = ListenerArgs;

    async fn start(cx: &mut Cx<Self>, args: ListenerArgs) -> Result<Self, Failure> {
        let spec = &args.bound.spec;
        let info = Arc::new(ListenerInfo {
            name: spec.name.clone(),
            kind: spec.kind,
            unstable_versions: spec.unstable_versions,
            metadata_version: spec.metadata_version,
            cold_reads: cx.counter("cold_reads"),
        });
        let broker = args.broker.clone();
        cx.spawn_task(async move {
            let mut metadata = broker.metadata.clone();
            loop {
                let image = metadata.changed().await;
                broker.departed.see(&image, broker.world.mono());
            }
        });
        let (me, world, bound) = (cx.me().clone(), cx.world().clone(), args.bound.clone());
        let (mut open, mut metadata) = (args.open.clone(), args.broker.metadata.clone());
        let node = args.broker.node.0;
        let (quotas, protected) = (args.quotas.clone(), spec.protected);
        // A controller is part of what it takes to know the metadata.
        let waits = spec.kind == ListenerKind::Broker;
        cx.spawn_task(async move {
            if waits {
                open.until(|state| *state >= LifecycleState::Serving).await;
                // Before that, answers would deny brokers, topics and partitions that are there.
                metadata.until(|image| image.broker(node).is_some_and(|me| !me.fenced)).await;
            }
            let socket = match bound.listen(&world).await {
                Ok(socket) => socket,
                Err(error) => {
                    let _ = me.send(ListenerMsg::CannotListen { error: error.to_string() }).await;
                    return;
                }
            };
            bound.inside.open();
            loop {
                let (message, pause) = match bound.accept(&socket).await {
                    Ok((stream, peer)) => match quotas.take(peer.ip(), protected).await {
                        Ok(slot) => {
                            let arrival = Arrival { stream, peer, slot };
                            (ListenerMsg::Accepted { arrival }, false)
                        }
                        Err(TooMany) => (ListenerMsg::Refused { peer }, false),
                    },
                    Err(error) => (ListenerMsg::AcceptFailed { error: error.to_string() }, true),
                };
                if me.send(message).await.is_err() {
                    return;
                }
                if pause {
                    world.sleep(ACCEPT_PAUSE).await;
                }
            }
        });
        if !protected {
            watch_limit(cx, args.quotas.clone());
        }
        Ok(ListenerActor {
            info,
            open: Map::new(),
            accepted: cx.counter("connections_accepted"),
            refused: cx.counter("connections_refused"),
            connections: cx.gauge("connections"),
            args,
        })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: ListenerMsg) -> Outcome {
        match msg {
            ListenerMsg::Accepted { arrival } => self.accept(cx, arrival)?,
            ListenerMsg::Refused { peer } => {
                self.refused.add(1);
                tracing::debug!(listener = self.info.name, %peer, "too many connections");
            }
            ListenerMsg::TooMany => self.close_longest_idle(cx),
            ListenerMsg::AcceptFailed { error } => {
                tracing::warn!(listener = self.info.name, error, "accept failed");
            }
            ListenerMsg::CannotListen { error } => {
                let address = self.args.bound.address;
                return Err(Failure::new(format!("cannot listen on {address}: {error}")));
            }
        }
        Ok(())
    }

    async fn stop(&mut self, _cx: &mut Cx<Self>) {
        self.args.bound.close();
    }

    async fn child_changed(&mut self, _cx: &mut Cx<Self>, event: ChildEvent) -> Outcome {
        if let ChildChange::Stopped { .. } | ChildChange::Offline { .. } = event.change {
            self.open.remove(&event.name);
            self.connections.set(self.open.len() as i64);
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        format!(
            "{} on {}, {} connections",
            self.info.name,
            self.args.bound.address,
            self.open.len()
        )
    }
}

fn watch_limit(cx: &mut Cx<ListenerActor>, quotas: Arc<ConnectionQuotas>) {
    let me = cx.me().clone();
    cx.spawn_task(async move {
        let mut waiter = Waiter::new();
        loop {
            for pulse in quotas.pulses() {
                waiter.on(pulse);
            }
            if quotas.exceeded() && me.send(ListenerMsg::TooMany).await.is_err() {
                return;
            }
            waiter.wait().await;
        }
    });
}

impl ListenerActor {
    fn accept(&mut self, cx: &mut Cx<Self>, arrival: Arrival) -> Outcome {
        let Arrival { stream, peer, slot } = arrival;
        self.accepted.add(1);
        let number = self.args.broker.requests.connection();
        let name = format!("{peer}#{number}");
        let info = Arc::new(ConnectionInfo::new(self.info.clone(), peer, cx.world().mono()));
        let args = ConnectionArgs {
            stream: Arc::new(Mutex::new(Some(stream))),
            number,
            info: info.clone(),
            broker: self.args.broker.clone(),
        };
        let spec = self.args.connection.clone().on(Bulkhead::Network);
        cx.spawn::<Connection>(name.clone(), spec, args)?;
        self.open.insert(name, Open { info, slot });
        self.connections.set(self.open.len() as i64);
        // The limit may have been lowered while this one was on its way here.
        if !self.args.bound.spec.protected && self.args.quotas.exceeded() {
            self.close_longest_idle(cx);
        }
        Ok(())
    }

    fn close_longest_idle(&mut self, cx: &mut Cx<Self>) {
        let mut by_use: Vec<_> = self.open.iter_mut().collect();
        by_use.sort_by_key(|(_, open)| open.info.last_active());
        for (name, open) in by_use {
            if !open.slot.must_close() {
                break;
            }
            cx.dismiss(name);
        }
    }
}
