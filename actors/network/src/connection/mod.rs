//! Connection: one client's stream of requests and responses.
//!
//! Supervisor: its listener; a failure costs this connection alone. Bound: a frame's bytes, but for the first few KiB of a
//! connection, are covered by a credit of the node before they are held (CO-2), and at most [`PIPELINED`] requests are under way.
//! Invariants: CO-1 (responses in the order of their requests), CO-2.

mod frames;
mod memory;
mod responses;
mod write;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::{Actor, Counter, Cx, Failure, NetStream, Outcome, World};
use tokio::io::AsyncReadExt;

use crate::Broker;
use crate::api::{self, ConnectionInfo, Request, RequestError};
use frames::{BadLength, FIRST_READ, FrameBuffer, READ_SIZE};
pub(crate) use memory::RequestMemory;
use memory::{FrameCredit, Held};
use responses::Responses;
pub(crate) use responses::{Answered, Outgoing, Pending};

/// Requests that may be under way at once; only Produce requests overlap.
const PIPELINED: usize = 64;
/// How long a peer may pause inside a frame that the node holds memory for.
const STALLED_FRAME: Duration = Duration::from_secs(30);

pub(crate) struct Connection(Arc<ConnectionInfo>);

/// The stream is handed over once: a connection is never restarted.
#[derive(Clone)]
pub(crate) struct ConnectionArgs {
    pub(crate) stream: Arc<Mutex<Option<NetStream>>>,
    pub(crate) info: Arc<ConnectionInfo>,
    pub(crate) broker: Arc<Broker>,
}

pub(crate) enum ConnectionMsg {
    /// The stream has come to its end.
    Ended { why: Option<String> },
}

runtime::messages!(ConnectionMsg { Ended });

impl Actor for Connection {
    const KIND: &'static str = "connection";
    type Msg = ConnectionMsg;
    type Args = ConnectionArgs;

    async fn start(cx: &mut Cx<Self>, args: ConnectionArgs) -> Result<Self, Failure> {
        let stream = args.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = stream.ok_or_else(|| Failure::new("the stream was handed over before"))?;
        let serving =
            Serving { world: cx.world().clone(), stream, requests: cx.counter("requests"), args };
        let ended = EndNotice { me: cx.me().clone(), why: None };
        let info = serving.args.info.clone();
        cx.spawn_task(async move {
            let mut ended = ended;
            ended.why = Some("the connection's task panicked".into());
            ended.why = serving.run().await.err().map(|end| end.to_string());
        });
        Ok(Connection(info))
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: ConnectionMsg) -> Outcome {
        let ConnectionMsg::Ended { why } = msg;
        if let Some(why) = why {
            tracing::debug!(connection = cx.path(), why, "connection closed");
        }
        cx.stop();
        Ok(())
    }

    fn state_line(&self) -> String {
        self.0.software().to_owned()
    }
}

/// Tells the actor when its task is gone, also by a panic.
struct EndNotice {
    me: runtime::Ref<ConnectionMsg>,
    why: Option<String>,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        let _ = self.me.send_now(ConnectionMsg::Ended { why: self.why.take() });
    }
}

/// Why a connection was closed, other than by its peer.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    BadLength(#[from] BadLength),
    #[error(transparent)]
    BadRequest(#[from] RequestError),
    #[error("{0}")]
    Closed(String),
    #[error("idle for too long")]
    Idle,
    #[error("stalled inside a frame")]
    Stalled,
}

struct Serving {
    world: World,
    stream: NetStream,
    requests: Counter,
    args: ConnectionArgs,
}

/// Where one connection's requests stand.
struct Flow {
    frames: FrameBuffer,
    held: Held,
    responses: Responses,
    /// A request that must wait until those before it are answered.
    next: Option<Request>,
    /// Whether the requests under way are ones that others may overlap.
    overlapping: bool,
    /// The peer sends nothing more. What it sent whole is still done: with acks=0 nobody waits for an answer.
    ended: bool,
}

