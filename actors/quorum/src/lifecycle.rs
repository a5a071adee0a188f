//! Lifecycle: how a broker joins the cluster, stays in it, and leaves.
//!
//! Supervisor: `quorum`, the last of it. It registers, heartbeats until the controller lets it serve (unfenced), goes on
//! heartbeating, and when the node stops asks for its leaderships to be moved before anything closes. Source:
//! `BrokerLifecycleManager`.

mod refusals;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use machines::controller::{ControllerReply, ControllerRequest};
use machines::metadata::{
    BrokerRegistration, Endpoint, MetadataImage, MetadataVersion, supported_features,
};
use model::{ErrorCode, NodeId, Uuid};
use partitions::{LogDirState, LogDirs};
use runtime::{Actor, Cx, Failure, Outcome, Publisher, Watch};
use wire::broker_registration_request::{Feature, Listener};
use wire::{BrokerHeartbeatRequest, BrokerRegistrationRequest};

use crate::controller::{Committed, ControllerAnswer, ControllerHandle, Unavailable};
pub use state::LifecycleState;

/// The newest version of BrokerRegistration.
const REGISTRATION_VERSION: i16 = 4;
/// Between attempts, while there is no controller or it refuses for now.
const RETRY: Duration = Duration::from_millis(20);
/// Without a word of a controller for so long, a broker that stops waits no more for one: an election takes less. Kafka's
/// would wait for five minutes, in which nobody could take its leaderships either.
const UNHEARD: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct LifecycleArgs {
    pub node: NodeId,
    pub cluster_id: String,
    /// Of this process: by it the controller tells a registration that is renewed from one of another process.
    pub incarnation: Uuid,
    pub rack: Option<String>,
    /// What clients and brokers are told to connect to.
    pub listeners: Vec<Endpoint>,
    pub log_dirs: LogDirs,
    /// The newest that it may use.
    pub metadata_version: MetadataVersion,
    /// From the marker of a clean stop; -1 where the last stop was none.
    pub previous_broker_epoch: i64,
    pub controller: ControllerHandle,
    pub metadata: Watch<MetadataImage>,
    /// What of it the broker's own actors follow: images that hold this process's registration. An earlier one may give replicas
    /// roles that another process had, or lack topics that come later in the log.
    pub followed: Arc<Publisher<MetadataImage>>,
    /// The offset to which the broker's own actors have followed the metadata.
    pub applied: Watch<i64>,
    pub state: Arc<Publisher<LifecycleState>>,
    /// It was serving once, whatever it is now.
    pub has_served: Arc<AtomicBool>,
    /// Why the controller refused the last registration; empty where it did not.
    pub refusal: Arc<Publisher<String>>,
    /// The node stops, which an actor that starts anew must know of.
    pub stopping: Arc<AtomicBool>,
    pub broker_epoch: Arc<AtomicI64>,
    pub heartbeat_interval: Duration,
    /// Of one attempt: several fit into a session.
    pub request_timeout: Duration,
}

pub enum LifecycleMsg {
    Beat,
    Registered {
        answer: ControllerAnswer,
    },
    Beaten {
        answer: ControllerAnswer,
    },
    /// The node stops: ask the controller to be let go; [`LifecycleState::Released`] says when.
    ShutDown,
    /// From itself: it waits to be let go.
    StillHere,
    MetadataChanged,
    MetadataApplied,
    /// A log directory went offline, is cordoned, or is no longer.
    DirectoriesChanged,
}

runtime::messages!(LifecycleMsg {
    Beat,
    Registered,
    Beaten,
    ShutDown,
    StillHere,
    MetadataChanged,
    MetadataApplied,
    DirectoriesChanged
});

pub struct Lifecycle {
    args: LifecycleArgs,
    state: LifecycleState,
    asking: bool,
    /// A controller has, since [`LifecycleMsg::StillHere`] last came; none where it does not come.
    answered: Option<bool>,
    /// What became of a directory the controller was not told yet.
    untold: bool,
    /// Where this broker's registration stands in the log, once it is there.
    registered_at: i64,
}

