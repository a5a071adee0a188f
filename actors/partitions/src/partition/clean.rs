//! A pass of the log cleaner over this replica's log: the pass works in jobs and touches only files of its own; what it gives is
//! swapped in here.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use disk::DiskError;
use log::{
    CleanedSegments, Compaction, CompactionError, CompactionOptions, DeletedSegments, LastRecord,
    NotReplaced, Progress,
};
use runtime::{Cx, JobLost, Outcome, Reply};

use super::{PartitionActor, PartitionMsg};
use crate::checkpoints::Checkpoint;
use crate::cleaner::{CleanRequest, PassFailed, PassResult, Turn};
use crate::log_dir::LogDirMsg;
use crate::room::Room;

/// A job of a pass ends after so many bytes, to be paced, and to end soon where the actor must.
const STEP_BYTES: u64 = 8 << 20;

/// A batch may grow to so much to be compacted, and to what its topic takes: others are older than its settings.
const UNCOMPRESSED: usize = 128 << 20;

/// After this it is looked whether the rate was raised.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A pass under way.
pub(super) struct Cleaning {
    /// Here between two jobs.
    pass: Option<Box<Compaction>>,
    turn: Turn,
    /// The checkpoint says up to where the log is durable, and the pass may leave gaps.
    checkpointed: bool,
    /// It is to end: the log will be cut, or room made.
    aborted: bool,
    /// What is put off until then: so much of retention is to remain.
    make_room: Option<f64>,
    /// It ends for that.
    makes_way: bool,
    reply: Reply<PassResult>,
}

/// What a job did of a pass.
pub struct CleanStep {
    pass: Box<Compaction>,
    result: Result<Progress, CompactionError>,
    /// Read and written.
    io_bytes: u64,
}

impl PartitionActor {
    pub(super) fn clean(&mut self, cx: &mut Cx<Self>, asked: CleanRequest) {
        let CleanRequest { to_clean, checkpoint, buffers, turn, reply } = asked;
        // A log that is being copied stays as it is.
        let busy = self.cleaning.is_some() || self.handle.future().is_some();
        if busy || self.handle.cleaned() != checkpoint {
            return reply.send(Err(PassFailed::Aborted));
        }
        let mut random = cx.world().random("keys of compacted logs");
        let options = CompactionOptions {
            dedupe_buffer_bytes: buffers.dedupe_bytes,
            load_factor: buffers.load_factor,
            io_buffer_bytes: buffers.io_bytes,
            uncompressed_bytes: self.config.held_whole().max(UNCOMPRESSED),
            group_bytes: match self.handle.log_dir() {
                dir if dir.room() == Room::Full => dir.spare_bytes(),
                _ => u64::MAX,
            },
            delete_retention_ms: self.config.delete_retention_ms,
            hash_key: [random.next_u64(), random.next_u64()],
            high_watermark: self.machine.high_watermark(),
            active_producers: self.active_producers(),
            now_ms: cx.world().now().wall_ms,
        };
        match self.log.compaction(&to_clean, options) {
            Ok(pass) => {
                // From now on offsets are missing in this log, whatever becomes of the pass.
                self.handle.set_cleaned(to_clean.first_dirty_offset);
                let pass = Some(Box::new(pass));
                self.cleaning = Some(Box::new(Cleaning {
                    pass,
                    turn,
                    checkpointed: false,
                    aborted: false,
                    make_room: None,
                    makes_way: false,
                    reply,
                }));
                self.draw_jitter(cx);
                self.clean_on(cx);
            }
            Err(error) => reply.send(Err(error.into())),
        }
    }

    /// Whether there is a pass, which then ends soon.
    pub(super) fn abort_pass(&mut self) -> bool {
        if let Some(cleaning) = &mut self.cleaning {
            cleaning.aborted = true;
        }
        self.cleaning.is_some()
    }

    /// When a pass ends retention keeps `share`. It ends soon, unless the one before did: under load there is always something to
    /// delete, and nothing would be compacted any more.
    pub(super) fn make_room_after_pass(&mut self, share: f64) {
        if let Some(cleaning) = &mut self.cleaning {
            cleaning.make_room = Some(share);
            if !self.pass_made_way {
                (cleaning.aborted, cleaning.makes_way) = (true, true);
            }
        }
    }

    /// By what is written: a batch that has only got its offsets may never come.
    fn active_producers(&self) -> BTreeMap<i64, LastRecord> {
        let producers = self.log.producers().iter();
        let last = producers.map(|(id, entry)| {
            let last_data_offset = entry.last_batch().map(|batch| batch.last_offset);
            (id.0, LastRecord { last_data_offset, producer_epoch: entry.epoch.0 })
        });
        last.collect()
    }

