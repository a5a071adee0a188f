//! The end of a move: a copy takes its replica's place. The replica's actor works in both directories then, and nobody else touches
//! what it works on: a deletion ends that actor first, and who asks for another move waits.
//!
//! Source: `Partition.maybeReplaceCurrentWithFutureReplica` and what else is done under its lock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use log::DirKind;
use model::TopicPartition;
use runtime::{Answer, Cx, Dropped, Held, Outcome, Reply};

use super::moves::{AlterDirError, child_name};
use super::{DirMoves, Partitions, PartitionsMsg};
use crate::future::FutureLog;
use crate::handle::PartitionHandle;
use crate::log_dirs::LogDirState;
use crate::partition::{NotPromoted, PartitionMsg};

/// So many promotions in a row end with the replica's actor: it may be what fails it.
const MAX_UNANSWERED: u32 = 5;

/// A copy that takes the place of what is in `from`.
pub(super) struct Promotion {
    from: Arc<LogDirState>,
    future: Arc<FutureLog>,
}

impl Promotion {
    fn is_done(&self, handle: &PartitionHandle) -> bool {
        Arc::ptr_eq(&handle.log_dir(), &self.future.dir)
    }

    /// Of a replica whose actor has ended: where its log, or a part of it, may be beside where it is.
    pub(super) fn places(&self, handle: &PartitionHandle) -> Vec<(Arc<LogDirState>, PathBuf)> {
        let named = |dir: &Arc<LogDirState>| (dir.clone(), dir.path.join(handle.dir_name()));
        match self.is_done(handle) {
            true => vec![named(&self.from)],
            false => {
                let dir = &self.future.dir;
                vec![(dir.clone(), self.future.path.clone()), named(dir)]
            }
        }
    }
}

/// Moves that were asked for.
pub(super) struct AlterDirs {
    moves: Arc<DirMoves>,
    /// In their order; none yet of a replica whose place a copy takes, or whose copy is being made.
    answers: Vec<Option<Result<(), AlterDirError>>>,
    /// Those come first: that copies are called off, and begun, outlives a crash.
    noted: Vec<Answer<()>>,
    _held: Held,
    reply: Reply<Vec<Result<(), AlterDirError>>>,
}

impl AlterDirs {
    pub fn new(
        moves: Arc<DirMoves>,
        held: Held,
        reply: Reply<Vec<Result<(), AlterDirError>>>,
    ) -> AlterDirs {
        let answers = vec![None; moves.values().map(BTreeMap::len).sum()];
        AlterDirs { moves, answers, noted: Vec::new(), _held: held, reply }
    }
}

impl Partitions {
    pub(super) async fn alter_dirs(&mut self, cx: &mut Cx<Self>, mut asked: AlterDirs) -> Outcome {
        // Before a copy of the same name is begun.
        self.rewrite_checkpoints(cx).await?;
        let mut begun = Vec::new();
        let mut answers = asked.answers.iter_mut();
        for (topic, partitions) in &*asked.moves {
            for ((partition, to), answer) in partitions.iter().zip(answers.by_ref()) {
                let name = TopicPartition::new(topic.clone(), *partition);
                if answer.is_none() && !self.is_unsettled(&name) {
                    let noted = &mut asked.noted;
                    let altered = self.alter_dir(cx, topic, *partition, to, noted, &mut begun);
                    *answer = Some(altered.await);
                }
            }
        }
        asked.noted.extend(self.make_copies(cx, begun));
        match asked.answers.iter().cloned().collect() {
            Some(answers) => cx.spawn_task(async move {
                for noted in asked.noted {
                    // Where it is dropped the actor has ended, and this with it.
                    let _ = noted.get().await;
                }
                asked.reply.send(answers);
            }),
            None => self.put_off.push(asked),
        }
        Ok(())
    }

    /// What was asked for while a copy took its replica's place, or was being made.
    pub(super) async fn alter_dirs_put_off(&mut self, cx: &mut Cx<Self>) -> Outcome {
        for asked in std::mem::take(&mut self.put_off) {
            self.alter_dirs(cx, asked).await?;
        }
        Ok(())
    }

