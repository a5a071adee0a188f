//! Hosts a replicated machine: one actor per partition of a log topic, on the node that leads the partition.
//!
//! The shard loads by replaying the log; then each request is decided, its events replayed at once, its records appended,
//! and its replies let go when all that was written so far is committed, unless they wait for less. A failed append takes
//! the shard back to its log.

mod log;
mod pending;
#[cfg(test)]
mod shard_tests;
#[cfg(test)]
pub(crate) mod test_log;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use model::{
    DecisionOf, ErrorCode, LeaderEpoch, Persist, Replicated, StoredRecord, Ticket, TimerOp,
};

use crate::Held;
use crate::actor::{Actor, Failure, Message, Outcome};
use crate::address::Ref;
use crate::cx::Cx;
use crate::map::Map;
use crate::metrics::{Counter, Gauge};
use crate::panics;
use crate::reply::{Dropped, Full, Parked, Reply};
use crate::timers::TimerId;
use crate::watch::Waiter;
pub use log::{AppendReply, Chunk, ShardLog};
use pending::{Pending, bytes};

/// Why a shard does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the shard is loading")]
    Loading,
    #[error("this node does not lead the shard")]
    NotLeader,
    #[error("too many requests wait")]
    Overloaded,
    /// The log refused records, this request's or others; this one's may have been written before.
    #[error("the log refused the records: {0:?}")]
    Write(ErrorCode),
    /// What was decided cannot be written, or not be replayed: nothing was written.
    #[error("what was decided cannot be written, or not be replayed")]
    Failed,
}

pub type ShardReply<M> = Reply<Result<<M as Replicated>::Reply, Refused>>;

pub struct ShardArgs<M: Replicated> {
    pub log: Arc<dyn ShardLog>,
    pub epoch: LeaderEpoch,
    /// The machine before its first record.
    pub machine: Arc<dyn Fn() -> M + Send + Sync>,
    /// How many replies may wait at a time.
    pub max_parked: usize,
    /// Takes what is replied to [`Ticket::OUTSIDE`].
    pub outside: Outside<M>,
}

pub type Outside<M> = Arc<dyn Fn(<M as Replicated>::Reply) + Send + Sync>;

impl<M: Replicated> Clone for ShardArgs<M> {
    fn clone(&self) -> Self {
        let (log, machine, outside) =
            (self.log.clone(), self.machine.clone(), self.outside.clone());
        ShardArgs { log, epoch: self.epoch, machine, max_parked: self.max_parked, outside }
    }
}

pub enum ShardMsg<M: Replicated> {
    Request {
        request: M::Request,
        reply: ShardReply<M>,
        /// What a peer caused is accounted for until it is decided.
        held: Option<Held>,
    },
    /// What follows comes from the shard itself.
    Own(Own<M>),
}

/// A shard's messages to itself.
pub struct Own<M: Replicated>(Step<M>);

enum Step<M: Replicated> {
    Read { load: u64, chunk: Result<Chunk, ErrorCode> },
    Appended { load: u64, end: Result<i64, ErrorCode> },
    LogChanged,
    Timer(M::Timer),
}

impl<M: Hosted> Message for ShardMsg<M> {
    const NAMES: &'static [&'static str] = &["Request", "Read", "Appended", "LogChanged", "Timer"];

    fn index(&self) -> usize {
        match self {
            ShardMsg::Request { .. } => 0,
            ShardMsg::Own(Own(Step::Read { .. })) => 1,
            ShardMsg::Own(Own(Step::Appended { .. })) => 2,
            ShardMsg::Own(Own(Step::LogChanged)) => 3,
            ShardMsg::Own(Own(Step::Timer(_))) => 4,
        }
    }
}

/// A machine that a shard can host.
pub trait Hosted:
    Replicated<Request: Send, Reply: Send, Event: Persist + Send, Timer: Send + fmt::Debug>
    + Send
    + 'static
{
    /// One word for its shards, in metrics.
    const KIND: &'static str;

    /// The part of the state that the event changes; parts may share a number.
    fn part(_event: &Self::Event) -> u64 {
        0
    }

    /// What a reply waits for.
    fn waits_for(_reply: &Self::Reply) -> WaitsFor {
        WaitsFor::Everything
    }

    /// Why it cannot go on from what it has loaded.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// What there is to tell of it in the tree.
    fn state_line(&self) -> String {
        String::new()
    }
}

