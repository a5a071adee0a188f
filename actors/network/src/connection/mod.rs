//! Connection: one client's stream of requests and responses.
//!
//! Supervisor: its listener; a failure costs this connection alone. Bound: a frame's bytes, but for the first few KiB of a
//! connection, are covered by a credit of the node before they are held (CO-2), and at most [`PIPELINED`] requests are under way.
//! Invariants: CO-1 (responses in the order of their requests), CO-2.

mod frames;
mod memory;
mod patience;
mod responses;
mod unread;
mod write;

use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use runtime::{Actor, Counter, Cx, Failure, NetStream, Outcome, RequestId, World};
use tokio::io::AsyncReadExt;

use crate::Broker;
use crate::api::{self, ConnectionInfo, Request, RequestError};
use crate::requests::Moments;
use crate::{slow, spans};
pub use frames::READ_SIZE as READ_BUFFER;
use frames::{BadLength, FIRST_READ, FrameBuffer};
pub(crate) use memory::RequestMemory;
use memory::{FrameCredit, Held};
use patience::{Lost, Patience, Standing};
use responses::Responses;
pub(crate) use responses::{Answered, Outgoing, Pending};
pub(crate) use unread::AnswerMemory;
use unread::{Claim, SMALL_ANSWER};
use write::{Cold, Writer};

/// Requests that may be under way at once; only Produce requests overlap.
const PIPELINED: usize = 64;

pub(crate) struct Connection(Arc<ConnectionInfo>);

