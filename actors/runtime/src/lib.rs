//! The actor kit: spawn, names, credits, parked replies, the World, supervision, metrics.
//!
//! An actor is a struct that implements [`Actor`]; it is spawned by its parent through [`Cx::spawn`] (a root through
//! [`spawn_root`]) and reached through an [`Address`], which outlives its restarts, or a [`Ref`], which does not.
//!
//! ```
//! use ottla_runtime::{Actor, Cx, Failure, Outcome, Reply, messages};
//!
//! struct Tally(u64);
//!
//! enum TallyMsg {
//!     Add(u64),
//!     Total { reply: Reply<u64> },
//! }
//!
//! messages!(TallyMsg { Add, Total });
//!
//! impl Actor for Tally {
//!     const KIND: &'static str = "tally";
//!     type Msg = TallyMsg;
//!     type Args = ();
//!
//!     async fn start(_cx: &mut Cx<Self>, _args: ()) -> Result<Self, Failure> {
//!         Ok(Tally(0))
//!     }
//!
//!     async fn handle(&mut self, _cx: &mut Cx<Self>, msg: TallyMsg) -> Outcome {
//!         match msg {
//!             TallyMsg::Add(n) => self.0 += n,
//!             TallyMsg::Total { reply } => reply.send(self.0),
//!         }
//!         Ok(())
//!     }
//! }
//! ```

mod actor;
mod address;
mod children;
mod credits;
mod cx;
mod directory;
pub mod durable;
mod fault;
mod lent;
mod lifecycle;
mod loggers;
mod map;
mod metrics;
mod panics;
mod plain;
mod policy;
mod reply;
mod request;
mod root;
mod sharded;
mod shell;
pub mod sim;
mod supervisor;
mod timers;
mod watch;
mod world;

#[cfg(test)]
mod actor_tests;
#[cfg(test)]
mod bulkhead_tests;
#[cfg(test)]
mod metrics_tests;
#[cfg(test)]
mod parts_tests;
#[cfg(test)]
mod plain_tests;
#[cfg(test)]
mod supervision_tests;
#[cfg(test)]
mod watch_tests;

pub use actor::{Actor, Failure, FailureKind, Message, Outcome};
pub use address::{Address, AskError, Dead, RactorRef, Ref, Sending};
pub use children::Seed;
pub use credits::{Credit, Credits, Held};
pub use cx::Cx;
pub use directory::Directory;
pub use fault::{Fault, LONGEST_FAULT, SetFault};
pub use lent::Lent;
pub use lifecycle::{Exit, Phase};
pub use loggers::{LogLevel, Loggers, NoLogLevel};
pub use map::{FastMap, FixedHasher, Map};
pub use metrics::{
    ActorTree, AskTrace, Counter, Did, Exposition, Family, Format, Gauge, InHand, MessageCount,
    NoSuchActor, NotTraced, Numbers, Order, Registry, Restarted, Sample, Scope, Span, SpanOf, Sums,
    TopPage, TraceLine, TracePlace, Traced, Unusual, Watchdog, expose, families, prometheus,
    quantile,
};
pub use model::{Decision, DecisionOf, Now, Persist, Replicated, StoredRecord, Ticket, TimerOp};
pub use panics::{Panicked, caught};
pub use plain::RactorAddress;
pub use policy::{
    Backoff, ChangeHook, ChildChange, ChildEvent, ChildSpec, GiveUp, Intensity, Restart,
    SpawnError, Strategy,
};
pub use ractor;
pub use reply::{Answer, Dropped, Full, Parked, Reply, ReplySink};
pub use request::RequestId;
pub use root::{Root, spawn_root};
pub use sharded::{
    AppendReply, Chunk, Hosted, Outside, Own, Refused, Shard, ShardArgs, ShardLog, ShardMsg,
    ShardReply, WaitsFor,
};
pub use supervisor::{Supervisor, SupervisorArgs, SupervisorMsg};
pub use timers::TimerId;
pub use watch::{Publisher, Pulse, Waiter, Watch, watch};
pub use world::*;
