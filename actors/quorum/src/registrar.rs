//! Registrar: makes this controller known to the cluster, with its endpoints and the features it supports (KIP-919).
//!
//! Supervisor: `quorum`, where the node has the role. One request at a time; what fails is asked again. Source:
//! `ControllerRegistrationManager`.

use std::time::Duration;

use machines::controller::{ControllerReply, ControllerRequest};
use machines::metadata::{Endpoint, MetadataImage, MetadataVersion, supported_features};
use model::{ErrorCode, NodeId, Uuid};
use runtime::{Actor, Backoff, Cx, Failure, Outcome, Watch};
use wire::ControllerRegistrationRequest;
use wire::controller_registration_request::{Feature, Listener};

use crate::controller::{Committed, ControllerAnswer, ControllerHandle};

const RETRY: Backoff =
    Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(120), jitter: 0.02 };

#[derive(Clone)]
pub struct RegistrarArgs {
    pub node: NodeId,
    /// Where others reach this controller.
    pub listeners: Vec<Endpoint>,
    /// The newest that it may use.
    pub metadata_version: MetadataVersion,
    pub controller: ControllerHandle,
    pub metadata: Watch<MetadataImage>,
    pub request_timeout: Duration,
}

pub enum RegistrarMsg {
    /// The metadata may lack this controller.
    Due,
    Answered {
        answer: ControllerAnswer,
    },
}

runtime::messages!(RegistrarMsg { Due, Answered });

pub struct Registrar {
    args: RegistrarArgs,
    /// Of this life of the process.
    incarnation: Uuid,
    asking: bool,
    /// In a row.
    failures: usize,
}

impl Actor for Registrar {
    const KIND: &'static str = "controller-registrar";
    type Msg = RegistrarMsg;
    type Args = RegistrarArgs;

    async fn start(cx: &mut Cx<Self>, args: RegistrarArgs) -> Result<Self, Failure> {
        let (me, mut metadata) = (cx.me().clone(), args.metadata.clone());
        cx.spawn_task(async move {
            while me.send(RegistrarMsg::Due).await.is_ok() {
                metadata.changed().await;
            }
        });
        let incarnation = cx.world().random("controller incarnation").uuid();
        Ok(Registrar { args, incarnation, asking: false, failures: 0 })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: RegistrarMsg) -> Outcome {
        match msg {
            RegistrarMsg::Due => self.register(cx),
            RegistrarMsg::Answered { answer } => {
                self.asking = false;
                if taken(answer) {
                    self.failures = 0;
                } else {
                    self.failures += 1;
                    let mut random = cx.world().random("controller registration");
                    cx.send_after(RETRY.delay(self.failures, &mut random), RegistrarMsg::Due);
                }
            }
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        match (self.is_known(), self.asking) {
            (true, _) => "registered".to_owned(),
            (false, true) => "registering".to_owned(),
            (false, false) => format!("not registered, {} failures in a row", self.failures),
        }
    }
}

impl Registrar {
    fn is_known(&self) -> bool {
        let image = self.args.metadata.get();
        let known = image.controllers.get(&self.args.node.0);
        known.is_some_and(|known| known.incarnation_id == self.incarnation)
    }

    fn register(&mut self, cx: &mut Cx<Self>) {
        let image = self.args.metadata.get();
        let supported = image.metadata_version.is_some_and(|level| level.controller_registration());
        if self.asking || !supported || self.is_known() {
            return;
        }
        let features =
            supported_features(self.args.metadata_version).into_iter().map(|(name, range)| {
                Feature {
                    name,
                    min_supported_version: range.min,
                    max_supported_version: range.max,
                    ..Default::default()
                }
            });
        let listeners = self.args.listeners.iter().map(|endpoint| Listener {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
            ..Default::default()
        });
        let request = ControllerRegistrationRequest {
            controller_id: self.args.node.0,
            incarnation_id: self.incarnation,
            listeners: listeners.collect(),
            features: features.collect(),
            ..Default::default()
        };
        self.asking = true;
        let (me, controller) = (cx.me().clone(), self.args.controller.clone());
        let limit = self.args.request_timeout;
        cx.spawn_task(async move {
            let answer =
                controller.ask(ControllerRequest::RegisterController(request), limit).await;
            // One that has ended is not interested.
            let _ = me.send(RegistrarMsg::Answered { answer }).await;
        });
    }
}

fn taken(answer: ControllerAnswer) -> bool {
    let Ok(Committed { reply: ControllerReply::RegisterController(response), .. }) = answer else {
        return false;
    };
    let code = ErrorCode::from_code(response.error_code);
    if code != ErrorCode::None {
        tracing::warn!(error = code.name(), "the controller was not registered; trying again");
    }
    code == ErrorCode::None
}