/// The stream is handed over once: a connection is never restarted.
#[derive(Clone)]
pub(crate) struct ConnectionArgs {
    pub(crate) stream: Arc<Mutex<Option<NetStream>>>,
    /// Among those of the node.
    pub(crate) number: u64,
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
        let memory = args.broker.memory.of(cx);
        let (world, requests) = (cx.world().clone(), cx.counter("requests"));
        let serving = Serving { world, stream, requests, memory, args };
        let ended = EndNotice { me: cx.me().clone(), why: None };
        let info = serving.args.info.clone();
        cx.spawn_task(async move {
            let mut ended = ended;
            ended.why = Some("the connection's task panicked".into());
            let (info, controller) =
                (serving.args.info.clone(), serving.args.broker.controller.clone());
            ended.why = serving.run().await.err().map(|end| end.to_string());
            if let Some(broker) = info.heard() {
                controller.contact_lost(broker).await;
            }
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
    #[error(transparent)]
    Lost(#[from] Lost),
}

struct Serving {
    world: World,
    stream: NetStream,
    requests: Counter,
    /// The node's, what is taken of it being shown as this connection's.
    memory: RequestMemory,
    args: ConnectionArgs,
}

/// What a connection does while answers are worked on: one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing else happens before an answer is out: who does not read is not served.
    Write,
    /// Waits for the memory of a whole frame.
    Cover,
    Read,
    Rest,
}

/// What has come and has not begun to be served.
struct Input {
    frames: FrameBuffer,
    held: Held,
    /// A whole frame that is not covered yet.
    whole: Option<Bytes>,
    /// A request that must wait until those before it are answered.
    next: Option<(Request, Credit)>,
    /// The peer sends nothing more. What it sent whole is still done: with acks=0 nobody waits for an answer.
    ended: bool,
}

/// Where one connection's requests stand.
struct Flow {
    input: Input,
    responses: Responses,
    timing: Timing,
    /// How many requests there were.
    requests: u32,
    /// Whether the requests under way are ones that others may overlap.
    overlapping: bool,
    writer: Writer,
    /// For what is being written, where that is much.
    unread: Option<Claim>,
    /// Why the connection closes once all is written.
    close: Option<String>,
}

impl Serving {
    async fn run(mut self) -> Result<(), End> {
        let broker = self.args.broker.clone();
        let world = self.world.clone();
        let mut flow = Flow::new(&broker, &self.memory);
        let mut now = world.mono();
        let mut patience = Patience::new(now, broker.limits.max_idle);
        let info = self.args.info.clone();
        let cold = Cold { reads: &broker.cold_reads, counter: &info.listener.cold_reads };
        let mut alarm = pin!(world.sleep_until(patience.alarm()));
        loop {
            if flow.writer.is_empty() {
                flow.unread = None;
                flow.timing.sent(&broker, now, &info);
                if let Some(why) = flow.close.take() {
                    return Err(End::Closed(why));
                }
                if self.begin_requests(&mut flow, now).await? {
                    patience.began(now);
                }
                if flow.is_over() {
                    return Ok(());
                }
            }
            let step = flow.step();
            if patience.set_alarm(now, flow.input.holds_memory()) {
                alarm.set(world.sleep_until(patience.alarm()));
            }
            let answers = step != Step::Write && !flow.responses.is_empty();
            tokio::select! {
                biased;
                ready = flow.responses.ready(&world), if answers => {
                    now = world.mono();
                    flow.take_answers(ready, now, &broker.answers)?;
                }
                done = act(step, &mut self.stream, &mut flow.writer, &mut flow.input, &cold) => {
                    done?;
                    now = world.mono();
                    match step {
                        Step::Read => {
                            flow.timing.came = now;
                            patience.heard(now);
                        }
                        Step::Write => {}
                        Step::Cover | Step::Rest => continue,
                    }
                }
                () = gives_way(&mut flow.unread) => return Err(Lost::Unread.into()),
                () = &mut alarm => {
                    now = world.mono();
                    let (inside_frame, waits) = (flow.input.held.any(), flow.input.held.waits());
                    let short = broker.memory.is_short_beside(waits);
                    patience.check(now, Standing { step, inside_frame, waits, short })?;
                    continue;
                }
            }
            patience.was_active(now);
            // Not when an answer is out: whoever has it may have used another connection since.
            if step != Step::Write || !flow.writer.is_empty() {
                self.args.info.was_active(now);
            }
        }
    }

    /// Begins every request that may run: Produce requests, and those to durable actors, overlap each other, all others run alone. Whether any began.
    async fn begin_requests(&mut self, flow: &mut Flow, mut now: Duration) -> Result<bool, End> {
        let mut began = false;
        while flow.responses.len() < PIPELINED {
            let alone = flow.responses.is_empty();
            let Some((request, credit)) = flow.input.next_request(alone, &self.args.info)? else {
                break;
            };
            let overlaps = flow.overlapping && request.may_overlap();
            if !alone && !overlaps {
                flow.input.next = Some((request, credit));
                break;
            }
            drop(credit);
            flow.overlapping = request.may_overlap();
            self.requests.add(1);
            if began {
                now = self.world.mono();
            }
            let id = self.args.broker.requests.id(self.args.number, flow.next());
            let moments = flow.moments(&request, id, now);
            let begun = moments.id.within(api::begin(&self.args.broker, request)).await;
            flow.responses.push(moments, begun);
            began = true;
        }
        flow.input.release();
        Ok(began)
    }
}

/// How long requests take.
#[derive(Default)]
struct Timing {
    /// When what is there was read.
    came: Duration,
    /// Whose answers are on their way out.
    sending: Vec<Moments>,
    /// Of the last request.
    client_id: String,
}

impl Timing {
    /// All that was to go out is.
    fn sent(&mut self, broker: &Broker, now: Duration, info: &ConnectionInfo) {
        for moments in self.sending.drain(..) {
            broker.requests.answered(&moments, now, info.is_followers());
            if moments.id.is_sampled() {
                spans::keep(broker.world.registry(), &moments, now, info, &self.client_id);
            }
            let unduly = slow::unduly(&moments, now).as_millis();
            // Few get as far as to look it up.
            if unduly > 0 && unduly >= broker.settings.get().long("ottla.slow.request.ms") as u128 {
                broker.requests.slow.tell(&moments, now, info, &self.client_id);
            }
        }
    }
}

impl Flow {
    fn new(broker: &Broker, memory: &RequestMemory) -> Flow {
        let input = Input {
            frames: FrameBuffer::new(broker.limits.max_request_bytes),
            held: memory.held(),
            whole: None,
            next: None,
            ended: false,
        };
        let (responses, writer) = (Responses::default(), Writer::default());
        let timing = Timing::default();
        Flow {
            input,
            responses,
            timing,
            requests: 0,
            overlapping: false,
            writer,
            unread: None,
            close: None,
        }
    }

    /// The number of the next request.
    fn next(&mut self) -> u32 {
        self.requests = self.requests.wrapping_add(1);
        self.requests
    }

    /// Of a request that begins.
    fn moments(&mut self, request: &Request, id: RequestId, now: Duration) -> Moments {
        if self.timing.client_id != request.client_id() {
            self.timing.client_id = request.client_id().to_owned();
        }
        let (key, version) = request.key();
        let came = self.timing.came;
        Moments { id, key, version, came, begun: now, waits: None, done: now }
    }

    fn is_over(&self) -> bool {
        self.input.ended && self.input.whole.is_none() && self.responses.is_empty()
    }

    fn step(&mut self) -> Step {
        let input = &mut self.input;
        let step = if !self.writer.is_empty() {
            Step::Write
        } else if input.whole.is_some() {
            Step::Cover
        } else if input.ended || input.next.is_some() || input.frames.is_whole() {
            Step::Rest
        } else {
            Step::Read
        };
        if matches!(step, Step::Write | Step::Rest) {
            input.held.stop_waiting();
        }
        step
    }

    fn take_answers(
        &mut self,
        ready: Vec<(Moments, Answered)>,
        now: Duration,
        memory: &AnswerMemory,
    ) -> io::Result<()> {
        for (moments, answered) in ready {
            self.timing.sending.push(Moments { done: now, ..moments });
            match answered {
                Answered::Response(response) => self.writer.push(response)?,
                Answered::Nothing => {}
                Answered::Close(why) => {
                    self.close = Some(why);
                    break;
                }
            }
        }
        let bytes = self.writer.bytes();
        self.unread = (bytes > SMALL_ANSWER).then(|| memory.hold(bytes));
        Ok(())
    }
}

impl Input {
    /// The next request that is there and covered. One small request of each connection goes on also where half frames hold all
    /// memory: one that is `alone`.
    fn next_request(
        &mut self,
        alone: bool,
        info: &Arc<ConnectionInfo>,
    ) -> Result<Option<(Request, Credit)>, End> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        let frame = match self.whole.take() {
            Some(frame) => frame,
            None => match self.frames.next()? {
                Some(frame) => frame,
                None => return Ok(None),
            },
        };
        let free = alone && frame.len() <= FIRST_READ;
        let Some(credit) = self.held.try_cover(if free { 0 } else { frame.len() }) else {
            self.whole = Some(frame);
            return Ok(None);
        };
        let request = Request::decode(frame, credit.clone(), info)?;
        Ok(Some((request, credit)))
    }

    /// Gives back what nothing needs that is there now.
    fn release(&mut self) {
        let whole = self.whole.as_ref().map_or(0, Bytes::len);
        self.held.trim_to(whole + self.frames.len());
        self.frames.release();
    }

    /// Whether memory is held for requests that have not begun.
    fn holds_memory(&self) -> bool {
        self.held.any() || self.next.as_ref().is_some_and(|(_, credit)| credit.is_large())
    }

    /// Reads what is there. It waits before it makes room, so that an idle connection holds none.
    async fn read_some(&mut self, stream: &mut NetStream) -> io::Result<usize> {
        stream.readable().await?;
        let (there, missing) = (self.frames.len(), self.frames.missing());
        poll_fn(|cx| {
            let wanted = self.frames.wanted();
            let room = ready!(self.held.poll_room(cx, there, wanted, missing));
            let mut space = self.frames.space(room);
            let read = pin!(stream.read_buf(&mut space)).poll(cx);
            if read.is_pending() {
                self.held.trim_to(there);
            }
            read
        })
        .await
    }
}

async fn gives_way(unread: &mut Option<Claim>) {
    match unread {
        Some(claim) => claim.gives_way().await,
        None => pending().await,
    }
}

/// Does this one thing, as far as it goes at once.
async fn act(
    step: Step,
    stream: &mut NetStream,
    writer: &mut Writer,
    input: &mut Input,
    cold: &Cold<'_>,
) -> io::Result<()> {
    match step {
        Step::Write => writer.write_some(stream, cold).await,
        Step::Cover => {
            let length = input.whole.as_ref().map_or(0, Bytes::len);
            input.held.grow(length).await;
            Ok(())
        }
        Step::Read => {
            let read = input.read_some(stream).await;
            input.ended = !matches!(read, Ok(1..));
            Ok(())
        }
        Step::Rest => pending().await,
    }
}

/// Kept by a request until nothing of its frame is held any more.
type Credit = Arc<FrameCredit>;
