//! DirectoryAssignments: tells the controller in which directories this broker's replicas are (KIP-858).
//!
//! Supervisor: `quorum`, after the lifecycle. One request at a time; what is not taken is told again. Source:
//! `AssignmentsManager`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use machines::controller::{ControllerReply, ControllerRequest};
use machines::metadata::MetadataImage;
use model::{ErrorCode, NodeId, Uuid};
use partitions::{Assignments, ReplicaName, UnderWay};
use runtime::{Actor, Backoff, Cx, Failure, Map, Outcome, Waiter, Watch};
use wire::AssignReplicasToDirsRequest;
use wire::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};

use crate::controller::{Committed, ControllerAnswer, ControllerHandle};

/// The most that Kafka's controller takes in one request.
const MAX_IN_REQUEST: usize = 2250;
const RETRY: Backoff =
    Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(10), jitter: 0.02 };

#[derive(Clone)]
pub struct AssignmentsArgs {
    pub node: NodeId,
    pub assignments: Arc<Assignments>,
    pub controller: ControllerHandle,
    pub metadata: Watch<MetadataImage>,
    pub broker_epoch: Arc<AtomicI64>,
    pub request_timeout: Duration,
}

pub enum AssignmentsMsg {
    /// There is something to tell.
    Due,
    Answered {
        told: UnderWay<Uuid>,
        answer: ControllerAnswer,
    },
}

runtime::messages!(AssignmentsMsg { Due, Answered });

pub struct DirectoryAssignments {
    args: AssignmentsArgs,
    asking: bool,
    /// In a row.
    failures: usize,
}

impl Actor for DirectoryAssignments {
    const KIND: &'static str = "directory-assignments";
    type Msg = AssignmentsMsg;
    type Args = AssignmentsArgs;

    async fn start(cx: &mut Cx<Self>, args: AssignmentsArgs) -> Result<Self, Failure> {
        let (me, assignments) = (cx.me().clone(), args.assignments.clone());
        cx.spawn_task(async move {
            let mut waiter = Waiter::new();
            loop {
                waiter.on(assignments.pulse());
                if me.send(AssignmentsMsg::Due).await.is_err() {
                    return;
                }
                waiter.wait().await;
            }
        });
        Ok(DirectoryAssignments { args, asking: false, failures: 0 })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: AssignmentsMsg) -> Outcome {
        match msg {
            // After a failure the timer comes back to it.
            AssignmentsMsg::Due if self.asking => {}
            AssignmentsMsg::Due => self.tell(cx),
            AssignmentsMsg::Answered { told, answer } => {
                let whole = Self::take_answer(told, answer);
                self.failures = if whole { 0 } else { self.failures + 1 };
                if whole {
                    self.asking = false;
                    self.tell(cx);
                } else {
                    let after = RETRY.delay(self.failures, &mut cx.world().random("assignments"));
                    self.asking = false;
                    cx.send_after(after, AssignmentsMsg::Due);
                }
            }
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        let what = if self.asking { "telling" } else { "idle" };
        format!("{what}, {} failures in a row", self.failures)
    }
}

impl DirectoryAssignments {
    fn tell(&mut self, cx: &mut Cx<Self>) {
        let epoch = self.args.broker_epoch.load(Ordering::Acquire);
        let mut told = UnderWay::take(&self.args.assignments, MAX_IN_REQUEST);
        let image = self.args.metadata.get();
        told.words.retain(|replica, directory| self.is_news(&image, *replica, *directory));
        if told.words.is_empty() {
            return;
        }
        let request = AssignReplicasToDirsRequest {
            broker_id: self.args.node.0,
            broker_epoch: epoch,
            directories: by_directory(&told.words),
            ..Default::default()
        };
        self.asking = true;
        let (me, controller) = (cx.me().clone(), self.args.controller.clone());
        let limit = self.args.request_timeout;
        cx.spawn_task(async move {
            let request = ControllerRequest::AssignReplicasToDirs(request);
            let answer = controller.ask(request, limit).await;
            // One that has ended is not interested.
            let _ = me.send(AssignmentsMsg::Answered { told, answer }).await;
        });
    }

    /// The replica may be gone by now, or its directory known.
    fn is_news(&self, image: &MetadataImage, (topic, partition): ReplicaName, to: Uuid) -> bool {
        let topic = image.topics.by_id(topic);
        let partition = topic.and_then(|topic| topic.partition(partition));
        partition.and_then(|p| p.directory(self.args.node.0)).is_some_and(|known| known != to)
    }

    /// Whether all of it was taken; the rest waits again.
    fn take_answer(mut told: UnderWay<Uuid>, answer: ControllerAnswer) -> bool {
        if let Ok(Committed { reply: ControllerReply::AssignReplicasToDirs(response), .. }) = answer
            && response.error_code == ErrorCode::None.code()
        {
            for topic in response.directories.iter().flat_map(|directory| &directory.topics) {
                for partition in topic.partitions.iter().filter(|p| p.error_code == 0) {
                    told.words.remove(&(topic.topic_id, partition.partition_index));
                }
            }
        }
        let whole = told.words.is_empty();
        told.put_back();
        whole
    }
}

fn by_directory(told: &Map<ReplicaName, Uuid>) -> Vec<DirectoryData> {
    let mut directories: Map<Uuid, Map<Uuid, Vec<PartitionData>>> = Map::new();
    for ((topic, partition_index), directory) in told {
        let partition = PartitionData { partition_index: *partition_index, ..Default::default() };
        let topics = directories.entry(*directory).or_default();
        topics.entry(*topic).or_default().push(partition);
    }
    let topics = |topics: Map<Uuid, Vec<PartitionData>>| {
        let topics = topics.into_iter();
        let data =
            |(topic_id, partitions)| TopicData { topic_id, partitions, ..Default::default() };
        topics.map(data).collect()
    };
    let data = |(id, held)| DirectoryData { id, topics: topics(held), ..Default::default() };
    directories.into_iter().map(data).collect()
}