    pub(super) async fn promote(
        &mut self,
        cx: &mut Cx<Self>,
        handle: &Arc<PartitionHandle>,
        future: Arc<FutureLog>,
    ) {
        // One that is down comes back: see `tell_when_back`.
        if self.promoting.contains_key(&handle.topic_partition) || !handle.address().is_alive() {
            return;
        }
        let copy = child_name(handle);
        cx.dismiss(&copy);
        if cx.has_child(&copy) {
            // Its end, which may take long, brings this round again: see `left`.
            return;
        }
        if !future.is_closed() {
            return self.copy_again(cx, handle, &future, None);
        }
        let partition = handle.topic_partition.clone();
        let promotion = Promotion { from: handle.log_dir(), future: future.clone() };
        self.promoting.insert(partition.clone(), promotion);
        let (me, of) = (cx.me().clone(), future.clone());
        // Whether it did is seen by where the replica is then.
        let sink = move |_, answer: Result<Result<(), NotPromoted>, Dropped>| {
            let (partition, future) = (partition.clone(), of.clone());
            let why_not = answer.ok().and_then(Result::err);
            // One that has ended starts anew with what it finds.
            let _ = me.send_now(PartitionsMsg::Promoted { partition, future, why_not });
        };
        let reply = Box::new(Reply::to_sink(Arc::new(sink), 0));
        // Where it is down the reply is dropped, which is an answer.
        let _ = handle.address().send(PartitionMsg::Promote { future, reply }).await;
    }

    pub(super) async fn promoted(
        &mut self,
        cx: &mut Cx<Self>,
        partition: &TopicPartition,
        future: &Arc<FutureLog>,
        why_not: Option<NotPromoted>,
    ) -> Outcome {
        // Else the replica was removed meanwhile.
        let this = |promotion: &Promotion| Arc::ptr_eq(&promotion.future, future);
        if !self.promoting.get(partition).is_some_and(this) {
            return Ok(());
        }
        let hosted = self.args.hosted.get(&partition.topic, partition.partition);
        if let (Some(promotion), Some(handle)) = (self.promoting.remove(partition), hosted) {
            self.settle_promotion(cx, &handle, promotion, why_not).await;
        }
        self.alter_dirs_put_off(cx).await
    }

    async fn settle_promotion(
        &mut self,
        cx: &mut Cx<Self>,
        handle: &Arc<PartitionHandle>,
        promotion: Promotion,
        why_not: Option<NotPromoted>,
    ) {
        let (from, future) = (&promotion.from, &promotion.future);
        let (partition, to) = (&handle.topic_partition, &future.dir);
        let done = promotion.is_done(handle);
        // The old log may have kept the replica's name, or a copy that is not the replica may have got it.
        let no_longer = if done { from } else { to };
        if no_longer.is_online() {
            let named = no_longer.path.join(handle.dir_name());
            self.put_aside(cx, no_longer, &named, partition, DirKind::Delete).await;
        }
        if done {
            tracing::info!(%partition, to = %to.path.display(), "has moved");
            from.uncount_replica();
        } else if !from.is_online() || !to.is_online() {
            self.call_off(cx, handle, false).await;
        } else {
            self.not_promoted(cx, handle, future, why_not).await;
        }
        self.stop_where_offline(cx, handle);
    }

    async fn not_promoted(
        &mut self,
        cx: &mut Cx<Self>,
        handle: &Arc<PartitionHandle>,
        future: &FutureLog,
        why_not: Option<NotPromoted>,
    ) {
        let unanswered = if why_not.is_none() { future.unanswered() + 1 } else { 0 };
        future.set_unanswered(unanswered);
        let why = match why_not {
            None if unanswered < MAX_UNANSWERED => {
                return self.copy_again(cx, handle, future, None);
            }
            Some(NotPromoted::Behind) => return self.copy_again(cx, handle, future, None),
            Some(NotPromoted::ForNow(why)) => {
                return self.copy_again(cx, handle, future, Some(why));
            }
            Some(NotPromoted::ForGood(why)) => why,
            None => "its actor ended as the copy took its place".to_owned(),
        };
        handle.set_called_off(Some(why));
        self.call_off(cx, handle, true).await;
    }

    /// Of a replica that is removed, and whose actor has ended: what a promotion may have left beside it.
    pub(super) fn end_promotion(
        &mut self,
        handle: &PartitionHandle,
    ) -> Vec<(Arc<LogDirState>, PathBuf)> {
        let Some(promotion) = self.promoting.remove(&handle.topic_partition) else {
            return Vec::new();
        };
        if promotion.is_done(handle) {
            promotion.from.uncount_replica();
        }
        promotion.places(handle)
    }
}
