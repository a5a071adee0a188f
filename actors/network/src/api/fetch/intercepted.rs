//! What is fetched goes through its topic's interceptor.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use log::{FileSlice, InMemory};
use model::ErrorCode;
use partitions::PartitionHandle;
use runtime::{Counter, Credit};
use wire::batch::{BatchError, BatchHeader, HEADER_LEN, RecordBatch, batches};

use super::look::{Look, Looks, may_find_more};
use super::{Params, Target};
use crate::Broker;
use crate::intercept::{On, Passed, Passing, Patience, Stop, Stopped, Way};

/// So much of a partition in one answer, or its first batch.
const AT_ONCE: usize = 1 << 20;

pub(super) struct Fetched<'a> {
    pub(super) broker: &'a Broker,
    pub(super) params: &'a Params,
    pub(super) client_id: Option<String>,
    pub(super) cold_reads: &'a Counter,
}

impl Fetched<'_> {
    /// Puts what the interceptors leave of what was found in its place. Keeps what that takes until it is on its way.
    pub(super) async fn pass(&self, targets: &[Target], looks: &mut Looks) -> Option<Credit> {
        let (mut patience, mut kept) = (Patience::default(), None);
        for (target, look) in targets.iter().zip(&mut looks.each) {
            let Some(handle) = &target.handle else { continue };
            let topic = &handle.topic_partition.topic;
            let Some(stop) = self.broker.interceptors.of(topic, On::Fetch) else { continue };
            let now = self.broker.world.mono();
            let Some(slice) = look.slice.clone() else {
                // It may have found no room in the answer: whether its topic is served does not depend on that.
                let more = || may_find_more(self.params, target);
                if look.is_empty_handed() && stop.is_away(now) && more() {
                    *look = Look::refused(code(&Stopped::Away));
                }
                continue;
            };
            let until = patience.until(now);
            let Some(memory) = self.memory(&slice, until, kept.is_some()).await else {
                match kept {
                    None => *look = Look::refused(code(&Stopped::Away)),
                    Some(_) => look.hold_back(),
                }
                continue;
            };
            let bytes = match &look.in_memory {
                Some(there) => Ok(joined(&there.bytes)),
                None => self.read(slice).await,
            };
            let passed = match bytes {
                Ok(bytes) => self.pass_all(&stop, until, handle, bytes).await,
                Err(code) => Err(code),
            };
            match passed {
                Ok(bytes) if self.keep(&mut kept, memory, bytes.len()) => {
                    look.in_memory = Some(InMemory { bytes: vec![bytes], pins: 0 });
                }
                Ok(_) => look.hold_back(),
                Err(code) => *look = Look::refused(code),
            }
        }
        kept
    }

    /// For what is read and what is left of it. Only who holds none yet waits: others answer with what they have.
    async fn memory(&self, slice: &FileSlice, until: Duration, has_some: bool) -> Option<Credit> {
        let (budget, world) = (&self.broker.intercepted_fetches, &self.broker.world);
        let wanted = u32::try_from(slice.len.saturating_mul(2)).unwrap_or(u32::MAX);
        if has_some {
            return budget.try_take(wanted);
        }
        let left = until.saturating_sub(world.mono());
        world.timeout(left, budget.take(wanted)).await.ok()
    }

    /// Of the memory that was taken, what is needed for what was left; false where there is not as much. The first of an answer has it
    /// in any case.
    fn keep(&self, kept: &mut Option<Credit>, mut memory: Credit, left: usize) -> bool {
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let over = memory.amount().saturating_sub(left);
        drop(memory.split(over));
        let missing = left - memory.amount();
        match self.broker.intercepted_fetches.try_take(missing) {
            Some(more) => memory.merge(more),
            None if kept.is_some() => return false,
            None => {}
        }
        match kept {
            Some(kept) => kept.merge(memory),
            None => *kept = Some(memory),
        }
        true
    }

    /// The first batch, and what comes behind it.
    async fn read(&self, slice: FileSlice) -> Result<Bytes, ErrorCode> {
        let read: Arc<Mutex<Option<Result<Bytes, ErrorCode>>>> = Arc::default();
        let into = read.clone();
        let job = move || {
            let found = read_some(slice);
            *into.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        };
        self.broker.cold_reads.run(self.cold_reads, job).await;
        let found = read.lock().unwrap_or_else(PoisonError::into_inner).take();
        found.unwrap_or(Err(ErrorCode::KafkaStorageError))
    }

    /// As many batches as pass; an error where the first does not. What is cut off at the end is not there.
    async fn pass_all(
        &self,
        stop: &Stop,
        until: Duration,
        handle: &PartitionHandle,
        bytes: Bytes,
    ) -> Result<Bytes, ErrorCode> {
        let mut passed = BytesMut::new();
        for batch in batches(bytes) {
            let batch = match batch {
                Ok(batch) => self.pass_one(stop, until, handle, batch).await,
                Err(error) => Err(error.into()),
            };
            match batch {
                Ok(batch) => passed.extend_from_slice(&batch.to_bytes()),
                Err(stopped) if passed.is_empty() => {
                    let partition = &handle.topic_partition;
                    tracing::debug!(%partition, %stopped, "a fetch does not pass its interceptor");
                    return Err(code(&stopped));
                }
                Err(_) => break,
            }
            if passed.len() >= AT_ONCE {
                break;
            }
        }
        Ok(passed.freeze())
    }

    async fn pass_one(
        &self,
        stop: &Stop,
        until: Duration,
        handle: &PartitionHandle,
        batch: RecordBatch,
    ) -> Result<RecordBatch, Stopped> {
        if batch.header().is_control() || batch.header().count == 0 {
            return Ok(batch);
        }
        // What is changed gets a CRC of its own, by which nobody would see what the disk did to it.
        batch.verify_crc()?;
        let at = &handle.topic_partition;
        let passing = Passing {
            world: &self.broker.world,
            memory: &self.broker.intercepted_batches,
            until,
            limit: handle.config().held_whole(),
            compression: None,
            needs_keys: false,
        };
        let way = Way {
            on: On::Fetch,
            topic: at.topic.as_str().into(),
            partition: at.partition,
            client_id: self.client_id.clone(),
        };
        Ok(match stop.pass(passing, way, &batch).await? {
            Passed::Unchanged => batch,
            Passed::Changed(batch) => batch,
        })
    }
}

fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [one] => one.clone(),
        several => several.concat().into(),
    }
}

fn read_some(slice: FileSlice) -> Result<Bytes, ErrorCode> {
    let first = |len| FileSlice { len, ..slice.clone() }.read();
    let failed = |_| ErrorCode::KafkaStorageError;
    let head = first(HEADER_LEN.min(slice.len)).map_err(failed)?;
    let size = BatchHeader::parse(&head).map_err(|_| ErrorCode::CorruptMessage)?.size();
    first(slice.len.min(size.max(AT_ONCE))).map_err(failed)
}

/// The protocol has no room for a reason.
fn code(stopped: &Stopped) -> ErrorCode {
    match stopped {
        Stopped::Rejected { .. } => ErrorCode::TopicAuthorizationFailed,
        Stopped::Away => ErrorCode::NotLeaderOrFollower,
        Stopped::Failed | Stopped::Batch(BatchError::Compression(_)) => {
            ErrorCode::UnknownServerError
        }
        Stopped::Batch(_) => ErrorCode::CorruptMessage,
    }
}
