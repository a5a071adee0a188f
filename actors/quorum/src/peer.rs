//! Peer: the way to another node of the quorum, and one kind of request to it at a time.
//!
//! Supervisor: raft. It connects when there is something to ask, and again when the connection is lost. Bound: one request is under way
//! and one waits; a newer one takes the place of the one that waits.

use std::time::Duration;

use client::{ClientConfig, Connection};
use model::node_config::HostPort;
use runtime::{Actor, Cx, Failure, Outcome, Reply};

use crate::rpc::{QuorumRequest, QuorumResponse};

/// An answer of the quorum's protocol is no longer: a fetch asks for a MiB or what is set, and gets one batch whole.
const MAX_RESPONSE_BYTES: u32 = 128 << 20;

#[derive(Clone)]
pub(crate) struct PeerArgs {
    pub(crate) node: i32,
    pub(crate) address: HostPort,
    /// `controller.quorum.request.timeout.ms`
    pub(crate) request_timeout: Duration,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("{0}")]
    Failed(String),
    /// Nothing listens where the node was: its process is gone.
    #[error("{0}")]
    Refused(String),
    /// It was not sent: a newer request took its place.
    #[error("overtaken by a newer request")]
    Overtaken,
}

pub type PeerAnswer = Result<QuorumResponse, Unanswered>;

pub(crate) enum PeerMsg {
    Ask { request: Box<QuorumRequest>, reply: Reply<PeerAnswer> },
    Done { connection: Option<Connection> },
}

runtime::messages!(PeerMsg { Ask, Done });

pub(crate) struct Peer {
    args: PeerArgs,
    busy: bool,
    connection: Option<Connection>,
    waiting: Option<(Box<QuorumRequest>, Reply<PeerAnswer>)>,
}

impl Actor for Peer {
    const KIND: &'static str = "quorum-peer";
    type Msg = PeerMsg;
    type Args = PeerArgs;

    async fn start(_cx: &mut Cx<Self>, args: PeerArgs) -> Result<Self, Failure> {
        Ok(Peer { args, busy: false, connection: None, waiting: None })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: PeerMsg) -> Outcome {
        match msg {
            PeerMsg::Ask { request, reply } => {
                if let Some((_, overtaken)) = self.waiting.replace((request, reply)) {
                    overtaken.send(Err(Unanswered::Overtaken));
                }
            }
            PeerMsg::Done { connection } => {
                self.busy = false;
                self.connection = connection;
            }
        }
        self.ask_next(cx);
        Ok(())
    }

    fn state_line(&self) -> String {
        let state = match (&self.connection, self.busy) {
            (_, true) => "asking",
            (Some(_), false) => "connected",
            (None, false) => "not connected",
        };
        format!("node {} at {}, {state}", self.args.node, self.args.address)
    }
}

impl Peer {
    fn ask_next(&mut self, cx: &mut Cx<Self>) {
        if self.busy {
            return;
        }
        let Some((request, reply)) = self.waiting.take() else { return };
        self.busy = true;
        let connection = self.connection.take().filter(|connection| !connection.is_closed());
        let (me, world, args) = (cx.me().clone(), cx.world().clone(), self.args.clone());
        cx.spawn_task(async move {
            let (connection, answer) = match ask(&world, &args, connection, &request).await {
                Ok((connection, response)) => (Some(connection), Ok(response)),
                Err(error) => {
                    tracing::debug!(node = args.node, %error, "a node of the quorum does not answer");
                    let why = error.to_string();
                    (None, Err(match error {
                        client::RequestError::Refused { .. } => Unanswered::Refused(why),
                        _ => Unanswered::Failed(why),
                    }))
                }
            };
            // First, so that what the answer leads to finds this peer free.
            let _ = me.send(PeerMsg::Done { connection }).await;
            reply.send(answer);
        });
    }
}

async fn ask(
    world: &runtime::World,
    args: &PeerArgs,
    connection: Option<Connection>,
    request: &QuorumRequest,
) -> Result<(Connection, QuorumResponse), client::RequestError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connect(world, &args.address, args.request_timeout, Duration::ZERO).await?,
    };
    let response = request.send(&connection, args.request_timeout).await?;
    Ok((connection, response))
}

/// Connects to another node's controller listener.
pub(crate) async fn connect(
    world: &runtime::World,
    address: &HostPort,
    limit: Duration,
    stalled_after: Duration,
) -> Result<Connection, client::RequestError> {
    let config = ClientConfig {
        client_id: "quorum".to_owned(),
        connect_timeout: limit,
        request_timeout: limit,
        stalled_after,
        max_response_bytes: MAX_RESPONSE_BYTES,
        ..ClientConfig::default()
    };
    Connection::open(world, &address.host, address.port, &config).await
}
