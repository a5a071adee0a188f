//! A partition of a topic as the log of a shard.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use machines::partition::{Acks, Origin};
use model::settings::TimestampType;
use model::{ErrorCode, LeaderEpoch, StoredRecord};
use partitions::{
    Append, AppendResult, Appending, Isolation, PartitionHandle, PartitionMsg, ReadFrom, Readable,
    read_error_code,
};
use runtime::{
    AppendReply, BoxFuture, Chunk, Dead, Dropped, Map, Pulse, Reply, ShardLog, Waiter, World,
};
use wire::batch::{
    BatchBuilder, BatchError, ControlRecordType, HEADER_LEN, Record, RecordBatch, batches,
    parse_control_type,
};
use wire::compression::{Codec, Compression};

/// A batch of the topic decompresses to no more than this.
const MAX_BATCH_BYTES: usize = 256 << 20;

/// Outlives the shard's restarts, so that a shard that loads anew waits for what its predecessor was still writing.
pub struct PartitionLog {
    handle: Arc<PartitionHandle>,
    world: World,
    /// Of one read while loading.
    read_bytes: usize,
    /// The topic's own `compression.type` outweighs it.
    compression: Compression,
    in_flight: Arc<InFlight>,
    open: Arc<Mutex<OpenTransactions>>,
}

#[derive(Default)]
struct InFlight {
    appends: AtomicUsize,
    none: Pulse,
}

impl InFlight {
    fn ended(&self) {
        if self.appends.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.publish();
        }
    }

    async fn is_over(&self) {
        let mut waiter = Waiter::new();
        loop {
            waiter.on(&self.none);
            if self.appends.load(Ordering::Acquire) == 0 {
                return;
            }
            waiter.wait().await;
        }
    }
}

impl PartitionLog {
    pub fn new(
        handle: Arc<PartitionHandle>,
        world: World,
        read_bytes: usize,
        compression: Compression,
    ) -> PartitionLog {
        let (in_flight, open) = Default::default();
        PartitionLog { handle, world, read_bytes, compression, in_flight, open }
    }

    fn readable(&self) -> Result<Readable, ErrorCode> {
        self.handle.readable(None, ReadFrom::Leader).map_err(|error| error.code())
    }

    pub(crate) fn handle(&self) -> &Arc<PartitionHandle> {
        &self.handle
    }

    fn compression(&self) -> Compression {
        Compression::of_topic(&self.handle.config()).unwrap_or(self.compression)
    }

    pub(crate) fn compresses(&self) -> bool {
        self.compression().codec != Codec::None
    }

    fn batch(&self, records: &[StoredRecord]) -> Result<RecordBatch, ErrorCode> {
        let now_ms = self.world.now().wall_ms;
        let config = self.handle.config();
        let mut builder = BatchBuilder::new(self.compression());
        if config.message_timestamp_type == TimestampType::LogAppendTime {
            builder = builder.log_append_time(now_ms);
        }
        for record in records {
            builder.append(now_ms, Some(&record.key), record.value.as_deref(), &[]);
        }
        let batch = builder.build().map_err(|_| ErrorCode::RecordListTooLarge)?;
        let max = config.max_message_bytes;
        if usize::try_from(max).is_ok_and(|max| batch.size() > max) {
            return Err(ErrorCode::RecordListTooLarge);
        }
        Ok(batch)
    }
}

