//! What users' actors have of the node they are in.

use std::io;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use client::{BootstrapError, Client, DurableRef, LocalOwners};
use machines::metadata::MetadataImage;
use model::topic::{MAX_NAME_LENGTH, validate_topic_name};
use network::{Door, Interceptor, Interceptors};
use runtime::durable::Durable;
use runtime::{
    Actor, Address, BoxFuture, ChildSpec, ConnectOptions, ListenOptions, Listener, Net, NetStream,
    RactorAddress, Reply, Seed, SupervisorMsg, Watch, World, ractor,
};

use super::tree::Shared;
use super::{ExtendError, Node, policy};

/// A node, as what runs in it sees it: a [`Client`] of its cluster, which reaches this node past sockets and the others by theirs, and
/// what can be put into the node. Cheap to clone; it keeps no node alive.
#[derive(Clone)]
pub struct NodeHandle {
    id: i32,
    client: Client,
    owners: LocalOwners,
    interceptors: Interceptors,
    extensions: Address<SupervisorMsg>,
}

impl Deref for NodeHandle {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl NodeHandle {
    pub(super) fn of(shared: &Shared, world: &World) -> Result<NodeHandle, BootstrapError> {
        Ok(NodeHandle {
            id: shared.node().0,
            client: shared.client(world)?,
            owners: shared.local_owners(),
            interceptors: shared.interceptors.clone(),
            extensions: shared.extensions.clone(),
        })
    }

    pub fn node_id(&self) -> i32 {
        self.id
    }

    /// The durable actors on a topic, whichever nodes own them.
    pub fn durable<D: Durable>(&self, topic: &str) -> DurableRef<D> {
        self.client.durable(topic).beside(self.owners.clone())
    }

    /// Spawns an actor of one's own under `extensions`: restarted when it fails, shown in the tree, stopped before the network.
    ///
    /// # Errors
    /// There is an extension of this name, or it is none, or the node stops.
    pub async fn extend<A: Actor>(
        &self,
        name: &str,
        args: A::Args,
    ) -> Result<Address<A::Msg>, ExtendError> {
        self.extend_with::<A>(name, policy::extension(), args).await
    }

    /// As [`NodeHandle::extend`], under a policy of one's own. Whatever that says, one that is given up is offline alone: others are not
    /// the worse for it.
    ///
    /// # Errors
    /// As there.
    pub async fn extend_with<A: Actor>(
        &self,
        name: &str,
        spec: ChildSpec,
        args: A::Args,
    ) -> Result<Address<A::Msg>, ExtendError> {
        check_name(name)?;
        let (seed, address) = Seed::of::<A>(name, policy::of_users(spec), args);
        add(&self.extensions, seed).await?;
        Ok(address)
    }

    /// As [`NodeHandle::extend`], of an actor of ractor's own trait. `make` gives it, and what it starts from, also after a failure.
    ///
    /// # Errors
    /// As there.
    pub async fn extend_ractor<R: ractor::Actor>(
        &self,
        name: &str,
        make: impl Fn() -> (R, R::Arguments) + Send + Sync + 'static,
    ) -> Result<RactorAddress<R::Msg>, ExtendError> {
        self.extend_ractor_with(name, policy::extension(), make).await
    }

    /// As [`NodeHandle::extend_ractor`], under a policy of one's own. One that is given up is offline alone.
    ///
    /// # Errors
    /// As there.
    pub async fn extend_ractor_with<R: ractor::Actor>(
        &self,
        name: &str,
        spec: ChildSpec,
        make: impl Fn() -> (R, R::Arguments) + Send + Sync + 'static,
    ) -> Result<RactorAddress<R::Msg>, ExtendError> {
        check_name(name)?;
        let (seed, address) = Seed::of_ractor(name, policy::of_users(spec), make);
        add(&self.extensions, seed).await?;
        Ok(address)
    }

    /// From here on the records that clients write to a topic of this node, or read from it, go through this. Who wants that from the
    /// node's start on says so to its builder.
    ///
    /// # Errors
    /// The topic has an interceptor, or can be none, or the node stops.
    pub async fn intercept<I: Interceptor>(
        &self,
        topic: &str,
        args: I::Args,
    ) -> Result<(), ExtendError> {
        self.intercept_with::<I>(topic, policy::interceptor(), args).await
    }

    /// As [`NodeHandle::intercept`], under a policy of one's own. One that is given up is offline, and so is its topic to clients.
    ///
    /// # Errors
    /// As there.
    pub async fn intercept_with<I: Interceptor>(
        &self,
        topic: &str,
        spec: ChildSpec,
        args: I::Args,
    ) -> Result<(), ExtendError> {
        let seed = interceptor::<I>(&self.interceptors, topic, spec, args)?;
        let added = add(&self.extensions, seed).await;
        if added.is_err() {
            self.interceptors.remove(topic);
        }
        added
    }