impl Actor for Lifecycle {
    const KIND: &'static str = "broker-lifecycle";
    type Msg = LifecycleMsg;
    type Args = LifecycleArgs;

    async fn start(cx: &mut Cx<Self>, args: LifecycleArgs) -> Result<Self, Failure> {
        cx.every(args.heartbeat_interval, || LifecycleMsg::Beat);
        let (me, mut metadata) = (cx.me().clone(), args.metadata.clone());
        cx.spawn_task(async move {
            while me.send(LifecycleMsg::MetadataChanged).await.is_ok() {
                metadata.changed().await;
            }
        });
        let (me, mut applied) = (cx.me().clone(), args.applied.clone());
        cx.spawn_task(async move {
            loop {
                applied.changed().await;
                if me.send(LifecycleMsg::MetadataApplied).await.is_err() {
                    return;
                }
            }
        });
        if let Some(mut status) = args.controller.leadership() {
            let me = cx.me().clone();
            cx.spawn_task(async move {
                let mut leader = status.get().leader_id;
                loop {
                    leader = status.until(|status| status.leader_id != leader).await.leader_id;
                    // By the connection of the heartbeats a new controller hears of this process's end.
                    if leader.is_some() && me.send(LifecycleMsg::Beat).await.is_err() {
                        return;
                    }
                }
            });
        }
        for dir in &args.log_dirs.0 {
            let (me, mut changes) = (cx.me().clone(), dir.changes());
            cx.spawn_task(async move {
                loop {
                    changes.changed().await;
                    if me.send(LifecycleMsg::DirectoriesChanged).await.is_err() {
                        return;
                    }
                }
            });
        }
        let mut lifecycle = Lifecycle {
            args,
            state: LifecycleState::Registering,
            asking: false,
            answered: None,
            untold: false,
            registered_at: i64::MAX,
        };
        lifecycle.register(cx);
        if lifecycle.is_stopping() {
            lifecycle.wait_for_release(cx);
        }
        Ok(lifecycle)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: LifecycleMsg) -> Outcome {
        match msg {
            LifecycleMsg::Beat
                if self.state == LifecycleState::Registering || self.directories_unknown() =>
            {
                self.register(cx)
            }
            LifecycleMsg::Beat => self.heartbeat(cx),
            LifecycleMsg::MetadataChanged => self.show(),
            LifecycleMsg::MetadataApplied => {
                // The controller unfences as soon as it hears that the registration was read.
                if self.state == LifecycleState::Fenced
                    && *self.args.applied.get() >= self.registered_at
                {
                    self.heartbeat(cx);
                }
            }
            LifecycleMsg::DirectoriesChanged => {
                self.untold = true;
                if self.state != LifecycleState::Registering {
                    self.heartbeat(cx);
                }
            }
            LifecycleMsg::Registered { answer } => self.registered(cx, answer),
            LifecycleMsg::Beaten { answer } => self.beaten(cx, answer)?,
            LifecycleMsg::ShutDown => {
                self.args.stopping.store(true, Ordering::Release);
                if self.epoch() < 0 {
                    self.set(LifecycleState::Released);
                } else {
                    self.heartbeat(cx);
                    self.wait_for_release(cx);
                }
            }
            LifecycleMsg::StillHere if self.state == LifecycleState::Released => {}
            LifecycleMsg::StillHere if self.answered.take() == Some(true) => {
                self.wait_for_release(cx);
            }
            LifecycleMsg::StillHere => {
                tracing::warn!("no controller answers; stopping without being let go");
                self.set(LifecycleState::Released);
            }
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        format!("{:?}, broker epoch {}", self.state, self.epoch())
    }
}

impl Lifecycle {
    fn epoch(&self) -> i64 {
        self.args.broker_epoch.load(Ordering::Acquire)
    }

