//! Replicas whose actor was given up, and what is told of them; replicas and copies whose actor does not end even when killed:
//! what is in their directories is theirs until it does.

use std::path::PathBuf;
use std::sync::Arc;

use log::{DirKind, PartitionDir};
use machines::metadata::PartitionDelta;
use model::{TopicPartition, Uuid};
use runtime::{Cx, Outcome};

use super::moves::child_name;
use super::{Partitions, PartitionsMsg};
use crate::handle::PartitionHandle;
use crate::log_dirs::LogDirState;

/// What is to be put aside.
pub(super) struct Leaving {
    partition: TopicPartition,
    dir: Arc<LogDirState>,
    /// None for the replica itself.
    copy: Option<PathBuf>,
    kind: DirKind,
}

impl Partitions {
    pub(super) async fn tell_of_given_up(&mut self, cx: &mut Cx<Self>, actor: &str) {
        if let Some(parsed) = PartitionDir::parse(actor) {
            self.settle(cx, &parsed.topic_partition).await;
        }
    }

    /// The controller hears of it once the log is open.
    pub(super) fn tell_when_back(&self, cx: &mut Cx<Self>, actor: &str) {
        let Some(PartitionDir { topic_partition: partition, .. }) = PartitionDir::parse(actor)
        else {
            return;
        };
        let handle = self.args.hosted.get(&partition.topic, partition.partition);
        let given_up = |handle: &Arc<PartitionHandle>| {
            self.known_directory(handle) == Some(Uuid::LOST_DIRECTORY)
        };
        let Some(handle) = handle.filter(given_up) else { return };
        let me = cx.me().clone();
        cx.spawn_task(async move {
            if handle.address().started().await.is_ok() {
                let _ = me.send(PartitionsMsg::Settle { partition }).await;
            }
        });
    }

    pub(super) fn leaves(
        &mut self,
        actor: String,
        handle: &PartitionHandle,
        dir: Arc<LogDirState>,
        copy: Option<PathBuf>,
        kind: DirKind,
    ) {
        let partition = handle.topic_partition.clone();
        self.leaving.insert(actor, Leaving { partition, dir, copy, kind });
    }

    /// An actor has ended for good. What waited for its name goes on.
    pub(super) async fn left(&mut self, cx: &mut Cx<Self>, actor: &str) -> Outcome {
        match self.leaving.remove(actor) {
            Some(Leaving { partition, dir, copy: Some(path), kind }) => {
                self.put_aside(cx, &dir, &path, &partition, kind).await;
            }
            Some(Leaving { partition, dir, copy: None, kind }) => {
                self.set_aside(cx, &dir, &partition, kind).await;
                self.rewrite_checkpoints(cx).await?;
                self.come_again(cx, &partition).await?;
            }
            None => {}
        }
        if actor.ends_with(".future")
            && let Some(handle) = self.args.hosted.all().iter().find(|of| child_name(of) == actor)
            && let Some(future) = handle.future()
        {
            self.copy_again(cx, handle, &future);
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
