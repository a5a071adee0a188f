//! What is fetched goes through its topic's interceptor.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use log::{FileSlice, InMemory};
use model::ErrorCode;
use partitions::PartitionHandle;
use runtime::Counter;
use wire::batch::{BatchError, BatchHeader, HEADER_LEN, RecordBatch, batches};

use super::Target;
use super::look::{Look, Looks};
use crate::Broker;
use crate::api::produce::held_whole;
use crate::intercept::{On, Passed, Passing, Patience, Stop, Stopped, Way};

/// So much of a partition in one answer, or its first batch.
const AT_ONCE: usize = 1 << 20;

pub(super) struct Fetched<'a> {
    pub(super) broker: &'a Broker,
    pub(super) client_id: Option<String>,
    pub(super) cold_reads: &'a Counter,
}

impl Fetched<'_> {
    /// Puts what the interceptors leave of what was found in its place.
    pub(super) async fn pass(&self, targets: &[Target], looks: &mut Looks) {
        let mut patience = Patience::default();
        for (target, look) in targets.iter().zip(&mut looks.each) {
            let (Some(handle), Some(slice)) = (&target.handle, &look.slice) else { continue };
            let topic = &handle.topic_partition.topic;
            let Some(stop) = self.broker.interceptors.of(topic, On::Fetch) else { continue };
            let until = patience.until(self.broker.world.mono());
            let bytes = match &look.in_memory {
                Some(there) => Ok(joined(&there.bytes)),
                None => self.read(slice.clone()).await,
            };
            let passed = match bytes {
                Ok(bytes) => self.pass_all(&stop, until, handle, bytes).await,
                Err(code) => Err(code),
            };
            match passed {
                Ok(bytes) => look.in_memory = Some(InMemory { bytes: vec![bytes], pins: 0 }),
                Err(code) => *look = Look::refused(code),
            }
        }
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
            until,
            limit: held_whole(&handle.config()),
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