impl ShardLog for PartitionLog {
    fn append(&self, epoch: LeaderEpoch, records: Vec<StoredRecord>, reply: AppendReply) {
        let batch = match self.batch(&records) {
            Ok(batch) => batch,
            Err(code) => return reply.send(Err(code)),
        };
        let append = Append {
            batch,
            // The shard waits for replicas itself, by the high watermark.
            acks: Acks::Leader,
            origin: Origin::Coordinator,
            leader_epoch: Some(epoch),
            held: None,
        };
        self.in_flight.appends.fetch_add(1, Ordering::AcqRel);
        let (in_flight, count) = (self.in_flight.clone(), records.len() as i64);
        let reply = Mutex::new(Some(reply));
        let sink = move |_, answer: Result<AppendResult, Dropped>| {
            let reply = reply.lock().unwrap_or_else(PoisonError::into_inner).take();
            let end = match answer {
                Ok(Ok(appended)) => Ok(appended.base_offset + count),
                Ok(Err(error)) => Err(error.code()),
                // Written or not: the shard's log knows once the partition is back.
                Err(Dropped) => Err(ErrorCode::NotLeaderOrFollower),
            };
            in_flight.ended();
            if let Some(reply) = reply {
                reply.send(end);
            }
        };
        let reply = Reply::to_sink(Arc::new(sink), 0);
        let message = PartitionMsg::Append { asked: Box::new(Appending { append, reply }) };
        // One that cannot be sent drops its reply, which answers.
        let _: Result<(), Dead<_>> = self.handle.address().send_now(message);
    }

    fn read(&self, from: i64, _about: usize) -> BoxFuture<'static, Result<Chunk, ErrorCode>> {
        let (handle, world, max_bytes) = (self.handle.clone(), self.world.clone(), self.read_bytes);
        let (in_flight, open) = (self.in_flight.clone(), self.open.clone());
        Box::pin(async move {
            in_flight.is_over().await;
            let readable = handle.readable(None, ReadFrom::Leader).map_err(|error| error.code())?;
            let read = move || read_chunk(&readable, &open, from, max_bytes);
            let read = world.blocking_in(handle.log_dir().queue(), "load coordinator", read).await;
            let (chunk, keyless) = read.unwrap_or(Err(ErrorCode::KafkaStorageError))?;
            if keyless > 0 {
                let (log, until) = (&handle.topic_partition, chunk.next);
                tracing::warn!(%log, from, until, keyless, "records without a key are skipped");
            }
            Ok(chunk)
        })
    }

    fn start_offset(&self) -> i64 {
        self.handle.log_start_offset()
    }

    fn end_offset(&self) -> i64 {
        match self.readable() {
            Ok(readable) => readable.end(Isolation::LogEnd),
            Err(_) => self.handle.log_end_offset(),
        }
    }

    fn high_watermark(&self) -> i64 {
        self.handle.high_watermark()
    }

    fn leader_epoch(&self) -> Option<LeaderEpoch> {
        led_epoch(&self.handle)
    }

    fn max_batch_bytes(&self) -> usize {
        let max = usize::try_from(self.handle.config().max_message_bytes).unwrap_or(0);
        max.saturating_sub(HEADER_LEN)
    }

    fn takes(&self, records: &[StoredRecord]) -> bool {
        self.batch(records).is_ok()
    }

    fn changed(&self) -> Pulse {
        self.handle.pulse().clone()
    }
}

/// The epoch in which the replica leads and can be read.
pub(crate) fn led_epoch(handle: &PartitionHandle) -> Option<LeaderEpoch> {
    handle.readable(None, ReadFrom::Leader).ok().map(|readable| readable.leader_epoch)
}

/// Records of transactions whose end was not read yet, by producer id: Kafka's group coordinator writes such.
#[derive(Default)]
struct OpenTransactions {
    /// Where the next read of the same load begins.
    next: i64,
    records: Map<i64, Vec<StoredRecord>>,
}

/// With the number of records that have no key: none of a shard's.
fn read_chunk(
    readable: &Readable,
    open: &Mutex<OpenTransactions>,
    from: i64,
    max_bytes: usize,
) -> Result<(Chunk, usize), ErrorCode> {
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    if open.next != from {
        open.records.clear();
    }
    // A log that lost its beginning meanwhile is read from where it begins now.
    let start = from.max(readable.log_start_offset());
    let bytes = readable
        .read(start, max_bytes, true, Isolation::LogEnd)
        .map_err(|error| read_error_code(&error))
        .and_then(|read| read.slice.read().map_err(|_| ErrorCode::KafkaStorageError))?;
    let (mut chunk, mut keyless) = (Chunk { records: Vec::new(), next: start }, 0);
    for batch in batches(bytes) {
        let batch = batch.map_err(|_| ErrorCode::CorruptMessage)?;
        let last = batch.header().last_offset();
        keyless += read_batch(&batch, start, &mut open, &mut chunk.records)
            .map_err(|_| ErrorCode::CorruptMessage)?;
        chunk.next = last + 1;
    }
    if chunk.next == start {
        // A compacted log may end before its end offset.
        chunk.next = readable.end(Isolation::LogEnd);
    }
    open.next = chunk.next;
    Ok((chunk, keyless))
}