    fn is_stopping(&self) -> bool {
        self.args.stopping.load(Ordering::Acquire)
    }

    fn wait_for_release(&mut self, cx: &mut Cx<Self>) {
        if self.answered.is_none() {
            self.answered = Some(false);
            cx.send_after(UNHEARD, LifecycleMsg::StillHere);
        }
    }

    fn heard(&mut self) {
        self.answered = self.answered.map(|_| true);
    }

    fn set(&mut self, state: LifecycleState) {
        // Nobody waits any more for what comes after it.
        if self.state != state && self.state != LifecycleState::Released {
            self.state = state;
            if state == LifecycleState::Serving {
                self.args.has_served.store(true, Ordering::Release);
            }
            self.args.state.publish(state);
        }
    }

    /// This process's registration, as far as the metadata is known here.
    fn registration<'a>(&self, image: &'a MetadataImage) -> Option<&'a BrokerRegistration> {
        image.broker(self.args.node.0).filter(|broker| broker.epoch == self.epoch())
    }

    fn show(&self) {
        let image = self.args.metadata.get();
        if self.registration(&image).is_some() {
            self.args.followed.publish(image);
        }
    }

    /// It registered while metadata.version had no place for them.
    fn directories_unknown(&self) -> bool {
        let image = self.args.metadata.get();
        image.metadata_version().directory_assignment()
            && self.registration(&image).is_some_and(|broker| broker.directories.is_empty())
    }

    fn ask(
        &mut self,
        cx: &mut Cx<Self>,
        request: ControllerRequest,
        message: fn(ControllerAnswer) -> LifecycleMsg,
    ) {
        if self.asking {
            return;
        }
        self.asking = true;
        let (me, controller) = (cx.me().clone(), self.args.controller.clone());
        let (limit, world) = (self.args.request_timeout, cx.world().clone());
        cx.spawn_task(async move {
            let answer = controller.ask(request, limit).await;
            if matches!(answer, Err(Unavailable::NotController | Unavailable::Overloaded)) {
                world.sleep(RETRY).await;
            }
            // One that has ended is not interested.
            let _ = me.send(message(answer)).await;
        });
    }

    fn register(&mut self, cx: &mut Cx<Self>) {
        let args = &self.args;
        let features =
            supported_features(args.metadata_version).into_iter().map(|(name, range)| Feature {
                name,
                min_supported_version: range.min,
                max_supported_version: range.max,
                ..Default::default()
            });
        let listeners = args.listeners.iter().map(|endpoint| Listener {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
            ..Default::default()
        });
        let request = BrokerRegistrationRequest {
            broker_id: args.node.0,
            cluster_id: args.cluster_id.clone(),
            incarnation_id: args.incarnation,
            listeners: listeners.collect(),
            features: features.collect(),
            rack: args.rack.clone(),
            log_dirs: ids(args.log_dirs.online()),
            previous_broker_epoch: args.previous_broker_epoch,
            ..Default::default()
        };
        let quorum = self.args.controller.leadership();
        let kraft_version = quorum.map_or(0, |status| status.get().kraft_version);
        let version = REGISTRATION_VERSION;
        let request = ControllerRequest::RegisterBroker { request, version, kraft_version };
        self.ask(cx, request, |answer| LifecycleMsg::Registered { answer });
    }

    /// None before this broker has read what the metadata sets for it.
    fn cordoned(&self) -> Option<Vec<Uuid>> {
        let caught_up = *self.args.applied.get() >= self.registered_at;
        let known = caught_up && self.args.metadata.get().metadata_version().cordoned_log_dirs();
        known.then(|| ids(self.args.log_dirs.cordoned()))
    }

    fn registered(&mut self, cx: &mut Cx<Self>, answer: ControllerAnswer) {
        self.asking = false;
        let (response, offset) = match answer {
            Ok(Committed { reply: ControllerReply::RegisterBroker(response), offset }) => {
                (response, offset)
            }
            Err(error @ Unavailable::Unwritable) => return self.refused(error.to_string()),
            _ => return self.register(cx),
        };
        self.heard();
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                self.args.refusal.publish(String::new());
                self.args.broker_epoch.store(response.broker_epoch, Ordering::Release);
                // The broker epoch is the offset of the registration.
                self.registered_at = offset.max(response.broker_epoch);
                if self.state == LifecycleState::Registering {
                    self.set(LifecycleState::Fenced);
                }
                self.show();
                self.heartbeat(cx);
            }
            error => self.refused(self.reason(error)),
        }
    }

    /// What stands in the way may be taken out of it: the next beat tries again.
    fn refused(&self, reason: String) {
        tracing::warn!(reason, "the controller refuses this broker; trying again");
        self.args.refusal.publish(reason);
    }

    fn heartbeat(&mut self, cx: &mut Cx<Self>) {
        let request = BrokerHeartbeatRequest {
            broker_id: self.args.node.0,
            broker_epoch: self.epoch(),
            current_metadata_offset: *self.args.applied.get(),
            want_shut_down: self.is_stopping(),
            offline_log_dirs: ids(self.args.log_dirs.offline()),
            cordoned_log_dirs: self.cordoned(),
            ..Default::default()
        };
        self.untold &= self.asking;
        let request = ControllerRequest::BrokerHeartbeat(request);
        self.ask(cx, request, |answer| LifecycleMsg::Beaten { answer });
    }

    fn beaten(&mut self, cx: &mut Cx<Self>, answer: ControllerAnswer) -> Outcome {
        self.asking = false;
        let response = match answer {
            Ok(Committed { reply: ControllerReply::BrokerHeartbeat(response), .. }) => response,
            Err(Unavailable::TimedOut) => {
                // The way to the controller may have been lost in silence: another attempt takes another connection.
                self.heartbeat_soon(cx);
                return Ok(());
            }
            Err(_) if self.is_stopping() => {
                self.heartbeat_soon(cx);
                return Ok(());
            }
            // There is none, or another one now, which is to have a connection of this process as soon as it leads.
            Err(Unavailable::NotController | Unavailable::Overloaded) => {
                self.heartbeat(cx);
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.heard();
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {}
            // Nothing is led by a registration that is no more.
            ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered
                if self.is_stopping() =>
            {
                self.set(LifecycleState::Released);
                return Ok(());
            }
            ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered => {
                // Where it was unregistered, it registers anew. Where another process has the id, the node ends as it reads of that: of
                // two that took it from each other, both would lead.
                let image = self.args.metadata.get();
                let read = image.provenance.offset >= self.registered_at;
                if read && image.broker(self.args.node.0).is_none() {
                    self.set(LifecycleState::Registering);
                    self.register(cx);
                }
                return Ok(());
            }
            other => {
                tracing::warn!(error = other.name(), "heartbeat refused");
                return Ok(());
            }
        }
        let state = match (response.should_shut_down, self.is_stopping(), response.is_fenced) {
            (true, _, _) => LifecycleState::Released,
            (false, true, _) => LifecycleState::ShuttingDown,
            (false, false, true) => LifecycleState::Fenced,
            (false, false, false) => LifecycleState::Serving,
        };
        self.set(state);
        if self.untold {
            self.heartbeat(cx);
        }
        let caught_up = *self.args.applied.get() >= self.registered_at;
        if (state == LifecycleState::Fenced && caught_up) || state == LifecycleState::ShuttingDown {
            self.heartbeat_soon(cx);
        }
        Ok(())
    }

    fn heartbeat_soon(&mut self, cx: &mut Cx<Self>) {
        cx.send_after(RETRY, LifecycleMsg::Beat);
    }
}

/// Of those whose id is known.
fn ids<'a>(dirs: impl Iterator<Item = &'a Arc<LogDirState>>) -> Vec<Uuid> {
    dirs.map(|dir| dir.id).filter(|id| *id != Uuid::ZERO).collect()
}
