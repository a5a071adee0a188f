//! A batch's way through an interceptor: taken apart, some records at a time, and written anew where one of them was changed.

use std::sync::Arc;
use std::time::Duration;

use runtime::{Credit, Credits, JobLost, Reply, World};
use wire::batch::{BatchEditor, BatchError, HeaderRef, Record, RecordBatch, Records};
use wire::compression::{Codec, Compression, CompressionError};

use super::{InterceptMsg, Intercepted, Stop, Turn, Unseen, Way};

/// So many records are handed over at once: what they take beside their bytes stays small.
const AT_A_TIME: usize = 256;
/// One that was waited for so long in vain is late.
const LATE: Duration = Duration::from_secs(1);
/// A batch that is larger is decompressed, and compressed, by a blocking job.
const IN_PLACE: usize = 1 << 20;

/// What a batch may be, and what is known of its topic.
#[derive(Clone, Copy)]
pub(crate) struct Passing<'a> {
    pub(crate) world: &'a World,
    /// For what is decompressed, and what is written anew.
    pub(crate) memory: &'a Credits,
    /// It is not waited for the interceptor after this.
    pub(crate) until: Duration,
    /// Uncompressed, before and after; a batch that comes so may be as large as it is.
    pub(crate) limit: usize,
    pub(crate) compression: Option<Compression>,
    /// The topic is compacted.
    pub(crate) needs_keys: bool,
}

#[derive(Debug)]
pub(crate) enum Passed {
    Unchanged,
    Changed(RecordBatch),
}

/// Why a batch did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("{reason}")]
    Rejected {
        /// Of the record.
        index: i32,
        reason: String,
    },
    #[error("the topic's interceptor failed on this batch")]
    Failed,
    #[error("the topic's interceptor is not there, or too slow, or there is no memory for it")]
    Away,
    #[error("{0}")]
    Batch(#[from] BatchError),
}

impl Stop {
    /// The batch as the interceptor leaves it.
    pub(crate) async fn pass(
        &self,
        passing: Passing<'_>,
        way: Way,
        batch: &RecordBatch,
    ) -> Result<Passed, Stopped> {
        let (world, now) = (passing.world, passing.world.mono());
        let left = passing.until.saturating_sub(now);
        if left.is_zero() || self.is_shunned(now) {
            return Err(Stopped::Away);
        }
        let passing = Passing { limit: passing.limit.max(batch.size()), ..passing };
        let asked = self.pass_in_turn(passing, way, batch);
        match world.timeout(left, asked).await {
            Ok(passed) => {
                if !matches!(passed, Err(Stopped::Away)) {
                    self.was_in_time();
                }
                passed
            }
            Err(_) => {
                // Where the request has waited for another, nothing is known of this one.
                if left >= LATE {
                    self.was_late(world.mono());
                }
                Err(Stopped::Away)
            }
        }
    }

    async fn pass_in_turn(
        &self,
        passing: Passing<'_>,
        way: Way,
        batch: &RecordBatch,
    ) -> Result<Passed, Stopped> {
        let turn = self.turns.take(1).await;
        let Opened { mut records, turn, mut covered } = opened(passing, batch, turn).await?;
        let header = batch.header();
        let mut editor = BatchEditor::new(header, passing.compression, passing.limit)?;
        let (mut changed, mut before, mut growth) = (false, 0, Vec::new());
        loop {
            let some: Vec<Record> = records.by_ref().take(AT_A_TIME).collect::<Result<_, _>>()?;
            if some.is_empty() {
                break;
            }
            let seen = self.ask_again(&way, &some, before, &turn).await?;
            for (index, (record, seen)) in (before..).zip(some.iter().zip(seen)) {
                let Some(seen) = seen else {
                    changed = true;
                    continue;
                };
                if passing.needs_keys && seen.key.is_none() {
                    return Err(keyless(index));
                }
                changed |= seen != intercepted(record);
                let headers: Vec<HeaderRef<'_>> =
                    seen.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
                editor.keep(record, seen.key.as_deref(), seen.value.as_deref(), &headers)?;
            }
            before += some.len() as i32;
            let grown = editor.uncompressed_size().saturating_sub(covered);
            if grown > 0 {
                // Not waited for: who holds some could wait for who waits for that. One that is larger than all there is passes alone.
                match passing.memory.try_take(capped(grown)) {
                    Some(more) => growth.push(more),
                    None if passing.memory.used() <= held(&turn, &growth) => {}
                    None => return Err(Stopped::Away),
                }
                covered += grown;
            }
        }
        drop(records);
        match changed {
            false => Ok(Passed::Unchanged),
            true => Ok(Passed::Changed(closed(passing, editor, (turn, growth)).await?)),
        }
    }