impl Serving {
    async fn run(mut self) -> Result<(), End> {
        let broker = self.args.broker.clone();
        let mut flow = Flow {
            frames: FrameBuffer::new(broker.limits.max_request_bytes),
            held: broker.memory.held(),
            responses: Responses::default(),
            next: None,
            overlapping: false,
            ended: false,
        };
        let mut last_active = self.world.mono();
        let idle_after = broker.limits.max_idle;
        let world = self.world.clone();
        let mut alarm =
            std::pin::pin!(world.sleep_until(last_active + idle_after.min(STALLED_FRAME)));
        loop {
            self.begin_requests(&mut flow).await?;
            if flow.ended && flow.responses.is_empty() {
                return Ok(());
            }
            let room = flow.next.is_none() || flow.frames.len() < READ_SIZE;
            let reading = room && !flow.ended;
            tokio::select! {
                biased;
                ready = flow.responses.ready(), if !flow.responses.is_empty() => {
                    self.answer(ready).await?;
                }
                read = read_some(&mut self.stream, &mut flow.frames, &mut flow.held), if reading => {
                    flow.ended = !matches!(read, Ok(1..));
                }
                () = &mut alarm => {
                    let silent = world.mono().saturating_sub(last_active);
                    let waits_for_peer = flow.responses.is_empty();
                    if waits_for_peer && flow.held.any() && silent >= STALLED_FRAME {
                        return Err(End::Stalled);
                    }
                    if waits_for_peer && silent >= idle_after {
                        return Err(End::Idle);
                    }
                    alarm.set(world.sleep_until(world.mono() + idle_after.min(STALLED_FRAME)));
                    continue;
                }
            }
            last_active = world.mono();
            self.args.info.was_active(last_active);
        }
    }

    /// Begins every request that may run: Produce requests overlap each other, all others run alone.
    async fn begin_requests(&mut self, flow: &mut Flow) -> Result<(), End> {
        while flow.responses.len() < PIPELINED {
            let request = match flow.next.take() {
                Some(request) => request,
                None => match flow.frames.next()? {
                    Some(frame) => {
                        // One small request of each connection goes on also where half frames hold all memory.
                        let free = flow.responses.is_empty() && frame.len() <= FIRST_READ;
                        let credit = flow.held.cover(if free { 0 } else { frame.len() }).await;
                        Request::decode(frame, credit, &self.args.info)?
                    }
                    None => break,
                },
            };
            let overlaps = flow.overlapping && request.may_overlap();
            if !flow.responses.is_empty() && !overlaps {
                flow.next = Some(request);
                break;
            }
            flow.overlapping = request.may_overlap();
            self.requests.add(1);
            flow.responses.push(api::begin(&self.args.broker, request).await);
        }
        flow.frames.release();
        Ok(())
    }

    async fn answer(&mut self, ready: Vec<Answered>) -> Result<(), End> {
        let mut outgoing = Vec::with_capacity(ready.len());
        let mut close = None;
        for answered in ready {
            match answered {
                Answered::Response(response) => outgoing.push(response),
                Answered::Nothing => {}
                Answered::Close(why) => {
                    close = Some(why);
                    break;
                }
            }
        }
        let limit = self.args.broker.limits.max_idle;
        let written = self.world.timeout(limit, write::write_all(&mut self.stream, outgoing)).await;
        written.map_err(|_| End::Idle)??;
        close.map_or(Ok(()), |why| Err(End::Closed(why)))
    }
}

/// Reads what is there. Without a frame under way it waits before it makes room, so that an idle connection holds none.
async fn read_some(
    stream: &mut NetStream,
    frames: &mut FrameBuffer,
    held: &mut Held,
) -> io::Result<usize> {
    if frames.is_empty() {
        stream.readable().await?;
    } else if frames.len() >= FIRST_READ {
        held.extend_to(frames.len_after_read()).await;
    }
    stream.read_buf(frames.space()).await
}

/// Kept by a request until nothing of its frame is held any more.
pub(crate) type Credit = Arc<FrameCredit>;