    /// The topic's records pass as they are again; whether it had an interceptor.
    ///
    /// # Errors
    /// The node stops.
    pub async fn stop_intercepting(&self, topic: &str) -> Result<bool, ExtendError> {
        let had_one = self.interceptors.remove(topic);
        let (reply, answer) = Reply::new();
        let message = SupervisorMsg::Remove { name: interceptor_name(topic), reply };
        self.extensions.send(message).await.map_err(|_| ExtendError::Stopping)?;
        answer.get().await.map_err(|_| ExtendError::Stopping)?;
        Ok(had_one)
    }
}

/// It stands in paths and logs, and is typed by people.
pub(super) fn check_name(name: &str) -> Result<(), ExtendError> {
    let reason = match name {
        "" => "the name is empty",
        "." | ".." => "the name is that of a place in a path",
        name if name.len() > MAX_NAME_LENGTH => "the name is longer than 249 bytes",
        name if name.contains('/') => "the name holds a '/', which parts the names in a path",
        name if name.contains(char::is_control) => "the name holds a control character",
        name if name.trim() != name => "the name begins or ends with a space",
        _ => return Ok(()),
    };
    Err(ExtendError::Name { name: name.to_owned(), reason })
}

async fn add(extensions: &Address<SupervisorMsg>, seed: Seed) -> Result<(), ExtendError> {
    let (reply, answer) = Reply::new();
    let sent = extensions.send(SupervisorMsg::Add { seed, reply }).await;
    sent.map_err(|_| ExtendError::Stopping)?;
    answer.get().await.map_err(|_| ExtendError::Stopping)?.map_err(ExtendError::Refused)
}

fn interceptor_name(topic: &str) -> String {
    format!("interceptor:{topic}")
}

/// The interceptor, to be spawned: whoever asks for its topic waits for it already.
pub(super) fn interceptor<I: Interceptor>(
    interceptors: &Interceptors,
    topic: &str,
    spec: ChildSpec,
    args: I::Args,
) -> Result<Seed, ExtendError> {
    let illegal = |reason| ExtendError::Topic { topic: topic.to_owned(), reason };
    validate_topic_name(topic).map_err(illegal)?;
    let spec = policy::of_users(spec);
    Ok(interceptors.add::<I>(topic, &interceptor_name(topic), spec, args)?)
}

impl Node {
    /// What actors of one's own work with, for those beside the node too.
    ///
    /// # Errors
    /// The node has no listener for clients.
    pub fn handle(&self) -> Result<NodeHandle, BootstrapError> {
        NodeHandle::of(&self.shared, &self.world)
    }

    /// A client of the cluster that this node is part of, for actors of one's own and beside them.
    ///
    /// # Errors
    /// The node has no listener for clients.
    pub fn client(&self) -> Result<Client, BootstrapError> {
        self.shared.client(&self.world)
    }

    /// The durable actors on a topic, whichever nodes own them.
    ///
    /// # Errors
    /// The node has no listener for clients.
    pub fn durable<D: Durable>(&self, topic: &str) -> Result<DurableRef<D>, BootstrapError> {
        Ok(self.handle()?.durable(topic))
    }

    /// Spawns an actor of one's own under `extensions`: restarted when it fails, shown in the tree, stopped before the network.
    ///
    /// # Errors
    /// There is an extension of this name, or it is none, or the node stops.
    pub async fn extend<A: Actor>(
        &self,
        name: &str,
        args: A::Args,
    ) -> Result<Address<A::Msg>, ExtendError> {
        self.extend_with::<A>(name, policy::extension(), args).await
    }

    /// As [`Node::extend`], under a policy of one's own. Whatever that says, one that is given up is offline alone: others are not the
    /// worse for it.
    ///
    /// # Errors
    /// As there.
    pub async fn extend_with<A: Actor>(
        &self,
        name: &str,
        spec: ChildSpec,
        args: A::Args,
    ) -> Result<Address<A::Msg>, ExtendError> {
        check_name(name)?;
        let (seed, address) = Seed::of::<A>(name, policy::of_users(spec), args);
        add(&self.shared.extensions, seed).await?;
        Ok(address)
    }
}

/// The network, as what runs in a node uses it: the node itself is reached past it.
struct Within {
    world: World,
    node: i32,
    doors: Vec<Door>,
    images: Watch<MetadataImage>,
}

impl Within {
    /// By the address that a listener has, or is known by.
    fn door(&self, host: &str, port: u16) -> Option<&Door> {
        let image = self.images.get();
        let this = image.broker(self.node);
        self.doors.iter().find(|door| {
            let (ip, bound) = (door.address().ip(), door.address().port());
            let told = this.and_then(|this| this.listener(door.name()));
            host.parse::<IpAddr>().is_ok_and(|host| (host, port) == (ip, bound))
                || told.is_some_and(|told| told.host == host && told.port == port)
        })
    }
}

impl Net for Within {
    fn listen<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        options: ListenOptions,
    ) -> BoxFuture<'a, io::Result<Listener>> {
        self.world.net().listen(host, port, options)
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<NetStream>> {
        self.connect_with(host, port, ConnectOptions::default())
    }

    fn connect_with<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        options: ConnectOptions,
    ) -> BoxFuture<'a, io::Result<NetStream>> {
        match self.door(host, port) {
            Some(door) => Box::pin(door.connect()),
            None => self.world.net().connect_with(host, port, options),
        }
    }

    fn most_accepted(&self) -> usize {
        self.world.net().most_accepted()
    }
}

impl Shared {
    /// A client of the cluster, by the first listener that is no controller's.
    pub(crate) fn client(&self, world: &World) -> Result<Client, BootstrapError> {
        let bootstrap = self.for_clients().map(|bound| bound.address().to_string());
        let clients = self.bound.iter().filter(|b| !self.config.is_controller_listener(b.name()));
        let within = Within {
            world: world.clone(),
            node: self.node().0,
            doors: clients.map(|bound| bound.door().clone()).collect(),
            images: self.images.subscribe(),
        };
        Client::new(&world.clone().with_net(Arc::new(within)), bootstrap)
    }
}