    /// Where it fails on them, it is asked anew: that may not have been for what they are.
    async fn ask_again(
        &self,
        way: &Way,
        some: &[Record],
        before: i32,
        turn: &Turn,
    ) -> Result<Vec<Option<Intercepted>>, Stopped> {
        match self.ask(way, some, before, turn).await {
            Err(Stopped::Failed) => self.ask(way, some, before, turn).await,
            other => other,
        }
    }

    /// `before`: how many records of the batch come before these.
    async fn ask(
        &self,
        way: &Way,
        some: &[Record],
        before: i32,
        turn: &Turn,
    ) -> Result<Vec<Option<Intercepted>>, Stopped> {
        let (reply, answer) = Reply::new();
        let records = some.iter().map(intercepted).collect();
        let (way, turn) = (way.clone(), turn.clone());
        let message = InterceptMsg::Records { way, records, turn, reply };
        self.to.send(message).await.map_err(|_| Stopped::Away)?;
        match answer.get().await {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(Unseen::Rejected { index, reason })) => {
                Err(Stopped::Rejected { index: before + index as i32, reason })
            }
            Ok(Err(Unseen::Failed)) => Err(Stopped::Failed),
            // It ended before it came to these, or cannot be made anew.
            Err(runtime::Dropped) => Err(Stopped::Away),
        }
    }
}

fn keyless(index: i32) -> Stopped {
    let reason = "Compacted topic cannot accept message without key".to_owned();
    Stopped::Rejected { index, reason }
}

fn intercepted(record: &Record) -> Intercepted {
    Intercepted {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.iter().map(|header| (header.key, header.value)).collect(),
        timestamp_ms: record.timestamp,
    }
}

fn capped(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn held(turn: &Turn, growth: &[Credit]) -> u64 {
    growth.iter().chain([&turn.1]).map(|credit| u64::from(credit.amount())).sum()
}

struct Opened {
    records: Records,
    turn: Turn,
    /// So many bytes that are written anew have their memory.
    covered: usize,
}

async fn opened(
    passing: Passing<'_>,
    batch: &RecordBatch,
    turn: Credit,
) -> Result<Opened, Stopped> {
    // What comes uncompressed is not copied, but for what is written anew.
    let (small, covered, taken) = match batch.header().codec()? {
        Codec::None => (passing.limit, batch.size(), batch.size()),
        _ => {
            let small = passing.limit.min(IN_PLACE);
            (small, small, 2 * small)
        }
    };
    let memory = passing.memory.take(capped(taken)).await;
    match batch.records(small) {
        Err(BatchError::Compression(CompressionError::TooLarge { .. }))
            if small < passing.limit => {}
        opened => {
            return Ok(Opened { records: opened?, turn: Arc::new((turn, memory)), covered });
        }
    }
    // Given back before more is waited for.
    drop(memory);
    let (limit, batch) = (passing.limit, batch.clone());
    let memory = passing.memory.take(capped(limit.saturating_mul(2))).await;
    let turn = Arc::new((turn, memory));
    let kept = turn.clone();
    let open = move || {
        let opened = batch.records(limit);
        drop(kept);
        opened
    };
    let opened = passing.world.blocking("decompress for an interceptor", open).await;
    let records = opened.map_err(|_: JobLost| Stopped::Away)??;
    Ok(Opened { records, turn, covered: limit })
}

async fn closed(
    passing: Passing<'_>,
    editor: BatchEditor,
    memory: (Turn, Vec<Credit>),
) -> Result<RecordBatch, Stopped> {
    if editor.uncompressed_size() <= IN_PLACE {
        return Ok(editor.finish()?);
    }
    let close = move || {
        let closed = editor.finish();
        drop(memory);
        closed
    };
    let closed = passing.world.blocking("compress for an interceptor", close).await;
    Ok(closed.map_err(|_: JobLost| Stopped::Away)??)
}