/// What must be committed before a reply may leave: what its own decision wrote, and of all that was decided before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    Everything,
    Part(u64),
    /// Nothing that was decided before.
    Own,
    /// Not even its own decision's records.
    Nothing,
}

/// Of one read while loading.
const CHUNK_BYTES: usize = 1 << 20;

/// A timer of whose decision nothing could be replayed fires again no sooner: each time all is loaded anew.
const PUT_OFF: Duration = Duration::from_secs(60);

/// Of one append, unless a single decision is larger.
const BATCH_BYTES: usize = 512 << 10;

pub struct Shard<M: Hosted> {
    args: ShardArgs<M>,
    machine: M,
    phase: ShardPhase,
    next_ticket: u64,
    parked: Parked<Ticket, Result<M::Reply, Refused>>,
    pending: Pending<(Ticket, M::Reply)>,
    loads: u64,
    timers: Map<M::Timer, TimerId>,
    /// Those of which nothing could be replayed.
    put_off: BTreeSet<M::Timer>,
    written: Counter,
    replayed: Counter,
    parked_now: Gauge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShardPhase {
    Loading { from: i64, end: i64 },
    Active,
}

impl<M: Hosted> Actor for Shard<M> {
    const KIND: &'static str = M::KIND;
    type Msg = ShardMsg<M>;
    type Args = ShardArgs<M>;

    async fn start(cx: &mut Cx<Self>, args: ShardArgs<M>) -> Result<Self, Failure> {
        let mut shard = Shard {
            machine: (args.machine)(),
            phase: ShardPhase::Active,
            next_ticket: 0,
            parked: Parked::new(args.max_parked),
            pending: Pending::new(),
            loads: 0,
            timers: Map::new(),
            put_off: BTreeSet::new(),
            written: cx.counter("records_written"),
            replayed: cx.counter("records_replayed"),
            parked_now: cx.gauge("replies_parked"),
            args,
        };
        shard.load(cx);
        cx.spawn_task(follow(shard.args.log.clone(), shard.args.epoch, cx.me().clone()));
        Ok(shard)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: ShardMsg<M>) -> Outcome {
        let led = self.args.log.leader_epoch();
        if let Some(next) = led.filter(|led| led.follows(self.args.epoch)) {
            self.args.epoch = next;
        } else if led != Some(self.args.epoch) {
            if let ShardMsg::Request { reply, .. } = msg {
                reply.send(Err(Refused::NotLeader));
            }
            self.refuse_parked(Refused::NotLeader);
            cx.stop();
            return Ok(());
        }
        match msg {
            ShardMsg::Request { request, reply, held: _held } => self.request(cx, request, reply),
            ShardMsg::Own(Own(Step::Read { load, chunk })) => self.read(cx, load, chunk)?,
            ShardMsg::Own(Own(Step::Appended { load, end })) => self.appended(cx, load, end),
            ShardMsg::Own(Own(Step::LogChanged)) => self.release(),
            ShardMsg::Own(Own(Step::Timer(timer))) => {
                self.timers.remove(&timer);
                if self.phase == ShardPhase::Active {
                    self.put_off.remove(&timer);
                    let decision = self.machine.on_timer(cx.world().now(), timer.clone());
                    if !self.apply(cx, decision, None) {
                        self.put_off.insert(timer);
                    }
                }
            }
        }
        Ok(())
    }

    async fn stop(&mut self, _cx: &mut Cx<Self>) {
        self.refuse_parked(Refused::NotLeader);
    }

    fn state_line(&self) -> String {
        let epoch = self.args.epoch;
        let (parked, pending) = (self.parked.len(), self.pending.len());
        let (phase, machine) = (self.phase, self.machine.state_line());
        let told = format!(
            "{phase:?}, epoch {epoch:?}, {parked} replies parked, {pending} decisions not committed"
        );
        if machine.is_empty() { told } else { format!("{told}, {machine}") }
    }
}

impl<M: Hosted> Shard<M> {
    /// Begins to read the log from its start, with an empty machine.
    fn load(&mut self, cx: &mut Cx<Self>) {
        self.loads += 1;
        self.machine = (self.args.machine)();
        for (_, timer) in std::mem::take(&mut self.timers) {
            cx.cancel(timer);
        }
        let (from, end) = (self.args.log.start_offset(), self.args.log.end_offset());
        self.phase = ShardPhase::Loading { from, end };
        self.read_on(cx, from);
    }

