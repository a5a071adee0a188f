//! Writes records: collected into batches per partition, sent by a task beside, each delivery told to whoever wrote it.
//!
//! A partition has one batch under way at a time, whatever is tried again: order holds, and with idempotence (the default)
//! no record is written twice.

mod accumulator;
mod batch;
mod sender;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use runtime::{Bulkhead, Credit, Credits};
use tokio::sync::oneshot;
use wire::batch::HeaderRef;
use wire::compression::{Codec, Compression};

use crate::client::Client;
use crate::error::{Refused, RequestError};
use crate::metadata::MetadataError;
use accumulator::Accumulator;
use sender::Shared;

/// When a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// When it is in the socket.
    None,
    /// When the leader has it.
    Leader,
    /// When all in-sync replicas have it.
    All,
}

#[derive(Debug, Clone)]
pub struct ProducerConfig {
    pub acks: Acks,
    /// Whether the broker is to drop what arrives twice. Needs [`Acks::All`]; without them it is off.
    pub idempotent: bool,
    /// How long a batch that is not full waits for more records.
    pub linger: Duration,
    /// A batch is full at this size, before compression. Bytes.
    pub max_batch_bytes: usize,
    /// No record may be larger, before compression. Bytes.
    pub max_record_bytes: usize,
    pub compression: Compression,
    /// What records may take that are not yet delivered; [`Producer::send`] waits where there is no room. Bytes.
    pub buffer_bytes: u32,
    /// How long a record may take from when it is sent until it is delivered, with all tries.
    pub delivery_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        ProducerConfig {
            acks: Acks::All,
            idempotent: true,
            linger: Duration::from_millis(5),
            max_batch_bytes: 256 << 10,
            max_record_bytes: 1 << 20,
            compression: Compression::of(Codec::None),
            buffer_bytes: 32 << 20,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

/// A record to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerRecord {
    pub topic: String,
    /// Absent: that of the key, or one after the other where there is no key either.
    pub partition: Option<i32>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// Unix milliseconds; absent: now.
    pub timestamp_ms: Option<i64>,
}

impl ProducerRecord {
    pub fn to(topic: impl Into<String>) -> ProducerRecord {
        ProducerRecord { topic: topic.into(), ..ProducerRecord::default() }
    }

    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    #[must_use]
    pub fn header(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.headers.push((key.into(), Some(value.into())));
        self
    }

    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// At most what it takes in a batch, before compression.
    fn size(&self) -> usize {
        /// Lengths, deltas and attributes, each at its longest.
        const OVERHEAD: usize = 36;
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|(key, value)| key.len() + length(value) + 10);
        OVERHEAD + length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }

    fn header_refs(&self) -> Vec<HeaderRef<'_>> {
        self.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect()
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    pub partition: i32,
    /// Unknown with [`Acks::None`], and where the broker had the record already and no longer knows where.
    pub offset: Option<i64>,
}

/// Why a record was not written, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("{0}")]
    Refused(Refused),
    #[error("topic {topic} has no partition {partition}")]
    NoPartition { topic: String, partition: i32 },
    #[error("a record of {bytes} bytes, more than the {limit} allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error("not delivered in time; last: {0}")]
    TimedOut(String),
    #[error("the batch cannot be built: {0}")]
    Batch(String),
    #[error("the producer was closed")]
    Closed,
}

/// Ends when a record is written, or is not. Dropping it does not take the record back.
#[must_use = "whether the record was written is told here only"]
pub struct Delivery(Pending);

enum Pending {
    Waiting(oneshot::Receiver<Result<Delivered, ProduceError>>),
    Failed(Option<ProduceError>),
}

impl Future for Delivery {
    type Output = Result<Delivered, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match &mut self.0 {
            Pending::Waiting(waiting) => {
                ready!(Pin::new(waiting).poll(cx)).unwrap_or(Err(ProduceError::Closed))
            }
            Pending::Failed(error) => Err(error.take().unwrap_or(ProduceError::Closed)),
        })
    }
}

/// Ends when all of several records are written, or with the first error among them.
#[must_use = "whether the records were written is told here only"]
pub struct Deliveries(Vec<Delivery>);

impl Deliveries {
    /// Waits for all, in order.
    ///
    /// # Errors
    /// That of the first record that was not written.
    pub async fn all(self) -> Result<Vec<Delivered>, ProduceError> {
        let mut delivered = Vec::with_capacity(self.0.len());
        let mut failed = None;
        for delivery in self.0 {
            match delivery.await {
                Ok(one) => delivered.push(one),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(delivered), Err)
    }
}

/// Who is told what became of a record.
struct Teller {
    answer: oneshot::Sender<Result<Delivered, ProduceError>>,
    _room: Option<Credit>,
}

impl Teller {
    fn tell(self, outcome: Result<Delivered, ProduceError>) {
        // Whoever asked has lost interest.
        let _ = self.answer.send(outcome);
    }
}

/// Writes records. Dropping it gives up what is not yet on its way; [`Producer::close`] waits for it.
pub struct Producer {
    shared: Arc<Shared>,
    room: Credits,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    pub(crate) fn new(client: &Client, mut config: ProducerConfig) -> Producer {
        config.idempotent &= config.acks == Acks::All;
        let room = Credits::new(u64::from(config.buffer_bytes));
        let shared = Arc::new(Shared::new(client, config, Accumulator::default()));
        let task = sender::run(shared.clone());
        drop(client.world().spawn(Bulkhead::Network, task));
        Producer { shared, room }
    }

    /// Hands a record over, having waited until the buffer has room for it. What becomes of it is told by the delivery.
    pub async fn send(&self, record: ProducerRecord) -> Delivery {
        let bytes = u32::try_from(record.size()).unwrap_or(u32::MAX);
        let room = self.room.take(bytes).await;
        self.hand_over(record, Some(room))
    }

    /// As [`Producer::send`], without waiting and past the buffer's bound: for actors, whose handlers must not wait, and
    /// whose input carries a credit of its own that is kept until the delivery.
    pub fn enqueue(&self, record: ProducerRecord) -> Delivery {
        self.hand_over(record, None)
    }

    /// [`Producer::enqueue`] for several.
    pub fn enqueue_all(&self, records: impl IntoIterator<Item = ProducerRecord>) -> Deliveries {
        Deliveries(records.into_iter().map(|record| self.enqueue(record)).collect())
    }

    fn hand_over(&self, record: ProducerRecord, room: Option<Credit>) -> Delivery {
        let (bytes, limit) = (record.size(), self.shared.config.max_record_bytes);
        if bytes > limit {
            return Delivery(Pending::Failed(Some(ProduceError::TooLarge { bytes, limit })));
        }
        let (answer, waiting) = oneshot::channel();
        self.shared.append(record, Teller { answer, _room: room });
        Delivery(Pending::Waiting(waiting))
    }

    /// Sends what there is without lingering, and waits until all that was handed over before is delivered or given up.
    pub async fn flush(&self) {
        self.shared.flush().await;
    }

    /// [`Producer::flush`], then the end.
    pub async fn close(self) {
        self.flush().await;
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.close();
    }
}
