//! Controller: the shell around the controller's machine. It answers while this node leads the metadata log.
//!
//! Supervisor: `quorum`. A request is decided, its records appended, and its reply let go when they are committed (RE-2). When
//! leadership is lost, what was not committed is void: the machine is made anew from the log.

mod gone;
mod handle;
#[cfg(test)]
mod tests;
mod upgrade;

use std::sync::Arc;

use bytes::Bytes;
use machines::controller::{
    Controller, ControllerConfig, ControllerDecision, ControllerEvent, ControllerReply,
    ControllerRequest, ControllerTimer,
};
use machines::metadata::{METADATA_VERSION, MetadataImage, MetadataLoader, MetadataVersion};
use model::node_config::HostPort;
use model::{Replicated, Ticket, TimerOp};
use runtime::{Actor, Address, Cx, Failure, Held, Map, Outcome, Publisher, Reply, TimerId};
use wire::MetadataRecord;

use crate::files::RecordsError;
use crate::raft::{RaftError, RaftEvent, RaftMsg};
use crate::reach::{Greeting, Process, Reach};
use crate::snapshot;
use gone::concerns_brokers;
pub use handle::ControllerHandle;

/// Requests that may wait for their records to be committed.
const MAX_PARKED: usize = 10_000;

#[derive(Clone)]
pub struct ControllerArgs {
    pub config: ControllerConfig,
    pub raft: Address<RaftMsg>,
    /// `ottla.failover.fast`
    pub fast_failover: bool,
    /// Shows what is committed and decided alike, to who reads the same log here.
    pub settled: Arc<Publisher<MetadataImage>>,
}

/// Why the controller did not answer: ask again, here or at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("this node is not the active controller")]
    NotController,
    #[error("too many requests wait for the metadata log")]
    Overloaded,
    #[error("the controller did not answer in time")]
    TimedOut,
    /// What was asked for would be more than a record of the metadata log has room for. Nothing was done.
    #[error("the metadata log cannot hold what was asked for")]
    Unwritable,
    /// To ask again would come to the same.
    #[error("the controller does not take what this broker sends on, or its answer cannot be read")]
    NotTaken,
    /// Nothing was done.
    #[error("the controller does not take the version that the client asks in")]
    OtherVersions,
}

/// The reply, and the metadata offset at which its records stand: who has read so far sees what was done.
#[derive(Debug)]
pub struct Committed {
    pub reply: ControllerReply,
    pub offset: i64,
}

pub type ControllerAnswer = Result<Committed, Unavailable>;

pub enum ControllerMsg {
    Request {
        request: Box<ControllerRequest>,
        reply: Reply<ControllerAnswer>,
        /// What a peer caused is accounted for until it is decided.
        held: Option<Held>,
    },
    Raft(RaftEvent),
    Appended(Result<i64, RaftError>),
    Timer(ControllerTimer),
    /// A connection ended on which this broker's heartbeats came.
    ContactLost(Process),
    /// Whether a broker was reached where it listens, or not yet.
    Greeted {
        greeting: Greeting,
        address: HostPort,
        reached: bool,
    },
    /// Nothing listens any more where this broker was.
    Gone(Process),
}

runtime::messages!(ControllerMsg { Request, Raft, Appended, Timer, ContactLost, Greeted, Gone });

/// A reply that waits for the metadata log.
struct Waiting {
    reply: Reply<ControllerAnswer>,
    answer: ControllerReply,
    /// It was decided on all before this offset.
    end: i64,
}

pub struct ControllerActor {
    args: ControllerArgs,
    machine: Controller,
    bootstrap: Vec<MetadataRecord>,
    /// What is committed, as the log tells it.
    committed: MetadataLoader,
    committed_offset: i64,
    active: Option<i32>,
    next_ticket: u64,
    waiting: Map<Ticket, Waiting>,
    timers: Map<ControllerTimer, TimerId>,
    reach: Reach,
}

impl Actor for ControllerActor {
    const KIND: &'static str = "controller";
    type Msg = ControllerMsg;
    type Args = ControllerArgs;