    fn read_on(&mut self, cx: &mut Cx<Self>, from: i64) {
        let load = self.loads;
        let (read, me) = (self.args.log.read(from, CHUNK_BYTES), cx.me().clone());
        cx.spawn_task(async move {
            let chunk = read.await;
            let _ = me.send(ShardMsg::Own(Own(Step::Read { load, chunk }))).await;
        });
    }

    fn read(&mut self, cx: &mut Cx<Self>, load: u64, chunk: Result<Chunk, ErrorCode>) -> Outcome {
        let ShardPhase::Loading { from, end } = self.phase else { return Ok(()) };
        if load != self.loads {
            return Ok(());
        }
        let chunk = chunk.map_err(|code| Failure::new(format!("reading its log: {code:?}")))?;
        self.replayed.add(chunk.records.len() as u64);
        for record in &chunk.records {
            if let Some(event) = M::Event::decode(record)? {
                self.machine.replay(&event);
            }
        }
        // What an earlier incarnation was still writing when this load began is part of the log too.
        let end = end.max(self.args.log.end_offset());
        if chunk.next < end && chunk.next > from {
            self.phase = ShardPhase::Loading { from: chunk.next, end };
            self.read_on(cx, chunk.next);
        } else if chunk.next < end {
            return Err(Failure::new(format!("its log ends at {from}, not at {end}")));
        } else {
            self.machine.check().map_err(Failure::new)?;
            self.phase = ShardPhase::Active;
            // What was loaded may not be committed yet; no reply tells of it before.
            self.pending.hold_until(end);
            let decision = self.machine.on_loaded(cx.world().now());
            self.apply(cx, decision, None);
        }
        Ok(())
    }

