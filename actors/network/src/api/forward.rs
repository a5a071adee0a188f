//! What the controller decides is asked of it here, and here alone.

use std::sync::Arc;
use std::time::Duration;

use machines::controller::{ControllerReply, ControllerRequest};
use machines::metadata::MetadataImage;
use model::ErrorCode;
use partitions::{PartitionHandle, Standing};
use quorum::{Committed, Origin, Unavailable};
use runtime::Waiter;
use wire::ListenerKind;

use super::RequestContext;
use crate::Broker;

/// After this long the controller is looked for again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// No longer than this an answer is held back until this node shows what it says.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Why the controller's answer is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("{}", ErrorCode::RequestTimedOut.message())]
    TimedOut,
    /// The controller's answer is of another kind, or it says that what was asked cannot be written.
    #[error("{}", ErrorCode::UnknownServerError.message())]
    Failed,
    /// On a controller's listener: the peer looks for the active controller itself.
    #[error("{}", ErrorCode::NotController.message())]
    NotController,
    #[error("{}", Unavailable::OtherVersions)]
    OtherVersions,
}

impl ForwardError {
    pub(super) fn code(self) -> i16 {
        match self {
            ForwardError::TimedOut => ErrorCode::RequestTimedOut.code(),
            ForwardError::Failed => ErrorCode::UnknownServerError.code(),
            ForwardError::NotController => ErrorCode::NotController.code(),
            ForwardError::OtherVersions => ErrorCode::UnsupportedVersion.code(),
        }
    }

    pub(super) fn message(self) -> Option<String> {
        Some(self.to_string())
    }
}

/// What the controller answered, and what this node must have read to show it.
pub(super) struct Forwarded<R> {
    pub(super) response: R,
    offset: i64,
    deadline: Duration,
}

/// How long a client's request may take: as long as it says, and at most `request.timeout.ms`.
pub(super) fn limit(broker: &Broker, timeout_ms: i32) -> Duration {
    request_timeout(broker).min(millis(timeout_ms))
}

pub(super) fn request_timeout(broker: &Broker) -> Duration {
    millis(broker.settings.get().int("request.timeout.ms"))
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Whether a broker stands between the client and the controller, and has checked what was asked.
pub(super) fn is_sent_on(broker: &Broker, cx: &RequestContext) -> bool {
    broker.role == ListenerKind::Broker || cx.is_enveloped()
}

/// In whose name a broker asks.
pub(super) fn origin(broker: &Broker, cx: &RequestContext) -> Option<Origin> {
    (broker.role == ListenerKind::Broker).then(|| cx.origin())
}

/// Draws what the controller places replicas and names topics by.
pub(super) fn seed(broker: &Broker) -> u64 {
    broker.world.random("topics").next_u64()
}

/// Asks the active controller, and again while there is none, as Kafka's brokers do. What was asked may be done although
/// nobody answers.
pub(super) async fn ask<R>(
    broker: &Broker,
    cx: &RequestContext,
    request: ControllerRequest,
    limit: Duration,
    wanted: fn(ControllerReply) -> Option<R>,
) -> Result<Forwarded<R>, ForwardError> {
    let deadline = broker.world.mono() + limit;
    loop {
        match ask_once(broker, cx, origin(broker, cx), request.clone(), deadline, wanted).await {
            Ok(done) => {
                if matches!(done, Err(ForwardError::OtherVersions)) {
                    cx.connection.told_old_versions();
                }
                return done;
            }
            Err(Unavailable::NotController) if broker.role == ListenerKind::Controller => {
                cx.note_not_controller();
                return Err(ForwardError::NotController);
            }
            Err(_) => {
                let now = broker.world.mono();
                if now + RETRY_PAUSE >= deadline {
                    return Err(ForwardError::TimedOut);
                }
                broker.world.sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// [`ask`], but for asking again, and in anybody's name or the broker's own: the error is that there is no active controller to be
/// found, or that it has too much to do.
pub(super) async fn ask_once<R>(
    broker: &Broker,
    cx: &RequestContext,
    origin: Option<Origin>,
    request: ControllerRequest,
    deadline: Duration,
    wanted: fn(ControllerReply) -> Option<R>,
) -> Result<Result<Forwarded<R>, ForwardError>, Unavailable> {
    let left = deadline.saturating_sub(broker.world.mono());
    let asked = broker.controller.ask_for(origin.as_ref(), request, left, Some(cx.credit.clone()));
    Ok(match asked.await {
        Ok(Committed { reply, offset }) => match wanted(reply) {
            Some(response) => Ok(Forwarded { response, offset, deadline }),
            None => Err(ForwardError::Failed),
        },
        Err(Unavailable::TimedOut) => Err(ForwardError::TimedOut),
        Err(Unavailable::Unwritable | Unavailable::NotTaken) => Err(ForwardError::Failed),
        Err(Unavailable::OtherVersions) => Err(ForwardError::OtherVersions),
        Err(nobody @ (Unavailable::NotController | Unavailable::Overloaded)) => return Err(nobody),
    })
}

impl<R> Forwarded<R> {
    /// Waits until this node knows what was done, so that the client's next request meets it. If that takes too long, the
    /// answer is given all the same: what was done is committed. Whom a broker asks as the controller does not wait: the
    /// client's next request goes elsewhere.
    pub(super) async fn shown(self, broker: &Broker) -> R {
        let Forwarded { response, offset, deadline } = self;
        if broker.role == ListenerKind::Controller {
            return response;
        }
        let mut applied = broker.applied.clone();
        let _ = broker
            .world
            .timeout(patience(broker, deadline), applied.until(|applied| *applied >= offset))
            .await;
        response
    }

    /// [`shown`](Self::shown), and until the topics that the response names are served by the replicas that lead here.
    pub(super) async fn served(self, broker: &Broker, topics: fn(&R) -> Vec<&str>) -> R {
        let (deadline, elsewhere) = (self.deadline, self.offset < 0);
        let response = self.shown(broker).await;
        if broker.role == ListenerKind::Controller {
            return response;
        }
        let wait = async {
            let topics = topics(&response);
            if elsewhere {
                all_known(broker, &topics).await;
            }
            all_led(broker, topics).await;
        };
        let _ = broker.world.timeout(patience(broker, deadline), wait).await;
        response
    }
}

fn patience(broker: &Broker, deadline: Duration) -> Duration {
    deadline.saturating_sub(broker.world.mono()).min(CATCH_UP)
}

/// Ends when this node has followed the metadata to where the topics are.
async fn all_known(broker: &Broker, topics: &[&str]) {
    let known = |image: &MetadataImage| topics.iter().all(|t| image.topics.by_name(t).is_some());
    let image = broker.metadata.clone().until(known).await;
    broker.applied.clone().until(|applied| *applied >= image.provenance.offset).await;
}

/// Ends when every replica of the topics that leads on this node serves, or cannot.
async fn all_led(broker: &Broker, topics: Vec<&str>) {
    let image = broker.metadata.get();
    for topic in topics.into_iter().filter_map(|name| image.topics.by_name(name)) {
        for (partition, registration) in &topic.partitions {
            if registration.leader != broker.node.0 {
                continue;
            }
            if let Some(handle) = broker.hosted.get_by_id(topic.id, *partition) {
                settled(&handle).await;
            }
        }
    }
}

async fn settled(handle: &Arc<PartitionHandle>) {
    loop {
        let mut waiter = Waiter::new();
        waiter.on(handle.pulse());
        match *handle.standing() {
            Standing::Leader(_) | Standing::Offline { .. } => return,
            Standing::Starting | Standing::Follower(_) => waiter.wait().await,
        }
    }
}