    async fn start(cx: &mut Cx<Self>, args: ControllerArgs) -> Result<Self, Failure> {
        let me = cx.me().clone();
        let sink = Arc::new(move |event| me.send_now(ControllerMsg::Raft(event)).is_ok());
        args.raft.send(RaftMsg::Subscribe { sink }).await?;
        Ok(ControllerActor {
            machine: Controller::new(args.config.clone()),
            bootstrap: args.config.bootstrap.clone(),
            committed: MetadataLoader::default(),
            committed_offset: 0,
            active: None,
            next_ticket: 0,
            waiting: Map::new(),
            timers: Map::new(),
            reach: Reach::default(),
            args,
        })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: ControllerMsg) -> Outcome {
        match msg {
            ControllerMsg::Request { request, reply, held } => {
                self.request(cx, *request, reply, held).await?;
            }
            ControllerMsg::Raft(event) => self.follow(cx, event).await?,
            ControllerMsg::Appended(result) => self.appended(result)?,
            ControllerMsg::ContactLost(process) => self.look_for(cx, process),
            ControllerMsg::Greeted { greeting, address, reached } => {
                self.greeted(cx, greeting, address, reached);
            }
            ControllerMsg::Gone(process) => self.gone(cx, process).await?,
            ControllerMsg::Timer(timer) => {
                self.timers.remove(&timer);
                if self.active.is_some() {
                    let decision = self.machine.on_timer(cx.world().now(), timer);
                    self.carry_out(cx, decision, None).await?;
                }
            }
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        let state =
            self.active.map_or("standing by".to_owned(), |epoch| format!("active, epoch {epoch}"));
        format!("{state}, {} replies wait", self.waiting.len())
    }
}

impl ControllerActor {
    async fn request(
        &mut self,
        cx: &mut Cx<Self>,
        request: ControllerRequest,
        reply: Reply<ControllerAnswer>,
        held: Option<Held>,
    ) -> Outcome {
        if self.active.is_none() {
            reply.send(Err(Unavailable::NotController));
            return Ok(());
        }
        if self.waiting.len() >= MAX_PARKED {
            if let ControllerRequest::BrokerHeartbeat(beat) = &request {
                // Who heartbeats lives, however many requests wait.
                self.machine.replay(&ControllerEvent::Contact {
                    broker_id: beat.broker_id,
                    broker_epoch: beat.broker_epoch,
                    metadata_offset: beat.current_metadata_offset,
                    at: cx.world().mono(),
                });
            }
            reply.send(Err(Unavailable::Overloaded));
            return Ok(());
        }
        if let Some(level) = self.machine.quorum_upgrade(&request) {
            self.ask_quorum(cx, level, request, reply, held);
            return Ok(());
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let decision = self.machine.decide(cx.world().now(), ticket, request);
        self.carry_out(cx, decision, Some(reply)).await
    }

    async fn carry_out(
        &mut self,
        cx: &mut Cx<Self>,
        mut decision: ControllerDecision,
        reply: Option<Reply<ControllerAnswer>>,
    ) -> Outcome {
        let values = match self.encoded(&decision.events) {
            Ok(values) => values,
            Err(error) => {
                tracing::error!(%error, "a decision that the metadata log cannot hold");
                let Some(reply) = reply else { return Err(error.into()) };
                reply.send(Err(Unavailable::Unwritable));
                return Ok(());
            }
        };
        let base_offset = self.machine.next_offset();
        for event in &decision.events {
            self.machine.replay(event);
        }
        if let Some(fault) = self.machine.fault() {
            return Err(Failure::new(format!("a decision of its own cannot be replayed: {fault}")));
        }
        if !values.is_empty() {
            self.append(cx, base_offset, values).await;
        }
        // The controller answers a request at once or not at all: the one reply is to this request.
        if let (Some((ticket, answer)), Some(reply)) = (decision.replies.pop(), reply) {
            // Raft takes the records at this end of the log, or not at all.
            let end = self.machine.next_offset();
            self.waiting.insert(ticket, Waiting { reply, answer, end });
        }
        self.release();
        for op in decision.timers {
            self.set_timer(cx, op);
        }
        Ok(())
    }

    /// The records among the events, as they are to stand in the log.
    fn encoded(&self, events: &[ControllerEvent]) -> Result<Vec<Bytes>, RecordsError> {
        let records = || {
            events.iter().filter_map(|event| match event {
                ControllerEvent::Record(record) => Some(record),
                _ => None,
            })
        };
        // What sets metadata.version is written in the version that it sets.
        let set = records().filter_map(|record| match record {
            MetadataRecord::FeatureLevel(feature) if feature.name == METADATA_VERSION => {
                MetadataVersion::from_level(feature.feature_level)
            }
            _ => None,
        });
        let version = set.fold(self.machine.image().metadata_version(), Ord::max);
        records().map(|record| snapshot::encoded(record, version)).collect()
    }

    async fn append(&mut self, cx: &mut Cx<Self>, base_offset: i64, values: Vec<Bytes>) {
        let epoch = self.active.unwrap_or(-1);
        let me = cx.me().clone();
        let sink = move |_, result: Result<Result<i64, RaftError>, runtime::Dropped>| {
            let result = result.unwrap_or(Err(RaftError::NotLeader { epoch }));
            // One that has ended has nobody to answer to.
            let _ = me.send_now(ControllerMsg::Appended(result));
        };
        let reply = Reply::to_sink(Arc::new(sink), 0);
        // Where raft is gone the reply is dropped, which is an answer.
        let append = RaftMsg::Append { epoch, base_offset, values, reply };
        let _ = self.args.raft.send(append).await;
    }

    /// A refusal may come when another epoch of this node has begun.
    fn appended(&mut self, result: Result<i64, RaftError>) -> Outcome {
        match result {
            Ok(_) => Ok(()),
            Err(RaftError::NotLeader { epoch }) => {
                if self.active == Some(epoch) {
                    self.stand_by();
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets go every reply for which all that it was decided on is committed.
    fn release(&mut self) {
        let committed = self.committed_offset;
        while let Some(first) = self.waiting.first_entry()
            && first.get().end <= committed
        {
            let Waiting { reply, answer, .. } = first.remove();
            reply.send(Ok(Committed { reply: answer, offset: committed - 1 }));
        }
    }

    async fn follow(&mut self, cx: &mut Cx<Self>, event: RaftEvent) -> Outcome {
        match event {
            // That of a directory from before Kafka 4.4 names voters and no more.
            RaftEvent::Bootstrap { records } if records.is_empty() => {}
            RaftEvent::Bootstrap { records } => {
                self.bootstrap = snapshot::versioned("the first snapshot", records.to_vec())?;
            }
            RaftEvent::Snapshot { offset, epoch, records, .. } => {
                self.committed = MetadataLoader::default();
                for record in records.iter() {
                    self.committed.replay(record, offset - 1, epoch)?;
                }
                self.committed.skip_to(offset - 1, epoch);
                self.committed_offset = offset;
                self.greet(cx);
            }
            RaftEvent::Batch { base_offset, next_offset, epoch, records, .. } => {
                for (offset, record) in (base_offset..).zip(&records) {
                    self.committed.replay(record, offset, epoch)?;
                }
                if records.is_empty() {
                    self.committed.skip_to(next_offset - 1, epoch);
                    if self.active == Some(epoch) {
                        let records = next_offset - base_offset;
                        self.machine.replay(&ControllerEvent::Passed { records });
                        // What was decided before they were told stands behind them.
                        let behind = self.waiting.values_mut().filter(|w| w.end > base_offset);
                        behind.for_each(|waiting| waiting.end += records);
                    }
                }
                self.committed_offset = next_offset;
                if records.iter().any(concerns_brokers) {
                    self.greet(cx);
                }
                self.settle(epoch);
                self.release();
            }
            RaftEvent::Leading { epoch } => self.lead(cx, epoch).await?,
            RaftEvent::NotLeading { .. } => self.stand_by(),
        }
        Ok(())
    }

    /// Where all that was decided is committed, both are the same (RE-1): held once.
    fn settle(&mut self, epoch: i32) {
        if self.active.is_none() || self.machine.next_offset() != self.committed_offset {
            return;
        }
        self.committed = self.machine.loader().clone();
        self.committed.skip_to(self.committed_offset - 1, epoch);
        self.args.settled.publish(self.committed.image().clone());
    }

    async fn lead(&mut self, cx: &mut Cx<Self>, epoch: i32) -> Outcome {
        let (now, next_offset) = (cx.world().now(), self.committed_offset);
        let config =
            ControllerConfig { bootstrap: self.bootstrap.clone(), ..self.args.config.clone() };
        self.machine = Controller::from_loader(config, self.committed.clone());
        self.machine.replay(&ControllerEvent::Claimed { epoch, next_offset, at: now.mono });
        self.active = Some(epoch);
        tracing::info!(epoch, "active controller");
        let decision = self.machine.on_loaded(now);
        self.carry_out(cx, decision, None).await?;
        // One may have died with the controller before this one, or while none led.
        for process in self.reach.all() {
            self.look_for(cx, process);
        }
        Ok(())
    }

    fn stand_by(&mut self) {
        self.active = None;
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            waiting.reply.send(Err(Unavailable::NotController));
        }
    }

    fn set_timer(&mut self, cx: &mut Cx<Self>, op: TimerOp<ControllerTimer>) {
        let (timer, after) = match op {
            TimerOp::Set { timer, after } => (timer, Some(after)),
            TimerOp::Cancel { timer } => (timer, None),
        };
        if let Some(running) = self.timers.remove(&timer) {
            cx.cancel(running);
        }
        if let Some(after) = after {
            let id = cx.send_after(after, ControllerMsg::Timer(timer));
            self.timers.insert(timer, id);
        }
    }
}
