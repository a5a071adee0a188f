//! The directories of copies are made beside this actor: moves of thousands, or a disk that hangs, hold up nothing else. Until a copy
//! has its directory no actor works in it, and who asks for another move of its replica waits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use disk::DiskError;
use model::TopicPartition;
use runtime::{Answer, Cx, Outcome, Reply};

use super::{Partitions, PartitionsMsg};
use crate::future::FutureLog;
use crate::handle::PartitionHandle;
use crate::hosted::Hosted;

/// One job makes so many: what comes after this actor waits for no more.
const AT_ONCE: usize = 64;

/// A copy whose move begins.
#[derive(Clone)]
pub struct Begun {
    pub(super) handle: Arc<PartitionHandle>,
    pub(super) future: Arc<FutureLog>,
    /// Before the last stop; now it goes on.
    pub(super) was_called_off: bool,
}

impl Begun {
    fn make(&self, hosted: &Hosted) -> Result<(), DiskError> {
        self.future.make(hosted, self.handle.topic_id)?;
        if self.was_called_off { self.future.forget_called_off() } else { Ok(()) }
    }
}

/// By which a copy that is called off meanwhile is found among what leaves: no actor has such a name.
pub(super) fn made_key(future: &FutureLog) -> String {
    future.path.to_string_lossy().into_owned()
}

impl Partitions {
    /// Whether a copy of it is about to begin, or to take its place.
    pub(super) fn is_unsettled(&self, partition: &TopicPartition) -> bool {
        let hosted = self.args.hosted.get(&partition.topic, partition.partition);
        let future = hosted.and_then(|handle| handle.future());
        self.promoting.contains_key(partition) || future.is_some_and(|f| f.is_being_made())
    }

    /// Makes the directories of copies, durably, by log directories: each answers when that is done, or cannot be for now.
    pub(super) fn make_copies(&self, cx: &mut Cx<Self>, copies: Vec<Begun>) -> Vec<Answer<()>> {
        let mut by_dir: BTreeMap<PathBuf, Vec<Begun>> = BTreeMap::new();
        for copy in copies {
            by_dir.entry(copy.future.dir.path.clone()).or_default().push(copy);
        }
        by_dir.into_values().map(|copies| self.make_in_one(cx, &copies)).collect()
    }

    fn make_in_one(&self, cx: &mut Cx<Self>, copies: &[Begun]) -> Answer<()> {
        let (reply, made) = Reply::new();
        let job_for = |copies: &[Begun]| {
            let dir = copies.first().map(|first| first.future.dir.clone())?;
            let copies: Arc<[Begun]> = copies.into();
            let (makes, hosted) = (copies.clone(), self.args.hosted.clone());
            let make = move || makes.iter().for_each(|copy| make_or_tell(copy, &hosted));
            Some((copies, cx.blocking_in(dir.queue(), "make copies", make)))
        };
        let jobs: Vec<_> = copies.chunks(AT_ONCE).filter_map(job_for).collect();
        let me = cx.me().clone();
        cx.spawn_task(async move {
            for (copies, job) in jobs {
                if let Err(lost) = job.await {
                    tracing::error!(%lost, "directories of copies were not made");
                }
                if me.send(PartitionsMsg::Made { copies }).await.is_err() {
                    return;
                }
            }
            reply.send(());
        });
        made
    }

    /// Their actors begin; where one could not be made, its actor tries that again, and says why it waits.
    pub(super) async fn made(&mut self, cx: &mut Cx<Self>, copies: &[Begun]) -> Outcome {
        for Begun { handle, future, .. } in copies {
            future.set_being_made(false);
            if let Some(leaving) = self.leaving.remove(&made_key(future)) {
                self.put_leaving_aside(cx, leaving).await;
            } else if handle.future().is_some_and(|now| Arc::ptr_eq(&now, future)) {
                self.copy(cx, handle, future.clone(), None);
            }
        }
        self.alter_dirs_put_off(cx).await
    }
}

fn make_or_tell(copy: &Begun, hosted: &Hosted) {
    if let Err(error) = copy.make(hosted) {
        let copy = copy.future.path.display();
        tracing::warn!(%copy, %error, "a crash would undo that the move has begun");
    }
}