    pub(super) fn clean_on(&mut self, cx: &mut Cx<Self>) {
        let Some(cleaning) = &mut self.cleaning else { return };
        let dir = self.handle.log_dir();
        let writes = cleaning.pass.as_ref().map_or(0, |pass| pass.bytes_to_write());
        let ends = if cleaning.aborted || self.handle.future().is_some() {
            Some(PassFailed::Aborted)
        } else if dir.room() == Room::Full && writes > dir.spare_bytes() {
            // What is left is not for it, and what it has written it gives back.
            Some(PassFailed::NoRoom("the disk is full".to_owned()))
        } else {
            None
        };
        if let Some(failed) = ends {
            if let Some(pass) = cleaning.pass.take() {
                self.drop_pass(cx, pass, None, failed);
            }
            return;
        }
        let now = cx.world().mono();
        cleaning.turn.used(now);
        let wait = cleaning.turn.throttle().wait(now);
        if !wait.is_zero() {
            cx.send_after(wait.min(LONGEST_WAIT), PartitionMsg::CleanOn);
            return;
        }
        let Some(mut pass) = cleaning.pass.take() else { return };
        let step_bytes = cleaning.turn.throttle().piece().min(STEP_BYTES);
        let checkpointed = std::mem::replace(&mut cleaning.checkpointed, true);
        let hosted = self.hosted.clone();
        let job = move || {
            let mut io_bytes = 0;
            if !checkpointed
                && let Err(error) = dir.write_checkpoints(&hosted, &[Checkpoint::RecoveryPoints])
            {
                return Box::new(CleanStep { pass, result: Err(error.into()), io_bytes });
            }
            let result = pass.run(|bytes| {
                io_bytes += bytes;
                if io_bytes < step_bytes {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            dir.look_at_room();
            Box::new(CleanStep { pass, result, io_bytes })
        };
        cx.job("compact log", job, |step| match step {
            Ok(step) => PartitionMsg::Cleaned { step },
            Err(lost) => PartitionMsg::CleanEnded { failed: Box::new(lost.into()) },
        });
    }

    pub(super) async fn cleaned(&mut self, cx: &mut Cx<Self>, step: CleanStep) -> Outcome {
        let CleanStep { pass, result, io_bytes } = step;
        let Some(cleaning) = &mut self.cleaning else { return Ok(()) };
        cleaning.turn.throttle().used(io_bytes, cx.world().mono());
        match result {
            Ok(Progress::Paused) => {
                cleaning.pass = Some(pass);
                self.clean_on(cx);
            }
            Ok(Progress::Cleaned(segments)) => {
                cleaning.pass = Some(pass);
                self.swap(cx, segments);
            }
            Ok(Progress::Done { end_offset }) => {
                let stats = pass.stats();
                self.handle.set_cleaned(end_offset);
                let checkpoint = LogDirMsg::Write { checkpoint: Checkpoint::Cleaned };
                // Where the directory's actor is down, what is clean already is cleaned again.
                let _ = self.handle.log_dir().address().send(checkpoint).await;
                tracing::info!(partition = cx.path(), end_offset, ?stats, "log compacted");
                self.end_pass(cx, Ok(stats)).await?;
            }
            Err(error) => self.drop_pass(cx, pass, None, error.into()),
        }
        Ok(())
    }

    fn swap(&mut self, cx: &mut Cx<Self>, segments: CleanedSegments) {
        match self.log.replace_segments(segments) {
            Ok(swap) => {
                self.publish_standing();
                let (of, dir) = (swap.deleted(), self.handle.log_dir());
                let job = move || -> Result<_, Box<DiskError>> {
                    swap.run().map_err(Box::new)?;
                    // What cannot be removed yet is removed later.
                    if dir.room() == Room::Full && of.remove(&**dir.disk()).is_ok() {
                        dir.look_at_room();
                    }
                    Ok(Box::new(of))
                };
                cx.job("swap segments", job, |result| PartitionMsg::Swapped {
                    result: result.unwrap_or_else(|lost| Err(Box::new(lost_job(&lost)))),
                });
            }
            Err(NotReplaced(segments)) => {
                let pass = self.cleaning.as_mut().and_then(|cleaning| cleaning.pass.take());
                if let Some(pass) = pass {
                    self.drop_pass(cx, pass, Some(*segments), PassFailed::Aborted);
                }
            }
        }
    }

    pub(super) fn swapped(
        &mut self,
        cx: &mut Cx<Self>,
        result: Result<Box<DeletedSegments>, Box<DiskError>>,
    ) -> Outcome {
        // How far it came only opening the log tells.
        self.remove_later(cx, *result?);
        self.clean_on(cx);
        Ok(())
    }

    pub(super) async fn end_pass(&mut self, cx: &mut Cx<Self>, result: PassResult) -> Outcome {
        let mut put_off = None;
        if let Some(cleaning) = self.cleaning.take() {
            cleaning.reply.send(result);
            put_off = cleaning.make_room;
            self.pass_made_way = cleaning.makes_way;
        }
        match put_off {
            Some(share) => self.make_room(cx, share).await,
            None => self.delete_old_segments(cx).await,
        }
    }

    /// Removes the files of a pass that is not taken any further; only then may another begin.
    fn drop_pass(
        &self,
        cx: &mut Cx<Self>,
        pass: Box<Compaction>,
        given: Option<CleanedSegments>,
        failed: PassFailed,
    ) {
        let job = move || {
            let removed =
                pass.abort().and_then(|()| given.map_or(Ok(()), CleanedSegments::discard));
            if let Err(error) = removed {
                tracing::warn!(%error, "files of the log cleaner left behind");
            }
        };
        cx.job("abort compaction", job, |_| PartitionMsg::CleanEnded { failed: Box::new(failed) });
    }
}

fn lost_job(lost: &JobLost) -> DiskError {
    let why = std::io::Error::other(lost.to_string());
    DiskError::new(disk::DiskOp::Rename, std::path::Path::new("swapped segments"), why)
}