    fn request(&mut self, cx: &mut Cx<Self>, request: M::Request, reply: ShardReply<M>) {
        if self.phase != ShardPhase::Active {
            return reply.send(Err(Refused::Loading));
        }
        if reply.is_closed() {
            return;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if let Err(Full(reply)) = self.parked.park(ticket, reply) {
            return reply.send(Err(Refused::Overloaded));
        }
        let decision = self.machine.decide(cx.world().now(), ticket, request);
        self.apply(cx, decision, Some(ticket));
    }

    /// A decision that cannot be written or replayed is none: who asked for it is refused. False where it cannot be
    /// replayed: a part of the state may be changed, and all of it is loaded anew.
    fn apply(&mut self, cx: &mut Cx<Self>, decision: DecisionOf<M>, asked: Option<Ticket>) -> bool {
        let records = match self.records(&decision.events, asked) {
            Ok(records) => records,
            Err(why) => {
                self.failed(cx, asked, &why);
                return true;
            }
        };
        let machine = &mut self.machine;
        let replay = || decision.events.iter().for_each(|event| machine.replay(event));
        if let Err(failure) = panics::catch(AssertUnwindSafe(replay)) {
            self.failed(cx, asked, &failure);
            self.load_anew(cx, ErrorCode::UnknownServerError);
            return false;
        }
        for op in decision.timers {
            self.timer(cx, op);
        }
        self.written.add(records.len() as u64);
        let waiting = self.reply(decision.replies, !records.is_empty());
        self.pending.add(records, decision.events.iter().map(M::part), waiting);
        self.write(cx);
        self.release();
        true
    }

    fn records(
        &self,
        events: &[M::Event],
        asked: Option<Ticket>,
    ) -> Result<Vec<StoredRecord>, String> {
        let records = events.iter().filter_map(|event| event.encode().transpose());
        let records = records.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let log = &self.args.log;
        let fits = || bytes(&records) <= log.max_batch_bytes() || log.takes(&records);
        match asked.is_none() || fits() {
            true => Ok(records),
            false => Err("larger than a batch of the log".to_owned()),
        }
    }

    fn failed(&mut self, cx: &mut Cx<Self>, asked: Option<Ticket>, why: &dyn fmt::Display) {
        tracing::error!(path = cx.path(), %why, "a decision that cannot be written or replayed");
        if let Some(ticket) = asked {
            self.parked.answer(&ticket, Err(Refused::Failed));
        }
    }

    /// Lets go what waits for nothing; answers what waits.
    fn reply(&mut self, replies: Vec<(Ticket, M::Reply)>, wrote: bool) -> Vec<(Ticket, M::Reply)> {
        let mut waiting = Vec::new();
        for (ticket, reply) in replies {
            let waits_for = M::waits_for(&reply);
            let waits = wrote && waits_for != WaitsFor::Nothing || self.pending.holds(waits_for);
            if waits {
                waiting.push((ticket, reply));
            } else {
                self.let_go(&ticket, reply);
            }
        }
        waiting
    }

    fn let_go(&mut self, ticket: &Ticket, reply: M::Reply) {
        match *ticket {
            Ticket::OUTSIDE => (self.args.outside)(reply),
            _ => drop(self.parked.answer(ticket, Ok(reply))),
        }
    }

    fn write(&mut self, cx: &mut Cx<Self>) {
        let records = self.pending.next_batch(BATCH_BYTES.min(self.args.log.max_batch_bytes()));
        if !records.is_empty() {
            self.args.log.append(self.args.epoch, records, to_self(cx.me(), self.loads));
        }
    }

    fn timer(&mut self, cx: &mut Cx<Self>, op: TimerOp<M::Timer>) {
        let (timer, after) = match op {
            TimerOp::Set { timer, after } => (timer, Some(after)),
            TimerOp::Cancel { timer } => (timer, None),
        };
        if let Some(running) = self.timers.remove(&timer) {
            cx.cancel(running);
        }
        let Some(after) = after else {
            self.put_off.remove(&timer);
            return;
        };
        let after = if self.put_off.contains(&timer) { after.max(PUT_OFF) } else { after };
        let message = ShardMsg::Own(Own(Step::Timer(timer.clone())));
        self.timers.insert(timer, cx.send_after(after, message));
    }

    fn appended(&mut self, cx: &mut Cx<Self>, load: u64, end: Result<i64, ErrorCode>) {
        if load != self.loads {
            return;
        }
        match end {
            Ok(end) => {
                self.pending.written(end);
                self.write(cx);
                self.release();
            }
            // What was decided since rests on what was not written: all goes back to the log.
            Err(code) => {
                tracing::warn!(path = cx.path(), ?code, "the log refused records; loading anew");
                self.load_anew(cx, code);
            }
        }
    }

    fn load_anew(&mut self, cx: &mut Cx<Self>, code: ErrorCode) {
        self.pending.clear();
        self.refuse_parked(Refused::Write(code));
        self.load(cx);
    }

    /// Lets go the replies that tell of committed records only.
    fn release(&mut self) {
        let high_watermark = self.args.log.high_watermark();
        while let Some(replies) = self.pending.next_committed(high_watermark) {
            for (ticket, reply) in replies {
                self.let_go(&ticket, reply);
            }
        }
        self.parked_now.set(self.parked.len() as i64);
    }

    fn refuse_parked(&mut self, refused: Refused) {
        for reply in self.parked.take_all().into_values() {
            reply.send(Err(refused));
        }
    }
}

/// Brings the answer to an append back as a message. A dropped one may have been written or not: only the log knows.
fn to_self<M: Hosted>(me: &Ref<ShardMsg<M>>, load: u64) -> AppendReply {
    let me = me.clone();
    let sink = move |_, answer: Result<Result<i64, ErrorCode>, Dropped>| {
        let end = answer.unwrap_or(Err(ErrorCode::UnknownServerError));
        let _ = me.send_now(ShardMsg::Own(Own(Step::Appended { load, end })));
    };
    Reply::to_sink(Arc::new(sink), 0)
}

/// Tells the shard when the high watermark or the leadership has changed, until that is gone.
async fn follow<M: Hosted>(log: Arc<dyn ShardLog>, epoch: LeaderEpoch, me: Ref<ShardMsg<M>>) {
    let pulse = log.changed();
    let mut seen = (log.high_watermark(), Some(epoch));
    loop {
        let mut waiter = Waiter::new();
        waiter.on(&pulse);
        let now = (log.high_watermark(), log.leader_epoch());
        if now == seen {
            waiter.wait().await;
            continue;
        }
        seen = now;
        let told = me.send(ShardMsg::Own(Own(Step::LogChanged))).await;
        if told.is_err() || now.1.is_none() {
            return;
        }
    }
}