fn read_batch(
    batch: &RecordBatch,
    from: i64,
    open: &mut OpenTransactions,
    out: &mut Vec<StoredRecord>,
) -> Result<usize, BatchError> {
    let header = batch.header();
    let mut records = batch.records(MAX_BATCH_BYTES)?;
    if header.is_control() {
        let Some(marker) = records.next().transpose()? else { return Ok(0) };
        let ended = open.records.remove(&header.producer_id).unwrap_or_default();
        let kind = parse_control_type(marker.key.as_deref().unwrap_or_default())?;
        if kind == Some(ControlRecordType::Commit) {
            out.extend(ended);
        }
        return Ok(0);
    }
    let into = match header.is_transactional() {
        true => open.records.entry(header.producer_id).or_default(),
        false => out,
    };
    let mut keyless = 0;
    for record in records {
        let record = record?;
        if record.offset >= from {
            match stored(record) {
                Some(record) => into.push(record),
                None => keyless += 1,
            }
        }
    }
    Ok(keyless)
}

/// Its own copy: slices of what was read would keep all of it. None where it has no key.
fn stored(record: Record) -> Option<StoredRecord> {
    let copy = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
    Some(StoredRecord { key: copy(record.key?), value: record.value.map(copy) })
}

#[cfg(test)]
mod tests {
    use wire::batch::{EndTxnMarker, control_batch};

    use super::*;

    fn written(producer: i64, transactional: bool, keys: &[&str]) -> RecordBatch {
        let mut builder = BatchBuilder::new(Compression::NONE)
            .producer(producer, 0, 0)
            .transactional(transactional);
        for key in keys {
            builder.append(1, Some(key.as_bytes()), None, &[]);
        }
        builder.build().unwrap()
    }

    fn marker(producer: i64, kind: ControlRecordType) -> RecordBatch {
        let value = EndTxnMarker { coordinator_epoch: 0 }.encode();
        let of = |builder: BatchBuilder| builder.producer(producer, 0, -1).transactional(true);
        control_batch(of, 1, kind, &value).unwrap()
    }

    #[test]
    fn records_of_a_transaction_count_from_its_commit_on() {
        let (mut open, mut read) = (OpenTransactions::default(), Vec::new());
        let log = [
            written(1, true, &["a"]),
            written(2, true, &["b"]),
            written(-1, false, &["c"]),
            marker(1, ControlRecordType::Abort),
            written(1, true, &["d"]),
            marker(2, ControlRecordType::Commit),
        ];
        for batch in &log {
            read_batch(batch, 0, &mut open, &mut read).unwrap();
        }
        let keys: Vec<&[u8]> = read.iter().map(|record| &record.key[..]).collect();
        assert_eq!(keys, [b"c", b"b"]);
    }

    #[test]
    fn a_read_begins_within_a_batch() {
        let (mut open, mut read) = (OpenTransactions::default(), Vec::new());
        read_batch(&written(-1, false, &["a", "b", "c"]), 1, &mut open, &mut read).unwrap();
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn records_without_a_key_are_counted() {
        let (mut open, mut read) = (OpenTransactions::default(), Vec::new());
        let mut builder = BatchBuilder::new(Compression::NONE);
        for key in [None, Some(&b"a"[..]), None] {
            builder.append(1, key, Some(b"value"), &[]);
        }
        let keyless = read_batch(&builder.build().unwrap(), 0, &mut open, &mut read).unwrap();
        assert_eq!((keyless, read.len()), (2, 1));
    }
}
