//! Listener: one address that clients connect to, and the parent of their connections.
//!
//! Supervisor: `network`. The socket is bound before the actor starts, so that a port in use is told at once, and it outlives
//! the actor's restarts. Bound: `max.connections` and `max.connections.per.ip`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorum::LifecycleState;
use runtime::{
    Actor, Bulkhead, ChildChange, ChildEvent, ChildSpec, Counter, Cx, Failure, ListenOptions,
    Listener, Map, NetStream, Outcome, Watch, World,
};
use wire::ListenerKind;

use crate::Broker;
use crate::api::{ConnectionInfo, ListenerInfo};
use crate::connection::{Connection, ConnectionArgs};

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
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
}

/// A listener whose socket is open.
#[derive(Clone)]
pub struct Bound {
    spec: ListenerSpec,
    socket: Arc<Listener>,
    address: SocketAddr,
}

impl Bound {
    pub async fn open(world: &World, spec: ListenerSpec) -> io::Result<Bound> {
        let socket = world.net().listen(&spec.host, spec.port, spec.options).await?;
        let address = socket.local_addr()?;
        Ok(Bound { spec, socket: Arc::new(socket), address })
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
    /// Clients are let in once the controller has let this broker in.
    pub open: Watch<LifecycleState>,
    /// How a connection is supervised: it is never restarted.
    pub connection: ChildSpec,
}

pub enum ListenerMsg {
    Accepted { stream: NetStream, peer: SocketAddr },
    AcceptFailed { error: String },
}

runtime::messages!(ListenerMsg { Accepted, AcceptFailed });

pub struct ListenerActor {
    args: ListenerArgs,
    info: Arc<ListenerInfo>,
    next: u64,
    by_ip: Map<IpAddr, usize>,
    ip_of: Map<String, IpAddr>,
    accepted: Counter,
    refused: Counter,
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
        });
        let (me, world, socket) = (cx.me().clone(), cx.world().clone(), args.bound.socket.clone());
        let (mut open, mut metadata) = (args.open.clone(), args.broker.metadata.clone());
        let node = args.broker.node.0;
        // A controller is part of what it takes to know the metadata.
        let waits = spec.kind == ListenerKind::Broker;
        cx.spawn_task(async move {
            if waits {
                open.until(|state| *state >= LifecycleState::Serving).await;
                // Before that, answers would deny brokers, topics and partitions that are there.
                metadata.until(|image| image.broker(node).is_some_and(|me| !me.fenced)).await;
            }
            loop {
                let (message, pause) = match socket.accept().await {
                    Ok((stream, peer)) => (ListenerMsg::Accepted { stream, peer }, false),
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
        Ok(ListenerActor {
            info,
            next: 0,
            by_ip: Map::new(),
            ip_of: Map::new(),
            accepted: cx.counter("connections_accepted"),
            refused: cx.counter("connections_refused"),
            args,
        })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: ListenerMsg) -> Outcome {
        match msg {
            ListenerMsg::Accepted { stream, peer } => self.accept(cx, stream, peer)?,
            ListenerMsg::AcceptFailed { error } => {
                tracing::warn!(listener = self.info.name, error, "accept failed");
            }
        }
        Ok(())
    }

    async fn child_changed(&mut self, _cx: &mut Cx<Self>, event: ChildEvent) -> Outcome {
        if let ChildChange::Stopped { .. } | ChildChange::Offline { .. } = event.change
            && let Some(ip) = self.ip_of.remove(&event.name)
            && let Some(count) = self.by_ip.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                self.by_ip.remove(&ip);
            }
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        format!(
            "{} on {}, {} connections",
            self.info.name,
            self.args.bound.address,
            self.ip_of.len()
        )
    }
}

impl ListenerActor {
    fn accept(&mut self, cx: &mut Cx<Self>, stream: NetStream, peer: SocketAddr) -> Outcome {
        let spec = &self.args.bound.spec;
        let of_ip = self.by_ip.get(&peer.ip()).copied().unwrap_or(0);
        if self.ip_of.len() >= spec.max_connections || of_ip >= spec.max_connections_per_ip {
            self.refused.add(1);
            return Ok(());
        }
        self.accepted.add(1);
        let name = format!("{peer}#{}", self.next);
        self.next += 1;
        let args = ConnectionArgs {
            stream: Arc::new(Mutex::new(Some(stream))),
            info: Arc::new(ConnectionInfo::new(self.info.clone(), peer)),
            broker: self.args.broker.clone(),
        };
        let spec = self.args.connection.clone().on(Bulkhead::Network);
        cx.spawn::<Connection>(name.clone(), spec, args)?;
        *self.by_ip.entry(peer.ip()).or_default() += 1;
        self.ip_of.insert(name, peer.ip());
        Ok(())
    }
}
