//! Where a log begins: DeleteRecords, retention, the periodic look at both.

use std::time::Duration;

use log::{DeletedSegments, Log, ReadError, RetentionPolicy};
use machines::partition::Event;
use model::ErrorCode;
use model::topic::is_internal_topic;
use runtime::{Cx, Failure, Held, Outcome, Reply};

use super::{PartitionActor, PartitionMsg};
use crate::log_dir::REMOVE_RETRY;

/// Segments go only when all of their records lie before the log start offset.
const KEEP_ALL: RetentionPolicy = RetentionPolicy { retention_ms: -1, retention_bytes: -1 };

/// Asks a leader to move its log start offset up to `offset`.
pub struct DeleteRecords {
    pub offset: i64,
    pub held: Held,
    pub reply: Reply<Result<i64, DeleteRecordsError>>,
}

/// Why records were not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    #[error("this replica does not lead the partition")]
    NotLeader,
    #[error("offset {offset} is not between {start} and the high watermark {high_watermark}")]
    OutOfRange { offset: i64, start: i64, high_watermark: i64 },
    #[error("the topic is compacted, and its cleanup.policy does not have delete")]
    Policy,
}

impl DeleteRecordsError {
    pub fn code(&self) -> ErrorCode {
        match self {
            DeleteRecordsError::NotLeader => ErrorCode::NotLeaderOrFollower,
            DeleteRecordsError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            DeleteRecordsError::Policy => ErrorCode::PolicyViolation,
        }
    }
}

/// Why the files of deleted segments are still there.
#[derive(Debug)]
pub struct NotRemoved {
    why: String,
    /// What may go later.
    left: Option<DeletedSegments>,
}

impl PartitionActor {
    /// `-1` deletes everything that is committed. Gives the offset that was meant.
    pub(super) async fn delete_records(
        &mut self,
        cx: &mut Cx<Self>,
        offset: i64,
    ) -> Result<Result<i64, DeleteRecordsError>, Failure> {
        if !self.machine.is_leader() {
            return Ok(Err(DeleteRecordsError::NotLeader));
        }
        let policy = self.config.cleanup_policy;
        if policy.compact && !policy.delete {
            return Ok(Err(DeleteRecordsError::Policy));
        }
        let high_watermark = self.machine.high_watermark();
        let target = if offset == -1 { high_watermark } else { offset };
        let start = self.log.log_start_offset();
        if target < 0 || target > high_watermark {
            return Ok(Err(DeleteRecordsError::OutOfRange { offset, start, high_watermark }));
        }
        if self.log.advance_log_start(target) {
            self.start_advanced(cx)?;
            // What only retention gives up is not asked for.
            self.delete_segments(cx, KEEP_ALL).await?;
        }
        Ok(Ok(target))
    }

    /// What the leader deleted goes here too.
    pub(super) async fn follow_log_start(&mut self, cx: &mut Cx<Self>, leaders: i64) -> Outcome {
        if self.log.advance_log_start(leaders.min(self.machine.high_watermark())) {
            self.start_advanced(cx)?;
            Box::pin(self.delete_segments(cx, KEEP_ALL)).await?;
        }
        Ok(())
    }

    /// Retention: whole segments that the topic's policy, or the log start offset, gives up.
    pub(super) async fn delete_old_segments(&mut self, cx: &mut Cx<Self>) -> Outcome {
        // While it is compacted nothing is deleted.
        if self.cleaning.is_none() {
            self.handle.looked_at_retention(cx.world().now().wall_ms);
        }
        self.delete_segments(cx, self.retention(1.0)).await
    }

    /// So much of it that `share` of the topic's retention remains; what is deleted leaves the disk at once. A pass of the log
    /// cleaner makes way, where there is anything to delete.
    pub(super) async fn make_room(&mut self, cx: &mut Cx<Self>, share: f64) -> Outcome {
        let internal = is_internal_topic(&self.handle.topic_partition.topic);
        let policy = self.retention(if internal { 1.0 } else { share });
        if self.cleaning.is_some() && self.gives_up_any(cx, policy).await? {
            self.make_room_after_pass(share);
        }
        self.delete_segments(cx, policy).await?;
        while let Some((of, _)) = self.deleted.first_key_value() {
            self.remove_files(cx, *of);
        }
        Ok(())
    }

