//! AlterIsr: asks the controller for the ISRs that this broker's leaders want (KIP-497).
//!
//! Supervisor: `quorum`, after the lifecycle. One request at a time, for all partitions that wait; what is not answered is asked
//! again until it is, or until the leader wants something else. Source: `DefaultAlterPartitionManager`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use machines::controller::{ControllerReply, ControllerRequest};
use machines::partition::{AlteredIsr, IsrChange};
use model::{ErrorCode, LeaderEpoch, NodeId, Uuid};
use partitions::{Hosted, IsrAnswer, IsrChanges, PartitionMsg, ReplicaName, UnderWay};
use runtime::{Actor, Backoff, Cx, Failure, Map, Outcome, Waiter};
use wire::alter_partition_request::{BrokerState, PartitionData, TopicData};
use wire::alter_partition_response::PartitionData as Answer;
use wire::{AlterPartitionRequest, AlterPartitionResponse};

use crate::controller::{Committed, ControllerAnswer, ControllerHandle};

/// The newest version of AlterPartition.
const VERSION: i16 = 3;
/// Far below what a request may hold.
const MAX_IN_REQUEST: usize = 10_000;
const RETRY: Backoff =
    Backoff { initial: Duration::from_millis(50), max: Duration::from_secs(1), jitter: 0.02 };

#[derive(Clone)]
pub struct AlterIsrArgs {
    pub node: NodeId,
    pub changes: Arc<IsrChanges>,
    pub hosted: Arc<Hosted>,
    pub controller: ControllerHandle,
    pub broker_epoch: Arc<AtomicI64>,
    pub request_timeout: Duration,
}

type Asked = UnderWay<IsrChange>;

pub enum AlterIsrMsg {
    /// There is something to ask for.
    Due,
    Answered {
        asked: Asked,
        answer: ControllerAnswer,
    },
    /// What failed may be asked for again.
    Retry,
}

runtime::messages!(AlterIsrMsg { Due, Answered, Retry });

pub struct AlterIsr {
    args: AlterIsrArgs,
    /// Or it waits after a failure.
    asking: bool,
    /// In a row.
    failures: usize,
}

impl Actor for AlterIsr {
    const KIND: &'static str = "alter-isr";
    type Msg = AlterIsrMsg;
    type Args = AlterIsrArgs;

    async fn start(cx: &mut Cx<Self>, args: AlterIsrArgs) -> Result<Self, Failure> {
        let (me, changes) = (cx.me().clone(), args.changes.clone());
        cx.spawn_task(async move {
            let mut waiter = Waiter::new();
            loop {
                waiter.on(changes.pulse());
                if me.send(AlterIsrMsg::Due).await.is_err() {
                    return;
                }
                waiter.wait().await;
            }
        });
        Ok(AlterIsr { args, asking: false, failures: 0 })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: AlterIsrMsg) -> Outcome {
        match msg {
            AlterIsrMsg::Due if self.asking => {}
            AlterIsrMsg::Due => self.ask(cx),
            AlterIsrMsg::Answered { asked, answer } => {
                self.failures = match self.take_answer(asked, answer).await {
                    Went::Well => {
                        (self.asking, self.failures) = (false, 0);
                        self.ask(cx);
                        return Ok(());
                    }
                    // Others wait for as long: not for longer each time.
                    Went::Refused => 1,
                    Went::Unanswered => self.failures + 1,
                };
                let after = RETRY.delay(self.failures, &mut cx.world().random("alter isr"));
                cx.send_after(after, AlterIsrMsg::Retry);
            }
            AlterIsrMsg::Retry => {
                self.asking = false;
                self.ask(cx);
            }
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        let what = if self.asking { "asking" } else { "idle" };
        format!("{what}, {} failures in a row", self.failures)
    }
}

/// How a request went.
enum Went {
    Well,
    /// All were answered, some with an error.
    Refused,
    Unanswered,
}

impl AlterIsr {
    fn ask(&mut self, cx: &mut Cx<Self>) {
        let asked = Asked::take(&self.args.changes, MAX_IN_REQUEST);
        if asked.words.is_empty() {
            return;
        }
        let broker_epoch = self.args.broker_epoch.load(Ordering::Acquire);
        let request = ControllerRequest::AlterPartition {
            request: request(self.args.node, broker_epoch, &asked),
            version: VERSION,
        };
        self.asking = true;
        let (me, controller) = (cx.me().clone(), self.args.controller.clone());
        let limit = self.args.request_timeout;
        cx.spawn_task(async move {
            let answer = controller.ask(request, limit).await;
            // One that has ended is not interested.
            let _ = me.send(AlterIsrMsg::Answered { asked, answer }).await;
        });
    }

    /// Tells the leaders. Those that were not answered wait again.
    async fn take_answer(&self, mut asked: Asked, answer: ControllerAnswer) -> Went {
        let mut refused = false;
        match answer {
            Ok(Committed { reply: ControllerReply::AlterPartition(response), .. })
                if response.error_code == ErrorCode::None.code() =>
            {
                for (name, answer) in answers(response) {
                    let Some(asked) = asked.words.remove(&name) else { continue };
                    refused |= answer.is_err();
                    if let Some(handle) = self.args.hosted.get_by_id(name.0, name.1) {
                        let answer = Box::new(IsrAnswer { asked, answer });
                        // One that starts anew asks again.
                        let _ = handle.address().send(PartitionMsg::IsrAnswered { answer }).await;
                    }
                }
            }
            other => tracing::debug!(?other, "the controller did not alter ISRs; asking again"),
        }
        let went = match asked.words.is_empty() {
            false => Went::Unanswered,
            true if refused => Went::Refused,
            true => Went::Well,
        };
        asked.put_back();
        went
    }
}

fn answers(
    response: AlterPartitionResponse,
) -> impl Iterator<Item = (ReplicaName, Result<AlteredIsr, ErrorCode>)> {
    response.topics.into_iter().flat_map(|topic| {
        let id = topic.topic_id;
        topic.partitions.into_iter().map(move |p| ((id, p.partition_index), altered(p)))
    })
}

fn altered(partition: Answer) -> Result<AlteredIsr, ErrorCode> {
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => Ok(AlteredIsr {
            leader_epoch: LeaderEpoch(partition.leader_epoch),
            partition_epoch: partition.partition_epoch,
            isr: partition.isr.into_iter().map(NodeId).collect(),
        }),
        error => Err(error),
    }
}

fn request(node: NodeId, broker_epoch: i64, asked: &Asked) -> AlterPartitionRequest {
    let mut topics: Map<Uuid, Vec<PartitionData>> = Map::new();
    for ((topic, partition_index), change) in &asked.words {
        let isr = change.isr.iter().map(|(id, epoch)| BrokerState {
            broker_id: id.0,
            broker_epoch: if *id == node { broker_epoch } else { *epoch },
            ..Default::default()
        });
        topics.entry(*topic).or_default().push(PartitionData {
            partition_index: *partition_index,
            leader_epoch: change.leader_epoch.0,
            new_isr_with_epochs: isr.collect(),
            // A leader has recovered.
            leader_recovery_state: 0,
            partition_epoch: change.partition_epoch,
            ..Default::default()
        });
    }
    let topics = topics.into_iter().map(|(topic_id, partitions)| TopicData {
        topic_id,
        partitions,
        ..Default::default()
    });
    AlterPartitionRequest {
        broker_id: node.0,
        broker_epoch,
        topics: topics.collect(),
        ..Default::default()
    }
}
