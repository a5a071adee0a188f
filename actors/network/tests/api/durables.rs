//! Shards of durable actors that were given up, on a broker's insides.

use std::time::Duration;

use bytes::Bytes;
use coordinators::{DurableTopic, Durables, DurablesParts, register};
use model::{ErrorCode, NodeId, Uuid};
use runtime::durable::{Ask, AskId, AskRefused, At, Decision, Durable, Owners, encode};
use runtime::{ChildSpec, GiveUp, Strategy, Supervisor, SupervisorArgs, spawn_root};

use crate::rig::{LIMIT, NODE, Rig};

const TOPIC: &str = "counters";

struct Counter;

impl Durable for Counter {
    type Command = u64;
    type Event = u64;
    type State = u64;
    type Reply = u64;

    fn decide(&self, _: At<'_>, total: &u64, add: u64) -> Decision<Self> {
        Decision::persist(add).reply(total + add)
    }

    fn replay(&self, total: &mut u64, added: &u64) {
        *total += added;
    }
}

async fn ask(durables: &Durables) -> Result<Option<Bytes>, AskRefused> {
    let command = encode(&1u64).unwrap().into();
    let id = AskId { asker: Uuid([7; 16]), sequence: 1 };
    let (topic, key) = (TOPIC.to_owned(), "a".to_owned());
    durables.ask(Ask { topic, partition: 0, key, id, version: 1, command }, LIMIT, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_was_given_up_serves_again_once_it_is_revived() {
    let mut rig = Rig::start().await;
    let lag = ("min.compaction.lag.ms", "600000");
    rig.topic(TOPIC, 1, &[("cleanup.policy", "delete"), lag]).await;
    let parts = DurablesParts {
        world: rig.world.clone(),
        node: NodeId(NODE),
        metadata: rig.broker.metadata.clone(),
        tell: std::sync::Arc::new(|_| {}),
    };
    let on = DurableTopic { partitions: 1, ..DurableTopic::default() };
    let durables = Durables::new(&parts, &[register(TOPIC, Counter, on)]);
    let shard =
        ChildSpec::transient().give_up(GiveUp::Offline).revive_after(Duration::from_millis(200));
    let shard = shard.intensity(1, LIMIT);
    let (hosted, applied) = (rig.hosted.clone(), rig.broker.applied.clone());
    let seed = |served: &std::sync::Arc<dyn coordinators::Served>| {
        served.seed(hosted.clone(), applied.clone(), (ChildSpec::permanent(), shard.clone()))
    };
    let children = durables.all().map(seed).collect();
    let args = SupervisorArgs::new(Strategy::OneForOne, children);
    let root = spawn_root::<Supervisor>(&rig.world, "durables", args).unwrap();
    root.started().await.unwrap();
    let until = async |done: fn(&Result<Option<Bytes>, AskRefused>) -> bool| {
        let asking = async { while !done(&ask(&durables).await) {} };
        tokio::time::timeout(LIMIT, asking).await.expect("it comes");
    };
    until(|answer| {
        answer.as_ref().is_err_and(|refused| refused.code == ErrorCode::UnknownServerError)
    })
    .await;
    rig.configure(TOPIC, "cleanup.policy", "compact");
    until(|answer| answer.as_ref().is_ok_and(|reply| reply.as_deref() == Some(&[1]))).await;
}
