//! Replicas whose actor was given up, and what is told of them; replicas whose actor does not end even when killed, and
//! copies: what is in their directories is theirs until it does.

use std::path::PathBuf;
use std::sync::Arc;

use log::{DirKind, PartitionDir};
use machines::metadata::PartitionDelta;
use model::{TopicPartition, Uuid};
use runtime::{Cx, Outcome};

use super::{Partitions, PartitionsMsg};
use crate::future::FutureLog;
use crate::handle::PartitionHandle;
use crate::log_dirs::LogDirState;
use crate::partition::PartitionMsg;

/// What is to be put aside.
pub(super) struct Leaving {
    pub partition: TopicPartition,
    /// Where the replica itself is, if it is that.
    pub replica: Option<Arc<LogDirState>>,
    /// One, or what a promotion left.
    pub copies: Vec<(Arc<LogDirState>, PathBuf)>,
    pub kind: DirKind,
}

impl Leaving {
    pub fn copy(of: &PartitionHandle, copy: &FutureLog) -> Leaving {
        let copies = vec![(copy.dir.clone(), copy.path.clone())];
        let partition = of.topic_partition.clone();
        Leaving { partition, replica: None, copies, kind: DirKind::Delete }
    }
}

impl Partitions {
    pub(super) async fn tell_of_given_up(&mut self, cx: &mut Cx<Self>, actor: &str) {
        if let Some(parsed) = PartitionDir::parse(actor) {
            self.settle(cx, &parsed.topic_partition).await;
        }
    }

    /// Settings that its topic was given while it was down, or that failed with it in its mailbox, it hears now. Once the log is open
    /// the controller hears of it, and a copy that waited for that takes its place.
    pub(super) async fn tell_when_back(&self, cx: &mut Cx<Self>, actor: &str) {
        let Some(PartitionDir { topic_partition: partition, .. }) = PartitionDir::parse(actor)
        else {
            return;
        };
        let Some(handle) = self.args.hosted.get(&partition.topic, partition.partition) else {
            return;
        };
        let told = self.configs.get(&handle.topic_id);
        if let Some(config) = told.filter(|config| **config != handle.config()) {
            let configure = PartitionMsg::Configure { config: config.clone() };
            // Where it is down again, it comes back again.
            let _ = handle.address().send(configure).await;
        }
        let is_lost = self.known_directory(&handle) == Some(Uuid::LOST_DIRECTORY);
        if !is_lost && handle.future().is_none() {
            return;
        }
        let me = cx.me().clone();
        cx.spawn_task(async move {
            if handle.address().started().await.is_ok() {
                let _ = me.send(PartitionsMsg::Settle { partition }).await;
            }
        });
    }

    pub(super) async fn put_leaving_aside(&mut self, cx: &mut Cx<Self>, leaving: Leaving) {
        let Leaving { partition, replica, copies, kind } = leaving;
        for (dir, path) in copies {
            self.put_aside(cx, &dir, &path, &partition, DirKind::Delete).await;
        }
        if let Some(dir) = replica {
            self.set_aside(cx, &dir, &partition, kind).await;
        }
    }

    /// Before this actor ends, after its children: Kafka would go on with moves that were called off. What an actor works on that
    /// does not end even when killed stays where it is; the next start of ours finds that it was called off.
    pub(super) async fn put_copies_aside(&mut self, cx: &mut Cx<Self>) {
        for (actor, leaving) in std::mem::take(&mut self.leaving) {
            if leaving.replica.is_none() && !cx.has_child(&actor) {
                self.put_leaving_aside(cx, leaving).await;
            }
        }
    }

    /// An actor has ended for good. What waited for its name goes on.
    pub(super) async fn left(&mut self, cx: &mut Cx<Self>, actor: &str) -> Outcome {
        if let Some(leaving) = self.leaving.remove(actor) {
            let replica = leaving.replica.is_some().then(|| leaving.partition.clone());
            self.put_leaving_aside(cx, leaving).await;
            if let Some(partition) = replica {
                self.rewrite_checkpoints(cx).await?;
                self.come_again(cx, &partition).await?;
            }
        }
        if let Some(handle) = self.copied_by(actor)
            && let Some(future) = handle.future().filter(|future| !future.is_being_made())
        {
            if future.is_closed() {
                self.settle(cx, &handle.topic_partition).await;
            } else {
                self.copy_again(cx, &handle, &future, None);
            }
        }
        Ok(())
    }

    /// Where the metadata has a partition of that name here again.
    async fn come_again(&mut self, cx: &mut Cx<Self>, partition: &TopicPartition) -> Outcome {
        let image = self.applied.clone();
        let Some(topic) = image.topics.by_name(&partition.topic).cloned() else { return Ok(()) };
        let Some(after) = topic.partition(partition.partition) else { return Ok(()) };
        let after = Arc::new(after.clone());
        let change = PartitionDelta { topic, partition: partition.partition, before: None, after };
        self.apply_partition(cx, &image, &change).await
    }
}