    fn retention(&self, share: f64) -> RetentionPolicy {
        if !self.config.cleanup_policy.delete {
            return KEEP_ALL;
        }
        let limit = |whole: i64| match whole {
            ..0 => -1,
            _ if share >= 1.0 => whole,
            whole => (whole as f64 * share) as i64,
        };
        RetentionPolicy {
            retention_ms: limit(self.config.retention_ms),
            retention_bytes: limit(self.config.retention_bytes),
        }
    }

    async fn gives_up_any(
        &mut self,
        cx: &mut Cx<Self>,
        policy: RetentionPolicy,
    ) -> Result<bool, Failure> {
        let (now_ms, committed) = (cx.world().now().wall_ms, self.machine.high_watermark());
        let look = move |log: &mut Log| log.deletable_segments(&policy, committed, now_ms);
        Ok(cx.lend("look at retention", &mut self.log, look).await??.is_some())
    }

    async fn delete_segments(&mut self, cx: &mut Cx<Self>, policy: RetentionPolicy) -> Outcome {
        // What a pass replaces stays until it is over. One that is empty, as many are, has nothing to look at.
        if self.cleaning.is_some() || self.log.size() == 0 {
            return Ok(());
        }
        let now_ms = cx.world().now().wall_ms;
        let committed = self.machine.high_watermark();
        let before = self.log.log_start_offset();
        let delete = move |log: &mut Log| -> Result<Option<DeletedSegments>, ReadError> {
            let start = log.deletable_segments(&policy, committed, now_ms)?;
            Ok(start.map(|start| log.delete_segments_below(start, now_ms)).transpose()?)
        };
        let Some(deleted) = cx.lend("delete segments", &mut self.log, delete).await?? else {
            return Ok(());
        };
        self.remove_later(cx, deleted);
        self.publish_standing();
        if self.log.log_start_offset() > before { self.start_advanced(cx) } else { Ok(()) }
    }

    /// Readers that know of the files may still look for them.
    pub(super) fn remove_later(&mut self, cx: &mut Cx<Self>, segments: DeletedSegments) {
        tracing::info!(partition = cx.path(), count = segments.count, "segments deleted");
        let delay_ms = self.config.file_delete_delay_ms.max(0).unsigned_abs();
        self.remove_after(cx, Duration::from_millis(delay_ms), segments);
    }

    fn remove_after(&mut self, cx: &mut Cx<Self>, delay: Duration, segments: DeletedSegments) {
        let of = self.deletions;
        self.deletions += 1;
        self.deleted.insert(of, segments);
        cx.send_after(delay, PartitionMsg::RemoveFiles { of });
    }

    pub(super) fn remove_files(&mut self, cx: &mut Cx<Self>, of: u64) {
        let Some(segments) = self.deleted.remove(&of) else { return };
        let disk = self.handle.log_dir().disk().clone();
        let job = move || {
            segments.remove(&*disk).map_err(|error| {
                let left = error.may_pass().then_some(segments);
                Box::new(NotRemoved { why: error.to_string(), left })
            })
        };
        cx.job("remove segments", job, |result| PartitionMsg::Removed {
            result: result.unwrap_or_else(|lost| {
                Err(Box::new(NotRemoved { why: lost.to_string(), left: None }))
            }),
        });
    }

    pub(super) fn removed(&mut self, cx: &mut Cx<Self>, result: Result<(), Box<NotRemoved>>) {
        let Err(failed) = result else { return };
        let NotRemoved { why, left } = *failed;
        tracing::warn!(partition = cx.path(), why, "deleted segments left behind");
        if let Some(segments) = left {
            self.remove_after(cx, REMOVE_RETRY, segments);
        }
    }

    fn start_advanced(&mut self, cx: &mut Cx<Self>) -> Outcome {
        let offset = self.log.log_start_offset();
        self.handle.set_log_start(offset);
        self.publish_standing();
        self.step(cx, Event::LogStartAdvanced { offset })
    }
}
